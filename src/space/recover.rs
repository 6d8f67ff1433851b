//! Puts the rows of a commit in place that was killed before it had done so.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{
    layout::STATE_FOLDER,
    lock::Lock,
    manifest::Manifest,
    place::{not_in_place, put_in_place, record_in_place},
};
use crate::{
    error::{Error, Result},
    files::Files,
};

impl Manifest {
    /// Reads the manifest of a space; returns `None` if it has none yet. First puts in place what a killed run
    /// committed but did not put in place, so that all committed rows are in the tables. If you hold the lock, call
    /// [`Manifest::read_locked`] instead.
    pub fn read(space: &Path, files: &Files) -> Result<Option<Self>> {
        match Self::load(space, files)? {
            Some(manifest) if !manifest.placing.is_empty() => finish_commit(space, files),
            manifest => Ok(manifest),
        }
    }

    /// Does the same as [`Manifest::read`] for a caller that holds the lock.
    pub fn read_locked(space: &Path, lock: &Lock, files: &Files) -> Result<Option<Self>> {
        finish_commit_locked(space, lock, files)
    }
}

/// Waits until the rows of a commit are in place, or puts them there if no other process does. Returns the manifest
/// after that, or `None` if there is none.
fn finish_commit(space: &Path, files: &Files) -> Result<Option<Manifest>> {
    let state = space.join(STATE_FOLDER);
    let since = Instant::now();
    while since.elapsed() < MAX_WAIT {
        files.create_folder(&state).map_err(not_in_place)?;
        if let Some(_lock) = Lock::try_take(&state).map_err(not_in_place)? {
            let Some(mut manifest) = load_and_place(space, files)? else { return Ok(None) };
            // Reading the tables requires only that the rows are in them.
            if record_in_place(space, &mut manifest, files).is_err() {
                manifest.placing.clear();
            }
            return Ok(Some(manifest));
        }
        thread::sleep(Duration::from_millis(50));
        match Manifest::load(space, files)? {
            Some(manifest) if !manifest.placing.is_empty() => {}
            manifest => return Ok(manifest),
        }
    }
    Err(Error::Refused(format!("the space `{}` is being written by another run", space.display()))
        .hint("try again after the other run has ended"))
}

/// How long to wait for another process to put its rows in place.
const MAX_WAIT: Duration = Duration::from_mins(10);

/// Puts the rows of a commit in place if necessary. Returns the manifest after that, or `None` if there is none.
fn finish_commit_locked(space: &Path, _lock: &Lock, files: &Files) -> Result<Option<Manifest>> {
    let Some(mut manifest) = load_and_place(space, files)? else { return Ok(None) };
    if !manifest.placing.is_empty() {
        record_in_place(space, &mut manifest, files).map_err(not_in_place)?;
    }
    Ok(Some(manifest))
}

fn load_and_place(space: &Path, files: &Files) -> Result<Option<Manifest>> {
    let Some(manifest) = Manifest::load(space, files)? else { return Ok(None) };
    if !manifest.placing.is_empty() {
        put_in_place(space, &manifest.placing, false, files).map_err(not_in_place)?;
    }
    Ok(Some(manifest))
}
