//! The job `schema`: what a warehouse has to know to hold the tables of a space, and the statements that load them.
//!
//! [`read`] finds the narrowest type of every column in all committed rows, [`add_since`] compares that with an earlier
//! result, and [`script`] writes the statements of a dialect. Nothing in the space changes, and no lock is taken.

mod dialect;
mod dialects;
mod facts;
mod fixed;
mod infer;
mod json;
mod model;
mod names;
mod number;
mod read;
mod script;
mod since;
mod sql;

pub use self::{
    dialect::Dialect,
    facts::{Class, JsonType},
    json::to_json,
    model::{Column, Schema, Table},
    read::{SchemaOptions, read},
    script::{ScriptOptions, losses, script},
    since::{Changed, TableChange, add_since},
};
