//! One file of a raw table, opened: bytes by their place in it.
//!
//! A plain file is read where it lies, as often as needed and from all threads; only a packed one, told by its magic bytes, is kept in memory.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::find::Part;
use crate::{
    error::{Error, Result},
    files::Files,
    read::inputs::{Packing, first_bytes, unpack},
};

/// A readable file of a raw table.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    length: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Plain(File),
    Unpacked(Vec<u8>),
}

impl Source {
    /// Opens a file, and unpacks it where it is packed.
    pub fn open(part: &Part, files: &Files) -> Result<Self> {
        let path = &part.path;
        let file = files.open(path)?;
        let length = file.metadata().map_err(|e| Error::io("read", path, e))?.len();
        let committed = part.committed.unwrap_or(length);
        if length < committed {
            return Err(Error::file(path, format!("{committed} bytes are committed, but it holds {length}")));
        }
        let mut rest = (&file).take(committed);
        let first = first_bytes(&mut rest).map_err(|e| Error::io("read", path, e))?;
        if Packing::of(&first) == Packing::Plain {
            return Ok(Self { path: path.clone(), length: committed, content: Content::Plain(file) });
        }
        let mut bytes = Vec::new();
        let unpacked = unpack(first, rest).and_then(|mut all| all.read_to_end(&mut bytes));
        unpacked.map_err(|e| Error::io("unpack", path, e))?;
        let length = bytes.len() as u64;
        Ok(Self { path: path.clone(), length, content: Content::Unpacked(bytes) })
    }

    /// The file as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes after unpacking.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The whole content, where it is in memory.
    #[must_use]
    pub fn in_memory(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Plain(_) => None,
            Content::Unpacked(bytes) => Some(bytes),
        }
    }

    /// Fills `out` with the bytes from `offset` on. They must lie within the length.
    pub fn read_at(&self, out: &mut [u8], offset: u64) -> Result<()> {
        match &self.content {
            Content::Plain(file) => {
                file.read_exact_at(out, offset).map_err(|e| Error::io("read", &self.path, e))?;
            }
            Content::Unpacked(bytes) => {
                let offset = as_size(offset);
                out.copy_from_slice(&bytes[offset..offset + out.len()]);
            }
        }
        Ok(())
    }

    /// The line in which a byte stands, counted from 1. Reads the file up to there: for errors only.
    pub fn line_number(&self, offset: u64) -> Result<u64> {
        let mut chunk = vec![0; 1 << 16];
        let mut line = 1;
        let mut at = 0;
        while at < offset {
            let n_bytes = as_size((offset - at).min(chunk.len() as u64));
            self.read_at(&mut chunk[..n_bytes], at)?;
            line += memchr::memchr_iter(b'\n', &chunk[..n_bytes]).count() as u64;
            at += n_bytes as u64;
        }
        Ok(line)
    }
}

/// A length or place in a file that is held in memory.
pub(crate) fn as_size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("memory is addressed by 64 bits")
}
