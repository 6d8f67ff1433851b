//! The order in which events are resolved, which does not depend on their files or positions.
//!
//! Events are ordered by `received_at`, `timestamp`, `messageId`, the bytes of the line, the index in a batch, and the
//! source.

use std::{cmp::Ordering, sync::Arc};

use serde::{Deserialize, Serialize};

use super::block::{Event, EventBlock};
use crate::time::timestamp::Millis;

/// The first parts of an event's sort key. Two events with equal keys are copies of each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EventKey {
    /// When it was received.
    pub received_at: Millis,
    /// When it happened.
    pub timestamp: Millis,
    /// Its `messageId`.
    pub message_id: String,
}

impl EventKey {
    /// Returns the key of an event.
    #[must_use]
    pub fn of(block: &EventBlock, event: &Event) -> Self {
        let message_id = String::from_utf8_lossy(event.message_id.of(&block.arena)).into_owned();
        Self { received_at: event.received_at, timestamp: event.timestamp, message_id }
    }

    /// Returns the smallest key of the events received at this time.
    #[must_use]
    pub fn smallest_at(received_at: Millis) -> Self {
        Self { received_at, timestamp: Millis::MIN, message_id: String::new() }
    }

    /// Returns whether the event comes before this key.
    #[must_use]
    pub fn is_after(&self, block: &EventBlock, event: &Event) -> bool {
        event.received_at <= self.received_at
            && (event.received_at, event.timestamp, event.message_id.of(&block.arena))
                < (self.received_at, self.timestamp, self.message_id.as_bytes())
    }
}

/// An event waiting to be released. It is small, so that sorting is cheap.
#[derive(Debug, Clone, Copy)]
pub struct QueuedEvent {
    /// When it was received.
    pub received_at: Millis,
    /// When it happened.
    pub timestamp: Millis,
    /// Index of its block in the owner's list of blocks.
    pub block: u32,
    /// Index of the event in the block.
    pub event: u32,
}

/// Compares two events in the order of resolution.
#[must_use]
pub fn compare(a: (&EventBlock, &Event), b: (&EventBlock, &Event)) -> Ordering {
    let (a_block, a) = a;
    let (b_block, b) = b;
    (a.received_at, a.timestamp)
        .cmp(&(b.received_at, b.timestamp))
        .then_with(|| a.message_id.of(&a_block.arena).cmp(b.message_id.of(&b_block.arena)))
        .then_with(|| a.line.of(&a_block.lines).cmp(b.line.of(&b_block.lines)))
        .then_with(|| a.item.cmp(&b.item))
        .then_with(|| a_block.sources[a.source as usize].cmp(&b_block.sources[b.source as usize]))
}

/// The part of an event's sort key that is known without its line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArrivalKey {
    /// When it was received.
    pub received_at: Millis,
    /// When it happened.
    pub timestamp: Millis,
    /// Its `messageId`.
    pub message_id: Box<[u8]>,
}

impl ArrivalKey {
    /// Returns the smallest key of the events received at this time.
    #[must_use]
    pub fn smallest_at(received_at: Millis) -> Self {
        Self { received_at, timestamp: Millis::MIN, message_id: Box::default() }
    }

    fn compare(&self, received_at: Millis, timestamp: Millis, message_id: &[u8]) -> Ordering {
        (self.received_at, self.timestamp)
            .cmp(&(received_at, timestamp))
            .then_with(|| (*self.message_id).cmp(message_id))
    }
}

/// The blocks in memory, and their events that have not been released.
#[derive(Debug, Default)]
pub struct EventQueue {
    blocks: Vec<Option<(Arc<EventBlock>, usize)>>,
    free: Vec<u32>,
    places: Vec<QueuedEvent>,
}

impl EventQueue {
    /// Adds a block and its events.
    pub fn add(&mut self, block: EventBlock) {
        if block.events.is_empty() {
            return;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.blocks.push(None);
            u32::try_from(self.blocks.len() - 1).expect("fewer than 2^32 blocks in memory")
        });
        self.places.extend((0..).zip(&block.events).map(|(index, event)| QueuedEvent {
            received_at: event.received_at,
            timestamp: event.timestamp,
            block: slot,
            event: index,
        }));
        let n_events = block.events.len();
        self.blocks[slot as usize] = Some((Arc::new(block), n_events));
    }

    /// Releases, in order, all events that come before every unread event. The keys of unread events are at least
    /// `until`; `None` means that everything was read.
    pub fn release(&mut self, until: Option<&ArrivalKey>) -> ReleasedEvents {
        let blocks = &self.blocks;
        // A stable sort costs a single pass if the events are in order already.
        self.places.sort_by(|a, b| {
            (a.received_at, a.timestamp).cmp(&(b.received_at, b.timestamp)).then_with(|| {
                let find = |place: &QueuedEvent| -> Option<(&EventBlock, &Event)> {
                    let block = &*blocks[place.block as usize].as_ref()?.0;
                    Some((block, &block.events[place.event as usize]))
                };
                find(a).zip(find(b)).map_or(Ordering::Equal, |(a, b)| compare(a, b))
            })
        });
        let n_released = until.map_or(self.places.len(), |until| self.n_before(until));
        let mut released = ReleasedEvents::default();
        let mut numbers = vec![u32::MAX; self.blocks.len()];
        for place in self.places.drain(..n_released) {
            let slot = &mut self.blocks[place.block as usize];
            let Some((block, n_left)) = slot else { continue };
            let number = &mut numbers[place.block as usize];
            if *number == u32::MAX {
                *number = u32::try_from(released.blocks.len()).expect("fewer than 2^32 blocks in memory");
                released.blocks.push(Arc::clone(block));
            }
            released.places.push(QueuedEvent { block: *number, ..place });
            *n_left -= 1;
            if *n_left == 0 {
                *slot = None;
                self.free.push(place.block);
            }
        }
        released
    }

    /// Returns how many of the sorted events come before every unread event.
    fn n_before(&self, until: &ArrivalKey) -> usize {
        let in_hand = |place: &QueuedEvent| {
            let (block, _) = self.blocks[place.block as usize].as_ref()?;
            Some((&**block, &block.events[place.event as usize]))
        };
        let compare = |place: &QueuedEvent| {
            // Most events differ from the unread ones in their times, so the lookup is rarely needed.
            let times = (until.received_at, until.timestamp).cmp(&(place.received_at, place.timestamp));
            times.then_with(|| {
                in_hand(place).map_or(Ordering::Equal, |(block, event)| {
                    until.compare(event.received_at, event.timestamp, event.message_id.of(&block.arena))
                })
            })
        };
        let n_less = self.places.partition_point(|place| compare(place) == Ordering::Greater);
        // In sorted input, an event with a line of its own comes before everything unread, and so do the events before
        // it.
        let is_first =
            |place: &QueuedEvent| in_hand(place).is_some_and(|(block, e)| block.in_order && !e.batched);
        let equal = self.places[n_less..].iter().take_while(|place| compare(place) == Ordering::Equal);
        n_less + equal.enumerate().filter(|(_, place)| is_first(place)).last().map_or(0, |(at, _)| at + 1)
    }
}

/// Events that are ready to be resolved.
#[derive(Debug, Default)]
pub struct ReleasedEvents {
    /// The blocks that hold the events.
    pub blocks: Vec<Arc<EventBlock>>,
    /// The events in the order of resolution.
    pub places: Vec<QueuedEvent>,
}

impl ReleasedEvents {
    /// Returns the event that an entry of `places` refers to.
    #[must_use]
    pub fn event(&self, place: QueuedEvent) -> (&EventBlock, &Event) {
        let block = &self.blocks[place.block as usize];
        (block, &block.events[place.event as usize])
    }

    /// Removes and returns the events after the first `n`.
    #[must_use]
    pub fn split_off(&mut self, n: usize) -> Self {
        let places = self.places.split_off(n);
        if places.is_empty() { Self::default() } else { Self { blocks: self.blocks.clone(), places } }
    }
}
