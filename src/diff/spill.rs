//! Spills rows to temporary files, partitioned by the hash of their key, so that the rows of a key are together.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write},
};

use crate::error::Result;

use super::{records::temporary, rows::TablePosition};

/// The number of partitions at each level.
const N_PARTS: usize = 32;
const BITS: u32 = N_PARTS.ilog2();

/// Bytes before each line: side, file, offset, length, hash of the key.
const HEAD: usize = 33;

/// Writes rows to partitions.
pub struct RowSpill {
    level: u32,
    parts: Vec<BufWriter<File>>,
    n_bytes: Vec<usize>,
}

/// A row to spill.
#[derive(Debug, Clone, Copy)]
pub struct SpilledRow<'a> {
    /// The side it is on.
    pub side: usize,
    /// Its bytes.
    pub line: &'a [u8],
    /// The hash of its key.
    pub key_hash: u128,
    /// Its position.
    pub place: TablePosition,
}

impl RowSpill {
    /// The last level. Rows that are still too many after it have the same key, and are compared in memory whatever it
    /// takes.
    pub const LAST_LEVEL: u32 = 3;

    /// Creates partitions by the bits of the hash for a level.
    pub fn new(level: u32) -> Result<Self> {
        let part =
            || tempfile::tempfile().map(|file| BufWriter::with_capacity(1 << 15, file)).map_err(temporary);
        let parts = (0..N_PARTS).map(|_| part()).collect::<Result<_>>()?;
        Ok(Self { level, parts, n_bytes: vec![0; N_PARTS] })
    }

    /// Returns the level, which selects the bits of the hash.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.level
    }

    /// Writes a row.
    pub fn push(&mut self, row: SpilledRow<'_>) -> Result<()> {
        let bits = row.key_hash >> (128 - BITS * (self.level + 1));
        let at = usize::try_from(bits % N_PARTS as u128).unwrap_or(0);
        let length = u32::try_from(row.line.len()).expect("a line is shorter than 4 GiB");
        let mut head = [0; HEAD];
        head[0] = u8::from(row.side != 0);
        head[1..5].copy_from_slice(&row.place.file.to_le_bytes());
        head[5..13].copy_from_slice(&row.place.offset.to_le_bytes());
        head[13..17].copy_from_slice(&length.to_le_bytes());
        head[17..].copy_from_slice(&row.key_hash.to_le_bytes());
        self.n_bytes[at] += row.line.len() + HEAD;
        let part = &mut self.parts[at];
        part.write_all(&head).and_then(|()| part.write_all(row.line)).map_err(temporary)
    }

    /// Returns the partitions for reading.
    pub fn finish(self) -> Result<Vec<SpilledPartition>> {
        let parts = self.parts.into_iter().zip(self.n_bytes);
        parts
            .map(|(part, n_bytes)| {
                let mut file = part.into_inner().map_err(|e| temporary(e.into_error()))?;
                file.seek(SeekFrom::Start(0)).map_err(temporary)?;
                Ok(SpilledPartition { file, n_bytes })
            })
            .collect()
    }
}

/// A partition of the spilled rows.
pub struct SpilledPartition {
    file: File,
    n_bytes: usize,
}

impl SpilledPartition {
    /// Returns about how many bytes of memory its rows would take.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Reads each row back.
    pub fn each(&mut self, take: &mut dyn FnMut(SpilledRow<'_>) -> Result<()>) -> Result<()> {
        let mut reader = BufReader::with_capacity(1 << 17, &self.file);
        let (mut head, mut line) = ([0; HEAD], Vec::new());
        loop {
            match reader.read_exact(&mut head) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(e) => return Err(temporary(e)),
            }
            let number = |at: usize, n: usize| {
                head[at..at + n].iter().rev().fold(0_u128, |number, byte| number << 8 | u128::from(*byte))
            };
            let file = u32::try_from(number(1, 4)).unwrap_or(0);
            let place = TablePosition { file, offset: u64::try_from(number(5, 8)).unwrap_or(0) };
            let (side, key_hash) = (usize::from(head[0]), number(17, 16));
            line.resize(usize::try_from(number(13, 4)).unwrap_or(0), 0);
            reader.read_exact(&mut line).map_err(temporary)?;
            take(SpilledRow { side, line: &line, key_hash, place })?;
        }
    }
}
