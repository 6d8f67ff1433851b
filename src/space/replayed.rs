//! What a run of the resolver begins with.

use crate::{
    event::duplicates::SeenMessages,
    identity::{graph::IdentityGraph, traits::TraitNames},
};

/// The state of the resolver and the accepted messages at the last commit.
#[derive(Debug, Default)]
pub struct ResolverState {
    /// Profiles, identifiers and traits.
    pub graph: IdentityGraph,
    /// The paths of all traits.
    pub trait_names: TraitNames,
    /// All messages ever accepted.
    pub accepted: SeenMessages,
}
