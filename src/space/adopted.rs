//! Rebuilds the resolver's state from raw tables that a warehouse wrote, by folding them as views do.
//!
//! Such tables may lack clocks, `__trait_seqs` or recursive entries, and may remove identifiers. Their views define
//! what they mean, so the resolver starts with what the views show: the profile of each segment id and identifier, and
//! the traits of each profile with the time when each was set. What views do not show is unknown: removed traits, and
//! which columns are parts of one trait.

use std::{collections::BTreeMap, path::Path};

use super::{manifest::Manifest, replayed::ResolverState, tables::committed_file};
use crate::{
    collections::{Map, local_key_of},
    error::Result,
    files::Files,
    identity::{
        extract::identifier_key,
        graph::{MappedIdentifier, ProfileId, UNKNOWN_CLOCK, UNKNOWN_TIME},
        packed_traits::{EncodedValue, SetAt},
        traits::{ProfileTraits, column_of},
        types::IdentifierTypes,
    },
    table::{
        blocks::{BLOCK_BYTES, LineProblem, SharedProgress, TableBlock, map_blocks, non_blank_lines},
        clock::Clock,
        find::{RawTable, RawTableFile},
        row::RowReader,
        source::TableSource,
    },
    time::timestamp::Micros,
    view::{
        RAW_TABLES, View,
        folds::{FoldedTables, ViewSources},
        identifiers::IdentifierFold,
        segments::Segment,
        trait_fold::TraitFold,
    },
};

/// Returns the raw tables of a space, limited to the adopted bytes. `written` has their range for each table.
#[must_use]
pub fn tables(folder: &Path, manifest: &Manifest, written: &BTreeMap<String, (u64, u64)>) -> Vec<RawTable> {
    let parts = |name: &str| match (written.get(name), manifest.tables.get(name)) {
        (Some(&(_, end)), Some(state)) if 0 < end => {
            vec![RawTableFile { committed: Some(end), ..committed_file(folder, name, state) }]
        }
        _ => Vec::new(),
    };
    RAW_TABLES.iter().map(|&name| RawTable { name, files: parts(name) }).collect()
}

/// Folds raw tables as their views do.
pub fn fold(
    tables: &[RawTable],
    types: &IdentifierTypes,
    files: &Files,
    meter: &SharedProgress<'_>,
) -> Result<ResolverState> {
    let sources = ViewSources::open(tables, &View::ALL, |part| TableSource::open(part, files))?;
    let folds = FoldedTables::read(sources, None, meter)?;
    let ages = SegmentAges::read(tables, files, meter)?;
    let mut replayed = ResolverState::default();
    let profiles = create(&folds, &ages, &mut replayed);
    map(&folds, &profiles, types, &mut replayed);
    set_traits(&folds, &profiles, &mut replayed)?;
    Ok(replayed)
}

/// Creates all profiles, oldest first, and merges them. Returns the profiles by segment id.
fn create(folds: &FoldedTables, ages: &SegmentAges, replayed: &mut ResolverState) -> Vec<ProfileId> {
    // A segment id that occurs only in rows that no longer count belongs to no profile.
    let mut is_known = vec![false; folds.sorted.len()];
    let identifiers = folds.identifiers.iter().flat_map(IdentifierFold::segments);
    for segment in folds.profiles().into_iter().chain(identifiers) {
        is_known[segment as usize] = true;
    }
    let mut in_order = folds.sorted.clone();
    in_order.retain(|&segment| is_known[segment as usize]);
    in_order.sort_by_key(|&segment| ages.of(folds.segments.text(segment)).first);
    let mut profiles: Vec<ProfileId> = vec![0; folds.sorted.len()];
    let graph = &mut replayed.graph;
    for &segment in &in_order {
        let segment_id = String::from_utf8_lossy(folds.segments.text(segment));
        let created = ages.of(folds.segments.text(segment)).first.0;
        profiles[segment as usize] = graph.create(&segment_id, created.unwrap_or(UNKNOWN_CLOCK));
    }
    for &segment in &in_order {
        let canonical = folds.graph.canonical(segment);
        let (from, into) = (profiles[segment as usize], profiles[canonical as usize]);
        if from != into {
            let clock = folds.graph.mapping_clock(segment).and_then(Clock::uuid_ts);
            graph.merge(from, into, clock.unwrap_or(UNKNOWN_CLOCK));
        }
        graph.record_seq(into, ages.of(folds.segments.text(segment)).last_seq);
    }
    profiles
}

fn map(folds: &FoldedTables, profiles: &[ProfileId], types: &IdentifierTypes, replayed: &mut ResolverState) {
    let Some(identifiers) = &folds.identifiers else { return };
    let mut scratch = Vec::new();
    for identifier in identifiers.sorted_by_hash() {
        let (kind, value) = identifiers.texts(identifier);
        let kind = String::from_utf8_lossy(kind).to_lowercase();
        let key = identifier_key(&mut scratch, &kind, value);
        if replayed.graph.find(key).is_none() {
            let timestamp = identifier.clock.timestamp().map_or(UNKNOWN_TIME, |time| time.div_euclid(1000));
            replayed.graph.map(MappedIdentifier {
                key,
                timestamp,
                uuid_ts: identifier.clock.uuid_ts().unwrap_or(UNKNOWN_CLOCK),
                profile: profiles[identifier.segment as usize],
                type_id: types.intern(&kind),
            });
        }
    }
}

fn set_traits(folds: &FoldedTables, profiles: &[ProfileId], replayed: &mut ResolverState) -> Result<()> {
    let Some(traits) = &folds.traits else { return Ok(()) };
    let ResolverState { graph, trait_names, .. } = replayed;
    let all: Vec<Segment> = folds.profiles();
    let mut folder = TraitFold::default();
    for some in all.chunks(CHUNK_PROFILES) {
        folder.fold(traits, &folds.graph, some, true, |profile, rows, present| {
            if present.is_empty() {
                return;
            }
            let mut traits = ProfileTraits::default();
            // A name that JSON escapes cannot be a trait of an event, so it remains only in the raw tables.
            for one in present.iter().filter(|one| one.is_plain) {
                let clock = &rows[one.set_by].clock;
                let name = trait_names.intern(&path_of_column(one.name));
                let at = SetAt {
                    timestamp: clock.timestamp().map_or(UNKNOWN_TIME, |time| time.div_euclid(1000)),
                    uuid_ts: clock.uuid_ts().unwrap_or(Micros::MIN),
                    seq: clock.seq().saturating_sub(1),
                };
                traits.push(EncodedValue { name, at, path: name, value: one.json });
            }
            graph.set_traits(profiles[profile as usize], traits.encode());
        })?;
    }
    Ok(())
}

/// Number of profiles folded at a time.
const CHUNK_PROFILES: usize = 128;

/// Returns the path of a column, without the leading `_` that a column gets if its name is taken.
fn path_of_column(column: &[u8]) -> Vec<u8> {
    match column.strip_prefix(b"_") {
        Some(name) if column_of(name) == column => name.to_vec(),
        _ => column.to_vec(),
    }
}

/// How old a segment id is, and its newest `seq`.
#[derive(Debug, Clone, Copy)]
struct SegmentAge {
    /// The oldest `uuid_ts` and `seq` of its rows, and the index of that row among all rows.
    first: (Option<Micros>, u64, u64),
    last_seq: u64,
}

/// The ages of all segment ids, by key.
#[derive(Debug, Default)]
struct SegmentAges(Map<u128, SegmentAge>);

impl SegmentAges {
    fn read(tables: &[RawTable], files: &Files, meter: &SharedProgress<'_>) -> Result<Self> {
        let mut ages = Self::default();
        let mut place = 0;
        for table in tables {
            let sources: Vec<TableSource> =
                table.files.iter().map(|part| TableSource::open(part, files)).collect::<Result<_>>()?;
            for (key, clock) in map_blocks(&sources, BLOCK_BYTES, meter, parse)?.into_iter().flatten() {
                place += 1;
                let new = SegmentAge {
                    first: (clock.uuid_ts(), clock.seq(), place),
                    last_seq: clock.seq().saturating_sub(1),
                };
                let age = ages.0.entry(key).or_insert(new);
                age.first = age.first.min(new.first);
                age.last_seq = age.last_seq.max(new.last_seq);
            }
        }
        Ok(ages)
    }

    /// Returns the age of a segment id. One that has no rows of its own is newer than all others.
    fn of(&self, segment_id: &[u8]) -> SegmentAge {
        let young = SegmentAge { first: (Some(Micros::MAX), u64::MAX, u64::MAX), last_seq: 0 };
        self.0.get(&local_key_of(segment_id)).copied().unwrap_or(young)
    }
}

fn parse(block: TableBlock<'_>) -> Result<Vec<(u128, Clock)>, (usize, LineProblem)> {
    let mut reader = RowReader::new(["segment_id"]);
    let mut found = Vec::new();
    for (at, line) in non_blank_lines(block.text) {
        let row = reader.read(line, block.clean).map_err(|problem| (at, problem))?;
        if let Some(segment_id) = row.text(0).map_err(|problem| (at, problem))? {
            found.push((local_key_of(&segment_id), row.clock));
        }
    }
    Ok(found)
}
