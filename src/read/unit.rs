//! A unit: some whole lines of an input, read and parsed at one go.

use std::{os::unix::fs::FileExt, path::PathBuf, sync::Arc};

use super::spill::Spilled;
use crate::{
    error::{Error, Result},
    event::timestamp::Millis,
    files::Files,
};

/// About the bytes of a unit: small enough for the caches, large enough to be worth a task.
pub const UNIT: u64 = 1 << 20;

/// The same, for buffers.
pub const UNIT_BYTES: usize = 1 << 20;

/// Where a unit's bytes are.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a file that is not packed.
    File {
        /// The file.
        path: Arc<PathBuf>,
    },
    /// In memory, unpacked.
    Memory(Arc<Vec<u8>>),
    /// Put away for want of memory.
    Spilled(Spilled),
}

/// Some whole lines.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Which input, in the order of reading.
    pub input: u32,
    /// Where the bytes are.
    pub place: Place,
    /// First byte, counted from 0 after unpacking.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// The number of the first line, counted from 1.
    pub first_line: u64,
    /// Lines, blank ones too.
    pub n_lines: u64,
    /// No event in it arrived earlier. Taken from a quick look, and checked when the unit is parsed.
    pub earliest: Millis,
    /// About when the last event in it arrived.
    pub latest: Millis,
    /// The unit is the beginning of one line that is too long to be an event; the line has so many bytes.
    pub too_long: Option<u64>,
}

impl Unit {
    /// Reads its bytes over what `bytes` holds.
    pub fn read(&self, bytes: &mut Vec<u8>, files: &Files) -> Result<()> {
        match &self.place {
            Place::Memory(kept) => {
                bytes.clear();
                bytes.extend_from_slice(kept);
            }
            Place::Spilled(spilled) => {
                spilled.take(bytes).map_err(|e| Error::io("read what was spilled of", "the inputs", e))?;
            }
            Place::File { path } => {
                let file = files.open(path)?;
                let length =
                    usize::try_from(self.length).map_err(|_| Error::file(&**path, "a line is too long"))?;
                // What is there is overwritten; only growth has to be zeroed.
                bytes.resize(length, 0);
                file.read_exact_at(bytes, self.offset).map_err(|e| {
                    Error::io("read", &**path, e).hint("the file must not shrink while it is being read")
                })?;
            }
        }
        Ok(())
    }
}
