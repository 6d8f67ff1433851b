//! Third stage: rows get their segment id and clock and go to their tables, each table by itself, on all cores.

use std::{io::IoSlice, sync::RwLockReadGuard};

use rayon::prelude::*;

use super::{
    resolve::{RawRows, Resolved},
    select::ColumnFilter,
};
use crate::{
    error::Result,
    event::{
        Call,
        block::{Event, NO_TABLE, Row},
        timestamp::Micros,
    },
    files::Files,
    identity::rules::Rules,
    raw::{self, external_id_mapping_updates, id_graph_updates, identity_violations, profile_traits_updates},
    space::{
        commit::Space,
        event_rows::{Backfilled, RESOLVED, push_resolved},
        tables::Table,
    },
};

/// The tables that are the truth.
const TRUTH: [&str; 4] =
    [id_graph_updates::TABLE, external_id_mapping_updates::TABLE, profile_traits_updates::TABLE, RESOLVED];

/// A row of a table: which event, and whether with the payload of its own table.
#[derive(Debug, Clone, Copy)]
struct RowOf {
    event: u32,
    own: bool,
}

/// Appends the rows of resolved events to the tables.
pub fn assemble(
    space: &mut Space,
    resolved: &Resolved,
    backfilled: &Backfilled,
    rules: &Rules,
    rows: raw::Rows,
    files: &Files,
) -> Result<()> {
    let mut resolved_since = RawRows::default();
    let mut lists = rows_by_table(space, resolved, backfilled, &mut resolved_since);
    let raw = [
        (id_graph_updates::TABLE, &resolved.graph_rows),
        (external_id_mapping_updates::TABLE, &resolved.mapping_rows),
        (profile_traits_updates::TABLE, &resolved.trait_rows),
        (identity_violations::TABLE, &resolved.violation_rows),
    ]
    .into_iter()
    .chain((0 < resolved_since.n_rows).then_some((RESOLVED, &resolved_since)));
    let raw: Vec<(usize, &RawRows)> = raw.map(|(table, rows)| (space.table(table), rows)).collect();
    lists.resize_with(space.tables().len(), Vec::new);
    let filters: Vec<Option<ColumnFilter>> = (0..lists.len())
        .map(|number| {
            let name = space.name(number);
            // The tables that are the truth are always written, whole.
            let truth = TRUTH.contains(&name);
            (!truth).then(|| ColumnFilter::new(name, rules))
        })
        .collect();
    let mut raw_of_table: Vec<Option<&RawRows>> = vec![None; lists.len()];
    for (table, rows) in raw {
        raw_of_table[table] = Some(rows);
    }
    if rows == raw::Rows::Counted {
        for (((table, list), raw), filter) in
            space.tables().iter_mut().zip(lists).zip(raw_of_table).zip(filters)
        {
            if filter.is_none_or(|filter| filter.table) {
                table.count(list.len() as u64 + raw.map_or(0, |raw| raw.n_rows));
            }
        }
        return Ok(());
    }
    complete(resolved);
    let rows: Vec<Rows<'_>> = resolved.released.blocks.iter().map(|block| block.rows.read()).collect();
    let tables = space.tables();
    tables.par_iter_mut().zip(lists).zip(raw_of_table).zip(filters).with_max_len(1).try_for_each(
        |(((table, list), raw), mut filter)| {
            if filter.as_ref().is_some_and(|filter| !filter.table) {
                return Ok(());
            }
            if let Some(raw) = raw.filter(|raw| 0 < raw.n_rows) {
                let start = table.pending().len();
                table.pending().extend_from_slice(&raw.bytes);
                if let Some(filter) = &mut filter {
                    filter.apply(table.pending(), start);
                }
                table.added(raw.n_rows, files)?;
            }
            append_rows(table, &list, resolved, &rows, filter.as_mut(), files)
        },
    )?;
    space.relieve()
}

/// Which events get a row in which table, in order: but for those that a backfill wrote before, of which it is told that they
/// were resolved since.
fn rows_by_table(
    space: &mut Space,
    resolved: &Resolved,
    backfilled: &Backfilled,
    resolved_since: &mut RawRows,
) -> Vec<Vec<RowOf>> {
    let by_call = Call::ALL.map(|call| space.table(call.table()));
    let own: Vec<Vec<usize>> = (resolved.released.blocks.iter())
        .map(|block| block.tables.iter().map(|name| space.table(&String::from_utf8_lossy(name))).collect())
        .collect();
    let mut lists: Vec<Vec<RowOf>> = Vec::new();
    lists.resize_with(space.tables().len(), Vec::new);
    for ((event, place), outcome) in (0..).zip(&resolved.released.places).zip(&resolved.outcomes) {
        if outcome.uuid_ts.is_none() {
            continue;
        }
        let (block, of_event) = resolved.released.event(*place);
        let call = (by_call[of_event.call.index()], RowOf { event, own: false });
        let own = (of_event.own_table != NO_TABLE).then(|| {
            let table = own[place.block as usize][of_event.own_table as usize];
            (table, RowOf { event, own: true })
        });
        let mut is_there = false;
        for (table, row) in std::iter::once(call).chain(own) {
            if backfilled.has(space.name(table), of_event.message_key, of_event.received_at) {
                is_there = true;
            } else {
                lists[table].push(row);
            }
        }
        if is_there && let Some(uuid_ts) = outcome.uuid_ts {
            let segment_id = outcome.segment_id.of(&resolved.segment_ids);
            let message_id = of_event.message_id.of(&block.arena);
            push_resolved(&mut resolved_since.bytes, message_id, of_event.received_at, segment_id, uuid_ts);
            resolved_since.n_rows += 1;
        }
    }
    lists
}

/// The rows of one block.
type Rows<'a> = RwLockReadGuard<'a, Vec<u8>>;

/// Fills segment ids and clocks into the rows, where there is room for them.
fn complete(resolved: &Resolved) {
    let released = &resolved.released;
    let mut by_block: Vec<Vec<u32>> = vec![Vec::new(); released.blocks.len()];
    for (event, place) in (0..).zip(&released.places) {
        by_block[place.block as usize].push(event);
    }
    released.blocks.par_iter().zip(by_block).with_max_len(1).for_each(|(block, events)| {
        let mut rows = block.rows.write();
        for event in events {
            let outcome = &resolved.outcomes[event as usize];
            let segment_id = outcome.segment_id.of(&resolved.segment_ids);
            if let Some(uuid_ts) = outcome.uuid_ts
                && Row::has_room_for(segment_id)
            {
                let of_event = released.places[event as usize].event;
                block.events[of_event as usize].row.complete(&mut rows, segment_id, uuid_ts);
            }
        }
    });
}

/// So many bytes of rows are worth to be written from where they are, instead of being gathered first.
const WORTH_A_WRITE: usize = 1 << 15;

/// What is to be put together of a row.
struct Found<'a> {
    event: &'a Event,
    /// The rows of its block.
    rows: &'a [u8],
    segment_id: &'a [u8],
    uuid_ts: Micros,
}

impl Found<'_> {
    fn push(&self, out: &mut Vec<u8>, own: bool) {
        self.event.row.push(out, self.rows, self.segment_id, self.uuid_ts, own);
    }
}

fn find<'a>(resolved: &'a Resolved, rows: &'a [Rows<'_>], row: RowOf) -> Option<Found<'a>> {
    let place = resolved.released.places[row.event as usize];
    let outcome = &resolved.outcomes[row.event as usize];
    Some(Found {
        event: resolved.released.event(place).1,
        rows: &rows[place.block as usize],
        segment_id: outcome.segment_id.of(&resolved.segment_ids),
        uuid_ts: outcome.uuid_ts?,
    })
}

/// Appends the rows of a list: many together from where they were rendered, few by way of the table's block.
fn append_rows(
    table: &mut Table,
    list: &[RowOf],
    resolved: &Resolved,
    rows: &[Rows<'_>],
    mut filter: Option<&mut ColumnFilter>,
    files: &Files,
) -> Result<()> {
    let found = || list.iter().filter_map(|&row| Some((find(resolved, rows, row)?, row.own)));
    let all_columns = filter.as_ref().is_none_or(|filter| filter.keeps_all());
    let room = |(found, _): (Found<'_>, bool)| (found.event.row.end - found.event.row.start) as usize;
    if all_columns && WORTH_A_WRITE <= found().map(room).sum() {
        return append_in_place(table, found, files);
    }
    for (found, own) in found() {
        let out = table.pending();
        let start = out.len();
        found.push(out, own);
        if let Some(filter) = &mut filter {
            filter.apply(out, start);
        }
        table.added(1, files)?;
    }
    Ok(())
}

/// Appends rows from where they were rendered.
fn append_in_place<'a, I: Iterator<Item = (Found<'a>, bool)>>(
    table: &mut Table,
    found: impl Fn() -> I,
    files: &Files,
) -> Result<()> {
    // Rows that there was no room in, of unresolved events above all, are put together here.
    let mut others = Vec::new();
    let mut ends = Vec::new();
    for (found, own) in found().filter(|(found, _)| !Row::has_room_for(found.segment_id)) {
        found.push(&mut others, own);
        ends.push(others.len());
    }
    let mut start = 0;
    let mut ends = ends.into_iter();
    let mut pieces = Vec::new();
    let mut n_rows = 0;
    for (found, own) in found() {
        n_rows += 1;
        if Row::has_room_for(found.segment_id) {
            let (row, end) = found.event.row.pieces(found.rows, own);
            pieces.push(IoSlice::new(row));
            if !end.is_empty() {
                pieces.push(IoSlice::new(end));
            }
        } else if let Some(end) = ends.next() {
            pieces.push(IoSlice::new(&others[start..end]));
            start = end;
        }
    }
    table.append(&mut pieces, n_rows, files)
}
