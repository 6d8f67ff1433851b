//! The hash tables of this project: one fast hasher with a fixed state.
//!
//! They are for looking up only. What leaves the program passes a sort by the key of its table, so that
//! no output depends on where a hash table happened to keep something.

/// Hashes the same way on every machine and in every run.
pub type Hasher = foldhash::fast::FixedState;
/// A map for look-ups; never iterated on the way out.
pub type Map<K, V> = hashbrown::HashMap<K, V, Hasher>;
/// A set for look-ups; never iterated on the way out.
pub type Set<K> = hashbrown::HashSet<K, Hasher>;

/// A 128-bit key of some bytes: wide enough to stand for them.
///
/// At 64 bits a billion identifiers would merge two strangers with some per cent probability; at 128 the
/// probability is below one in 10^20.
#[must_use]
pub fn key_of(bytes: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(bytes)
}

/// A 128-bit key in halves, the upper one first: as ordered as the whole, without the gaps that the whole has beside
/// something smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key([u64; 2]);

impl From<u128> for Key {
    #[expect(clippy::cast_possible_truncation, reason = "halves")]
    fn from(key: u128) -> Self {
        Self([(key >> 64) as u64, key as u64])
    }
}

impl Key {
    /// The key.
    #[must_use]
    pub fn whole(self) -> u128 {
        u128::from(self.0[0]) << 64 | u128::from(self.0[1])
    }

    /// The upper half.
    #[must_use]
    pub fn high(self) -> u64 {
        self.0[0]
    }

    /// For a hash table: keys are hashes already.
    #[must_use]
    pub fn hash(self) -> u64 {
        self.0[1]
    }
}
