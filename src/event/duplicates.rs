//! The memory of accepted messages: an event is a duplicate when its `messageId` was accepted with a `received_at` near
//! its own, earlier or later.
//!
//! Messages of earlier runs need not be here: they are asked for where they were put away. What a run accepts itself is
//! here until it is too much; then all of it goes to a shelf, sorted, and a filter of two bytes a message stays, which
//! says of nearly every new message that it is on none of the shelves.

use std::{fmt, sync::Arc};

use hashbrown::HashTable;
use rayon::prelude::*;

use super::{filter::Filter, order::Released};
use crate::{collections::Key, error::Result, time::timestamp::Millis};

/// Where messages are that are not here.
pub trait Remembered: fmt::Debug + Send + Sync {
    /// Whether a message of this key was accepted at most `window` away from a time.
    fn near(&self, message_key: u128, received_at: Millis, window: Millis) -> Result<bool>;
}

/// Where messages go that are too many to be here.
pub trait Shelves: Remembered {
    /// Takes in messages that are sorted by key.
    fn put(&mut self, messages: &[Message]) -> Result<()>;

    /// Appends all messages from one key to another, both included, in no order.
    fn copy(&self, first: u128, last: u128, out: &mut Vec<Message>) -> Result<()>;
}

/// A message that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// Stands for its `messageId`.
    pub key: Key,
    /// When it was received.
    pub received_at: Millis,
}

/// All messages ever accepted.
#[derive(Debug, Default)]
pub struct Accepted {
    messages: HashTable<Message>,
    cold: Option<Arc<dyn Remembered>>,
    shelved: Option<Shelved>,
}

/// What is not in the table, and how much may be in it.
#[derive(Debug)]
struct Shelved {
    shelves: Box<dyn Shelves>,
    most_here: usize,
    count: usize,
    filter: Filter,
}

impl Shelved {
    /// Whether a message of this key may be on a shelf.
    fn may_hold(&self, key: Key) -> bool {
        0 < self.count && self.filter.may_hold(key)
    }
}

/// So many messages are sorted at once.
const SORTED_AT_ONCE: usize = 1 << 19;

impl Accepted {
    /// A memory of which nothing is here.
    #[must_use]
    pub fn cold(cold: Arc<dyn Remembered>) -> Self {
        Self { cold: Some(cold), ..Self::default() }
    }

    /// Keeps about so many bytes of messages here, and puts the others on shelves. About so many messages will come.
    pub fn shelve(&mut self, shelves: Box<dyn Shelves>, bytes: u64, additional: usize) {
        let buckets = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<Message>();
        // A table has a power of two of buckets, and fills seven of eight.
        let most_here = ((1 << buckets.max(1 << 10).ilog2()) / 8 * 7).max(self.messages.len());
        let filter = Filter::for_keys(self.messages.len() + additional);
        self.shelved = Some(Shelved { shelves, most_here, count: 0, filter });
        self.messages.reserve(additional.min(most_here - self.messages.len()), hash_of);
    }

    /// Which of some events are duplicates of messages that are not here, on all cores; nothing where all are here.
    pub fn cold_duplicates(&self, released: &Released, window: Millis) -> Result<Vec<bool>> {
        let Some(cold) = &self.cold else { return Ok(Vec::new()) };
        let near = |&place| {
            let (_, event) = released.event(place);
            cold.near(event.message_key, event.received_at, window)
        };
        released.places.par_iter().map(near).collect()
    }

    /// Accepts a message, unless one of its id that is here was accepted at most `window` away. Says whether it was
    /// accepted.
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

    /// Whether a message of this key is here, or may be on a shelf.
    #[must_use]
    pub fn may_hold(&self, message_key: u128) -> bool {
        let key = Key::from(message_key);
        let is_here = self.messages.find(key.hash(), |message| message.key == key).is_some();
        // Both are looked at, since both are asked for when the message comes.
        is_here | self.shelved.as_ref().is_some_and(|shelved| shelved.may_hold(key))
    }

    /// Takes in a message that was accepted, in an earlier run or just now.
    pub fn remember(&mut self, message_key: u128, received_at: Millis) -> Result<()> {
        if self.shelved.as_ref().is_some_and(|shelved| shelved.most_here <= self.messages.len()) {
            self.clear_away()?;
        }
        let message = Message { key: Key::from(message_key), received_at };
        self.messages.insert_unique(message.key.hash(), message, hash_of);
        Ok(())
    }

    /// Takes in a message that was accepted, unless it is here already with this time. Nothing may be on a shelf.
    pub fn remember_once(&mut self, message_key: u128, received_at: Millis) {
        debug_assert!(self.shelved.is_none(), "messages are spilled only while events are accepted");
        let message = Message { key: Key::from(message_key), received_at };
        if self.messages.find(message.key.hash(), |known| *known == message).is_none() {
            self.messages.insert_unique(message.key.hash(), message, hash_of);
        }
    }

    /// Puts all messages that are here on a shelf.
    fn clear_away(&mut self) -> Result<()> {
        let Some(shelved) = &mut self.shelved else { return Ok(()) };
        let mut messages: Vec<Message> = self.messages.drain().collect();
        messages.par_sort_unstable();
        shelved.count += messages.len();
        if shelved.filter.capacity() < shelved.count {
            // More messages came than were foretold.
            shelved.filter = Filter::for_keys(2 * shelved.count);
            let mut known = Vec::new();
            for (first, last) in ranges(shelved.count) {
                known.clear();
                shelved.shelves.copy(first, last, &mut known)?;
                shelved.filter.add_all(&known);
            }
        }
        // In the order of keys they are added one behind the other.
        shelved.filter.add_all(&messages);
        shelved.shelves.put(&messages)
    }

    /// Calls `each` with all messages, some at a time, sorted by key.
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

    /// Makes room for messages to come.
    pub fn reserve(&mut self, additional: usize) {
        self.messages.reserve(additional, hash_of);
    }

    /// How many there are that are not cold.
    #[must_use]
    pub fn count(&self) -> usize {
        self.messages.len() + self.shelved.as_ref().map_or(0, |shelved| shelved.count)
    }
}

fn hash_of(message: &Message) -> u64 {
    message.key.hash()
}

/// All keys, cut into ranges for so many messages: keys are hashes, so that each range has about as many.
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
