//! Writes views. Rows are rendered in batches on all cores, written in order, and the files are put in place together
//! at the end; or rows are spilled as sorted runs, to be merged into views later.
//!
//! While one batch is written, the next is rendered. A separate thread syncs the files, since that is mostly waiting.
//! No file gets its final name before all are on disk.

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

use super::{blocks::SharedProgress, find::file_of, frames};
use crate::{
    config::rules::Compression,
    error::{Error, Result},
    files::{Files, OutFile, temporary_path},
    read::{
        digest::Digest,
        spill::{SpillStore, SpilledBytes},
    },
};

/// Rendered rows of one view.
#[derive(Debug, Default)]
pub struct Batch {
    /// Whole lines.
    pub bytes: Vec<u8>,
    /// Number of rows.
    pub rows: u64,
}

/// Number of short rows that are rendered at a time: about a quarter of a megabyte.
pub const CHUNK_ROWS: usize = 1024;

/// Maximum number of groups of rows that are rendered ahead, however many cores there are.
const MAX_BATCH_CHUNKS: usize = 64;

/// Changes the rendered rows of a view, given its name. Used to leave out columns.
pub type RowFilter<'a> = &'a (dyn Fn(&str, &mut Vec<u8>) + Sync);

/// Options for writing views.
#[derive(Clone, Copy)]
pub struct WriteOptions<'a> {
    /// The file system.
    pub files: &'a Files,
    /// Receives the number of bytes written.
    pub meter: &'a SharedProgress<'a>,
    /// Applied to all rendered rows.
    pub row_filter: Option<RowFilter<'a>>,
    /// Whether to compute digests of the content.
    pub digests: bool,
    /// Compression of the files.
    pub compress: Compression,
}

/// Views that are being written and do not have their final names yet, or sorted runs to be merged into views.
pub struct ViewStaging<'a> {
    way: WriteOptions<'a>,
    target: StagingTarget<'a>,
}

enum StagingTarget<'a> {
    /// Files beside those that they will replace.
    Views { folder: &'a Path, written: Sender<OutFile>, paths: Mutex<Vec<PathBuf>> },
    /// Spilled rows that are read back later.
    SortedRuns { spill: &'a SpillStore, runs: Mutex<Vec<SortedRun>> },
}

/// What was written for a view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ViewStats {
    /// Number of rows.
    pub rows: u64,
    /// Content size in bytes.
    pub bytes: u64,
    /// Digest of the content; empty if not requested.
    pub digest: String,
    /// Size of the file in bytes, if it is compressed.
    pub stored: Option<u64>,
}

/// A sorted run: rows of a view in key order, spilled in blocks of whole lines.
#[derive(Debug)]
pub struct SortedRun {
    /// Name of the view.
    pub view: String,
    /// The spilled blocks, in order.
    pub blocks: Vec<SpilledBytes>,
}

/// Views on disk beside those that they will replace. Dropping this removes the files that were not put in place.
#[derive(Debug)]
pub struct StagedViews {
    files: Files,
    folder: PathBuf,
    paths: Vec<PathBuf>,
}

/// Calls `work` to write views into a folder, beside the existing ones. Returns after all files are synced.
pub fn stage<T>(
    way: WriteOptions<'_>,
    folder: &Path,
    work: impl FnOnce(&ViewStaging<'_>) -> Result<T>,
) -> Result<(T, StagedViews)> {
    way.files.create_folder(folder)?;
    let (written, to_sync) = mpsc::channel();
    let staging =
        ViewStaging { way, target: StagingTarget::Views { folder, written, paths: Mutex::default() } };
    let (result, paths) = thread::scope(|scope| {
        let syncing = scope.spawn(|| sync_all(to_sync));
        let result = work(&staging);
        let paths = match staging.target {
            StagingTarget::Views { paths, written, .. } => {
                drop(written);
                paths.into_inner().unwrap_or_else(PoisonError::into_inner)
            }
            StagingTarget::SortedRuns { .. } => Vec::new(),
        };
        let synced = syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (result.and_then(|value| synced.map(|()| value)), paths)
    });
    let staged = StagedViews { files: way.files.clone(), folder: folder.to_owned(), paths };
    result.map(|value| (value, staged))
}

/// Calls `work` to spill sorted runs, and returns them.
pub fn spill_runs<T>(
    way: WriteOptions<'_>,
    spill: &SpillStore,
    work: impl FnOnce(&ViewStaging<'_>) -> Result<T>,
) -> Result<(T, Vec<SortedRun>)> {
    let staging = ViewStaging { way, target: StagingTarget::SortedRuns { spill, runs: Mutex::default() } };
    let value = work(&staging)?;
    let StagingTarget::SortedRuns { runs, .. } = staging.target else { return Ok((value, Vec::new())) };
    Ok((value, runs.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

fn sync_all(written: Receiver<OutFile>) -> Result<()> {
    written.into_iter().try_for_each(|out| out.sync())
}

impl StagedViews {
    /// Returns the path of the new file that will replace the view at `path`, or `None` if that view stays.
    #[must_use]
    pub fn replacement_of(&self, path: &Path) -> Option<PathBuf> {
        self.paths.iter().any(|staged| staged == path).then(|| temporary_path(path))
    }

    /// Returns the paths of the views that will be replaced.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Renames the new files to their final names, each atomically.
    pub fn put_in_place(&self) -> Result<()> {
        // A replaced file is freed when its last handle is closed. If the rename did that, it would hold the folder's
        // lock while a large file is freed. Open handles delay it until after the last rename, when all files are freed
        // in parallel.
        let replaced: Vec<Option<File>> = self.paths.iter().map(|path| self.files.open(path).ok()).collect();
        for path in &self.paths {
            self.files.rename(&temporary_path(path), path)?;
        }
        replaced.into_par_iter().for_each(drop);
        self.files.sync_folder(&self.folder)
    }
}

/// Errors are ignored: the first error of the run is reported already, and the next run overwrites leftovers.
impl Drop for StagedViews {
    fn drop(&mut self) {
        for path in self.paths.iter().map(|path| temporary_path(path)).filter(|path| path.exists()) {
            let _ = self.files.remove_file(&path);
        }
    }
}

impl<'a> ViewStaging<'a> {
    /// Opens a view for writing.
    pub fn open(&self, view: &str) -> Result<ViewWriter<'a>> {
        let digest = self.way.digests.then(Digest::default);
        let sink = match &self.target {
            StagingTarget::SortedRuns { spill, .. } => ViewSink::Run(spill, Vec::new()),
            StagingTarget::Views { folder, paths, .. } => {
                let path = file_of(folder, view, self.way.compress);
                let out = self.way.files.create_replacing(&temporary_path(&path));
                lock(paths).push(path);
                match self.way.compress {
                    Compression::None => ViewSink::File(out?),
                    Compression::Zstd => {
                        ViewSink::Packed(CompressedFile { out: out?, waiting: Vec::new(), n_stored: 0 })
                    }
                }
            }
        };
        Ok(ViewWriter { view: view.to_owned(), sink, digest, n_bytes: 0 })
    }

    /// Finishes a view that has `rows` rows.
    pub fn close(&self, out: ViewWriter<'_>, rows: u64) -> Result<ViewStats> {
        let ViewWriter { view, sink, digest, n_bytes } = out;
        let mut stored = None;
        let sync = |out: OutFile, written: &Sender<OutFile>| {
            written.send(out).map_err(|_| Error::Refused("the thread that syncs files ended early".into()))
        };
        match (sink, &self.target) {
            (ViewSink::File(out), StagingTarget::Views { written, .. }) => sync(out, written)?,
            (ViewSink::Packed(mut packed), StagingTarget::Views { written, .. }) => {
                packed.end(n_bytes)?;
                stored = Some(packed.n_stored);
                sync(packed.out, written)?;
            }
            (ViewSink::Run(_, pieces), StagingTarget::SortedRuns { runs, .. }) => {
                lock(runs).push(SortedRun { view, blocks: pieces });
            }
            _ => unreachable!("a view is closed by the staging that opened it"),
        }
        let digest = digest.map(|digest| digest.hex()).unwrap_or_default();
        Ok(ViewStats { rows, bytes: n_bytes, digest, stored })
    }

    /// Writes a view from `n_items` items, in groups of `chunk_items`.
    ///
    /// `render` appends the rows of the items in a range.
    pub fn write_one(
        &self,
        view: &str,
        n_items: usize,
        chunk_items: usize,
        render: impl Fn(Range<usize>, &mut Batch) + Sync,
    ) -> Result<ViewStats> {
        let written = self.write(&[view], n_items, chunk_items, |range, pages| {
            render(range, &mut pages[0]);
            Ok(())
        })?;
        Ok(written.into_iter().next().unwrap_or_default())
    }

    /// Writes several views from `n_items` items, in groups of `chunk_items`.
    ///
    /// `render` appends the rows of the items in a range to one page per view.
    pub fn write(
        &self,
        views: &[&str],
        n_items: usize,
        chunk_items: usize,
        render: impl Fn(Range<usize>, &mut [Batch]) -> Result<()> + Sync,
    ) -> Result<Vec<ViewStats>> {
        let mut outs = views.iter().map(|view| self.open(view)).collect::<Result<Vec<_>>>()?;
        let n_chunks = n_items.div_ceil(chunk_items);
        let batch_chunks = (4 * rayon::current_num_threads()).min(MAX_BATCH_CHUNKS);
        let pages = || -> Vec<Vec<Batch>> {
            (0..batch_chunks).map(|_| views.iter().map(|_| Batch::default()).collect()).collect()
        };
        let render_batch = |first: usize, batch: &mut [Vec<Batch>]| -> Result<()> {
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
                    if let Some(polish) = self.way.row_filter {
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
pub struct ViewWriter<'a> {
    view: String,
    sink: ViewSink<'a>,
    digest: Option<Digest>,
    n_bytes: u64,
}

enum ViewSink<'a> {
    File(OutFile),
    Packed(CompressedFile),
    Run(&'a SpillStore, Vec<SpilledBytes>),
}

/// A file that is compressed while it is written.
struct CompressedFile {
    out: OutFile,
    /// Content that is not compressed yet.
    waiting: Vec<u8>,
    n_stored: u64,
}

/// Number of bytes to compress at a time, on as many cores as there are pieces.
const COMPRESS_BYTES: usize = 4 << 20;

impl CompressedFile {
    /// Adds lines that follow the first `n_before` bytes of content.
    fn write(&mut self, lines: &[u8], n_before: u64) -> Result<()> {
        self.waiting.extend_from_slice(lines);
        if COMPRESS_BYTES <= self.waiting.len() {
            self.pack(n_before + lines.len() as u64, false)
        } else {
            Ok(())
        }
    }

    /// Compresses the waiting content, which ends at offset `end` of the view: whole pieces or, if `all` is set,
    /// everything.
    fn pack(&mut self, end: u64, all: bool) -> Result<()> {
        let error = |e| Error::io("compress", self.out.path(), e);
        let packed =
            frames::compress_frames(&self.waiting, end - self.waiting.len() as u64, all).map_err(error)?;
        self.out.write_all(&packed.bytes)?;
        self.n_stored += packed.bytes.len() as u64;
        self.waiting.drain(..packed.n_taken);
        Ok(())
    }

    fn end(&mut self, n_bytes: u64) -> Result<()> {
        if n_bytes == 0 {
            let empty = frames::compress_frame(b"").map_err(|e| Error::io("compress", self.out.path(), e))?;
            self.n_stored = empty.len() as u64;
            return self.out.write_all(&empty);
        }
        if self.waiting.is_empty() { Ok(()) } else { self.pack(n_bytes, true) }
    }
}

/// Approximate size in bytes of a spilled block. While runs are merged, one block of each is in memory.
const PIECE_BYTES: usize = 1 << 16;

impl ViewWriter<'_> {
    /// Appends whole lines.
    pub fn write(&mut self, lines: &[u8]) -> Result<()> {
        let n_before = self.n_bytes;
        self.n_bytes += lines.len() as u64;
        if let Some(digest) = &mut self.digest {
            digest.update(lines);
        }
        match &mut self.sink {
            ViewSink::File(out) => out.write_all(lines),
            ViewSink::Packed(packed) => packed.write(lines, n_before),
            ViewSink::Run(spill, pieces) => {
                let mut rest = lines;
                while !rest.is_empty() {
                    let end = memchr::memchr(b'\n', &rest[PIECE_BYTES.min(rest.len())..]);
                    let end = end.map_or(rest.len(), |end| PIECE_BYTES + end + 1);
                    pieces.push(spill.write(&rest[..end])?);
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

/// Appends a text as a JSON string. The text must not contain characters that need escapes.
pub fn push_plain(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Writes the pages of a batch. Returns the number of bytes.
fn write_batch(batch: &[Vec<Batch>], outs: &mut [ViewWriter<'_>]) -> Result<u64> {
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
