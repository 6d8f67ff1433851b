//! The traits of a profile: how identify calls set them, and how a merge combines them.

use std::collections::{BTreeMap, BTreeSet};

use super::json::Json;
use super::names;

/// A trait as last set. A removed trait has no leaves.
#[derive(Clone, Debug)]
pub(crate) struct Trait {
    /// The time of the event and its `uuid_ts`; the value with the greater pair is newer.
    pub(crate) when: (i128, i128),
    pub(crate) seq: String,
    pub(crate) leaves: Vec<Leaf>,
}

/// One value of a trait: a scalar trait has one leaf, an object has one per scalar in it.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    /// The keys in `snake_case`, joined by dots.
    pub(crate) path: String,
    pub(crate) column: String,
    pub(crate) value: Json,
}

/// Traits by name.
pub(crate) type Traits = BTreeMap<String, Trait>;

/// Fixed columns of the trait tables, which the column of a trait cannot be called.
const TAKEN: [&str; 14] = [
    "id",
    "segment_id",
    "canonical_segment_id",
    "merged_to",
    "seq",
    "timestamp",
    "received_at",
    "uuid_ts",
    "triggering_event_id",
    "triggering_event_name",
    "triggering_event_type",
    "triggering_event_source_id",
    "triggering_event_source_name",
    "triggering_event_source_slug",
];

/// Returns the column of a path.
pub(crate) fn column(path: &str) -> String {
    let column = path.replace('.', "_");
    if TAKEN.contains(&column.as_str()) { format!("_{column}") } else { column }
}

/// Returns the traits that a payload sets, in order. A removed trait has no leaves.
pub(crate) fn of_payload(payload: &Json) -> Vec<(String, Vec<Leaf>)> {
    let mut given: Vec<(String, Vec<Leaf>)> = Vec::new();
    for (key, value) in payload.members() {
        let name = names::snake_case(key);
        if name.is_empty() {
            continue;
        }
        let mut leaves: Vec<Leaf> = Vec::new();
        for (parts, value) in names::flatten(std::slice::from_ref(&name), value) {
            let path = parts.join(".");
            let leaf = Leaf { column: column(&path), path, value };
            leaves.retain(|earlier| earlier.column != leaf.column);
            leaves.push(leaf);
        }
        // If several keys name the same trait, the last one with a value counts.
        let earlier_has_value = given.iter().any(|(other, leaves)| *other == name && !leaves.is_empty());
        if !(leaves.is_empty() && earlier_has_value) {
            given.retain(|(other, _)| *other != name);
            given.push((name, leaves));
        }
    }
    given
}

/// Sets a trait, unless it already has a newer value.
pub(crate) fn set(traits: &mut Traits, name: &str, mut new: Trait) {
    if traits.get(name).is_some_and(|old| new.when < old.when) {
        return;
    }
    for (other_name, other) in traits.iter_mut() {
        if other_name == name {
            continue;
        }
        if new.when < other.when {
            new.leaves.retain(|leaf| !has_column(other, &leaf.column));
        } else {
            other.leaves.retain(|leaf| !has_column(&new, &leaf.column));
        }
    }
    traits.insert(name.to_owned(), new);
}

fn has_column(one: &Trait, column: &str) -> bool {
    one.leaves.iter().any(|leaf| leaf.column == column)
}

/// Merges the traits of several profiles: the newest value of each trait, then of each column.
pub(crate) fn merge(all: &[Traits]) -> Traits {
    let mut newest = Traits::new();
    for (name, one) in all.iter().flatten() {
        if newest.get(name).is_none_or(|other| other.when < one.when) {
            newest.insert(name.clone(), one.clone());
        }
    }
    let mut merged = Traits::new();
    for (name, one) in &newest {
        set(&mut merged, name, one.clone());
    }
    merged
}

/// Returns the columns of a snapshot.
pub(crate) fn columns(traits: &Traits) -> BTreeMap<String, Json> {
    let leaves = traits.values().flat_map(|one| &one.leaves);
    leaves.map(|leaf| (leaf.column.clone(), leaf.value.clone())).collect()
}

/// Returns the names of the columns of a snapshot.
pub(crate) fn column_names(traits: &Traits) -> BTreeSet<String> {
    columns(traits).into_keys().collect()
}

/// Returns the content of `__trait_seqs`.
pub(crate) fn seqs(traits: &Traits) -> String {
    let mut seqs: BTreeMap<String, Json> = BTreeMap::new();
    for (name, one) in traits {
        let seq = Json::String(one.seq.clone());
        if one.leaves.is_empty() {
            seqs.insert(name.clone(), seq);
        } else {
            seqs.extend(one.leaves.iter().map(|leaf| (leaf.path.clone(), seq.clone())));
        }
    }
    Json::Object(seqs.into_iter().collect()).to_text()
}
