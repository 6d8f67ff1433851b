//! Compares the committed bytes of a table or a view with its file: digest, rows, and how the file stores them.

use std::{fs::File, path::Path};

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    manifest::Manifest,
    table_state::{CommittedTable, CompressedExtent},
    tables::{committed_file, committed_file_bytes, storage_of},
};
use crate::{
    config::rules::Compression,
    error::{Error, Result},
    files::Files,
    json::{JsonKind, Tape},
    progress::Silent,
    read::digest::{PIECE, chain},
    table::{
        blocks::{BLOCK_BYTES, SharedProgress, TableBlock, map_unchecked_blocks, non_blank_lines},
        frame_check::FrameLayout,
        source::TableSource,
        to_usize,
    },
};

/// What was committed of a table after an earlier run: the run's number and the table.
pub type EarlierTable<'a> = (usize, &'a CommittedTable);

/// Returns what the manifest records of a table after each run, oldest first.
#[must_use]
pub fn earlier_states<'a>(manifest: &'a Manifest, name: &str) -> Vec<EarlierTable<'a>> {
    let records = (1..).zip(&manifest.runs).filter_map(|(number, run)| Some((number, run.after.as_ref()?)));
    records.filter_map(|(number, after)| Some((number, after.tables.get(name)?))).collect()
}

/// Reads the committed bytes of a table and returns what is wrong with them, worded to follow the file's name: `has 12
/// bytes, ...`. Returns `None` if they are intact.
///
/// An empty `link` in `committed` is not compared, because views have none. The records of earlier runs are compared,
/// too, and narrow down where a change is.
pub fn damage(
    folder: &Path,
    name: &str,
    committed: &CommittedTable,
    earlier: &[EarlierTable<'_>],
    files: &Files,
    meter: &SharedProgress<'_>,
) -> Result<Option<String>> {
    let stored_as = storage_of(folder, name, committed);
    let n_committed = committed_file_bytes(committed, stored_as);
    let part = committed_file(folder, name, committed);
    let path = &part.path;
    match std::fs::metadata(path) {
        Ok(there) if !there.is_file() => return Ok(Some("is not a file".into())),
        Ok(there) if there.len() < n_committed => {
            return Ok(Some(format!("has {} bytes, but {n_committed} are committed", there.len())));
        }
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Some("is missing".into())),
        Err(e) => return Err(Error::io("read", path, e)),
    }
    if stored_as == Compression::Zstd
        && let Some(stored) = committed.stored
    {
        let file = files.open(path)?;
        let wrong = wrong_frames(&file, committed, stored).map_err(|e| Error::io("read", path, e))?;
        if wrong.is_some() {
            return Ok(wrong);
        }
    }
    let contents = TableSource::open(&part, files).and_then(|source| {
        let contents = TableHashes::read(&source, committed.bytes, meter)?;
        Ok((source, contents))
    });
    match contents {
        Ok((source, contents)) => contents.compare(committed, earlier, &source),
        Err(error) if stored_as == Compression::Zstd && error.is_decompression() => {
            let file = files.open(path)?;
            let layout = FrameLayout::read(&file, n_committed);
            let damaged = layout.and_then(|layout| layout.first_damaged(&file, false));
            Ok(Some(match damaged.map_err(|e| Error::io("read", path, e))? {
                Some(offset) => format!("the zstd frame at byte {offset} is damaged"),
                None => "cannot be decompressed".into(),
            }))
        }
        Err(error) => Err(error),
    }
}

/// Compares the ends of frames with the manifest, and decompresses empty frames, which nothing else reads.
fn wrong_frames(
    file: &File,
    committed: &CommittedTable,
    stored: CompressedExtent,
) -> std::io::Result<Option<String>> {
    let layout = FrameLayout::read(file, stored.bytes)?;
    let (content, offset) = layout.starts.last().copied().unwrap_or_default();
    if !layout.complete {
        return Ok(Some(format!(
            "no whole zstd frame begins at byte {offset} of the {} that are committed",
            stored.bytes
        )));
    }
    if content != committed.bytes {
        return Ok(Some(format!(
            "its zstd frames contain {content} bytes, but {} are committed",
            committed.bytes
        )));
    }
    let whole = committed.bytes - committed.bytes % PIECE;
    // A view is never appended to, so it does not matter where its last piece begins.
    if !committed.link.is_empty() && !layout.starts.contains(&(whole, stored.tail)) {
        return Ok(Some(format!(
            "the manifest records byte {} as the start of its last zstd frames, but no frame with byte {whole} of the \
             table begins there",
            stored.tail
        )));
    }
    let damaged = layout.first_damaged(file, true)?;
    Ok(damaged.map(|offset| format!("the zstd frame at byte {offset} is damaged")))
}

/// The hashes and row counts of a table that was read.
struct TableHashes {
    bytes: u64,
    /// For each piece of the digest, its hash and the number of rows that end in it.
    pieces: Vec<(u128, u64)>,
}

impl TableHashes {
    /// Hashes the first `bytes` of a table, piece by piece, on all cores.
    fn read(source: &TableSource, bytes: u64, meter: &SharedProgress<'_>) -> Result<Self> {
        let pieces =
            (0..bytes.div_ceil(PIECE)).into_par_iter().map_init(Vec::new, |buffer: &mut Vec<u8>, number| {
                let start = number * PIECE;
                let n_bytes = to_usize((bytes - start).min(PIECE));
                buffer.resize(n_bytes, 0);
                source.read_at(buffer, start)?;
                meter.advance(n_bytes as u64)?;
                Ok(hash(buffer))
            });
        Ok(Self { bytes, pieces: pieces.collect::<Result<_>>()? })
    }

    fn compare(
        &self,
        committed: &CommittedTable,
        earlier: &[EarlierTable<'_>],
        source: &TableSource,
    ) -> Result<Option<String>> {
        let now = self.state_at(committed.bytes, source)?;
        if now.digest != committed.digest {
            let place = if let Some(line) = malformed_line(source)? {
                format!("line {line} is not a row")
            } else {
                let (start, end) = self.changed_range(committed, &now.link, earlier, source)?;
                format!("they differ between byte {start} and byte {end}")
            };
            return Ok(Some(format!("its bytes are not those that were committed; {place}")));
        }
        if now.rows != committed.rows {
            return Ok(Some(format!("has {} rows, but {} are committed", now.rows, committed.rows)));
        }
        if !committed.link.is_empty() && now.link != committed.link {
            return Ok(Some(format!(
                "the manifest records the `link` {}, but it is {}",
                committed.link, now.link
            )));
        }
        for (run, state) in earlier {
            let then = self.state_at(state.bytes.min(committed.bytes), source)?;
            if (then.rows, then.bytes, &then.digest, &then.link)
                != (state.rows, state.bytes, &state.digest, &state.link)
            {
                return Ok(Some(format!("differs from what the manifest records after run {run}")));
            }
        }
        Ok(None)
    }

    /// Returns what the manifest would record of the table at a length of `bytes`.
    fn state_at(&self, bytes: u64, source: &TableSource) -> Result<CommittedTable> {
        let n_whole = to_usize(bytes / PIECE);
        let (whole, rest) = self.pieces.split_at(n_whole);
        let link = whole.iter().fold(0, |link, piece| chain(link, piece.0));
        let whole_rows: u64 = whole.iter().map(|piece| piece.1).sum();
        let n_last = bytes % PIECE;
        let last = match rest.first() {
            _ if n_last == 0 => None,
            Some(&last) if bytes == self.bytes => Some(last),
            _ => {
                let mut last = vec![0; to_usize(n_last)];
                source.read_at(&mut last, bytes - n_last)?;
                Some(hash(&last))
            }
        };
        let digest = last.map_or(link, |last| chain(link, last.0));
        Ok(CommittedTable {
            rows: whole_rows + last.map_or(0, |last| last.1),
            bytes,
            digest: format!("{digest:032x}"),
            link: format!("{link:032x}"),
            stored: None,
        })
    }

    /// Returns the byte range that contains the change, narrowed down with what was recorded of the table.
    fn changed_range(
        &self,
        committed: &CommittedTable,
        link: &str,
        earlier: &[EarlierTable<'_>],
        source: &TableSource,
    ) -> Result<(u64, u64)> {
        let whole = committed.bytes - committed.bytes % PIECE;
        let (mut start, mut end) = match committed.link == link {
            true => (whole, committed.bytes),
            false if whole == 0 || committed.link.is_empty() => (0, committed.bytes),
            false => (0, whole),
        };
        for (_, state) in earlier.iter().filter(|(_, state)| state.bytes < committed.bytes) {
            if self.state_at(state.bytes, source)?.digest == state.digest {
                start = start.max(state.bytes);
            } else {
                end = end.min(state.bytes);
            }
        }
        Ok((start, end))
    }
}

/// Returns the hash of a piece and the number of rows that end in it.
fn hash(piece: &[u8]) -> (u128, u64) {
    (xxh3_128(piece), memchr::memchr_iter(b'\n', piece).count() as u64)
}

/// Returns the number of the first line that is not a JSON object.
fn malformed_line(source: &TableSource) -> Result<Option<u64>> {
    let malformed = |block: TableBlock<'_>| {
        let mut tape = Tape::default();
        let mut is_row = |line: &[u8]| {
            std::str::from_utf8(line).is_ok()
                && tape.read(line).is_ok()
                && tape.tokens[0].kind == JsonKind::Object
        };
        let line = non_blank_lines(block.text).find(|(_, line)| !is_row(line));
        line.map(|(at, _)| block.offset + at as u64)
    };
    let blocks = map_unchecked_blocks(
        std::slice::from_ref(source),
        BLOCK_BYTES,
        &SharedProgress::new(&Silent),
        malformed,
    )?;
    blocks.into_iter().flatten().next().map(|offset| source.line_number(offset)).transpose()
}
