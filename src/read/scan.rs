//! The scan: a first, quick pass over the inputs. It computes their digests, divides them into chunks of whole lines,
//! and finds the earliest arrival time in each chunk.
//!
//! Events are resolved in order of arrival. Files are mostly in that order, but nothing guarantees it. Because the
//! earliest arrival in every chunk is known, the second pass can release all events that arrived before the earliest
//! unread one. Memory is then needed for the disorder, not for the whole dump.
//!
//! The scan searches for `"receivedAt"` and reads the time after it. If a chunk does not contain the key exactly once
//! per line, its lines are parsed. If the scan is wrong anyway, the second pass notices, and the scan is repeated with
//! full parsing.

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
    chunk::{CHUNK_BYTES, CHUNK_SIZE, Chunk, ChunkSource, ScannedFile},
    digest::Hashing,
    inputs::{CompressionFormat, Input, decompress, first_bytes, refuse_tar},
    interruptible_reader::InterruptibleReader,
    lines::{BOM, MAX_LINE, end_length, is_blank, lines},
    spill::SpillStore,
};
use crate::{
    error::{Error, Result, decompression_hint},
    event::{
        fields::EventFields,
        parse::{ParsedEvent, parse_event},
        reject::MAX_TEXT,
    },
    files::{Files, is_pipe},
    json::{Document, Tape},
    progress::Progress,
    time::{
        reader::TimeReader,
        timestamp::{Millis, parse_millis},
    },
};

/// Bytes that may surround the longest line: a byte order mark and CRLF.
const AROUND: usize = BOM.len() + 2;

/// Small inputs are cached between the scan and the read, up to this many bytes.
pub(crate) const KEPT: u64 = 32 << 20;

/// How chunks are scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanMode {
    /// Searches for `"receivedAt"` without parsing.
    Quick,
    /// Parses each line.
    Thorough,
}

/// The result of scanning an input.
#[derive(Debug)]
pub struct ScannedInput {
    /// Digest of a file's stored bytes, or of a stream's bytes after decompression.
    pub digest: String,
    /// Bytes after decompression.
    pub bytes: u64,
    /// Number of lines, including blank ones.
    pub n_lines: u64,
    /// Its chunks, in file order.
    pub chunks: Vec<Chunk>,
}

/// Scans inputs. Small inputs are cached in memory, so that they are read only once.
pub struct InputScanner<'a> {
    /// How chunks are scanned.
    pub mode: ScanMode,
    /// Maximum number of bytes to cache in memory.
    pub cache_limit: u64,
    /// How digests are computed.
    pub hashing: &'a Hashing,
    /// Receives the data of streams that exceed the cache.
    pub spill: &'a SpillStore,
    /// The file system.
    pub files: &'a Files,
    /// Receives progress reports.
    pub progress: &'a dyn Progress,
    n_cached: AtomicU64,
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl<'a> InputScanner<'a> {
    /// Creates a scanner with an empty cache.
    pub fn new(
        look: ScanMode,
        keep: u64,
        hashing: &'a Hashing,
        spill: &'a SpillStore,
        files: &'a Files,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            mode: look,
            cache_limit: keep,
            hashing,
            spill,
            files,
            progress,
            n_cached: AtomicU64::new(0),
            buffers: Mutex::new(Vec::new()),
        }
    }

    /// Scans one input. `number` is its index in reading order.
    ///
    /// Calls `known` as soon as the digest of a compressed file is known. If it returns true, the result has no chunks:
    /// the file will be skipped, so decompressing it would be a waste.
    pub fn scan(
        &self,
        number: u32,
        input: &Input,
        known: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<ScannedInput> {
        if input.is_stdin() || is_pipe(&input.path) {
            let mut stream = InterruptibleReader::open(input, self.files, self.progress)?;
            let unpacked = first_bytes(&mut stream).and_then(|first| decompress(first, stream));
            let mut unpacked = unpacked.map_err(|e| InterruptibleReader::error(&input.path, e))?;
            return self.scan_stream(number, input, &mut unpacked, None);
        }
        let mut file = self.files.open(&input.path)?;
        let metadata = file.metadata().map_err(|e| Error::io("read", &input.path, e))?;
        if metadata.is_dir() {
            return Err(Error::file(&input.path, "is a folder, but a file is expected"));
        }
        let first = first_bytes(&mut file).map_err(|e| Error::io("read", &input.path, e))?;
        if metadata.is_file() && CompressionFormat::of(&first) == CompressionFormat::Plain {
            let modified = metadata.modified().ok();
            let id = (metadata.dev(), metadata.ino());
            let digest = String::new();
            let hashing = self.hashing.clone();
            let seen =
                ScannedFile { path: input.path.clone(), size: metadata.len(), modified, id, digest, hashing };
            return self.scan_plain(number, &file, seen);
        }
        let mut digest = None;
        if metadata.is_file() {
            let hex = self.hashing.digest_of(&file, metadata.len());
            let hex = hex.map_err(|e| Error::io("read", &input.path, e))?;
            if known(&hex) {
                return Ok(ScannedInput { digest: hex, bytes: 0, n_lines: 0, chunks: Vec::new() });
            }
            digest = Some(hex);
        }
        let mut unpacked = decompress(first, file).map_err(|e| Error::io("read", &input.path, e))?;
        self.scan_stream(number, input, &mut unpacked, digest)
    }

    /// Scans a stream. Decompressed data is stored in memory or spilled, because a stream can only be read once.
    fn scan_stream(
        &self,
        number: u32,
        input: &Input,
        mut stream: &mut (dyn Read + Send),
        digest: Option<String>,
    ) -> Result<ScannedInput> {
        let mut content = self.hashing.begin();
        let mut found = ChunkBuilder { number, chunks: Vec::new(), offset: 0, first_line: 1 };
        let mut rest: Vec<u8> = Vec::new();
        // Number of bytes dropped from a line that is too long, and the last of them. `rest` holds only its beginning.
        let (mut dropped, mut last_dropped) = (0, 0);
        loop {
            let before = rest.len();
            // Read exactly up to the next chunk boundary, so that the kept buffers have no unused capacity.
            let wanted = CHUNK_BYTES - before % CHUNK_BYTES;
            let mut bytes = Vec::with_capacity(before + wanted);
            bytes.append(&mut rest);
            let read = (&mut stream).take(wanted as u64).read_to_end(&mut bytes);
            let n_read = read.map_err(|e| {
                let hint = decompression_hint(&e);
                match InterruptibleReader::error(&input.path, e) {
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
                bytes.truncate(MAX_TEXT + 4);
                let text = length - (bom_length(found.offset, &bytes) + line_end) as u64;
                found.push_long_line(ChunkSource::Memory(Arc::new(bytes)), LongLine { length, text });
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
                // A small input must not hold a large allocation.
                bytes.shrink_to_fit();
                let place = if self.n_cached.fetch_add(length, Ordering::Relaxed) + length <= self.cache_limit
                {
                    ChunkSource::Memory(Arc::new(bytes))
                } else {
                    ChunkSource::Spilled(self.spill.write(&bytes)?)
                };
                found.push_lines(place, length, times);
            }
            if ended {
                let digest = digest.unwrap_or_else(|| content.hex());
                return Ok(ScannedInput {
                    digest,
                    bytes: found.offset,
                    n_lines: found.first_line - 1,
                    chunks: found.chunks,
                });
            }
        }
    }

    /// Scans an uncompressed file in pieces on all cores.
    fn scan_plain(&self, number: u32, file: &File, mut seen: ScannedFile) -> Result<ScannedInput> {
        let (path, size) = (&seen.path, seen.size);
        let pieces: Vec<ScannedPiece> = (0..size.div_ceil(CHUNK_SIZE))
            .collect::<Vec<_>>()
            .into_par_iter()
            .with_max_len(1)
            .map(|piece| {
                if self.progress.interrupted() {
                    return Err(Error::Interrupted);
                }
                self.scan_piece(file, path, piece * CHUNK_SIZE, size)
            })
            .collect::<Result<_>>()?;
        let digest = self.hashing.hex_of_pieces(pieces.iter().map(|piece| piece.hash));
        seen.digest.clone_from(&digest);
        let seen = Arc::new(seen);
        let mut found =
            ChunkBuilder { number, chunks: Vec::with_capacity(pieces.len()), offset: 0, first_line: 1 };
        for piece in pieces {
            let in_file = || ChunkSource::File(Arc::clone(&seen));
            if piece.lines.start < piece.lines.end {
                found.offset = piece.lines.start;
                let place = piece.kept.map_or_else(in_file, |bytes| ChunkSource::Memory(Arc::new(bytes)));
                found.push_lines(place, piece.lines.end - piece.lines.start, piece.times);
            }
            if let Some((start, line)) = piece.too_long {
                found.offset = start;
                found.push_long_line(in_file(), line);
            }
        }
        Ok(ScannedInput { digest, bytes: size, n_lines: found.first_line - 1, chunks: found.chunks })
    }

    /// Scans the lines that begin in the [`UNIT`] bytes from `start` on.
    fn scan_piece(&self, file: &File, path: &Path, start: u64, size: u64) -> Result<ScannedPiece> {
        const MARGIN: u64 = 1 << 15;
        let io = |e| Error::io("read", path, e).hint("run again when nothing truncates the file");
        let end = (start + CHUNK_SIZE).min(size);
        // The byte before shows whether a line begins at `start`. The margin usually contains the end of the last line.
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
            return Ok(ScannedPiece { hash, ..ScannedPiece::default() });
        };
        let mut searched = at(end) - 1;
        let mut last_end = None;
        while last_end.is_none() {
            match memchr::memchr(b'\n', &bytes[searched..]) {
                Some(found) => last_end = Some(from + (searched + found) as u64 + 1),
                None if to == size => last_end = Some(size),
                None if CHUNK_BYTES + MAX_LINE + AROUND < bytes.len() => break,
                None => {
                    searched = bytes.len();
                    to = (to + (to - from)).min(size);
                    read_to(&mut bytes, to).map_err(io)?;
                }
            }
        }
        let mut piece = ScannedPiece { hash, ..ScannedPiece::default() };
        let last_end = match last_end {
            Some(last_end) => last_end,
            // The last line is very long: only its end is searched for, and it becomes a chunk of its own.
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
            if self.n_cached.fetch_add(length, Ordering::Relaxed) + length <= self.cache_limit {
                piece.kept = Some(text.to_vec());
            }
        }
        // Drop buffers that grew for a long line.
        if bytes.len() <= 2 * CHUNK_BYTES {
            self.buffers.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
        }
        Ok(piece)
    }

    /// Returns the arrival times of the first and the last event in some lines, and the number of lines.
    fn times(&self, bytes: &[u8]) -> ArrivalTimes {
        let n_ends = memchr::memchr_iter(b'\n', bytes).count() as u64;
        let n_lines = n_ends + u64::from(!bytes.ends_with(b"\n"));
        let quick = if self.mode == ScanMode::Quick { quick_times(bytes, n_lines) } else { None };
        let (earliest, latest) = quick.unwrap_or_else(|| thorough_times(bytes));
        ArrivalTimes { earliest, latest, n_lines }
    }
}

#[derive(Clone, Copy, Default)]
struct ArrivalTimes {
    earliest: Millis,
    latest: Millis,
    n_lines: u64,
}

#[derive(Default)]
struct ScannedPiece {
    hash: u128,
    lines: Range<u64>,
    times: ArrivalTimes,
    kept: Option<Vec<u8>>,
    /// Offset and lengths of a last line that is too long to be an event.
    too_long: Option<(u64, LongLine)>,
}

/// A line that is too long to be an event.
#[derive(Clone, Copy)]
struct LongLine {
    /// Length in bytes, including a byte order mark and the line end.
    length: u64,
    /// Length in bytes of the text alone.
    text: u64,
}

/// Collects the chunks of an input in order.
struct ChunkBuilder {
    number: u32,
    chunks: Vec<Chunk>,
    offset: u64,
    first_line: u64,
}

impl ChunkBuilder {
    fn push_lines(&mut self, place: ChunkSource, length: u64, times: ArrivalTimes) {
        let ArrivalTimes { earliest, latest, n_lines } = times;
        let (input, offset, first_line) = (self.number, self.offset, self.first_line);
        self.chunks.push(Chunk {
            input,
            source: place,
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

    /// Adds a line that is too long. Its beginning is enough to list it as rejected.
    fn push_long_line(&mut self, place: ChunkSource, line: LongLine) {
        let LongLine { length, text } = line;
        self.chunks.push(Chunk {
            input: self.number,
            source: place,
            offset: self.offset,
            length: length.min(MAX_TEXT as u64 + 4),
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

/// Returns the length of the byte order mark of a line, which only the line at offset 0 can have.
fn bom_length(offset: u64, line: &[u8]) -> usize {
    if offset == 0 && line.starts_with(BOM) { BOM.len() } else { 0 }
}

/// Returns the end of the line that contains byte `from`, including the line feed.
fn end_of_line(file: &File, from: u64, size: u64) -> std::io::Result<u64> {
    let mut bytes = vec![0; CHUNK_BYTES];
    let mut offset = from;
    while offset < size {
        let length = usize::try_from((size - offset).min(CHUNK_SIZE)).unwrap_or(usize::MAX);
        file.read_exact_at(&mut bytes[..length], offset)?;
        if let Some(found) = memchr::memchr(b'\n', &bytes[..length]) {
            return Ok(offset + found as u64 + 1);
        }
        offset += length as u64;
    }
    Ok(size)
}

/// Returns the earliest and the latest time after the key, or `None` if the key does not occur exactly once per line.
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

/// Scans a chunk again by parsing its lines, and corrects its times.
pub fn rescan(chunk: &mut Chunk, files: &Files) -> Result<()> {
    if chunk.too_long.is_none() {
        let mut bytes = Vec::new();
        chunk.read(&mut bytes, files)?;
        (chunk.earliest, chunk.latest) = thorough_times(&bytes);
    }
    Ok(())
}

/// Returns the earliest and the latest arrival time by parsing all lines.
fn thorough_times(bytes: &[u8]) -> (Millis, Millis) {
    let (mut earliest, mut latest) = (Millis::MAX, Millis::MIN);
    let mut tape = Tape::default();
    // The text may begin with a byte order mark.
    let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
    for line in lines(bytes) {
        if let Some(times) = line_times(&bytes[line], &mut tape) {
            earliest = earliest.min(times.earliest);
            latest = latest.max(times.latest);
        }
    }
    (earliest, latest)
}

/// Arrival times of the events in a line.
#[derive(Debug)]
pub struct LineTimes {
    /// Arrival time of the first event.
    pub earliest: Millis,
    /// Arrival time of the last event.
    pub latest: Millis,
}

/// Returns the arrival times of the events in a line, or `None` if the line is blank.
pub fn line_times(line: &[u8], tape: &mut Tape) -> Option<LineTimes> {
    let mut times = LineTimes { earliest: Millis::MAX, latest: Millis::MIN };
    let is_line = each_event(line, tape, &mut |_, parsed| {
        times.earliest = times.earliest.min(parsed.received_at);
        times.latest = times.latest.max(parsed.received_at);
    });
    is_line.then_some(times)
}

/// Calls `call` with each valid event of a line and, for events in a batch, its index there. Returns whether the line
/// is not blank.
pub(super) fn each_event(
    line: &[u8],
    tape: &mut Tape,
    call: &mut dyn FnMut(Option<u32>, &ParsedEvent<'_>),
) -> bool {
    if is_blank(line) {
        return false;
    }
    if std::str::from_utf8(line).is_err() || tape.read(line).is_err() {
        return true;
    }
    let doc = Document { text: line, tokens: &tape.tokens };
    let fields = EventFields::read(doc, 0);
    let mut reader = TimeReader::default();
    let mut see = |item, fields| {
        if let Ok(parsed) = parse_event(doc, fields, &mut reader) {
            call(item, &parsed);
        }
    };
    if fields.is_envelope(doc) {
        for (place, item) in (0..).zip(fields.batch.into_iter().flat_map(|batch| doc.items(batch))) {
            see(Some(place), EventFields::read(doc, item).filled_from(doc, item, &fields));
        }
    } else {
        see(None, fields);
    }
    true
}
