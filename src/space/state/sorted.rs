//! Sorted entries on the disk: pairs of a 128-bit key and a number, found by key with one short read.
//!
//! Blocks of 170 entries, little-endian, one behind the other; keys may repeat. The index has the first key and the
//! checksum of each block: 16 bytes for 4 KB. Keys are hashes, so nothing smaller would find them and nothing larger is
//! needed.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use xxhash_rust::xxh3::xxh3_64;

use super::encode::{In, Out};
use crate::error::{Error, Result};

/// A key and what it leads to.
pub(super) type Entry = (u128, u64);

/// Bytes of an entry.
pub(super) const ENTRY: usize = 24;
/// Entries of a block.
pub(super) const BLOCK: usize = 170;

/// Where sorted entries are in a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Sorted {
    offset: u64,
    n_entries: u64,
    /// The upper half of the first key of each block, and the checksum of its bytes.
    blocks: Vec<(u64, u64)>,
}

impl Sorted {
    /// To be written from this place in a file on.
    pub(super) fn begin(offset: u64) -> Self {
        Self { offset, ..Self::default() }
    }

    /// Encodes the next entries, which are a whole block unless they are the last.
    pub(super) fn add(&mut self, entries: impl Iterator<Item = Entry>, out: &mut Vec<u8>) {
        let start = out.len();
        let mut first = None;
        for (key, value) in entries {
            first.get_or_insert(key);
            out.extend_from_slice(&key.to_le_bytes());
            out.extend_from_slice(&value.to_le_bytes());
            self.n_entries += 1;
        }
        let Some(first) = first else { return };
        self.blocks.push((high(first), xxh3_64(&out[start..])));
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> u64 {
        self.n_entries
    }

    /// Encodes where they are.
    pub(super) fn encode(&self, out: &mut Out) {
        out.u64(self.offset);
        out.u64(self.n_entries);
        out.list(&self.blocks, |out, (first, checksum)| {
            out.u64(*first);
            out.u64(*checksum);
        });
    }

    /// Decodes where they are.
    pub(super) fn decode(rest: &mut In<'_>) -> Option<Self> {
        let (offset, n_entries) = (rest.u64()?, rest.u64()?);
        let n_blocks = usize::try_from(rest.count(16)?).ok()?;
        rest.u64()?;
        let mut blocks = Vec::with_capacity(n_blocks);
        for _ in 0..n_blocks {
            blocks.push((rest.u64()?, rest.u64()?));
        }
        (n_blocks as u64 == n_entries.div_ceil(BLOCK as u64)).then_some(Self { offset, n_entries, blocks })
    }

    /// Calls `each` with the value of every entry of a key, until it says that it has seen enough.
    pub(super) fn find(
        &self,
        key: u128,
        file: &File,
        path: &Path,
        mut each: impl FnMut(u64) -> bool,
    ) -> Result<()> {
        // Entries of the key may begin in the block before the first one that begins with it.
        let first = self.blocks.partition_point(|&(first, _)| first < high(key)).saturating_sub(1);
        let mut bytes = [0; BLOCK * ENTRY];
        for block in first..self.blocks.len() {
            if high(key) < self.blocks[block].0 {
                return Ok(());
            }
            let n = self.read(block, &mut bytes, file, path)?;
            let at = |place: usize| entry(&bytes[place * ENTRY..]);
            let (mut from, mut to) = (0, n);
            while from < to {
                let middle = usize::midpoint(from, to);
                if at(middle).0 < key { from = middle + 1 } else { to = middle }
            }
            for place in from..n {
                let (found, value) = at(place);
                if found != key || each(value) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Calls `each` with all entries from one key to another, both included, in their order.
    pub(super) fn range(
        &self,
        first: u128,
        last: u128,
        file: &File,
        path: &Path,
        mut each: impl FnMut(Entry),
    ) -> Result<()> {
        let from = self.blocks.partition_point(|&(start, _)| start < high(first)).saturating_sub(1);
        let to = self.blocks.partition_point(|&(start, _)| start <= high(last));
        let mut bytes = [0; BLOCK * ENTRY];
        for block in from..to {
            let n = self.read(block, &mut bytes, file, path)?;
            let entries = bytes[..n * ENTRY].chunks_exact(ENTRY).map(entry);
            entries.filter(|(key, _)| first <= *key && *key <= last).for_each(&mut each);
        }
        Ok(())
    }

    /// Reads a block; says how many entries it has.
    fn read(&self, block: usize, bytes: &mut [u8; BLOCK * ENTRY], file: &File, path: &Path) -> Result<usize> {
        let before = (block * BLOCK) as u64;
        let n = usize::try_from((self.n_entries - before).min(BLOCK as u64)).unwrap_or(BLOCK);
        let bytes = &mut bytes[..n * ENTRY];
        file.read_exact_at(bytes, self.offset + before * ENTRY as u64)
            .map_err(|e| Error::io("read", path, e))?;
        if xxh3_64(bytes) == self.blocks[block].1 { Ok(n) } else { Err(Error::StateDamaged) }
    }
}

fn entry(bytes: &[u8]) -> Entry {
    let key = bytes.first_chunk::<16>().map_or(0, |key| u128::from_le_bytes(*key));
    let value = bytes
        .get(16..)
        .and_then(|rest| rest.first_chunk::<8>())
        .map_or(0, |value| u64::from_le_bytes(*value));
    (key, value)
}

fn high(key: u128) -> u64 {
    (key >> 64) as u64
}
