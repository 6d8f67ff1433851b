//! The rows of a state that say the same thing. Both tables of a pair do, and where it is set aside all of them are.

use std::iter::successors;

use super::conflicts::RowOf;

/// The rows that say one thing: the first one, and a way to the others.
#[derive(Debug, Clone, Copy)]
pub struct RowsOf {
    first: RowOf,
    /// A number in [`OtherRows`].
    other: Option<u32>,
}

/// The rows that say what another one has said before.
#[derive(Debug, Default)]
pub struct OtherRows {
    /// Each with the one before it that says the same.
    rows: Vec<(RowOf, Option<u32>)>,
}

impl RowsOf {
    /// A row that says something new.
    #[must_use]
    pub fn new(first: RowOf) -> Self {
        Self { first, other: None }
    }

    /// Returns the first one.
    #[must_use]
    pub fn first(self) -> RowOf {
        self.first
    }
}

impl OtherRows {
    /// One more row that says a thing.
    pub fn add(&mut self, to: &mut RowsOf, row: RowOf) {
        let number = u32::try_from(self.rows.len()).expect("fewer than 2^32 rows");
        self.rows.push((row, to.other.replace(number)));
    }

    /// Adds all rows of a second list.
    pub fn join(&mut self, to: &mut RowsOf, second: RowsOf) {
        for row in self.all(second).collect::<Vec<_>>() {
            self.add(to, row);
        }
    }

    /// All rows that say a thing, in no order.
    pub fn all(&self, rows: RowsOf) -> impl Iterator<Item = RowOf> {
        let other = |number: Option<u32>| number.map(|number| self.rows[number as usize]);
        let others = successors(other(rows.other), move |(_, before)| other(*before));
        std::iter::once(rows.first).chain(others.map(|(row, _)| row))
    }
}
