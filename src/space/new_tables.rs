//! The tables that a run has made and no manifest names yet: so that what is removed behind a run that did not end is its own
//! and never a file that somebody else put into the folder.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::commit::STATE;
use crate::{
    collections::Set,
    error::{Error, Result},
    files::Files,
};

/// In the state folder: a line for each of them.
const NEW_TABLES: &str = "new-tables";

/// Notes tables before their files are made.
#[derive(Debug)]
pub(super) struct NewTables {
    path: PathBuf,
    /// Bytes written.
    length: Mutex<u64>,
}

impl NewTables {
    /// Of a run that has made none.
    #[must_use]
    pub(super) fn of(folder: &Path) -> Self {
        Self { path: folder.join(STATE).join(NEW_TABLES), length: Mutex::new(0) }
    }

    /// Notes tables that are about to be made; refuses where a file of theirs is there already.
    pub(super) fn add(&self, tables: &[PathBuf], files: &Files) -> Result<()> {
        if let Some(there) = tables.iter().find(|table| table.symlink_metadata().is_ok()) {
            return Err(Error::file(there, "stands where a table of that name is to be made")
                .hint("it is no table of this space: move it out of the folder"));
        }
        let mut names = String::new();
        for table in tables {
            names.push_str(&table.file_name().unwrap_or_default().to_string_lossy());
            names.push('\n');
        }
        if names.is_empty() {
            return Ok(());
        }
        let mut length = self.length.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = files.append_after(&self.path, *length)?;
        out.write_all(names.as_bytes())?;
        out.sync()?;
        if *length == 0 {
            files.sync_folder(self.path.parent().unwrap_or(Path::new(".")))?;
        }
        *length += names.len() as u64;
        Ok(())
    }
}

/// The names of the files that a run made which did not end.
pub(super) fn left_behind(folder: &Path, files: &Files) -> Result<Set<String>> {
    let text = files.read_if_there(&folder.join(STATE).join(NEW_TABLES))?.unwrap_or_default();
    // A line without its end was not written to the end, and its table was not made.
    let whole = text.split_inclusive(|&byte| byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    Ok(whole.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

/// Behind a commit, and when those left behind are removed, there are none.
pub(super) fn forget(folder: &Path, files: &Files) {
    // Those it names stand in the manifest now or are gone: where it stays it does no harm but to a file of such a name.
    let _ = files.remove_file(&folder.join(STATE).join(NEW_TABLES));
}
