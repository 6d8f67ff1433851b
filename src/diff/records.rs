//! Changes to be written: records of a key and a line. A few are kept in memory, many in a temporary file, and several
//! sorted runs are merged by key.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
};

use tempfile::SpooledTempFile;

use crate::error::{Error, Result};

/// Up to this many bytes of a sorted run stay in memory.
const IN_MEMORY: usize = 1 << 20;

/// Appends a record; `line` writes the line with its end.
pub fn push_record(out: &mut Vec<u8>, key: &[u8], line: impl FnOnce(&mut Vec<u8>)) {
    push_length(out, key.len());
    out.extend_from_slice(key);
    let length_at = out.len();
    push_length(out, 0);
    let line_at = out.len();
    line(out);
    let length = u32::try_from(out.len() - line_at).expect("a line is shorter than 4 GiB");
    out[length_at..line_at].copy_from_slice(&length.to_le_bytes());
}

fn push_length(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("a key is shorter than 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
}

/// Creates an error about a temporary file.
#[must_use]
pub fn temporary(e: io::Error) -> Error {
    Error::io("keep temporary data in", std::env::temp_dir(), e)
        .hint("free some space there, or set TMPDIR to another folder")
}

/// A sorted run: records in the order of their keys.
#[derive(Debug)]
pub struct ChangesRun {
    file: SpooledTempFile,
    n_bytes: u64,
}

impl Default for ChangesRun {
    fn default() -> Self {
        Self { file: SpooledTempFile::new(IN_MEMORY), n_bytes: 0 }
    }
}

impl ChangesRun {
    /// Appends records, whose keys must not be smaller than the existing ones.
    pub fn append(&mut self, records: &[u8]) -> Result<()> {
        self.n_bytes += records.len() as u64;
        self.file.write_all(records).map_err(temporary)
    }

    /// Merges sorted runs and writes their lines in the order of their keys.
    pub fn write_merged(runs: Vec<Self>, out: &mut dyn Write) -> Result<()> {
        let mut readers = Vec::new();
        let mut heap = BinaryHeap::new();
        for run in runs.into_iter().filter(|run| 0 < run.n_bytes) {
            let mut reader = RecordReader::new(run)?;
            if reader.next()? {
                heap.push(Reverse((std::mem::take(&mut reader.key), readers.len())));
                readers.push(reader);
            }
        }
        while let Some(Reverse((key, at))) = heap.pop() {
            let reader = &mut readers[at];
            let write = |e| Error::io("write to", Path::new("the standard output"), e);
            out.write_all(&reader.line).map_err(write)?;
            reader.key = key;
            if reader.next()? {
                heap.push(Reverse((std::mem::take(&mut reader.key), at)));
            }
        }
        Ok(())
    }
}

struct RecordReader {
    reader: BufReader<SpooledTempFile>,
    left: u64,
    key: Vec<u8>,
    line: Vec<u8>,
}

impl RecordReader {
    fn new(mut run: ChangesRun) -> Result<Self> {
        run.file.seek(SeekFrom::Start(0)).map_err(temporary)?;
        let reader = BufReader::with_capacity(1 << 16, run.file);
        Ok(Self { reader, left: run.n_bytes, key: Vec::new(), line: Vec::new() })
    }

    fn next(&mut self) -> Result<bool> {
        if self.left == 0 {
            return Ok(false);
        }
        let Self { reader, key, line, left } = self;
        for part in [key, line] {
            let mut length = [0; 4];
            reader.read_exact(&mut length).map_err(temporary)?;
            let length = u32::from_le_bytes(length);
            part.resize(length as usize, 0);
            reader.read_exact(part).map_err(temporary)?;
            *left -= 4 + u64::from(length);
        }
        Ok(true)
    }
}
