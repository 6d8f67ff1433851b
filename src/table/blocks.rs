//! Divides raw tables into blocks of whole lines, and reads and parses them on all cores.
//!
//! Block boundaries are at fixed offsets, so that every core can find its lines without the others. Block `i` has the
//! lines that begin after its first line end, up to the first line end of block `i + 1`. Results are returned in line
//! order, so they do not depend on the number of threads.

use std::{
    borrow::Cow,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use rayon::prelude::*;

use super::{source::TableSource, to_u32, to_usize};
use crate::{
    error::{Error, Result},
    progress::Progress,
    read::lines::{BOM, is_blank, lines},
};

/// Size of a block in bytes: small enough to stay in a core's cache between reading and parsing.
pub const BLOCK_BYTES: u64 = 1 << 19;

/// Bytes to read past the end of a block for its last line. A longer line needs further reads.
const TAIL_BYTES: u64 = 1 << 13;

/// Whole lines of a file.
#[derive(Debug, Clone, Copy)]
pub struct TableBlock<'a> {
    /// Index of the file.
    pub source: u32,
    /// Offset of the text in the file.
    pub offset: u64,
    /// The lines, in UTF-8 unless the block comes from [`map_unchecked_blocks`].
    pub text: &'a [u8],
    /// Whether the text is known to contain no control characters except line feeds.
    pub clean: bool,
}

impl TableBlock<'_> {
    /// Estimates the number of rows from the length of the first, to allocate memory once.
    #[must_use]
    pub fn estimated_rows(&self) -> usize {
        let first = memchr::memchr(b'\n', self.text).unwrap_or(self.text.len());
        self.text.len() / (first + 1) + 1
    }
}

/// What is wrong with a line, before its number is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineProblem {
    /// The message, in lower case and without a full stop.
    pub message: Cow<'static, str>,
    /// What to do about it, in the imperative.
    pub hint: &'static str,
}

/// Hint for a line that is not a row at all.
pub const ROW_HINT: &str = "write raw tables as one JSON object per line";

/// Reports the progress of a job from many threads, one at a time.
pub struct SharedProgress<'a> {
    progress: &'a dyn Progress,
    telling: Mutex<()>,
}

impl<'a> SharedProgress<'a> {
    /// Creates a meter that reports to `progress`.
    #[must_use]
    pub fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, telling: Mutex::new(()) }
    }

    /// Reports the start of a step and its size in bytes, if known.
    pub fn start(&self, step: &str, bytes: Option<u64>) {
        self.with(|progress| progress.start(step, bytes));
    }

    /// Reports that `bytes` more bytes are done. Returns an error if the user asked to stop.
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

/// Calls `parse` for every block of the files on all cores. Returns the results in line order.
///
/// For an invalid line, `parse` returns its offset in the text of the block and what is wrong.
pub fn map_blocks<T: Send>(
    sources: &[TableSource],
    block_bytes: u64,
    meter: &SharedProgress<'_>,
    parse: impl Fn(TableBlock<'_>) -> Result<T, (usize, LineProblem)> + Sync,
) -> Result<Vec<T>> {
    parse_all(sources, block_bytes, meter, check_then(&parse))
}

/// Maps blocks like [`map_blocks`], but without checking the text: it may not be UTF-8, and no block is marked clean.
/// Use it to select rows that are checked later.
pub fn map_unchecked_blocks<T: Send>(
    sources: &[TableSource],
    block_bytes: u64,
    meter: &SharedProgress<'_>,
    parse: impl Fn(TableBlock<'_>) -> T + Sync,
) -> Result<Vec<T>> {
    parse_all(sources, block_bytes, meter, |block| Ok(parse(block)))
}

fn parse_all<T: Send>(
    sources: &[TableSource],
    block_bytes: u64,
    meter: &SharedProgress<'_>,
    parse: impl Fn(TableBlock<'_>) -> Result<T, (usize, LineProblem)> + Sync,
) -> Result<Vec<T>> {
    let buffers = Mutex::default();
    // Wait for all results, so that the first of several invalid lines is reported.
    let results: Vec<Result<T>> = cut(sources, block_bytes)
        .par_iter()
        .with_max_len(1)
        .map(|&block| parse_block(sources, block, block_bytes, meter, &buffers, &parse))
        .collect();
    results.into_iter().collect()
}

/// Maps blocks like [`map_blocks`], but parses the last blocks first, as far as several cores can keep an order. Use it
/// to find the newest rows. The results are still in line order.
pub fn map_blocks_backwards<T: Send>(
    sources: &[TableSource],
    block_bytes: u64,
    meter: &SharedProgress<'_>,
    parse: impl Fn(TableBlock<'_>) -> Result<T, (usize, LineProblem)> + Sync,
) -> Result<Vec<T>> {
    let buffers = Mutex::default();
    let blocks = cut(sources, block_bytes);
    let left = AtomicUsize::new(blocks.len());
    let take = |()| left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).ok().map(|left| left - 1);
    let of_one_core = |_| -> Vec<(usize, Result<T>)> {
        let places = std::iter::repeat_n((), blocks.len()).map_while(take);
        places
            .map(|place| {
                (place, parse_block(sources, blocks[place], block_bytes, meter, &buffers, check_then(&parse)))
            })
            .collect()
    };
    let cores = (0..rayon::current_num_threads()).into_par_iter().with_max_len(1);
    let mut results: Vec<_> = cores.flat_map_iter(of_one_core).collect();
    results.sort_unstable_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Maps blocks like [`map_blocks`], but passes each result to `take` in line order instead of collecting all. Use it
/// for results that do not fit in memory together.
pub fn each_block<T: Send>(
    sources: &[TableSource],
    block_bytes: u64,
    meter: &SharedProgress<'_>,
    parse: impl Fn(TableBlock<'_>) -> Result<T, (usize, LineProblem)> + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let buffers = Mutex::default();
    for batch in cut(sources, block_bytes).chunks(4 * rayon::current_num_threads()) {
        let results: Vec<Result<T>> = batch
            .par_iter()
            .with_max_len(1)
            .map(|&block| parse_block(sources, block, block_bytes, meter, &buffers, check_then(&parse)))
            .collect();
        for result in results {
            take(result?)?;
        }
    }
    Ok(())
}

/// Returns all blocks, as the index of the file and the number of the block in it.
fn cut(sources: &[TableSource], block_bytes: u64) -> Vec<(usize, u64)> {
    let blocks = |(index, source): (usize, &TableSource)| {
        (0..source.length().div_ceil(block_bytes)).map(move |block| (index, block))
    };
    sources.iter().enumerate().flat_map(blocks).collect()
}

fn parse_block<T>(
    sources: &[TableSource],
    (index, number): (usize, u64),
    block_bytes: u64,
    meter: &SharedProgress<'_>,
    buffers: &Mutex<Vec<Vec<u8>>>,
    parse: impl Fn(TableBlock<'_>) -> Result<T, (usize, LineProblem)>,
) -> Result<T> {
    let source = &sources[index];
    let start = number * block_bytes;
    let mut buffer = lock(buffers).pop().unwrap_or_default();
    let (offset, text) = read_block(source, start, block_bytes, &mut buffer)?;
    meter.advance(block_bytes.min(source.length() - start))?;
    let parsed = parse(TableBlock { source: to_u32(index), offset, text, clean: false });
    let result = parsed.map_err(|(at, problem)| line_error(source, offset + at as u64, &problem));
    lock(buffers).push(buffer);
    result
}

/// Wraps `parse` to check the text of a block first.
fn check_then<T>(
    parse: &impl Fn(TableBlock<'_>) -> Result<T, (usize, LineProblem)>,
) -> impl Fn(TableBlock<'_>) -> Result<T, (usize, LineProblem)> {
    |block| parse(TableBlock { clean: check_text(block.text)?, ..block })
}

/// Ignores poisoning. A panic of another thread ends the run anyway, and a second one here would hide it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Returns the lines of a text that are not blank, without line ends, each with its offset.
pub fn non_blank_lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = lines(text).map(|range| (range.start, &text[range]));
    lines.filter(|(_, line)| !is_blank(line))
}

/// Returns the error for the line that begins at `offset`.
#[must_use]
pub fn line_error(source: &TableSource, offset: u64, problem: &LineProblem) -> Error {
    match source.line_number(offset) {
        Ok(line) => Error::line(source.path(), line, problem.message.clone()).hint(problem.hint),
        Err(error) => error,
    }
}

/// Returns whether a text is clean, or an error if it is not UTF-8.
fn check_text(text: &[u8]) -> Result<bool, (usize, LineProblem)> {
    /// Bytes that are checked for ASCII together. In most tables, few such pieces contain anything else.
    const PIECE: usize = 256;
    let check = |start: usize, end: usize| {
        std::str::from_utf8(&text[start..end]).map(|_| ()).map_err(|error| {
            let valid = start + error.valid_up_to();
            let at = memchr::memrchr(b'\n', &text[..valid]).map_or(0, |end| end + 1);
            (at, LineProblem { message: "the line is not UTF-8".into(), hint: ROW_HINT })
        })
    };
    let mut unclean = 0;
    // Start of the current sequence of pieces that are not pure ASCII. No character spans its borders.
    let mut other = None;
    for (number, piece) in text.chunks(PIECE).enumerate() {
        // No early exit and only byte-wide sums, so that the compiler can check sixteen bytes at once.
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

/// Returns the offset of a block's lines in the file, and the lines.
fn read_block<'a>(
    source: &'a TableSource,
    start: u64,
    block_bytes: u64,
    buffer: &'a mut Vec<u8>,
) -> Result<(u64, &'a [u8])> {
    let end = (start + block_bytes).min(source.length());
    let text = match source.in_memory() {
        Some(bytes) => &bytes[to_usize(start)..],
        None => read_with_tail(source, start, end, buffer)?,
    };
    let mut from = 0;
    if 0 < start {
        match memchr::memchr(b'\n', &text[..to_usize(end - start)]) {
            Some(line_end) => from = line_end + 1,
            None => return Ok((start, b"")),
        }
    } else if text.starts_with(BOM) {
        from = BOM.len();
    }
    let inside = to_usize(end - start);
    let to = memchr::memchr(b'\n', &text[inside..]).map_or(text.len(), |line_end| inside + line_end + 1);
    let from = from.min(to);
    Ok((start + from as u64, &text[from..to]))
}

/// Reads a block, and as many bytes after it as its last line needs.
fn read_with_tail<'a>(
    source: &TableSource,
    start: u64,
    end: u64,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8]> {
    let mut n_read = 0;
    let mut to = (end + TAIL_BYTES).min(source.length());
    loop {
        let wanted = to_usize(to - start);
        if buffer.len() < wanted {
            buffer.resize(wanted, 0);
        }
        source.read_at(&mut buffer[n_read..wanted], start + n_read as u64)?;
        let behind = n_read.max(to_usize(end - start));
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
    use crate::{files::Files, progress::Silent, table::find::RawTableFile};

    fn sources(contents: &[&[u8]]) -> (tempfile::TempDir, Vec<TableSource>) {
        let folder = tempfile::tempdir().unwrap();
        let sources = contents.iter().enumerate().map(|(index, content)| {
            let path = folder.path().join(index.to_string());
            Files::real().create(&path).unwrap().write_all(content).unwrap();
            TableSource::open(&RawTableFile { path, committed: None }, &Files::real()).unwrap()
        });
        let sources = sources.collect();
        (folder, sources)
    }

    fn all_lines(sources: &[TableSource], block_bytes: u64) -> Vec<(u32, u64, String)> {
        let lines = |block: TableBlock<'_>| {
            let lines = non_blank_lines(block.text).map(|(at, line)| {
                (block.source, block.offset + at as u64, String::from_utf8(line.to_vec()).unwrap())
            });
            Ok(lines.collect::<Vec<_>>())
        };
        let blocks = map_blocks(sources, block_bytes, &SharedProgress::new(&Silent), lines);
        let blocks = blocks.unwrap();
        let backwards =
            map_blocks_backwards(sources, block_bytes, &SharedProgress::new(&Silent), lines).unwrap();
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
        let result = map_blocks(&sources, 2, &SharedProgress::new(&Silent), |block| {
            for (at, line) in non_blank_lines(block.text) {
                if line == b"bad" {
                    return Err((at, LineProblem { message: "bad".into(), hint: ROW_HINT }));
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
        assert_eq!(check_text(&text), Ok(true));
        for at in (0..text.len()).step_by(37) {
            for byte in [7, 0xff] {
                let mut other = text.clone();
                other[at] = byte;
                let line_of = |at: usize| memchr::memrchr(b'\n', &other[..at]).map_or(0, |end| end + 1);
                let whole = std::str::from_utf8(&other);
                let expected = whole.map(|_| false).map_err(|error| line_of(error.valid_up_to()));
                assert_eq!(check_text(&other).map_err(|(at, _)| at), expected, "{byte} at {at}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_named_by_line() {
        let (_folder, sources) = sources(&[b"ok\nok\n\xff\n"]);
        let error = map_blocks(&sources, 1 << 19, &SharedProgress::new(&Silent), |_| Ok(())).unwrap_err();
        assert!(error.to_string().ends_with("0:3: the line is not UTF-8"), "{error}");
    }
}
