//! Third stage: rows get their segment id and clock and go to their tables, each table by itself, on all cores.

use rayon::prelude::*;

use super::{
    resolve::{RawRows, Resolved},
    select::ColumnFilter,
};
use crate::{
    error::Result,
    event::{
        Call,
        block::{Block, Event, NO_TABLE},
        json::push_string,
        timestamp::{Micros, push_micros},
    },
    files::Files,
    identity::rules::Rules,
    raw::{external_id_mapping_updates, id_graph_updates, identity_violations, profile_traits_updates},
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
    let tables = space.tables();
    tables.par_iter_mut().zip(lists).zip(raw_of_table).zip(filters).try_for_each(
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
            push_rows(table, &list, resolved, filter.as_mut(), files)
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

fn push_rows(
    table: &mut Table,
    list: &[RowOf],
    resolved: &Resolved,
    mut filter: Option<&mut ColumnFilter>,
    files: &Files,
) -> Result<()> {
    for row in list {
        let outcome = &resolved.outcomes[row.event as usize];
        let (block, event) = resolved.released.event(resolved.released.places[row.event as usize]);
        let Some(uuid_ts) = outcome.uuid_ts else { continue };
        let out = table.pending();
        let start = out.len();
        push_row(out, block, event, outcome.segment_id.of(&resolved.segment_ids), uuid_ts, row.own);
        if let Some(filter) = &mut filter {
            filter.apply(out, start);
        }
        table.added(1, files)?;
    }
    Ok(())
}

/// Appends a row of an event, to its own table with its payload; an empty segment id is none.
pub fn push_row(
    out: &mut Vec<u8>,
    block: &Block,
    event: &Event,
    segment_id: &[u8],
    uuid_ts: Micros,
    own: bool,
) {
    out.extend_from_slice(b"{\"segment_id\":");
    if segment_id.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        push_string(out, segment_id);
    }
    out.extend_from_slice(event.row.head.of(&block.arena));
    push_micros(out, uuid_ts);
    out.extend_from_slice(event.row.tail.of(&block.arena));
    if own {
        out.extend_from_slice(event.row.payload.of(&block.arena));
    }
    out.extend_from_slice(b"}\n");
}
