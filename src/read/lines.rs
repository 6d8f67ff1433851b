//! Splits text into lines.

use std::ops::Range;

/// Maximum length of a line in bytes. Longer lines are rejected.
pub const MAX_LINE: usize = 16 << 20;

/// UTF-8 byte order mark. It is not part of the first line.
pub const BOM: &[u8] = b"\xef\xbb\xbf";

/// Returns the lines of a text as ranges without the line ends (LF or CRLF). The last line may lack its end.
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

/// Appends a line and a line end, so that [`lines`] finds the same text again: a CR at the end of the text is kept.
pub fn push_line(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.extend_from_slice(if text.ends_with(b"\r") { b"\r\n" } else { b"\n" });
}

/// Returns the number of bytes in the line end of `line`: 0, 1 or 2.
#[must_use]
pub fn end_length(line: &[u8]) -> usize {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    line.len() - text.len()
}

/// Returns whether a line contains only white space.
#[must_use]
pub fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_line_is_what_lines_leave_out() {
        for line in [b"ab\r\n".as_slice(), b"a\n", b"a", b"a\r", b"\r\r\n", b"\n"] {
            let text = lines(line).next().unwrap().len();
            assert_eq!(end_length(line), line.len() - text, "{line:?}");
        }
    }

    #[test]
    fn a_line_that_is_written_again_is_the_same_line() {
        let mut text = b"a\r\r\n\r\r\n\n{}\0\r\n\r\rb \n\xef\xbb\xbfc\r\r".to_vec();
        let cut = |text: &[u8]| -> Vec<Vec<u8>> { lines(text).map(|range| text[range].to_vec()).collect() };
        let expected = cut(&text);
        for _ in 0..3 {
            text = Vec::new();
            for line in &expected {
                push_line(&mut text, line);
            }
            assert_eq!(cut(&text), expected);
        }
    }

    #[test]
    fn line_ends_are_left_out() {
        let text = b"a\r\n\nbc\nd\r";
        let found: Vec<&[u8]> = lines(text).map(|range| &text[range]).collect();
        assert_eq!(found, [b"a".as_slice(), b"", b"bc", b"d"]);
        assert_eq!(lines(b"").count(), 0);
        assert_eq!(lines(b"\n").count(), 1);
    }
}
