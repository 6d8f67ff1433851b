//! Assigns small numbers to 128-bit keys, in the order of first occurrence.
//!
//! The keys are hashes already, so the table needs no hasher. It contains only numbers, so it fits into the CPU caches,
//! which a map of whole keys would not.

use hashbrown::HashTable;

use crate::table::to_u32;

/// The numbers of keys.
#[derive(Debug, Default)]
pub(super) struct KeyNumbers {
    keys: Vec<u128>,
    table: HashTable<u32>,
}

impl KeyNumbers {
    /// Reserves room for `n_keys`.
    pub(super) fn with_capacity(n_keys: usize) -> Self {
        Self { keys: Vec::with_capacity(n_keys), table: HashTable::with_capacity(n_keys) }
    }

    /// Returns the key of a number.
    pub(super) fn key(&self, number: u32) -> u128 {
        self.keys[number as usize]
    }

    /// Returns the number of a key, if it has one.
    pub(super) fn find(&self, key: u128) -> Option<u32> {
        self.table.find(hash(key), |&number| self.keys[number as usize] == key).copied()
    }

    /// Returns the number of a key, and whether it was assigned just now.
    pub(super) fn intern(&mut self, key: u128) -> (u32, bool) {
        let Self { keys, table } = self;
        if let Some(&number) = table.find(hash(key), |&number| keys[number as usize] == key) {
            return (number, false);
        }
        let number = to_u32(keys.len());
        table.insert_unique(hash(key), number, |&number| hash(keys[number as usize]));
        keys.push(key);
        (number, true)
    }
}

/// Returns half of a key, which is a hash itself.
#[expect(clippy::cast_possible_truncation, reason = "half of a 128-bit hash is a hash")]
fn hash(key: u128) -> u64 {
    key as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::key_of;

    #[test]
    fn numbers_are_given_in_the_order_of_meeting() {
        let mut keys = KeyNumbers::with_capacity(2);
        for number in 0..1000_u32 {
            assert_eq!(keys.find(key_of(&number.to_le_bytes())), None);
            assert_eq!(keys.intern(key_of(&number.to_le_bytes())), (number, true));
        }
        for number in 0..1000_u32 {
            assert_eq!(keys.find(key_of(&number.to_le_bytes())), Some(number));
            assert_eq!(keys.intern(key_of(&number.to_le_bytes())), (number, false));
        }
    }
}
