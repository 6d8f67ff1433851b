//! Recognizes duplicates: an event is one if its `messageId` was accepted with a `received_at` within the window,
//! before or after its own.
//!
//! Messages of earlier runs may stay on disk, where they are looked up. The messages of this run are in memory until
//! they exceed a limit. Then all of them are sorted and spilled, and a filter of two bytes per message remains, which
//! rules out nearly every new message without a read.

use std::{fmt, sync::Arc};

use hashbrown::HashTable;
use rayon::prelude::*;

use super::{bloom_filter::BloomFilter, order::ReleasedEvents};
use crate::{collections::SplitKey, error::Result, time::timestamp::Millis};

/// Looks up the messages of earlier runs, which are on disk.
pub trait MessageLookup: fmt::Debug + Send + Sync {
    /// Returns whether a message with this key was accepted at most `window` ms before or after `received_at`.
    fn has_within_window(&self, message_key: u128, received_at: Millis, window: Millis) -> Result<bool>;
}

/// Stores the messages that exceed the memory limit.
pub trait MessageSpillStore: MessageLookup {
    /// Adds messages, which are sorted by key.
    fn put(&mut self, messages: &[SeenMessage]) -> Result<()>;

    /// Appends all messages with keys from `first` to `last`, both included, in any order.
    fn copy_range(&self, first: u128, last: u128, out: &mut Vec<SeenMessage>) -> Result<()>;
}

/// An accepted message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenMessage {
    /// Hash of its `messageId`.
    pub key: SplitKey,
    /// When it was received.
    pub received_at: Millis,
}

/// All accepted messages.
#[derive(Debug, Default)]
pub struct SeenMessages {
    messages: HashTable<SeenMessage>,
    cold: Option<Arc<dyn MessageLookup>>,
    shelved: Option<SpilledMessages>,
}

/// The spilled messages, and how many may stay in memory.
#[derive(Debug)]
struct SpilledMessages {
    shelves: Box<dyn MessageSpillStore>,
    most_here: usize,
    count: usize,
    filter: BloomFilter,
}

impl SpilledMessages {
    /// Returns whether a message with this key may have been spilled.
    fn may_hold(&self, key: SplitKey) -> bool {
        0 < self.count && self.filter.may_contain(key)
    }
}

/// How many messages are sorted at once.
const SORT_BATCH: usize = 1 << 19;

impl SeenMessages {
    /// Creates a set whose messages of earlier runs are all on disk.
    #[must_use]
    pub fn on_disk(cold: Arc<dyn MessageLookup>) -> Self {
        Self { cold: Some(cold), ..Self::default() }
    }

    /// Limits the messages in memory to about `bytes` and spills the others. Expects about `additional` more messages.
    pub fn limit_memory(&mut self, shelves: Box<dyn MessageSpillStore>, bytes: u64, additional: usize) {
        let buckets = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<SeenMessage>();
        // The table has a power of two of buckets and fills 7/8 of them.
        let most_here = ((1 << buckets.max(1 << 10).ilog2()) / 8 * 7).max(self.messages.len());
        let filter = BloomFilter::for_keys(self.messages.len() + additional);
        self.shelved = Some(SpilledMessages { shelves, most_here, count: 0, filter });
        self.messages.reserve(additional.min(most_here - self.messages.len()), hash_of);
    }

    /// Returns which of the released events are duplicates of messages of earlier runs on disk, using all cores.
    /// Returns an empty list if none are on disk.
    pub fn duplicates_on_disk(&self, released: &ReleasedEvents, window: Millis) -> Result<Vec<bool>> {
        let Some(cold) = &self.cold else { return Ok(Vec::new()) };
        let near = |&place| {
            let (_, event) = released.event(place);
            cold.has_within_window(event.message_key, event.received_at, window)
        };
        released.places.par_iter().map(near).collect()
    }

    /// Accepts a message, unless one with its key that is in memory or spilled was accepted at most `window` ms before
    /// or after it. Returns whether it was accepted.
    pub fn accept(&mut self, message_key: u128, received_at: Millis, window: Millis) -> Result<bool> {
        let key = SplitKey::from(message_key);
        let near = |message: &SeenMessage| {
            message.key == key && message.received_at.abs_diff(received_at) <= window.unsigned_abs()
        };
        if self.messages.find(key.hash(), near).is_some() {
            return Ok(false);
        }
        if let Some(shelved) = &self.shelved
            && shelved.may_hold(key)
            && shelved.shelves.has_within_window(message_key, received_at, window)?
        {
            return Ok(false);
        }
        self.insert(message_key, received_at)?;
        Ok(true)
    }

    /// Returns whether a message with this key is in memory or may have been spilled.
    #[must_use]
    pub fn may_hold(&self, message_key: u128) -> bool {
        let key = SplitKey::from(message_key);
        let is_here = self.messages.find(key.hash(), |message| message.key == key).is_some();
        // No short circuit: this prefetches both, since `accept` will read both.
        is_here | self.shelved.as_ref().is_some_and(|shelved| shelved.may_hold(key))
    }

    /// Adds a message that was accepted in an earlier run or just now.
    pub fn insert(&mut self, message_key: u128, received_at: Millis) -> Result<()> {
        if self.shelved.as_ref().is_some_and(|shelved| shelved.most_here <= self.messages.len()) {
            self.spill_all()?;
        }
        let message = SeenMessage { key: SplitKey::from(message_key), received_at };
        self.messages.insert_unique(message.key.hash(), message, hash_of);
        Ok(())
    }

    /// Adds an accepted message, unless it is present with the same time. Nothing may have been spilled.
    pub fn insert_if_new(&mut self, message_key: u128, received_at: Millis) {
        debug_assert!(self.shelved.is_none(), "messages are spilled only while events are accepted");
        let message = SeenMessage { key: SplitKey::from(message_key), received_at };
        if self.messages.find(message.key.hash(), |known| *known == message).is_none() {
            self.messages.insert_unique(message.key.hash(), message, hash_of);
        }
    }

    /// Spills all messages in memory.
    fn spill_all(&mut self) -> Result<()> {
        let Some(shelved) = &mut self.shelved else { return Ok(()) };
        let mut messages: Vec<SeenMessage> = self.messages.drain().collect();
        messages.par_sort_unstable();
        shelved.count += messages.len();
        if shelved.filter.capacity() < shelved.count {
            // More messages came than expected, so the filter must be rebuilt with twice the size.
            shelved.filter = BloomFilter::for_keys(2 * shelved.count);
            let mut known = Vec::new();
            for (first, last) in key_ranges(shelved.count) {
                known.clear();
                shelved.shelves.copy_range(first, last, &mut known)?;
                for message in &known {
                    shelved.filter.add(message.key);
                }
            }
        }
        // Adding them in key order touches the filter's memory sequentially.
        for message in &messages {
            shelved.filter.add(message.key);
        }
        shelved.shelves.put(&messages)
    }

    /// Calls `each` with all messages, in batches sorted by key.
    pub fn for_each_sorted(&self, mut each: impl FnMut(&[SeenMessage]) -> Result<()>) -> Result<()> {
        let mut some = Vec::new();
        for (first, last) in key_ranges(self.count()) {
            some.clear();
            let (from, to) = (SplitKey::from(first), SplitKey::from(last));
            some.extend(self.messages.iter().filter(|message| from <= message.key && message.key <= to));
            if let Some(shelved) = &self.shelved {
                shelved.shelves.copy_range(first, last, &mut some)?;
            }
            some.par_sort_unstable();
            each(&some)?;
        }
        Ok(())
    }

    /// Reserves memory for `additional` more messages.
    pub fn reserve(&mut self, additional: usize) {
        self.messages.reserve(additional, hash_of);
    }

    /// Returns the number of messages in memory and spilled, without those of earlier runs on disk.
    #[must_use]
    pub fn count(&self) -> usize {
        self.messages.len() + self.shelved.as_ref().map_or(0, |shelved| shelved.count)
    }
}

fn hash_of(message: &SeenMessage) -> u64 {
    message.key.hash()
}

/// Splits the key space into ranges for this many messages. Keys are hashes, so the ranges hold about equally many.
pub fn key_ranges(n_messages: usize) -> impl Iterator<Item = (u128, u128)> {
    let n = (n_messages / SORT_BATCH + 1) as u128;
    let width = u128::MAX / n;
    (0..n).map(move |range| {
        let first = range * width;
        (first, if range + 1 == n { u128::MAX } else { first + width - 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_every_key_once() {
        for n_messages in [0, 1, SORT_BATCH, 10 * SORT_BATCH, 999 * SORT_BATCH] {
            let mut next = 0;
            for (first, last) in key_ranges(n_messages) {
                assert_eq!(first, next);
                assert!(first < last);
                next = last.wrapping_add(1);
            }
            assert_eq!(next, 0);
        }
    }
}
