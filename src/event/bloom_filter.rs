//! A blocked Bloom filter: reports that a key was never added, or that it may have been.
//!
//! A key sets eight bits within one line of 64 bytes, so a lookup touches a single cache line. With sixteen bits per
//! key, about one in a thousand keys that were never added seems present.

use crate::collections::SplitKey;

const WORDS: usize = 8;
const KEYS_PER_LINE: usize = 32;

/// The bits of the added keys.
#[derive(Debug, Default)]
pub(super) struct BloomFilter {
    lines: Vec<[u64; WORDS]>,
}

impl BloomFilter {
    /// Creates an empty filter sized for `n_keys` keys.
    pub(super) fn for_keys(n_keys: usize) -> Self {
        Self { lines: vec![[0; WORDS]; n_keys / KEYS_PER_LINE + 1] }
    }

    /// Returns the number of keys the filter is sized for.
    pub(super) fn capacity(&self) -> usize {
        self.lines.len() * KEYS_PER_LINE
    }

    /// Adds a key. Nearby keys have nearby lines.
    pub(super) fn add(&mut self, key: SplitKey) {
        let line = self.line_of(key);
        for (word, bits) in self.lines[line].iter_mut().zip(bits_of(key)) {
            *word |= bits;
        }
    }

    /// Returns whether the key may have been added.
    pub(super) fn may_contain(&self, key: SplitKey) -> bool {
        self.lines[self.line_of(key)].iter().zip(bits_of(key)).all(|(word, bits)| word & bits != 0)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the result is less than the number of lines")]
    fn line_of(&self, key: SplitKey) -> usize {
        ((u128::from(key.high()) * self.lines.len() as u128) >> 64) as usize
    }
}

/// Returns one bit in each word.
fn bits_of(key: SplitKey) -> [u64; WORDS] {
    let hash = key.hash();
    std::array::from_fn(|word| 1 << (hash >> (6 * word) & 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::key_of;

    fn keys(from: u32, to: u32) -> impl Iterator<Item = SplitKey> {
        (from..to).map(|number| SplitKey::from(key_of(&number.to_le_bytes())))
    }

    #[test]
    fn what_was_added_is_held_and_little_else() {
        let mut filter = BloomFilter::for_keys(100_000);
        assert!(keys(0, 100_000).all(|key| !filter.may_contain(key)));
        keys(0, 100_000).for_each(|key| filter.add(key));
        assert!(keys(0, 100_000).all(|key| filter.may_contain(key)));
        let wrong = keys(100_000, 200_000).filter(|key| filter.may_contain(*key)).count();
        assert!(wrong < 500, "{wrong}");
    }
}
