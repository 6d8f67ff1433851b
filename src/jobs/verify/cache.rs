//! Compares the state cache with a replay of the raw tables.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rayon::prelude::*;

use crate::{
    error::Result,
    event::duplicates::SeenMessage,
    files::Files,
    identity::{
        graph::{IdentityGraph, MappedIdentifier},
        packed_traits::{EncodedTraits, SetAt},
        traits::TraitNames,
        types::IdentifierTypes,
    },
    progress::Progress,
    space::{
        manifest::Manifest,
        replayed::ResolverState,
        state::{self, Reading},
    },
    time::timestamp::Micros,
};

/// Adds a sentence for each difference. A cache that is missing or from an earlier version is not a difference, because
/// the next run rebuilds it.
pub(super) fn check(
    state: &Path,
    manifest: &Manifest,
    replayed: &ResolverState,
    types: &IdentifierTypes,
    files: &Files,
    progress: &dyn Progress,
    differences: &mut Vec<String>,
) -> Result<()> {
    let paths: Vec<PathBuf> = manifest.state.iter().map(|part| state.join(&part.name)).collect();
    if paths.is_empty() {
        return Ok(());
    }
    let rebuilt = if !paths.iter().any(|path| path.exists()) {
        Some("missing")
    } else if state::is_of_earlier_version(state, &manifest.state, files) {
        Some("of an earlier version of this program")
    } else {
        None
    };
    if let Some(what) = rebuilt {
        progress.notice(&format!("the state cache is {what}: the next run rebuilds it from the raw tables"));
        return Ok(());
    }
    let cached = state::read(state, &manifest.state, Reading::Whole, types, files)?;
    let finds_all = cached.is_some() && state::lookup_is_complete(state, &manifest.state, types, files)?;
    match cached.filter(|_| finds_all) {
        None => {
            let missing: Vec<&PathBuf> = paths.iter().filter(|path| !path.exists()).collect();
            let (named, what) =
                if missing.is_empty() { (paths.iter().collect(), "is damaged:") } else { (missing, "lacks") };
            let named: Vec<String> = named.into_iter().map(|path| format!("`{}`", path.display())).collect();
            differences.push(format!(
                "the state cache {what} {}; remove `{}`, and the next run rebuilds it from the raw tables",
                named.join(", "),
                state.display()
            ));
        }
        Some(cached) => compare(&cached, replayed, differences)?,
    }
    Ok(())
}

/// Adds a sentence for each difference between the cache and a replay.
fn compare(cached: &ResolverState, replayed: &ResolverState, differences: &mut Vec<String>) -> Result<()> {
    let profiles = |state: &ResolverState| -> Vec<(String, (u32, Micros), u64, TraitsByName)> {
        let of = state.graph.profile_states().map(|p| {
            let canonical = traits_of(p.traits, &state.trait_names);
            (p.segment_id.to_owned(), (p.canonical, p.created), p.last_seq, canonical)
        });
        of.collect()
    };
    let (of_cache, of_replay) = (profiles(cached), profiles(replayed));
    if of_cache.len() != of_replay.len() {
        differences.push(format!(
            "the state cache has {} profiles, the raw tables {}",
            of_cache.len(),
            of_replay.len()
        ));
    }
    for (id, (cache, replay)) in (0..).zip(of_cache.iter().zip(&of_replay)) {
        // A merged profile has no `seq` or traits that matter.
        let canonical = replay.1.0 == id;
        if cache.0 != replay.0
            || cache.1 != replay.1
            || canonical && (cache.2 != replay.2 || cache.3 != replay.3)
        {
            differences
                .push(format!("profile \"{}\" in the state cache differs from the raw tables", replay.0));
        }
    }
    let identifiers = |graph: &IdentityGraph| -> Vec<MappedIdentifier> {
        let mut all: Vec<MappedIdentifier> = graph.mapped_identifiers().collect();
        all.par_sort_unstable();
        all
    };
    if identifiers(&cached.graph) != identifiers(&replayed.graph) {
        differences.push("the identifiers in the state cache differ from those in the raw tables".to_owned());
    }
    let messages = |state: &ResolverState| -> Result<Vec<SeenMessage>> {
        let mut all: Vec<SeenMessage> = Vec::with_capacity(state.accepted.count());
        state.accepted.for_each_sorted(|some| {
            all.extend_from_slice(some);
            Ok(())
        })?;
        Ok(all)
    };
    let (of_cache, of_replay) = (messages(cached)?, messages(replayed)?);
    if of_cache != of_replay {
        differences.push("the messages in the state cache differ from those in the tables".to_owned());
    }
    Ok(())
}

/// Traits by name: when each was set, and its values as text.
type TraitsByName = BTreeMap<String, (SetAt, Vec<String>)>;

fn traits_of(traits: &EncodedTraits, names: &TraitNames) -> TraitsByName {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut out: TraitsByName = BTreeMap::new();
    for one in traits.values() {
        let (_, values) = out.entry(text(names.path(one.name))).or_insert((one.at, Vec::new()));
        if !one.value.is_empty() {
            values.push(format!("{}={}", text(names.path(one.path)), text(one.value)));
        }
    }
    for (_, values) in out.values_mut() {
        values.sort();
    }
    out
}
