//! Identity resolution: identifiers, the graph of profiles, and the resolver that extends it.

pub mod account;
pub mod extract;
pub mod graph;
pub mod packed_traits;
pub mod resolver;
pub mod segment_id;
pub mod traits;
pub mod types;
