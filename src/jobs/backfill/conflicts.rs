//! The table `backfill_conflicts`: rows of a current state that say something else than what is known, set aside.
//!
//! Grain: one row of a state that was not taken in, or one value of it. Key: the whole row, which therefore holds no clock of
//! the run: a state that is backfilled again sets nothing aside a second time. Order: of the state.

use std::collections::BTreeMap;

use crate::{
    collections::{Set, key_of},
    error::{Error, Result},
    files::Files,
    json::push_string,
    read::lines::lines,
    space::{manifest::Manifest, tables::part_of},
    table::{
        reread::Place,
        source::{Source, as_size},
    },
};

/// The table's name.
pub const TABLE: &str = crate::catalog::BACKFILL_CONFLICTS;

/// Why a row is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The identifier belongs to another profile.
    IdentifierElsewhere,
    /// The segment id is part of another profile.
    SegmentElsewhere,
    /// The segment id is that of a profile of which the state knows no identifier: somebody else's.
    SegmentIdTaken,
    /// The trait has another value, or was removed.
    TraitDiffers,
    /// Another row of the state is newer, or as old with a greater value. Not a conflict.
    OlderRow,
    /// The row lacks a column of its key.
    RowWithoutKey,
    /// The name of the trait has no letters or digits.
    TraitWithoutName,
}

impl Reason {
    /// The word in the column `reason`.
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
    /// Whether `--strict` refuses it. A state may have older rows of what it has newer ones of.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.reason != Reason::OlderRow
    }
}

/// A row of the state, by its table and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowOf {
    /// The table's place among those of the state.
    pub table: u8,
    /// Where it is; its source counts from the first of all tables.
    pub place: Place,
}

/// A row that is set aside, or of `profile_traits` one trait of it.
#[derive(Debug, Clone)]
pub struct Conflict {
    /// Which row.
    pub row: RowOf,
    /// Why.
    pub reason: Reason,
    /// What is known instead, for a person.
    pub detail: String,
}

/// So much of a row is kept.
const KEPT_TEXT: usize = 64 * 1024;
/// So many conflicts are named in an error.
const NAMED: usize = 3;

/// Rows of the table, rendered in the order of the state; those that stand there already are left out.
pub fn render(
    conflicts: &[Conflict],
    tables: &[&'static str],
    sources: &[Source],
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

/// The rows that the table of a space has.
pub fn known(folder: &std::path::Path, manifest: &Manifest, files: &Files) -> Result<Set<u128>> {
    let Some(committed) = manifest.tables.get(TABLE) else { return Ok(Set::default()) };
    let source = Source::open(&part_of(folder, TABLE, committed), files)?;
    let mut bytes = vec![0; as_size(source.length())];
    source.read_at(&mut bytes, 0)?;
    Ok(lines(&bytes).map(|line| key_of(&[&bytes[line], b"\n"].concat())).collect())
}

/// Puts conflicts in the order of the state.
pub fn sort(conflicts: &mut [Conflict]) {
    conflicts.sort_by(|a, b| (a.row, a.reason, &a.detail).cmp(&(b.row, b.reason, &b.detail)));
}

/// Counts conflicts by reason, without older rows of the state.
#[must_use]
pub fn counts(conflicts: &[Conflict]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for conflict in conflicts.iter().filter(|conflict| conflict.is_error()) {
        *counts.entry(conflict.reason.word().to_owned()).or_default() += 1;
    }
    counts
}

/// The error that conflicts are under `--strict`.
#[must_use]
pub fn refusal(conflicts: &[Conflict]) -> Error {
    let conflicts: Vec<&Conflict> = conflicts.iter().filter(|conflict| conflict.is_error()).collect();
    let named: Vec<&str> = conflicts.iter().take(NAMED).map(|conflict| conflict.detail.as_str()).collect();
    let more = conflicts.len().saturating_sub(NAMED);
    let more = if 0 < more { format!("; and {more} more") } else { String::new() };
    let plural = if conflicts.len() == 1 { "" } else { "s" };
    Error::Refused(format!("{} conflict{plural}: {}{more}", conflicts.len(), named.join("; "))).hint(
        "correct the state, or run without --strict to have them set aside in `backfill_conflicts.ndjson`",
    )
}
