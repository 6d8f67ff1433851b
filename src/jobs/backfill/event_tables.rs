//! The event tables that `backfill events` may write: which ones are selected, which rows they have, and the rows to
//! add.

use std::sync::Arc;

use rayon::prelude::*;

use super::known_calls::KnownCalls;
use crate::{
    catalog,
    collections::Map,
    config::{rules::Rules, select::ColumnFilter},
    error::{Error, Result},
    event::{
        Call,
        block::{ByteSpan, Event, EventBlock, NO_TABLE},
        order::{QueuedEvent, ReleasedEvents},
    },
    files::Files,
    pipeline::{
        assemble::{PendingRow, append_rows},
        event_names::EventTableLimit,
    },
    progress::Progress,
    raw::event_row,
    space::{commit::Space, event_rows::EventRows},
    table::blocks::SharedProgress,
    time::timestamp::{Micros, Millis},
};

/// The event tables of a space.
#[derive(Debug)]
pub struct EventTables {
    targets: Vec<SelectedTable>,
    /// The index in `targets`, by table name; `None` for a table that is not selected.
    by_name: Map<Box<[u8]>, Option<u32>>,
    /// The messages that the space knows, including those in tables that are not selected.
    known: KnownCalls,
    /// The tables given by name; empty means all.
    chosen: Vec<String>,
    names: EventTableLimit,
    rules: Arc<Rules>,
}

/// A selected table.
#[derive(Debug)]
struct SelectedTable {
    /// Its index in the space.
    number: usize,
    /// The events that already have a row in it.
    existing: EventRows,
    filter: ColumnFilter,
}

/// The selected tables in which an event has no row yet.
#[derive(Debug, Clone, Copy)]
pub struct MissingRows {
    call: Option<u32>,
    own: Option<u32>,
    /// Whether the event may have a table of its own name, if it needs one.
    pub has_table: bool,
    /// Whether none of the event's tables is selected.
    pub not_selected: bool,
}

impl MissingRows {
    /// Returns whether no row is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.call.is_none() && self.own.is_none()
    }
}

/// Rows to write, by table.
#[derive(Debug)]
pub struct PendingEventRows {
    by_target: Vec<Vec<PendingEventRow>>,
    segment_ids: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct PendingEventRow {
    place: QueuedEvent,
    which: event_row::EventRowKind,
    segment_id: ByteSpan,
    uuid_ts: Micros,
}

impl PendingEventRows {
    /// Adds the missing rows of an event.
    pub fn push(&mut self, missing: MissingRows, place: QueuedEvent, segment_id: &str, uuid_ts: Micros) {
        let start = self.segment_ids.len();
        self.segment_ids.extend_from_slice(segment_id.as_bytes());
        let segment_id = ByteSpan::since(&self.segment_ids, start);
        let of_call = if missing.has_table {
            event_row::EventRowKind::Shared
        } else {
            event_row::EventRowKind::SharedOnly
        };
        for (target, which) in [(missing.call, of_call), (missing.own, event_row::EventRowKind::OwnTable)] {
            let Some(target) = target else { continue };
            if self.by_target.len() <= target as usize {
                self.by_target.resize_with(target as usize + 1, Vec::new);
            }
            self.by_target[target as usize].push(PendingEventRow { place, which, segment_id, uuid_ts });
        }
    }
}

impl EventTables {
    /// Opens the selected tables of a space. Reads their rows that were received in `within`, and the messages that the
    /// space knows from `of_dumps`, the time range of the dumps.
    pub fn read(
        space: &mut Space,
        chosen: &[String],
        rules: &Arc<Rules>,
        (within, of_dumps): ((Micros, Micros), (Micros, Micros)),
        files: &Files,
        progress: &dyn Progress,
    ) -> Result<Self> {
        for name in chosen {
            if !catalog::is_event_table(name) {
                return Err(Error::Refused(format!("`{name}` is not an event table"))
                    .hint("give event tables, such as `pages` or `order_completed`"));
            }
            if !rules.tables.has(name) {
                return Err(Error::Refused(format!("the config excludes `{name}`"))
                    .hint("select the table in the config's [sync]"));
            }
        }
        let mut tables = Self {
            targets: Vec::new(),
            by_name: Map::default(),
            known: KnownCalls::default(),
            chosen: chosen.to_vec(),
            names: EventTableLimit::of(&space.manifest, rules),
            rules: Arc::clone(rules),
        };
        for call in Call::ALL {
            tables.target(call.table().as_bytes(), space)?;
        }
        let committed: Vec<(String, u64)> = (space.manifest.tables.iter())
            .filter(|(name, _)| catalog::is_event_table(name))
            .map(|(name, table)| (name.clone(), table.bytes))
            .collect();
        let meter = SharedProgress::new(progress);
        meter.start("reading tables", None);
        let names: Vec<String> = committed.iter().map(|(name, _)| name.clone()).collect();
        let (folder, manifest) = (space.folder(), &space.manifest);
        tables.known = KnownCalls::read(folder, manifest, &names, rules, of_dumps, files, &meter)?;
        for (name, bytes) in committed {
            if let Some(target) = tables.target(name.as_bytes(), space)? {
                let (folder, manifest) = (space.folder(), &space.manifest);
                let there = EventRows::read(folder, manifest, &name, &[(0, bytes)], within, files, &meter)?;
                tables.targets[target as usize].existing = there;
            }
        }
        Ok(tables)
    }

    /// Returns the index of a table in `targets`, or `None` if the table is not selected.
    fn target(&mut self, name: &[u8], space: &mut Space) -> Result<Option<u32>> {
        if let Some(&known) = self.by_name.get(name) {
            return Ok(known);
        }
        let text = String::from_utf8_lossy(name).into_owned();
        let chosen = self.chosen.is_empty() || self.chosen.contains(&text);
        let is_wanted = chosen && self.rules.tables.has(&text);
        let has = |column: &str| self.rules.columns.has(&format!("{text}.{column}"));
        if is_wanted && !has("id") && !has("event_id") {
            let error = format!(
                "the config excludes `id` and `event_id` of `{text}`, so its rows cannot be identified"
            );
            return Err(Error::Refused(error)
                .hint("select one of them in the config's [sync], or choose other tables with `--tables`"));
        }
        let target = is_wanted.then(|| {
            self.targets.push(SelectedTable {
                number: space.table(&text),
                existing: EventRows::default(),
                filter: ColumnFilter::new(&text, &self.rules),
            });
            u32::try_from(self.targets.len() - 1).expect("fewer than 2^32 tables")
        });
        self.by_name.insert(name.into(), target);
        Ok(target)
    }

    /// Returns the tables that were given by name but that no event belongs to.
    pub fn without_events(&self) -> impl Iterator<Item = &str> {
        let chosen = self.chosen.iter().map(String::as_str);
        chosen.filter(|name| !self.by_name.contains_key(name.as_bytes()))
    }

    /// Returns whether the space knows the message only as another call, which makes this one a duplicate.
    #[must_use]
    pub fn knows_as_other_call(&self, block: &EventBlock, event: &Event, window: Millis) -> bool {
        self.known.has_only_other_calls(block, event, window)
    }

    /// Returns the tables in which an event has no row yet.
    pub fn missing(
        &mut self,
        block: &EventBlock,
        event: &Event,
        window: Millis,
        space: &mut Space,
    ) -> Result<MissingRows> {
        let call = self.target(event.call.table().as_bytes(), space)?;
        let mut has_table = true;
        let own = match event.event_table {
            NO_TABLE => None,
            number => {
                let name = &block.tables[number as usize];
                // Tables that are not selected now do not count towards `max_tables`.
                let chosen = self.chosen.is_empty() || self.chosen.iter().any(|c| c.as_bytes() == &**name);
                has_table = !chosen || self.names.admit(name);
                if has_table { self.target(name, space)? } else { None }
            }
        };
        let lacks = |target: &u32| {
            let there = &self.targets[*target as usize].existing;
            !there.has(event.message_key, event.received_at, window)
        };
        let not_wanted = call.is_none() && own.is_none();
        Ok(MissingRows {
            call: call.filter(lacks),
            own: own.filter(lacks),
            has_table,
            not_selected: not_wanted,
        })
    }

    /// Returns an empty list of rows.
    #[must_use]
    pub fn rows(&self) -> PendingEventRows {
        PendingEventRows { by_target: Vec::new(), segment_ids: Vec::new() }
    }

    /// Writes the rows, all tables in parallel.
    pub fn write(
        &mut self,
        rows: &PendingEventRows,
        released: &ReleasedEvents,
        space: &mut Space,
        files: &Files,
    ) -> Result<()> {
        let row = |row: &PendingEventRow| {
            let (block, event) = released.event(row.place);
            let segment_id = row.segment_id.of(&rows.segment_ids);
            PendingRow { block, event, segment_id, uuid_ts: row.uuid_ts, which: row.which }
        };
        let mut work: Vec<Option<(&[PendingEventRow], &mut ColumnFilter)>> = Vec::new();
        work.resize_with(space.tables().len(), || None);
        for (target, list) in self.targets.iter_mut().zip(&rows.by_target) {
            work[target.number] = Some((list, &mut target.filter));
        }
        space.tables().par_iter_mut().zip(work).with_max_len(1).try_for_each(|(table, work)| match work {
            Some((list, filter)) => append_rows(table, list.iter().map(row), Some(filter), files),
            None => Ok(()),
        })?;
        space.enforce_limits()
    }
}
