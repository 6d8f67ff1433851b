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
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use memchr::memmem::Finder;
use rayon::prelude::*;

use super::{
    digest::Hashing,
    inputs::{Input, Packing, first_bytes, refuse_tar, unpack},
    lines::{BOM, MAX_LINE, blank, end_length, lines},
    patient::Patient,
    spill::Spill,
    unit::{Place, Seen, UNIT, UNIT_BYTES, Unit},
};
use crate::{
    error::{Error, Result, decompression_hint},
    event::{
        fields::Fields,
        parse::{Parsed, parse},
        reject::KEPT_TEXT,
    },
    files::{Files, is_pipe},
    json::{Document, Tape},
    progress::Progress,
    time::{
        reader::TimeReader,
        timestamp::{Millis, parse_millis},
    },
};

/// What may stand around the longest line: a byte order mark, and CRLF.
const AROUND: usize = BOM.len() + 2;

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
    /// So many bytes may be kept in memory.
    pub keep: u64,
    /// How digests are taken.
    pub hashing: &'a Hashing,
    /// Where streams go that are more than that.
    pub spill: &'a Spill,
    /// The file system.
    pub files: &'a Files,
    /// Who is told.
    pub progress: &'a dyn Progress,
    kept: AtomicU64,
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl<'a> Scanner<'a> {
    /// A scanner that has kept nothing yet.
    pub fn new(
        look: Look,
        keep: u64,
        hashing: &'a Hashing,
        spill: &'a Spill,
        files: &'a Files,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            look,
            keep,
            hashing,
            spill,
            files,
            progress,
            kept: AtomicU64::new(0),
            buffers: Mutex::new(Vec::new()),
        }
    }

    /// Looks at one input. `known` is asked as soon as the digest of a packed file is known: unpacking what will be
    /// skipped would be a waste.
    pub fn scan(&self, number: u32, input: &Input, known: &(dyn Fn(&str) -> bool + Sync)) -> Result<Scanned> {
        if input.is_stdin() || is_pipe(&input.path) {
            let mut stream = Patient::open(input, self.files, self.progress)?;
            let unpacked = first_bytes(&mut stream).and_then(|first| unpack(first, stream));
            let mut unpacked = unpacked.map_err(|e| Patient::error(&input.path, e))?;
            return self.scan_stream(number, input, &mut unpacked, None);
        }
        let mut file = self.files.open(&input.path)?;
        let metadata = file.metadata().map_err(|e| Error::io("read", &input.path, e))?;
        if metadata.is_dir() {
            return Err(Error::file(&input.path, "a folder stands where a file is expected"));
        }
        let first = first_bytes(&mut file).map_err(|e| Error::io("read", &input.path, e))?;
        if metadata.is_file() && Packing::of(&first) == Packing::Plain {
            let modified = metadata.modified().ok();
            let id = (metadata.dev(), metadata.ino());
            let digest = String::new();
            let hashing = self.hashing.clone();
            let seen = Seen { path: input.path.clone(), size: metadata.len(), modified, id, digest, hashing };
            return self.scan_plain(number, &file, seen);
        }
        let mut digest = None;
        if metadata.is_file() {
            let hex = self.hashing.digest_of(&file, metadata.len());
            let hex = hex.map_err(|e| Error::io("read", &input.path, e))?;
            if known(&hex) {
                return Ok(Scanned { digest: hex, bytes: 0, n_lines: 0, units: Vec::new() });
            }
            digest = Some(hex);
        }
        let mut unpacked = unpack(first, file).map_err(|e| Error::io("read", &input.path, e))?;
        self.scan_stream(number, input, &mut unpacked, digest)
    }

    /// A stream: unpacked once and kept, in memory or spilled.
    fn scan_stream(
        &self,
        number: u32,
        input: &Input,
        mut stream: &mut (dyn Read + Send),
        digest: Option<String>,
    ) -> Result<Scanned> {
        let mut content = self.hashing.begin();
        let mut found = Found { number, units: Vec::new(), offset: 0, first_line: 1 };
        let mut rest: Vec<u8> = Vec::new();
        // Bytes of a line that is too long, of which only the beginning is in `rest`; and the last of them.
        let (mut dropped, mut last_dropped) = (0, 0);
        loop {
            let before = rest.len();
            // Filled up and no more: what is kept holds no room that nobody uses.
            let wanted = UNIT_BYTES - before % UNIT_BYTES;
            let mut bytes = Vec::with_capacity(before + wanted);
            bytes.append(&mut rest);
            let read = (&mut stream).take(wanted as u64).read_to_end(&mut bytes);
            let n_read = read.map_err(|e| {
                let hint = decompression_hint(&e);
                match Patient::error(&input.path, e) {
                    Error::Interrupted => Error::Interrupted,
                    error => error.hint(hint),
                }
            })?;
            if found.offset == 0 {
                refuse_tar(&input.path, &bytes)?;
            }
            if digest.is_none() {
                content.update(&bytes[before..]);
            }
            if self.progress.interrupted() {
                return Err(Error::Interrupted);
            }
            let ended = n_read < wanted;
            if 0 < dropped {
                let end = memchr::memchr(b'\n', &bytes[before..]).map(|at| before + at + 1);
                if end.is_none() && !ended {
                    dropped += n_read as u64;
                    last_dropped = bytes[bytes.len() - 1];
                    bytes.truncate(before);
                    rest = bytes;
                    continue;
                }
                let behind = bytes.split_off(end.unwrap_or(bytes.len()));
                let length = bytes.len() as u64 + dropped;
                bytes[before - 1] = last_dropped;
                let line_end = end_length(&bytes[before - 1..]);
                bytes.truncate(KEPT_TEXT + 4);
                let text = length - (bom_length(found.offset, &bytes) + line_end) as u64;
                found.too_long(Place::Memory(Arc::new(bytes)), LongLine { length, text });
                dropped = 0;
                bytes = behind;
            }
            let end = if ended { bytes.len() } else { memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1) };
            rest = bytes.split_off(end);
            if MAX_LINE + AROUND < rest.len() {
                dropped = (rest.len() - MAX_LINE) as u64;
                last_dropped = rest[rest.len() - 1];
                rest.truncate(MAX_LINE);
            }
            if !bytes.is_empty() {
                let times = self.times(&bytes);
                let length = bytes.len() as u64;
                // A small input must not keep the room of a large one.
                bytes.shrink_to_fit();
                let place = if self.kept.fetch_add(length, Ordering::Relaxed) + length <= self.keep {
                    Place::Memory(Arc::new(bytes))
                } else {
                    Place::Spilled(self.spill.put(&bytes)?)
                };
                found.lines(place, length, times);
            }
            if ended {
                let digest = digest.unwrap_or_else(|| content.hex());
                return Ok(Scanned {
                    digest,
                    bytes: found.offset,
                    n_lines: found.first_line - 1,
                    units: found.units,
                });
            }
        }
    }

    /// A file that is not packed: looked at in pieces, on all cores.
    fn scan_plain(&self, number: u32, file: &File, mut seen: Seen) -> Result<Scanned> {
        let (path, size) = (&seen.path, seen.size);
        let pieces: Vec<Piece> = (0..size.div_ceil(UNIT))
            .collect::<Vec<_>>()
            .into_par_iter()
            .with_max_len(1)
            .map(|piece| {
                if self.progress.interrupted() {
                    return Err(Error::Interrupted);
                }
                self.scan_piece(file, path, piece * UNIT, size)
            })
            .collect::<Result<_>>()?;
        let digest = self.hashing.hex_of_pieces(pieces.iter().map(|piece| piece.hash));
        seen.digest.clone_from(&digest);
        let seen = Arc::new(seen);
        let mut found = Found { number, units: Vec::with_capacity(pieces.len()), offset: 0, first_line: 1 };
        for piece in pieces {
            let in_file = || Place::File(Arc::clone(&seen));
            if piece.lines.start < piece.lines.end {
                found.offset = piece.lines.start;
                let place = piece.kept.map_or_else(in_file, |bytes| Place::Memory(Arc::new(bytes)));
                found.lines(place, piece.lines.end - piece.lines.start, piece.times);
            }
            if let Some((start, line)) = piece.too_long {
                found.offset = start;
                found.too_long(in_file(), line);
            }
        }
        Ok(Scanned { digest, bytes: size, n_lines: found.first_line - 1, units: found.units })
    }

    /// The lines that begin in a piece of a file.
    fn scan_piece(&self, file: &File, path: &Path, start: u64, size: u64) -> Result<Piece> {
        const MARGIN: u64 = 1 << 15;
        let io = |e| Error::io("read", path, e).hint("the file must not shrink while it is being read");
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
        if start == 0 {
            refuse_tar(path, &bytes)?;
        }
        let at = |offset: u64| usize::try_from(offset - from).unwrap_or(usize::MAX);
        let hash = self.hashing.piece(&bytes[at(start)..at(end)]);
        let first = if start == 0 {
            Some(0)
        } else {
            memchr::memchr(b'\n', &bytes[..at(end) - 1]).map(|found| from + found as u64 + 1)
        };
        let Some(first) = first else {
            return Ok(Piece { hash, ..Piece::default() });
        };
        let mut searched = at(end) - 1;
        let mut last_end = None;
        while last_end.is_none() {
            match memchr::memchr(b'\n', &bytes[searched..]) {
                Some(found) => last_end = Some(from + (searched + found) as u64 + 1),
                None if to == size => last_end = Some(size),
                None if UNIT_BYTES + MAX_LINE + AROUND < bytes.len() => break,
                None => {
                    searched = bytes.len();
                    to = (to + (to - from)).min(size);
                    read_to(&mut bytes, to).map_err(io)?;
                }
            }
        }
        let mut piece = Piece { hash, ..Piece::default() };
        let last_end = match last_end {
            Some(last_end) => last_end,
            // The last line goes on and on: the lines before it are the unit.
            None => end_of_line(file, to, size).map_err(io)?,
        };
        let last_start =
            memchr::memrchr(b'\n', &bytes[..at(end) - 1]).map_or(first, |found| from + found as u64 + 1);
        piece.lines = first..last_end;
        let length = last_end - last_start;
        if MAX_LINE as u64 <= length {
            let mut line_end = [0; 2];
            file.read_exact_at(&mut line_end, last_end - 2).map_err(io)?;
            let bom = bom_length(last_start, &bytes[at(last_start)..]);
            let text = length - (bom + end_length(&line_end)) as u64;
            if (MAX_LINE as u64) < text {
                piece.lines = first..last_start;
                piece.too_long = Some((last_start, LongLine { length, text }));
            }
        }
        let (lines, length) = (piece.lines.clone(), piece.lines.end - piece.lines.start);
        if 0 < length {
            let text = &bytes[at(lines.start)..at(lines.end)];
            piece.times = self.times(text);
            if self.kept.fetch_add(length, Ordering::Relaxed) + length <= self.keep {
                piece.kept = Some(text.to_vec());
            }
        }
        // A buffer that a long line has blown up is not kept.
        if bytes.len() <= 2 * UNIT_BYTES {
            self.buffers.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
        }
        Ok(piece)
    }

    /// When the first and the last event of some lines arrived, and how many lines there are.
    fn times(&self, bytes: &[u8]) -> Times {
        let n_ends = memchr::memchr_iter(b'\n', bytes).count() as u64;
        let n_lines = n_ends + u64::from(!bytes.ends_with(b"\n"));
        let quick = if self.look == Look::Quick { quick_times(bytes, n_lines) } else { None };
        let (earliest, latest) = quick.unwrap_or_else(|| thorough_times(bytes));
        Times { earliest, latest, n_lines }
    }
}

#[derive(Clone, Copy, Default)]
struct Times {
    earliest: Millis,
    latest: Millis,
    n_lines: u64,
}

#[derive(Default)]
struct Piece {
    hash: u128,
    lines: Range<u64>,
    times: Times,
    kept: Option<Vec<u8>>,
    /// A last line that is too long to be an event, and where it begins.
    too_long: Option<(u64, LongLine)>,
}

/// A line that is too long to be an event.
#[derive(Clone, Copy)]
struct LongLine {
    /// All its bytes.
    length: u64,
    /// Those between a byte order mark and its end.
    text: u64,
}

/// The units of an input, one behind the other.
struct Found {
    number: u32,
    units: Vec<Unit>,
    offset: u64,
    first_line: u64,
}

impl Found {
    fn lines(&mut self, place: Place, length: u64, times: Times) {
        let Times { earliest, latest, n_lines } = times;
        let (input, offset, first_line) = (self.number, self.offset, self.first_line);
        self.units.push(Unit {
            input,
            place,
            offset,
            length,
            first_line,
            n_lines,
            earliest,
            latest,
            keys: None,
            in_order: false,
            too_long: None,
        });
        self.offset += length;
        self.first_line += n_lines;
    }

    /// A line that is too long: its beginning is enough to list it.
    fn too_long(&mut self, place: Place, line: LongLine) {
        let LongLine { length, text } = line;
        self.units.push(Unit {
            input: self.number,
            place,
            offset: self.offset,
            length: length.min(KEPT_TEXT as u64 + 4),
            first_line: self.first_line,
            n_lines: 1,
            earliest: Millis::MAX,
            latest: Millis::MIN,
            keys: None,
            in_order: false,
            too_long: Some(text),
        });
        self.offset += length;
        self.first_line += 1;
    }
}

/// How many bytes of a line at `offset` of an input are a byte order mark, which only the first one has.
fn bom_length(offset: u64, line: &[u8]) -> usize {
    if offset == 0 && line.starts_with(BOM) { BOM.len() } else { 0 }
}

/// Where a line ends that goes on at `from`.
fn end_of_line(file: &File, from: u64, size: u64) -> std::io::Result<u64> {
    let mut bytes = vec![0; UNIT_BYTES];
    let mut offset = from;
    while offset < size {
        let length = usize::try_from((size - offset).min(UNIT)).unwrap_or(usize::MAX);
        file.read_exact_at(&mut bytes[..length], offset)?;
        if let Some(found) = memchr::memchr(b'\n', &bytes[..length]) {
            return Ok(offset + found as u64 + 1);
        }
        offset += length as u64;
    }
    Ok(size)
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

/// Looks at a unit by parsing its lines.
pub fn look_again(unit: &mut Unit, files: &Files) -> Result<()> {
    if unit.too_long.is_none() {
        let mut bytes = Vec::new();
        unit.read(&mut bytes, files)?;
        (unit.earliest, unit.latest) = thorough_times(&bytes);
    }
    Ok(())
}

/// The times of the events themselves.
fn thorough_times(bytes: &[u8]) -> (Millis, Millis) {
    let (mut earliest, mut latest) = (Millis::MAX, Millis::MIN);
    let mut tape = Tape::default();
    // A byte order mark may come first.
    let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
    for line in lines(bytes) {
        if let Some(times) = line_times(&bytes[line], &mut tape) {
            earliest = earliest.min(times.earliest);
            latest = latest.max(times.latest);
        }
    }
    (earliest, latest)
}

/// What is known of the events of a line before it is read in earnest.
#[derive(Debug)]
pub struct LineTimes {
    /// When the first of them arrived.
    pub earliest: Millis,
    /// When the last of them arrived.
    pub latest: Millis,
}

/// When the events of a line arrived; `None` for a blank line.
pub fn line_times(line: &[u8], tape: &mut Tape) -> Option<LineTimes> {
    let mut times = LineTimes { earliest: Millis::MAX, latest: Millis::MIN };
    let is_line = each_event(line, tape, &mut |_, parsed| {
        times.earliest = times.earliest.min(parsed.received_at);
        times.latest = times.latest.max(parsed.received_at);
    });
    is_line.then_some(times)
}

/// Calls back with each event of a line and its place in a batch. Returns whether the line is not blank.
pub(super) fn each_event(
    line: &[u8],
    tape: &mut Tape,
    call: &mut dyn FnMut(Option<u32>, &Parsed<'_>),
) -> bool {
    if blank(line) {
        return false;
    }
    if std::str::from_utf8(line).is_err() || tape.read(line).is_err() {
        return true;
    }
    let doc = Document { text: line, tokens: &tape.tokens };
    let fields = Fields::read(doc, 0);
    let mut reader = TimeReader::default();
    let mut see = |item, fields| {
        if let Ok(parsed) = parse(doc, fields, &mut reader) {
            call(item, &parsed);
        }
    };
    if fields.envelope(doc) {
        for (place, item) in (0..).zip(fields.batch.into_iter().flat_map(|batch| doc.items(batch))) {
            see(Some(place), Fields::read(doc, item).filled_from(doc, item, &fields));
        }
    } else {
        see(None, fields);
    }
    true
}
