//! Moves committed rows into their tables.
//!
//! A run writes its rows to staged files in `.run/staged`. A staged file has the same name as the table's file. Only
//! small additions to existing tables share the file `shared`, because thousands of staged files take seconds to create
//! and remove. The commit replaces the manifest by one that lists these rows under `placing`. Only then do the tables
//! change: the staged file of a new table is renamed, and other rows are appended to their tables. Finally, the
//! manifest is written again without `placing`.
//!
//! If a run is killed in between, the next process that finds `placing` in the manifest and gets the lock does the
//! rest. Every step can be repeated: rows that are already in a table are overwritten with the same bytes. Staged files
//! that no manifest lists are deleted.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::{
    layout::{RUN_FOLDER, shared_file, staged_folder},
    manifest::{Manifest, Placement},
};
use crate::{
    error::{Error, Result},
    files::{CAN_SYNC_FILE_SYSTEMS, Files, OutFile},
    read::digest::digest_of_range,
};

/// Staged rows by the file name of their table.
pub(super) type Placing = BTreeMap<String, Placement>;

impl Placement {
    /// Returns the length of the table's file after the commit.
    fn end(&self) -> u64 {
        self.from.unwrap_or_default() + self.bytes
    }
}

/// Deletes all staged files. Call this only if the manifest lists none of them.
pub(super) fn delete_staged(space: &Path, files: &Files) -> Result<()> {
    let folder = staged_folder(space);
    if folder.symlink_metadata().is_ok() { files.remove_folder(&folder) } else { Ok(()) }
}

/// Fails if the run folder is not a real folder: a link could lead outside the space.
pub(super) fn refuse_link(space: &Path) -> Result<()> {
    let folder = space.join(RUN_FOLDER);
    match folder.symlink_metadata() {
        Ok(there) if !there.is_dir() => Err(Error::file(&folder, "is not a folder of this space")
            .hint("move it away: runs create a folder of this name for their rows")),
        _ => Ok(()),
    }
}

/// Fails if a file is in the way of a new table.
pub(super) fn refuse_foreign(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Error::file(path, "is in the way of a new table")
        .hint("move it out of the folder: it is not a table of this space"))
}

/// Does everything that can still fail before the commit: syncs the staged files, checks that no file is in the way of
/// a new table, and reserves disk space for the rows to append.
pub(super) fn prepare(space: &Path, placing: &Placing, files: &Files) -> Result<()> {
    if placing.is_empty() {
        return Ok(());
    }
    let staged = staged_folder(space);
    let own = placing.values().filter(|placement| placement.shared_from.is_none()).count();
    let is_one_sync = syncs_at_once(own);
    if is_one_sync {
        files.sync_file_system(space)?;
    } else if own < placing.len() {
        files.write_from(&shared_file(space), 1)?.sync()?;
    }
    for_each_staged(placing, |name, placement| {
        if !is_one_sync && placement.shared_from.is_none() {
            files.write_from(&staged.join(name), placement.bytes)?.sync()?;
        }
        let path = space.join(name);
        match placement.from {
            None => refuse_foreign(&path),
            Some(from) if 0 < placement.bytes => {
                files.write_from(&path, from)?.reserve(from, placement.bytes)
            }
            Some(_) => Ok(()),
        }
    })?;
    for folder in [&staged, &space.join(RUN_FOLDER), space] {
        files.sync_folder(folder)?;
    }
    Ok(())
}

/// Frees the disk space reserved for a commit that failed, as far as possible.
pub(super) fn release_reserved(space: &Path, placing: &Placing, files: &Files) {
    for (name, from) in placing.iter().filter_map(|(name, placement)| Some((name, placement.from?))) {
        let _ = files.write_from(&space.join(name), from).and_then(|out| out.truncate(from));
    }
}

/// Puts all rows into their tables and syncs them. If `is_new` is false, another process staged the rows, so their
/// digests are checked first.
pub(super) fn put_in_place(space: &Path, placing: &Placing, is_new: bool, files: &Files) -> Result<()> {
    if placing.is_empty() {
        return Ok(());
    }
    let is_one_sync = syncs_at_once(placing.len());
    for_each_staged(placing, |name, placement| {
        let appended = put_table_in_place(space, name, placement, is_new, files)?;
        appended.filter(|_| !is_one_sync).map_or(Ok(()), |out| out.sync())
    })?;
    if is_one_sync {
        files.sync_file_system(space)?;
    }
    files.sync_folder(space)
}

/// Returns whether to sync the file system as a whole: syncing thousands of files one by one takes seconds.
fn syncs_at_once(n_files: usize) -> bool {
    const MANY: usize = 64;
    CAN_SYNC_FILE_SYSTEMS && MANY <= n_files
}

/// Puts the rows of one table in place. If they were appended, returns the table's file, which the caller has to sync.
fn put_table_in_place(
    space: &Path,
    name: &str,
    placement: &Placement,
    is_new: bool,
    files: &Files,
) -> Result<Option<OutFile>> {
    let path = space.join(name);
    let staged = match placement.shared_from {
        Some(_) => shared_file(space),
        None => staged_folder(space).join(name),
    };
    let Some(file) = files.open_if_exists(&staged)? else {
        let length = fs::metadata(&path).map_or(0, |there| there.len());
        if path.exists() && placement.end() <= length {
            return Ok(None);
        }
        return Err(Error::file(
            &staged,
            "is missing, but its rows are committed and not in their table yet",
        )
        .hint("restore the file from a backup, or ingest into a new space"));
    };
    let offset = placement.shared_from.unwrap_or_default();
    if !is_new {
        let length = file.metadata().map_err(|e| Error::io("read", &staged, e))?.len();
        let end = offset + placement.bytes;
        let is_long_enough = if placement.shared_from.is_some() { end <= length } else { end == length };
        let digest = |at, size| digest_of_range(&file, at, size).map_err(|e| Error::io("read", &staged, e));
        if !is_long_enough || digest(offset, placement.bytes)? != placement.digest {
            return Err(Error::file(&staged, "its bytes are not those that were committed")
                .hint("restore the file from a backup, or ingest into a new space"));
        }
    }
    let Some(from) = placement.from else {
        refuse_foreign(&path)?;
        files.rename(&staged, &path)?;
        return Ok(None);
    };
    let mut out = files.write_from(&path, from)?;
    let length = fs::metadata(&path).map_err(|e| Error::io("read", &path, e))?.len();
    if length < from {
        return Err(Error::file(&path, format!("has {length} bytes, but {from} are committed"))
            .hint("restore the table from a backup, or ingest into a new space"));
    }
    out.copy(&file, offset, placement.bytes)?;
    if placement.end() < length {
        out.truncate(placement.end())?;
    }
    Ok(Some(out))
}

/// Records in the manifest that all rows are in place, and deletes the staged files.
pub(super) fn record_in_place(space: &Path, manifest: &mut Manifest, files: &Files) -> Result<()> {
    let placing = std::mem::take(&mut manifest.placing);
    let write = || manifest.write(space, files).and_then(|()| files.sync_folder(space));
    // If the disk is full, deleting the staged files may make room. Their rows are in place, so they are not needed.
    let written =
        write().or_else(|error| if delete_staged(space, files).is_ok() { write() } else { Err(error) });
    if written.is_err() {
        manifest.placing = placing;
    }
    written?;
    // The next run deletes what is left.
    let _ = delete_staged(space, files);
    Ok(())
}

/// Wraps an error that occurred after the commit.
pub(super) fn not_in_place(error: Error) -> Error {
    if error.hint_text().is_some() {
        return Error::NotInPlace(Box::new(error));
    }
    Error::NotInPlace(Box::new(error))
        .hint("run any command again as a user who can write to the space: it first puts the rows in place")
}

/// Calls `work` for every staged file. Of all errors, returns that of the first file by name. The threads mostly wait
/// for the disk, so there are more of them than cores. They are not rayon's, which would start other work while they
/// wait.
fn for_each_staged(placing: &Placing, work: impl Fn(&str, &Placement) -> Result<()> + Sync) -> Result<()> {
    const MAX_THREADS: usize = 32;
    let all: Vec<(&str, &Placement)> =
        placing.iter().map(|(name, placement)| (name.as_str(), placement)).collect();
    let next = AtomicUsize::new(0);
    let work_on = || {
        std::iter::from_fn(|| all.get(next.fetch_add(1, Ordering::Relaxed)))
            .filter_map(|&(name, placement)| Some((name, work(name, placement).err()?)))
            .collect::<Vec<_>>()
    };
    let mut failed: Vec<(&str, Error)> = thread::scope(|scope| {
        let n_threads = all.len().min(MAX_THREADS);
        let threads: Vec<_> = (1..n_threads).map(|_| scope.spawn(work_on)).collect();
        let mut failed = work_on();
        for thread in threads {
            failed.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        failed
    });
    failed.sort_by_key(|(name, _)| *name);
    failed.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
}
