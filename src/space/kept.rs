//! Accepted messages that no event table records, kept so that duplicates are recognized even if the state cache is
//! lost.
//!
//! An event is recorded by the row in the table of its call if that row has `id` and `received_at`. Selective sync may
//! leave out the table or one of these columns. The message is then kept in `.run/messages`. This file begins with
//! `psmsgs` and a version of two bytes. Each message takes 24 bytes: the key of its `messageId` and its `received_at`
//! in milliseconds. The file is append-only, and bytes past those in the manifest do not count, so a failed run leaves
//! nothing to clean up.

use std::{
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::layout::RUN_FOLDER;
use crate::{
    error::{Error, Result},
    files::{Files, OutFile},
    time::timestamp::Millis,
};

const FILE: &str = "messages";
const MAGIC: [u8; 8] = *b"psmsgs\0\x01";
const ENTRY: usize = 24;
/// Entries are written in blocks of about this many bytes.
const OUT_BYTES: usize = 1 << 20;

/// The committed extent of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMessages {
    /// Number of bytes of the file.
    pub bytes: u64,
    /// A checksum of the entries, each hashed together with the checksum of those before it.
    pub digest: String,
}

/// A writer for the messages that a run keeps.
#[derive(Debug)]
pub(super) struct KeptMessageWriter {
    path: PathBuf,
    committed: Option<KeptMessages>,
    out: Option<OutFile>,
    pending: Vec<u8>,
    bytes: u64,
    link: u128,
}

impl KeptMessageWriter {
    /// Continues after the committed messages.
    pub(super) fn new(folder: &Path, committed: Option<&KeptMessages>) -> Self {
        let link = committed.map(|kept| u128::from_str_radix(&kept.digest, 16).unwrap_or_default());
        Self {
            path: path_of(folder),
            committed: committed.cloned(),
            out: None,
            pending: Vec::new(),
            bytes: committed.map_or(0, |kept| kept.bytes),
            link: link.unwrap_or_default(),
        }
    }

    /// Appends a message.
    pub(super) fn append(&mut self, message_key: u128, received_at: Millis, files: &Files) -> Result<()> {
        if self.out.is_none() {
            if let Some(folder) = self.path.parent() {
                files.create_folder(folder)?;
            }
            self.out = Some(files.append_after(&self.path, self.bytes)?);
        }
        if self.bytes == 0 {
            self.pending.extend_from_slice(&MAGIC);
            self.bytes += MAGIC.len() as u64;
        }
        let entry = entry(message_key, received_at);
        self.pending.extend_from_slice(&entry);
        self.bytes += ENTRY as u64;
        self.link = next_link(self.link, &entry);
        if self.pending.len() < OUT_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(out) = &mut self.out {
            out.write_all(&self.pending)?;
        }
        self.pending.clear();
        Ok(())
    }

    /// Syncs the file and returns what to commit.
    pub(super) fn finish(&mut self, files: &Files) -> Result<Option<KeptMessages>> {
        self.flush()?;
        let Some(out) = self.out.take() else { return Ok(self.committed.clone()) };
        out.sync()?;
        if self.committed.is_none() {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            files.sync_folder(folder)?;
        }
        self.committed = Some(KeptMessages { bytes: self.bytes, digest: hex(self.link) });
        Ok(self.committed.clone())
    }
}

/// Fails if the file is missing or shorter than its committed length.
pub(super) fn check_length(folder: &Path, kept: Option<&KeptMessages>) -> Result<()> {
    let Some(kept) = kept else { return Ok(()) };
    let path = path_of(folder);
    match std::fs::metadata(&path) {
        Ok(there) if kept.bytes <= there.len() => Ok(()),
        Ok(there) => {
            let committed = kept.bytes;
            Err(damaged(&path, &format!("has {} bytes, but {committed} are committed", there.len())))
        }
        Err(e) => Err(Error::io("read", &path, e).hint(HINT)),
    }
}

/// Calls `each` with every committed message. Fails if the file is damaged.
pub(crate) fn read(
    folder: &Path,
    kept: Option<&KeptMessages>,
    files: &Files,
    mut each: impl FnMut(u128, Millis) -> Result<()>,
) -> Result<()> {
    let Some(kept) = kept else { return Ok(()) };
    check_length(folder, Some(kept))?;
    let path = path_of(folder);
    let mut file = BufReader::with_capacity(OUT_BYTES, files.open(&path)?.take(kept.bytes));
    let io = |e| Error::io("read", &path, e);
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic).map_err(io)?;
    if magic != MAGIC {
        return Err(damaged(&path, "is not a file of kept messages"));
    }
    let mut entry = [0; ENTRY];
    let mut link = 0;
    for _ in 0..(kept.bytes - MAGIC.len() as u64) / ENTRY as u64 {
        file.read_exact(&mut entry).map_err(io)?;
        link = next_link(link, &entry);
        let (key, received_at) = entry.split_first_chunk().expect("an entry is longer than its key");
        let received_at = received_at.first_chunk().copied().unwrap_or_default();
        each(u128::from_be_bytes(*key), Millis::from_be_bytes(received_at))?;
    }
    if hex(link) == kept.digest {
        Ok(())
    } else {
        Err(damaged(&path, "its bytes are not those that were committed"))
    }
}

const HINT: &str = "restore it from a backup, or ingest into a new space with `--space DIR`";

fn damaged(path: &Path, what: &str) -> Error {
    Error::file(path, what.to_owned()).hint(HINT)
}

fn path_of(folder: &Path) -> PathBuf {
    folder.join(RUN_FOLDER).join(FILE)
}

fn entry(message_key: u128, received_at: Millis) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..16].copy_from_slice(&message_key.to_be_bytes());
    entry[16..].copy_from_slice(&received_at.to_be_bytes());
    entry
}

fn next_link(link: u128, entry: &[u8; ENTRY]) -> u128 {
    let mut both = [0; 16 + ENTRY];
    both[..16].copy_from_slice(&link.to_be_bytes());
    both[16..].copy_from_slice(entry);
    xxh3_128(&both)
}

fn hex(link: u128) -> String {
    format!("{link:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(folder: &Path, kept: Option<&KeptMessages>) -> Result<Vec<(u128, Millis)>> {
        let mut all = Vec::new();
        read(folder, kept, &Files::real(), |key, received_at| {
            all.push((key, received_at));
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn what_is_committed_is_read_again_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::real();
        assert_eq!(messages(folder.path(), None).unwrap(), []);
        let keep = |committed: Option<&KeptMessages>, range: std::ops::Range<u64>| {
            let mut keeper = KeptMessageWriter::new(folder.path(), committed);
            for number in range {
                keeper.append(number.into(), 7 - number.cast_signed(), &files).unwrap();
            }
            keeper.finish(&files).unwrap()
        };
        let expected = |n: u64| -> Vec<(u128, Millis)> {
            (0..n).map(|number| (number.into(), 7 - number.cast_signed())).collect()
        };
        assert_eq!(keep(None, 0..0), None);
        let first = keep(None, 0..100_000);
        let second = keep(first.as_ref(), 100_000..100_003);
        // A run that does not commit; the next one continues at the same offset.
        keep(second.as_ref(), 500..1000);
        let third = keep(second.as_ref(), 100_003..100_004);
        assert_eq!(messages(folder.path(), third.as_ref()).unwrap(), expected(100_004));
        assert_eq!(messages(folder.path(), first.as_ref()).unwrap(), expected(100_000));
        let path = path_of(folder.path());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[5000] ^= 1;
        files.create(&path).unwrap().write_all(&bytes).unwrap();
        let error = messages(folder.path(), third.as_ref()).unwrap_err().to_string();
        assert!(error.ends_with("its bytes are not those that were committed"), "{error}");
        bytes.truncate(2_400_000);
        files.create(&path).unwrap().write_all(&bytes).unwrap();
        assert!(check_length(folder.path(), third.as_ref()).is_err());
        files.remove_file(&path).unwrap();
        assert!(check_length(folder.path(), third.as_ref()).is_err());
    }
}
