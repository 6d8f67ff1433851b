//! Adopted profiles count as older than live ones, even if they were adopted later, so their numbers come first.
//!
//! A replay gives the same order, because it creates adopted profiles first.

use crate::{
    identity::graph::{IdentityGraph, MappedIdentifier, ProfileId, UNKNOWN_CLOCK},
    time::timestamp::Micros,
};

/// Returns the same graph with other profile numbers. The profiles from `first_new` on were just adopted and come
/// before those from `first_live` on, which are live.
#[must_use]
pub fn adopted_first(graph: &IdentityGraph, first_live: usize, first_new: usize) -> IdentityGraph {
    let n_profiles = graph.n_profiles();
    let order = (0..first_live).chain(first_new..n_profiles).chain(first_live..first_new);
    let mut numbers: Vec<ProfileId> = vec![0; n_profiles];
    for (new, old) in (0..).zip(order.clone()) {
        numbers[old] = new;
    }
    let states: Vec<_> = graph.profile_states().collect();
    let mut reordered = IdentityGraph::default();
    for old in order.clone() {
        reordered.create(states[old].segment_id, states[old].created);
    }
    for old in order {
        let state = &states[old];
        let (profile, canonical) = (numbers[old], numbers[state.canonical as usize]);
        // A merged profile has no data of its own.
        if profile == canonical {
            reordered.record_seq(profile, state.last_seq);
            reordered.set_traits(profile, state.traits.clone());
        }
    }
    let mut merged_at: Vec<Micros> = vec![UNKNOWN_CLOCK; n_profiles];
    for (id, state) in (0..).zip(&states) {
        if state.canonical == id {
            graph.merged(id).iter().for_each(|&(merged, uuid_ts)| merged_at[merged as usize] = uuid_ts);
        }
    }
    for (old, state) in states.iter().enumerate() {
        let (profile, canonical) = (numbers[old], numbers[state.canonical as usize]);
        if profile != canonical {
            reordered.merge(profile, canonical, merged_at[old]);
        }
    }
    reordered.reserve_identifiers(graph.n_identifiers());
    for identifier in graph.mapped_identifiers() {
        let profile = numbers[identifier.profile as usize];
        reordered.map(MappedIdentifier { profile, ..identifier });
    }
    reordered
}
