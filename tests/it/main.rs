//! All integration tests, in one binary: a second binary would add a minute of linking.

#![expect(clippy::unwrap_used, reason = "a panic fails the test, as it should")]

mod agreement;
mod backfill;
mod broken_nights;
mod cli;
mod cliff;
mod completion;
mod config;
mod cron;
mod diff;
mod documents;
mod duckdb;
mod escapes;
mod explain;
mod failures;
mod faults;
mod floods;
mod golden;
mod inputs;
mod invariants;
mod keys;
mod layout;
mod line_ends;
mod links;
mod little_memory;
mod machines;
mod materialize;
mod nights;
mod packed;
mod pinned;
mod properties;
mod random;
mod rejects;
mod resolver;
mod sample;
mod scanner;
mod schema;
mod shell_blocks;
mod stages;
mod support;
mod tables_page;
mod twin;
mod verify;
mod views;

#[path = "../generate/dump.rs"]
mod dump;
