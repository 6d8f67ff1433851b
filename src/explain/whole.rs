//! Profiles found by reading the tables about identity, for spaces whose state is missing or whose tables were edited.

use std::{collections::BTreeSet, path::Path};

use super::{
    answer::{Identifier, Trait},
    hits::Hit,
    profile::ProfileRows,
    rows::{Change, Mapping, Row},
};
use crate::{
    collections::{Map, key_of},
    error::{Error, Result},
    files::Files,
    json::{Document, Tape},
    raw::{external_id_mapping_updates, id_graph_updates, identity_links, profile_traits_updates},
    space::{manifest::Manifest, tables::committed_file},
    table::{
        blocks::{BLOCK_BYTES, LineProblem, SharedProgress, TableBlock, map_blocks, non_blank_lines},
        row::RowReader,
        source::TableSource,
    },
    time::timestamp::Micros,
};

/// What decides which of two rows is later.
type Order = (u64, Micros);

/// The tables of a space.
pub(super) struct Tables<'a> {
    pub(super) space: &'a Path,
    pub(super) manifest: &'a Manifest,
    pub(super) files: &'a Files,
    pub(super) meter: &'a SharedProgress<'a>,
    pub(super) as_of: Option<Micros>,
}

/// Which segment id each segment id was merged into, by their keys.
pub(super) struct Parents(Map<u128, (u128, Order)>);

impl Tables<'_> {
    /// Opens a table; `None` if it has no row.
    pub(super) fn open(&self, table: &str) -> Result<Option<TableSource>> {
        let committed = self.manifest.tables.get(table).filter(|committed| 0 < committed.bytes);
        let Some(committed) = committed else { return Ok(None) };
        TableSource::open(&committed_file(self.space, table, committed), self.files).map(Some)
    }

    /// Calls `pick` for every block of a table, on all cores. Returns the results in the order of the table.
    pub(super) fn scan<T: Send>(
        &self,
        table: &str,
        pick: impl Fn(TableBlock<'_>) -> Result<Vec<T>, (usize, LineProblem)> + Sync,
    ) -> Result<Vec<T>> {
        let Some(source) = self.open(table)? else { return Ok(Vec::new()) };
        self.meter.start("reading tables", Some(source.length()));
        let parts = map_blocks(&[source], BLOCK_BYTES, self.meter, pick)?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Reads the graph.
    pub(super) fn parents(&self) -> Result<Parents> {
        let all = self.scan(id_graph_updates::TABLE, |block| {
            let mut reader = RowReader::new(["segment_id", "canonical_segment_id"]);
            let mut out = Vec::new();
            for (at, line) in non_blank_lines(block.text) {
                let bad = |problem| (at, problem);
                let row = reader.read(line, block.clean).map_err(bad)?;
                if row.clock.existed_at(self.as_of) {
                    let (id, into) = (row.required_name(0).map_err(bad)?, row.required_name(1).map_err(bad)?);
                    out.push((key_of(&id), key_of(&into), row.clock.order()));
                }
            }
            Ok(out)
        })?;
        let mut parents: Map<u128, (u128, Order)> = Map::default();
        for (id, into, order) in all {
            let known = parents.entry(id).or_insert((into, order));
            if known.1 <= order {
                *known = (into, order);
            }
        }
        Ok(Parents(parents))
    }

    /// Finds the identifiers for which `is_wanted` holds.
    pub(super) fn identifiers(
        &self,
        is_wanted: impl Fn(&[u8], &[u8]) -> bool + Sync,
    ) -> Result<BTreeSet<Identifier>> {
        let found = self.scan(external_id_mapping_updates::TABLE, |block| {
            let mut reader = RowReader::new(["external_id_type", "external_id_value"]);
            let mut out = Vec::new();
            for (at, line) in non_blank_lines(block.text) {
                let bad = |problem| (at, problem);
                let row = reader.read(line, block.clean).map_err(bad)?;
                let (type_name, value) = (row.required(0).map_err(bad)?, row.required(1).map_err(bad)?);
                if row.clock.existed_at(self.as_of) && is_wanted(&type_name, &value) {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    out.push(Identifier { type_name: text(&type_name), value: text(&value) });
                }
            }
            Ok(out)
        })?;
        Ok(found.into_iter().collect())
    }

    /// Reads the rows of the profile of a hit.
    pub(super) fn rows(&self, hit: &Hit, parents: &Parents, has_links: bool) -> Result<ProfileRows> {
        let segment = match hit {
            Hit::Segment(segment_id) => key_of(segment_id.as_bytes()),
            Hit::Identifier(identifier) => self.segment_of(identifier)?,
        };
        let root = parents.root(segment);
        let mut found = ProfileRows {
            changes: self
                .rows_of(id_graph_updates::TABLE, root, parents)?
                .iter()
                .filter_map(Change::of)
                .collect(),
            mappings: (self.rows_of(external_id_mapping_updates::TABLE, root, parents)?.iter())
                .filter_map(Mapping::of)
                .collect(),
            ..ProfileRows::default()
        };
        if has_links {
            found.links =
                self.rows_of(identity_links::TABLE, root, parents)?.iter().filter_map(Row::link).collect();
        }
        found.traits = self.traits(root, parents)?;
        Ok(found)
    }

    fn segment_of(&self, identifier: &Identifier) -> Result<u128> {
        let found = self.scan(external_id_mapping_updates::TABLE, |block| {
            let mut reader = RowReader::new(["external_id_type", "external_id_value", "segment_id"]);
            let mut out = Vec::new();
            for (at, line) in non_blank_lines(block.text) {
                let bad = |problem| (at, problem);
                let row = reader.read(line, block.clean).map_err(bad)?;
                let is_it = *row.required(0).map_err(bad)? == *identifier.type_name.as_bytes()
                    && *row.required(1).map_err(bad)? == *identifier.value.as_bytes();
                if is_it && row.clock.existed_at(self.as_of) {
                    out.push((row.clock.order(), key_of(&row.required_name(2).map_err(bad)?)));
                }
            }
            Ok(out)
        })?;
        let newest = found.into_iter().max_by_key(|(order, _)| *order);
        newest.map(|(_, segment)| segment).ok_or(Error::StateDamaged)
    }

    /// Reads the rows of a table that belong to a profile.
    fn rows_of(&self, table: &str, root: u128, parents: &Parents) -> Result<Vec<Row>> {
        self.scan(table, |block| {
            let mut reader = RowReader::new(["segment_id"]);
            let mut out = Vec::new();
            for (at, line) in non_blank_lines(block.text) {
                let bad = |problem| (at, problem);
                let row = reader.read(line, block.clean).map_err(bad)?;
                let segment_id = row.text(0).map_err(bad)?;
                if segment_id.is_some_and(|id| parents.root(key_of(&id)) == root) {
                    out.extend(Row::read(line));
                }
            }
            Ok(out)
        })
    }

    /// Reads the newest snapshot of a profile's traits.
    pub(super) fn traits(&self, root: u128, parents: &Parents) -> Result<Vec<Trait>> {
        let found = self.scan(profile_traits_updates::TABLE, |block| {
            let mut reader = RowReader::new(["segment_id"]);
            let mut newest: Option<(Order, &[u8])> = None;
            for (at, line) in non_blank_lines(block.text) {
                let bad = |problem| (at, problem);
                let row = reader.read(line, block.clean).map_err(bad)?;
                let id = row.text(0).map_err(bad)?;
                if row.clock.existed_at(self.as_of)
                    && id.is_some_and(|id| parents.root(key_of(&id)) == root)
                    && newest.is_none_or(|(order, _)| order <= row.clock.order())
                {
                    newest = Some((row.clock.order(), line));
                }
            }
            Ok(newest.map(|(order, line)| (order, line.to_vec())).into_iter().collect())
        })?;
        let newest = found.into_iter().max_by_key(|(order, _)| *order);
        Ok(newest.map(|(_, line)| traits_of(&line)).unwrap_or_default())
    }
}

impl Parents {
    /// Returns the segment id that a segment id is part of.
    pub(super) fn root(&self, segment: u128) -> u128 {
        let mut root = segment;
        // A circle of merges, which is an error elsewhere, ends here too.
        for _ in 0..=self.0.len() {
            match self.0.get(&root) {
                Some((parent, _)) if *parent != root => root = *parent,
                _ => break,
            }
        }
        root
    }

    /// Returns whether there is such a segment id.
    pub(super) fn has(&self, segment_id: &str) -> bool {
        self.0.contains_key(&key_of(segment_id.as_bytes()))
    }
}

/// Columns of `profile_traits_updates` that are no traits.
const NO_TRAITS: [&str; 6] = ["id", "segment_id", "seq", "timestamp", "received_at", "uuid_ts"];

/// Returns the traits in a row of `profile_traits_updates`.
pub(super) fn traits_of(line: &[u8]) -> Vec<Trait> {
    let mut tape = Tape::default();
    if tape.read(line).is_err() {
        return Vec::new();
    }
    let doc = Document { text: line, tokens: &tape.tokens };
    let mut traits = Vec::new();
    for (key, value) in doc.distinct_members(0) {
        let name = String::from_utf8_lossy(&doc.string(key).unwrap_or_default()).into_owned();
        if NO_TRAITS.contains(&name.as_str())
            || name.starts_with("triggering_event_")
            || name.starts_with("__")
        {
            continue;
        }
        let mut json = Vec::new();
        doc.push_compact(&mut json, value);
        if json == b"null" {
            continue;
        }
        let json = String::from_utf8_lossy(&json).into_owned();
        traits.extend(serde_json::value::RawValue::from_string(json).map(|value| Trait { name, value }));
    }
    traits.sort_by(|a, b| a.name.cmp(&b.name));
    traits
}
