//! A chunk of an input: whole lines that are read and parsed together.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

use super::{
    digest::Hashing,
    line_records::{self, LineOrigin},
    spill::SpilledBytes,
};
use crate::{
    error::{Error, Result},
    event::order::ArrivalKey,
    files::Files,
    time::timestamp::Millis,
};

/// Approximate size of a chunk in bytes: small enough for the caches, large enough to be worth a task.
pub const CHUNK_SIZE: u64 = 1 << 20;

/// [`CHUNK_SIZE`] as a `usize`, for buffers.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Shown when an input changes during a run.
const CHANGED_HINT: &str = "run again when nothing writes to the file; appending to it is fine";

/// Where the bytes of a chunk are stored.
#[derive(Debug, Clone)]
pub enum ChunkSource {
    /// In an uncompressed file.
    File(Arc<ScannedFile>),
    /// In memory, decompressed.
    Memory(Arc<Vec<u8>>),
    /// On disk, because memory was short.
    Spilled(SpilledBytes),
    /// On disk, sorted, with the origin of each line.
    Sorted(SpilledBytes),
}

/// A file as the scan found it.
#[derive(Debug)]
pub struct ScannedFile {
    /// Path of the file.
    pub path: PathBuf,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last modification, if the file system records it.
    pub modified: Option<SystemTime>,
    /// Device and inode number, which reveal that the file was replaced by another of the same name.
    pub id: (u64, u64),
    /// Digest of its bytes.
    pub digest: String,
    /// How the digest was computed.
    pub hashing: Hashing,
}

impl ScannedFile {
    /// Returns whether the first `size` bytes may have changed, judging by the metadata. A file that has grown does not
    /// count: reading stops at the old size, and [`Self::check`] verifies that the old bytes are still the same.
    fn has_changed(&self, now: &Metadata) -> bool {
        now.len() < self.size
            || now.len() == self.size && now.modified().ok() != self.modified
            || (now.dev(), now.ino()) != self.id
    }

    fn changed(&self) -> Error {
        Error::file(&self.path, "the file changed while it was read").hint(CHANGED_HINT)
    }

    /// Returns an error if the file's first `size` bytes are no longer those that were scanned, so that chunks may have
    /// been read from other content.
    pub fn check(&self, files: &Files) -> Result<()> {
        let read = |e| Error::io("read", &self.path, e);
        let now = fs::metadata(&self.path).map_err(read)?;
        let is_other = self.has_changed(&now)
            || self.size < now.len()
                && self.hashing.digest_of(&files.open(&self.path)?, self.size).map_err(read)? != self.digest;
        if is_other { Err(self.changed()) } else { Ok(()) }
    }
}

/// Whole lines of an input.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Index of the input, in reading order.
    pub input: u32,
    /// Where the bytes are stored.
    pub source: ChunkSource,
    /// Offset of the first byte after decompression.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// Number of the first line, counted from 1.
    pub first_line: u64,
    /// Number of lines, including blank ones.
    pub n_lines: u64,
    /// Lower bound for the arrival time of its events. Estimated by the scan and checked when the chunk is parsed.
    pub earliest: Millis,
    /// Approximate arrival time of its last event.
    pub latest: Millis,
    /// Smallest and greatest key of its events, if its lines are sorted. The first line has the smallest.
    pub keys: Option<Arc<(ArrivalKey, ArrivalKey)>>,
    /// Whether all its events come before those of later chunks, except for events in batches.
    pub in_order: bool,
    /// Length in bytes of the text, if the chunk is a line too long to be an event. The chunk holds only its beginning.
    pub too_long: Option<u64>,
}

impl Chunk {
    /// Returns the file that the chunk is read from, or `None` if its bytes are in memory or spilled.
    #[must_use]
    pub fn file(&self) -> Option<&Arc<ScannedFile>> {
        match &self.source {
            ChunkSource::File(seen) => Some(seen),
            ChunkSource::Memory(_) | ChunkSource::Spilled(_) | ChunkSource::Sorted(_) => None,
        }
    }

    /// Returns the smallest key that an event in the chunk can have.
    #[must_use]
    pub fn smallest_key(&self) -> ArrivalKey {
        self.keys.as_ref().map_or_else(|| ArrivalKey::smallest_at(self.earliest), |keys| keys.0.clone())
    }

    /// Replaces the content of `bytes` with the chunk's. Returns the origin of each line if the lines are sorted, else
    /// an empty vector.
    pub fn read(&self, bytes: &mut Vec<u8>, files: &Files) -> Result<Vec<LineOrigin>> {
        match &self.source {
            ChunkSource::Memory(kept) => {
                bytes.clear();
                bytes.extend_from_slice(kept);
            }
            ChunkSource::Spilled(spilled) => spilled.read(bytes).map_err(spill_error)?,
            ChunkSource::Sorted(spilled) => {
                spilled.read(bytes).map_err(spill_error)?;
                return Ok(line_records::take_line_origins(bytes));
            }
            ChunkSource::File(seen) => {
                let path = &seen.path;
                let file = files.open(path)?;
                let length =
                    usize::try_from(self.length).map_err(|_| Error::file(path, "a line is too long"))?;
                // Existing bytes are overwritten, so only the growth needs zeroing.
                bytes.resize(length, 0);
                file.read_exact_at(bytes, self.offset)
                    .map_err(|e| Error::io("read", path, e).hint(CHANGED_HINT))?;
                // Checked after the read, so that a change before it cannot go unnoticed.
                let now = file.metadata().map_err(|e| Error::io("read", path, e))?;
                if seen.has_changed(&now) {
                    return Err(seen.changed());
                }
            }
        }
        Ok(Vec::new())
    }
}

/// Returns the error for input data that could not be read back from the spill file.
pub(super) fn spill_error(error: io::Error) -> Error {
    Error::io("read spilled data of", "the inputs", error)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, time::Duration};

    use super::*;

    #[test]
    fn a_file_that_was_changed_since_it_was_seen_is_not_read_but_one_that_grew_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        let files = Files::real();
        let write = |text: &str| files.create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        write("one\ntwo\n");
        let metadata = path.metadata().unwrap();
        let seen = ScannedFile {
            path: path.clone(),
            size: metadata.len(),
            modified: metadata.modified().ok(),
            id: (metadata.dev(), metadata.ino()),
            digest: Hashing::default().digest_of(&files.open(&path).unwrap(), metadata.len()).unwrap(),
            hashing: Hashing::default(),
        };
        let chunk = Chunk {
            input: 0,
            source: ChunkSource::File(Arc::new(seen)),
            offset: 4,
            length: 4,
            first_line: 2,
            n_lines: 1,
            earliest: 0,
            latest: 0,
            keys: None,
            in_order: false,
            too_long: None,
        };
        let read = || {
            let mut bytes = Vec::new();
            chunk.read(&mut bytes, &files).map(|_| bytes)
        };
        assert_eq!(read().unwrap(), b"two\n");
        let check = || chunk.file().unwrap().check(&files);
        files.append_after(&path, 8).unwrap().write_all(b"more\n").unwrap();
        assert_eq!(read().unwrap(), b"two\n");
        assert!(check().is_ok());
        // Only the digest reveals that the old bytes changed.
        write("one\nTWO\nmore\n");
        assert_eq!(read().unwrap(), b"TWO\n");
        assert!(check().unwrap_err().to_string().ends_with("changed while it was read"));
        write("one\nTWO\n");
        let later = metadata.modified().unwrap() + Duration::from_secs(1);
        File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert!(read().unwrap_err().to_string().ends_with("changed while it was read"));
        write("one\n");
        assert!(read().is_err());
        // Another file in its place, with the same bytes and modification time.
        let other = folder.path().join("other");
        files.create(&other).unwrap().write_all(b"one\ntwo\n").unwrap();
        File::options().write(true).open(&other).unwrap().set_modified(metadata.modified().unwrap()).unwrap();
        files.rename(&other, &path).unwrap();
        assert!(read().unwrap_err().to_string().ends_with("changed while it was read"));
    }
}
