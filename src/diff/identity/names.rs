//! The second pass over identifiers: the texts of the few that are told.

use rayon::prelude::*;

use crate::{
    collections::{Map, Set, key_of},
    error::Result,
    files::Files,
};

use crate::diff::{
    keys::push_text,
    parts::read_parts,
    sides::{Side, Table},
};

use super::load::{Source, each_key, key, text_of, text_parts};

/// An identifier as it is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identifier {
    /// Its type.
    pub type_name: String,
    /// Its value.
    pub value: String,
}

/// Finds the ids of some profiles by their hashes.
pub fn names(
    side: &Side,
    source: Source<'_>,
    wanted: &Set<u128>,
    known: &mut Map<u128, String>,
    files: &Files,
) -> Result<()> {
    let graph = match source {
        Source::View(view, [profile, ..]) => {
            find_names(view, profile, wanted, known, files)?;
            side.tables.get("id_graph")
        }
        Source::Raw(_, graph) => Some(graph),
    };
    // A profile without identifiers stands there alone.
    match graph {
        Some(graph) => find_names(graph, "segment_id", wanted, known, files),
        None => Ok(()),
    }
}

fn find_names(
    table: &Table,
    column: &str,
    wanted: &Set<u128>,
    known: &mut Map<u128, String>,
    files: &Files,
) -> Result<()> {
    let missing: Set<u128> = wanted.iter().filter(|hash| !known.contains_key(*hash)).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let column = key(&[column]);
    let parts = read_parts(table, files, |rows| {
        let mut names = Map::default();
        each_key(rows, &column, &mut |found| {
            let Some(id) = text_of(found) else { return };
            let hash = key_of(&id);
            if missing.contains(&hash) && !names.contains_key(&hash) {
                names.insert(hash, String::from_utf8_lossy(&id).into_owned());
            }
        })?;
        Ok(names)
    })?;
    for names in parts {
        known.extend(names);
    }
    Ok(())
}

/// The texts of some identifiers, by their hashes; in the order of the texts.
pub fn identifiers<T: Send + Sync + Clone>(
    sources: [Source<'_>; 2],
    wanted: &Map<u128, T>,
    files: &Files,
) -> Result<Vec<(Identifier, T)>> {
    let mut all: Vec<(u128, Identifier, T)> = Vec::new();
    for side in [1, 0] {
        if all.len() == wanted.len() {
            break;
        }
        let (table, columns) = match sources[side] {
            Source::View(view, [_, type_name, value]) => (view, [type_name, value]),
            Source::Raw(mappings, _) => (mappings, ["external_id_type", "external_id_value"]),
        };
        let columns = key(&columns);
        let parts = read_parts(table, files, |rows| {
            let mut told = Vec::new();
            each_key(rows, &columns, &mut |found| {
                let hash = key_of(found);
                if let Some(tells) = wanted.get(&hash) {
                    let mut texts = text_parts(found).into_iter();
                    let type_name = texts.next().unwrap_or_default();
                    let value = texts.next().unwrap_or_default();
                    told.push((hash, Identifier { type_name, value }, tells.clone()));
                }
            })?;
            Ok(told)
        })?;
        all.extend(parts.into_iter().flatten());
        // Most stand on both sides, and a raw table may have several rows for one.
        all.par_sort_by(|(hash_a, a, _), (hash_b, b, _)| (a, hash_a).cmp(&(b, hash_b)));
        all.dedup_by_key(|(hash, ..)| *hash);
    }
    Ok(all.into_iter().map(|(_, identifier, tells)| (identifier, tells)).collect())
}

impl Identifier {
    /// The hash by which it is known in all passes.
    #[must_use]
    pub fn hash(&self) -> u128 {
        let mut parts = Vec::new();
        for text in [&self.type_name, &self.value] {
            push_text(&mut parts, text.as_bytes());
        }
        key_of(&parts)
    }
}
