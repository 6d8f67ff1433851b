//! Tables being appended to: rows gather in large blocks, files are opened when a block goes out.
//!
//! The blocks of a packed table are the pieces of its digest, so that its frames end at the same places whoever packs them;
//! only what is left at the end of a run, or has to go out for want of memory, makes a shorter one.

use std::{
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    manifest::{Stored, TableState},
    new_tables::NewTables,
};
use crate::{
    error::{Error, Result},
    files::{Files, OutFile},
    identity::rules::Compression,
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
    path: PathBuf,
    committed: TableState,
    rows: u64,
    bytes: u64,
    /// How much of the file there is, where it is packed.
    stored: Option<Stored>,
    /// Taken up when the first block goes out.
    digest: Option<Digest>,
    pending: Vec<u8>,
    out: Option<OutFile>,
    /// Where it is noted before its file is made, where it is new to the space.
    unmade: Option<Arc<NewTables>>,
}

impl Table {
    /// A table as it is committed; `None` is new, and is stored as it is said.
    #[must_use]
    pub fn new(folder: &Path, name: &str, committed: Option<&TableState>, new: Compression) -> Self {
        let stands = committed.map_or(new, |committed| stands(folder, name, committed));
        let committed = committed.cloned().unwrap_or_default();
        let stored = (stands == Compression::Zstd).then(|| committed.stored.unwrap_or_default());
        Self {
            path: file_of(folder, name, stands),
            rows: committed.rows,
            bytes: committed.bytes,
            stored,
            committed,
            digest: None,
            pending: Vec::new(),
            out: None,
            unmade: None,
        }
    }

    /// The same, to be noted before its file is made.
    #[must_use]
    pub(super) fn noted(self, new_tables: Option<Arc<NewTables>>) -> Self {
        Self { unmade: new_tables, ..self }
    }

    /// Its file, where it is to be noted and was not; it counts as noted then.
    #[must_use]
    pub(super) fn unmade(&mut self) -> Option<PathBuf> {
        self.unmade.take().map(|_| self.path.clone())
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

    /// Where the bytes that went out would be found again, before they are committed.
    #[must_use]
    pub fn went_out(&self) -> TableState {
        TableState { bytes: self.bytes, stored: self.stored, ..TableState::default() }
    }

    /// Lets all rows go out.
    pub fn flush(&mut self, files: &Files) -> Result<()> {
        if self.pending.is_empty() { Ok(()) } else { self.go_out(true, files) }
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
        let (digest, out) = self.begin(files)?;
        digest.update(&pending[..n_out]);
        out.write_all(packed.as_ref().map_or(&pending, |packed| &packed.bytes))?;
        self.bytes += n_out as u64;
        if let (Some(stored), Some(packed)) = (&mut self.stored, packed) {
            stored.tail = packed.n_whole.map_or(stored.tail, |n_whole| stored.bytes + n_whole as u64);
            stored.bytes += packed.bytes.len() as u64;
        }
        pending.drain(..n_out);
        self.pending = pending;
        Ok(())
    }

    /// The digest and the file, both behind the last byte that went out.
    fn begin(&mut self, files: &Files) -> Result<(&mut Digest, &mut OutFile)> {
        let digest = match self.digest.take() {
            Some(digest) => digest,
            None => self.resume(files)?,
        };
        if let Some(new_tables) = self.unmade.take() {
            new_tables.add(std::slice::from_ref(&self.path), files)?;
        }
        let out = match self.out.take() {
            Some(out) => out,
            None => files.append_after(&self.path, self.length())?,
        };
        Ok((self.digest.insert(digest), self.out.insert(out)))
    }

    /// Bytes of the file so far.
    fn length(&self) -> u64 {
        self.stored.map_or(self.bytes, |stored| stored.bytes)
    }

    /// Closes the file until the next block, where there are more tables than files may be open.
    pub fn rest(&mut self) {
        self.out = None;
        self.pending.shrink_to_fit();
    }

    /// Brings all rows to the disk and says what is to be committed.
    pub fn finish(&mut self, files: &Files) -> Result<TableState> {
        self.flush(files)?;
        if self.bytes == self.committed.bytes {
            return Ok(self.committed.clone());
        }
        // A file that rested is opened again: syncing brings out what was written through any handle.
        match self.out.take() {
            Some(out) => out.sync()?,
            None => files.append_after(&self.path, self.length())?.sync()?,
        }
        let digest = self.digest.as_ref().map_or_else(Digest::default, Clone::clone);
        let link = format!("{:032x}", digest.link());
        Ok(TableState { rows: self.rows, bytes: self.bytes, digest: digest.hex(), link, stored: self.stored })
    }

    /// Makes the file of a table without a row.
    pub fn make(&mut self, files: &Files) -> Result<TableState> {
        let mut out = files.append_after(&self.path, 0)?;
        if let Some(stored) = &mut self.stored {
            let empty = frames::frame(b"").map_err(|e| Error::io("pack", &self.path, e))?;
            out.write_all(&empty)?;
            *stored = Stored { bytes: empty.len() as u64, tail: empty.len() as u64 };
        }
        out.sync()?;
        let digest = Digest::default().hex();
        Ok(TableState { digest: digest.clone(), link: digest, stored: self.stored, ..TableState::default() })
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
                        Error::unpack(&self.path, e)
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
