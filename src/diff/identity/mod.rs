//! What happened to profiles: who belongs to whom on both sides.
//!
//! A profile is its set of identifiers. Both sides are read as pairs of identifier and canonical segment id; counting how
//! many identifiers each old profile shares with each new one tells everything else: which profiles are the same, which
//! merged, which split, which identifiers moved.

pub mod compare;
pub mod events;
pub mod load;
pub mod names;
pub mod shares;
pub mod stories;
pub mod watch;
