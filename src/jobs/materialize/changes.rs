//! The changes in views that are replaced: one line for each row that was added, changed or removed.
//!
//! Old and new rows are compared in the order of their key. Stretches that are the same on both sides are skipped by
//! comparing bytes.

use std::{
    fs::Metadata,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::job::ViewsJob;
use crate::{
    error::{Error, Result},
    files::{Files, OutFile},
    json::push_string,
    progress::Progress,
    table::{
        find::{RawTableFile, existing_file, file_of},
        source::TableSource,
        write::{StagedViews, push_plain},
    },
    view::{View, row_key::KeyReader},
};

/// Writes changes to a stream or a file.
pub(super) struct ChangeWriter<'a> {
    sink: ChangeSink<'a>,
    buffer: Vec<u8>,
}

enum ChangeSink<'a> {
    /// A stream, and its name for errors.
    Stream(&'a mut dyn Write, &'a Path),
    /// A file with a temporary name. It is renamed after all changes are written and before the views are replaced.
    File(OutFile, &'a Path),
}

/// Returns the temporary name of a file of changes. No other program should use it.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.profiles-sync.tmp"))
}

/// Bytes written at a time.
const OUT_BYTES: usize = 1 << 18;

impl<'a> ChangeWriter<'a> {
    /// Writes changes to a stream.
    pub(super) fn to_stream(out: &'a mut dyn Write, name: &'a Path) -> Self {
        Self { sink: ChangeSink::Stream(out, name), buffer: Vec::new() }
    }

    /// Runs `work` with a file to write changes to. The file is replaced in one step, or left unchanged if `work`
    /// fails. A pipe or a device is written to directly.
    pub(super) fn to_file<T>(
        path: &Path,
        files: &Files,
        work: impl FnOnce(&mut ChangeWriter<'_>) -> Result<T>,
    ) -> Result<T> {
        let there = std::fs::metadata(path).ok();
        if there.as_ref().is_some_and(Metadata::is_dir) {
            return Err(Error::file(path, "is a folder").hint("give `--changes` a file"));
        }
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            let mut out = files.open_to_write(path)?;
            return work(&mut ChangeWriter::to_stream(&mut out, path));
        }
        // A link is kept: the file that it points to is replaced.
        let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let beside = beside(path);
        let out = files.create_replacing(&beside)?;
        if let Some(there) = there {
            out.set_permissions(there.permissions())?;
        }
        let result = work(&mut ChangeWriter { sink: ChangeSink::File(out, path), buffer: Vec::new() });
        if result.is_err() && beside.exists() {
            // The first error is the one to report.
            let _ = files.remove_file(&beside);
        }
        result
    }

    /// Writes the changes in the views of a job and returns the number of lines. A view that is not staged has no
    /// changes.
    pub(super) fn write(&mut self, job: &ViewsJob<'_>, staged: Option<&StagedViews>) -> Result<u64> {
        let ViewsJob { files, progress, .. } = *job;
        let folder = &job.options.out;
        let mut n_changes = 0;
        for &view in job.views {
            let path = file_of(folder, view.name(), job.compress);
            let Some(replacement) = staged.and_then(|staged| staged.replacement_of(&path)) else { continue };
            let new = TableSource::open(&RawTableFile { path: replacement, committed: None }, files)?;
            // In a compressed space, the user may have decompressed the view.
            let there = existing_file(folder, view.name()).filter(|_| !job.compress.is_none());
            let tell = || {
                let old = match there.or_else(|| Some(path.clone()).filter(|path| path.exists())) {
                    Some(path) => TableSource::open(&RawTableFile { path, committed: None }, files)?,
                    None => TableSource::from_bytes(&path, Vec::new()),
                };
                self.write_view(view, &old, &new, progress)
            };
            n_changes += tell().map_err(|e| if e.is_decompression() { e.hint(NO_VIEW_HINT) } else { e })?;
        }
        self.flush()?;
        if let ChangeSink::File(out, path) = &self.sink {
            out.sync()?;
            files.rename(out.path(), path)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            files.sync_folder(folder.unwrap_or(Path::new(".")))?;
        }
        Ok(n_changes)
    }

    /// Writes the changes in one view and returns their number.
    fn write_view(
        &mut self,
        view: View,
        old: &TableSource,
        new: &TableSource,
        progress: &dyn Progress,
    ) -> Result<u64> {
        let (mut old, mut new) = (ViewRows::new(old), ViewRows::new(new));
        let mut keys = KeyReader::new(view);
        let mut n_changes = 0;
        loop {
            skip_common_rows(&mut old, &mut new)?;
            if progress.interrupted() {
                return Err(Error::Interrupted);
            }
            let order = match (old.has_row()?, new.has_row()?) {
                (false, false) => return Ok(n_changes),
                (true, false) => std::cmp::Ordering::Less,
                (false, true) => std::cmp::Ordering::Greater,
                (true, true) => {
                    new.read_key(view, &mut keys)?;
                    old.read_key(view, &mut keys)?;
                    old.key.cmp(&new.key)
                }
            };
            if order.is_le() {
                old.read_key(view, &mut keys)?;
            }
            if order.is_lt() {
                self.push(view, &mut keys, "delete", old.row());
            } else {
                self.push(view, &mut keys, "upsert", new.row());
            }
            n_changes += 1;
            if order.is_le() {
                old.step();
            }
            if order.is_ge() {
                new.step();
            }
            if OUT_BYTES <= self.buffer.len() {
                self.flush()?;
            }
        }
    }

    fn push(&mut self, view: View, keys: &mut KeyReader, change: &str, row: &[u8]) {
        let out = &mut self.buffer;
        out.extend_from_slice(b"{\"view\":");
        push_plain(out, view.name().as_bytes());
        out.extend_from_slice(b",\"change\":");
        push_plain(out, change.as_bytes());
        out.extend_from_slice(b",\"key\":{");
        let parts = keys.texts(row).expect("the key of this row was read before");
        for (place, (column, part)) in view.key().iter().zip(&parts).enumerate() {
            if 0 < place {
                out.push(b',');
            }
            push_plain(out, column.as_bytes());
            out.push(b':');
            push_string(out, part);
        }
        out.extend_from_slice(b"},\"row\":");
        out.extend_from_slice(if change == "delete" { b"null" } else { row });
        out.extend_from_slice(b"}\n");
    }

    fn flush(&mut self) -> Result<()> {
        match &mut self.sink {
            ChangeSink::File(out, _) => out.write_all(&self.buffer)?,
            ChangeSink::Stream(out, name) => {
                let written = out.write_all(&self.buffer).and_then(|()| out.flush());
                written.map_err(|e: io::Error| {
                    Error::io("write the changes to", *name, e)
                        .hint("the views are unchanged; run it again to get the same changes")
                })?;
            }
        }
        self.buffer.clear();
        Ok(())
    }
}

/// The hint if an existing file is not a view.
const NO_VIEW_HINT: &str = "remove the file, or run it without `--changes`";

/// Reads the rows of a view, a block at a time.
struct ViewRows<'a> {
    source: &'a TableSource,
    /// The offset of the first byte that has not been read.
    at: u64,
    block: Vec<u8>,
    start: usize,
    /// The key of the current row; empty if it has not been read.
    key: Vec<u8>,
    /// The last row that was skipped without reading its key.
    passed: Vec<u8>,
    key_before: Vec<u8>,
}

/// Bytes read at a time.
const BLOCK_BYTES: usize = 1 << 18;

impl<'a> ViewRows<'a> {
    fn new(source: &'a TableSource) -> Self {
        let (block, key, passed, key_before) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { source, at: 0, block, start: 0, key, passed, key_before }
    }

    /// Returns whether there is a current row, after reading all of it into memory.
    fn has_row(&mut self) -> Result<bool> {
        while memchr::memchr(b'\n', &self.block[self.start..]).is_none() && self.at < self.source.length() {
            self.block.drain(..self.start);
            self.start = 0;
            let n_kept = self.block.len();
            let rest = self.source.length() - self.at;
            let n_read = usize::try_from(rest).map_or(BLOCK_BYTES, |rest| rest.min(BLOCK_BYTES));
            self.block.resize(n_kept + n_read, 0);
            self.source.read_at(&mut self.block[n_kept..], self.at)?;
            self.at += n_read as u64;
        }
        Ok(self.start < self.block.len())
    }

    /// Returns the unread part of the block.
    fn rest(&self) -> &[u8] {
        &self.block[self.start..]
    }

    fn row(&self) -> &[u8] {
        let rest = self.rest();
        &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())]
    }

    fn step(&mut self) {
        self.start = (self.start + self.row().len() + 1).min(self.block.len());
        std::mem::swap(&mut self.key, &mut self.key_before);
        self.key.clear();
    }

    /// Skips this many bytes of whole rows.
    fn skip(&mut self, n_bytes: usize) {
        let passed = &self.block[self.start..self.start + n_bytes - 1];
        let last = memchr::memrchr(b'\n', passed).map_or(0, |end| end + 1);
        self.passed.clear();
        self.passed.extend_from_slice(&passed[last..]);
        self.start += n_bytes;
        self.key.clear();
    }

    /// Reads the key of the current row, which must be greater than that of the row before it.
    fn read_key(&mut self, view: View, keys: &mut KeyReader) -> Result<()> {
        if !self.key.is_empty() {
            return Ok(());
        }
        let mut key = std::mem::take(&mut self.key);
        let mut read = || -> Option<()> {
            if !self.passed.is_empty() {
                keys.encode(&self.passed, &mut self.key_before)?;
            }
            keys.encode(self.row(), &mut key)?;
            (self.key_before < key).then_some(())
        };
        let is_in_order = read().is_some();
        self.passed.clear();
        self.key = key;
        if is_in_order {
            return Ok(());
        }
        let offset = self.at - self.rest().len() as u64;
        let message = format!("not a row of `{}`, or not in the order of its key", view.name());
        Err(Error::line(self.source.path(), self.source.line_number(offset)?, message).hint(NO_VIEW_HINT))
    }
}

/// Skips rows that are the same on both sides.
fn skip_common_rows(old: &mut ViewRows<'_>, new: &mut ViewRows<'_>) -> Result<()> {
    while old.has_row()? && new.has_row()? {
        let same = common(old.rest(), new.rest());
        let Some(end) = memchr::memrchr(b'\n', &old.rest()[..same]) else { return Ok(()) };
        old.skip(end + 1);
        new.skip(end + 1);
    }
    Ok(())
}

/// Returns the length of the common prefix in bytes.
fn common(one: &[u8], other: &[u8]) -> usize {
    const STEP: usize = 256;
    let mut at = 0;
    while let (Some(a), Some(b)) = (one.get(at..at + STEP), other.get(at..at + STEP)) {
        if a != b {
            break;
        }
        at += STEP;
    }
    at + one[at..].iter().zip(&other[at..]).take_while(|(a, b)| a == b).count()
}
