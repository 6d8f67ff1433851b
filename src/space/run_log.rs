//! `.run/runs.ndjson`: one line for each run on the space, including failed ones. It is a log for people and
//! monitoring; no job reads it.

use std::{fs, path::Path};

use super::layout::{MANIFEST, RUN_FOLDER, STATE_FOLDER};
use crate::{
    error::{Error, Result},
    files::Files,
};

/// The log's file name in `.run`.
pub const RUNS: &str = "runs.ndjson";

/// Appends one line, including its line end, in a single write. Does nothing if the folder is not a space. Takes no
/// lock, because a run that could not get the lock is logged, too.
pub fn append(space: &Path, line: &[u8], files: &Files) -> Result<()> {
    if ![MANIFEST, STATE_FOLDER, RUN_FOLDER].iter().any(|name| space.join(name).exists()) {
        return Ok(());
    }
    let folder = space.join(RUN_FOLDER);
    refuse_link(&folder)?;
    files.create_folder(&folder)?;
    let path = folder.join(RUNS);
    refuse_link(&path)?;
    files.append_line(&path, line)
}

/// Fails if the path is a symbolic link, which could lead outside the space.
fn refuse_link(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        return Err(Error::file(path, "is a symbolic link")
            .hint("remove it, so that the run log is written inside the space"));
    }
    Ok(())
}
