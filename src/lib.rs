//! Builds Segment's Profiles Sync tables from dumps of events.
//!
//! Events are read, parsed, put in order and resolved to profiles. Changes are appended to raw tables, which are folded
//! into views. Existing tables of a team can be adopted, and two sets of tables can be compared.

pub mod bytes;
pub mod catalog;
pub mod collections;
pub mod error;
pub mod escape;
pub mod files;
pub mod glob;
pub mod names;
pub mod progress;
pub mod summary;

pub mod time;
pub mod wall_clock;

pub mod json;

pub mod config;

pub mod read;

pub mod event;
pub mod identity;
pub mod raw;
pub mod table;
pub mod view;

pub mod space;

pub mod pipeline;

pub mod jobs;

pub mod diff;
