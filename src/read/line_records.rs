//! Where the lines of a spilled chunk are from, and their keys: records after the lines.

use std::ops::Range;

use crate::{event::order::ArrivalKey, time::timestamp::Millis};

/// Where a sorted line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineOrigin {
    /// Index of the input, in reading order.
    pub input: u32,
    /// Line number, counted from 1, including blank lines.
    pub number: u64,
    /// Offset of the first byte after decompression.
    pub offset: u64,
}

/// The clocks of an event, and its `messageId` as a range in a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyRange {
    pub(super) received_at: Millis,
    pub(super) timestamp: Millis,
    pub(super) message_id: Range<usize>,
}

impl KeyRange {
    pub(super) fn key(&self, bytes: &[u8]) -> ArrivalKey {
        let message_id = bytes[self.message_id.clone()].into();
        ArrivalKey { received_at: self.received_at, timestamp: self.timestamp, message_id }
    }
}

/// A line to sort.
#[derive(Debug, Clone)]
pub(super) struct SortLine {
    /// Keys of its first and last event.
    pub(super) first: KeyRange,
    pub(super) last: KeyRange,
    pub(super) at: LineOrigin,
    /// Range of its text.
    pub(super) text: Range<usize>,
}

/// Truncates a spilled block to its lines, and returns where each line came from.
pub(super) fn take_line_origins(bytes: &mut Vec<u8>) -> Vec<LineOrigin> {
    let at = records_at(bytes);
    let mut reader = LineRecordReader { bytes, at };
    let mut lines_at = Vec::new();
    while let Some(line) = reader.line(0) {
        lines_at.push(line.at);
    }
    bytes.truncate(at);
    lines_at
}

/// Returns the offset of the records in a block.
pub(super) fn records_at(bytes: &[u8]) -> usize {
    let length = bytes.last_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len())
}

/// Reads the records of a block.
pub(super) struct LineRecordReader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl LineRecordReader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let now = self.bytes.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(*now)
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(u64::from_le_bytes(self.take()?)).ok()
    }

    fn key(&mut self) -> Option<KeyRange> {
        let received_at = Millis::from_le_bytes(self.take()?);
        let timestamp = Millis::from_le_bytes(self.take()?);
        let length = self.length()?;
        let message_id = self.at..self.at + length;
        self.at += length;
        Some(KeyRange { received_at, timestamp, message_id })
    }

    /// Returns the next record, for a line whose text begins at `start`, or `None` after the last one.
    pub(super) fn line(&mut self, start: usize) -> Option<SortLine> {
        // Only the offset of the records is left.
        if self.bytes.len() <= self.at + size_of::<u64>() {
            return None;
        }
        let input = u32::from_le_bytes(self.take()?);
        let number = u64::from_le_bytes(self.take()?);
        let offset = u64::from_le_bytes(self.take()?);
        let text = start..start + self.length()?;
        Some(SortLine {
            first: self.key()?,
            last: self.key()?,
            at: LineOrigin { input, number, offset },
            text,
        })
    }
}
