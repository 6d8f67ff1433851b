//! Sorted entries on disk: pairs of a 128-bit key and a number, found by key with one short read.
//!
//! The entries are in consecutive blocks of 4 KB; keys may repeat. Neighbouring keys are similar, and numbers may be,
//! too. So a block stores its first key and its smallest number in full, and for each entry only the differences from
//! these, in as many bits as the largest difference needs. All entries of a block have the same width, so a binary
//! search finds one. The index has the upper half of the first key and the checksum of each block: 16 bytes per 4 KB.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    bits::{SLACK, get_bits, put_bits, width},
    encode::{Decoder, Encoder},
};
use crate::error::{Error, Result};

/// A key and the number stored for it.
pub(super) type SortedEntry = (u128, u64);

/// Size of a block in bytes. The last one may be shorter.
const BLOCK: usize = 4096;
/// Size of a block's header: the first key, the smallest number, the widths of key and number in bits, the number of
/// entries.
const HEAD: usize = 16 + 8 + 1 + 1 + 2;

/// The index of sorted entries in a file.
#[derive(Debug, Clone, Default)]
pub(super) struct SortedIndex {
    offset: u64,
    n_bytes: u64,
    n_entries: u64,
    /// The upper half of each block's first key, and the checksum of the block.
    blocks: Vec<(u64, u64)>,
}

/// A writer of sorted entries.
#[derive(Debug, Default)]
pub(super) struct SortedWriter {
    sorted: SortedIndex,
    /// The entries of the next block.
    entries: Vec<SortedEntry>,
    /// The smallest and the largest number of these.
    range: (u64, u64),
}

impl SortedWriter {
    /// Starts at an offset in a file.
    pub(super) fn begin(offset: u64) -> Self {
        Self { sorted: SortedIndex { offset, ..SortedIndex::default() }, ..Self::default() }
    }

    /// Adds the next entry, whose key must not be smaller than the last. Appends the block before it to `out` if that
    /// is full.
    pub(super) fn add(&mut self, (key, value): SortedEntry, out: &mut Vec<u8>) {
        let mut range = (self.range.0.min(value), self.range.1.max(value));
        if let Some(&(first, _)) = self.entries.first() {
            let bits = width(key - first) + width((range.1 - range.0).into());
            if (BLOCK - HEAD) * 8 < (self.entries.len() + 1) * bits as usize
                || self.entries.len() == MAX_BLOCK_ENTRIES
            {
                self.end_block(BLOCK, out);
            }
        }
        if self.entries.is_empty() {
            range = (value, value);
        }
        self.range = range;
        self.entries.push((key, value));
    }

    /// Appends the last block. Returns the index.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) -> SortedIndex {
        self.end_block(0, out);
        self.sorted
    }

    fn end_block(&mut self, least_bytes: usize, out: &mut Vec<u8>) {
        let (Some(&(first, _)), Some(&(last, _))) = (self.entries.first(), self.entries.last()) else {
            return;
        };
        let (smallest, largest) = self.range;
        let (of_key, of_value) = (width(last - first), width((largest - smallest).into()));
        let mut block = [0; BLOCK + SLACK];
        block[..16].copy_from_slice(&first.to_le_bytes());
        block[16..24].copy_from_slice(&smallest.to_le_bytes());
        block[24..26].copy_from_slice(&[of_key, of_value].map(|bits| u8::try_from(bits).unwrap_or(u8::MAX)));
        block[26..HEAD].copy_from_slice(&u16::try_from(self.entries.len()).unwrap_or(u16::MAX).to_le_bytes());
        let mut at = HEAD * 8;
        for (key, value) in &self.entries {
            put_bits(&mut block, at, of_key, key - first);
            at += of_key as usize;
            put_bits(&mut block, at, of_value, (value - smallest).into());
            at += of_value as usize;
        }
        let bytes = &block[..at.div_ceil(8).max(least_bytes)];
        out.extend_from_slice(bytes);
        self.sorted.n_bytes += bytes.len() as u64;
        self.sorted.n_entries += self.entries.len() as u64;
        self.sorted.blocks.push((high(first), xxh3_64(bytes)));
        self.entries.clear();
    }
}

/// Limit of the entries of a block, because equal entries take no bits at all.
const MAX_BLOCK_ENTRIES: usize = 1 << 12;

/// A block that was read.
struct EntryBlock<'a> {
    bytes: &'a [u8; BLOCK + SLACK],
    first: u128,
    smallest: u64,
    of_key: u32,
    of_value: u32,
    len: usize,
}

impl<'a> EntryBlock<'a> {
    /// Parses the header of a block; returns `None` if it cannot belong to a block of `n_bytes`.
    fn new(bytes: &'a [u8; BLOCK + SLACK], n_bytes: usize) -> Option<Self> {
        let mut head = Decoder(bytes);
        let (first, smallest) = (head.u128()?, head.u64()?);
        let [of_key, of_value, low, high] = *head.0.first_chunk()?;
        let (of_key, of_value) = (u32::from(of_key), u32::from(of_value));
        let len = usize::from(u16::from_le_bytes([low, high]));
        let n_bits = HEAD * 8 + len * (of_key + of_value) as usize;
        (of_key <= 128 && of_value <= 64 && n_bits.div_ceil(8) <= n_bytes).then_some(Self {
            bytes,
            first,
            smallest,
            of_key,
            of_value,
            len,
        })
    }

    fn key(&self, place: usize) -> u128 {
        let at = HEAD * 8 + place * (self.of_key + self.of_value) as usize;
        self.first.wrapping_add(get_bits(self.bytes, at, self.of_key))
    }

    #[expect(clippy::cast_possible_truncation, reason = "a number has at most 64 bits")]
    fn value(&self, place: usize) -> u64 {
        let at = HEAD * 8 + place * (self.of_key + self.of_value) as usize + self.of_key as usize;
        self.smallest.wrapping_add(get_bits(self.bytes, at, self.of_value) as u64)
    }
}

impl SortedIndex {
    /// Returns the number of entries.
    pub(super) fn len(&self) -> u64 {
        self.n_entries
    }

    /// Encodes the index.
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.u64(self.offset);
        out.u64(self.n_bytes);
        out.u64(self.n_entries);
        out.list(&self.blocks, |out, (first, checksum)| {
            out.u64(*first);
            out.u64(*checksum);
        });
    }

    /// Decodes an index; returns `None` if it is malformed.
    pub(super) fn decode(rest: &mut Decoder<'_>) -> Option<Self> {
        let (offset, n_bytes, n_entries) = (rest.u64()?, rest.u64()?, rest.u64()?);
        let n_blocks = usize::try_from(rest.count(16)?).ok()?;
        rest.u64()?;
        let mut blocks = Vec::with_capacity(n_blocks);
        for _ in 0..n_blocks {
            blocks.push((rest.u64()?, rest.u64()?));
        }
        let whole = n_blocks as u64 == n_bytes.div_ceil(BLOCK as u64);
        whole.then_some(Self { offset, n_bytes, n_entries, blocks })
    }

    /// Calls `each` with the number of every entry with this key, until it returns true.
    pub(super) fn find(
        &self,
        key: u128,
        file: &File,
        path: &Path,
        mut each: impl FnMut(u64) -> bool,
    ) -> Result<()> {
        // Entries with the key may begin in the block before the first one that begins with it.
        let first = self.blocks.partition_point(|&(first, _)| first < high(key)).saturating_sub(1);
        let mut bytes = [0; BLOCK + SLACK];
        for number in first..self.blocks.len() {
            if high(key) < self.blocks[number].0 {
                return Ok(());
            }
            let block = self.read(number, &mut bytes, file, path)?;
            let (mut from, mut to) = (0, block.len);
            while from < to {
                let middle = usize::midpoint(from, to);
                if block.key(middle) < key { from = middle + 1 } else { to = middle }
            }
            for place in from..block.len {
                if block.key(place) != key || each(block.value(place)) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Calls `each` with all entries whose keys are from `first` to `last`, both included, in order.
    pub(super) fn range(
        &self,
        first: u128,
        last: u128,
        file: &File,
        path: &Path,
        mut each: impl FnMut(SortedEntry),
    ) -> Result<()> {
        let from = self.blocks.partition_point(|&(start, _)| start < high(first)).saturating_sub(1);
        let to = self.blocks.partition_point(|&(start, _)| start <= high(last));
        let mut bytes = [0; BLOCK + SLACK];
        for number in from..to {
            let block = self.read(number, &mut bytes, file, path)?;
            for place in 0..block.len {
                let key = block.key(place);
                if first <= key && key <= last {
                    each((key, block.value(place)));
                }
            }
        }
        Ok(())
    }

    /// Reads a block and verifies its checksum.
    fn read<'a>(
        &self,
        number: usize,
        bytes: &'a mut [u8; BLOCK + SLACK],
        file: &File,
        path: &Path,
    ) -> Result<EntryBlock<'a>> {
        let before = (number * BLOCK) as u64;
        let n = usize::try_from((self.n_bytes - before).min(BLOCK as u64)).unwrap_or(BLOCK);
        file.read_exact_at(&mut bytes[..n], self.offset + before).map_err(|e| Error::io("read", path, e))?;
        let as_written = xxh3_64(&bytes[..n]) == self.blocks[number].1;
        as_written.then(|| EntryBlock::new(bytes, n)).flatten().ok_or(Error::StateDamaged)
    }
}

fn high(key: u128) -> u64 {
    (key >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::collections::key_of;

    /// Checks that every entry is read back, both in order and by key. Returns the number of bytes written.
    fn check(mut entries: Vec<SortedEntry>) -> u64 {
        entries.sort_unstable();
        let mut out = b"before".to_vec();
        let mut writer = SortedWriter::begin(6);
        for entry in &entries {
            writer.add(*entry, &mut out);
        }
        let sorted = writer.finish(&mut out);
        assert_eq!(out.len() as u64, 6 + sorted.n_bytes);
        assert_eq!(sorted.len(), entries.len() as u64);
        let mut encoded = Encoder::default();
        sorted.encode(&mut encoded);
        let sorted = SortedIndex::decode(&mut Decoder(&encoded.0)).expect("the index was just encoded");
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(&out).expect("the disk has room");
        let path = Path::new("sorted");
        let mut all = Vec::new();
        sorted.range(0, u128::MAX, &file, path, |entry| all.push(entry)).expect("the entries are readable");
        assert!(all == entries);
        for some in entries.chunk_by(|a, b| a.0 == b.0).step_by(entries.len() / 500 + 1) {
            let key = some[0].0;
            let mut found = Vec::new();
            let each = |value| {
                found.push((key, value));
                false
            };
            sorted.find(key, &file, path, each).expect("the entries are readable");
            assert!(found == some);
            let mut found = Vec::new();
            sorted.range(key, key, &file, path, |entry| found.push(entry)).expect("the entries are readable");
            assert!(found == some);
            for other in [key.wrapping_add(1), key.wrapping_sub(1)] {
                if entries.binary_search_by_key(&other, |entry| entry.0).is_err() {
                    let nothing = |value| panic!("{other} leads to {value}");
                    sorted.find(other, &file, path, nothing).expect("the entries are readable");
                }
            }
        }
        sorted.n_bytes
    }

    #[test]
    fn what_goes_in_comes_out() {
        let hashed = |n: u64| (0..n).map(|number| (key_of(&number.to_le_bytes()), number));
        check(Vec::new());
        check(vec![(7, u64::MAX)]);
        check(vec![(0, 0), (u128::MAX, u64::MAX)]);
        check(vec![(5, 5); 10_000]);
        check((0..3000).map(|number| (5, number)).chain((0..3000).map(|number| (number, 7))).collect());
        check((0..1000).map(|number| (u128::from(number) << 64, u64::MAX - number)).collect());
        check(hashed(500).map(|(key, value)| (key, value.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect());
        check(
            hashed(300).flat_map(|(key, value)| [(key, value), (key, value + 9), (key, 1 << 60)]).collect(),
        );
        // Keys share about eight bits with their block, and numbers need sixteen.
        assert!(check(hashed(60_000).collect()) < 60_000 * 18);
    }
}
