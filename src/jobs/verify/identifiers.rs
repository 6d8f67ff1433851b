//! Checks that no identifier of an event was lost: each `user_id` and `anonymous_id` of an event row is mapped, or
//! `identity_violations` has the rule that excluded it.
//!
//! Rows are skipped if this cannot be decided: rows that `backfill events` wrote, adopted rows, and rows of runs whose
//! rules are unknown or excluded violations.

use std::{collections::BTreeSet, path::Path};

use rayon::prelude::*;

use super::{
    event_row::EventRowReader,
    spans::{RunRules, Spans, TYPES, VIOLATION_COLUMNS},
};
use crate::{
    catalog,
    collections::key_of,
    error::Result,
    escape::escaped,
    files::Files,
    identity::{
        extract::{identifier_key, normalize},
        graph::IdentityGraph,
    },
    raw::identity_violations,
    space::{
        event_rows::backfilled_ranges, manifest::Manifest, table_state::CommittedTable,
        tables::committed_file,
    },
    table::{
        blocks::{BLOCK_BYTES, LineProblem, SharedProgress, TableBlock, map_blocks, non_blank_lines},
        row::RowReader,
        source::TableSource,
    },
    time::timestamp::Millis,
};

/// At most this many lost identifiers are reported one by one.
const REPORTED: usize = 10;

/// At most this many tables are open at once.
const OPEN_TABLES: usize = 100;

/// Returns a sentence for each of the first lost identifiers, and one with the number of rows if there are more.
///
/// `graph` holds the mapped identifiers.
pub(super) fn check(
    space: &Path,
    manifest: &Manifest,
    graph: &IdentityGraph,
    files: &Files,
    meter: &SharedProgress<'_>,
) -> Result<Vec<String>> {
    let tables = EventTable::all(manifest);
    meter.start("checking identifiers", Some(tables.iter().map(|table| table.bytes).sum()));
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let violations = Violations::read(space, manifest, graph, files, meter)?;
    let mut report = LostReport::default();
    for some in tables.chunks(OPEN_TABLES) {
        let parts = some.iter().map(|table| committed_file(space, table.name, &manifest.tables[table.name]));
        let sources: Vec<TableSource> =
            parts.map(|part| TableSource::open(&part, files)).collect::<Result<_>>()?;
        let search = |block: TableBlock<'_>| {
            LostSearch { table: &some[block.source as usize], graph, violations: &violations }.read(block)
        };
        for found in map_blocks(&sources, BLOCK_BYTES, meter, search)? {
            report.add(found, &sources)?;
        }
    }
    Ok(report.finish())
}

/// An event table with rows to check.
struct EventTable<'a> {
    name: &'a str,
    bytes: u64,
    spans: Spans,
    /// The byte ranges that `backfill events` wrote.
    skipped: Vec<(u64, u64)>,
}

impl<'a> EventTable<'a> {
    fn all(manifest: &'a Manifest) -> Vec<Self> {
        let backfilled = backfilled_ranges(manifest, Millis::MIN);
        let mut spans = Spans::of(manifest);
        let table = |(name, state): (&'a String, &CommittedTable)| {
            let spans =
                spans.remove(name.as_str()).filter(|spans| catalog::is_event_table(name) && spans.any())?;
            let skipped = backfilled.get(name.as_str()).cloned().unwrap_or_default();
            Some(Self { name, bytes: state.bytes, spans, skipped })
        };
        manifest.tables.iter().filter_map(table).collect()
    }

    /// Returns the rules under which the row at an offset was written; `None` if the row is not checked.
    fn rules_at(&self, offset: u64) -> Option<RunRules> {
        let is_skipped = self.skipped.iter().any(|&(start, end)| start <= offset && offset < end);
        if is_skipped { None } else { self.spans.rules_at(offset) }
    }
}

/// The keys of identifiers in `identity_violations` that are not mapped, each with its message; sorted.
struct Violations(Vec<u128>);

impl Violations {
    fn read(
        space: &Path,
        manifest: &Manifest,
        graph: &IdentityGraph,
        files: &Files,
        meter: &SharedProgress<'_>,
    ) -> Result<Self> {
        let Some(state) = manifest.tables.get(identity_violations::TABLE) else {
            return Ok(Self(Vec::new()));
        };
        let source = TableSource::open(&committed_file(space, identity_violations::TABLE, state), files)?;
        let keys = map_blocks(&[source], BLOCK_BYTES, meter, |block| Self::read_block(block, graph))?;
        let mut keys = keys.concat();
        keys.par_sort_unstable();
        Ok(Self(keys))
    }

    fn read_block(block: TableBlock<'_>, graph: &IdentityGraph) -> Result<Vec<u128>, (usize, LineProblem)> {
        let mut reader = RowReader::new(VIOLATION_COLUMNS);
        let mut keys = Vec::new();
        let mut scratch = Vec::new();
        for (at, line) in non_blank_lines(block.text) {
            let row = reader.read(line, block.clean).map_err(|problem| (at, problem))?;
            let text = |column| row.text(column).map_err(|problem| (at, problem));
            // Some runs may have excluded a column. The rows of their events are not checked.
            let (Some(message_id), Some(type_name), Some(value)) = (text(0)?, text(1)?, text(2)?) else {
                continue;
            };
            let Some(type_name) = TYPES.into_iter().find(|name| name.as_bytes() == &*type_name) else {
                continue;
            };
            let identifier = identifier_key(&mut scratch, type_name, &value);
            if graph.find_in_memory(identifier).is_none() {
                keys.push(violation_key(&mut scratch, identifier, &message_id));
            }
        }
        Ok(keys)
    }

    fn has(&self, key: u128) -> bool {
        self.0.binary_search(&key).is_ok()
    }
}

fn violation_key(scratch: &mut Vec<u8>, identifier: u128, message_id: &[u8]) -> u128 {
    scratch.clear();
    scratch.extend_from_slice(&identifier.to_le_bytes());
    scratch.extend_from_slice(message_id);
    key_of(scratch)
}

/// An identifier of an event that is neither mapped nor in a violation of that event.
struct LostIdentifier {
    /// The offset of the event's row in its table.
    offset: u64,
    type_name: &'static str,
    value: Vec<u8>,
}

/// The lost identifiers of a block.
struct LostInBlock {
    source: u32,
    rows: u64,
    /// The first ones, without duplicates.
    first: Vec<LostIdentifier>,
}

/// Finds lost identifiers in blocks of one table.
struct LostSearch<'a> {
    table: &'a EventTable<'a>,
    graph: &'a IdentityGraph,
    violations: &'a Violations,
}

impl LostSearch<'_> {
    fn read(&self, block: TableBlock<'_>) -> Result<LostInBlock, (usize, LineProblem)> {
        let mut reader = EventRowReader::default();
        let mut scratch = Vec::new();
        let mut found = LostInBlock { source: block.source, rows: 0, first: Vec::new() };
        for (at, line) in non_blank_lines(block.text) {
            let offset = block.offset + at as u64;
            let Some(rules) = self.table.rules_at(offset) else { continue };
            let row = reader.read(line, block.clean).map_err(|problem| (at, problem))?;
            let mut has_lost = false;
            for (number, value) in row.identifiers.into_iter().enumerate() {
                let value = value.map(|value| normalize(value, rules.normalize[number]));
                let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
                let type_name = TYPES[number];
                if self.is_known(type_name, &value, row.message_id.as_deref(), &mut scratch) {
                    continue;
                }
                has_lost = true;
                let is_new =
                    found.first.iter().all(|lost| (lost.type_name, &*lost.value) != (type_name, &*value));
                if found.first.len() < REPORTED && is_new {
                    found.first.push(LostIdentifier { offset, type_name, value: value.into_owned() });
                }
            }
            found.rows += u64::from(has_lost);
        }
        Ok(found)
    }

    /// Returns whether an identifier is mapped or in a violation of its event. Without a message id it counts as known,
    /// because this cannot be checked.
    fn is_known(
        &self,
        type_name: &str,
        value: &[u8],
        message_id: Option<&[u8]>,
        scratch: &mut Vec<u8>,
    ) -> bool {
        let identifier = identifier_key(scratch, type_name, value);
        self.graph.find_in_memory(identifier).is_some()
            || message_id.is_none_or(|id| self.violations.has(violation_key(scratch, identifier, id)))
    }
}

/// The sentences to report.
#[derive(Default)]
struct LostReport {
    sentences: Vec<String>,
    reported: BTreeSet<(&'static str, Vec<u8>)>,
    rows: u64,
}

impl LostReport {
    fn add(&mut self, found: LostInBlock, sources: &[TableSource]) -> Result<()> {
        self.rows += found.rows;
        let source = &sources[found.source as usize];
        for lost in found.first {
            if REPORTED <= self.sentences.len() {
                break;
            }
            if !self.reported.insert((lost.type_name, lost.value.clone())) {
                continue;
            }
            self.sentences.push(format!(
                "`{}`, line {}: the {} \"{}\" is neither in `external_id_mapping_updates` nor in \
                 `identity_violations`",
                source.path().display(),
                source.line_number(lost.offset)?,
                lost.type_name,
                escaped(&String::from_utf8_lossy(&lost.value)),
            ));
        }
        Ok(())
    }

    fn finish(mut self) -> Vec<String> {
        if (self.sentences.len() as u64) < self.rows {
            self.sentences.push(format!("{} rows of events have lost an identifier", self.rows));
        }
        self.sentences
    }
}
