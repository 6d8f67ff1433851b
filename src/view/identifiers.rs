//! The fold of `external_id_mapping_updates`, which `external_id_mapping` and `user_identifiers` share.
//!
//! Two identifiers are the same if type and value are. The newest row of an identifier counts. If its `__operation` is
//! `REMOVED`, the identifier is not mapped until a newer row maps it again.

use super::{
    graph::MergeGraph,
    group::{gather, group, sort_groups},
    keys::KeyNumbers,
    segments::{InternedOrNew, NewSegments, Segment, Segments},
};
use crate::{
    collections::local_key_of,
    error::Result,
    identity::extract::identifier_bytes,
    json::push_string,
    raw::external_id_mapping_updates::push_external_id_hash,
    table::{
        blocks::{LineProblem, SharedProgress, TableBlock, map_blocks, non_blank_lines},
        clock::Clock,
        row::RowReader,
        source::TableSource,
        to_u32, to_usize,
        write::push_plain,
    },
    time::timestamp::Micros,
};
use rayon::prelude::*;

/// The newest row of each mapped identifier.
#[derive(Debug, Default)]
pub struct IdentifierFold {
    /// For each identifier, its block and the index of its row in the block.
    places: Vec<(u32, u32)>,
    /// The identifier types.
    types: Vec<Vec<u8>>,
    /// The identifier types as JSON.
    types_json: Vec<Vec<u8>>,
    /// All rows, by block.
    rows: Vec<Vec<FoldedIdentifier>>,
    /// Values and hashes, by block.
    texts: Vec<Vec<u8>>,
    n_rows: u64,
}

/// An identifier as its newest row has it.
#[derive(Debug, Clone, Copy)]
pub struct FoldedIdentifier {
    /// The segment id in its row, whose profile may have been merged since.
    pub segment: Segment,
    /// Clocks of its row.
    pub clock: Clock,
    kind: u32,
    block: u32,
    /// Offset of its value in the texts of the block. Its hash follows the value.
    start: u32,
    value_length: u32,
    hash_length: u32,
    /// Whether value and hash have no character that JSON escapes.
    is_plain: bool,
    /// Whether the row maps the identifier rather than removes it.
    is_mapped: bool,
}

/// The rows of the table as read. Segment ids that are not in the graph have no numbers yet.
#[derive(Debug)]
pub struct IdentifierRows {
    blocks: Vec<ParsedIdentifierBlock>,
}

#[derive(Debug, Default)]
struct ParsedIdentifierBlock {
    n_rows: u64,
    /// The key of each row's identifier.
    keys: Vec<u128>,
    /// The rows. Until the fold, their types are indices into `kinds` of this block.
    rows: Vec<FoldedIdentifier>,
    /// The `segment_id` of each row that maps an identifier. A row that removes one need not have it.
    met: Vec<InternedOrNew>,
    kinds: Vec<Vec<u8>>,
    texts: Vec<u8>,
    new: NewSegments,
    /// The numbers of the new segment ids.
    numbers: Vec<Segment>,
}

/// More rows than this are sorted on all cores.
const PARALLEL_SORT_ROWS: usize = 1 << 14;

const COLUMNS: [&str; 5] =
    ["external_id_type", "external_id_value", "external_id_hash", "segment_id", "__operation"];

impl IdentifierRows {
    /// Reads the table as of a time; `None` includes all rows.
    pub fn read(
        sources: &[TableSource],
        block_bytes: u64,
        as_of: Option<Micros>,
        meter: &SharedProgress<'_>,
        segments: &Segments,
    ) -> Result<Self> {
        let blocks = map_blocks(sources, block_bytes, meter, |block| parse(block, as_of, segments))?;
        Ok(Self { blocks })
    }

    /// Assigns numbers to the segment ids that are not in the graph.
    pub fn number(&mut self, segments: &mut Segments) {
        for block in &mut self.blocks {
            block.numbers = segments.intern_all(&block.new);
        }
    }

    /// Keeps the newest row of each identifier.
    #[must_use]
    pub fn fold(self) -> IdentifierFold {
        let n_rows = self.blocks.iter().map(|block| block.rows.len()).sum();
        let mut keys = KeyNumbers::with_capacity(n_rows);
        let mut identifiers = IdentifierFold::default();
        let IdentifierFold { places, rows, types: all_kinds, .. } = &mut identifiers;
        places.reserve(n_rows);
        let mut n_rows = 0;
        let mut texts = Vec::with_capacity(self.blocks.len());
        for (number, mut block) in (0..).zip(self.blocks) {
            let kinds: Vec<u32> = block.kinds.iter().map(|kind| index_of_type(all_kinds, kind)).collect();
            let mut met = block.met.into_iter();
            for row in &mut block.rows {
                if row.is_mapped
                    && let Some(met) = met.next()
                {
                    row.segment = met.number(&block.numbers);
                }
                row.kind = kinds[row.kind as usize];
                row.block = number;
            }
            rows.push(block.rows);
            let order = |(block, place): (u32, u32)| rows[block as usize][place as usize].clock.order();
            for (place, key) in (0..).zip(block.keys) {
                let (known, is_new) = keys.intern(key);
                if is_new {
                    places.push((number, place));
                } else if order(places[known as usize]) <= order((number, place)) {
                    places[known as usize] = (number, place);
                }
            }
            n_rows += block.n_rows;
            texts.push(block.texts);
        }
        places.retain(|&(block, place)| rows[block as usize][place as usize].is_mapped);
        identifiers.types_json = json_of(&identifiers.types);
        IdentifierFold { texts, n_rows, ..identifiers }
    }
}

impl FoldedIdentifier {
    fn push(&self, out: &mut Vec<u8>, text: &[u8]) {
        if self.is_plain { push_plain(out, text) } else { push_string(out, text) }
    }
}

impl IdentifierFold {
    /// Returns the number of rows read.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Returns the number of mapped identifiers.
    #[must_use]
    pub fn n_mapped(&self) -> u64 {
        self.places.len() as u64
    }

    /// Returns the segment id to which each identifier is mapped.
    pub fn segments(&self) -> impl Iterator<Item = Segment> {
        self.all().map(|identifier| identifier.segment)
    }

    fn at(&self, number: u32) -> &FoldedIdentifier {
        let (block, place) = self.places[number as usize];
        &self.rows[block as usize][place as usize]
    }

    fn all(&self) -> impl Iterator<Item = &FoldedIdentifier> + Clone {
        self.places.iter().map(|&(block, place)| &self.rows[block as usize][place as usize])
    }

    /// Reads a byte of everything that the rows of some identifiers are rendered from. Sorted by hash, these are
    /// scattered in memory: here the cache misses overlap, while rendering would wait for one after the other. For the
    /// same reason, all lookups of one step come before those of the next.
    pub fn prefetch(&self, some: &[&FoldedIdentifier], graph: &MergeGraph, segments: &Segments) {
        let first = |text: &[u8]| text.first().copied().unwrap_or_default();
        let rows: Vec<Segment> = some.iter().map(|identifier| identifier.segment).collect();
        let texts = some.iter().fold(0, |touched, identifier| {
            touched ^ first(self.value(identifier)) ^ first(self.hash(identifier))
        });
        let profiles: Vec<Segment> = rows.into_iter().map(|segment| graph.canonical(segment)).collect();
        let profiles =
            profiles.into_iter().fold(0, |touched, profile| touched ^ first(segments.text(profile)));
        std::hint::black_box((texts, profiles));
    }

    /// Returns the type and the value of an identifier.
    #[must_use]
    pub fn texts(&self, identifier: &FoldedIdentifier) -> (&[u8], &[u8]) {
        (self.type_of(identifier), self.value(identifier))
    }

    /// Appends the type of an identifier as JSON.
    pub fn push_type(&self, out: &mut Vec<u8>, identifier: &FoldedIdentifier) {
        out.extend_from_slice(&self.types_json[identifier.kind as usize]);
    }

    /// Appends the value of an identifier as JSON.
    pub fn push_value(&self, out: &mut Vec<u8>, identifier: &FoldedIdentifier) {
        identifier.push(out, self.value(identifier));
    }

    /// Appends the hash of an identifier as JSON.
    pub fn push_hash(&self, out: &mut Vec<u8>, identifier: &FoldedIdentifier) {
        identifier.push(out, self.hash(identifier));
    }

    fn type_of(&self, identifier: &FoldedIdentifier) -> &[u8] {
        &self.types[identifier.kind as usize]
    }

    fn value(&self, identifier: &FoldedIdentifier) -> &[u8] {
        let start = identifier.start as usize;
        &self.texts[identifier.block as usize][start..start + identifier.value_length as usize]
    }

    fn hash(&self, identifier: &FoldedIdentifier) -> &[u8] {
        let start = identifier.start as usize + identifier.value_length as usize;
        &self.texts[identifier.block as usize][start..start + identifier.hash_length as usize]
    }

    /// Returns all identifiers, sorted by hash, type, value.
    #[must_use]
    pub fn sorted_by_hash(&self) -> Vec<&FoldedIdentifier> {
        let n_rows = to_u32(self.places.len());
        let keyed_by = |key: fn(&[u8]) -> Option<u64>| -> Option<Vec<(u64, u32)>> {
            let keyed = (0..n_rows).into_par_iter();
            keyed.map(|row| Some((key(self.hash(self.at(row)))?, row))).collect()
        };
        let keyed = keyed_by(hex_prefix).or_else(|| keyed_by(text_prefix));
        let keyed = keyed.expect("every text has a prefix");
        // Hashes are evenly distributed: in buckets by their first digits, few are left to compare.
        let n_buckets = n_rows.next_power_of_two().max(4) / 2;
        let bucket = |key: u64| to_u32(to_usize(key >> (64 - n_buckets.trailing_zeros())));
        let compare = |a: &(u64, u32), b: &(u64, u32)| {
            let texts = |row: u32| {
                let row = self.at(row);
                (self.hash(row), self.type_of(row), self.value(row))
            };
            a.0.cmp(&b.0).then_with(|| texts(a.1).cmp(&texts(b.1)))
        };
        let keyed = keyed.iter().map(|keyed| (bucket(keyed.0), *keyed));
        let (_, sorted) = gather(n_buckets, keyed, |keyed| {
            if PARALLEL_SORT_ROWS < keyed.len() {
                keyed.par_sort_unstable_by(compare);
            } else {
                keyed.sort_unstable_by(compare);
            }
        });
        sorted.into_iter().map(|(_, row)| self.at(row)).collect()
    }

    /// Returns all identifiers, sorted by profile, type, value. `ranks` are those of segment ids sorted by text.
    #[must_use]
    pub fn sorted_by_profile(&self, graph: &MergeGraph, ranks: &[u32]) -> Vec<&FoldedIdentifier> {
        let mut by_name: Vec<u32> = (0..).zip(&self.types).map(|(number, _)| number).collect();
        by_name.sort_unstable_by_key(|&kind| &self.types[kind as usize]);
        let mut kind_ranks = vec![0; by_name.len()];
        for (rank, &kind) in (0_u32..).zip(&by_name) {
            kind_ranks[kind as usize] = rank;
        }
        let profiles = self.all().map(|row| ranks[graph.canonical(row.segment) as usize]);
        let (starts, mut places) = group(to_u32(ranks.len()), profiles);
        sort_groups(&starts, &mut places, &|places: &mut [u32]| {
            places.sort_unstable_by(|&a, &b| {
                let (a, b) = (self.at(a), self.at(b));
                let kinds = kind_ranks[a.kind as usize].cmp(&kind_ranks[b.kind as usize]);
                kinds.then_with(|| self.value(a).cmp(self.value(b)))
            });
        });
        places.into_iter().map(|place| self.at(place)).collect()
    }
}

fn parse(
    block: TableBlock<'_>,
    as_of: Option<Micros>,
    segments: &Segments,
) -> Result<ParsedIdentifierBlock, (usize, LineProblem)> {
    let mut reader = RowReader::new(COLUMNS);
    let n_rows = block.estimated_rows();
    let mut parsed = ParsedIdentifierBlock {
        keys: Vec::with_capacity(n_rows),
        rows: Vec::with_capacity(n_rows),
        texts: Vec::with_capacity(80 * n_rows),
        ..ParsedIdentifierBlock::default()
    };
    let mut names = Vec::with_capacity(n_rows);
    let mut key = Vec::new();
    for (at, line) in non_blank_lines(block.text) {
        let mut add = || -> Result<(), LineProblem> {
            let row = reader.read(line, block.clean)?;
            parsed.n_rows += 1;
            if !row.clock.existed_at(as_of) {
                return Ok(());
            }
            let (kind, value) = (row.required_name(0)?, row.required(1)?);
            let removed = row.text(4)?.is_some_and(|operation| operation.eq_ignore_ascii_case(b"removed"));
            if !removed {
                names.push(row.required_name(3)?);
            }
            let start = parsed.texts.len();
            parsed.texts.extend_from_slice(&value);
            let hash_start = parsed.texts.len();
            match row.text(2)?.filter(|hash| !hash.is_empty()) {
                Some(hash) => parsed.texts.extend(hash.iter().map(u8::to_ascii_lowercase)),
                None => push_external_id_hash(&mut parsed.texts, &kind, &value),
            }
            let hash_length = parsed.texts.len() - hash_start;
            let identifier = FoldedIdentifier {
                segment: 0,
                clock: row.clock,
                kind: index_of_type(&mut parsed.kinds, &kind),
                block: 0,
                start: to_u32(start),
                value_length: to_u32(value.len()),
                hash_length: to_u32(hash_length),
                is_plain: row.is_plain(1) && row.is_plain(2),
                is_mapped: !removed,
            };
            let kind = std::str::from_utf8(&kind).unwrap_or_default();
            parsed.keys.push(local_key_of(identifier_bytes(&mut key, kind, &value)));
            parsed.rows.push(identifier);
            Ok(())
        };
        add().map_err(|problem| (at, problem))?;
    }
    parsed.met = parsed.new.look_up_all(segments, &names);
    Ok(parsed)
}

fn json_of(kinds: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let json = |kind: &Vec<u8>| {
        let mut json = Vec::new();
        push_string(&mut json, kind);
        json
    };
    kinds.iter().map(json).collect()
}

/// Returns the first sixteen digits of a lower-case hash as a number that compares like them; `None` if they are not
/// hexadecimal.
fn hex_prefix(hash: &[u8]) -> Option<u64> {
    let digits: &[u8; 16] = hash.first_chunk()?;
    let (mut number, mut is_hex) = (0, true);
    for digit in digits {
        let is_letter = b'a' <= *digit;
        let value = digit.wrapping_sub(if is_letter { b'a' - 10 } else { b'0' });
        is_hex &= value < if is_letter { 16 } else { 10 };
        number = number << 4 | u64::from(value & 15);
    }
    is_hex.then_some(number)
}

/// Returns the first eight bytes of a text as a number that compares like them.
#[expect(clippy::unnecessary_wraps, reason = "`hex_prefix` may fail and needs the same signature")]
fn text_prefix(text: &[u8]) -> Option<u64> {
    let mut bytes = [0; 8];
    let n_bytes = text.len().min(8);
    bytes[..n_bytes].copy_from_slice(&text[..n_bytes]);
    Some(u64::from_be_bytes(bytes))
}

/// Returns the index of an identifier type in a short list, appending it if it is new.
fn index_of_type(kinds: &mut Vec<Vec<u8>>, kind: &[u8]) -> u32 {
    let place = kinds.iter().position(|known| known == kind).unwrap_or_else(|| {
        kinds.push(kind.to_vec());
        kinds.len() - 1
    });
    to_u32(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_compare_as_their_prefixes_do() {
        let hashes = [
            "0000000000000000",
            "0000000000000009f",
            "000000000000000a",
            "09ffffffffffffff",
            "a000000000000000",
            "ffffffffffffffff",
        ];
        assert!(hashes.map(|hash| hex_prefix(hash.as_bytes()).unwrap()).is_sorted());
        for hash in [
            "",
            "000000000000000",
            "000000000000000A",
            "00000000000000:0",
            "g000000000000000",
            "`000000000000000",
            "/000000000000000",
        ] {
            assert_eq!(hex_prefix(hash.as_bytes()), None, "{hash}");
        }
        let texts = ["", "a", "a\u{1}", "ab", "abcdefgh", "b"];
        assert!(texts.map(|text| text_prefix(text.as_bytes())).is_sorted());
    }
}
