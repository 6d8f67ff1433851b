//! Third stage: rows get their segment id and clock and go to their tables, each table by itself, on all cores.

use rayon::prelude::*;

use super::{
    resolve::{RawRows, Resolved},
    select::ColumnFilter,
};
use crate::{
    error::Result,
    event::{Call, block::NO_TABLE, json::push_string, timestamp::push_micros},
    files::Files,
    identity::rules::Rules,
    raw::{external_id_mapping_updates, id_graph_updates, identity_violations, profile_traits_updates},
    space::{commit::Space, tables::Table},
};

/// The tables that are the truth.
const RAW_PROFILE_TABLES: [&str; 3] =
    [id_graph_updates::TABLE, external_id_mapping_updates::TABLE, profile_traits_updates::TABLE];

/// A row of a table: which event, and whether with the payload of its own table.
#[derive(Debug, Clone, Copy)]
struct RowOf {
    event: u32,
    own: bool,
}

/// Appends the rows of resolved events to the tables.
pub fn assemble(space: &mut Space, resolved: &Resolved, rules: &Rules, files: &Files) -> Result<()> {
    let raw = [
        (id_graph_updates::TABLE, &resolved.graph_rows),
        (external_id_mapping_updates::TABLE, &resolved.mapping_rows),
        (profile_traits_updates::TABLE, &resolved.trait_rows),
        (identity_violations::TABLE, &resolved.violation_rows),
    ]
    .map(|(table, rows)| (space.table(table), rows));
    let lists = rows_by_table(space, resolved);
    let filters: Vec<Option<ColumnFilter>> = (0..lists.len())
        .map(|number| {
            let name = space.name(number);
            // The three raw profile tables are the truth: they are always written, whole.
            let truth = RAW_PROFILE_TABLES.contains(&name);
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

/// Which events have a row in which table, in order.
fn rows_by_table(space: &mut Space, resolved: &Resolved) -> Vec<Vec<RowOf>> {
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
        let (_, of_event) = resolved.released.event(*place);
        lists[by_call[of_event.call.index()]].push(RowOf { event, own: false });
        if of_event.own_table != NO_TABLE {
            let table = own[place.block as usize][of_event.own_table as usize];
            lists[table].push(RowOf { event, own: true });
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
        out.extend_from_slice(b"{\"segment_id\":");
        if outcome.segment_id.is_empty() {
            out.extend_from_slice(b"null");
        } else {
            push_string(out, outcome.segment_id.of(&resolved.segment_ids));
        }
        out.extend_from_slice(event.row.head.of(&block.arena));
        push_micros(out, uuid_ts);
        out.extend_from_slice(event.row.tail.of(&block.arena));
        if row.own {
            out.extend_from_slice(event.row.payload.of(&block.arena));
        }
        out.extend_from_slice(b"}\n");
        if let Some(filter) = &mut filter {
            filter.apply(out, start);
        }
        table.added(1, files)?;
    }
    Ok(())
}
