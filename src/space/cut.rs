//! Tables as they are found, and cut back to what is committed.

use std::{os::unix::fs::FileExt, path::Path};

use super::{
    commit::VIEWS,
    manifest::{Manifest, Stored, TableState},
    new_tables::{forget, left_behind},
    tables::{bytes_of, stands},
};
use crate::{
    error::{Error, Result},
    files::Files,
    identity::rules::Compression,
    progress::Progress,
    read::inputs::MAGIC,
    table::{
        extent::ends_at,
        find::{file_of, table_of},
    },
};

/// Cuts tables back to what is committed, and removes tables of which nothing is: those that a run left behind, and no
/// file of somebody else's.
pub fn cut_back(folder: &Path, manifest: &Manifest, files: &Files) -> Result<()> {
    let left_behind = left_behind(folder, files)?;
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("read the folder", folder, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("read the folder", folder, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((table, stored)) = table_of(&name).filter(|(table, _)| !is_view(table)) else { continue };
        let path = entry.path();
        let length = entry.metadata().map_err(|e| Error::io("read", &path, e))?.len();
        match manifest.tables.get(table) {
            Some(state) if stands(folder, table, state) != stored || length == bytes_of(state, stored) => {}
            Some(state) => {
                refuse_other_frames(&path, state, stored, files)?;
                drop(files.append_after(&path, bytes_of(state, stored))?);
            }
            None if left_behind.contains(&name) => files.remove_file(&path)?,
            None => {}
        }
    }
    if !left_behind.is_empty() {
        forget(folder, files);
    }
    Ok(())
}

/// A packed table may be cut where a frame ends and nowhere else: one that somebody packed anew has other frames.
fn refuse_other_frames(path: &Path, state: &TableState, stands: Compression, files: &Files) -> Result<()> {
    let Some(Stored { bytes, tail }) = state.stored.filter(|_| stands == Compression::Zstd) else {
        return Ok(());
    };
    let file = files.open(path)?;
    let mut behind = [0; MAGIC];
    let read = ends_at(&file, tail, bytes).and_then(|is_end| {
        let n_read = file.read_at(&mut behind, bytes)?;
        // A power cut may leave zeros.
        let is_rest = FRAME.starts_with(&behind[..n_read]) || behind == [0; MAGIC];
        Ok(is_end && (tail < bytes || is_rest))
    });
    if read.map_err(|e| Error::io("read", path, e))? {
        return Ok(());
    }
    Err(Error::file(path, format!("no frame ends at byte {bytes}, which the manifest has committed")).hint(
        "restore the table from a backup; or where somebody packed it anew, unpack it with `zstd -d --rm FILE`",
    ))
}

/// The first bytes of a frame.
const FRAME: [u8; MAGIC] = [0x28, 0xb5, 0x2f, 0xfd];

fn is_view(table: &str) -> bool {
    VIEWS.contains(&table)
}

/// Says that a table's plain file beside its packed one is not the table.
pub fn tell_twin(folder: &Path, table: &str, progress: &dyn Progress) {
    let plain = file_of(folder, table, Compression::None);
    if plain.exists() {
        progress.notice(&format!(
            "`{}` is not looked at: the table stands in `{table}.ndjson.zst`",
            plain.display()
        ));
    }
}
