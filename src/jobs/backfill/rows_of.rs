//! The rows of a snapshot that state the same fact. Both tables of a pair do, and a conflict is recorded for each such
//! row.

use std::iter::successors;

use super::conflicts::SnapshotRowPosition;

/// The rows that state one fact: the first one, and a link to the others.
#[derive(Debug, Clone, Copy)]
pub struct FactRows {
    first: SnapshotRowPosition,
    /// An index in [`RepeatedRows`].
    other: Option<u32>,
}

/// Further rows that state a known fact, as linked lists.
#[derive(Debug, Default)]
pub struct RepeatedRows {
    /// Each row, with the index of the previous one of the same fact.
    rows: Vec<(SnapshotRowPosition, Option<u32>)>,
}

impl FactRows {
    /// Starts a list with a row that states a new fact.
    #[must_use]
    pub fn new(first: SnapshotRowPosition) -> Self {
        Self { first, other: None }
    }

    /// Returns the first row.
    #[must_use]
    pub fn first(self) -> SnapshotRowPosition {
        self.first
    }
}

impl RepeatedRows {
    /// Adds a row to a list.
    pub fn add(&mut self, to: &mut FactRows, row: SnapshotRowPosition) {
        let number = u32::try_from(self.rows.len()).expect("fewer than 2^32 rows");
        self.rows.push((row, to.other.replace(number)));
    }

    /// Adds all rows of a second list.
    pub fn join(&mut self, to: &mut FactRows, second: FactRows) {
        for row in self.all(second).collect::<Vec<_>>() {
            self.add(to, row);
        }
    }

    /// Returns all rows of a list, in no particular order.
    pub fn all(&self, rows: FactRows) -> impl Iterator<Item = SnapshotRowPosition> {
        let other = |number: Option<u32>| number.map(|number| self.rows[number as usize]);
        let others = successors(other(rows.other), move |(_, before)| other(*before));
        std::iter::once(rows.first).chain(others.map(|(row, _)| row))
    }
}
