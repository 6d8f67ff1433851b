//! Finds quotes, backslashes and control characters in a text: the positions where a JSON string may end.
//!
//! Checking 16 bytes at once costs as much as checking one. All marks of a line are found in one pass, as one bit per
//! byte. The strings in it, most of them shorter than 16 bytes, are then skipped without checking their bytes again.

use wide::u8x16;

const LANES: usize = 16;
const BITS: usize = 64;

/// The marks of one text. Can be reused for other texts.
#[derive(Debug, Default)]
pub struct Marks {
    /// One bit per byte, followed by at least one set bit.
    words: Vec<u64>,
}

impl Marks {
    /// Finds the marks of a text.
    pub fn read(&mut self, text: &[u8]) {
        self.words.clear();
        let (whole, rest) = text.as_chunks::<BITS>();
        self.words.extend(whole.iter().map(word_of));
        // Zero bytes count as marks, so there is always one after the text.
        let mut last = [0; BITS];
        last[..rest.len()].copy_from_slice(rest);
        self.words.push(word_of(&last));
    }

    /// Returns the offset of the first mark at or after `at`. If there is none, returns the length of the text or more.
    #[inline]
    #[must_use]
    pub fn next(&self, at: usize) -> usize {
        let word = self.words.get(at / BITS).map_or(1, |word| word >> (at % BITS));
        if word != 0 {
            return at + word.trailing_zeros() as usize;
        }
        let mut start = at / BITS;
        loop {
            start += 1;
            let word = self.words.get(start).copied().unwrap_or(1);
            if word != 0 {
                return start * BITS + word.trailing_zeros() as usize;
            }
        }
    }
}

/// Returns the offset of the next mark in a text, or the length of the text.
#[must_use]
pub fn plain_run(text: &[u8], mut at: usize) -> usize {
    while let Some(lanes) = text.get(at..).and_then(|behind| behind.first_chunk::<LANES>()) {
        let marks = marks_of(*lanes);
        if marks != 0 {
            return at + marks.trailing_zeros() as usize;
        }
        at += LANES;
    }
    let rest = &text[at.min(text.len())..];
    // Zero bytes count as marks, so there is always one after the text.
    let mut lanes = [0; LANES];
    lanes[..rest.len()].copy_from_slice(rest);
    if rest.len() < LANES { at + marks_of(lanes).trailing_zeros() as usize } else { at }
}

fn word_of(bytes: &[u8; BITS]) -> u64 {
    let lanes = bytes.as_chunks::<LANES>().0;
    (0..).zip(lanes).fold(0, |word, (place, lanes)| word | u64::from(marks_of(*lanes)) << (LANES * place))
}

#[inline]
fn marks_of(lanes: [u8; LANES]) -> u32 {
    let bytes = u8x16::new(lanes);
    let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    let quote = bytes.simd_eq(u8x16::splat(b'"'));
    let backslash = bytes.simd_eq(u8x16::splat(b'\\'));
    (control | quote | backslash).to_bitmask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_where_a_plain_look_finds_them() {
        let mark = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
        let mut text: Vec<u8> = (0..=255).cycle().take(700).collect();
        text.extend(std::iter::repeat_n(b'a', 200));
        let mut marks = Marks::default();
        for length in [0, 1, 15, 16, 63, 64, 65, 128, 300, 700, text.len()] {
            let text = &text[..length];
            marks.read(text);
            for at in 0..=length {
                let expected = (at..length).find(|&place| mark(text[place]));
                assert_eq!(plain_run(text, at), expected.unwrap_or(length), "{length} {at}");
                match expected {
                    Some(place) => assert_eq!(marks.next(at), place, "{length} {at}"),
                    None => assert!(length <= marks.next(at), "{length} {at}"),
                }
            }
        }
    }
}
