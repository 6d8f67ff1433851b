//! Cuts tables back to what is committed when a space is opened.

use std::{os::unix::fs::FileExt, path::Path};

use super::{
    layout::STATE_FOLDER,
    manifest::{EARLIER_FORMATS, Manifest},
    table_state::{CommittedTable, CompressedExtent},
    tables::{committed_file_bytes, storage_of},
};
use crate::{
    catalog,
    collections::Set,
    config::rules::Compression,
    error::{Error, Result},
    files::Files,
    progress::Progress,
    read::inputs::MAGIC,
    table::{
        extent::ends_at,
        find::{file_of, table_of},
    },
};

/// Truncates tables to their committed length. A run appends only after its commit, but a run of an earlier version of
/// this program may have been killed before its commit; the tables that it created are removed.
pub fn cut_back(folder: &Path, manifest: &Manifest, files: &Files) -> Result<()> {
    let is_earlier = EARLIER_FORMATS.contains(&manifest.format);
    let left_behind = if is_earlier { left_behind(folder, files)? } else { Set::default() };
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("read the folder", folder, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("read the folder", folder, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((table, stored)) = table_of(&name).filter(|(table, _)| !catalog::is_view(table)) else {
            continue;
        };
        let path = entry.path();
        let length = entry.metadata().map_err(|e| Error::io("read", &path, e))?.len();
        match manifest.tables.get(table) {
            Some(state)
                if storage_of(folder, table, state) != stored
                    || length == committed_file_bytes(state, stored) => {}
            Some(state) => {
                check_frame_end(&path, state, stored, files)?;
                let committed = committed_file_bytes(state, stored);
                files.write_from(&path, committed)?.truncate(committed)?;
            }
            None if left_behind.contains(&name) => files.remove_file(&path)?,
            None => {}
        }
    }
    if !left_behind.is_empty() {
        // Everything it lists is now committed or deleted, so a leftover file is harmless.
        let _ = files.remove_file(&folder.join(STATE_FOLDER).join(NEW_TABLES));
    }
    Ok(())
}

/// A file in the state folder with the names of the table files that a run of an earlier version created before its
/// commit, one per line.
const NEW_TABLES: &str = "new-tables";

fn left_behind(folder: &Path, files: &Files) -> Result<Set<String>> {
    let text = files.read_if_exists(&folder.join(STATE_FOLDER).join(NEW_TABLES))?.unwrap_or_default();
    // If the last line has no line end, its write was interrupted and its table was never created.
    let whole = text.split_inclusive(|&byte| byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    Ok(whole.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

/// Fails if a compressed table does not have the end of a frame at its committed length. It can only be cut there, and
/// a table that somebody recompressed has other frames.
fn check_frame_end(path: &Path, state: &CommittedTable, stands: Compression, files: &Files) -> Result<()> {
    let Some(CompressedExtent { bytes, tail }) = state.stored.filter(|_| stands == Compression::Zstd) else {
        return Ok(());
    };
    let file = files.open(path)?;
    let mut behind = [0; MAGIC];
    let read = ends_at(&file, tail, bytes).and_then(|is_end| {
        let n_read = file.read_at(&mut behind, bytes)?;
        // A power failure may leave zeros.
        let is_rest = FRAME.starts_with(&behind[..n_read]) || behind == [0; MAGIC];
        Ok(is_end && (tail < bytes || is_rest))
    });
    if read.map_err(|e| Error::io("read", path, e))? {
        return Ok(());
    }
    Err(Error::file(path, format!("no frame ends at byte {bytes}, the committed length")).hint(
        "restore the table from a backup; if it was recompressed, decompress it with `zstd -d --rm FILE`",
    ))
}

/// The first bytes of a zstd frame.
const FRAME: [u8; MAGIC] = [0x28, 0xb5, 0x2f, 0xfd];

/// Reports a duplicate plain file beside a compressed table: it is ignored.
pub fn report_duplicate_file(folder: &Path, table: &str, progress: &dyn Progress) {
    let plain = file_of(folder, table, Compression::None);
    if plain.exists() {
        progress.notice(&format!("`{}` is ignored: the table is in `{table}.ndjson.zst`", plain.display()));
    }
}
