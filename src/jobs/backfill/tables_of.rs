//! The tables of an export that are adopted: the three raw profile tables, the reports about identifiers, and tables that
//! are recognized as event tables.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use crate::{
    catalog,
    error::{Error, Result},
    event::Call,
    files::Files,
    raw::{
        external_id_mapping_updates, id_graph_updates, identity_links, identity_violations,
        profile_traits_updates,
    },
    read::digest::PIECE,
    space::{
        manifest::{Manifest, RunInput},
        tables::committed_file,
    },
    table::{
        blocks::SharedProgress,
        find::{RawTable, RawTableFile, table_files, table_names, unread_files},
        head::{first_row, holds_events},
        row::RowReader,
        source::TableSource,
        to_usize,
    },
    view::RAW_TABLES,
};

/// The tables in a folder.
#[derive(Debug, Default)]
pub struct Export {
    /// The tables to adopt, by name.
    pub tables: Vec<(String, Vec<RawTableFile>)>,
    /// The raw profile tables among them; a missing one is listed without files.
    pub raw: Vec<RawTable>,
    /// What is lost with each missing table, by its name.
    pub missing: BTreeMap<String, String>,
    /// Tables that are not adopted.
    pub not_adopted: Vec<String>,
}

impl Export {
    /// Lists the tables in a folder. In a space, only committed rows count.
    pub fn find(folder: &Path, files: &Files) -> Result<Self> {
        let mut export = Self::default();
        let manifest = Manifest::read(folder, files)?;
        let found = |name: &str| -> Result<Option<Vec<RawTableFile>>> {
            match &manifest {
                Some(manifest) => Ok(manifest.tables.get(name).map(|table| {
                    if 0 < table.bytes { vec![committed_file(folder, name, table)] } else { Vec::new() }
                })),
                None => table_files(folder, name),
            }
        };
        for name in RAW_TABLES {
            let parts = found(name)?;
            if parts.is_none() {
                export.missing.insert(name.to_owned(), loss_without(name).to_owned());
            }
            export.raw.push(RawTable { name, files: parts.clone().unwrap_or_default() });
            export.tables.push((name.to_owned(), parts.unwrap_or_default()));
        }
        if export.missing.contains_key(external_id_mapping_updates::TABLE) {
            let error =
                "`external_id_mapping_updates` is missing, and without it no event would find a profile";
            return Err(Error::file(folder, error).hint(
                "a raw table is `TABLE.ndjson`, `.json` or `.jsonl`, also with `.gz` or `.zst`, or a folder `TABLE`",
            ));
        }
        let names = if let Some(manifest) = &manifest {
            manifest.tables.keys().cloned().collect()
        } else {
            // This fails if the table of a call is there only in a form that cannot be read.
            for call in Call::ALL {
                found(call.table())?;
            }
            export.not_adopted.extend(unread_files(folder)?);
            table_names(folder)?
        };
        for name in names.into_iter().filter(|name| !RAW_TABLES.contains(&name.as_str())) {
            let parts = found(&name)?.unwrap_or_default();
            if is_report(&name, &parts, files)? || is_of_events(&name, &parts, files)? {
                export.tables.push((name, parts));
            } else {
                export.not_adopted.push(name);
            }
        }
        Ok(export)
    }
}

/// The tables in which an ingest reports its decisions about identifiers.
const REPORTS: [&str; 2] = [identity_violations::TABLE, identity_links::TABLE];

/// Whether a table is one of [`REPORTS`], and not that of an event with the same name.
fn is_report(name: &str, parts: &[RawTableFile], files: &Files) -> Result<bool> {
    Ok(REPORTS.contains(&name) && !holds_events(parts, files)?)
}

/// Returns whether a table holds events. The table of a call is known by its name, that of a track event by its column
/// `event`.
fn is_of_events(name: &str, parts: &[RawTableFile], files: &Files) -> Result<bool> {
    if Call::ALL.into_iter().any(|call| call.table() == name) {
        return Ok(true);
    }
    if catalog::is_built_in(name) {
        return Ok(false);
    }
    let mut reader = RowReader::for_events(["event", "event_text"]);
    let Some(line) = first_row(parts, files)? else { return Ok(false) };
    let row = reader.read(&line, false);
    let event = row.ok().and_then(|row| row.text(0).ok().flatten().map(Cow::into_owned));
    Ok(event.is_some_and(|event| event.eq_ignore_ascii_case(name.as_bytes())))
}

fn loss_without(table: &str) -> &'static str {
    match table {
        id_graph_updates::TABLE => "merged segment ids are separate profiles",
        profile_traits_updates::TABLE => "there are no traits",
        _ => "no event would find a profile",
    }
}

/// Adds a file to a digest and returns its length in bytes. An adopted table is recognized by its digest, so the hash
/// must resist deliberate collisions.
pub fn digest_file(
    digest: &mut blake3::Hasher,
    source: &TableSource,
    meter: &SharedProgress<'_>,
) -> Result<u64> {
    let mut offset = 0;
    while offset < source.length() {
        let mut piece = vec![0; to_usize((source.length() - offset).min(PIECE))];
        source.read_at(&mut piece, offset)?;
        digest.update(&piece);
        offset += piece.len() as u64;
        meter.advance(piece.len() as u64)?;
    }
    Ok(offset)
}

/// Returns the entry of a table in the inputs of a run.
#[must_use]
pub fn input(table: &str, digest: &blake3::Hasher, bytes: u64) -> RunInput {
    let digest = digest.finalize().to_hex().to_string();
    RunInput { name: table.to_owned(), digest, source: None, bytes, lines: 0 }
}
