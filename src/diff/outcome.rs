//! The result for the rows of a table: counts, examples, and all changes if they are wanted.

use crate::{
    collections::{Map, Set},
    error::{Error, Result},
};

use super::{identity::collector::Collected, rows::TablePosition};

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKind {
    /// It is only in the old table.
    Removed,
    /// It is only in the new table.
    Added,
    /// It is in both, with different values.
    Changed,
}

impl RowKind {
    /// All kinds, in the order of reports.
    pub const ALL: [Self; 3] = [Self::Added, Self::Removed, Self::Changed];

    /// Returns the word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Added => "added",
            Self::Changed => "changed",
        }
    }
}

/// A column with its old and new value as JSON; `None` if it is null or absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The name of the column.
    pub name: String,
    /// The old value.
    pub old: Option<String>,
    /// The new value.
    pub new: Option<String>,
}

/// A row that was added or removed, or the columns of one that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// What happened.
    pub kind: RowKind,
    /// The key as bytes to sort by.
    pub sort_key: Vec<u8>,
    /// The key columns with their values as JSON.
    pub key: Vec<(String, String)>,
    /// The columns that changed; all columns of a row that was added or removed.
    pub cells: Vec<Cell>,
}

/// A line that is not a row.
#[derive(Debug, Clone)]
pub struct MalformedLine {
    /// The side it is on.
    pub side: usize,
    /// The hash of its bytes.
    pub hash: u128,
    /// Where it begins.
    pub place: TablePosition,
    /// What is wrong with it.
    pub message: &'static str,
    /// Whether its line end is missing too.
    pub unfinished: bool,
}

/// With more malformed lines than this, the comparison fails.
const MAX_ODD_LINES: usize = 10_000;

/// The result for the rows of a table or a partition.
#[derive(Debug, Default)]
pub struct RowsOutcome {
    /// The number of rows that are the same on both sides.
    pub same: u64,
    /// The number of rows that differ, in the order of [`RowKind`].
    pub counts: [u64; 3],
    /// The number of changed rows in which each column changed.
    pub columns: Map<Box<[u8]>, u64>,
    /// For each side, columns of differing rows that are not null there.
    pub seen: [Set<Box<[u8]>>; 2],
    /// The first changes of each kind, by key.
    pub examples: Vec<RowChange>,
    /// The number of keys that occur more than once, on each side.
    pub duplicate_keys: [u64; 2],
    /// The malformed lines.
    pub malformed_lines: Vec<MalformedLine>,
    /// All changes as records of key and line, if they are wanted.
    pub records: Vec<u8>,
    /// What was collected for the comparison of profiles.
    pub collected: Option<Collected>,
}

impl RowsOutcome {
    /// Returns the number of rows of a kind.
    #[must_use]
    pub fn count(&self, kind: RowKind) -> u64 {
        self.counts[kind as usize]
    }

    /// Adds the result of the next partition, except its records.
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
        match (&mut self.collected, part.collected) {
            (Some(watched), Some(more)) => watched.add(more),
            (None, more) => self.collected = more,
            _ => {}
        }
        self.malformed_lines.extend(part.malformed_lines);
        if MAX_ODD_LINES < self.malformed_lines.len() {
            return Err(Error::Refused("more than 10000 lines are not JSON objects".to_owned()).hint(
                "give tables as NDJSON, one object per line, or as CSV with a name that ends in .csv",
            ));
        }
        Ok(())
    }
}
