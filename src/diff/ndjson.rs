//! All changes, one JSON object per line. `docs/diff.md` has the schema.
//!
//! The changes of rows are written during the comparison. This module writes the other changes of a table, and what
//! happened to profiles.

use std::{io::Write, path::Path};

use serde_json::{Value, json};

use super::{
    identity::{
        compare::{IdentityResult, ProfileChangeSummary},
        profile_changes::ProfileChangeKind,
    },
    sides::{NEW, OLD},
    tables::TableResult,
};
use crate::error::{Error, Result};

/// Returns the word for a kind of profile change.
#[must_use]
pub fn story(kind: ProfileChangeKind) -> &'static str {
    match kind {
        ProfileChangeKind::Merged => "merged",
        ProfileChangeKind::Split => "split",
        ProfileChangeKind::Changed => "changed",
    }
}

/// Returns the word for a side.
#[must_use]
pub fn side(side: usize) -> &'static str {
    if side == OLD { "old" } else { "new" }
}

/// Writes the changes of a table other than those of its rows.
pub fn write_table(table: &TableResult, out: &mut dyn Write) -> Result<()> {
    let name = &table.name;
    match table.there {
        [true, false] => line(out, &json!({"change": "table_removed", "table": name}))?,
        [false, true] => line(out, &json!({"change": "table_added", "table": name}))?,
        _ => {}
    }
    for (at, change) in [(OLD, "column_removed"), (NEW, "column_added")] {
        for column in &table.columns[at] {
            line(out, &json!({"change": change, "table": name, "column": column}))?;
        }
    }
    for at in [OLD, NEW] {
        let keys = table.outcome.duplicate_keys[at];
        if 0 < keys {
            line(out, &json!({"change": "duplicate_keys", "table": name, "side": side(at), "keys": keys}))?;
        }
    }
    for odd in &table.malformed_lines {
        line(
            out,
            &json!({
                "change": "unreadable_line",
                "table": name,
                "side": side(odd.side),
                "file": odd.file,
                "line": odd.line,
                "message": odd.message,
            }),
        )?;
    }
    Ok(())
}

/// Writes what happened to profiles.
pub fn write_identity(identity: &IdentityResult, out: &mut dyn Write) -> Result<()> {
    for told in &identity.stories {
        line(out, &told_as_json(told))?;
    }
    for (change, ids) in
        [("profile_created", &identity.created_ids), ("profile_vanished", &identity.vanished_ids)]
    {
        for id in ids {
            line(out, &json!({"change": change, "profile": id}))?;
        }
    }
    for moved in &identity.moves {
        line(
            out,
            &json!({
                "change": "identifier_moved",
                "type": moved.identifier.type_name,
                "value": moved.identifier.value,
                "old": moved.from,
                "new": moved.to,
            }),
        )?;
    }
    Ok(())
}

/// Returns a profile change as a JSON object.
#[must_use]
pub fn told_as_json(told: &ProfileChangeSummary) -> Value {
    json!({
        "change": format!("profile_{}", story(told.kind)),
        "old": told.old,
        "new": told.new,
        "identifiers": told.identifiers,
    })
}

fn line(out: &mut dyn Write, value: &Value) -> Result<()> {
    writeln!(out, "{value}").map_err(|e| Error::io("write to", Path::new("the standard output"), e))
}
