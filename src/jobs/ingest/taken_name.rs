//! Refuses a space in which an event has the table that `ingest` writes itself.
//!
//! Earlier versions of the program did not write `identity_links`, so the table of an event could get this name.

use crate::{
    config::rules::Rules,
    error::{Error, Result},
    files::Files,
    raw::identity_links,
    space::{commit::Space, tables::committed_file},
    table::head::holds_events,
};

/// Refuses to append links to the rows of an event.
pub(super) fn refuse_taken_name(space: &Space, rules: &Rules, files: &Files) -> Result<()> {
    let name = identity_links::TABLE;
    let committed = space.manifest.tables.get(name).filter(|table| 0 < table.rows && rules.tables.has(name));
    let Some(committed) = committed else { return Ok(()) };
    let part = committed_file(space.folder(), name, committed);
    if !holds_events(std::slice::from_ref(&part), files)? {
        return Ok(());
    }
    let why = format!("it holds the rows of an event, but `{name}` is now a table that every run writes");
    Err(Error::file(&part.path, why).hint(format!(
        "leave the new table out with `sync.exclude_tables = [\"{name}\"]` in the config: the table of the event stays, and \
         new rows go to `_{name}`; or ingest all dumps into a new space with `--space DIR`"
    )))
}
