//! The lines of a unit.

use std::ops::Range;

/// A longer line is rejected.
pub const MAX_LINE: usize = 16 << 20;

/// The lines of some bytes, as ranges without their ends (LF or CRLF); the last one may lack its end.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    let mut ends = memchr::memchr_iter(b'\n', bytes);
    std::iter::from_fn(move || {
        if bytes.len() <= start {
            return None;
        }
        let end = ends.next().unwrap_or(bytes.len());
        let line = start..if start < end && bytes[end - 1] == b'\r' { end - 1 } else { end };
        start = end + 1;
        Some(line)
    })
}

/// Whether a line holds nothing but white space.
#[must_use]
pub fn blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_left_out() {
        let text = b"a\r\n\nbc\nd\r";
        let found: Vec<&[u8]> = lines(text).map(|range| &text[range]).collect();
        assert_eq!(found, [b"a".as_slice(), b"", b"bc", b"d"]);
        assert_eq!(lines(b"").count(), 0);
        assert_eq!(lines(b"\n").count(), 1);
    }
}
