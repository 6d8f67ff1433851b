//! The jobs on a space: each wires the modules above it together.

pub mod backfill;
pub mod ingest;
pub mod materialize;
pub mod verify;
