//! Spills the messages of a run that exceed its memory to an unnamed temporary file, as sorted runs in the format of a
//! segment file.
//!
//! The file disappears when the run ends, in whatever way. When the run commits, the messages are copied to the state.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::sorted::{SortedEntry, SortedIndex, SortedWriter};
use crate::{
    collections::SplitKey,
    error::{Error, Result},
    event::duplicates::{MessageLookup, MessageSpillStore, SeenMessage},
    time::timestamp::Millis,
};

/// A spill store on disk.
#[derive(Debug)]
pub struct DiskSpillStore {
    folder: PathBuf,
    file: Option<File>,
    end: u64,
    shelves: Vec<SortedIndex>,
}

/// Bytes are written in blocks of this size.
const OUT_BYTES: usize = 1 << 20;

impl DiskSpillStore {
    /// Returns an empty store. Its file is created in `folder` when the first messages arrive.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), file: None, end: 0, shelves: Vec::new() }
    }

    fn write(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        let error = |e: io::Error| {
            Error::io("spill messages to", &self.folder, e)
                .hint("make room on this disk, or allow more memory with `--memory SIZE`")
        };
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile_in(&self.folder).map_err(error)?),
        };
        file.write_all_at(bytes, self.end).map_err(error)?;
        self.end += bytes.len() as u64;
        bytes.clear();
        Ok(())
    }
}

impl MessageSpillStore for DiskSpillStore {
    fn put(&mut self, messages: &[SeenMessage]) -> Result<()> {
        let mut filling = SortedWriter::begin(self.end);
        let mut bytes = Vec::new();
        for message in messages {
            filling.add(as_entry(message), &mut bytes);
            if OUT_BYTES <= bytes.len() {
                self.write(&mut bytes)?;
            }
        }
        let done = filling.finish(&mut bytes);
        self.write(&mut bytes)?;
        self.shelves.push(done);
        Ok(())
    }

    fn copy_range(&self, first: u128, last: u128, out: &mut Vec<SeenMessage>) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        for shelf in &self.shelves {
            shelf.range(first, last, file, &self.folder, |entry| out.push(as_message(entry)))?;
        }
        Ok(())
    }
}

impl MessageLookup for DiskSpillStore {
    fn has_within_window(&self, message_key: u128, received_at: Millis, window: Millis) -> Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let mut near = false;
        // A duplicate usually follows soon, so the newest sorted run is searched first.
        for shelf in self.shelves.iter().rev() {
            shelf.find(message_key, file, &self.folder, |value| {
                near = as_time(value).abs_diff(received_at) <= window.unsigned_abs();
                near
            })?;
            if near {
                break;
            }
        }
        Ok(near)
    }
}

pub(super) fn as_entry(message: &SeenMessage) -> SortedEntry {
    (message.key.whole(), message.received_at.cast_unsigned() ^ SIGN)
}

pub(super) fn as_message((key, value): SortedEntry) -> SeenMessage {
    SeenMessage { key: SplitKey::from(key), received_at: as_time(value) }
}

pub(super) fn as_time(value: u64) -> Millis {
    (value ^ SIGN).cast_signed()
}

/// Flipping the sign bit makes the numbers sort like the times, which may be before 1970 in an adopted table.
const SIGN: u64 = 1 << 63;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{collections::key_of, event::duplicates::SeenMessages};

    #[test]
    fn shelves_change_nothing_but_the_memory_taken() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        for foretold in [0, 10_000] {
            let mut plain = SeenMessages::default();
            let mut shelved = SeenMessages::default();
            shelved.limit_memory(Box::new(DiskSpillStore::new(folder.path())), 0, foretold);
            // Every message occurs several times, inside and outside the window.
            for number in 0..20_000_u64 {
                let key = key_of(&(number * number % 9973).to_le_bytes());
                let received_at = Millis::try_from(number).expect("small");
                let accepted = plain.accept(key, received_at, 3000).expect("nothing is read from disk");
                assert_eq!(
                    shelved.accept(key, received_at, 3000).expect("the spill is readable"),
                    accepted,
                    "{number}"
                );
            }
            assert_eq!(plain.count(), shelved.count());
            assert!(5000 < plain.count() && plain.count() < 20_000, "{}", plain.count());
            let all = |accepted: &SeenMessages| {
                let mut all = Vec::new();
                let each = |some: &[SeenMessage]| {
                    all.extend_from_slice(some);
                    Ok(())
                };
                accepted.for_each_sorted(each).expect("the spill is readable");
                all
            };
            assert_eq!(all(&plain), all(&shelved));
        }
    }
}
