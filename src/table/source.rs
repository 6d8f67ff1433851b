//! An open file of a raw table, read by offset.
//!
//! A plain file is read directly, as often as needed and from all threads. So is a file compressed in frames as this
//! program writes them. A file compressed in any other way, recognized by its magic bytes, is decompressed first.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{find::RawTableFile, frames::Frames, to_usize};
use crate::{
    error::{Error, Result},
    files::{Files, refuse_pipe},
    read::inputs::{CompressionFormat, decompress, first_bytes},
};

/// An open file of a raw table. Offsets refer to the decompressed content.
#[derive(Debug)]
pub struct TableSource {
    path: PathBuf,
    length: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Plain(File),
    Frames(Frames),
    Memory(Vec<u8>),
}

impl TableSource {
    /// Opens a file, and decompresses it into memory if it cannot be read by offset.
    pub fn open(part: &RawTableFile, files: &Files) -> Result<Self> {
        Self::open_by(part, files, None)
    }

    /// Opens a file like [`Self::open`], but decompresses into a nameless file in `folder`, because the content may be
    /// larger than the memory.
    pub fn open_large(part: &RawTableFile, files: &Files, folder: &Path) -> Result<Self> {
        Self::open_by(part, files, Some(folder))
    }

    /// Creates a source from rows in memory. Errors name `path` as the file.
    #[must_use]
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), length: bytes.len() as u64, content: Content::Memory(bytes) }
    }

    fn open_by(part: &RawTableFile, files: &Files, folder: Option<&Path>) -> Result<Self> {
        let path = &part.path;
        let error = |e| Error::decompress(path, e);
        refuse_pipe(path)?;
        let file = files.open(path)?;
        let first = first_bytes(&mut &file).map_err(|e| Error::io("read", path, e))?;
        let (length, content) = match CompressionFormat::of(&first) {
            CompressionFormat::Plain => {
                let length = file.metadata().map_err(|e| Error::io("read", path, e))?.len();
                (length, Content::Plain(file))
            }
            CompressionFormat::Zstd
                if let Some(frames) = Frames::find(&file, part.committed).map_err(error)? =>
            {
                (frames.length(), Content::Frames(frames))
            }
            _ => {
                let all = decompress(first, file).map_err(error)?;
                decompress_all(&mut all.take(part.committed.unwrap_or(u64::MAX)), folder).map_err(error)?
            }
        };
        let committed = part.committed.unwrap_or(length);
        if length < committed {
            return Err(Error::file(
                path,
                format!("{committed} bytes are committed, but it has only {length}"),
            ));
        }
        Ok(Self { path: path.clone(), length: committed, content })
    }

    /// Loads compressed content into memory, so that it is not decompressed again for every row that is reread.
    pub fn load(self) -> Result<Self> {
        let Content::Frames(frames) = &self.content else { return Ok(self) };
        let mut bytes = frames.read_all().map_err(|e| Error::decompress(&self.path, e))?;
        bytes.truncate(to_usize(self.length));
        Ok(Self { content: Content::Memory(bytes), ..self })
    }

    /// Returns the path of the file as given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the content size in bytes, after decompression.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns the whole content if it is in memory.
    #[must_use]
    pub fn in_memory(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Plain(_) | Content::Frames(_) => None,
            Content::Memory(bytes) => Some(bytes),
        }
    }

    /// Fills `out` with the bytes from `offset` on. They must lie within the content.
    pub fn read_at(&self, out: &mut [u8], offset: u64) -> Result<()> {
        match &self.content {
            Content::Plain(file) => {
                file.read_exact_at(out, offset).map_err(|e| Error::io("read", &self.path, e))?;
            }
            Content::Frames(frames) => {
                frames.read_at(out, offset).map_err(|e| Error::decompress(&self.path, e))?;
            }
            Content::Memory(bytes) => {
                let offset = to_usize(offset);
                out.copy_from_slice(&bytes[offset..offset + out.len()]);
            }
        }
        Ok(())
    }

    /// Returns the number of the line that contains the byte at `offset`, counted from 1. Reads the file up to there,
    /// so use it only for errors.
    pub fn line_number(&self, offset: u64) -> Result<u64> {
        let mut chunk = vec![0; 1 << 16];
        let mut line = 1;
        let mut at = 0;
        while at < offset {
            let n_bytes = to_usize((offset - at).min(chunk.len() as u64));
            self.read_at(&mut chunk[..n_bytes], at)?;
            line += memchr::memchr_iter(b'\n', &chunk[..n_bytes]).count() as u64;
            at += n_bytes as u64;
        }
        Ok(line)
    }
}

/// A source as a stream of bytes.
#[derive(Debug)]
pub struct SourceReader {
    source: TableSource,
    at: u64,
}

impl SourceReader {
    /// Creates a stream that begins at offset `at`.
    #[must_use]
    pub fn new(source: TableSource, at: u64) -> Self {
        Self { source, at }
    }
}

impl Read for SourceReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n_left = usize::try_from(self.source.length.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let n_bytes = out.len().min(n_left);
        self.source.read_at(&mut out[..n_bytes], self.at).map_err(io::Error::other)?;
        self.at += n_bytes as u64;
        Ok(n_bytes)
    }
}

/// Decompresses into memory, or into a nameless file in `folder`. Returns the size and the content.
fn decompress_all(all: &mut impl Read, folder: Option<&Path>) -> io::Result<(u64, Content)> {
    let Some(folder) = folder else {
        let mut bytes = Vec::new();
        all.read_to_end(&mut bytes)?;
        return Ok((bytes.len() as u64, Content::Memory(bytes)));
    };
    let mut file = tempfile::tempfile_in(folder)?;
    let length = io::copy(all, &mut file)?;
    Ok((length, Content::Plain(file)))
}
