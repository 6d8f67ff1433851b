//! Finds out which events already have a row in an event table, for jobs that must not write a row twice.

use std::{collections::BTreeMap, path::Path};

use hashbrown::HashTable;

use super::{
    manifest::{Manifest, RunKind, RunRecord},
    tables::committed_file,
};
use crate::{
    catalog,
    collections::key_of,
    error::Result,
    files::Files,
    json::push_string,
    table::{
        blocks::{BLOCK_BYTES, LineProblem, SharedProgress, TableBlock, map_blocks, non_blank_lines},
        find::RawTableFile,
        row::RowReader,
        source::TableSource,
    },
    time::timestamp::{Micros, Millis, push_micros, push_millis},
};

/// The table of events that `ingest` resolved after `backfill events` had written their rows. Such a row stays as it
/// is; this table records to which profile the event was resolved, and when.
pub const RESOLVED: &str = crate::catalog::BACKFILL_RESOLVED;

/// Stands for the time of a row without `received_at`: every event is within the window of it.
const ANY_TIME: Millis = Millis::MIN;

/// The events that have a row in one table.
#[derive(Debug, Default)]
pub struct EventRows {
    rows: HashTable<(u128, Millis)>,
}

impl EventRows {
    /// Returns whether an event has a row: one of the same message that arrived at most `window` milliseconds earlier
    /// or later.
    #[must_use]
    pub fn has(&self, message_key: u128, received_at: Millis, window: Millis) -> bool {
        let near = |&(key, at): &(u128, Millis)| {
            key == message_key && (at == ANY_TIME || at.abs_diff(received_at) <= window.unsigned_abs())
        };
        self.rows.find(hash_of(message_key), near).is_some()
    }

    /// Adds an event.
    pub fn insert(&mut self, message_key: u128, received_at: Millis) {
        self.rows.insert_unique(hash_of(message_key), (message_key, received_at), |&(key, _)| hash_of(key));
    }

    /// Reads the committed rows of a table that are in one of the byte ranges and arrived within the given times, both
    /// included. Rows without `received_at` are included.
    pub fn read(
        folder: &Path,
        manifest: &Manifest,
        table: &str,
        ranges: &[(u64, u64)],
        within: (Micros, Micros),
        files: &Files,
        meter: &SharedProgress<'_>,
    ) -> Result<Self> {
        let mut all = Self::default();
        let (Some(end), Some(state)) = (ranges.iter().map(|range| range.1).max(), manifest.tables.get(table))
        else {
            return Ok(all);
        };
        let part = RawTableFile { committed: Some(end), ..committed_file(folder, table, state) };
        let source = TableSource::open(&part, files)?;
        let blocks = map_blocks(&[source], BLOCK_BYTES, meter, |block| parse(block, ranges, within))?;
        for (message_key, received_at) in blocks.into_iter().flatten() {
            all.insert(message_key, received_at);
        }
        Ok(all)
    }
}

/// Returns the byte ranges of each event table that backfills of events wrote. Skips a backfill if all its events
/// arrived before `since`.
#[must_use]
pub fn backfilled_ranges(manifest: &Manifest, since: Millis) -> BTreeMap<&str, Vec<(u64, u64)>> {
    let mut ranges: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    let is_wanted = |run: &&RunRecord| {
        run.job == RunKind::BackfillEvents && run.newest.is_none_or(|newest| since <= newest)
    };
    for run in manifest.runs.iter().filter(is_wanted) {
        for (table, range) in &run.written {
            ranges.entry(table).or_default().push(*range);
        }
    }
    ranges
}

/// Returns when the newest accepted event arrived, according to the event tables.
pub fn newest_arrival(
    folder: &Path,
    manifest: &Manifest,
    files: &Files,
    meter: &SharedProgress<'_>,
) -> Result<Option<Millis>> {
    let backfilled = backfilled_ranges(manifest, Millis::MIN);
    let mut newest = None;
    for (table, state) in manifest.tables.iter().filter(|(table, _)| catalog::is_event_table(table)) {
        let ranges = backfilled.get(table.as_str()).map_or(&[][..], Vec::as_slice);
        let source = TableSource::open(&committed_file(folder, table, state), files)?;
        let of_block = |block: TableBlock<'_>| newest_of_block(block, ranges);
        let newest_of_table =
            map_blocks(&[source], BLOCK_BYTES, meter, of_block)?.into_iter().flatten().max();
        newest = newest.max(newest_of_table);
    }
    Ok(newest)
}

fn newest_of_block(
    block: TableBlock<'_>,
    backfilled: &[(u64, u64)],
) -> Result<Option<Millis>, (usize, LineProblem)> {
    let mut reader = RowReader::new([]);
    let mut newest = None;
    for (at, line) in non_blank_lines(block.text) {
        let offset = block.offset + at as u64;
        if !backfilled.iter().any(|&(from, to)| from <= offset && offset < to) {
            let row = reader.read(line, block.clean).map_err(|problem| (at, problem))?;
            newest = newest.max(row.clock.received_at());
        }
    }
    Ok(newest.map(|newest| newest.div_euclid(1000)))
}

/// The events whose rows a backfill wrote, by table.
#[derive(Debug, Default)]
pub struct BackfilledRows {
    by_table: BTreeMap<String, EventRows>,
    window: Millis,
}

impl BackfilledRows {
    /// Reads the backfilled events of a space that may be duplicates of events that arrived at `earliest` or later. Two
    /// events of one message are duplicates if they arrived at most `window` milliseconds apart.
    pub fn read(
        folder: &Path,
        manifest: &Manifest,
        window: Millis,
        earliest: Millis,
        files: &Files,
        meter: &SharedProgress<'_>,
    ) -> Result<Self> {
        let mut by_table = BTreeMap::new();
        let ranges = backfilled_ranges(manifest, earliest.saturating_sub(window));
        if !ranges.is_empty() {
            meter.start("reading tables", None);
        }
        for (table, ranges) in ranges {
            let within = (Micros::MIN, Micros::MAX);
            let rows = EventRows::read(folder, manifest, table, &ranges, within, files, meter)?;
            by_table.insert(table.to_owned(), rows);
        }
        Ok(Self { by_table, window })
    }

    /// Returns whether no table has backfilled events.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_table.is_empty()
    }

    /// Returns whether a backfill wrote a row of this event into the table.
    #[must_use]
    pub fn has(&self, table: &str, message_key: u128, received_at: Millis) -> bool {
        self.by_table.get(table).is_some_and(|rows| rows.has(message_key, received_at, self.window))
    }
}

/// Appends a row of [`RESOLVED`]: `id`, `received_at`, `segment_id`, `uuid_ts`.
pub fn push_resolved(
    out: &mut Vec<u8>,
    message_id: &[u8],
    received_at: Millis,
    segment_id: &[u8],
    uuid_ts: Micros,
) {
    out.extend_from_slice(b"{\"id\":");
    push_string(out, message_id);
    out.extend_from_slice(b",\"received_at\":\"");
    push_millis(out, received_at);
    out.extend_from_slice(b"\",\"segment_id\":");
    if segment_id.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        push_string(out, segment_id);
    }
    out.extend_from_slice(b",\"uuid_ts\":\"");
    push_micros(out, uuid_ts);
    out.extend_from_slice(b"\"}\n");
}

/// Returns the events that have a row in a block.
fn parse(
    block: TableBlock<'_>,
    ranges: &[(u64, u64)],
    within: (Micros, Micros),
) -> Result<Vec<(u128, Millis)>, (usize, LineProblem)> {
    let mut found = Vec::new();
    let end = block.offset + block.text.len() as u64;
    if !ranges.iter().any(|&(from, to)| from < end && block.offset < to) {
        return Ok(found);
    }
    let mut reader = RowReader::for_events(["id", "event_id"]);
    for (at, line) in non_blank_lines(block.text) {
        let offset = block.offset + at as u64;
        if !ranges.iter().any(|&(from, to)| from <= offset && offset < to) {
            continue;
        }
        let row = reader.read(line, block.clean).map_err(|problem| (at, problem))?;
        let id = row.text(0).and_then(|id| if id.is_some() { Ok(id) } else { row.text(1) });
        let Some(id) = id.map_err(|problem| (at, problem))? else {
            return Err((at, NO_ID));
        };
        match row.clock.received_at() {
            Some(received_at) if within.0 <= received_at && received_at <= within.1 => {
                found.push((key_of(&id), received_at.div_euclid(1000)));
            }
            Some(_) => {}
            None => found.push((key_of(&id), ANY_TIME)),
        }
    }
    Ok(found)
}

const NO_ID: LineProblem = LineProblem {
    message: std::borrow::Cow::Borrowed("the row has no `id`, so it cannot be matched with an event"),
    hint: "leave the table out: list the others with `--tables`",
};

/// Returns half of a key, which is a hash itself.
#[expect(clippy::cast_possible_truncation, reason = "half of a 128-bit hash is a hash")]
fn hash_of(key: u128) -> u64 {
    key as u64
}
