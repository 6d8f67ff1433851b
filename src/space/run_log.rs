//! `.run/runs.ndjson`: one line for each run into the space, also for those that failed. It is a log, read by people and
//! monitoring; no job reads it.

use std::{fs, path::Path};

use super::{commit::STATE, manifest::MANIFEST, place::RUN};
use crate::{
    error::{Error, Result},
    files::Files,
};

/// The log's name in that folder.
pub const RUNS: &str = "runs.ndjson";

/// Appends one line, with its line end, in a single write. Does nothing if there is no space in the folder. Needs no
/// lock: a run that was refused the lock is logged, too.
pub fn append(space: &Path, line: &[u8], files: &Files) -> Result<()> {
    if ![MANIFEST, STATE, RUN].iter().any(|name| space.join(name).exists()) {
        return Ok(());
    }
    let folder = space.join(RUN);
    refuse_link(&folder)?;
    files.create_folder(&folder)?;
    let path = folder.join(RUNS);
    refuse_link(&path)?;
    files.append_line(&path, line)
}

/// Refuses a link, through which something outside of the space would be written.
fn refuse_link(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        return Err(
            Error::file(path, "is a link").hint("remove it, so that the run log is written in the space")
        );
    }
    Ok(())
}
