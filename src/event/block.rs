//! What parsing leaves of a block of lines: everything the later stages need, and nothing to parse again.

use std::sync::Arc;

use super::Call;
use crate::{identity::types::TypeId, raw::columns::Plan, time::timestamp::Millis};

/// A range of bytes in an arena.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes.
    #[must_use]
    pub fn of(self, arena: &[u8]) -> &[u8] {
        &arena[self.start as usize..self.end as usize]
    }

    /// What was appended to an arena since it was `start` bytes long.
    #[must_use]
    pub fn since(arena: &[u8], start: usize) -> Self {
        Self { start: position(start), end: position(arena.len()) }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// A place in an arena, which holds little more than a block of lines does.
#[must_use]
pub fn position(at: usize) -> u32 {
    u32::try_from(at).expect("a block of lines leaves less than 4 GiB")
}

/// Something that may tell who an event is about.
#[derive(Debug, Clone, Copy)]
pub struct Identifier {
    /// Stands for type and value.
    pub key: u128,
    /// Its type.
    pub type_id: TypeId,
    /// 0, or one more than the number of the config's entry that blocks it.
    pub blocked_by: u32,
    /// Its value, normalised.
    pub value: Span,
}

/// The traits of an identify call.
#[derive(Debug, Clone)]
pub struct Traits {
    /// How the leaves become traits.
    pub plan: Arc<Plan>,
    /// The leaves' values as JSON, as a range of [`Block::values`]; empty for a leaf without a value.
    pub values: (u32, u32),
}

/// Where in [`Block::rows`] the row of an event stands, but for what only the resolver knows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Row {
    /// Behind the value of `segment_id`, which is left out.
    pub start: u32,
    /// Between the quotes of `uuid_ts`.
    pub clock: u32,
    /// The columns of `context`. Items of a batch share those of their envelope.
    pub context: Span,
    /// The first of the call's own columns.
    pub own: u32,
    /// Behind the last column of the table that all calls of this kind share.
    pub shared_end: u32,
    /// Behind the last column of the event's own table, which has the payload.
    pub end: u32,
}

/// No table of its own.
pub const NO_TABLE: u32 = u32::MAX;

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// When it arrived.
    pub received_at: Millis,
    /// When it happened.
    pub timestamp: Millis,
    /// Stands for the `messageId`.
    pub message_key: u128,
    /// The `messageId`.
    pub message_id: Span,
    /// The line in [`Block::lines`].
    pub line: Span,
    /// Which item of a batch, counted from 0.
    pub item: u32,
    /// Whether its line is a batch, so that other events may stand in the line.
    pub batched: bool,
    /// Which call.
    pub call: Call,
    /// How many of its times were given in seconds.
    pub n_times_in_seconds: u8,
    /// Index in [`Block::sources`].
    pub source: u32,
    /// `triggering_event_name` as JSON.
    pub name: Span,
    /// A range of [`Block::identifiers`].
    pub identifiers: (u32, u32),
    /// Index in [`Block::traits`], for an identify call with traits.
    pub traits: Option<u32>,
    /// Index in [`Block::tables`], or [`NO_TABLE`].
    pub own_table: u32,
    /// Its row, but for what the resolver knows.
    pub row: Row,
}

/// The events of a block of lines.
#[derive(Debug, Default)]
pub struct Block {
    /// The lines as read: the last tie-break of the order.
    pub lines: Vec<u8>,
    /// Whether nothing that was not read yet comes before the events that have a line of their own.
    pub in_order: bool,
    /// What spans point into.
    pub arena: Vec<u8>,
    /// The rows of all events.
    pub rows: Vec<u8>,
    /// The events in the order of the lines.
    pub events: Vec<Event>,
    /// The identifiers of all events.
    pub identifiers: Vec<Identifier>,
    /// The traits of all identify calls.
    pub traits: Vec<Traits>,
    /// The values of all traits' leaves.
    pub values: Vec<Span>,
    /// The track event tables met.
    pub tables: Vec<Box<[u8]>>,
    /// The source ids met; `None` for events that name none.
    pub sources: Vec<Option<Box<[u8]>>>,
}

impl Block {
    /// Forgets what it holds and keeps the memory.
    pub fn clear(&mut self) {
        // The lines stay: they are read over, and room that holds something need not be zeroed.
        self.arena.clear();
        self.rows.clear();
        self.events.clear();
        self.identifiers.clear();
        self.traits.clear();
        self.values.clear();
        self.in_order = false;
        self.tables.clear();
        self.sources.clear();
    }

    /// Whether it holds so much memory that it had better be given back than used again.
    #[must_use]
    pub fn is_blown_up(&self) -> bool {
        const MOST: usize = 16 << 20;
        let n_bytes = self.lines.capacity()
            + self.arena.capacity()
            + self.rows.capacity()
            + self.events.capacity() * size_of::<Event>()
            + self.identifiers.capacity() * size_of::<Identifier>();
        MOST < n_bytes
    }
}
