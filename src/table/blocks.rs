//! Raw tables cut into blocks of whole lines, which all cores read and parse at once.
//!
//! A file is cut at fixed places, so that every core reads for itself; block `i` takes the lines that begin behind its
//! first line end and up to the first line end of block `i + 1`. Results come back in the order of the lines, so nothing
//! depends on the number of threads.

use std::{
    borrow::Cow,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use rayon::prelude::*;

use super::{
    small,
    source::{Source, as_size},
};
use crate::{
    error::{Error, Result},
    progress::Progress,
    read::lines::{BOM, blank, lines},
};

/// Bytes of a block: small enough to stay in a core's cache between reading and parsing.
pub const BLOCK_BYTES: u64 = 1 << 19;

/// Read past a block's end for the last line; a longer rest is read after it.
const TAIL_BYTES: u64 = 1 << 13;

/// Some whole lines of a file.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// The index of the file among those being read.
    pub source: u32,
    /// Where the text begins in the file.
    pub offset: u64,
    /// The lines. UTF-8.
    pub text: &'a [u8],
    /// Whether line feeds are the only control characters in it.
    pub clean: bool,
}

impl Block<'_> {
    /// How many rows it has, going by the length of the first: to ask for memory once.
    #[must_use]
    pub fn n_rows_about(&self) -> usize {
        let first = memchr::memchr(b'\n', self.text).unwrap_or(self.text.len());
        self.text.len() / (first + 1) + 1
    }
}

/// What is wrong with a line, before anyone knows its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Lower case, without full stop.
    pub message: Cow<'static, str>,
    /// What to do.
    pub hint: &'static str,
}

/// The advice where a line is no row at all.
pub const ROW_HINT: &str = "a raw table holds one JSON object a line";

/// A job's progress as seen from many threads: told by one at a time.
pub struct Meter<'a> {
    progress: &'a dyn Progress,
    telling: Mutex<()>,
}

impl<'a> Meter<'a> {
    /// Tells this progress.
    #[must_use]
    pub fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, telling: Mutex::new(()) }
    }

    /// A step begins.
    pub fn start(&self, step: &str, bytes: Option<u64>) {
        self.with(|progress| progress.start(step, bytes));
    }

    /// So many more bytes are done; an error where the user asked to stop.
    pub fn advance(&self, bytes: u64) -> Result<()> {
        self.with(|progress| {
            progress.advance(bytes);
            if progress.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
        })
    }

    fn with<T>(&self, tell: impl FnOnce(&dyn Progress) -> T) -> T {
        let _alone = lock(&self.telling);
        tell(self.progress)
    }
}

/// Calls `parse` for every block of the files on all cores; its results in the order of the lines.
///
/// `parse` says of a bad line at which byte of the block's text it begins and what is wrong.
pub fn map_blocks<T: Send>(
    sources: &[Source],
    block_bytes: u64,
    meter: &Meter<'_>,
    parse: impl Fn(Block<'_>) -> Result<T, (usize, Problem)> + Sync,
) -> Result<Vec<T>> {
    parse_all(sources, block_bytes, meter, look_and(&parse))
}

/// The same without a look at the text: it may be no UTF-8, and nothing is known to be clean. For those who pick rows that
/// are looked at later.
pub fn map_unseen_blocks<T: Send>(
    sources: &[Source],
    block_bytes: u64,
    meter: &Meter<'_>,
    parse: impl Fn(Block<'_>) -> T + Sync,
) -> Result<Vec<T>> {
    parse_all(sources, block_bytes, meter, |block| Ok(parse(block)))
}

fn parse_all<T: Send>(
    sources: &[Source],
    block_bytes: u64,
    meter: &Meter<'_>,
    parse: impl Fn(Block<'_>) -> Result<T, (usize, Problem)> + Sync,
) -> Result<Vec<T>> {
    let buffers = Mutex::default();
    // All results are awaited, so that of several bad lines the first one is reported.
    let results: Vec<Result<T>> = cut(sources, block_bytes)
        .par_iter()
        .with_max_len(1)
        .map(|&block| parse_block(sources, block, block_bytes, meter, &buffers, &parse))
        .collect();
    results.into_iter().collect()
}

/// The same, but the last blocks are parsed first, as far as several cores can keep an order: for those who look for what
/// is newest. The results are in the order of the lines all the same.
pub fn map_blocks_backwards<T: Send>(
    sources: &[Source],
    block_bytes: u64,
    meter: &Meter<'_>,
    parse: impl Fn(Block<'_>) -> Result<T, (usize, Problem)> + Sync,
) -> Result<Vec<T>> {
    let buffers = Mutex::default();
    let blocks = cut(sources, block_bytes);
    let left = AtomicUsize::new(blocks.len());
    let take = |()| left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).ok().map(|left| left - 1);
    let of_one_core = |_| -> Vec<(usize, Result<T>)> {
        let places = std::iter::repeat_n((), blocks.len()).map_while(take);
        places
            .map(|place| {
                (place, parse_block(sources, blocks[place], block_bytes, meter, &buffers, look_and(&parse)))
            })
            .collect()
    };
    let cores = (0..rayon::current_num_threads()).into_par_iter().with_max_len(1);
    let mut results: Vec<_> = cores.flat_map_iter(of_one_core).collect();
    results.sort_unstable_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The same for what does not fit the memory all at once: results are taken in the order of the lines as they come.
pub fn each_block<T: Send>(
    sources: &[Source],
    block_bytes: u64,
    meter: &Meter<'_>,
    parse: impl Fn(Block<'_>) -> Result<T, (usize, Problem)> + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let buffers = Mutex::default();
    for batch in cut(sources, block_bytes).chunks(4 * rayon::current_num_threads()) {
        let results: Vec<Result<T>> = batch
            .par_iter()
            .with_max_len(1)
            .map(|&block| parse_block(sources, block, block_bytes, meter, &buffers, look_and(&parse)))
            .collect();
        for result in results {
            take(result?)?;
        }
    }
    Ok(())
}

/// The blocks of files: which file, and the number of the block in it.
fn cut(sources: &[Source], block_bytes: u64) -> Vec<(usize, u64)> {
    let blocks = |(index, source): (usize, &Source)| {
        (0..source.length().div_ceil(block_bytes)).map(move |block| (index, block))
    };
    sources.iter().enumerate().flat_map(blocks).collect()
}

fn parse_block<T>(
    sources: &[Source],
    (index, number): (usize, u64),
    block_bytes: u64,
    meter: &Meter<'_>,
    buffers: &Mutex<Vec<Vec<u8>>>,
    parse: impl Fn(Block<'_>) -> Result<T, (usize, Problem)>,
) -> Result<T> {
    let source = &sources[index];
    let start = number * block_bytes;
    let mut buffer = lock(buffers).pop().unwrap_or_default();
    let (offset, text) = read_block(source, start, block_bytes, &mut buffer)?;
    meter.advance(block_bytes.min(source.length() - start))?;
    let parsed = parse(Block { source: small(index), offset, text, clean: false });
    let result = parsed.map_err(|(at, problem)| line_error(source, offset + at as u64, &problem));
    lock(buffers).push(buffer);
    result
}

/// Looks at the text of a block before it is parsed.
fn look_and<T>(
    parse: &impl Fn(Block<'_>) -> Result<T, (usize, Problem)>,
) -> impl Fn(Block<'_>) -> Result<T, (usize, Problem)> {
    |block| parse(Block { clean: look(block.text)?, ..block })
}

/// A panic of another thread ends the run anyway; it must not be covered by a second one here.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The lines of a text that are not blank, each with the byte at which it begins, without line ends.
pub fn rows(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = lines(text).map(|range| (range.start, &text[range]));
    lines.filter(|(_, line)| !blank(line))
}

/// An error for the line of a file that begins at a byte.
#[must_use]
pub fn line_error(source: &Source, offset: u64, problem: &Problem) -> Error {
    match source.line_number(offset) {
        Ok(line) => Error::line(source.path(), line, problem.message.clone()).hint(problem.hint),
        Err(error) => error,
    }
}

/// Whether a text is clean; an error where it is not UTF-8.
fn look(text: &[u8]) -> Result<bool, (usize, Problem)> {
    /// Bytes of which is asked at once whether they are ASCII: few are not in most tables.
    const PIECE: usize = 256;
    let check = |start: usize, end: usize| {
        std::str::from_utf8(&text[start..end]).map(|_| ()).map_err(|error| {
            let valid = start + error.valid_up_to();
            let at = memchr::memrchr(b'\n', &text[..valid]).map_or(0, |end| end + 1);
            (at, Problem { message: "the line is not UTF-8".into(), hint: ROW_HINT })
        })
    };
    let mut unclean = 0;
    // Where the pieces begin that are not ASCII. Between two that are no character is cut.
    let mut other = None;
    for (number, piece) in text.chunks(PIECE).enumerate() {
        // No early end, and no sum wider than a byte: this way sixteen bytes are looked at in one go.
        let mut highest = 0;
        for &byte in piece {
            unclean |= u8::from(byte < b' ' && byte != b'\n');
            highest |= byte;
        }
        if !highest.is_ascii() {
            other.get_or_insert(number * PIECE);
        } else if let Some(start) = other.take() {
            check(start, number * PIECE)?;
        }
    }
    if let Some(start) = other {
        check(start, text.len())?;
    }
    Ok(unclean == 0)
}

/// The lines of a block and where they begin in the file.
fn read_block<'a>(
    source: &'a Source,
    start: u64,
    block_bytes: u64,
    buffer: &'a mut Vec<u8>,
) -> Result<(u64, &'a [u8])> {
    let end = (start + block_bytes).min(source.length());
    let text = match source.in_memory() {
        Some(bytes) => &bytes[as_size(start)..],
        None => read_behind(source, start, end, buffer)?,
    };
    let mut from = 0;
    if 0 < start {
        match memchr::memchr(b'\n', &text[..as_size(end - start)]) {
            Some(line_end) => from = line_end + 1,
            None => return Ok((start, b"")),
        }
    } else if text.starts_with(BOM) {
        from = BOM.len();
    }
    let inside = as_size(end - start);
    let to = memchr::memchr(b'\n', &text[inside..]).map_or(text.len(), |line_end| inside + line_end + 1);
    let from = from.min(to);
    Ok((start + from as u64, &text[from..to]))
}

/// The bytes of a block and as many behind it as its last line needs.
fn read_behind<'a>(source: &Source, start: u64, end: u64, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
    let mut n_read = 0;
    let mut to = (end + TAIL_BYTES).min(source.length());
    loop {
        let wanted = as_size(to - start);
        if buffer.len() < wanted {
            buffer.resize(wanted, 0);
        }
        source.read_at(&mut buffer[n_read..wanted], start + n_read as u64)?;
        let behind = n_read.max(as_size(end - start));
        n_read = wanted;
        if to == source.length() || memchr::memchr(b'\n', &buffer[behind..wanted]).is_some() {
            return Ok(&buffer[..wanted]);
        }
        to = (to + 16 * TAIL_BYTES).min(source.length());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::{files::Files, progress::Silent, table::find::Part};

    fn sources(contents: &[&[u8]]) -> (tempfile::TempDir, Vec<Source>) {
        let folder = tempfile::tempdir().unwrap();
        let sources = contents.iter().enumerate().map(|(index, content)| {
            let path = folder.path().join(index.to_string());
            Files::real().create(&path).unwrap().write_all(content).unwrap();
            Source::open(&Part { path, committed: None }, &Files::real()).unwrap()
        });
        let sources = sources.collect();
        (folder, sources)
    }

    fn all_lines(sources: &[Source], block_bytes: u64) -> Vec<(u32, u64, String)> {
        let lines = |block: Block<'_>| {
            let lines = rows(block.text).map(|(at, line)| {
                (block.source, block.offset + at as u64, String::from_utf8(line.to_vec()).unwrap())
            });
            Ok(lines.collect::<Vec<_>>())
        };
        let blocks = map_blocks(sources, block_bytes, &Meter::new(&Silent), lines);
        let blocks = blocks.unwrap();
        let backwards = map_blocks_backwards(sources, block_bytes, &Meter::new(&Silent), lines).unwrap();
        assert_eq!(blocks, backwards);
        blocks.concat()
    }

    #[test]
    fn lines_are_the_same_for_every_block_size_and_compression() {
        let text = "\u{feff}one\r\n\n  \ntwo and more\n\nthree\nfour".as_bytes();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).unwrap();
        let zstd = zstd::encode_all(text, 1).unwrap();
        let (_folder, sources) = sources(&[text, b"", &gzip.finish().unwrap(), &zstd, b"\n"]);
        let mut expected = Vec::new();
        for source in [0, 2, 3] {
            for (offset, line) in [(3, "one"), (12, "two and more"), (26, "three"), (32, "four")] {
                expected.push((source, offset, line.to_owned()));
            }
        }
        for block_bytes in 1..50 {
            assert_eq!(all_lines(&sources, block_bytes), expected, "{block_bytes}");
        }
    }

    #[test]
    fn a_line_longer_than_block_and_tail_is_one_line() {
        let long = vec![b'x'; 700_000];
        let text = [b"a\n", &long[..], b"\nb\n", &long[..]].concat();
        let (_folder, sources) = sources(&[&text]);
        let lengths: Vec<_> = all_lines(&sources, 1000).iter().map(|(_, _, line)| line.len()).collect();
        assert_eq!(lengths, [1, 700_000, 1, 700_000]);
    }

    #[test]
    fn of_several_bad_lines_the_first_is_named() {
        let (_folder, sources) = sources(&[b"ok\n\nbad\nbad\n", b"bad\n"]);
        let result = map_blocks(&sources, 2, &Meter::new(&Silent), |block| {
            for (at, line) in rows(block.text) {
                if line == b"bad" {
                    return Err((at, Problem { message: "bad".into(), hint: ROW_HINT }));
                }
            }
            Ok(())
        });
        let Err(Error::Hinted { error, .. }) = result else { panic!("{result:?}") };
        let Error::Line { path, line, .. } = *error else { panic!("{error:?}") };
        assert_eq!((path.file_name().unwrap().to_str().unwrap(), line), ("0", 3));
    }

    #[test]
    fn a_text_is_looked_at_in_pieces_as_it_is_as_a_whole() {
        let lines: Vec<String> =
            (0..400).map(|n| "x".repeat(n % 7 * 40) + ["", "\u{e9}", "\u{1f600}"][n % 3]).collect();
        let text = lines.join("\n").into_bytes();
        assert_eq!(look(&text), Ok(true));
        for at in (0..text.len()).step_by(37) {
            for byte in [7, 0xff] {
                let mut other = text.clone();
                other[at] = byte;
                let line_of = |at: usize| memchr::memrchr(b'\n', &other[..at]).map_or(0, |end| end + 1);
                let whole = std::str::from_utf8(&other);
                let expected = whole.map(|_| false).map_err(|error| line_of(error.valid_up_to()));
                assert_eq!(look(&other).map_err(|(at, _)| at), expected, "{byte} at {at}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_named_by_line() {
        let (_folder, sources) = sources(&[b"ok\nok\n\xff\n"]);
        let error = map_blocks(&sources, 1 << 19, &Meter::new(&Silent), |_| Ok(())).unwrap_err();
        assert!(error.to_string().ends_with("0:3: the line is not UTF-8"), "{error}");
    }
}
