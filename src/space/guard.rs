//! Keeps output that is not a table away from the files of a space.

use std::path::Path;

use super::layout::{MANIFEST, RUN_FOLDER, STATE_FOLDER};
use crate::{config::CONFIG_FILE, table::find::table_of};

/// Returns whether a path is, or would be, a file of a space: a table, the manifest, the config, or anything in its
/// state or run folder. Checks `spaces` and any other space at that location. Follows links.
#[must_use]
pub fn belongs_to_space(path: &Path, spaces: &[&Path]) -> bool {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(folder) = folder.canonicalize() else { return false };
    let is_given = |folder: &Path| spaces.iter().any(|it| it.canonicalize().is_ok_and(|it| it == folder));
    let is_space = |folder: &Path| {
        is_given(folder)
            || folder.join(MANIFEST).exists()
                && [STATE_FOLDER, RUN_FOLDER].iter().any(|name| folder.join(name).is_dir())
    };
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let is_ours = [MANIFEST, CONFIG_FILE].contains(&&*name) || table_of(&name).is_some();
    let mut above = folder.ancestors().take(2);
    let is_inside = above.any(|inner| {
        [STATE_FOLDER, RUN_FOLDER].iter().any(|name| inner.ends_with(name))
            && inner.parent().is_some_and(is_space)
    });
    is_ours && is_space(&folder) || is_inside
}
