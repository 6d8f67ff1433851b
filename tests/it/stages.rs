//! Runs the stages of an ingest in memory, without a space on disk, so that tests can afford thousands of small dumps.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use profiles_sync::{
    config::rules::Rules,
    event::{
        block::{EventBlock, NO_TABLE},
        duplicates::SeenMessages,
        order::EventQueue,
    },
    identity::{graph::IdentityGraph, resolver::Resolver, traits::TraitNames, types::IdentifierTypes},
    pipeline::{
        event_names::EventTableLimit,
        prepare::ChunkPreparer,
        resolve::{ResolveStage, ResolvedEvents},
    },
    raw::{RowMode, event_row::EventRowKind},
    read::{
        chunk::{Chunk, ChunkSource},
        inputs::Input,
    },
    space::manifest::Manifest,
    summary::IngestSummary,
};

/// The result of one or more runs.
pub(crate) struct Ingested {
    /// Every table with rows, as NDJSON by name.
    pub(crate) tables: BTreeMap<String, String>,
    /// The counts of the last stage.
    pub(crate) summary: IngestSummary,
}

/// Ingests each dump in its own run, all into one new space, and returns the tables. Each line is a chunk of its own, so
/// the events of a run come from many blocks.
pub(crate) fn ingest(rules: &Rules, runs: &[Vec<u8>]) -> Ingested {
    let rules = Arc::new(rules.clone());
    let types = Arc::new(IdentifierTypes::default());
    let inputs = [Input { path: PathBuf::new(), source: None }];
    let mut preparer = ChunkPreparer::new(&rules, &types, RowMode::Write);
    let resolver = Resolver::new(&rules, &types, IdentityGraph::default(), TraitNames::default());
    let start = Manifest::default().uuid_ts;
    let names = EventTableLimit::of(&Manifest::default(), &rules);
    let clocks = (start, None);
    let mut stage =
        ResolveStage::new(resolver, SeenMessages::default(), clocks, names, &rules, &types, RowMode::Write);
    let mut tables: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for bytes in runs {
        let mut waiting = EventQueue::default();
        let mut rejects = Vec::new();
        let (mut offset, mut n_lines, mut n_events) = (0, 0, 0);
        for (first_line, line) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
            let chunk = Chunk {
                input: 0,
                source: ChunkSource::Memory(Arc::default()),
                offset,
                length: line.len() as u64,
                first_line,
                n_lines: 1,
                earliest: 0,
                latest: 0,
                keys: None,
                in_order: false,
                too_long: None,
            };
            offset += chunk.length;
            let block = EventBlock { lines: line.to_vec(), ..EventBlock::default() };
            let from_line = preparer.prepare(&chunk, &[], &inputs, block);
            n_lines += from_line.n_lines;
            n_events += from_line.n_events;
            rejects.extend(from_line.rejects);
            waiting.add(from_line.block);
        }
        if 0 < n_lines && n_events == 0 {
            // Not one event: the run fails and writes nothing.
            continue;
        }
        rejects.sort();
        for (_, row) in rejects.iter().flat_map(|line| line.rows(&inputs)) {
            tables.entry("rejected".to_owned()).or_default().extend(row);
        }
        let (of_run, later) = stage.resolve(waiting.release(None), ResolvedEvents::default()).unwrap();
        assert!(later.places.is_empty(), "a small dump is resolved in one go");
        for (table, rows) in [
            ("id_graph_updates", &of_run.graph_rows),
            ("external_id_mapping_updates", &of_run.mapping_rows),
            ("profile_traits_updates", &of_run.trait_rows),
            ("identity_violations", &of_run.violation_rows),
            ("identity_links", &of_run.link_rows),
        ] {
            let n_rows = rows.bytes.split_inclusive(|byte| *byte == b'\n').count();
            assert_eq!(rows.n_rows, n_rows as u64, "{table}");
            tables.entry(table.to_owned()).or_default().extend(&rows.bytes);
        }
        push_event_rows(&of_run, &mut tables);
    }
    let mut summary = IngestSummary::default();
    stage.finish(&mut summary);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let tables = tables.into_iter().filter(|(_, rows)| !rows.is_empty());
    Ingested { tables: tables.map(|(table, rows)| (table, text(rows))).collect(), summary }
}

fn push_event_rows(resolved: &ResolvedEvents, tables: &mut BTreeMap<String, Vec<u8>>) {
    for (place, outcome) in resolved.released.places.iter().zip(&resolved.outcomes) {
        let Some(uuid_ts) = outcome.uuid_ts else { continue };
        let (block, event) = resolved.released.event(*place);
        let segment_id = outcome.segment_id.of(&resolved.segment_ids);
        let rows = &block.rows;
        let table = tables.entry(event.call.table().to_owned()).or_default();
        let which = if outcome.has_table { EventRowKind::Shared } else { EventRowKind::SharedOnly };
        event.rendered_row.push(table, rows, segment_id, uuid_ts, which);
        if outcome.has_table && event.event_table != NO_TABLE {
            let table = String::from_utf8_lossy(&block.tables[event.event_table as usize]).into_owned();
            event.rendered_row.push(
                tables.entry(table).or_default(),
                rows,
                segment_id,
                uuid_ts,
                EventRowKind::OwnTable,
            );
        }
    }
}
