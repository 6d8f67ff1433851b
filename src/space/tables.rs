//! Tables being appended to: rows gather in large blocks, which go to a staged file. The table itself changes after the commit.
//!
//! The blocks of a packed table are the pieces of its digest, so that its frames end at the same places whoever packs them;
//! only what is left at the end of a run, or has to go out for want of memory, makes a shorter one.

use std::{
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    manifest::{Placement, Stored, TableState},
    place::{refuse_foreign, shared_file, staged_folder},
};
use crate::{
    config::rules::Compression,
    error::{Error, Result},
    files::{Files, OutFile},
    read::digest::{Digest, PIECE},
    table::{
        find::{Part, file_of},
        frames,
        source::as_size,
    },
};

/// A block of this many bytes goes out; of a packed table, of one piece.
const BLOCK: usize = 1 << 18;

/// How the file of a table lies in its folder: as it is committed, or plain where somebody unpacked it.
#[must_use]
pub fn stands(folder: &Path, table: &str, committed: &TableState) -> Compression {
    let is_there = |stored| file_of(folder, table, stored).is_file();
    match committed.stored {
        Some(_) if is_there(Compression::Zstd) || !is_there(Compression::None) => Compression::Zstd,
        _ => Compression::None,
    }
}

/// The committed bytes of a table's file, as it stands.
#[must_use]
pub fn bytes_of(state: &TableState, stands: Compression) -> u64 {
    match stands {
        Compression::None => state.bytes,
        Compression::Zstd => state.stored.unwrap_or_default().bytes,
    }
}

/// The file of a table, and how much of its content is committed.
#[must_use]
pub fn part_of(folder: &Path, table: &str, committed: &TableState) -> Part {
    let path = file_of(folder, table, stands(folder, table, committed));
    Part { path, committed: Some(committed.bytes) }
}

/// A table being appended to.
#[derive(Debug)]
pub struct Table {
    /// Its file, with the rows that are committed.
    path: PathBuf,
    /// The file of the rows that are not, called as the table's own.
    staged: PathBuf,
    /// Whether nothing of it is committed yet, not even that it is empty.
    is_new: bool,
    committed: TableState,
    rows: u64,
    bytes: u64,
    /// Bytes of both files together, where it is packed.
    stored: Option<Stored>,
    /// Taken up when the first block goes out.
    digest: Option<Digest>,
    /// Of the bytes of the staged file, unless the digest of the table is the same.
    staged_digest: Option<Digest>,
    pending: Vec<u8>,
    out: Option<OutFile>,
    /// At the end of a run, what there is to stage if it is little: for the file that all such tables share.
    shared: Option<Vec<u8>>,
}

/// What a run adds to a table.
#[derive(Debug)]
pub struct Addition {
    /// The name of its file.
    pub file: String,
    /// The table after the commit.
    pub state: TableState,
    /// How it gets there.
    pub placement: Placement,
}

/// The staged file that the additions of many small tables share.
#[derive(Debug)]
pub struct SharedFile<'a> {
    path: PathBuf,
    files: &'a Files,
    out: Option<OutFile>,
    n_bytes: u64,
    pending: Vec<u8>,
}

impl<'a> SharedFile<'a> {
    /// Creates nothing before the first rows come.
    #[must_use]
    pub fn new(space: &Path, files: &'a Files) -> Self {
        Self { path: shared_file(space), files, out: None, n_bytes: 0, pending: Vec::new() }
    }

    /// Appends the rows of one table. Returns their offset.
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
        let mut out = match self.out.take() {
            Some(out) => out,
            None => {
                self.files.create_folder(self.path.parent().unwrap_or(Path::new(".")))?;
                self.files.create_anew(&self.path)?
            }
        };
        out.write_all(&self.pending)?;
        self.pending.clear();
        self.out = Some(out);
        Ok(())
    }

    /// Writes what is left.
    pub fn finish(mut self) -> Result<()> {
        if self.pending.is_empty() { Ok(()) } else { self.write() }
    }
}

impl Table {
    /// A table as it is committed; `None` is new, and is stored as it is said.
    #[must_use]
    pub fn new(folder: &Path, name: &str, committed: Option<&TableState>, new: Compression) -> Self {
        let stands = committed.map_or(new, |committed| stands(folder, name, committed));
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

    /// Where rows are appended; each ends with a line feed. [`Table::added`] has to be told how many.
    pub fn pending(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// Bytes that wait to go out.
    #[must_use]
    pub fn n_pending(&self) -> usize {
        self.pending.len()
    }

    /// So many rows were appended. Lets the block go out when it is large enough.
    pub fn added(&mut self, rows: u64, files: &Files) -> Result<()> {
        self.rows += rows;
        let block = if self.stored.is_some() { as_size(PIECE) } else { BLOCK };
        if self.pending.len() < block { Ok(()) } else { self.go_out(false, files) }
    }

    /// Counts rows as added without any, for a run that will not be committed.
    pub fn count(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Rows appended since the last commit.
    #[must_use]
    pub fn rows_added(&self) -> u64 {
        self.rows - self.committed.rows
    }

    /// Where the bytes appended since the last commit begin and end.
    #[must_use]
    pub fn bytes_added(&self) -> (u64, u64) {
        (self.committed.bytes, self.bytes + self.pending.len() as u64)
    }

    /// Of a new table: its staged file, as if that were the table.
    #[must_use]
    pub fn went_out(&self) -> TableState {
        TableState { bytes: self.bytes, stored: self.stored, ..TableState::default() }
    }

    /// Lets all rows go out.
    pub fn flush(&mut self, files: &Files) -> Result<()> {
        if self.pending.is_empty() { Ok(()) } else { self.go_out(true, files) }
    }

    /// Flushes all rows at the end of a run. The few rows of a table that exists stay in memory for the shared file.
    pub fn flush_last(&mut self, files: &Files) -> Result<()> {
        if !self.is_new && self.n_staged() == 0 && self.pending.len() < BLOCK {
            self.shared = Some(Vec::new());
        }
        self.flush(files)
    }

    /// Lets rows go out: of a packed table pieces, and what is behind the last one only where `all` is to go.
    fn go_out(&mut self, all: bool, files: &Files) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        let packed = match self.stored {
            Some(_) => {
                let packed = frames::pack(&pending, self.bytes, all);
                Some(packed.map_err(|e| Error::io("pack", &self.path, e))?)
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

    /// Writes bytes of content to the staged file, `stored` as they are.
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

    /// Opens the staged file behind its last byte.
    fn open(&self, files: &Files) -> Result<OutFile> {
        let n_staged = self.n_staged();
        if 0 < n_staged {
            return files.append_after(&self.staged, n_staged);
        }
        if self.is_new {
            refuse_foreign(&self.path)?;
        }
        files.create_folder(self.staged.parent().unwrap_or(Path::new(".")))?;
        files.create_anew(&self.staged)
    }

    /// Bytes of the staged file so far.
    fn n_staged(&self) -> u64 {
        let all = self.stored.map_or(self.bytes, |stored| stored.bytes);
        all - self.n_before()
    }

    /// Committed bytes of the table's file.
    fn n_before(&self) -> u64 {
        match self.stored {
            Some(_) => self.committed.stored.unwrap_or_default().bytes,
            None => self.committed.bytes,
        }
    }

    /// Closes the file until the next block, where there are more tables than files may be open.
    pub fn rest(&mut self) {
        self.out = None;
        self.pending.shrink_to_fit();
    }

    /// Returns what is to be committed, `None` if there are no new rows. Call after [`Table::flush_last`].
    pub fn finish(&mut self, shared: &mut SharedFile<'_>) -> Result<Option<Addition>> {
        self.out = None;
        if self.bytes == self.committed.bytes {
            return Ok(None);
        }
        let digest = self.digest.clone().unwrap_or_default();
        let link = format!("{:032x}", digest.link());
        let state = TableState {
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

    /// Makes the staged file of a new table without a row.
    pub fn make(&mut self, files: &Files) -> Result<Addition> {
        let empty = match self.stored {
            Some(_) => frames::frame(b"").map_err(|e| Error::io("pack", &self.path, e))?,
            None => Vec::new(),
        };
        self.write(b"", &empty, files)?;
        self.out = None;
        let n_bytes = empty.len() as u64;
        self.stored = self.stored.map(|_| Stored { bytes: n_bytes, tail: n_bytes });
        let digest = Digest::default().hex();
        let state =
            TableState { digest: digest.clone(), link: digest, stored: self.stored, ..TableState::default() };
        Ok(self.addition(state))
    }

    fn addition(&self, state: TableState) -> Addition {
        let from = (!self.is_new).then(|| self.n_before());
        let digest = self.staged_digest.as_ref().map_or_else(|| state.digest.clone(), Digest::hex);
        let file = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let placement = Placement { from, shared_from: None, bytes: self.n_staged(), digest };
        Addition { file, state, placement }
    }

    /// The digest of what is committed: the link is that of the whole pieces, the short last piece is read again.
    fn resume(&self, files: &Files) -> Result<Digest> {
        let tail = self.committed.bytes % PIECE;
        let link = u128::from_str_radix(&self.committed.link, 16).unwrap_or_default();
        let mut digest = Digest::resume(link);
        if 0 < tail {
            let mut bytes = vec![0; as_size(tail)];
            let file = files.open(&self.path)?;
            match self.stored {
                None => file
                    .read_exact_at(&mut bytes, self.committed.bytes - tail)
                    .map_err(|e| Error::io("read", &self.path, e))?,
                Some(stored) => {
                    let mut packed = vec![0; as_size(stored.bytes - stored.tail)];
                    let read = file.read_exact_at(&mut packed, stored.tail);
                    read.and_then(|()| frames::unpack(&packed, &mut bytes)).map_err(|e| {
                        Error::decompress(&self.path, e)
                            .hint("restore the table from a backup, or ingest into a new space")
                    })?;
                }
            }
            digest.update(&bytes);
        }
        // Rows behind bytes that somebody changed would have a digest that says all is well.
        if 0 < self.committed.bytes && digest.hex() != self.committed.digest {
            return Err(Error::file(&self.path, "its last bytes are not those that were committed").hint(
                "restore the table from a backup, or ingest into a new space; `ingest --verify` checks every table",
            ));
        }
        Ok(digest)
    }
}
