//! What became of the rows of a table: numbers, examples, and where all changes are asked for, all changes.

use crate::{
    collections::{Map, Set},
    error::{Error, Result},
};

use super::{identity::watch::Watched, rows::Place};

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKind {
    /// It stands in the old table only.
    Removed,
    /// It stands in the new table only.
    Added,
    /// It stands in both, with other values.
    Changed,
}

impl RowKind {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 3] = [Self::Added, Self::Removed, Self::Changed];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Added => "added",
            Self::Changed => "changed",
        }
    }
}

/// A column with its old and its new value as JSON; `None` where it is null or absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The column.
    pub name: String,
    /// Before.
    pub old: Option<String>,
    /// After.
    pub new: Option<String>,
}

/// A row that was added or removed, or the columns of one that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// What happened.
    pub kind: RowKind,
    /// Sorts as the key does.
    pub sort_key: Vec<u8>,
    /// The columns of the key with their values as JSON.
    pub key: Vec<(String, String)>,
    /// What changed; of a row that was added or removed, all its columns.
    pub cells: Vec<Cell>,
}

/// The two sides, as indices.
pub const OLD: usize = 0;
/// The two sides, as indices.
pub const NEW: usize = 1;

/// A line that is no row.
#[derive(Debug, Clone)]
pub struct OddLine {
    /// On which side.
    pub side: usize,
    /// Of its bytes.
    pub hash: u128,
    /// Where it begins.
    pub place: Place,
    /// What is wrong with it.
    pub message: &'static str,
    /// Whether its end is missing too.
    pub unfinished: bool,
}

/// More lines that are no rows than anyone would want to read about.
const MAX_ODD_LINES: usize = 10_000;

/// What became of the rows of a table, or of a part of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rows that are the same on both sides.
    pub same: u64,
    /// Rows that are not, in the order of [`RowKind`].
    pub counts: [u64; 3],
    /// In how many changed rows each column changed.
    pub columns: Map<Box<[u8]>, u64>,
    /// Columns of rows that differ, which are not null on one side.
    pub seen: [Set<Box<[u8]>>; 2],
    /// The first changes of each kind, by key.
    pub examples: Vec<RowChange>,
    /// Keys that stand more than once, on each side.
    pub duplicate_keys: [u64; 2],
    /// Lines that are no rows.
    pub odd_lines: Vec<OddLine>,
    /// All changes as records of key and line, where they are asked for.
    pub records: Vec<u8>,
    /// What was taken down for the comparison of profiles.
    pub watched: Option<Watched>,
}

impl Outcome {
    /// How many rows had this happen to them.
    #[must_use]
    pub fn count(&self, kind: RowKind) -> u64 {
        self.counts[kind as usize]
    }

    /// Adds what became of the part of the table that comes next; its records stay with the caller.
    pub fn add(&mut self, part: Self, limit: usize) -> Result<()> {
        self.same += part.same;
        for (sum, more) in self.counts.iter_mut().zip(part.counts) {
            *sum += more;
        }
        for (column, count) in part.columns {
            *self.columns.entry(column).or_default() += count;
        }
        for (seen, more) in self.seen.iter_mut().zip(part.seen) {
            seen.extend(more);
        }
        for (sum, more) in self.duplicate_keys.iter_mut().zip(part.duplicate_keys) {
            *sum += more;
        }
        for example in part.examples {
            if self.examples.iter().filter(|known| known.kind == example.kind).count() < limit {
                self.examples.push(example);
            }
        }
        match (&mut self.watched, part.watched) {
            (Some(watched), Some(more)) => watched.add(more),
            (None, more) => self.watched = more,
            _ => {}
        }
        self.odd_lines.extend(part.odd_lines);
        if MAX_ODD_LINES < self.odd_lines.len() {
            return Err(Error::Refused("more than 10000 lines are no JSON objects".to_owned())
                .hint("give tables as NDJSON, one object a line, or as CSV with a name that ends in .csv"));
        }
        Ok(())
    }
}
