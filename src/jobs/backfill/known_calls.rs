//! Which messages a space knows, and as which call: by every table that names messages.
//!
//! A call is its type, and for a track call the table of its name.

use hashbrown::HashTable;

use crate::{
    collections::{Map, key_of},
    config::rules::Rules,
    error::Result,
    event::{
        Call,
        block::{Block as EventBlock, Event},
    },
    files::Files,
    json::unescape,
    names::event_table,
    space::{manifest::Manifest, tables::part_of},
    table::{
        blocks::{BLOCK_BYTES, Block, Meter, Problem, map_blocks, rows},
        row::RowReader,
        source::Source,
    },
    time::timestamp::{Micros, Millis},
    view::RAW_TABLES,
};

/// A time that is near every other: that of a row without `received_at`.
const ANY_TIME: Millis = Millis::MIN;
/// No table of its own.
const NO_TABLE: u32 = 0;
/// The config leaves out the columns that say which table.
const ANY_TABLE: u32 = u32::MAX;

/// The messages that a space knows.
#[derive(Debug, Default)]
pub struct KnownCalls {
    calls: HashTable<Known>,
    /// The tables of track events, by number.
    tables: Map<Box<[u8]>, u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    message_key: u128,
    received_at: Millis,
    call: Call,
    table: u32,
}

/// A message as a row names it.
#[derive(Debug)]
struct Named {
    message_key: u128,
    received_at: Millis,
    call: Call,
    /// For a track call; `None` where the row cannot say.
    table: Option<Box<[u8]>>,
}

impl KnownCalls {
    /// Reads the committed rows that arrived within a time.
    pub fn read(
        folder: &std::path::Path,
        manifest: &Manifest,
        event_tables: &[String],
        rules: &Rules,
        within: (Micros, Micros),
        files: &Files,
        meter: &Meter<'_>,
    ) -> Result<Self> {
        let mut known = Self::default();
        let raw = RAW_TABLES.into_iter().chain(["identity_links"]);
        let has_name = |column: &str| rules.columns.has(&format!("{}.{column}", Call::Track.table()));
        let says_table = has_name("event") || has_name("event_text");
        for name in event_tables.iter().map(String::as_str).chain(raw) {
            let Some(state) = manifest.tables.get(name).filter(|state| 0 < state.bytes) else { continue };
            let sources = [Source::open(&part_of(folder, name, state), files)?];
            let is_raw = !event_tables.iter().any(|table| table == name);
            let blocks = map_blocks(&sources, BLOCK_BYTES, meter, |block| {
                if is_raw { of_raw_rows(block, within) } else { of_event_rows(block, name, within) }
            })?;
            for named in blocks.into_iter().flatten() {
                let is_said = says_table || name != Call::Track.table();
                known.insert(if is_said { named } else { Named { table: None, ..named } });
            }
        }
        Ok(known)
    }

    fn insert(&mut self, named: Named) {
        let Named { message_key, received_at, call, table } = named;
        let table = match table {
            None => ANY_TABLE,
            Some(table) => self.number(table),
        };
        let known = Known { message_key, received_at, call, table };
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

    /// Whether an event's message is known as another call and not as this one, within the window of duplicates.
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

    /// The number of the table of a track event; `None` for one that the space does not know.
    fn table_of(&self, block: &EventBlock, event: &Event) -> Option<u32> {
        let name = match event.name.of(&block.arena) {
            [b'"', name @ .., b'"'] => unescape(name),
            _ => return Some(NO_TABLE),
        };
        let table = event_table(&name);
        if table.is_empty() { Some(NO_TABLE) } else { self.tables.get(&*table).copied() }
    }
}

/// The messages in rows of an event table.
fn of_event_rows(
    block: Block<'_>,
    name: &str,
    within: (Micros, Micros),
) -> Result<Vec<Named>, (usize, Problem)> {
    let call = Call::ALL.into_iter().find(|call| call.table() == name);
    let mut reader = RowReader::of_events(["id", "event_id", "event", "event_text"]);
    let mut found = Vec::new();
    for (at, line) in rows(block.text) {
        let row = reader.read(line, block.clean).map_err(|problem| (at, problem))?;
        let text = |column| row.text(column).map_err(|problem| (at, problem));
        let id = text(0)?;
        let Some(id) = (if id.is_some() { id } else { text(1)? }) else { continue };
        let Some(received_at) = near(row.clock.received_at(), within) else { continue };
        let table = match call {
            Some(Call::Track) => match text(3)? {
                Some(event) => event_table(&event),
                None => text(2)?.map(std::borrow::Cow::into_owned).unwrap_or_default(),
            },
            Some(_) => Vec::new(),
            None => name.as_bytes().to_vec(),
        };
        let call = call.unwrap_or(Call::Track);
        found.push(Named { message_key: key_of(&id), received_at, call, table: Some(table.into()) });
    }
    Ok(found)
}

/// The messages in rows that an event triggered.
fn of_raw_rows(block: Block<'_>, within: (Micros, Micros)) -> Result<Vec<Named>, (usize, Problem)> {
    let mut reader =
        RowReader::new(["triggering_event_id", "triggering_event_type", "triggering_event_name"]);
    let mut found: Vec<Named> = Vec::new();
    for (at, line) in rows(block.text) {
        let row = reader.read(line, block.clean).map_err(|problem| (at, problem))?;
        let text = |column| row.text(column).map_err(|problem| (at, problem));
        let (Some(id), Some(call)) = (text(0)?, text(1)?.and_then(|call| Call::of_type(&call))) else {
            continue;
        };
        let Some(received_at) = near(row.clock.received_at(), within) else { continue };
        let message_key = key_of(&id);
        // Rows of one event are neighbours.
        if found.last().is_some_and(|last| (last.message_key, last.received_at) == (message_key, received_at))
        {
            continue;
        }
        let name = if call == Call::Track { text(2)? } else { None };
        let table = name.map(|name| event_table(&name)).unwrap_or_default();
        found.push(Named { message_key, received_at, call, table: Some(table.into()) });
    }
    Ok(found)
}

/// When a row arrived, if that is within a time or not known.
fn near(received_at: Option<Micros>, within: (Micros, Micros)) -> Option<Millis> {
    match received_at {
        None => Some(ANY_TIME),
        Some(at) => (within.0 <= at && at <= within.1).then(|| at.div_euclid(1000)),
    }
}

/// Keys are hashes already.
#[expect(clippy::cast_possible_truncation, reason = "half of a 128-bit hash is a hash")]
fn hash_of(key: u128) -> u64 {
    key as u64
}
