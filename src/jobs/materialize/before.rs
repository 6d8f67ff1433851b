//! The views as they were, kept while they are replaced in a run that tells what changes in them.
//!
//! Changes are told from the views that are there to the new ones. Whoever is killed between the first and the last view
//! leaves some of each, and of what changed in the first ones nothing would be told any more. So they are put back first,
//! and the next run tells the same changes again.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::MaterializeOptions;
use crate::{
    catalog,
    error::{Error, Result},
    files::Files,
    progress::Progress,
    space::{commit::STATE, lock::Lock, manifest::Manifest},
    table::find::table_of,
};

/// Where they are kept: in the folder of the views, where nobody looks for tables.
pub(super) const FOLDER: &str = ".views-before";

/// The same until all of them are there.
const UNFINISHED: &str = ".views-before.tmp";

/// Stands behind the name of a view that was not there.
const ABSENT: &str = ".absent";

/// Keeps the views of these paths.
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
            files.create_anew(&folder.join(name))?;
        }
    }
    files.sync_folder(&folder)?;
    files.rename(&folder, &out.join(FOLDER))?;
    files.sync_folder(out)
}

/// Once all views are in place they are not needed any more.
pub(super) fn forget(out: &Path, files: &Files) {
    // Where they stay, the next run puts them back and tells the changes once more, which does no harm.
    let _ = files.remove_folder(&out.join(FOLDER));
}

/// Puts those back that a run has kept which did not end.
pub(super) fn restore(
    options: &MaterializeOptions,
    in_place: bool,
    files: &Files,
    progress: &dyn Progress,
) -> Result<()> {
    let folder = options.out.join(FOLDER);
    if folder.is_symlink() {
        return Err(Error::file(&folder, "is a link, not the views that a run has kept").hint("remove it"));
    }
    let kept = match fs::read_dir(&folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>(),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        Err(e) => Err(e),
    };
    let kept = kept.map_err(|e| Error::io("read the folder", &folder, e))?;
    if in_place {
        let space = &options.raw;
        let lock = Lock::take_briefly(&space.join(STATE), options.wait, progress)?;
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
        // Nothing else is ever kept: whatever it is, it goes with the folder.
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

/// Whether there is a file, and no link to one.
fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|there| there.is_file())
}
