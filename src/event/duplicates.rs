//! Recognizes duplicates: an event is one if its `messageId` was accepted with a `received_at` within the window,
//! before or after its own.
//!
//! Messages of earlier runs may stay on disk, where they are looked up. The messages of this run are in memory until
//! they exceed a limit. Then all of them are sorted and spilled, and a filter of two bytes per message remains, which
//! rules out nearly every new message without a read.

use std::{fmt, sync::Arc};

use hashbrown::HashTable;
use rayon::prelude::*;

use super::{filter::Filter, order::Released};
use crate::{collections::Key, error::Result, time::timestamp::Millis};

/// Looks up the messages of earlier runs, which are on disk.
pub trait Remembered: fmt::Debug + Send + Sync {
    /// Returns whether a message with this key was accepted at most `window` ms before or after `received_at`.
    fn near(&self, message_key: u128, received_at: Millis, window: Millis) -> Result<bool>;
}

/// Stores the messages that exceed the memory limit.
pub trait Shelves: Remembered {
    /// Adds messages, which are sorted by key.
    fn put(&mut self, messages: &[Message]) -> Result<()>;

    /// Appends all messages with keys from `first` to `last`, both included, in any order.
    fn copy(&self, first: u128, last: u128, out: &mut Vec<Message>) -> Result<()>;
}

/// An accepted message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// Hash of its `messageId`.
    pub key: Key,
    /// When it was received.
    pub received_at: Millis,
}

/// All accepted messages.
#[derive(Debug, Default)]
pub struct Accepted {
    messages: HashTable<Message>,
    cold: Option<Arc<dyn Remembered>>,
    shelved: Option<Shelved>,
}

/// The spilled messages, and how many may stay in memory.
#[derive(Debug)]
struct Shelved {
    shelves: Box<dyn Shelves>,
    most_here: usize,
    count: usize,
    filter: Filter,
}

impl Shelved {
    /// Returns whether a message with this key may have been spilled.
    fn may_hold(&self, key: Key) -> bool {
        0 < self.count && self.filter.may_hold(key)
    }
}

/// How many messages are sorted at once.
const SORTED_AT_ONCE: usize = 1 << 19;

impl Accepted {
    /// Creates a set whose messages of earlier runs are all on disk.
    #[must_use]
    pub fn cold(cold: Arc<dyn Remembered>) -> Self {
        Self { cold: Some(cold), ..Self::default() }
    }

    /// Limits the messages in memory to about `bytes` and spills the others. Expects about `additional` more messages.
    pub fn shelve(&mut self, shelves: Box<dyn Shelves>, bytes: u64, additional: usize) {
        let buckets = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<Message>();
        // The table has a power of two of buckets and fills 7/8 of them.
        let most_here = ((1 << buckets.max(1 << 10).ilog2()) / 8 * 7).max(self.messages.len());
        let filter = Filter::for_keys(self.messages.len() + additional);
        self.shelved = Some(Shelved { shelves, most_here, count: 0, filter });
        self.messages.reserve(additional.min(most_here - self.messages.len()), hash_of);
    }

    /// Returns which of the released events are duplicates of messages of earlier runs on disk, using all cores.
    /// Returns an empty list if none are on disk.
    pub fn cold_duplicates(&self, released: &Released, window: Millis) -> Result<Vec<bool>> {
        let Some(cold) = &self.cold else { return Ok(Vec::new()) };
        let near = |&place| {
            let (_, event) = released.event(place);
            cold.near(event.message_key, event.received_at, window)
        };
        released.places.par_iter().map(near).collect()
    }

    /// Accepts a message, unless one with its key that is in memory or spilled was accepted at most `window` ms before
    /// or after it. Returns whether it was accepted.
    pub fn accept(&mut self, message_key: u128, received_at: Millis, window: Millis) -> Result<bool> {
        let key = Key::from(message_key);
        let near = |message: &Message| {
            message.key == key && message.received_at.abs_diff(received_at) <= window.unsigned_abs()
        };
        if self.messages.find(key.hash(), near).is_some() {
            return Ok(false);
        }
        if let Some(shelved) = &self.shelved
            && shelved.may_hold(key)
            && shelved.shelves.near(message_key, received_at, window)?
        {
            return Ok(false);
        }
        self.remember(message_key, received_at)?;
        Ok(true)
    }

    /// Returns whether a message with this key is in memory or may have been spilled.
    #[must_use]
    pub fn may_hold(&self, message_key: u128) -> bool {
        let key = Key::from(message_key);
        let is_here = self.messages.find(key.hash(), |message| message.key == key).is_some();
        // No short circuit: this prefetches both, since `accept` will read both.
        is_here | self.shelved.as_ref().is_some_and(|shelved| shelved.may_hold(key))
    }

    /// Adds a message that was accepted in an earlier run or just now.
    pub fn remember(&mut self, message_key: u128, received_at: Millis) -> Result<()> {
        if self.shelved.as_ref().is_some_and(|shelved| shelved.most_here <= self.messages.len()) {
            self.clear_away()?;
        }
        let message = Message { key: Key::from(message_key), received_at };
        self.messages.insert_unique(message.key.hash(), message, hash_of);
        Ok(())
    }

    /// Adds an accepted message, unless it is present with the same time. Nothing may have been spilled.
    pub fn remember_once(&mut self, message_key: u128, received_at: Millis) {
        debug_assert!(self.shelved.is_none(), "messages are spilled only while events are accepted");
        let message = Message { key: Key::from(message_key), received_at };
        if self.messages.find(message.key.hash(), |known| *known == message).is_none() {
            self.messages.insert_unique(message.key.hash(), message, hash_of);
        }
    }

    /// Spills all messages in memory.
    fn clear_away(&mut self) -> Result<()> {
        let Some(shelved) = &mut self.shelved else { return Ok(()) };
        let mut messages: Vec<Message> = self.messages.drain().collect();
        messages.par_sort_unstable();
        shelved.count += messages.len();
        if shelved.filter.capacity() < shelved.count {
            // More messages came than expected, so the filter must be rebuilt with twice the size.
            shelved.filter = Filter::for_keys(2 * shelved.count);
            let mut known = Vec::new();
            for (first, last) in ranges(shelved.count) {
                known.clear();
                shelved.shelves.copy(first, last, &mut known)?;
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
    pub fn sorted(&self, mut each: impl FnMut(&[Message]) -> Result<()>) -> Result<()> {
        let mut some = Vec::new();
        for (first, last) in ranges(self.count()) {
            some.clear();
            let (from, to) = (Key::from(first), Key::from(last));
            some.extend(self.messages.iter().filter(|message| from <= message.key && message.key <= to));
            if let Some(shelved) = &self.shelved {
                shelved.shelves.copy(first, last, &mut some)?;
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

fn hash_of(message: &Message) -> u64 {
    message.key.hash()
}

/// Splits the key space into ranges for this many messages. Keys are hashes, so the ranges hold about equally many.
pub fn ranges(n_messages: usize) -> impl Iterator<Item = (u128, u128)> {
    let n = (n_messages / SORTED_AT_ONCE + 1) as u128;
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
        for n_messages in [0, 1, SORTED_AT_ONCE, 10 * SORTED_AT_ONCE, 999 * SORTED_AT_ONCE] {
            let mut next = 0;
            for (first, last) in ranges(n_messages) {
                assert_eq!(first, next);
                assert!(first < last);
                next = last.wrapping_add(1);
            }
            assert_eq!(next, 0);
        }
    }
}
