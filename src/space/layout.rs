//! Where things are in the folder of a space.

use std::path::{Path, PathBuf};

/// The file's name in the space.
pub const MANIFEST: &str = "manifest.json";

/// The folder in a space for the state cache and the locks.
pub const STATE_FOLDER: &str = ".state";

/// The folder in a space for files that runs need besides the tables. It is not a cache.
pub const RUN_FOLDER: &str = ".run";

/// Returns the folder of the staged files.
#[must_use]
pub fn staged_folder(space: &Path) -> PathBuf {
    space.join(RUN_FOLDER).join("staged")
}

/// Returns the staged file that small additions share. It has no extension, so it cannot have the name of a table's
/// file.
pub(super) fn shared_file(space: &Path) -> PathBuf {
    staged_folder(space).join("shared")
}
