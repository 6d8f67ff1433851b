//! The memory of accepted messages: an event is a duplicate when its `messageId` was accepted with a `received_at` near
//! its own, earlier or later.

use hashbrown::HashTable;

use super::timestamp::Millis;

/// All messages ever accepted.
#[derive(Debug, Default)]
pub struct Accepted {
    messages: HashTable<(u128, Millis)>,
}

impl Accepted {
    /// Accepts a message, unless one of its id was accepted at most `window` away. Says whether it was accepted.
    pub fn accept(&mut self, message_key: u128, received_at: Millis, window: Millis) -> bool {
        let near = |&(key, at): &(u128, Millis)| {
            key == message_key && at.abs_diff(received_at) <= window.unsigned_abs()
        };
        if self.messages.find(hash_of(message_key), near).is_some() {
            return false;
        }
        self.remember(message_key, received_at);
        true
    }

    /// Takes in a message that was accepted in an earlier run.
    pub fn remember(&mut self, message_key: u128, received_at: Millis) {
        self.messages
            .insert_unique(hash_of(message_key), (message_key, received_at), |&(key, _)| hash_of(key));
    }

    /// All messages, in no order that means anything.
    pub fn messages(&self) -> impl Iterator<Item = (u128, Millis)> {
        self.messages.iter().copied()
    }

    /// Makes room for messages to come.
    pub fn reserve(&mut self, additional: usize) {
        self.messages.reserve(additional, |&(key, _)| hash_of(key));
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.messages.len()
    }
}

/// Keys are hashes already.
#[expect(clippy::cast_possible_truncation, reason = "half of a 128-bit hash is a hash")]
fn hash_of(key: u128) -> u64 {
    key as u64
}
