//! Reads rows again by offset, to fold a table that has too many rows to keep in memory.

use std::borrow::Cow;

use super::{source::TableSource, to_u32, to_usize};
use crate::error::Result;

/// The position of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowPosition {
    /// Index of its file.
    pub source: u32,
    /// Offset of its first byte, after decompression.
    pub offset: u64,
    /// Length in bytes, without the line end.
    pub length: u32,
}

/// A batch of rows to read. Can be reused.
#[derive(Debug, Default)]
pub struct RowTexts {
    texts: Vec<u8>,
    wanted: Vec<(RowPosition, u32)>,
    /// Range of each row in `texts`, in the order in which the rows were requested.
    found: Vec<(usize, usize)>,
}

/// Rows at most this many bytes apart are read together.
const GAP_BYTES: u64 = 1 << 14;

impl RowTexts {
    /// Removes all rows.
    pub fn clear(&mut self) {
        self.wanted.clear();
    }

    /// Requests a row.
    pub fn request(&mut self, place: RowPosition) {
        self.wanted.push((place, to_u32(self.wanted.len())));
    }

    /// Reads all requested rows. Reads rows that are close together at once.
    pub fn load(&mut self, sources: &[TableSource]) -> Result<()> {
        let Self { texts, wanted, found } = self;
        let mut sorted = Cow::Borrowed(&wanted[..]);
        if !wanted.is_sorted() {
            sorted.to_mut().sort_unstable();
        }
        found.clear();
        found.resize(wanted.len(), (0, 0));
        let mut n_used = 0;
        let mut rest = &sorted[..];
        while let Some((first, _)) = rest.first() {
            let mut end = first.offset;
            let mut n_rows = 0;
            while let Some((place, _)) = rest.get(n_rows)
                && place.source == first.source
                && place.offset <= end + GAP_BYTES
            {
                end = end.max(place.offset + u64::from(place.length));
                n_rows += 1;
            }
            let (run, behind) = rest.split_at(n_rows);
            let n_bytes = to_usize(end - first.offset);
            if texts.len() < n_used + n_bytes {
                texts.resize(n_used + n_bytes, 0);
            }
            sources[first.source as usize].read_at(&mut texts[n_used..n_used + n_bytes], first.offset)?;
            for (place, slot) in run {
                let start = n_used + to_usize(place.offset - first.offset);
                found[*slot as usize] = (start, start + place.length as usize);
            }
            n_used += n_bytes;
            rest = behind;
        }
        Ok(())
    }

    /// Returns the text of a row, by its index among the requested rows.
    #[must_use]
    pub fn text(&self, slot: usize) -> &[u8] {
        let (start, end) = self.found[slot];
        &self.texts[start..end]
    }
}
