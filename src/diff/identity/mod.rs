//! Finds out what happened to profiles, from the identifiers that belong to them on both sides.
//!
//! A profile is its set of identifiers. Both sides are read as pairs of an identifier and a canonical segment id. The
//! number of identifiers that each old profile shares with each new one is enough to tell which profiles are the same,
//! which merged, which split, and which identifiers moved.

pub mod collector;
pub mod compare;
pub mod events;
pub mod load;
pub mod names;
pub mod overlap;
pub mod profile_changes;
