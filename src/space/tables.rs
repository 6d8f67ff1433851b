//! Tables being appended to: rows gather in large blocks, files are opened when a block goes out.

use std::{
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
const BLOCK: usize = 1 << 20;

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

    /// Rows appended since the last commit.
    #[must_use]
    pub fn rows_added(&self) -> u64 {
        self.rows - self.committed.rows
    }

    /// Lets all rows go out.
    pub fn flush(&mut self, files: &Files) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut digest = match self.digest.take() {
            Some(digest) => digest,
            None => self.resume(files)?,
        };
        digest.update(&self.pending);
        self.digest = Some(digest);
        let out = match &mut self.out {
            Some(out) => out,
            None => self.out.insert(files.append_after(&self.path, self.bytes)?),
        };
        out.write_all(&self.pending)?;
        self.bytes += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Closes the file until the next block, where there are more tables than files may be open.
    pub fn rest(&mut self) -> Result<()> {
        if let Some(out) = self.out.take() {
            out.sync()?;
        }
        self.pending = Vec::new();
        Ok(())
    }

    /// Brings all rows to the disk and says what is to be committed.
    pub fn finish(&mut self, files: &Files) -> Result<TableState> {
        self.flush(files)?;
        if let Some(out) = self.out.take() {
            out.sync()?;
        }
        let digest = self.digest.as_ref().map_or_else(|| self.committed.digest.clone(), Digest::hex);
        Ok(TableState { rows: self.rows, bytes: self.bytes, digest })
    }

    /// The digest of what is committed: the link is that of the whole pieces, the short last piece is read again.
    fn resume(&self, files: &Files) -> Result<Digest> {
        if self.committed.bytes == 0 {
            return Ok(Digest::default());
        }
        let mut digest = Digest::default();
        let file = files.open(&self.path)?;
        let mut offset = 0;
        let mut piece = vec![0; usize::try_from(PIECE).unwrap_or(usize::MAX)];
        while offset < self.committed.bytes {
            let length = usize::try_from((self.committed.bytes - offset).min(PIECE)).unwrap_or(usize::MAX);
            file.read_exact_at(&mut piece[..length], offset).map_err(|e| Error::io("read", &self.path, e))?;
            digest.update(&piece[..length]);
            offset += length as u64;
        }
        Ok(digest)
    }
}
