//! Builds Segment's Profiles Sync tables from dumps of events.
//!
//! Events are read, parsed, put in order and resolved to profiles. Changes are appended to raw tables, which are folded
//! into views. Existing tables of a team can be adopted, two sets of tables can be compared, and
//! the tables can be loaded into a warehouse.

// Each module uses those above it and none below it.

pub mod bytes;
pub mod collections;
pub mod escape;

pub mod error;
pub mod glob;
pub mod memory;
pub mod progress;

pub mod files;

pub mod catalog;
pub mod names;

pub mod time;
pub mod wall_clock;

pub mod json;

pub mod event;
pub mod read;

pub mod config;

pub mod table;

pub mod identity;
pub mod raw;

pub mod summary;

pub mod view;

pub mod space;

pub mod pipeline;

pub mod jobs;

pub mod diff;
pub mod explain;
pub mod schema;
