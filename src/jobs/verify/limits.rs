//! Checks limits and caps in a replay of the raw tables.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    config::{
        self,
        rules::{Rules, Window},
    },
    error::Result,
    event::block::TypeId,
    identity::{graph::IdentityGraph, types::IdentifierTypes},
    space::manifest::Manifest,
};

/// Checks limits and caps if the rules never changed. Otherwise a profile may exceed a limit that was tightened later.
pub(super) fn check(
    graph: &IdentityGraph,
    manifest: &Manifest,
    types: &IdentifierTypes,
    differences: &mut Vec<String>,
) -> Result<()> {
    let Some(used) = &manifest.config else { return Ok(()) };
    if manifest.runs.iter().any(|run| run.config != used.digest) {
        return Ok(());
    }
    let rules = Arc::new(config::parse(&used.text, Path::new("the config in the manifest"))?);
    let names = types.names();
    for (id, profile) in (0..).zip(graph.profile_states()) {
        if profile.canonical != id {
            continue;
        }
        let segment_id = profile.segment_id;
        let (n_identifiers, n_merged) = (graph.n_identifiers_of(id), graph.merged(id).len());
        if rules.mapping_cap < n_identifiers {
            differences
                .push(format!("profile \"{segment_id}\" has {n_identifiers} identifiers, over the cap"));
        }
        if (rules.merge_cap as usize) < n_merged {
            differences
                .push(format!("profile \"{segment_id}\" has {n_merged} merged profiles, over the cap"));
        }
        let mut counts: BTreeMap<TypeId, u32> = BTreeMap::new();
        for type_id in graph.identifiers_of(id).map(|identifier| identifier.type_id) {
            *counts.entry(type_id).or_default() += 1;
        }
        for (type_id, n) in counts {
            let name = &names[type_id as usize];
            if over_limit(&rules, name, n) {
                differences.push(format!("profile \"{segment_id}\" has {n} of `{name}`, over its limit"));
            }
        }
    }
    Ok(())
}

/// Returns whether a count exceeds its limit. Sliding limits depend on the time of each event and are not checked.
fn over_limit(rules: &Rules, type_name: &str, n: u32) -> bool {
    let limit = rules.limit_of(type_name);
    limit.window == Window::Ever && limit.values < n
}
