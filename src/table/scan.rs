//! Scans the members of a row without building tokens.
//!
//! Rows of a table have nearly the same columns in the same order. The scanner remembers the columns as labels, such as
//! `,"seq":`. If the expected label is found, one comparison is enough, and what the name means was determined when it
//! first appeared. Only rows in the compact style that programs write are scanned: no white space between values, no
//! nesting, and no `\u` escapes. For any other row the scanner returns `None`, and the caller reads it with a
//! [`Tape`](crate::json::Tape).

use crate::json::{JsonKind, Token};

/// The position of a value in its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueSpan {
    /// Offset of its first byte, after the opening quote of a string.
    pub start: usize,
    /// Offset after its last byte, which is the closing quote of a string.
    pub end: usize,
    /// Its type.
    pub kind: JsonKind,
}

impl ValueSpan {
    /// Creates a value from the range of its bytes, which includes the quotes of a string.
    #[inline]
    fn new(start: usize, end: usize, kind: JsonKind) -> Self {
        let quote = usize::from(matches!(kind, JsonKind::Plain | JsonKind::Escaped));
        Self { start: start + quote, end: end - quote, kind }
    }
}

impl From<Token> for ValueSpan {
    fn from(token: Token) -> Self {
        Self { start: token.start as usize, end: token.end as usize, kind: token.kind }
    }
}

/// Scans rows of one table. `C` is the meaning of a column name.
#[derive(Debug)]
pub struct RowScanner<C> {
    labels: Vec<ColumnLabel<C>>,
}

/// A column's name with the punctuation around it, and what it means.
#[derive(Debug)]
pub struct ColumnLabel<C> {
    text: Vec<u8>,
    /// The first bytes, and a mask of those in use: compared without a loop.
    head: [u64; HEAD_WORDS],
    mask: [u64; HEAD_WORDS],
    /// Length of the last string in this column. The next one often has the same.
    length: usize,
    /// The last value in this column, if it is short. The next one is often equal.
    last: ShortValue,
    /// What the name means.
    pub class: C,
}

/// Enough for the longest fixed column.
const HEAD_WORDS: usize = 4;
const HEAD_BYTES: usize = HEAD_WORDS * 8;

/// Number of labels to search if one is not at the expected position.
const LOOK_AHEAD: usize = 32;

/// Maximum number of labels. Bounds the memory if the order of columns keeps changing.
const MAX_LABELS: usize = 1024;

impl<C> Default for RowScanner<C> {
    fn default() -> Self {
        Self { labels: Vec::new() }
    }
}

impl<C> ColumnLabel<C> {
    fn new(text: &[u8], class: C) -> Self {
        let mut head = [0; HEAD_BYTES];
        let mut mask = [0; HEAD_BYTES];
        let n_bytes = text.len().min(HEAD_BYTES);
        head[..n_bytes].copy_from_slice(&text[..n_bytes]);
        mask[..n_bytes].fill(0xff);
        Self {
            text: text.to_vec(),
            head: words(&head),
            mask: words(&mask),
            length: 0,
            last: ShortValue::NONE,
            class,
        }
    }

    /// Returns the column name as written, without punctuation.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.text[2..self.text.len() - 2]
    }

    fn starts(&self, rest: &[u8]) -> bool {
        let Some(first) = rest.first_chunk() else { return rest.starts_with(&self.text) };
        let first = words(first);
        let mut difference = 0;
        for ((first, mask), head) in first.iter().zip(&self.mask).zip(&self.head) {
            difference |= (first & mask) ^ head;
        }
        difference == 0 && (self.text.len() <= HEAD_BYTES || rest.starts_with(&self.text))
    }
}

/// A short value that delimits itself (a plain string, `null`, `true` or `false`), stored for a single comparison.
#[derive(Debug, Clone, Copy)]
struct ShortValue {
    bytes: u128,
    mask: u128,
    /// Length in bytes, including the quotes of a string.
    length: usize,
    kind: JsonKind,
}

const SHORT_BYTES: usize = 16;

impl ShortValue {
    /// Matches nothing.
    const NONE: Self = Self { bytes: 1, mask: 0, length: 0, kind: JsonKind::Null };

    fn of(line: &[u8], value: &ValueSpan) -> Self {
        let quotes = match value.kind {
            JsonKind::Plain => 1,
            JsonKind::Null | JsonKind::True | JsonKind::False => 0,
            _ => return Self::NONE,
        };
        let length = value.end - value.start + 2 * quotes;
        let Some(chunk) = line[value.start - quotes..].first_chunk() else { return Self::NONE };
        if SHORT_BYTES < length {
            return Self::NONE;
        }
        let mask = u128::MAX >> (8 * (SHORT_BYTES - length));
        Self { bytes: u128::from_le_bytes(*chunk) & mask, mask, length, kind: value.kind }
    }

    /// Returns whether the value that begins at `start` is the same.
    #[inline]
    fn is_at(&self, line: &[u8], start: usize) -> bool {
        let chunk = line.get(start..).and_then(|rest| rest.first_chunk::<SHORT_BYTES>());
        chunk.is_some_and(|chunk| u128::from_le_bytes(*chunk) & self.mask == self.bytes)
    }
}

fn words(bytes: &[u8; HEAD_BYTES]) -> [u64; HEAD_WORDS] {
    let mut words = [0; HEAD_WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

impl<C> RowScanner<C> {
    /// Calls `each` with the members of a row, in order. `classify` returns what a name means and is called when a name
    /// first appears.
    ///
    /// If `is_last` returns true for a member, it is the last one reported, with its first byte as the value. The rest
    /// of the row is not checked, except that the line must end in a brace.
    ///
    /// Returns `None` if the row is in another style; `each` may have been called by then. The line must be UTF-8
    /// without control characters, which is not checked here.
    pub fn scan(
        &mut self,
        line: &[u8],
        classify: impl Fn(&[u8]) -> C,
        is_last: impl Fn(&C) -> bool,
        each: impl FnMut(&ColumnLabel<C>, ValueSpan),
    ) -> Option<()> {
        if line.first() != Some(&b'{') {
            return None;
        }
        self.scan_from(line, 0, classify, is_last, each)
    }

    /// Scans like [`Self::scan`], but begins at offset `at`, where a brace or a comma must be.
    pub fn scan_from(
        &mut self,
        line: &[u8],
        mut at: usize,
        classify: impl Fn(&[u8]) -> C,
        is_last: impl Fn(&C) -> bool,
        mut each: impl FnMut(&ColumnLabel<C>, ValueSpan),
    ) -> Option<()> {
        if MAX_LABELS < self.labels.len() {
            self.labels.clear();
        }
        let mut place = 0;
        loop {
            if !self.labels.get(place).is_some_and(|label| label.starts(&line[at..])) {
                place = self.look(line, at, place, &classify)?;
            }
            let label = &mut self.labels[place];
            let start = at + label.text.len();
            if is_last(&label.class) {
                let kind = if line.get(start) == Some(&b'n') { JsonKind::Null } else { JsonKind::Object };
                each(label, ValueSpan { start, end: start + 1, kind });
                return (line.last() == Some(&b'}')).then_some(());
            }
            let (end, kind) = if label.last.is_at(line, start) {
                (start + label.last.length, label.last.kind)
            } else if is_string(line, start, label.length) {
                (start + label.length + 2, JsonKind::Plain)
            } else {
                let (end, kind) = value_at(line, start)?;
                let value = ValueSpan::new(start, end, kind);
                label.length = value.end - value.start;
                label.last = ShortValue::of(line, &value);
                (end, kind)
            };
            each(label, ValueSpan::new(start, end, kind));
            place += 1;
            at = end;
            match line.get(at) {
                Some(b',') => {}
                Some(b'}') if at + 1 == line.len() => return Some(()),
                _ => return None,
            }
        }
    }

    /// Returns the index of the label at offset `at`. Searches the labels from `place` on and inserts a new one if none
    /// matches.
    fn look(&mut self, line: &[u8], at: usize, place: usize, classify: impl Fn(&[u8]) -> C) -> Option<usize> {
        let ahead = self.labels.iter().enumerate().skip(place).take(LOOK_AHEAD);
        if let Some((found, _)) = { ahead }.find(|(_, label)| label.starts(&line[at..])) {
            return Some(found);
        }
        if line.get(at + 1) != Some(&b'"') {
            return None;
        }
        let start = at + 2;
        let end = string_end(line, start)?;
        if !line[end..].starts_with(b"\":") {
            return None;
        }
        self.labels.insert(place, ColumnLabel::new(&line[at..end + 2], classify(&line[start..end])));
        Some(place)
    }
}

/// Returns whether a string of this length without escapes is at offset `at`. Compares sixteen bytes at a time, so it
/// returns false for shorter strings, which are not worth it.
fn is_string(line: &[u8], at: usize, length: usize) -> bool {
    let Some(inside) = line.get(at + 1..at + 1 + length) else { return false };
    let Some(last) = inside.last_chunk() else { return false };
    if line[at] != b'"' || line.get(at + 1 + length) != Some(&b'"') {
        return false;
    }
    marks(last) == 0 && inside.as_chunks().0.iter().all(|chunk| marks(chunk) == 0)
}

/// Returns nonzero if there is a quote or a backslash.
fn marks(bytes: &[u8; 16]) -> u8 {
    bytes.iter().fold(0, |found, &byte| found | u8::from(byte == b'"') | u8::from(byte == b'\\'))
}

/// Returns the value that begins at offset `at`, or `None` if it is in another style.
#[must_use]
pub fn value_from(line: &[u8], at: usize) -> Option<ValueSpan> {
    value_at(line, at).map(|(behind, kind)| ValueSpan::new(at, behind, kind))
}

/// Returns the offset after the value that begins at `at`, and its type. Two words, so that they are returned in
/// registers.
fn value_at(line: &[u8], at: usize) -> Option<(usize, JsonKind)> {
    let word = |text: &[u8], kind| line[at..].starts_with(text).then_some((at + text.len(), kind));
    match line.get(at)? {
        b'"' => {
            let mut kind = JsonKind::Plain;
            let mut end = string_end(line, at + 1)?;
            while line[end] == b'\\' {
                if !matches!(line.get(end + 1)?, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') {
                    return None;
                }
                kind = JsonKind::Escaped;
                end = string_end(line, end + 2)?;
            }
            Some((end + 1, kind))
        }
        b'n' => word(b"null", JsonKind::Null),
        b't' => word(b"true", JsonKind::True),
        b'f' => word(b"false", JsonKind::False),
        b'-' | b'0'..=b'9' => {
            let digits = |from: usize| line[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let first = at + usize::from(line[at] == b'-');
            let n_digits = digits(first);
            let leading_zero = 1 < n_digits && line[first] == b'0';
            let end = first + n_digits;
            if n_digits == 0 || leading_zero {
                return None;
            }
            if line.get(end) != Some(&b'.') {
                return Some((end, JsonKind::Integer));
            }
            let n_places = digits(end + 1);
            if n_places == 0 { None } else { Some((end + 1 + n_places, JsonKind::Number)) }
        }
        _ => None,
    }
}

/// Returns the offset of the next quote or backslash, or `None` at the end. Checks eight bytes at a time.
#[must_use]
pub fn string_end(line: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    while let Some(chunk) = line.get(at..).and_then(|rest| rest.first_chunk()) {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * 0x22);
        let backslash = word ^ (ONES * 0x5c);
        let marks = (quote.wrapping_sub(ONES) & !quote) | (backslash.wrapping_sub(ONES) & !backslash);
        let marks = marks & (ONES * 0x80);
        if marks != 0 {
            // A borrow can set false marks only above a true one, so the lowest mark is always true.
            return Some(at + (marks.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let rest = line.get(at..)?;
    Some(at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Document, Tape};

    /// Scans rows in sequence. Each must give the same values as its tokens, or `None`.
    fn check(rows: &[(&str, bool)]) {
        let mut scanner = RowScanner::default();
        let mut tape = Tape::default();
        for (row, is_plain) in rows {
            let mut members = Vec::new();
            let told = scanner.scan(
                row.as_bytes(),
                <[u8]>::to_vec,
                |_| false,
                |label, value| {
                    assert_eq!(label.name(), label.class);
                    members.push((label.class.clone(), value));
                },
            );
            assert_eq!(told.is_some(), *is_plain, "{row}");
            if told.is_none() {
                continue;
            }
            tape.read(row.as_bytes()).unwrap();
            let document = Document { text: row.as_bytes(), tokens: &tape.tokens };
            let expected: Vec<_> = document
                .members(0)
                .map(|(key, value)| {
                    (document.raw(key).to_vec(), ValueSpan::from(document.tokens[value as usize]))
                })
                .collect();
            assert_eq!(members, expected, "{row}");
        }
    }

    #[test]
    fn plain_rows_are_walked_whatever_their_order() {
        check(&[
            (r#"{"a":"x","b":null,"c":1,"d":-0.50,"e":true,"f":false,"g":"\"\\\n"}"#, true),
            (r#"{"a":"","b":0}"#, true),
            (r#"{"c":10,"b":"y","a":"z","new":"","ab":"1"}"#, true),
            (r#"{"ab":"1","a":"2","a":"3"}"#, true),
            (r#"{"a":"x"}"#, true),
            (r#"{"f":"x"}"#, true),
        ]);
    }

    #[test]
    fn a_value_that_begins_like_the_last_one_is_another() {
        for (last, other) in [
            ("null", "nullx"),
            ("\"ab\"", "\"ab\"c\""),
            ("\"ab\"", "\"abc\""),
            ("true", "truey"),
            ("\"\"", "\"\"\""),
            ("12", "123"),
            ("\"12345678901234\"", "\"123456789012345\""),
        ] {
            let rest = r#","b":"a longer value that ends the row"}"#;
            let row = |value: &str| format!("{{\"a\":{value}{rest}");
            let is_json = Tape::default().read(row(other).as_bytes()).is_ok();
            let (last, other) = (row(last), row(other));
            check(&[(&last, true), (&last, true), (&other, is_json), (&last, true)]);
        }
    }

    #[test]
    fn other_styles_and_what_is_no_json_are_left_alone() {
        for row in [
            "",
            "{",
            "{}",
            "[]",
            "{\"a\":1",
            "{\"a\":1}x",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "{\"a\":}",
            "{\"a\":\"x}",
            "{\"a\":\"\\",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u0041\"}",
            "{ \"a\":1}",
            "{\"a\": 1}",
            "{\"a\" :1}",
            "{\"a\":1 }",
            "{\"a\":[1]}",
            "{\"a\":{}}",
            "{\"\\u0061\":1}",
            "{\"a\":01}",
            "{\"a\":-}",
            "{\"a\":1.}",
            "{\"a\":1e3}",
            "{\"a\":1.5e3}",
            "{\"a\":nul}",
            "{\"a\":1;\"b\":2}",
        ] {
            check(&[(row, false), ("{\"a\":1}", true), (row, false)]);
        }
    }

    #[test]
    fn behind_the_last_member_only_the_end_of_the_line_counts() {
        let mut scanner = RowScanner::default();
        for (row, expected) in [
            (r#"{"a":1,"b":"x","c":nonsense}"#, Some(vec![JsonKind::Integer, JsonKind::Object])),
            (r#"{"a":1,"b":null,"c":nonsense}"#, Some(vec![JsonKind::Integer, JsonKind::Null])),
            (r#"{"a":1,"b":"x","c":"#, None),
            (r#"{"a":nonsense,"b":"x"}"#, None),
        ] {
            let mut kinds = Vec::new();
            let is_last = |name: &Vec<u8>| name == b"b";
            let told =
                scanner.scan(row.as_bytes(), <[u8]>::to_vec, is_last, |_, value| kinds.push(value.kind));
            assert_eq!(told.map(|()| kinds), expected, "{row}");
        }
    }

    #[test]
    fn ever_new_names_do_not_slow_it_down_for_good() {
        let mut scanner = RowScanner::default();
        for number in 0..5000 {
            let row = format!("{{\"name_{number}\":1}}");
            scanner.scan(row.as_bytes(), |_| (), |()| false, |_, _| ()).unwrap();
        }
        assert!(scanner.labels.len() <= MAX_LABELS + 1);
    }
}
