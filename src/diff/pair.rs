//! Tables of the two sides that have one name.

use super::sides::TableFiles;

/// A table that is on one side or both.
#[derive(Debug)]
pub struct TablePair<'a> {
    /// The name of the table.
    pub name: String,
    /// Whether the sides are two files, and not two folders.
    pub alone: bool,
    /// Its files on each side.
    pub sides: [Option<&'a TableFiles>; 2],
}

impl TablePair<'_> {
    /// Returns the number of bytes to read.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.sides.into_iter().flatten().flatten().map(|file| file.bytes).sum()
    }
}
