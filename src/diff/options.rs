//! What to compare, and what to report.

use std::path::PathBuf;

/// What to compare, and what to report.
#[derive(Debug, Clone)]
pub struct DiffOptions {
    /// The old side: a table file, or a folder of tables.
    pub old: PathBuf,
    /// The new side: a file if the old side is one, else a folder.
    pub new: PathBuf,
    /// The key columns of tables whose key is not known.
    pub key: Vec<String>,
    /// Only tables that match one of these globs; empty means all.
    pub tables: Vec<String>,
    /// Globs for columns to ignore.
    pub ignore_columns: Vec<String>,
    /// How to compare generated segment ids.
    pub ids: IdMode,
    /// The number of examples of each kind to keep.
    pub limit: usize,
    /// The number of changes of each kind and table to write; 0 if only the result is wanted.
    pub every: u64,
    /// Approximate memory for tables that are not in order, in bytes. The default is 256 MiB.
    pub memory: Option<u64>,
    /// How to split tables for several threads.
    pub sizes: Sizes,
}

/// How to split tables for several threads. The result does not depend on it, so tests can use small sizes.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Pairs of tables with more bytes are split.
    pub large: u64,
    /// The approximate size of a partition on one side, in bytes.
    pub piece: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { large: 16 << 20, piece: 4 << 20 }
    }
}

impl DiffOptions {
    pub(super) fn memory(&self) -> u64 {
        self.memory.unwrap_or(256 << 20)
    }
}

/// How to compare generated segment ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdMode {
    /// Like any other value.
    Exact,
    /// After mapping old ids to the new ids of the same profiles.
    Renamed,
}
