//! Views that are behind the raw tables of their space.

use std::path::Path;

use super::manifest::{CommittedView, Manifest, ReflectedTable};
use crate::{
    error::Result,
    files::Files,
    progress::Progress,
    time::timestamp::{Micros, push_micros},
};

/// Returns the views of a space that do not reflect all of its raw rows, by name with the run that they reflect, and
/// the number of the last run. Returns nothing if the folder is not a space or has no record of views.
pub fn stale_views(space: &Path, files: &Files) -> Result<(Vec<(String, u64)>, u64)> {
    let Some(manifest) = Manifest::read(space, files)? else { return Ok((Vec::new(), 0)) };
    let old = manifest.views.iter().filter(|(_, state)| is_old(state, &manifest));
    Ok((old.map(|(name, state)| (name.clone(), state.run)).collect(), manifest.runs.len() as u64))
}

/// Reports the views in a folder that are older than its raw tables, or as of an earlier time.
pub fn tell_stale_views(folder: &Path, files: &Files, progress: &dyn Progress) {
    // A manifest that cannot be read is reported by the code that needs it.
    let Ok(Some(manifest)) = Manifest::read(folder, files) else { return };
    for (view, state) in &manifest.views {
        let what = match state.as_of {
            Some(as_of) => format!("is as of {}", time(as_of)),
            None if is_old(state, &manifest) => {
                format!("reflects run {}, the raw tables are at run {}", state.run, manifest.runs.len())
            }
            None => continue,
        };
        progress.notice(&format!(
            "`{view}` in `{}` {what}: run `profiles-sync materialize` to update it",
            folder.display()
        ));
    }
}

fn is_old(state: &CommittedView, manifest: &Manifest) -> bool {
    state.raw.iter().any(|(table, raw)| raw_state(manifest, table).bytes != raw.bytes)
}

/// Returns what is committed of a raw table, as a view reflects it.
pub(crate) fn raw_state(manifest: &Manifest, table: &str) -> ReflectedTable {
    let state = manifest.tables.get(table).cloned().unwrap_or_default();
    ReflectedTable { bytes: state.bytes, digest: state.digest }
}

/// Formats a time as in tables.
pub(crate) fn time(micros: Micros) -> String {
    let mut text = Vec::new();
    push_micros(&mut text, micros);
    String::from_utf8_lossy(&text).into_owned()
}
