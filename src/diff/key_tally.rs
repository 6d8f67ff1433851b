//! Counts which keys occur more than once on a side, for tables that are not in order.
//!
//! A key is remembered as its hash and a byte for the side. Hashes that do not fit in memory are sorted and written to
//! a temporary file, and all are merged at the end.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
};

use rayon::prelude::*;

use crate::{collections::SplitKey, error::Result};

use super::{
    records::temporary,
    sides::{NEW, OLD},
};

/// Where a key was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FoundOn {
    /// In a line that both sides have.
    Both = 0,
    /// On the old side.
    Old = 1,
    /// On the new side.
    New = 2,
}

/// The hash of a key, and where it was found. The hash is in two halves, because a `u128` next to a byte would take
/// eight more bytes.
type TallyEntry = (SplitKey, FoundOn);

/// Bytes of an entry in the file.
const ENTRY: usize = 17;

/// Counts keys.
#[derive(Debug)]
pub struct KeyTally {
    keys: Vec<TallyEntry>,
    room: usize,
    spilled: Option<File>,
    /// The number of keys in each sorted run of the file.
    parts: Vec<u64>,
}

/// The keys that occur more than once.
#[derive(Debug, Default)]
pub struct DuplicateKeys {
    /// The number of these keys, on each side.
    pub counts: [u64; 2],
    keys: Vec<SplitKey>,
}

impl DuplicateKeys {
    /// Returns whether a key occurs more than once on a side.
    #[must_use]
    pub fn contains(&self, key_hash: u128) -> bool {
        self.keys.binary_search(&SplitKey::from(key_hash)).is_ok()
    }
}

impl KeyTally {
    /// Creates a tally that uses about this many bytes of memory.
    #[must_use]
    pub fn new(memory: u64) -> Self {
        let room =
            usize::try_from(memory / size_of::<TallyEntry>() as u64).unwrap_or(usize::MAX).max(1 << 10);
        Self { keys: Vec::new(), room, spilled: None, parts: Vec::new() }
    }

    /// Adds a key.
    pub fn push(&mut self, key_hash: u128, met: FoundOn) -> Result<()> {
        if self.keys.len() == self.room {
            self.set_aside()?;
        }
        self.keys.push((SplitKey::from(key_hash), met));
        Ok(())
    }

    fn set_aside(&mut self) -> Result<()> {
        self.keys.par_sort_unstable();
        let file = match &mut self.spilled {
            Some(file) => file,
            None => self.spilled.insert(tempfile::tempfile().map_err(temporary)?),
        };
        let mut block = Vec::with_capacity(1 << 20);
        for keys in self.keys.chunks(1 << 16) {
            block.clear();
            for (key, met) in keys {
                block.extend_from_slice(&key.whole().to_le_bytes());
                block.push(*met as u8);
            }
            file.write_all(&block).map_err(temporary)?;
        }
        self.parts.push(self.keys.len() as u64);
        self.keys.clear();
        Ok(())
    }

    /// Returns the keys that occur more than once.
    pub fn finish(mut self) -> Result<DuplicateKeys> {
        let mut twofold = DuplicateKeys::default();
        let mut group = KeyCounts::default();
        if self.spilled.is_some() && !self.keys.is_empty() {
            self.set_aside()?;
        }
        let Some(mut file) = self.spilled else {
            self.keys.par_sort_unstable();
            for key in self.keys {
                group.take(key, &mut twofold);
            }
            group.end(&mut twofold);
            return Ok(twofold);
        };
        file.seek(SeekFrom::Start(0)).map_err(temporary)?;
        let mut parts = Vec::new();
        let mut from = 0;
        let mut heap = BinaryHeap::new();
        for n_keys in self.parts {
            let mut part = BufReader::with_capacity(
                1 << 16,
                TallyRun { file: &file, from, to: from + n_keys * ENTRY as u64 },
            );
            from += n_keys * ENTRY as u64;
            if let Some(key) = next(&mut part)? {
                heap.push(Reverse((key, parts.len())));
            }
            parts.push(part);
        }
        while let Some(Reverse((key, at))) = heap.pop() {
            group.take(key, &mut twofold);
            if let Some(key) = next(&mut parts[at])? {
                heap.push(Reverse((key, at)));
            }
        }
        group.end(&mut twofold);
        Ok(twofold)
    }
}

fn next(part: &mut impl Read) -> Result<Option<TallyEntry>> {
    let mut entry = [0; ENTRY];
    match part.read_exact(&mut entry) {
        Ok(()) => {
            let (key, met) = entry.split_first_chunk().expect("an entry begins with a hash");
            let met = [FoundOn::Both, FoundOn::Old, FoundOn::New][usize::from(met[0])];
            Ok(Some((SplitKey::from(u128::from_le_bytes(*key)), met)))
        }
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(temporary(e)),
    }
}

struct TallyRun<'a> {
    file: &'a File,
    from: u64,
    to: u64,
}

impl Read for TallyRun<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let wanted = bytes.len().min(usize::try_from(self.to - self.from).unwrap_or(usize::MAX));
        let n_read = self.file.read_at(&mut bytes[..wanted], self.from)?;
        self.from += n_read as u64;
        Ok(n_read)
    }
}

/// The number of occurrences of a key.
#[derive(Default)]
struct KeyCounts {
    key: Option<SplitKey>,
    counts: [u64; 3],
}

impl KeyCounts {
    fn take(&mut self, (key, met): TallyEntry, twofold: &mut DuplicateKeys) {
        if self.key != Some(key) {
            self.end(twofold);
            self.key = Some(key);
        }
        self.counts[met as usize] += 1;
    }

    fn end(&mut self, twofold: &mut DuplicateKeys) {
        let [both, old, new] = std::mem::take(&mut self.counts);
        let twice = [1 < both + old, 1 < both + new];
        twofold.counts[OLD] += u64::from(twice[OLD]);
        twofold.counts[NEW] += u64::from(twice[NEW]);
        if twice != [false, false] {
            twofold.keys.extend(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::key_of;

    #[test]
    fn keys_are_counted_in_memory_and_beside_it() {
        let key = |n: u32| key_of(&n.to_le_bytes());
        for memory in [1, 1 << 20] {
            let mut tally = KeyTally::new(memory);
            for n in 0..5000 {
                tally.push(key(n), FoundOn::Both).unwrap();
            }
            for n in [7, 4000, 9000, 9000] {
                tally.push(key(n), FoundOn::New).unwrap();
            }
            tally.push(key(8000), FoundOn::Old).unwrap();
            tally.push(key(8000), FoundOn::New).unwrap();
            let twofold = tally.finish().unwrap();
            assert_eq!(twofold.counts, [0, 3]);
            for n in [7, 4000, 9000] {
                assert!(twofold.contains(key(n)));
            }
            assert!(!twofold.contains(key(8000)) && !twofold.contains(key(8)));
        }
    }
}
