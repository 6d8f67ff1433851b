//! Tables being appended to: rows gather in large blocks, files are opened when a block goes out.

use std::{
    io::IoSlice,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::manifest::TableState;
use crate::{
    error::{Error, Result},
    files::{Files, OutFile},
    read::digest::{Digest, PIECE},
};

/// A block of this many bytes goes out.
const BLOCK: usize = 1 << 18;

/// So many bytes are written at one go from where they are.
const HANDFUL: usize = 1 << 16;

/// A table's file in a folder.
#[must_use]
pub fn path_of(folder: &Path, table: &str) -> PathBuf {
    folder.join(format!("{table}.ndjson"))
}

/// A table being appended to.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    committed: TableState,
    rows: u64,
    bytes: u64,
    /// Taken up when the first block goes out.
    digest: Option<Digest>,
    pending: Vec<u8>,
    out: Option<OutFile>,
}

impl Table {
    /// A table as it is committed.
    #[must_use]
    pub fn new(folder: &Path, name: &str, committed: &TableState) -> Self {
        Self {
            path: path_of(folder, name),
            committed: committed.clone(),
            rows: committed.rows,
            bytes: committed.bytes,
            digest: None,
            pending: Vec::new(),
            out: None,
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
        if self.pending.len() < BLOCK { Ok(()) } else { self.flush(files) }
    }

    /// Appends whole rows from where they are, without gathering them first.
    pub fn append(&mut self, pieces: &mut [IoSlice<'_>], rows: u64, files: &Files) -> Result<()> {
        self.flush(files)?;
        self.rows += rows;
        let (digest, out) = self.begin(files)?;
        let mut bytes = 0;
        let mut rest = pieces;
        while !rest.is_empty() {
            // What the digest has just read is still at hand when it is written.
            let mut together = 0;
            let end = rest.iter().position(|piece| {
                together += piece.len();
                HANDFUL <= together
            });
            let (now, later) = rest.split_at_mut(end.map_or(rest.len(), |last| last + 1));
            for piece in &*now {
                digest.update(piece);
            }
            out.write_pieces(now)?;
            bytes += together as u64;
            rest = later;
        }
        self.bytes += bytes;
        Ok(())
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

    /// Lets all rows go out.
    pub fn flush(&mut self, files: &Files) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let (digest, out) = self.begin(files)?;
        digest.update(&pending);
        out.write_all(&pending)?;
        self.bytes += pending.len() as u64;
        self.pending = pending;
        self.pending.clear();
        Ok(())
    }

    /// The digest and the file, both behind the last byte that went out.
    fn begin(&mut self, files: &Files) -> Result<(&mut Digest, &mut OutFile)> {
        let digest = match self.digest.take() {
            Some(digest) => digest,
            None => self.resume(files)?,
        };
        let out = match self.out.take() {
            Some(out) => out,
            None => files.append_after(&self.path, self.bytes)?,
        };
        Ok((self.digest.insert(digest), self.out.insert(out)))
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
            None => files.append_after(&self.path, self.bytes)?.sync()?,
        }
        let digest = self.digest.as_ref().map_or_else(Digest::default, Clone::clone);
        let link = format!("{:032x}", digest.link());
        Ok(TableState { rows: self.rows, bytes: self.bytes, digest: digest.hex(), link })
    }

    /// The digest of what is committed: the link is that of the whole pieces, the short last piece is read again.
    fn resume(&self, files: &Files) -> Result<Digest> {
        let tail = self.committed.bytes % PIECE;
        let link = u128::from_str_radix(&self.committed.link, 16).unwrap_or_default();
        let mut digest = Digest::resume(link);
        if 0 < tail {
            let mut bytes = vec![0; usize::try_from(tail).unwrap_or(usize::MAX)];
            let file = files.open(&self.path)?;
            let read = file.read_exact_at(&mut bytes, self.committed.bytes - tail);
            read.map_err(|e| Error::io("read", &self.path, e))?;
            digest.update(&bytes);
        }
        Ok(digest)
    }
}
