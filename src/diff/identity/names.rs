//! The second pass over identifiers, which reads the texts of the few that are reported.

use rayon::prelude::*;

use crate::{
    collections::{Map, Set, key_of},
    error::Result,
    files::Files,
};

use crate::diff::{
    keys::push_text,
    parts::read_in_ranges,
    sides::{DiffSide, TableFiles},
};

use super::load::{IdentitySource, SideProfiles, each_key, key, segment_id_of, text_parts};

/// An identifier in a report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReportedIdentifier {
    /// Its type.
    pub type_name: String,
    /// Its value.
    pub value: String,
}

/// Finds the ids of profiles by their hashes, and adds them to `known`.
pub fn names(
    side: &DiffSide,
    source: IdentitySource<'_>,
    wanted: &Set<u128>,
    known: &mut Map<u128, Box<[u8]>>,
    files: &Files,
) -> Result<()> {
    let graph = side.tables.get("id_graph");
    let places = match source {
        // A profile without identifiers is only in the graph.
        IdentitySource::View(view, [profile, ..]) => {
            [Some((view, profile)), graph.map(|graph| (graph, "segment_id")), None]
        }
        // The profile of a mapping, or the one that another was merged into, may be missing in the graph.
        IdentitySource::Raw(mappings, graph) => [
            Some((graph, "segment_id")),
            Some((mappings, "segment_id")),
            Some((graph, "canonical_segment_id")),
        ],
    };
    for (table, column) in places.into_iter().flatten() {
        find_names(table, column, wanted, known, files)?;
    }
    Ok(())
}

fn find_names(
    table: &TableFiles,
    column: &str,
    wanted: &Set<u128>,
    known: &mut Map<u128, Box<[u8]>>,
    files: &Files,
) -> Result<()> {
    let missing: Set<u128> = wanted.iter().filter(|hash| !known.contains_key(*hash)).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let column = key(&[column]);
    let parts = read_in_ranges(table, files, |rows| {
        let mut names: Map<u128, Box<[u8]>> = Map::default();
        each_key(rows, &column, &mut |found| {
            let Some(id) = segment_id_of(found) else { return };
            let hash = key_of(&id);
            if missing.contains(&hash) && !names.contains_key(&hash) {
                names.insert(hash, id.as_ref().into());
            }
        })?;
        Ok(names)
    })?;
    for names in parts {
        known.extend(names);
    }
    Ok(())
}

/// Keeps one profile for each identifier, the one with the smallest id. A damaged view may have several.
pub fn keep_one_profile(
    profiles: &mut SideProfiles,
    side: &DiffSide,
    source: IdentitySource<'_>,
    files: &Files,
) -> Result<()> {
    profiles.identifiers.dedup();
    let mut contested: Set<u128> = Set::default();
    for pairs in profiles.identifiers.chunk_by(|a, b| a.0 == b.0).filter(|pairs| 1 < pairs.len()) {
        contested.extend(pairs.iter().map(|(_, profile)| *profile));
    }
    if contested.is_empty() {
        return Ok(());
    }
    let mut known = Map::default();
    names(side, source, &contested, &mut known, files)?;
    profiles.identifiers.sort_by_key(|(identifier, profile)| (*identifier, known.get(profile)));
    profiles.identifiers.dedup_by_key(|(identifier, _)| *identifier);
    Ok(())
}

/// Returns the texts of identifiers by their hashes, in the order of the texts.
pub fn identifiers<T: Send + Sync + Clone>(
    sources: [IdentitySource<'_>; 2],
    wanted: &Map<u128, T>,
    files: &Files,
) -> Result<Vec<(ReportedIdentifier, T)>> {
    let mut all: Vec<(ReportedIdentifier, Box<[u8]>, T)> = Vec::new();
    for side in [1, 0] {
        if all.len() == wanted.len() {
            break;
        }
        let (table, columns) = match sources[side] {
            IdentitySource::View(view, [_, type_name, value]) => (view, [type_name, value]),
            IdentitySource::Raw(mappings, _) => (mappings, ["external_id_type", "external_id_value"]),
        };
        let columns = key(&columns);
        let parts = read_in_ranges(table, files, |rows| {
            let mut told = Vec::new();
            each_key(rows, &columns, &mut |found| {
                if let Some(tells) = wanted.get(&key_of(found)) {
                    told.push((ReportedIdentifier::of_parts(found), found.into(), tells.clone()));
                }
            })?;
            Ok(told)
        })?;
        all.extend(parts.into_iter().flatten());
        // Most of them are on both sides, and a raw table may have several rows for one.
        all.par_sort_by(|(a, parts_a, _), (b, parts_b, _)| (a, parts_a).cmp(&(b, parts_b)));
        all.dedup_by(|(_, a, _), (_, b, _)| a == b);
    }
    Ok(all.into_iter().map(|(identifier, _, tells)| (identifier, tells)).collect())
}

impl ReportedIdentifier {
    /// Creates an identifier from the two parts of a key.
    #[must_use]
    pub fn of_parts(parts: &[u8]) -> Self {
        let mut texts = text_parts(parts).into_iter();
        let type_name = texts.next().unwrap_or_default();
        Self { type_name, value: texts.next().unwrap_or_default() }
    }

    /// Returns the hash that represents it in all passes.
    #[must_use]
    pub fn hash(&self) -> u128 {
        let mut parts = Vec::new();
        for text in [&self.type_name, &self.value] {
            push_text(&mut parts, text.as_bytes());
        }
        key_of(&parts)
    }
}
