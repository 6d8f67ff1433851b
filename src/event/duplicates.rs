//! The memory of accepted messages: an event is a duplicate when its `messageId` was accepted with a `received_at` near
//! its own, earlier or later.
//!
//! Messages of earlier runs need not be here: they are asked for where they were put away.

use std::{fmt, sync::Arc};

use hashbrown::HashTable;
use rayon::prelude::*;

use super::{order::Released, timestamp::Millis};
use crate::error::Result;

/// Where messages are that are not here.
pub trait Remembered: fmt::Debug + Send + Sync {
    /// Whether a message of this key was accepted at most `window` away from a time.
    fn near(&self, message_key: u128, received_at: Millis, window: Millis) -> Result<bool>;
}

/// A message that was accepted. Its key is in halves, which take less room than the whole.
#[derive(Debug, Clone, Copy)]
struct Message {
    key: [u64; 2],
    received_at: Millis,
}

/// All messages ever accepted.
#[derive(Debug, Default)]
pub struct Accepted {
    messages: HashTable<Message>,
    cold: Option<Arc<dyn Remembered>>,
}

impl Accepted {
    /// A memory of which nothing is here.
    #[must_use]
    pub fn cold(cold: Arc<dyn Remembered>) -> Self {
        Self { messages: HashTable::default(), cold: Some(cold) }
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
    pub fn accept(&mut self, message_key: u128, received_at: Millis, window: Millis) -> bool {
        let key = halves(message_key);
        let near = |message: &Message| {
            message.key == key && message.received_at.abs_diff(received_at) <= window.unsigned_abs()
        };
        if self.messages.find(hash_of(&key), near).is_some() {
            return false;
        }
        self.remember(message_key, received_at);
        true
    }

    /// Takes in a message that was accepted in an earlier run.
    pub fn remember(&mut self, message_key: u128, received_at: Millis) {
        let key = halves(message_key);
        let message = Message { key, received_at };
        self.messages.insert_unique(hash_of(&key), message, |message| hash_of(&message.key));
    }

    /// All messages that are here, in no order that means anything.
    pub fn messages(&self) -> impl Iterator<Item = (u128, Millis)> {
        self.messages.iter().map(|message| (whole(message.key), message.received_at))
    }

    /// Makes room for messages to come.
    pub fn reserve(&mut self, additional: usize) {
        self.messages.reserve(additional, |message| hash_of(&message.key));
    }

    /// How many are here.
    #[must_use]
    pub fn count(&self) -> usize {
        self.messages.len()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "halves")]
fn halves(key: u128) -> [u64; 2] {
    [key as u64, (key >> 64) as u64]
}

fn whole([low, high]: [u64; 2]) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// Keys are hashes already.
fn hash_of(key: &[u64; 2]) -> u64 {
    key[0]
}
