//! What a run of the resolver begins with.

use crate::{
    event::duplicates::Accepted,
    identity::{graph::Graph, traits::TraitNames},
};

/// The state of the resolver and the accepted messages at the last commit.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Profiles, identifiers and traits.
    pub graph: Graph,
    /// The paths of all traits.
    pub trait_names: TraitNames,
    /// All messages ever accepted.
    pub accepted: Accepted,
}
