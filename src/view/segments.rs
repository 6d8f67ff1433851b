//! Assigns small numbers to segment ids, in the order of first occurrence.

use std::borrow::Cow;

use rayon::prelude::*;

use super::keys::KeyNumbers;
use crate::{
    bytes::equal,
    collections::local_key_of,
    json::push_string,
    table::{to_u32, write::push_plain},
};

/// The number of a `segment_id`.
pub type Segment = u32;

/// All segment ids read so far, by number.
#[derive(Debug, Default)]
pub struct Segments {
    keys: KeyNumbers,
    texts: Vec<u8>,
    ends: Vec<usize>,
    /// Whether any text has a character that JSON escapes.
    any_escaped: bool,
}

/// A `segment_id` in a block that is parsed in parallel with other blocks: its number if it already had one, otherwise
/// its index among the block's new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InternedOrNew {
    /// A number of [`Segments`].
    Known(Segment),
    /// An index into [`NewSegments`].
    New(u32),
}

/// The segment ids of a block that had no numbers when it was parsed.
#[derive(Debug, Default)]
pub struct NewSegments {
    keys: KeyNumbers,
    texts: Vec<u8>,
    ends: Vec<usize>,
}

impl Segments {
    /// Reserves room for `n_segments`.
    #[must_use]
    pub fn with_capacity(n_segments: usize) -> Self {
        Self {
            keys: KeyNumbers::with_capacity(n_segments),
            texts: Vec::with_capacity(32 * n_segments),
            ends: Vec::with_capacity(n_segments),
            any_escaped: false,
        }
    }

    /// Returns the number of a text, assigning one if it is new.
    pub fn intern(&mut self, text: &[u8]) -> Segment {
        self.intern_key(local_key_of(text), text)
    }

    /// Does the same as [`Segments::intern`] if the key of the text is known.
    pub(super) fn intern_key(&mut self, key: u128, text: &[u8]) -> Segment {
        let (number, is_new) = self.keys.intern(key);
        if is_new {
            self.texts.extend_from_slice(text);
            self.ends.push(self.texts.len());
            self.any_escaped |= text.iter().any(|&byte| byte < b' ' || byte == b'"' || byte == b'\\');
        }
        number
    }

    /// Assigns numbers to the new segment ids of a block. Returns them by index in the block.
    pub fn intern_all(&mut self, new: &NewSegments) -> Vec<Segment> {
        (0..new.ends.len()).map(|place| self.intern(text_at(&new.texts, &new.ends, place))).collect()
    }

    /// Returns how many there are. All numbers are smaller.
    #[must_use]
    pub fn len(&self) -> u32 {
        to_u32(self.ends.len())
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the text of a number.
    #[must_use]
    pub fn text(&self, segment: Segment) -> &[u8] {
        text_at(&self.texts, &self.ends, segment as usize)
    }

    /// Appends the text of a number as JSON.
    pub fn push(&self, out: &mut Vec<u8>, segment: Segment) {
        let text = self.text(segment);
        if self.any_escaped { push_string(out, text) } else { push_plain(out, text) }
    }

    /// Returns all numbers, sorted by text, byte by byte.
    #[must_use]
    pub fn sorted(&self) -> Vec<Segment> {
        let mut keys: Vec<(u128, Segment)> =
            (0..self.len()).into_par_iter().map(|segment| (prefix(self.text(segment)), segment)).collect();
        keys.par_sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| self.text(a.1).cmp(self.text(b.1))));
        keys.into_iter().map(|(_, segment)| segment).collect()
    }
}

impl NewSegments {
    /// Looks up the segment ids of all rows in a block. Doing them together makes their cache misses overlap.
    #[must_use]
    pub fn look_up_all(&mut self, known: &Segments, texts: &[Cow<'_, [u8]>]) -> Vec<InternedOrNew> {
        let mut last: (&[u8], u128) = (b"", local_key_of(b""));
        let keys = texts.iter().map(|text| {
            // Rows of one event are neighbours and usually have the same segment id.
            if !equal(last.0, text) {
                last = (text, local_key_of(text));
            }
            last.1
        });
        let keys: Vec<u128> = keys.collect();
        let found: Vec<Option<Segment>> = keys.iter().map(|&key| known.keys.find(key)).collect();
        let meet = |((text, key), known): ((&Cow<'_, [u8]>, u128), Option<Segment>)| {
            known.map_or_else(|| self.meet(key, text), InternedOrNew::Known)
        };
        texts.iter().zip(keys).zip(found).map(meet).collect()
    }

    fn meet(&mut self, key: u128, text: &[u8]) -> InternedOrNew {
        let (place, is_new) = self.keys.intern(key);
        if is_new {
            self.texts.extend_from_slice(text);
            self.ends.push(self.texts.len());
        }
        InternedOrNew::New(place)
    }
}

impl InternedOrNew {
    /// Returns the number. `new` has those of the block's new segment ids.
    #[must_use]
    pub fn number(self, new: &[Segment]) -> Segment {
        match self {
            Self::Known(segment) => segment,
            Self::New(place) => new[place as usize],
        }
    }
}

/// Returns the rank of each number in a sorted list.
#[must_use]
pub fn ranks(sorted: &[Segment]) -> Vec<u32> {
    let mut ranks = vec![0; sorted.len()];
    for (rank, &segment) in (0..).zip(sorted) {
        ranks[segment as usize] = rank;
    }
    ranks
}

/// Returns the first 16 bytes of a text as a number that compares like them. If two are equal, the texts must be
/// compared.
#[must_use]
pub fn prefix(text: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let n_bytes = text.len().min(16);
    bytes[..n_bytes].copy_from_slice(&text[..n_bytes]);
    u128::from_be_bytes(bytes)
}

fn text_at<'a>(texts: &'a [u8], ends: &[usize], place: usize) -> &'a [u8] {
    let start = place.checked_sub(1).map_or(0, |before| ends[before]);
    &texts[start..ends[place]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_in_the_order_of_meeting_and_sorted_by_text() {
        let mut segments = Segments::default();
        let texts: [&[u8]; 5] =
            [b"use_b", b"use_a", b"", b"use_aaaaaaaaaaaaaaaaaaaa2", b"use_aaaaaaaaaaaaaaaaaaaa1"];
        for (number, text) in (0..).zip(texts) {
            assert_eq!(segments.intern(text), number);
        }
        assert_eq!(segments.intern(b"use_a"), 1);
        let sorted = segments.sorted();
        assert_eq!(sorted, [2, 1, 4, 3, 0]);
        assert_eq!(ranks(&sorted), [4, 1, 0, 3, 2]);
        assert_eq!(segments.text(3), texts[3]);
    }

    #[test]
    fn what_a_block_met_gets_its_number_later() {
        let mut segments = Segments::default();
        segments.intern(b"known");
        let mut new = NewSegments::default();
        let met = new
            .look_up_all(&segments, &["new_2", "known", "new_1", "new_2"].map(|text| text.as_bytes().into()));
        segments.intern(b"new_1");
        let numbers = segments.intern_all(&new);
        let met: Vec<_> = met.into_iter().map(|met| met.number(&numbers)).collect();
        assert_eq!(met, [2, 0, 1, 2]);
    }
}
