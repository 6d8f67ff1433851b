//! Which events have a row in an event table: for those who write rows that may be there already.

use std::{collections::BTreeMap, path::Path};

use hashbrown::HashTable;

use super::{
    manifest::{Job, Manifest, Run},
    tables::part_of,
};
use crate::{
    catalog,
    collections::key_of,
    error::Result,
    files::Files,
    json::push_string,
    table::{
        blocks::{BLOCK_BYTES, Block, Meter, Problem, map_blocks, rows},
        find::Part,
        row::RowReader,
        source::Source,
    },
    time::timestamp::{Micros, Millis, push_micros, push_millis},
};

/// The table of events that `ingest` resolved after `backfill events` had written a row of theirs: the row stays as it is, and
/// this says that the event was resolved since, to whom, and when.
pub const RESOLVED: &str = crate::catalog::BACKFILL_RESOLVED;

/// A time that is near every other: that of a row without `received_at`.
const ANY_TIME: Millis = Millis::MIN;

/// The events that have a row in one table.
#[derive(Debug, Default)]
pub struct EventRows {
    rows: HashTable<(u128, Millis)>,
}

impl EventRows {
    /// Whether an event of this message has a row: one of its id that arrived at most `window` away.
    #[must_use]
    pub fn has(&self, message_key: u128, received_at: Millis, window: Millis) -> bool {
        let near = |&(key, at): &(u128, Millis)| {
            key == message_key && (at == ANY_TIME || at.abs_diff(received_at) <= window.unsigned_abs())
        };
        self.rows.find(hash_of(message_key), near).is_some()
    }

    /// Takes an event in.
    pub fn insert(&mut self, message_key: u128, received_at: Millis) {
        self.rows.insert_unique(hash_of(message_key), (message_key, received_at), |&(key, _)| hash_of(key));
    }

    /// Reads the committed rows of a table: those whose bytes lie in one of the ranges, that arrived within a time.
    pub fn read(
        folder: &Path,
        manifest: &Manifest,
        table: &str,
        ranges: &[(u64, u64)],
        within: (Micros, Micros),
        files: &Files,
        meter: &Meter<'_>,
    ) -> Result<Self> {
        let mut all = Self::default();
        let (Some(end), Some(state)) = (ranges.iter().map(|range| range.1).max(), manifest.tables.get(table))
        else {
            return Ok(all);
        };
        let part = Part { committed: Some(end), ..part_of(folder, table, state) };
        let source = Source::open(&part, files)?;
        let blocks = map_blocks(&[source], BLOCK_BYTES, meter, |block| parse(block, ranges, within))?;
        for (message_key, received_at) in blocks.into_iter().flatten() {
            all.insert(message_key, received_at);
        }
        Ok(all)
    }
}

/// Of each event table, the bytes that backfills of events wrote, but for those of which no event arrived at a time or later.
#[must_use]
pub fn backfilled(manifest: &Manifest, since: Millis) -> BTreeMap<&str, Vec<(u64, u64)>> {
    let mut ranges: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    let is_wanted =
        |run: &&Run| run.job == Job::BackfillEvents && run.newest.is_none_or(|newest| since <= newest);
    for run in manifest.runs.iter().filter(is_wanted) {
        for (table, range) in &run.written {
            ranges.entry(table).or_default().push(*range);
        }
    }
    ranges
}

/// When the newest accepted event arrived, as far as event tables say.
pub fn newest_arrival(
    folder: &Path,
    manifest: &Manifest,
    files: &Files,
    meter: &Meter<'_>,
) -> Result<Option<Millis>> {
    let backfilled = backfilled(manifest, Millis::MIN);
    let mut newest = None;
    for (table, state) in manifest.tables.iter().filter(|(table, _)| catalog::is_event_table(table)) {
        let ranges = backfilled.get(table.as_str()).map_or(&[][..], Vec::as_slice);
        let source = Source::open(&part_of(folder, table, state), files)?;
        let of_block = |block: Block<'_>| newest_of_block(block, ranges);
        let newest_of_table =
            map_blocks(&[source], BLOCK_BYTES, meter, of_block)?.into_iter().flatten().max();
        newest = newest.max(newest_of_table);
    }
    Ok(newest)
}

fn newest_of_block(block: Block<'_>, backfilled: &[(u64, u64)]) -> Result<Option<Millis>, (usize, Problem)> {
    let mut reader = RowReader::new([]);
    let mut newest = None;
    for (at, line) in rows(block.text) {
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
pub struct Backfilled {
    by_table: BTreeMap<String, EventRows>,
    window: Millis,
}

impl Backfilled {
    /// Reads those of a space that may be duplicates of events that arrived at `earliest` or later; two events of one
    /// message `window` apart or less are one.
    pub fn read(
        folder: &Path,
        manifest: &Manifest,
        window: Millis,
        earliest: Millis,
        files: &Files,
        meter: &Meter<'_>,
    ) -> Result<Self> {
        let mut by_table = BTreeMap::new();
        let ranges = backfilled(manifest, earliest.saturating_sub(window));
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

    /// Whether there are none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_table.is_empty()
    }

    /// Whether an event has a row in a table that a backfill wrote.
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

/// The events that have a row in one of some blocks of lines.
fn parse(
    block: Block<'_>,
    ranges: &[(u64, u64)],
    within: (Micros, Micros),
) -> Result<Vec<(u128, Millis)>, (usize, Problem)> {
    let mut found = Vec::new();
    let end = block.offset + block.text.len() as u64;
    if !ranges.iter().any(|&(from, to)| from < end && block.offset < to) {
        return Ok(found);
    }
    let mut reader = RowReader::of_events(["id", "event_id"]);
    for (at, line) in rows(block.text) {
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

const NO_ID: Problem = Problem {
    message: std::borrow::Cow::Borrowed(
        "the row has no `id`, so that nobody can tell which events are there",
    ),
    hint: "leave the table out, by naming the others with `--tables`",
};

/// Keys are hashes already.
#[expect(clippy::cast_possible_truncation, reason = "half of a 128-bit hash is a hash")]
fn hash_of(key: u128) -> u64 {
    key as u64
}
