//! A unit: some whole lines of an input, read and parsed at one go.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

use super::{digest::Hashing, sort, spill::Spilled};
use crate::{
    error::{Error, Result},
    event::order::Key,
    files::Files,
    time::timestamp::Millis,
};

/// About the bytes of a unit: small enough for the caches, large enough to be worth a task.
pub const UNIT: u64 = 1 << 20;

/// The same, for buffers.
pub const UNIT_BYTES: usize = 1 << 20;

/// What to do about a file that changes.
const CHANGED_HINT: &str =
    "run again once nobody writes to the file any more; one that only grows does no harm";

/// Where a unit's bytes are.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a file that is not packed.
    File(Arc<Seen>),
    /// In memory, unpacked.
    Memory(Arc<Vec<u8>>),
    /// Put away for want of memory.
    Spilled(Spilled),
    /// Put away with where each of its lines is from.
    Sorted(Spilled),
}

/// Where a line is from, if it no longer stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineAt {
    /// Which input, in the order of reading.
    pub input: u32,
    /// Counted from 1, blank lines too.
    pub number: u64,
    /// First byte, counted from 0 after unpacking.
    pub offset: u64,
}

/// A file as it was when it was looked at.
#[derive(Debug)]
pub struct Seen {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// When it was written to last, where the file system knows.
    pub modified: Option<SystemTime>,
    /// Its device and number: another file of its name is another one.
    pub id: (u64, u64),
    /// Of its bytes.
    pub digest: String,
    /// How the digest is taken.
    pub hashing: Hashing,
}

impl Seen {
    /// Whether its bytes cannot be those that were seen, or may be others without a sign. A file that has grown is read as far
    /// as it was; that it was only appended to is asked in the end.
    fn has_changed(&self, now: &Metadata) -> bool {
        now.len() < self.size
            || now.len() == self.size && now.modified().ok() != self.modified
            || (now.dev(), now.ino()) != self.id
    }

    fn changed(&self) -> Error {
        Error::file(&self.path, "the file changed while it was read").hint(CHANGED_HINT)
    }

    /// An error where the file is not what it was when it was looked at, so that units may have been read of something else.
    pub fn check(&self, files: &Files) -> Result<()> {
        let read = |e| Error::io("read", &self.path, e);
        let now = fs::metadata(&self.path).map_err(read)?;
        let is_other = self.has_changed(&now)
            || self.size < now.len()
                && self.hashing.digest_of(&files.open(&self.path)?, self.size).map_err(read)? != self.digest;
        if is_other { Err(self.changed()) } else { Ok(()) }
    }
}

/// Some whole lines.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Which input, in the order of reading.
    pub input: u32,
    /// Where the bytes are.
    pub place: Place,
    /// First byte, counted from 0 after unpacking.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// The number of the first line, counted from 1.
    pub first_line: u64,
    /// Lines, blank ones too.
    pub n_lines: u64,
    /// No event in it arrived earlier. Taken from a quick look, and checked when the unit is parsed.
    pub earliest: Millis,
    /// About when the last event in it arrived.
    pub latest: Millis,
    /// If its lines were sorted: the least and the greatest key of its events. The least is that of the first line.
    pub keys: Option<Arc<(Key, Key)>>,
    /// Whether no event of a later unit comes before one of this unit, but for those of batches.
    pub in_order: bool,
    /// The unit is the beginning of one line that is too long to be an event; the line has so many bytes.
    pub too_long: Option<u64>,
}

impl Unit {
    /// The file that it is read of.
    #[must_use]
    pub fn seen(&self) -> Option<&Arc<Seen>> {
        match &self.place {
            Place::File(seen) => Some(seen),
            Place::Memory(_) | Place::Spilled(_) | Place::Sorted(_) => None,
        }
    }

    /// The least key that an event in it may have.
    #[must_use]
    pub fn least_key(&self) -> Key {
        self.keys.as_ref().map_or_else(|| Key::least(self.earliest), |keys| keys.0.clone())
    }

    /// Reads its bytes over what `bytes` holds. Returns where its lines are from if they were sorted.
    pub fn read(&self, bytes: &mut Vec<u8>, files: &Files) -> Result<Vec<LineAt>> {
        match &self.place {
            Place::Memory(kept) => {
                bytes.clear();
                bytes.extend_from_slice(kept);
            }
            Place::Spilled(spilled) => spilled.take(bytes).map_err(spill_error)?,
            Place::Sorted(spilled) => {
                spilled.take(bytes).map_err(spill_error)?;
                return Ok(sort::take_lines_at(bytes));
            }
            Place::File(seen) => {
                let path = &seen.path;
                let file = files.open(path)?;
                let length =
                    usize::try_from(self.length).map_err(|_| Error::file(path, "a line is too long"))?;
                // What is there is overwritten; only growth has to be zeroed.
                bytes.resize(length, 0);
                file.read_exact_at(bytes, self.offset)
                    .map_err(|e| Error::io("read", path, e).hint(CHANGED_HINT))?;
                // Asked behind the reading, so that no change before it goes unseen.
                let now = file.metadata().map_err(|e| Error::io("read", path, e))?;
                if seen.has_changed(&now) {
                    return Err(seen.changed());
                }
            }
        }
        Ok(Vec::new())
    }
}

/// The error of reading back what was spilled of the inputs.
pub(super) fn spill_error(error: io::Error) -> Error {
    Error::io("read what was spilled of", "the inputs", error)
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
        let seen = Seen {
            path: path.clone(),
            size: metadata.len(),
            modified: metadata.modified().ok(),
            id: (metadata.dev(), metadata.ino()),
            digest: Hashing::default().digest_of(&files.open(&path).unwrap(), metadata.len()).unwrap(),
            hashing: Hashing::default(),
        };
        let unit = Unit {
            input: 0,
            place: Place::File(Arc::new(seen)),
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
            unit.read(&mut bytes, &files).map(|_| bytes)
        };
        assert_eq!(read().unwrap(), b"two\n");
        let check = || unit.seen().unwrap().check(&files);
        files.append_after(&path, 8).unwrap().write_all(b"more\n").unwrap();
        assert_eq!(read().unwrap(), b"two\n");
        assert!(check().is_ok());
        // Whether what stands before is the same, only all of it tells.
        write("one\nTWO\nmore\n");
        assert_eq!(read().unwrap(), b"TWO\n");
        assert!(check().unwrap_err().to_string().ends_with("changed while it was read"));
        write("one\nTWO\n");
        let later = metadata.modified().unwrap() + Duration::from_secs(1);
        File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert!(read().unwrap_err().to_string().ends_with("changed while it was read"));
        write("one\n");
        assert!(read().is_err());
        // Another file in its place, with the bytes and the time that it had.
        let other = folder.path().join("other");
        files.create(&other).unwrap().write_all(b"one\ntwo\n").unwrap();
        File::options().write(true).open(&other).unwrap().set_modified(metadata.modified().unwrap()).unwrap();
        files.rename(&other, &path).unwrap();
        assert!(read().unwrap_err().to_string().ends_with("changed while it was read"));
    }
}
