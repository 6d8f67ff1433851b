//! Spills data that does not fit in memory to a temporary file, compressed. The file has no name, so it disappears when
//! the run ends, however it ends.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::error::{Error, Result};

/// A temporary file that threads share for spilling.
#[derive(Debug)]
pub struct SpillStore {
    folder: PathBuf,
    file: Mutex<Option<Arc<File>>>,
    end: AtomicU64,
}

/// A reference to spilled bytes.
#[derive(Debug, Clone)]
pub struct SpilledBytes {
    file: Arc<File>,
    offset: u64,
    compressed_length: usize,
    length: usize,
}

/// Fast rather than small: spilled data is read only once.
const LEVEL: i32 = 1;

impl SpillStore {
    /// Creates a spill store that creates its file in `folder` on first use.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), file: Mutex::new(None), end: AtomicU64::new(0) }
    }

    /// Compresses bytes and writes them to the file.
    pub fn write(&self, bytes: &[u8]) -> Result<SpilledBytes> {
        let error = |e: io::Error| {
            Error::io("spill to", &self.folder, e)
                .hint("free space on this disk, or allow more memory with `--memory SIZE`")
        };
        let packed = zstd::bulk::compress(bytes, LEVEL).map_err(error)?;
        let file = {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            match &*file {
                Some(file) => Arc::clone(file),
                None => {
                    Arc::clone(file.insert(Arc::new(tempfile::tempfile_in(&self.folder).map_err(error)?)))
                }
            }
        };
        let offset = self.end.fetch_add(packed.len() as u64, Ordering::Relaxed);
        file.write_all_at(&packed, offset).map_err(error)?;
        Ok(SpilledBytes { file, offset, compressed_length: packed.len(), length: bytes.len() })
    }
}

impl SpilledBytes {
    /// Reads the bytes back and replaces the content of `bytes`.
    pub fn read(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let mut packed = vec![0; self.compressed_length];
        self.file.read_exact_at(&mut packed, self.offset)?;
        *bytes = zstd::bulk::decompress(&packed, self.length)?;
        Ok(())
    }
}
