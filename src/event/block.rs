//! The parsed events of a chunk: everything that later stages need, so that nothing is parsed twice.

use std::sync::Arc;

use super::{Call, columns::ColumnPlan};
use crate::time::timestamp::Millis;

/// A range of bytes in an arena.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByteSpan {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl ByteSpan {
    /// Returns the bytes of the range.
    #[must_use]
    pub fn of(self, arena: &[u8]) -> &[u8] {
        &arena[self.start as usize..self.end as usize]
    }

    /// Returns the range appended to an arena since it was `start` bytes long.
    #[must_use]
    pub fn since(arena: &[u8], start: usize) -> Self {
        Self { start: to_u32_offset(start), end: to_u32_offset(arena.len()) }
    }

    /// Returns whether the range is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Converts an offset or index in a block to `u32`. A block holds less than 4 GiB.
#[must_use]
pub fn to_u32_offset(at: usize) -> u32 {
    u32::try_from(at).expect("a block holds less than 4 GiB")
}

/// The number of an identifier type in this run.
pub type TypeId = u32;

/// An identifier of an event.
#[derive(Debug, Clone, Copy)]
pub struct EventIdentifier {
    /// Hash of its type and value.
    pub key: u128,
    /// Its type.
    pub type_id: TypeId,
    /// 0 if it is not blocked, otherwise 1 plus the index of the config's entry that blocks it.
    pub blocked_by: u32,
    /// Its normalized value.
    pub value: ByteSpan,
}

/// The traits of an identify call.
#[derive(Debug, Clone)]
pub struct EventTraits {
    /// How the leaves become traits.
    pub plan: Arc<ColumnPlan>,
    /// The leaves' values as JSON, as a range of [`EventBlock::values`]. Empty for a leaf without a value.
    pub values: (u32, u32),
}

/// The rendered row of an event, as offsets in [`EventBlock::rows`]. It lacks `segment_id` and `uuid_ts`, which only the
/// resolver knows.
#[derive(Debug, Clone, Copy, Default)]
pub struct RenderedRow {
    /// Offset after the value of `segment_id`, which is missing.
    pub start: u32,
    /// Offset between the quotes of `uuid_ts`.
    pub clock: u32,
    /// The columns of `context`. Items of a batch share those of their envelope.
    pub context: ByteSpan,
    /// Offset of the call's own columns.
    pub own_columns: u32,
    /// Offset after the last column of the row in the call's shared table.
    pub shared_end: u32,
    /// Offset after the last column of the row in the event's own table, which adds the payload.
    pub end: u32,
}

/// The index that means "no table of its own".
pub const NO_TABLE: u32 = u32::MAX;

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// When it was received.
    pub received_at: Millis,
    /// When it happened.
    pub timestamp: Millis,
    /// Hash of its `messageId`.
    pub message_key: u128,
    /// Its `messageId`.
    pub message_id: ByteSpan,
    /// Its line in [`EventBlock::lines`].
    pub line: ByteSpan,
    /// Index of the item in its batch; 0 for other lines.
    pub item: u32,
    /// Whether its line is a batch, which may hold other events.
    pub batched: bool,
    /// Its type.
    pub call: Call,
    /// How many of its times were given in seconds.
    pub n_times_in_seconds: u8,
    /// Index into [`EventBlock::sources`].
    pub source: u32,
    /// Its `triggering_event_name` as JSON.
    pub name: ByteSpan,
    /// A range of [`EventBlock::identifiers`].
    pub identifiers: (u32, u32),
    /// Index into [`EventBlock::traits`], for an identify call with traits.
    pub traits: Option<u32>,
    /// Index into [`EventBlock::tables`], or [`NO_TABLE`].
    pub event_table: u32,
    /// Its rendered row.
    pub rendered_row: RenderedRow,
}

/// The parsed events of a chunk.
#[derive(Debug, Default)]
pub struct EventBlock {
    /// The lines as read, which are the last tie-breaker of the order.
    pub lines: Vec<u8>,
    /// Whether no unread line comes before the events of this block that have a line of their own.
    pub in_order: bool,
    /// The text that the other spans refer to.
    pub arena: Vec<u8>,
    /// The rendered rows of all events.
    pub rows: Vec<u8>,
    /// The events in the order of their lines.
    pub events: Vec<Event>,
    /// The identifiers of all events.
    pub identifiers: Vec<EventIdentifier>,
    /// The traits of all identify calls.
    pub traits: Vec<EventTraits>,
    /// The values of the leaves of all traits.
    pub values: Vec<ByteSpan>,
    /// The names of the track events' own tables.
    pub tables: Vec<Box<[u8]>>,
    /// The source ids; `None` for events without one.
    pub sources: Vec<Option<Box<[u8]>>>,
}

impl EventBlock {
    /// Removes the events but keeps the allocated memory.
    pub fn clear(&mut self) {
        // `lines` keeps its length: the next read overwrites it, and bytes in use need not be zeroed again.
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

    /// Returns whether the block holds so much memory that it should be freed rather than reused.
    #[must_use]
    pub fn is_oversized(&self) -> bool {
        const MOST: usize = 16 << 20;
        let n_bytes = self.lines.capacity()
            + self.arena.capacity()
            + self.rows.capacity()
            + self.events.capacity() * size_of::<Event>()
            + self.identifiers.capacity() * size_of::<EventIdentifier>();
        MOST < n_bytes
    }
}
