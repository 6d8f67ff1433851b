//! Rows read back from where they were found: the way to fold a table whose rows are too many to keep.

use std::borrow::Cow;

use super::{
    small,
    source::{Source, as_size},
};
use crate::error::Result;

/// Where a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The index of its file.
    pub source: u32,
    /// Where it begins there, after decompression.
    pub offset: u64,
    /// Its bytes, without line end.
    pub length: u32,
}

/// Some rows wanted, then read. Reused.
#[derive(Debug, Default)]
pub struct RowTexts {
    texts: Vec<u8>,
    wanted: Vec<(Place, u32)>,
    /// Where each is in the texts, in the order in which they were wanted.
    found: Vec<(usize, usize)>,
}

/// Rows no further apart than this are read together.
const GAP_BYTES: u64 = 1 << 14;

impl RowTexts {
    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.wanted.clear();
    }

    /// Adds a row to those to read.
    pub fn want(&mut self, place: Place) {
        self.wanted.push((place, small(self.wanted.len())));
    }

    /// Reads all of them, neighbours together.
    pub fn load(&mut self, sources: &[Source]) -> Result<()> {
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
            let n_bytes = as_size(end - first.offset);
            if texts.len() < n_used + n_bytes {
                texts.resize(n_used + n_bytes, 0);
            }
            sources[first.source as usize].read_at(&mut texts[n_used..n_used + n_bytes], first.offset)?;
            for (place, slot) in run {
                let start = n_used + as_size(place.offset - first.offset);
                found[*slot as usize] = (start, start + place.length as usize);
            }
            n_used += n_bytes;
            rest = behind;
        }
        Ok(())
    }

    /// The text of a row, by its number among those wanted.
    #[must_use]
    pub fn text(&self, slot: usize) -> &[u8] {
        let (start, end) = self.found[slot];
        &self.texts[start..end]
    }
}
