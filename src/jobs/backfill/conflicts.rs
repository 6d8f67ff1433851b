//! The table `backfill_conflicts`: snapshot rows that were not adopted because they contradict the space or other rows.
//!
//! Grain: one row of a snapshot that was not adopted, or one value of it. Key: the whole row. It therefore holds no
//! clock of the run, so a second backfill of the snapshot adds no conflict twice. Order: that of the snapshot.

use std::collections::BTreeMap;

use crate::{
    collections::{Set, key_of},
    error::{Error, Result},
    files::Files,
    json::push_string,
    read::lines::lines,
    space::{manifest::Manifest, tables::committed_file},
    table::{reread::RowPosition, source::TableSource, to_usize},
};

/// The name of the table.
pub const TABLE: &str = crate::catalog::BACKFILL_CONFLICTS;

/// Why a row was not adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConflictReason {
    /// The identifier belongs to another profile.
    IdentifierElsewhere,
    /// The segment id belongs to another profile.
    SegmentElsewhere,
    /// The segment id is taken: the space has a profile with this id and none of the snapshot's identifiers.
    SegmentIdTaken,
    /// The space has another value of the trait, or it was removed there.
    TraitDiffers,
    /// Another row of the snapshot is newer, or equally old with a greater value. This is not a conflict.
    OlderRow,
    /// A column of the row's key is missing.
    RowWithoutKey,
    /// The name of the trait has no letters or digits.
    TraitWithoutName,
}

impl ConflictReason {
    /// Returns the value of the column `reason`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::IdentifierElsewhere => "identifier_elsewhere",
            Self::SegmentElsewhere => "segment_elsewhere",
            Self::SegmentIdTaken => "segment_id_taken",
            Self::TraitDiffers => "trait_differs",
            Self::OlderRow => "older_row",
            Self::RowWithoutKey => "row_without_key",
            Self::TraitWithoutName => "trait_without_name",
        }
    }
}

impl Conflict {
    /// Returns whether this is an error under `--strict`. An older row is none, because a snapshot may well have
    /// several rows of different ages for one fact.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.reason != ConflictReason::OlderRow
    }
}

/// The position of a snapshot row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotRowPosition {
    /// The index of its table in [`TABLES`](super::state::TABLES).
    pub table: u8,
    /// Its position in the files of all tables, which are numbered together.
    pub place: RowPosition,
}

/// A snapshot row, or a trait in a row of `profile_traits`, that was not adopted.
#[derive(Debug, Clone)]
pub struct Conflict {
    /// The row.
    pub row: SnapshotRowPosition,
    /// Why it was not adopted.
    pub reason: ConflictReason,
    /// A description of the contradiction, for people.
    pub detail: String,
}

/// At most this many bytes of a row are copied to the table.
const KEPT_TEXT: usize = 64 * 1024;
/// At most this many conflicts are listed in an error.
const NAMED: usize = 3;

/// Renders conflicts as rows of the table, in the given order. Leaves out repeated rows and those in `known`.
pub fn render(
    conflicts: &[Conflict],
    tables: &[&'static str],
    sources: &[TableSource],
    known: &Set<u128>,
) -> Result<Vec<Vec<u8>>> {
    let mut rows = Vec::new();
    let mut new = Set::default();
    for conflict in conflicts {
        let place = conflict.row.place;
        let mut text = vec![0; (place.length as usize).min(KEPT_TEXT)];
        sources[place.source as usize].read_at(&mut text, place.offset)?;
        let mut row = Vec::new();
        row.extend_from_slice(b"{\"table\":");
        push_string(&mut row, tables[conflict.row.table as usize].as_bytes());
        row.extend_from_slice(b",\"reason\":");
        push_string(&mut row, conflict.reason.word().as_bytes());
        row.extend_from_slice(b",\"detail\":");
        push_string(&mut row, conflict.detail.as_bytes());
        row.extend_from_slice(b",\"text\":");
        // A cut may fall inside a character.
        push_string(&mut row, String::from_utf8_lossy(&text).as_bytes());
        row.extend_from_slice(b"}\n");
        let key = key_of(&row);
        if !known.contains(&key) && new.insert(key) {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Returns the keys of the rows that are already in the table of a space.
pub fn known(folder: &std::path::Path, manifest: &Manifest, files: &Files) -> Result<Set<u128>> {
    let Some(committed) = manifest.tables.get(TABLE) else { return Ok(Set::default()) };
    let source = TableSource::open(&committed_file(folder, TABLE, committed), files)?;
    let mut bytes = vec![0; to_usize(source.length())];
    source.read_at(&mut bytes, 0)?;
    Ok(lines(&bytes).map(|line| key_of(&[&bytes[line], b"\n"].concat())).collect())
}

/// Sorts conflicts in the order of the snapshot.
pub fn sort(conflicts: &mut [Conflict]) {
    conflicts.sort_by(|a, b| (a.row, a.reason, &a.detail).cmp(&(b.row, b.reason, &b.detail)));
}

/// Counts conflicts by reason, without older rows.
#[must_use]
pub fn counts(conflicts: &[Conflict]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for conflict in conflicts.iter().filter(|conflict| conflict.is_error()) {
        *counts.entry(conflict.reason.word().to_owned()).or_default() += 1;
    }
    counts
}

/// Returns the error for conflicts under `--strict`.
#[must_use]
pub fn strict_error(conflicts: &[Conflict]) -> Error {
    let conflicts: Vec<&Conflict> = conflicts.iter().filter(|conflict| conflict.is_error()).collect();
    let named: Vec<&str> = conflicts.iter().take(NAMED).map(|conflict| conflict.detail.as_str()).collect();
    let more = conflicts.len().saturating_sub(NAMED);
    let more = if 0 < more { format!("; and {more} more") } else { String::new() };
    let plural = if conflicts.len() == 1 { "" } else { "s" };
    Error::Refused(format!("{} conflict{plural}: {}{more}", conflicts.len(), named.join("; ")))
        .hint("fix the snapshot, or run without --strict to record them in `backfill_conflicts.ndjson`")
}
