//! The fold of `external_id_mapping_updates` that `external_id_mapping` and `user_identifiers` share.
//!
//! Two identifiers are the same when type and value are. Of the rows of one the newest counts; where it says
//! `__operation` `REMOVED` the identifier is gone, until a newer row maps it again.

use super::{
    graph::Graph,
    segments::{Met, NewSegments, Segment, Segments, prefix},
};
use crate::{
    collections::Map,
    error::Result,
    event::timestamp::Micros,
    identity::extract::identifier_key,
    raw::external_id_mapping_updates::push_external_id_hash,
    table::{
        blocks::{Block, Meter, Problem, map_blocks, rows},
        clock::Clock,
        row::RowReader,
        small,
        source::Source,
    },
};
use rayon::prelude::*;

/// The newest row of each identifier that is mapped.
#[derive(Debug)]
pub struct Identifiers {
    rows: Vec<Identifier>,
    /// The types there are.
    kinds: Vec<Vec<u8>>,
    /// Values and hashes, by block.
    texts: Vec<Vec<u8>>,
    n_rows: u64,
}

/// An identifier, as its newest row has it.
#[derive(Debug, Clone, Copy)]
pub struct Identifier {
    /// The profile it was mapped to then.
    pub segment: Segment,
    /// Its row's clocks.
    pub clock: Clock,
    kind: u32,
    block: u32,
    /// Where in the block's texts its value begins; its hash stands behind it.
    start: u32,
    value_length: u32,
    hash_length: u32,
}

/// The rows of the table as read; segment ids that the graph does not know have no numbers yet.
#[derive(Debug)]
pub struct IdentifierRows {
    blocks: Vec<ParsedBlock>,
}

#[derive(Debug, Default)]
struct ParsedBlock {
    n_rows: u64,
    rows: Vec<ParsedRow>,
    kinds: Vec<Vec<u8>>,
    texts: Vec<u8>,
    new: NewSegments,
}

#[derive(Debug)]
struct ParsedRow {
    key: u128,
    /// `None` where the row takes the identifier out.
    segment: Option<Met>,
    clock: Clock,
    kind: u32,
    start: u32,
    value_length: u32,
    hash_length: u32,
}

const COLUMNS: [&str; 5] =
    ["external_id_type", "external_id_value", "external_id_hash", "segment_id", "__operation"];

impl IdentifierRows {
    /// Reads the table.
    pub fn read(
        sources: &[Source],
        block_bytes: u64,
        as_of: Option<Micros>,
        meter: &Meter<'_>,
        segments: &Segments,
    ) -> Result<Self> {
        let blocks = map_blocks(sources, block_bytes, meter, |block| parse(block, as_of, segments))?;
        Ok(Self { blocks })
    }

    /// Keeps the newest row of each identifier, and numbers the segment ids that the graph does not know.
    #[must_use]
    pub fn fold(self, segments: &mut Segments) -> Identifiers {
        let n_rows = self.blocks.iter().map(|block| block.rows.len()).sum();
        let mut newest: Map<u128, u32> =
            Map::with_capacity_and_hasher(n_rows, crate::collections::Hasher::default());
        let mut rows: Vec<(bool, Identifier)> = Vec::with_capacity(n_rows);
        let mut identifiers =
            Identifiers { rows: Vec::new(), kinds: Vec::new(), texts: Vec::new(), n_rows: 0 };
        for (number, block) in (0..).zip(self.blocks) {
            let new = segments.intern_all(&block.new);
            let kinds: Vec<u32> =
                block.kinds.iter().map(|kind| place_of(&mut identifiers.kinds, kind)).collect();
            for row in &block.rows {
                let identifier = Identifier {
                    segment: row.segment.map_or(0, |met| met.number(&new)),
                    clock: row.clock,
                    kind: kinds[row.kind as usize],
                    block: number,
                    start: row.start,
                    value_length: row.value_length,
                    hash_length: row.hash_length,
                };
                let row = (row.segment.is_some(), identifier, row.key);
                let next = small(rows.len());
                let place = *newest.entry(row.2).or_insert(next);
                if place == next {
                    rows.push((row.0, row.1));
                } else if rows[place as usize].1.clock.order() <= row.1.clock.order() {
                    rows[place as usize] = (row.0, row.1);
                }
            }
            identifiers.n_rows += block.n_rows;
            identifiers.texts.push(block.texts);
        }
        identifiers.rows = rows.into_iter().filter_map(|(mapped, row)| mapped.then_some(row)).collect();
        identifiers
    }
}

impl Identifiers {
    /// Rows read.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Its type.
    #[must_use]
    pub fn kind(&self, identifier: &Identifier) -> &[u8] {
        &self.kinds[identifier.kind as usize]
    }

    /// Its value.
    #[must_use]
    pub fn value(&self, identifier: &Identifier) -> &[u8] {
        let start = identifier.start as usize;
        &self.texts[identifier.block as usize][start..start + identifier.value_length as usize]
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self, identifier: &Identifier) -> &[u8] {
        let start = identifier.start as usize + identifier.value_length as usize;
        &self.texts[identifier.block as usize][start..start + identifier.hash_length as usize]
    }

    /// All identifiers by hash, type, value.
    #[must_use]
    pub fn sorted_by_hash(&self) -> Vec<&Identifier> {
        let mut keys: Vec<_> = self.rows.par_iter().map(|row| (prefix(self.hash(row)), row)).collect();
        keys.par_sort_unstable_by(|a, b| {
            let texts = |row| (self.hash(row), self.kind(row), self.value(row));
            a.0.cmp(&b.0).then_with(|| texts(a.1).cmp(&texts(b.1)))
        });
        keys.into_iter().map(|(_, row)| row).collect()
    }

    /// All identifiers by profile, type, value; `ranks` are the places of segment ids when sorted by text.
    #[must_use]
    pub fn sorted_by_profile(&self, graph: &Graph, ranks: &[u32]) -> Vec<&Identifier> {
        let mut by_name: Vec<u32> = (0..).zip(&self.kinds).map(|(number, _)| number).collect();
        by_name.sort_unstable_by_key(|&kind| &self.kinds[kind as usize]);
        let mut kind_ranks = vec![0; by_name.len()];
        for (rank, &kind) in (0_u32..).zip(&by_name) {
            kind_ranks[kind as usize] = rank;
        }
        let key = |row: &Identifier| {
            let profile = ranks[graph.canonical(row.segment) as usize];
            (profile, kind_ranks[row.kind as usize])
        };
        let mut keys: Vec<_> = self.rows.par_iter().map(|row| (key(row), row)).collect();
        keys.par_sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| self.value(a.1).cmp(self.value(b.1))));
        keys.into_iter().map(|(_, row)| row).collect()
    }
}

fn parse(
    block: Block<'_>,
    as_of: Option<Micros>,
    segments: &Segments,
) -> Result<ParsedBlock, (usize, Problem)> {
    let mut reader = RowReader::new(COLUMNS);
    let mut parsed = ParsedBlock::default();
    let mut key = Vec::new();
    for (at, line) in rows(block.text) {
        let mut add = || -> Result<(), Problem> {
            let row = reader.read(line)?;
            parsed.n_rows += 1;
            if !row.clock.was_there(as_of) {
                return Ok(());
            }
            let (kind, value) = (row.name(0)?, row.needed(1)?);
            let removed = row.text(4)?.is_some_and(|operation| operation.eq_ignore_ascii_case(b"removed"));
            let segment = if removed { None } else { Some(parsed.new.meet(segments, &row.name(3)?)) };
            let start = parsed.texts.len();
            parsed.texts.extend_from_slice(&value);
            let hash_start = parsed.texts.len();
            match row.text(2)?.filter(|hash| !hash.is_empty()) {
                Some(hash) => parsed.texts.extend(hash.iter().map(u8::to_ascii_lowercase)),
                None => push_external_id_hash(&mut parsed.texts, &kind, &value),
            }
            let hash_length = parsed.texts.len() - hash_start;
            parsed.rows.push(ParsedRow {
                key: identifier_key(&mut key, std::str::from_utf8(&kind).unwrap_or_default(), &value),
                segment,
                clock: row.clock,
                kind: place_of(&mut parsed.kinds, &kind),
                start: small(start),
                value_length: small(value.len()),
                hash_length: small(hash_length),
            });
            Ok(())
        };
        add().map_err(|problem| (at, problem))?;
    }
    Ok(parsed)
}

/// The place of a type in a short list of them, where it is put if need be.
fn place_of(kinds: &mut Vec<Vec<u8>>, kind: &[u8]) -> u32 {
    let place = kinds.iter().position(|known| known == kind).unwrap_or_else(|| {
        kinds.push(kind.to_vec());
        kinds.len() - 1
    });
    small(place)
}
