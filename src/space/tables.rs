//! Tables that a run appends to. Rows are collected in large blocks and written to a staged file. The table itself
//! changes only after the commit.
//!
//! The blocks of a compressed table are the pieces of its digest, so that its frames always end at the same offsets.
//! Only the last block of a run, or a flush to free memory, may be shorter.

use std::{
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    layout::{shared_file, staged_folder},
    manifest::Placement,
    place::refuse_foreign,
    table_state::{CommittedTable, CompressedExtent},
};
use crate::{
    config::rules::Compression,
    error::{Error, Result},
    files::{Files, OutFile},
    read::digest::{Digest, PIECE},
    table::{
        find::{RawTableFile, file_of},
        frames, to_usize,
    },
};

/// A plain table is flushed when it has this many pending bytes. A compressed table is flushed after each piece.
const BLOCK: usize = 1 << 18;

/// Returns how the file of a table is stored: as it was committed, or plain if somebody decompressed it.
#[must_use]
pub fn storage_of(folder: &Path, table: &str, committed: &CommittedTable) -> Compression {
    let is_there = |stored| file_of(folder, table, stored).is_file();
    match committed.stored {
        Some(_) if is_there(Compression::Zstd) || !is_there(Compression::None) => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Returns the number of committed bytes of a table's file, given how it is stored.
#[must_use]
pub fn committed_file_bytes(state: &CommittedTable, stands: Compression) -> u64 {
    match stands {
        Compression::None => state.bytes,
        Compression::Zstd => state.stored.unwrap_or_default().bytes,
    }
}

/// Returns the file of a table and how much of its content is committed.
#[must_use]
pub fn committed_file(folder: &Path, table: &str, committed: &CommittedTable) -> RawTableFile {
    let path = file_of(folder, table, storage_of(folder, table, committed));
    RawTableFile { path, committed: Some(committed.bytes) }
}

/// A table that a run appends to.
#[derive(Debug)]
pub struct AppendTable {
    /// The table's file, with the committed rows.
    path: PathBuf,
    /// The staged file for new rows. It has the same name.
    staged: PathBuf,
    /// Whether nothing was ever committed of the table, not even as an empty table.
    is_new: bool,
    committed: CommittedTable,
    rows: u64,
    bytes: u64,
    /// The extent of both files together if the table is compressed.
    stored: Option<CompressedExtent>,
    /// Digest of the table, resumed at the first flush.
    digest: Option<Digest>,
    /// Digest of the staged file, unless it is the same as the table's.
    staged_digest: Option<Digest>,
    pending: Vec<u8>,
    out: Option<OutFile>,
    /// At the end of a run, the new rows if they are few: they go to the shared staged file.
    shared: Option<Vec<u8>>,
}

/// What a run adds to a table.
#[derive(Debug)]
pub struct Addition {
    /// Name of the table's file.
    pub file: String,
    /// The table after the commit.
    pub state: CommittedTable,
    /// Where the new rows are, and where they go.
    pub placement: Placement,
}

/// The staged file that small additions to many tables share.
#[derive(Debug)]
pub struct SharedFile<'a> {
    path: PathBuf,
    files: &'a Files,
    out: Option<OutFile>,
    n_bytes: u64,
    pending: Vec<u8>,
}

impl<'a> SharedFile<'a> {
    /// Prepares the file. It is created when the first rows arrive.
    #[must_use]
    pub fn new(space: &Path, files: &'a Files) -> Self {
        Self { path: shared_file(space), files, out: None, n_bytes: 0, pending: Vec::new() }
    }

    /// Appends the rows of one table and returns their offset.
    fn append(&mut self, rows: &[u8]) -> Result<u64> {
        let offset = self.n_bytes;
        self.pending.extend_from_slice(rows);
        self.n_bytes += rows.len() as u64;
        if BLOCK <= self.pending.len() {
            self.write()?;
        }
        Ok(offset)
    }

    fn write(&mut self) -> Result<()> {
        if self.out.is_none() {
            self.files.create_folder(self.path.parent().unwrap_or(Path::new(".")))?;
            self.out = Some(self.files.create_replacing(&self.path)?);
        }
        if let Some(out) = &mut self.out {
            out.write_all(&self.pending)?;
        }
        self.pending.clear();
        Ok(())
    }

    /// Writes what is left.
    pub fn finish(mut self) -> Result<()> {
        if self.pending.is_empty() { Ok(()) } else { self.write() }
    }
}

impl AppendTable {
    /// Prepares a table for appending. If it is not committed yet, it is stored as `new`.
    #[must_use]
    pub fn new(folder: &Path, name: &str, committed: Option<&CommittedTable>, new: Compression) -> Self {
        let stands = committed.map_or(new, |committed| storage_of(folder, name, committed));
        let is_new = committed.is_none();
        let committed = committed.cloned().unwrap_or_default();
        let stored = (stands == Compression::Zstd).then(|| committed.stored.unwrap_or_default());
        let is_same = stored.is_none() && committed.bytes == 0;
        Self {
            path: file_of(folder, name, stands),
            staged: file_of(&staged_folder(folder), name, stands),
            is_new,
            rows: committed.rows,
            bytes: committed.bytes,
            stored,
            committed,
            digest: None,
            staged_digest: (!is_same).then(Digest::default),
            pending: Vec::new(),
            out: None,
            shared: None,
        }
    }

    /// Returns the buffer to which rows are appended, each with a line feed at its end. Report their number to
    /// [`AppendTable::count_appended`].
    pub fn pending(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// Returns the number of bytes that are not flushed yet.
    #[must_use]
    pub fn n_pending(&self) -> usize {
        self.pending.len()
    }

    /// Counts rows that were appended, and flushes the block if it is large enough.
    pub fn count_appended(&mut self, rows: u64, files: &Files) -> Result<()> {
        self.rows += rows;
        let block = if self.stored.is_some() { to_usize(PIECE) } else { BLOCK };
        if self.pending.len() < block { Ok(()) } else { self.write_pending(false, files) }
    }

    /// Counts rows without appending them, for a run that does not commit.
    pub fn count_only(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Returns the number of rows appended since the last commit.
    #[must_use]
    pub fn rows_added(&self) -> u64 {
        self.rows - self.committed.rows
    }

    /// Returns the byte range appended since the last commit.
    #[must_use]
    pub fn bytes_added(&self) -> (u64, u64) {
        (self.committed.bytes, self.bytes + self.pending.len() as u64)
    }

    /// Returns what was flushed of a new table, as if its staged file were the table.
    #[must_use]
    pub fn flushed(&self) -> CommittedTable {
        CommittedTable { bytes: self.bytes, stored: self.stored, ..CommittedTable::default() }
    }

    /// Flushes all rows.
    pub fn flush(&mut self, files: &Files) -> Result<()> {
        if self.pending.is_empty() { Ok(()) } else { self.write_pending(true, files) }
    }

    /// Flushes all rows at the end of a run. The rows of a small addition to an existing table stay in memory for the
    /// shared file.
    pub fn flush_last(&mut self, files: &Files) -> Result<()> {
        if !self.is_new && self.n_staged() == 0 && self.pending.len() < BLOCK {
            self.shared = Some(Vec::new());
        }
        self.flush(files)
    }

    /// Writes pending rows. A compressed table writes only whole pieces, unless `all` is set.
    fn write_pending(&mut self, all: bool, files: &Files) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        let packed = match self.stored {
            Some(_) => {
                let packed = frames::compress_frames(&pending, self.bytes, all);
                Some(packed.map_err(|e| Error::io("compress", &self.path, e))?)
            }
            None => None,
        };
        let n_out = packed.as_ref().map_or(pending.len(), |packed| packed.n_taken);
        self.write(&pending[..n_out], packed.as_ref().map_or(&pending, |packed| &packed.bytes), files)?;
        self.bytes += n_out as u64;
        if let (Some(stored), Some(packed)) = (&mut self.stored, packed) {
            stored.tail = packed.n_whole.map_or(stored.tail, |n_whole| stored.bytes + n_whole as u64);
            stored.bytes += packed.bytes.len() as u64;
        }
        pending.drain(..n_out);
        self.pending = pending;
        Ok(())
    }

    /// Writes bytes to the staged file: `content` before compression, `stored` after it.
    fn write(&mut self, content: &[u8], stored: &[u8], files: &Files) -> Result<()> {
        let mut digest = match self.digest.take() {
            Some(digest) => digest,
            None => self.resume(files)?,
        };
        digest.update(content);
        if let Some(staged_digest) = &mut self.staged_digest {
            staged_digest.update(stored);
        }
        self.digest = Some(digest);
        if let Some(shared) = &mut self.shared {
            shared.extend_from_slice(stored);
            return Ok(());
        }
        let mut out = match self.out.take() {
            Some(out) => out,
            None => self.open(files)?,
        };
        out.write_all(stored)?;
        self.out = Some(out);
        Ok(())
    }

    /// Opens the staged file at its end, creating it if necessary.
    fn open(&self, files: &Files) -> Result<OutFile> {
        let n_staged = self.n_staged();
        if 0 < n_staged {
            return files.append_after(&self.staged, n_staged);
        }
        if self.is_new {
            refuse_foreign(&self.path)?;
        }
        files.create_folder(self.staged.parent().unwrap_or(Path::new(".")))?;
        files.create_replacing(&self.staged)
    }

    /// Returns the number of bytes of the staged file so far.
    fn n_staged(&self) -> u64 {
        let all = self.stored.map_or(self.bytes, |stored| stored.bytes);
        all - self.n_committed_bytes()
    }

    /// Returns the number of committed bytes of the table's file.
    fn n_committed_bytes(&self) -> u64 {
        match self.stored {
            Some(_) => self.committed.stored.unwrap_or_default().bytes,
            None => self.committed.bytes,
        }
    }

    /// Closes the file until the next flush, for runs with more tables than files may be open.
    pub fn close(&mut self) {
        self.out = None;
        self.pending.shrink_to_fit();
    }

    /// Returns what to commit, or `None` if there are no new rows. Call [`AppendTable::flush_last`] first.
    pub fn finish(&mut self, shared: &mut SharedFile<'_>) -> Result<Option<Addition>> {
        self.out = None;
        if self.bytes == self.committed.bytes {
            return Ok(None);
        }
        let digest = self.digest.clone().unwrap_or_default();
        let link = format!("{:032x}", digest.link());
        let state = CommittedTable {
            rows: self.rows,
            bytes: self.bytes,
            digest: digest.hex(),
            link,
            stored: self.stored,
        };
        let mut addition = self.addition(state);
        if let Some(rows) = self.shared.take() {
            addition.placement.shared_from = Some(shared.append(&rows)?);
        }
        Ok(Some(addition))
    }

    /// Creates the staged file of a new table that has no rows.
    pub fn create_empty(&mut self, files: &Files) -> Result<Addition> {
        let empty = match self.stored {
            Some(_) => frames::compress_frame(b"").map_err(|e| Error::io("compress", &self.path, e))?,
            None => Vec::new(),
        };
        self.write(b"", &empty, files)?;
        self.out = None;
        let n_bytes = empty.len() as u64;
        self.stored = self.stored.map(|_| CompressedExtent { bytes: n_bytes, tail: n_bytes });
        let digest = Digest::default().hex();
        let state = CommittedTable {
            digest: digest.clone(),
            link: digest,
            stored: self.stored,
            ..CommittedTable::default()
        };
        Ok(self.addition(state))
    }

    fn addition(&self, state: CommittedTable) -> Addition {
        let from = (!self.is_new).then(|| self.n_committed_bytes());
        let digest = self.staged_digest.as_ref().map_or_else(|| state.digest.clone(), Digest::hex);
        let file = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let placement = Placement { from, shared_from: None, bytes: self.n_staged(), digest };
        Addition { file, state, placement }
    }

    /// Resumes the digest of the committed bytes from the link of the whole pieces. Reads the short last piece again
    /// and fails if it was changed.
    fn resume(&self, files: &Files) -> Result<Digest> {
        let tail = self.committed.bytes % PIECE;
        let link = u128::from_str_radix(&self.committed.link, 16).unwrap_or_default();
        let mut digest = Digest::resume(link);
        if 0 < tail {
            let mut bytes = vec![0; to_usize(tail)];
            let file = files.open(&self.path)?;
            match self.stored {
                None => file
                    .read_exact_at(&mut bytes, self.committed.bytes - tail)
                    .map_err(|e| Error::io("read", &self.path, e))?,
                Some(stored) => {
                    let mut packed = vec![0; to_usize(stored.bytes - stored.tail)];
                    let read = file.read_exact_at(&mut packed, stored.tail);
                    read.and_then(|()| frames::unpack(&packed, &mut bytes)).map_err(|e| {
                        Error::decompress(&self.path, e)
                            .hint("restore the table from a backup, or ingest into a new space")
                    })?;
                }
            }
            digest.update(&bytes);
        }
        // Appending to changed bytes would produce a digest that hides the change.
        if 0 < self.committed.bytes && digest.hex() != self.committed.digest {
            return Err(Error::file(&self.path, "its last bytes are not those that were committed").hint(
                "restore the table from a backup, or ingest into a new space; `ingest --verify` checks every table",
            ));
        }
        Ok(digest)
    }
}
