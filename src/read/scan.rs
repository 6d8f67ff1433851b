//! A first, quick look at the inputs: their digests, where their lines are, and from when on events arrive in each unit.
//!
//! Events are resolved in the order of their arrival, which files mostly keep and never promise. Knowing for each unit the
//! earliest arrival in it, the second pass can let go of all events before the earliest of what is still unread: sorting
//! takes the memory of the disorder, not of the dump.
//!
//! The look is quick: it searches for `"receivedAt"` and reads the time behind it. Where a unit does not have it once a
//! line, the lines are parsed. Should it be fooled nevertheless, the second pass notices, and the look is taken again by
//! parsing everything.

use std::{
    fs::File,
    io::Read,
    ops::Range,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use memchr::memmem::Finder;
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    digest::{Digest, PIECE, hex_of_pieces},
    inputs::{Input, Packing, first_bytes, unpack},
    lines::{blank, lines},
    unit::{Place, UNIT, Unit},
};
use crate::{
    error::{Error, Result},
    event::{
        fields::Fields,
        json::{Document, Tape},
        parse::parse,
        timestamp::{Millis, parse_millis},
    },
    files::Files,
    progress::Progress,
};

/// How units are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// By searching for the key.
    Quick,
    /// By parsing each line.
    Thorough,
}

/// What a look at an input found.
#[derive(Debug)]
pub struct Scanned {
    /// The digest of its bytes as they are stored.
    pub digest: String,
    /// Bytes after unpacking.
    pub bytes: u64,
    /// Lines, blank ones too.
    pub n_lines: u64,
    /// Its units, in the order of the file.
    pub units: Vec<Unit>,
}

/// Looks at inputs; small ones are kept in memory so that they are read once.
pub struct Scanner<'a> {
    /// How.
    pub look: Look,
    /// So many bytes may be kept.
    pub keep: u64,
    /// The file system.
    pub files: &'a Files,
    /// Who is told.
    pub progress: &'a dyn Progress,
    kept: AtomicU64,
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl<'a> Scanner<'a> {
    /// A scanner that has kept nothing yet.
    pub fn new(look: Look, keep: u64, files: &'a Files, progress: &'a dyn Progress) -> Self {
        Self { look, keep, files, progress, kept: AtomicU64::new(0), buffers: Mutex::new(Vec::new()) }
    }

    /// Looks at one input. `known` is asked as soon as the digest of a packed file is known: unpacking what will be
    /// skipped would be a waste.
    pub fn scan(&self, number: u32, input: &Input, known: &(dyn Fn(&str) -> bool + Sync)) -> Result<Scanned> {
        if input.is_stdin() {
            let mut stdin = std::io::stdin();
            let unpacked = first_bytes(&mut stdin).and_then(|first| unpack(first, stdin));
            let mut unpacked = unpacked.map_err(|e| Error::io("read", "-", e))?;
            return self.scan_stream(number, input, &mut unpacked, None);
        }
        let mut file = self.files.open(&input.path)?;
        let metadata = file.metadata().map_err(|e| Error::io("read", &input.path, e))?;
        if metadata.is_dir() {
            return Err(Error::file(&input.path, "a folder stands where a file is expected"));
        }
        let first = first_bytes(&mut file).map_err(|e| Error::io("read", &input.path, e))?;
        if metadata.is_file() && Packing::of(&first) == Packing::Plain {
            return self.scan_plain(number, input, &file, metadata.len());
        }
        let mut digest = None;
        if metadata.is_file() {
            let hex = digest_of(&file, metadata.len()).map_err(|e| Error::io("read", &input.path, e))?;
            if known(&hex) {
                return Ok(Scanned { digest: hex, bytes: 0, n_lines: 0, units: Vec::new() });
            }
            digest = Some(hex);
        }
        let mut unpacked = unpack(first, file).map_err(|e| Error::io("read", &input.path, e))?;
        self.scan_stream(number, input, &mut unpacked, digest)
    }

    /// A stream: unpacked once and kept.
    fn scan_stream(
        &self,
        number: u32,
        input: &Input,
        mut stream: &mut (dyn Read + Send),
        digest: Option<String>,
    ) -> Result<Scanned> {
        let mut units = Vec::new();
        let mut content = Digest::default();
        let (mut offset, mut first_line) = (0, 1);
        let mut rest: Vec<u8> = Vec::new();
        loop {
            let mut bytes = std::mem::take(&mut rest);
            let before = bytes.len();
            let wanted = UNIT.max(before as u64);
            let n_read = (&mut stream).take(wanted).read_to_end(&mut bytes).map_err(|e| {
                Error::io("read", &input.path, e)
                    .hint("a packed file that was cut short cannot be read to its end")
            })?;
            if digest.is_none() {
                content.update(&bytes[before..]);
            }
            let ended = (n_read as u64) < wanted;
            let end = if ended { bytes.len() } else { memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1) };
            if end == 0 && !ended {
                rest = bytes;
                continue;
            }
            rest = bytes.split_off(end);
            if self.progress.interrupted() {
                return Err(Error::Interrupted);
            }
            if !bytes.is_empty() {
                let (earliest, latest, n_lines) = self.times(&bytes);
                let length = bytes.len() as u64;
                let place = Place::Memory(Arc::new(bytes));
                units.push(Unit {
                    input: number,
                    place,
                    offset,
                    length,
                    first_line,
                    n_lines,
                    earliest,
                    latest,
                });
                offset += length;
                first_line += n_lines;
            }
            if ended {
                let digest = digest.unwrap_or_else(|| content.hex());
                return Ok(Scanned { digest, bytes: offset, n_lines: first_line - 1, units });
            }
        }
    }

    /// A file that is not packed: looked at in pieces, on all cores.
    fn scan_plain(&self, number: u32, input: &Input, file: &File, size: u64) -> Result<Scanned> {
        let path = Arc::new(input.path.clone());
        let pieces: Vec<Piece> = (0..size.div_ceil(UNIT))
            .into_par_iter()
            .map(|piece| {
                if self.progress.interrupted() {
                    return Err(Error::Interrupted);
                }
                self.scan_piece(file, &path, piece * UNIT, size)
            })
            .collect::<Result<_>>()?;
        let mut first_line = 1;
        let mut units = Vec::with_capacity(pieces.len());
        let digest = hex_of_pieces(pieces.iter().map(|piece| piece.hash));
        for piece in pieces {
            let length = piece.lines.end - piece.lines.start;
            if length == 0 {
                continue;
            }
            let place = match piece.kept {
                Some(bytes) => Place::Memory(Arc::new(bytes)),
                None => Place::File { path: Arc::clone(&path) },
            };
            units.push(Unit {
                input: number,
                place,
                offset: piece.lines.start,
                length,
                first_line,
                n_lines: piece.n_lines,
                earliest: piece.earliest,
                latest: piece.latest,
            });
            first_line += piece.n_lines;
        }
        Ok(Scanned { digest, bytes: size, n_lines: first_line - 1, units })
    }

    /// The lines that begin in a piece of a file.
    fn scan_piece(&self, file: &File, path: &Arc<PathBuf>, start: u64, size: u64) -> Result<Piece> {
        const MARGIN: u64 = 1 << 15;
        let io = |e| Error::io("read", &**path, e).hint("the file must not shrink while it is being read");
        let end = (start + UNIT).min(size);
        // One byte before tells whether a line begins right at the start; the margin mostly holds the end of the last one.
        let from = start.saturating_sub(1);
        let spare = self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut bytes = spare.unwrap_or_default();
        let mut to = (end + MARGIN).min(size);
        let mut have = 0;
        let mut read_to = |bytes: &mut Vec<u8>, to: u64| -> std::io::Result<()> {
            bytes.resize(usize::try_from(to - from).unwrap_or(usize::MAX), 0);
            file.read_exact_at(&mut bytes[have..], from + have as u64)?;
            have = bytes.len();
            Ok(())
        };
        read_to(&mut bytes, to).map_err(io)?;
        let at = |offset: u64| usize::try_from(offset - from).unwrap_or(usize::MAX);
        let hash = xxh3_128(&bytes[at(start)..at(end)]);
        let first = if start == 0 {
            Some(0)
        } else {
            memchr::memchr(b'\n', &bytes[..at(end) - 1]).map(|found| from + found as u64 + 1)
        };
        let Some(first) = first else {
            return Ok(Piece { hash, ..Piece::default() });
        };
        let mut last_end = None;
        let mut searched = at(end) - 1;
        while last_end.is_none() {
            match memchr::memchr(b'\n', &bytes[searched..]) {
                Some(found) => last_end = Some(from + (searched + found) as u64 + 1),
                None if to == size => last_end = Some(size),
                None => {
                    searched = bytes.len();
                    to = (to + (to - from)).min(size);
                    read_to(&mut bytes, to).map_err(io)?;
                }
            }
        }
        let lines = first..last_end.unwrap_or(size);
        let (earliest, latest, n_lines) = self.times(&bytes[at(lines.start)..at(lines.end)]);
        let mut piece = Piece { hash, lines: lines.clone(), n_lines, earliest, latest, kept: None };
        let length = lines.end - lines.start;
        if self.kept.fetch_add(length, Ordering::Relaxed) + length <= self.keep {
            piece.kept = Some(bytes[at(lines.start)..at(lines.end)].to_vec());
        }
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
        Ok(piece)
    }

    /// When the first and the last event of some lines arrived, and how many lines there are.
    fn times(&self, bytes: &[u8]) -> (Millis, Millis, u64) {
        let n_ends = memchr::memchr_iter(b'\n', bytes).count() as u64;
        let n_lines = n_ends + u64::from(!bytes.ends_with(b"\n"));
        let quick = if self.look == Look::Quick { quick_times(bytes, n_lines) } else { None };
        let (earliest, latest) = quick.unwrap_or_else(|| thorough_times(bytes));
        (earliest, latest, n_lines)
    }
}

#[derive(Default)]
struct Piece {
    hash: u128,
    lines: Range<u64>,
    n_lines: u64,
    earliest: Millis,
    latest: Millis,
    kept: Option<Vec<u8>>,
}

/// The times behind the key, where it stands once a line.
fn quick_times(bytes: &[u8], n_lines: u64) -> Option<(Millis, Millis)> {
    const KEY: &[u8] = b"\"receivedAt\"";
    let (mut earliest, mut latest, mut n_found) = (Millis::MAX, Millis::MIN, 0);
    for found in Finder::new(KEY).find_iter(bytes) {
        let mut rest = bytes.get(found + KEY.len()..)?;
        let skip_space = |rest: &mut &[u8]| {
            while let Some((b' ' | b'\t', behind)) = rest.split_first() {
                *rest = behind;
            }
        };
        skip_space(&mut rest);
        rest = rest.strip_prefix(b":")?;
        skip_space(&mut rest);
        rest = rest.strip_prefix(b"\"")?;
        let end = memchr::memchr(b'"', rest.get(..rest.len().min(48))?)?;
        let time = parse_millis(&rest[..end])?;
        earliest = earliest.min(time);
        latest = latest.max(time);
        n_found += 1;
    }
    (n_found == n_lines).then_some((earliest, latest))
}

/// The times of the events themselves.
fn thorough_times(bytes: &[u8]) -> (Millis, Millis) {
    let (mut earliest, mut latest) = (Millis::MAX, Millis::MIN);
    let mut tape = Tape::default();
    for line in lines(bytes) {
        let line = &bytes[line];
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        if blank(line) || tape.read(line).is_err() {
            continue;
        }
        let doc = Document { text: line, tokens: &tape.tokens };
        let fields = Fields::read(doc, 0);
        let mut see = |fields| {
            if let Ok(parsed) = parse(doc, fields) {
                earliest = earliest.min(parsed.received_at);
                latest = latest.max(parsed.received_at);
            }
        };
        if fields.envelope(doc) {
            for item in fields.batch.into_iter().flat_map(|batch| doc.items(batch)) {
                see(Fields::read(doc, item).filled_from(doc, item, &fields));
            }
        } else {
            see(fields);
        }
    }
    (earliest, latest)
}

/// The digest of a file's bytes as they are stored.
fn digest_of(file: &File, size: u64) -> std::io::Result<String> {
    let mut piece = vec![0; usize::try_from(PIECE).unwrap_or(usize::MAX)];
    let mut pieces = Vec::new();
    let mut offset = 0;
    while offset < size {
        let length = usize::try_from((size - offset).min(PIECE)).unwrap_or(usize::MAX);
        file.read_exact_at(&mut piece[..length], offset)?;
        pieces.push(xxh3_128(&piece[..length]));
        offset += length as u64;
    }
    Ok(hex_of_pieces(pieces))
}
