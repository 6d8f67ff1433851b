//! Hash tables, and keys that identify byte strings.
//!
//! Hash tables are used only for lookups. Their hasher has a random seed, so that nobody can craft a dump whose names
//! all share a bucket. Output is sorted by the key of its table, so it never depends on the order in a hash table.

use std::{hash::BuildHasher, sync::LazyLock};

use xxhash_rust::xxh3::xxh3_128_with_secret;

/// A fast hasher with a random seed.
pub type Hasher = foldhash::fast::RandomState;
/// A map for lookups; never iterated to produce output.
pub type Map<K, V> = hashbrown::HashMap<K, V, Hasher>;
/// A set for lookups; never iterated to produce output.
pub type Set<K> = hashbrown::HashSet<K, Hasher>;

/// Returns the 128-bit key that identifies a byte string everywhere: the first 16 bytes of its BLAKE3 hash.
///
/// The bytes come from strangers. With a hash that is merely fast, it is easy to craft two identifiers with the same
/// key, and two people would become one. With BLAKE3 that would take 2^64 attempts.
#[must_use]
pub fn key_of(bytes: &[u8]) -> u128 {
    key_from(&blake3::hash(bytes))
}

/// Returns a key that identifies a byte string within this process, six times as fast as [`key_of`].
///
/// Short texts are hashed with a random secret of the process. The author of a dump does not know it, and therefore
/// cannot craft two texts with the same key.
#[must_use]
pub fn local_key_of(bytes: &[u8]) -> u128 {
    /// Longer texts are not mixed as well.
    const SHORT: usize = 128;
    if bytes.len() <= SHORT { xxh3_128_with_secret(bytes, &*LOCAL_SECRET) } else { key_of(bytes) }
}

static LOCAL_SECRET: LazyLock<[u8; 192]> = LazyLock::new(|| {
    // The standard library seeds this from the operating system.
    let seeds = std::collections::hash_map::RandomState::new();
    let mut hasher = blake3::Hasher::new();
    for number in 0..8_u8 {
        hasher.update(&seeds.hash_one(number).to_le_bytes());
    }
    let mut secret = [0; 192];
    hasher.finalize_xof().fill(&mut secret);
    secret
});

/// Returns the key that identifies a sequence of byte strings. The boundaries count: `("ab", "c")` is not `("a",
/// "bc")`.
#[must_use]
pub fn key_of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u128 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    key_from(&hasher.finalize())
}

/// Caches the keys of recently hashed byte strings. Most events repeat identifiers of earlier ones, and comparing bytes
/// takes a sixth of the time of hashing them with BLAKE3.
#[derive(Debug, Clone)]
pub struct KeyCache {
    slots: Vec<(Vec<u8>, u128)>,
    hasher: Hasher,
}

impl Default for KeyCache {
    fn default() -> Self {
        const SLOTS: usize = 2048;
        Self { slots: vec![(Vec::new(), key_of(b"")); SLOTS], hasher: Hasher::default() }
    }
}

impl KeyCache {
    /// Returns the same as [`key_of`].
    pub fn key_of(&mut self, bytes: &[u8]) -> u128 {
        /// Longer ones are rare and would take memory.
        const MOST: usize = 128;
        if MOST < bytes.len() {
            return key_of(bytes);
        }
        let hash = self.hasher.hash_one(bytes);
        let at = usize::try_from(hash % self.slots.len() as u64).unwrap_or_default();
        let (known, key) = &mut self.slots[at];
        if known != bytes {
            *key = key_of(bytes);
            known.clear();
            known.extend_from_slice(bytes);
        }
        *key
    }
}

fn key_from(hash: &blake3::Hash) -> u128 {
    let (first, _) = hash.as_bytes().split_first_chunk().expect("a BLAKE3 hash has 32 bytes");
    u128::from_be_bytes(*first)
}

/// A 128-bit key as two halves, the upper one first. It sorts like a `u128`, but has a smaller alignment, so that
/// structs need less padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SplitKey([u64; 2]);

impl From<u128> for SplitKey {
    #[expect(clippy::cast_possible_truncation, reason = "the key is split into two halves")]
    fn from(key: u128) -> Self {
        Self([(key >> 64) as u64, key as u64])
    }
}

impl SplitKey {
    /// Returns the key as one number.
    #[must_use]
    pub fn whole(self) -> u128 {
        u128::from(self.0[0]) << 64 | u128::from(self.0[1])
    }

    /// Returns the upper half.
    #[must_use]
    pub fn high(self) -> u64 {
        self.0[0]
    }

    /// Returns the hash for a hash table. The key is a hash already, so this is its lower half.
    #[must_use]
    pub fn hash(self) -> u64 {
        self.0[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_blake3() {
        // The first test vector of BLAKE3.
        assert_eq!(key_of(b""), 0xaf13_49b9_f5f9_a1a6_a040_4dea_36dc_c949);
    }

    #[test]
    fn local_keys_tell_texts_of_any_length_apart() {
        let text = [7; 300];
        let mut keys: Vec<u128> = (0..=300).map(|length| local_key_of(&text[..length])).collect();
        assert_eq!(keys[5], local_key_of(&text[..5]));
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 301);
    }

    #[test]
    fn a_cache_changes_no_key() {
        let mut cache = KeyCache::default();
        for number in (0..10_000_u32).chain(0..100) {
            for _ in 0..2 {
                let bytes = number.to_be_bytes();
                assert_eq!(cache.key_of(&bytes), key_of(&bytes));
            }
        }
        assert_eq!(cache.key_of(b""), key_of(b""));
    }

    #[test]
    fn parts_are_kept_apart() {
        let keys = [
            key_of_parts([&b"ab"[..], b"c"]),
            key_of_parts([&b"a"[..], b"bc"]),
            key_of_parts([&b"abc"[..]]),
            key_of_parts([&b"abc"[..], b""]),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key));
        }
        assert_eq!(keys[0], key_of_parts([&b"ab"[..], b"c"]));
    }
}
