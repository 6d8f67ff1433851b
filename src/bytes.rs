//! Copies and compares short texts without function calls.
//!
//! A row of an event table is assembled from a hundred pieces of about a dozen bytes. Calling `memcpy` for each costs
//! more than the copying itself. Instead, a fixed number of bytes is copied, which takes an instruction or two, and the
//! excess is truncated.

/// Number of bytes that are copied at once.
const CHUNK: usize = 32;

/// Appends `text[start..end]`.
#[inline]
pub fn push_short(out: &mut Vec<u8>, text: &[u8], start: usize, end: usize) {
    if let Some(chunk) = text.get(start..).and_then(|behind| behind.first_chunk::<CHUNK>())
        && end - start <= CHUNK
    {
        let length = out.len() + (end - start);
        out.extend_from_slice(chunk);
        out.truncate(length);
    } else {
        out.extend_from_slice(&text[start..end]);
    }
}

/// Returns whether two short texts are equal.
#[inline]
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let word = |text: &[u8], at: usize| {
        text.get(at..).and_then(|t| t.first_chunk::<8>()).map(|c| u64::from_le_bytes(*c))
    };
    let mut at = 0;
    while at + 8 <= a.len() {
        if word(a, at) != word(b, at) {
            return false;
        }
        at += 8;
    }
    if 8 <= a.len() {
        // The last eight bytes, which may overlap those already compared.
        return word(a, a.len() - 8) == word(b, b.len() - 8);
    }
    a.iter().zip(b).all(|(a, b)| a == b)
}

/// A text that is appended many times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaddedText {
    /// The text, padded with zeros to a whole number of chunks.
    padded: Box<[u8]>,
    length: usize,
}

impl PaddedText {
    /// Creates a label from a text.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        let mut padded = text.to_vec();
        padded.resize(text.len().next_multiple_of(CHUNK), 0);
        Self { padded: padded.into(), length: text.len() }
    }

    /// Returns the text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.padded[..self.length]
    }

    /// Appends the text.
    #[inline]
    pub fn push(&self, out: &mut Vec<u8>) {
        let length = out.len() + self.length;
        for chunk in self.padded.as_chunks::<CHUNK>().0 {
            out.extend_from_slice(chunk);
        }
        out.truncate(length);
    }
}

/// Appends bytes in lower-case hexadecimal.
pub fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let start = out.len();
    out.resize(start + 2 * bytes.len(), 0);
    for (place, byte) in out[start..].as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *place = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_length_at_any_place_are_copied() {
        let text: Vec<u8> = (0..200).collect();
        for start in 0..text.len() {
            for end in start..text.len() {
                let mut out = vec![1, 2];
                push_short(&mut out, &text, start, end);
                assert_eq!(out, [&[1, 2], &text[start..end]].concat());
                let mut out = vec![1, 2];
                PaddedText::new(&text[start..end]).push(&mut out);
                assert_eq!(out, [&[1, 2], &text[start..end]].concat());
            }
        }
    }

    #[test]
    fn texts_are_the_same_when_all_their_bytes_are() {
        let text: Vec<u8> = (0..40).collect();
        for length in 0..text.len() {
            let a = &text[..length];
            let copy = a.to_vec();
            assert!(equal(a, &copy));
            assert!(!equal(a, &text[..=length]));
            for place in 0..length {
                let mut b = a.to_vec();
                b[place] ^= 1;
                assert!(!equal(a, &b), "{length} {place}");
            }
        }
    }
}
