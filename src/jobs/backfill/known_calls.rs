//! The messages that a space knows, and as which call. They come from every table that refers to messages.
//!
//! A call is an event type; for track events it also includes the table of the event's name.

use hashbrown::HashTable;

use crate::{
    collections::{Map, key_of},
    config::rules::Rules,
    error::Result,
    event::{
        Call,
        block::{Event, EventBlock},
    },
    files::Files,
    json::unescape,
    names::event_table,
    space::{manifest::Manifest, tables::committed_file},
    table::{
        blocks::{BLOCK_BYTES, LineProblem, SharedProgress, TableBlock, map_blocks, non_blank_lines},
        row::RowReader,
        source::TableSource,
    },
    time::timestamp::{Micros, Millis},
    view::RAW_TABLES,
};

/// The time of a row without `received_at`, which counts as within the window of any event.
const ANY_TIME: Millis = Millis::MIN;
/// The event has no table of its own.
const NO_TABLE: u32 = 0;
/// The table is unknown, because the config excludes the columns with the event's name.
const ANY_TABLE: u32 = u32::MAX;

/// The messages that a space knows.
#[derive(Debug, Default)]
pub struct KnownCalls {
    calls: HashTable<KnownCall>,
    /// Numbers of the tables of track events.
    tables: Map<Box<[u8]>, u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KnownCall {
    message_key: u128,
    received_at: Millis,
    call: Call,
    table: u32,
}

/// A message as a row refers to it.
#[derive(Debug)]
struct ReferencedMessage {
    message_key: u128,
    received_at: Millis,
    call: Call,
    /// The table of a track event; empty if it has none, `None` if the row does not contain the name.
    table: Option<Box<[u8]>>,
}

impl KnownCalls {
    /// Reads the committed rows that were received in `within`.
    pub fn read(
        folder: &std::path::Path,
        manifest: &Manifest,
        event_tables: &[String],
        rules: &Rules,
        within: (Micros, Micros),
        files: &Files,
        meter: &SharedProgress<'_>,
    ) -> Result<Self> {
        let mut known = Self::default();
        let raw = RAW_TABLES.into_iter().chain(["identity_links"]);
        let has_name = |column: &str| rules.columns.has(&format!("{}.{column}", Call::Track.table()));
        let says_table = has_name("event") || has_name("event_text");
        for name in event_tables.iter().map(String::as_str).chain(raw) {
            let Some(state) = manifest.tables.get(name).filter(|state| 0 < state.bytes) else { continue };
            let sources = [TableSource::open(&committed_file(folder, name, state), files)?];
            let is_raw = !event_tables.iter().any(|table| table == name);
            let blocks = map_blocks(&sources, BLOCK_BYTES, meter, |block| {
                if is_raw { of_raw_rows(block, within) } else { of_event_rows(block, name, within) }
            })?;
            for named in blocks.into_iter().flatten() {
                let is_said = says_table || name != Call::Track.table();
                known.insert(if is_said { named } else { ReferencedMessage { table: None, ..named } });
            }
        }
        Ok(known)
    }

    fn insert(&mut self, named: ReferencedMessage) {
        let ReferencedMessage { message_key, received_at, call, table } = named;
        let table = match table {
            None => ANY_TABLE,
            Some(table) => self.number(table),
        };
        let known = KnownCall { message_key, received_at, call, table };
        if self.calls.find(hash_of(message_key), |there| *there == known).is_none() {
            self.calls.insert_unique(hash_of(message_key), known, |known| hash_of(known.message_key));
        }
    }

    fn number(&mut self, table: Box<[u8]>) -> u32 {
        if table.is_empty() {
            return NO_TABLE;
        }
        let next = u32::try_from(self.tables.len() + 1).expect("fewer than 2^32 tables");
        *self.tables.entry(table).or_insert(next)
    }

    /// Returns whether an event's message is known as another call, and not as this one, within the deduplication
    /// window.
    #[must_use]
    pub fn has_only_other_calls(&self, block: &EventBlock, event: &Event, window: Millis) -> bool {
        let (mut is_other, mut is_same) = (false, false);
        let mut table = None;
        for known in self.calls.iter_hash(hash_of(event.message_key)) {
            let is_near = known.received_at == ANY_TIME
                || known.received_at.abs_diff(event.received_at) <= window.unsigned_abs();
            if known.message_key != event.message_key || !is_near {
                continue;
            }
            let is_track = (known.call, event.call) == (Call::Track, Call::Track);
            if is_track && known.table == ANY_TABLE {
                continue;
            }
            let is_same_call = known.call == event.call
                && (!is_track
                    || Some(known.table) == *table.get_or_insert_with(|| self.table_of(block, event)));
            is_same |= is_same_call;
            is_other |= !is_same_call;
        }
        is_other && !is_same
    }

    /// Returns the number of a track event's table; `None` if the space does not know the table.
    fn table_of(&self, block: &EventBlock, event: &Event) -> Option<u32> {
        let name = match event.name.of(&block.arena) {
            [b'"', name @ .., b'"'] => unescape(name),
            _ => return Some(NO_TABLE),
        };
        let table = event_table(&name);
        if table.is_empty() { Some(NO_TABLE) } else { self.tables.get(&*table).copied() }
    }
}

/// Returns the messages in rows of an event table.
fn of_event_rows(
    block: TableBlock<'_>,
    name: &str,
    within: (Micros, Micros),
) -> Result<Vec<ReferencedMessage>, (usize, LineProblem)> {
    let call = Call::ALL.into_iter().find(|call| call.table() == name);
    let mut reader = RowReader::for_events(["id", "event_id", "event", "event_text"]);
    let mut found = Vec::new();
    for (at, line) in non_blank_lines(block.text) {
        let row = reader.read(line, block.clean).map_err(|problem| (at, problem))?;
        let text = |column| row.text(column).map_err(|problem| (at, problem));
        let id = text(0)?;
        let Some(id) = (if id.is_some() { id } else { text(1)? }) else { continue };
        let Some(received_at) = received_within(row.clock.received_at(), within) else { continue };
        let table = match call {
            Some(Call::Track) => match text(3)? {
                Some(event) => event_table(&event),
                None => text(2)?.map(std::borrow::Cow::into_owned).unwrap_or_default(),
            },
            Some(_) => Vec::new(),
            None => name.as_bytes().to_vec(),
        };
        let call = call.unwrap_or(Call::Track);
        found.push(ReferencedMessage {
            message_key: key_of(&id),
            received_at,
            call,
            table: Some(table.into()),
        });
    }
    Ok(found)
}

/// Returns the messages in rows that an event triggered.
fn of_raw_rows(
    block: TableBlock<'_>,
    within: (Micros, Micros),
) -> Result<Vec<ReferencedMessage>, (usize, LineProblem)> {
    let mut reader =
        RowReader::new(["triggering_event_id", "triggering_event_type", "triggering_event_name"]);
    let mut found: Vec<ReferencedMessage> = Vec::new();
    for (at, line) in non_blank_lines(block.text) {
        let row = reader.read(line, block.clean).map_err(|problem| (at, problem))?;
        let text = |column| row.text(column).map_err(|problem| (at, problem));
        let (Some(id), Some(call)) = (text(0)?, text(1)?.and_then(|call| Call::of_type(&call))) else {
            continue;
        };
        let Some(received_at) = received_within(row.clock.received_at(), within) else { continue };
        let message_key = key_of(&id);
        // Rows of the same event are adjacent.
        if found.last().is_some_and(|last| (last.message_key, last.received_at) == (message_key, received_at))
        {
            continue;
        }
        let name = if call == Call::Track { text(2)? } else { None };
        let table = name.map(|name| event_table(&name)).unwrap_or_default();
        found.push(ReferencedMessage { message_key, received_at, call, table: Some(table.into()) });
    }
    Ok(found)
}

/// Returns when a row was received, or [`ANY_TIME`] if it is unknown; `None` if it is outside the range.
fn received_within(received_at: Option<Micros>, within: (Micros, Micros)) -> Option<Millis> {
    match received_at {
        None => Some(ANY_TIME),
        Some(at) => (within.0 <= at && at <= within.1).then(|| at.div_euclid(1000)),
    }
}

/// Returns the hash of a key, which is a hash itself.
#[expect(clippy::cast_possible_truncation, reason = "half of a 128-bit hash is a hash")]
fn hash_of(key: u128) -> u64 {
    key as u64
}
