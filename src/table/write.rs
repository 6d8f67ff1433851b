//! Views on their way out: rendered in chunks on all cores, written in order, put in place together at the end.
//!
//! While one batch of chunks is written the next is rendered. Files are synced by a thread of their own, since that is
//! mostly waiting. Nothing gets its final name before everything is on the disk.

use std::{
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use rayon::prelude::*;

use super::blocks::Meter;
use crate::{
    error::{Error, Result},
    files::{Files, OutFile, beside},
};

/// Rows of one view, rendered.
#[derive(Debug, Default)]
pub struct Page {
    /// Whole lines.
    pub bytes: Vec<u8>,
    /// How many.
    pub rows: u64,
}

/// Rows rendered at a time where a row is short: about half a megabyte.
pub const CHUNK_ROWS: usize = 2048;

/// More chunks than these are not rendered ahead, however many cores there are.
const MAX_BATCH_CHUNKS: usize = 64;

/// Views that are being written into a folder and have not got their names yet.
pub struct Staging<'a> {
    files: &'a Files,
    folder: &'a Path,
    meter: &'a Meter<'a>,
    written: Sender<OutFile>,
    paths: Mutex<Vec<PathBuf>>,
}

/// Lets `work` write views into a folder. Where it succeeds they replace those that are there, each in one step;
/// else everything stays as it was.
pub fn stage<T>(
    files: &Files,
    folder: &Path,
    meter: &Meter<'_>,
    work: impl FnOnce(&Staging<'_>) -> Result<T>,
) -> Result<T> {
    files.create_folder(folder)?;
    let (written, to_sync) = mpsc::channel();
    let staging = Staging { files, folder, meter, written, paths: Mutex::default() };
    let (result, paths) = thread::scope(|scope| {
        let syncing = scope.spawn(|| sync_all(to_sync));
        let result = work(&staging);
        let Staging { paths, written, .. } = staging;
        drop(written);
        let paths = paths.into_inner().unwrap_or_else(PoisonError::into_inner);
        let synced = syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (result.and_then(|value| synced.map(|()| value)), paths)
    });
    let result = result.and_then(|value| put_in_place(files, folder, &paths).map(|()| value));
    if result.is_err() {
        for path in &paths {
            // The first error is the one to tell; a leftover is overwritten by the next run.
            let _ = files.remove_file(&beside(path));
        }
    }
    result
}

fn sync_all(written: Receiver<OutFile>) -> Result<()> {
    written.into_iter().try_for_each(|out| out.sync())
}

fn put_in_place(files: &Files, folder: &Path, paths: &[PathBuf]) -> Result<()> {
    // What is replaced is freed with its last handle. Where the rename held that, it would keep the folder locked for as
    // long as a large file takes; this way all are freed at once, after the last rename.
    let replaced: Vec<Option<File>> = paths.iter().map(|path| files.open(path).ok()).collect();
    for path in paths {
        files.rename(&beside(path), path)?;
    }
    replaced.into_par_iter().for_each(drop);
    files.sync_folder(folder)
}

impl Staging<'_> {
    /// Writes a view of `n_items` items, so many at a time; says how many rows it has.
    ///
    /// `render` appends the rows of the items in a range.
    pub fn write_one(
        &self,
        view: &str,
        n_items: usize,
        chunk_items: usize,
        render: impl Fn(Range<usize>, &mut Page) + Sync,
    ) -> Result<u64> {
        let n_rows = self.write(&[view], n_items, chunk_items, |range, pages| {
            render(range, &mut pages[0]);
            Ok(())
        });
        Ok(n_rows?[0])
    }

    /// Writes views that come from one fold over `n_items` items, so many at a time; says how many rows each has.
    ///
    /// `render` appends the rows of the items in a range to a page for each view.
    pub fn write(
        &self,
        views: &[&str],
        n_items: usize,
        chunk_items: usize,
        render: impl Fn(Range<usize>, &mut [Page]) -> Result<()> + Sync,
    ) -> Result<Vec<u64>> {
        let mut outs = Vec::new();
        for view in views {
            let path = self.folder.join(format!("{view}.ndjson"));
            let out = self.files.create(&beside(&path));
            self.paths.lock().unwrap_or_else(PoisonError::into_inner).push(path);
            outs.push(out?);
        }
        let n_chunks = n_items.div_ceil(chunk_items);
        let batch_chunks = (4 * rayon::current_num_threads()).min(MAX_BATCH_CHUNKS);
        let pages = || -> Vec<Vec<Page>> {
            (0..batch_chunks).map(|_| views.iter().map(|_| Page::default()).collect()).collect()
        };
        let render_batch = |first: usize, batch: &mut [Vec<Page>]| -> Result<()> {
            let results: Vec<Result<()>> = batch
                .par_iter_mut()
                .enumerate()
                .map(|(place, pages)| {
                    for page in &mut *pages {
                        page.bytes.clear();
                    }
                    let start = (first + place).min(n_chunks) * chunk_items;
                    render(start.min(n_items)..(start + chunk_items).min(n_items), pages)
                })
                .collect();
            results.into_iter().collect()
        };
        let (mut rendered, mut writing) = (pages(), pages());
        render_batch(0, &mut rendered)?;
        for first in (0..n_chunks).step_by(batch_chunks) {
            std::mem::swap(&mut rendered, &mut writing);
            let (written, next) = rayon::join(
                || write_batch(&writing, &mut outs),
                || render_batch(first + batch_chunks, &mut rendered),
            );
            self.meter.advance(written?)?;
            next?;
        }
        for out in outs {
            self.written.send(out).map_err(|_| Error::Refused("the syncing thread ended early".into()))?;
        }
        Ok((0..views.len())
            .map(|view| {
                let pages = rendered.iter().chain(&writing);
                pages.map(|pages| pages[view].rows).sum()
            })
            .collect())
    }
}

/// Appends a text as JSON that has no character to escape.
pub fn push_plain(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Writes the pages of a batch; says how many bytes.
fn write_batch(batch: &[Vec<Page>], outs: &mut [OutFile]) -> Result<u64> {
    let mut n_bytes = 0;
    for pages in batch {
        for (page, out) in pages.iter().zip(&mut *outs) {
            if !page.bytes.is_empty() {
                out.write_all(&page.bytes)?;
                n_bytes += page.bytes.len() as u64;
            }
        }
    }
    Ok(n_bytes)
}
