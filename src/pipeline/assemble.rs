//! The third stage: adds segment ids and clocks to rows and appends the rows to their tables. Uses all cores, one per
//! table.

use rayon::prelude::*;

use super::resolve::{RawRows, ResolvedEvents};
use crate::{
    config::{rules::Rules, select::ColumnFilter},
    error::Result,
    event::{
        Call,
        block::{Event, EventBlock, NO_TABLE},
    },
    files::Files,
    raw::{
        self, event_row::EventRowKind, external_id_mapping_updates, id_graph_updates, identity_links,
        identity_violations, profile_traits_updates,
    },
    space::{
        commit::Space,
        event_rows::{BackfilledRows, RESOLVED, push_resolved},
        tables::AppendTable,
    },
    time::timestamp::{Micros, Millis},
};

/// The tables that are the source of truth. Selective sync does not apply to them.
const SOURCE_OF_TRUTH: [&str; 4] =
    [id_graph_updates::TABLE, external_id_mapping_updates::TABLE, profile_traits_updates::TABLE, RESOLVED];

/// A row to be written: the index of its event, and which of the event's rows it is.
#[derive(Debug, Clone, Copy)]
struct ListedRow {
    event: u32,
    which: EventRowKind,
}

/// Appends the rows of resolved events to the tables. `filters`, by table, are reused from call to call.
pub fn assemble(
    space: &mut Space,
    resolved: &ResolvedEvents,
    backfilled: &BackfilledRows,
    filters: &mut Vec<Option<ColumnFilter>>,
    rules: &Rules,
    rows: raw::RowMode,
    files: &Files,
) -> Result<()> {
    let mut resolved_since = RawRows::default();
    let mut unnamed = Vec::new();
    let mut lists = rows_by_table(space, resolved, (backfilled, rules), &mut resolved_since, &mut unnamed);
    let raw = [
        (id_graph_updates::TABLE, &resolved.graph_rows),
        (external_id_mapping_updates::TABLE, &resolved.mapping_rows),
        (profile_traits_updates::TABLE, &resolved.trait_rows),
        (identity_violations::TABLE, &resolved.violation_rows),
        (identity_links::TABLE, &resolved.link_rows),
    ]
    .into_iter()
    .chain((0 < resolved_since.n_rows).then_some((RESOLVED, &resolved_since)));
    let raw: Vec<(usize, &RawRows)> = raw.map(|(table, rows)| (space.table(table), rows)).collect();
    lists.resize_with(space.tables().len(), Vec::new);
    for number in filters.len()..lists.len() {
        let name = space.name(number);
        let truth = SOURCE_OF_TRUTH.contains(&name);
        filters.push((!truth).then(|| ColumnFilter::new(name, rules)));
    }
    let mut raw_of_table: Vec<Option<&RawRows>> = vec![None; lists.len()];
    for (table, rows) in raw {
        raw_of_table[table] = Some(rows);
    }
    if rows == raw::RowMode::Count {
        for (((table, list), raw), filter) in
            space.tables().iter_mut().zip(lists).zip(raw_of_table).zip(&*filters)
        {
            if filter.as_ref().is_none_or(|filter| filter.writes_table) {
                table.count_only(list.len() as u64 + raw.map_or(0, |raw| raw.n_rows));
            }
        }
        return Ok(());
    }
    for (message_key, received_at) in unnamed {
        space.keep(message_key, received_at)?;
    }
    let row = |row: ListedRow| {
        let (block, event) = resolved.released.event(resolved.released.places[row.event as usize]);
        let outcome = &resolved.outcomes[row.event as usize];
        let segment_id = outcome.segment_id.of(&resolved.segment_ids);
        Some(PendingRow { block, event, segment_id, uuid_ts: outcome.uuid_ts?, which: row.which })
    };
    let tables = space.tables();
    tables.par_iter_mut().zip(lists).zip(raw_of_table).zip(filters).with_max_len(1).try_for_each(
        |(((table, list), raw), filter)| {
            if filter.as_ref().is_some_and(|filter| !filter.writes_table) {
                return Ok(());
            }
            if let Some(raw) = raw.filter(|raw| 0 < raw.n_rows) {
                let start = table.pending().len();
                table.pending().extend_from_slice(&raw.bytes);
                if let Some(filter) = filter {
                    filter.apply(table.pending(), start);
                }
                table.count_appended(raw.n_rows, files)?;
            }
            append_rows(table, list.into_iter().filter_map(row), filter.as_mut(), files)
        },
    )?;
    space.enforce_limits()
}

/// Lists the rows of each table, in order. Rows that a backfill has already written are omitted; instead,
/// `resolved_since` records that their events are now resolved. `unnamed` collects the messages that no table will
/// contain.
fn rows_by_table(
    space: &mut Space,
    resolved: &ResolvedEvents,
    (backfilled, rules): (&BackfilledRows, &Rules),
    resolved_since: &mut RawRows,
    unnamed: &mut Vec<(u128, Millis)>,
) -> Vec<Vec<ListedRow>> {
    let by_call = Call::ALL.map(|call| space.table(call.table()));
    let names_messages = Call::ALL.map(|call| {
        let column = |name: &str| rules.columns.has(&format!("{}.{name}", call.table()));
        rules.tables.has(call.table()) && column("id") && column("received_at")
    });
    // Tables are created on demand, since an event whose name exceeds the limit must not create one.
    let mut own: Vec<Vec<Option<usize>>> =
        resolved.released.blocks.iter().map(|block| vec![None; block.tables.len()]).collect();
    let mut lists: Vec<Vec<ListedRow>> = Vec::new();
    lists.resize_with(space.tables().len(), Vec::new);
    for ((event, place), outcome) in (0..).zip(&resolved.released.places).zip(&resolved.outcomes) {
        if outcome.uuid_ts.is_none() {
            continue;
        }
        let (block, of_event) = resolved.released.event(*place);
        let which = if outcome.has_table { EventRowKind::Shared } else { EventRowKind::SharedOnly };
        let call = (by_call[of_event.call.index()], ListedRow { event, which });
        let own = (of_event.event_table != NO_TABLE && outcome.has_table).then(|| {
            let number = of_event.event_table as usize;
            let table = *own[place.block as usize][number]
                .get_or_insert_with(|| space.table(&String::from_utf8_lossy(&block.tables[number])));
            (table, ListedRow { event, which: EventRowKind::OwnTable })
        });
        let mut is_there = false;
        for (table, row) in std::iter::once(call).chain(own) {
            if backfilled.has(space.name(table), of_event.message_key, of_event.received_at) {
                is_there = true;
            } else {
                if lists.len() <= table {
                    lists.resize_with(table + 1, Vec::new);
                }
                lists[table].push(row);
            }
        }
        if is_there && let Some(uuid_ts) = outcome.uuid_ts {
            let segment_id = outcome.segment_id.of(&resolved.segment_ids);
            let message_id = of_event.message_id.of(&block.arena);
            push_resolved(&mut resolved_since.bytes, message_id, of_event.received_at, segment_id, uuid_ts);
            resolved_since.n_rows += 1;
        } else if !names_messages[of_event.call.index()] {
            unnamed.push((of_event.message_key, of_event.received_at));
        }
    }
    lists
}

/// A row to be appended to a table.
#[derive(Debug, Clone, Copy)]
pub struct PendingRow<'a> {
    /// The block in which it was rendered.
    pub block: &'a EventBlock,
    /// Its event.
    pub event: &'a Event,
    /// The segment id of the event; empty for an unresolved event.
    pub segment_id: &'a [u8],
    /// The clock of the event.
    pub uuid_ts: Micros,
    /// Which of the event's rows it is.
    pub which: EventRowKind,
}

/// Appends event rows to a table.
pub fn append_rows<'a>(
    table: &mut AppendTable,
    rows: impl Iterator<Item = PendingRow<'a>>,
    mut filter: Option<&mut ColumnFilter>,
    files: &Files,
) -> Result<()> {
    for PendingRow { block, event, segment_id, uuid_ts, which } in rows {
        let out = table.pending();
        let start = out.len();
        event.rendered_row.push(out, &block.rows, segment_id, uuid_ts, which);
        if let Some(filter) = &mut filter {
            filter.apply(out, start);
        }
        table.count_appended(1, files)?;
    }
    Ok(())
}
