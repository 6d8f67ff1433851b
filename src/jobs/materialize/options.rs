//! What to materialize, and where to.

use std::path::{Path, PathBuf};

/// Options of [`super::materialize`]: where the raw tables are, and which views to write where.
#[derive(Debug, Clone)]
pub struct MaterializeOptions {
    /// A space, or a folder of raw tables as a warehouse exports them.
    pub raw: PathBuf,
    /// Whether `raw` is a space. Its manifest then has the number of committed bytes of each table.
    pub space: bool,
    /// The folder to write the views to.
    pub out: PathBuf,
    /// Only these views; empty means all that the config selects.
    pub views: Vec<String>,
    /// Only rows with a `uuid_ts` up to this time, in microseconds.
    pub as_of: Option<i64>,
    /// Whether to write the other views if a raw table is missing.
    pub partial: bool,
    /// The config file, for its selective sync. The default is that in the space, else the rules of the last run.
    pub config: Option<PathBuf>,
    /// Whether to build all views from scratch, even if they could be updated.
    pub full: bool,
    /// Approximate memory for the job, in bytes. The default is half of the machine's memory, at most 4 GiB.
    pub memory: Option<u64>,
    /// The file to write the changes in the existing views to.
    pub changes: Option<PathBuf>,
    /// How many seconds to wait for another run that writes to the same space.
    pub wait: u64,
}

impl MaterializeOptions {
    /// Returns the options for all views of a space, written to the space.
    #[must_use]
    pub fn of_space(space: &Path) -> Self {
        Self { space: true, ..Self::of_export(space, space) }
    }

    /// Returns the options for all views of a folder of raw tables, written to another folder.
    #[must_use]
    pub fn of_export(raw: &Path, out: &Path) -> Self {
        Self {
            raw: raw.to_owned(),
            space: false,
            out: out.to_owned(),
            views: Vec::new(),
            as_of: None,
            partial: false,
            config: None,
            full: false,
            memory: None,
            changes: None,
            wait: 0,
        }
    }

    /// Returns whether the views go to the space that they are built from.
    pub(super) fn is_in_place(&self) -> bool {
        let same = || Some(self.raw.canonicalize().ok()? == self.out.canonicalize().ok()?);
        self.space && (self.raw == self.out || same().unwrap_or(false))
    }
}
