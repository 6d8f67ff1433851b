//! Views on their way out: rendered in chunks on all cores, written in order, put in place together at the end; or put
//! away as runs, to be merged into views.
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

use super::{blocks::Meter, find::file_of, frames};
use crate::{
    config::rules::Compression,
    error::{Error, Result},
    files::{Files, OutFile, beside},
    read::{
        digest::Digest,
        spill::{Spill, Spilled},
    },
};

/// Rows of one view, rendered.
#[derive(Debug, Default)]
pub struct Page {
    /// Whole lines.
    pub bytes: Vec<u8>,
    /// How many.
    pub rows: u64,
}

/// Rows rendered at a time where a row is short: about a quarter of a megabyte.
pub const CHUNK_ROWS: usize = 1024;

/// More chunks than these are not rendered ahead, however many cores there are.
const MAX_BATCH_CHUNKS: usize = 64;

/// Changes the rows of a view on their way out: how columns are left out.
pub type Polish<'a> = &'a (dyn Fn(&str, &mut Vec<u8>) + Sync);

/// What the writing of views has in common.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    /// The file system.
    pub files: &'a Files,
    /// Told of bytes written.
    pub meter: &'a Meter<'a>,
    /// Applied to the rows of every page.
    pub polish: Option<Polish<'a>>,
    /// Whether digests are taken of what is written.
    pub digests: bool,
    /// How views are stored.
    pub compress: Compression,
}

/// Views that are being written and have not got their names yet, or runs of rows that are to be merged into views.
pub struct Staging<'a> {
    way: Way<'a>,
    target: Target<'a>,
}

enum Target<'a> {
    /// Files beside those that they will replace.
    Views { folder: &'a Path, written: Sender<OutFile>, paths: Mutex<Vec<PathBuf>> },
    /// Rows that are read back.
    Runs { spill: &'a Spill, runs: Mutex<Vec<Run>> },
}

/// What was written of a view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// Of the bytes, where it was asked for.
    pub digest: String,
    /// Bytes of its file, where it is packed.
    pub stored: Option<u64>,
}

/// Rows of a view in the order of its key, put away in pieces of whole lines.
#[derive(Debug)]
pub struct Run {
    /// The view.
    pub view: String,
    /// The pieces.
    pub pieces: Vec<Spilled>,
}

/// Views on the disk, beside those that they replace once they are put in place. Gone where they are not.
#[derive(Debug)]
pub struct Staged {
    files: Files,
    folder: PathBuf,
    paths: Vec<PathBuf>,
}

/// Lets `work` write views into a folder, beside those that are there.
pub fn stage<T>(
    way: Way<'_>,
    folder: &Path,
    work: impl FnOnce(&Staging<'_>) -> Result<T>,
) -> Result<(T, Staged)> {
    way.files.create_folder(folder)?;
    let (written, to_sync) = mpsc::channel();
    let staging = Staging { way, target: Target::Views { folder, written, paths: Mutex::default() } };
    let (result, paths) = thread::scope(|scope| {
        let syncing = scope.spawn(|| sync_all(to_sync));
        let result = work(&staging);
        let paths = match staging.target {
            Target::Views { paths, written, .. } => {
                drop(written);
                paths.into_inner().unwrap_or_else(PoisonError::into_inner)
            }
            Target::Runs { .. } => Vec::new(),
        };
        let synced = syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (result.and_then(|value| synced.map(|()| value)), paths)
    });
    let staged = Staged { files: way.files.clone(), folder: folder.to_owned(), paths };
    result.map(|value| (value, staged))
}

/// Lets `work` write runs.
pub fn runs<T>(
    way: Way<'_>,
    spill: &Spill,
    work: impl FnOnce(&Staging<'_>) -> Result<T>,
) -> Result<(T, Vec<Run>)> {
    let staging = Staging { way, target: Target::Runs { spill, runs: Mutex::default() } };
    let value = work(&staging)?;
    let Target::Runs { runs, .. } = staging.target else { return Ok((value, Vec::new())) };
    Ok((value, runs.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

fn sync_all(written: Receiver<OutFile>) -> Result<()> {
    written.into_iter().try_for_each(|out| out.sync())
}

impl Staged {
    /// Where a view is that replaces the one of a path; `None` where that one stays.
    #[must_use]
    pub fn replacement_of(&self, path: &Path) -> Option<PathBuf> {
        self.paths.iter().any(|staged| staged == path).then(|| beside(path))
    }

    /// The files of the views that are replaced.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Gives the views their names, each in one step.
    pub fn put_in_place(&self) -> Result<()> {
        // What is replaced is freed with its last handle. Where the rename held that, it would keep the folder locked for
        // as long as a large file takes; this way all are freed at once, after the last rename.
        let replaced: Vec<Option<File>> = self.paths.iter().map(|path| self.files.open(path).ok()).collect();
        for path in &self.paths {
            self.files.rename(&beside(path), path)?;
        }
        replaced.into_par_iter().for_each(drop);
        self.files.sync_folder(&self.folder)
    }
}

/// The first error is the one to tell; a leftover is overwritten by the next run.
impl Drop for Staged {
    fn drop(&mut self) {
        for path in self.paths.iter().map(|path| beside(path)).filter(|path| path.exists()) {
            let _ = self.files.remove_file(&path);
        }
    }
}

impl<'a> Staging<'a> {
    /// Opens a view for writing.
    pub fn open(&self, view: &str) -> Result<ViewOut<'a>> {
        let digest = self.way.digests.then(Digest::default);
        let sink = match &self.target {
            Target::Runs { spill, .. } => Sink::Run(spill, Vec::new()),
            Target::Views { folder, paths, .. } => {
                let path = file_of(folder, view, self.way.compress);
                let out = self.way.files.create_anew(&beside(&path));
                lock(paths).push(path);
                match self.way.compress {
                    Compression::None => Sink::File(out?),
                    Compression::Zstd => {
                        Sink::Packed(PackedFile { out: out?, waiting: Vec::new(), n_stored: 0 })
                    }
                }
            }
        };
        Ok(ViewOut { view: view.to_owned(), sink, digest, n_bytes: 0 })
    }

    /// Ends the writing of a view.
    pub fn close(&self, out: ViewOut<'_>, rows: u64) -> Result<Written> {
        let ViewOut { view, sink, digest, n_bytes } = out;
        let mut stored = None;
        let sync = |out: OutFile, written: &Sender<OutFile>| {
            written.send(out).map_err(|_| Error::Refused("the syncing thread ended early".into()))
        };
        match (sink, &self.target) {
            (Sink::File(out), Target::Views { written, .. }) => sync(out, written)?,
            (Sink::Packed(mut packed), Target::Views { written, .. }) => {
                packed.end(n_bytes)?;
                stored = Some(packed.n_stored);
                sync(packed.out, written)?;
            }
            (Sink::Run(_, pieces), Target::Runs { runs, .. }) => lock(runs).push(Run { view, pieces }),
            _ => unreachable!("what a staging opened is closed by it"),
        }
        let digest = digest.map(|digest| digest.hex()).unwrap_or_default();
        Ok(Written { rows, bytes: n_bytes, digest, stored })
    }

    /// Writes a view of `n_items` items, so many at a time.
    ///
    /// `render` appends the rows of the items in a range.
    pub fn write_one(
        &self,
        view: &str,
        n_items: usize,
        chunk_items: usize,
        render: impl Fn(Range<usize>, &mut Page) + Sync,
    ) -> Result<Written> {
        let written = self.write(&[view], n_items, chunk_items, |range, pages| {
            render(range, &mut pages[0]);
            Ok(())
        })?;
        Ok(written.into_iter().next().unwrap_or_default())
    }

    /// Writes views that come from one fold over `n_items` items, so many at a time.
    ///
    /// `render` appends the rows of the items in a range to a page for each view.
    pub fn write(
        &self,
        views: &[&str],
        n_items: usize,
        chunk_items: usize,
        render: impl Fn(Range<usize>, &mut [Page]) -> Result<()> + Sync,
    ) -> Result<Vec<Written>> {
        let mut outs = views.iter().map(|view| self.open(view)).collect::<Result<Vec<_>>>()?;
        let n_chunks = n_items.div_ceil(chunk_items);
        let batch_chunks = (4 * rayon::current_num_threads()).min(MAX_BATCH_CHUNKS);
        let pages = || -> Vec<Vec<Page>> {
            (0..batch_chunks).map(|_| views.iter().map(|_| Page::default()).collect()).collect()
        };
        let render_batch = |first: usize, batch: &mut [Vec<Page>]| -> Result<()> {
            let results: Vec<Result<()>> = batch
                .par_iter_mut()
                .with_max_len(1)
                .enumerate()
                .map(|(place, pages)| {
                    for page in &mut *pages {
                        page.bytes.clear();
                    }
                    let start = (first + place).min(n_chunks) * chunk_items;
                    render(start.min(n_items)..(start + chunk_items).min(n_items), pages)?;
                    if let Some(polish) = self.way.polish {
                        views.iter().zip(pages).for_each(|(view, page)| polish(view, &mut page.bytes));
                    }
                    Ok(())
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
            self.way.meter.advance(written?)?;
            next?;
        }
        let rows = |view: usize| {
            let pages = rendered.iter().chain(&writing);
            pages.map(|pages| pages[view].rows).sum()
        };
        outs.into_iter().enumerate().map(|(view, out)| self.close(out, rows(view))).collect()
    }
}

/// A view being written.
pub struct ViewOut<'a> {
    view: String,
    sink: Sink<'a>,
    digest: Option<Digest>,
    n_bytes: u64,
}

enum Sink<'a> {
    File(OutFile),
    Packed(PackedFile),
    Run(&'a Spill, Vec<Spilled>),
}

/// A file that is packed while it is written.
struct PackedFile {
    out: OutFile,
    /// Content that is not packed yet.
    waiting: Vec<u8>,
    n_stored: u64,
}

/// So much content is packed at a time, on as many cores as it has pieces.
const PACKED_BYTES: usize = 4 << 20;

impl PackedFile {
    /// Takes lines behind so many bytes.
    fn write(&mut self, lines: &[u8], n_before: u64) -> Result<()> {
        self.waiting.extend_from_slice(lines);
        if PACKED_BYTES <= self.waiting.len() {
            self.pack(n_before + lines.len() as u64, false)
        } else {
            Ok(())
        }
    }

    /// Packs what waits, which ends at a place of the view: whole pieces, or all.
    fn pack(&mut self, end: u64, all: bool) -> Result<()> {
        let error = |e| Error::io("pack", self.out.path(), e);
        let packed = frames::pack(&self.waiting, end - self.waiting.len() as u64, all).map_err(error)?;
        self.out.write_all(&packed.bytes)?;
        self.n_stored += packed.bytes.len() as u64;
        self.waiting.drain(..packed.n_taken);
        Ok(())
    }

    fn end(&mut self, n_bytes: u64) -> Result<()> {
        if n_bytes == 0 {
            let empty = frames::frame(b"").map_err(|e| Error::io("pack", self.out.path(), e))?;
            self.n_stored = empty.len() as u64;
            return self.out.write_all(&empty);
        }
        if self.waiting.is_empty() { Ok(()) } else { self.pack(n_bytes, true) }
    }
}

/// About the bytes of a piece of a run: one of each run is in memory while they are merged.
const PIECE_BYTES: usize = 1 << 16;

impl ViewOut<'_> {
    /// Writes whole lines.
    pub fn write(&mut self, lines: &[u8]) -> Result<()> {
        let n_before = self.n_bytes;
        self.n_bytes += lines.len() as u64;
        if let Some(digest) = &mut self.digest {
            digest.update(lines);
        }
        match &mut self.sink {
            Sink::File(out) => out.write_all(lines),
            Sink::Packed(packed) => packed.write(lines, n_before),
            Sink::Run(spill, pieces) => {
                let mut rest = lines;
                while !rest.is_empty() {
                    let end = memchr::memchr(b'\n', &rest[PIECE_BYTES.min(rest.len())..]);
                    let end = end.map_or(rest.len(), |end| PIECE_BYTES + end + 1);
                    pieces.push(spill.put(&rest[..end])?);
                    rest = &rest[end..];
                }
                Ok(())
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Appends a text as JSON that has no character to escape.
pub fn push_plain(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Writes the pages of a batch; says how many bytes.
fn write_batch(batch: &[Vec<Page>], outs: &mut [ViewOut<'_>]) -> Result<u64> {
    let mut n_bytes = 0;
    for pages in batch {
        for (page, out) in pages.iter().zip(&mut *outs) {
            if !page.bytes.is_empty() {
                out.write(&page.bytes)?;
                n_bytes += page.bytes.len() as u64;
            }
        }
    }
    Ok(n_bytes)
}
