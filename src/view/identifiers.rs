//! The fold of `external_id_mapping_updates` that `external_id_mapping` and `user_identifiers` share.
//!
//! Two identifiers are the same when type and value are. Of the rows of one the newest counts; where it says
//! `__operation` `REMOVED` the identifier is gone, until a newer row maps it again.

use std::borrow::Cow;

use super::{
    graph::Graph,
    keys::Keys,
    segments::{Met, NewSegments, Segment, Segments, prefix},
};
use crate::{
    error::Result,
    event::{json::push_string, timestamp::Micros},
    identity::extract::identifier_key,
    raw::external_id_mapping_updates::push_external_id_hash,
    table::{
        blocks::{Block, Meter, Problem, map_blocks, rows},
        clock::Clock,
        row::RowReader,
        small,
        source::Source,
        write::push_plain,
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
    /// Whether value and hash have no character that JSON escapes.
    is_plain: bool,
}

/// The rows of the table as read; segment ids that the graph does not know have no numbers yet.
#[derive(Debug)]
pub struct IdentifierRows {
    blocks: Vec<ParsedBlock>,
}

#[derive(Debug, Default)]
struct ParsedBlock {
    n_rows: u64,
    /// The key of the identifier; whether the row maps it or takes it out; the row, whose type is one of the block's yet.
    rows: Vec<(u128, bool, Identifier)>,
    /// The `segment_id` of each row; an empty one where there is none.
    met: Vec<Met>,
    kinds: Vec<Vec<u8>>,
    texts: Vec<u8>,
    new: NewSegments,
    /// The numbers of the new segment ids.
    numbers: Vec<Segment>,
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

    /// Numbers the segment ids that the graph does not know.
    pub fn number(&mut self, segments: &mut Segments) {
        for block in &mut self.blocks {
            block.numbers = segments.intern_all(&block.new);
        }
    }

    /// Keeps the newest row of each identifier.
    #[must_use]
    pub fn fold(self) -> Identifiers {
        let n_rows = self.blocks.iter().map(|block| block.rows.len()).sum();
        let mut keys = Keys::with_capacity(n_rows);
        let mut rows: Vec<(bool, Identifier)> = Vec::with_capacity(n_rows);
        let mut identifiers =
            Identifiers { rows: Vec::new(), kinds: Vec::new(), texts: Vec::new(), n_rows: 0 };
        for (number, block) in (0..).zip(self.blocks) {
            let kinds: Vec<u32> =
                block.kinds.iter().map(|kind| place_of(&mut identifiers.kinds, kind)).collect();
            for ((key, is_mapped, row), met) in block.rows.into_iter().zip(block.met) {
                let segment = met.number(&block.numbers);
                let row = Identifier { segment, kind: kinds[row.kind as usize], block: number, ..row };
                let (place, is_new) = keys.meet(key);
                if is_new {
                    rows.push((is_mapped, row));
                } else if rows[place as usize].1.clock.order() <= row.clock.order() {
                    rows[place as usize] = (is_mapped, row);
                }
            }
            identifiers.n_rows += block.n_rows;
            identifiers.texts.push(block.texts);
        }
        identifiers.rows = rows.into_iter().filter_map(|(is_mapped, row)| is_mapped.then_some(row)).collect();
        identifiers
    }
}

impl Identifier {
    fn push(&self, out: &mut Vec<u8>, text: &[u8]) {
        if self.is_plain { push_plain(out, text) } else { push_string(out, text) }
    }
}

impl Identifiers {
    /// Rows read.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Identifiers that are mapped.
    #[must_use]
    pub fn n_mapped(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Touches all that the rows of some identifiers are made of. Ordered by hash they lie anywhere in memory; here the waits
    /// for it overlap, while rendering would take them one after the other.
    pub fn fetch(&self, some: &[&Identifier], graph: &Graph, segments: &Segments) {
        let touched = some.iter().fold(0, |touched, identifier| {
            let profile = segments.text(graph.canonical(identifier.segment));
            let first = |text: &[u8]| text.first().copied().unwrap_or_default();
            touched ^ first(profile) ^ first(self.value(identifier)) ^ first(self.hash(identifier))
        });
        std::hint::black_box(touched);
    }

    /// Its type and its value.
    #[must_use]
    pub fn texts(&self, identifier: &Identifier) -> (&[u8], &[u8]) {
        (self.kind(identifier), self.value(identifier))
    }

    /// Appends its type as JSON.
    pub fn push_kind(&self, out: &mut Vec<u8>, identifier: &Identifier) {
        push_string(out, self.kind(identifier));
    }

    /// Appends its value as JSON.
    pub fn push_value(&self, out: &mut Vec<u8>, identifier: &Identifier) {
        identifier.push(out, self.value(identifier));
    }

    /// Appends its hash as JSON.
    pub fn push_hash(&self, out: &mut Vec<u8>, identifier: &Identifier) {
        identifier.push(out, self.hash(identifier));
    }

    fn kind(&self, identifier: &Identifier) -> &[u8] {
        &self.kinds[identifier.kind as usize]
    }

    fn value(&self, identifier: &Identifier) -> &[u8] {
        let start = identifier.start as usize;
        &self.texts[identifier.block as usize][start..start + identifier.value_length as usize]
    }

    fn hash(&self, identifier: &Identifier) -> &[u8] {
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
    let n_rows = block.n_rows_about();
    let (rows_room, texts_room) = (Vec::with_capacity(n_rows), Vec::with_capacity(80 * n_rows));
    let mut parsed = ParsedBlock { rows: rows_room, texts: texts_room, ..ParsedBlock::default() };
    let mut names = Vec::with_capacity(n_rows);
    let mut key = Vec::new();
    for (at, line) in rows(block.text) {
        let mut add = || -> Result<(), Problem> {
            let row = reader.read(line, block.clean)?;
            parsed.n_rows += 1;
            if !row.clock.was_there(as_of) {
                return Ok(());
            }
            let (kind, value) = (row.name(0)?, row.needed(1)?);
            let removed = row.text(4)?.is_some_and(|operation| operation.eq_ignore_ascii_case(b"removed"));
            names.push(if removed { Cow::Borrowed(&b""[..]) } else { row.name(3)? });
            let start = parsed.texts.len();
            parsed.texts.extend_from_slice(&value);
            let hash_start = parsed.texts.len();
            match row.text(2)?.filter(|hash| !hash.is_empty()) {
                Some(hash) => parsed.texts.extend(hash.iter().map(u8::to_ascii_lowercase)),
                None => push_external_id_hash(&mut parsed.texts, &kind, &value),
            }
            let hash_length = parsed.texts.len() - hash_start;
            let identifier = Identifier {
                segment: 0,
                clock: row.clock,
                kind: place_of(&mut parsed.kinds, &kind),
                block: 0,
                start: small(start),
                value_length: small(value.len()),
                hash_length: small(hash_length),
                is_plain: row.is_plain(1) && row.is_plain(2),
            };
            let kind = std::str::from_utf8(&kind).unwrap_or_default();
            parsed.rows.push((identifier_key(&mut key, kind, &value), !removed, identifier));
            Ok(())
        };
        add().map_err(|problem| (at, problem))?;
    }
    parsed.met = parsed.new.meet_all(segments, &names);
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
