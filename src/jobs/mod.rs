//! The jobs on a space, each built from the other modules.

pub mod backfill;
pub mod ingest;
pub mod materialize;
pub mod verify;
