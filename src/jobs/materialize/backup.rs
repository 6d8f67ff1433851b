//! Backups of the views, kept while a run replaces views and reports their changes.
//!
//! Changes are the difference between the existing and the new views. A run that is killed between replacing the first
//! and the last view leaves a mix of both, and the changes in the first ones would never be reported. The next run
//! therefore restores the backups first, and reports the same changes again.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::options::MaterializeOptions;
use crate::{
    catalog,
    error::{Error, Result},
    files::Files,
    progress::Progress,
    space::{layout::STATE_FOLDER, lock::Lock, manifest::Manifest},
    table::find::table_of,
};

/// The folder of the backups, next to the views. It is not searched for tables.
pub(super) const FOLDER: &str = ".views-before";

/// The name of that folder until it is complete.
const UNFINISHED: &str = ".views-before.tmp";

/// The suffix that marks a view as absent before the run.
const ABSENT: &str = ".absent";

/// Backs up the views with these paths.
pub(super) fn keep(out: &Path, paths: &[PathBuf], files: &Files) -> Result<()> {
    let folder = out.join(UNFINISHED);
    files.remove_folder(&folder)?;
    files.create_folder(&folder)?;
    for path in paths {
        let name = path.file_name().unwrap_or_default();
        if path.exists() {
            files.link(path, &folder.join(name))?;
        } else {
            let mut name = name.to_owned();
            name.push(ABSENT);
            files.create_replacing(&folder.join(name))?;
        }
    }
    files.sync_folder(&folder)?;
    files.rename(&folder, &out.join(FOLDER))?;
    files.sync_folder(out)
}

/// Removes the backups after all views are in place.
pub(super) fn remove_backups(out: &Path, files: &Files) {
    // If this fails, the next run restores the backups and reports the changes once more, which is harmless.
    let _ = files.remove_folder(&out.join(FOLDER));
}

/// Restores the backups of a run that did not finish.
pub(super) fn restore(
    options: &MaterializeOptions,
    in_place: bool,
    files: &Files,
    progress: &dyn Progress,
) -> Result<()> {
    let folder = options.out.join(FOLDER);
    if folder.is_symlink() {
        return Err(Error::file(&folder, "is a link, not a backup of the views").hint("remove it"));
    }
    let kept = match fs::read_dir(&folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>(),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        Err(e) => Err(e),
    };
    let kept = kept.map_err(|e| Error::io("read the folder", &folder, e))?;
    if in_place {
        let space = &options.raw;
        let lock = Lock::take_briefly(&space.join(STATE_FOLDER), options.wait, progress)?;
        let mut manifest = Manifest::read_locked(space, &lock, files)?.unwrap_or_default();
        if !manifest.views.is_empty() {
            manifest.views.clear();
            manifest.write(space, files)?;
            files.sync_folder(space)?;
        }
    }
    for path in kept {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let view = name.strip_suffix(ABSENT).unwrap_or(&name);
        // Only views are backed up. Anything else is removed with the folder.
        if !table_of(view).is_some_and(|(view, _)| catalog::is_view(view)) || !is_file(&path) {
            continue;
        }
        match name.strip_suffix(ABSENT) {
            Some(name) => files.remove_file(&options.out.join(name))?,
            None => files.rename(&path, &options.out.join(&*name))?,
        }
    }
    files.sync_folder(&options.out)?;
    files.remove_folder(&folder)
}

/// Returns whether the path is a file, and not a link to one.
fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|there| there.is_file())
}
