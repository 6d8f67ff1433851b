//! The one order in which events are resolved, whatever file or position they came from.
//!
//! By `received_at`, `timestamp`, `messageId`, the bytes of the line, the index in a batch, and the source.

use std::{cmp::Ordering, sync::Arc};

use super::{
    block::{Block, Event},
    timestamp::Millis,
};

/// An event that waits for its turn. Small, so that sorting is cheap.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// When it arrived.
    pub received_at: Millis,
    /// When it happened.
    pub timestamp: Millis,
    /// Which block, by the number under which the caller holds it.
    pub block: u32,
    /// Which event of it.
    pub event: u32,
}

/// Compares two events in the order of resolution.
#[must_use]
pub fn compare(a: (&Block, &Event), b: (&Block, &Event)) -> Ordering {
    let (a_block, a) = a;
    let (b_block, b) = b;
    (a.received_at, a.timestamp)
        .cmp(&(b.received_at, b.timestamp))
        .then_with(|| a.message_id.of(&a_block.arena).cmp(b.message_id.of(&b_block.arena)))
        .then_with(|| a.line.of(&a_block.lines).cmp(b.line.of(&b_block.lines)))
        .then_with(|| a.item.cmp(&b.item))
        .then_with(|| a_block.sources[a.source as usize].cmp(&b_block.sources[b.source as usize]))
}

/// Blocks in hand, and their events that wait.
#[derive(Debug, Default)]
pub struct Waiting {
    blocks: Vec<Option<(Arc<Block>, usize)>>,
    free: Vec<u32>,
    places: Vec<Place>,
}

impl Waiting {
    /// Takes a block in.
    pub fn add(&mut self, block: Block) {
        if block.events.is_empty() {
            return;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.blocks.push(None);
            u32::try_from(self.blocks.len() - 1).expect("fewer than 2^32 blocks in hand")
        });
        self.places.extend((0..).zip(&block.events).map(|(index, event)| Place {
            received_at: event.received_at,
            timestamp: event.timestamp,
            block: slot,
            event: index,
        }));
        let n_events = block.events.len();
        self.blocks[slot as usize] = Some((Arc::new(block), n_events));
    }

    /// Lets go, in order, all events that arrived before `until`; all of them where it is `None`.
    pub fn release(&mut self, until: Option<Millis>) -> Released {
        let blocks = &self.blocks;
        // A stable sort takes what is in order already at the cost of a look.
        self.places.sort_by(|a, b| {
            (a.received_at, a.timestamp).cmp(&(b.received_at, b.timestamp)).then_with(|| {
                let find = |place: &Place| -> Option<(&Block, &Event)> {
                    let block = &*blocks[place.block as usize].as_ref()?.0;
                    Some((block, &block.events[place.event as usize]))
                };
                find(a).zip(find(b)).map_or(Ordering::Equal, |(a, b)| compare(a, b))
            })
        });
        let n_released =
            until.map_or(self.places.len(), |until| self.places.partition_point(|p| p.received_at < until));
        let mut released = Released::default();
        let mut numbers = vec![u32::MAX; self.blocks.len()];
        for place in self.places.drain(..n_released) {
            let slot = &mut self.blocks[place.block as usize];
            let Some((block, n_left)) = slot else { continue };
            let number = &mut numbers[place.block as usize];
            if *number == u32::MAX {
                *number = u32::try_from(released.blocks.len()).expect("fewer than 2^32 blocks in hand");
                released.blocks.push(Arc::clone(block));
            }
            released.places.push(Place { block: *number, ..place });
            *n_left -= 1;
            if *n_left == 0 {
                *slot = None;
                self.free.push(place.block);
            }
        }
        released
    }
}

/// Events whose turn has come.
#[derive(Debug, Default)]
pub struct Released {
    /// The blocks they stand in.
    pub blocks: Vec<Arc<Block>>,
    /// In the order of resolution.
    pub places: Vec<Place>,
}

impl Released {
    /// The event at a place.
    #[must_use]
    pub fn event(&self, place: Place) -> (&Block, &Event) {
        let block = &self.blocks[place.block as usize];
        (block, &block.events[place.event as usize])
    }
}
