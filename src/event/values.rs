//! When two values are the same, and the one spelling that all spellings of a value share.
//!
//! Numbers are decimals, compared exactly whatever their spelling: `1`, `1.0` and `1e0` are one number, and `"1"` is a
//! text. Texts are compared decoded. Arrays and objects are compared piece by piece, an object without regard to the
//! order of its members. A comma-separated file knows no types: against one, texts count as they read.

use std::borrow::Cow;

use super::json::{Document, Kind, Tape, push_string};

/// Whether values have types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typing {
    /// Both sides are JSON.
    Json,
    /// At least one side is a comma-separated file: `1` may be a number or a text, and an empty text is null.
    Text,
}

/// Whether a value says nothing: null and absent are the same.
#[must_use]
pub fn is_null(doc: Document<'_>, index: u32, typing: Typing) -> bool {
    match doc.kind(index) {
        Kind::Null => true,
        Kind::Plain => typing == Typing::Text && doc.raw(index).is_empty(),
        _ => false,
    }
}

/// Whether two values are the same. Null is the same as null only.
#[must_use]
pub fn same(old: Document<'_>, a: u32, new: Document<'_>, b: u32, typing: Typing) -> bool {
    let (kind_a, kind_b) = (old.kind(a), new.kind(b));
    if kind_a == kind_b && old.raw(a) == new.raw(b) {
        return true;
    }
    if typing == Typing::Text {
        return same_text(old, a, new, b);
    }
    match (kind_a, kind_b) {
        (Kind::Integer | Kind::Number, Kind::Integer | Kind::Number) => {
            Decimal::read(old.raw(a)) == Decimal::read(new.raw(b))
        }
        (Kind::Plain | Kind::Escaped, Kind::Plain | Kind::Escaped) => old.string(a) == new.string(b),
        (Kind::Array, Kind::Array) | (Kind::Object, Kind::Object) => canonical(old, a) == canonical(new, b),
        _ => false,
    }
}

/// The same without types: as texts, as numbers, or as the JSON that a text holds.
fn same_text(old: Document<'_>, a: u32, new: Document<'_>, b: u32) -> bool {
    let (old, new) = (text(old, a), text(new, b));
    if old == new {
        return true;
    }
    let (mut tape_old, mut tape_new) = (Tape::default(), Tape::default());
    if tape_old.read(&old).is_err() || tape_new.read(&new).is_err() {
        return false;
    }
    let old = Document { text: &old, tokens: &tape_old.tokens };
    let new = Document { text: &new, tokens: &tape_new.tokens };
    // A text that holds quotes is a text; only numbers, arrays and objects have several spellings.
    !matches!(old.kind(0), Kind::Plain | Kind::Escaped) && same(old, 0, new, 0, Typing::Json)
}

/// A value as a cell of a comma-separated file would have it.
fn text(doc: Document<'_>, index: u32) -> Cow<'_, [u8]> {
    match doc.kind(index) {
        Kind::Null => Cow::Borrowed(b""),
        Kind::Array | Kind::Object => {
            let mut out = Vec::new();
            doc.push_compact(&mut out, index);
            Cow::Owned(out)
        }
        _ => doc.string(index).unwrap_or_else(|| Cow::Borrowed(doc.raw(index))),
    }
}

/// The spelling that all spellings of a value share.
fn canonical(doc: Document<'_>, index: u32) -> Vec<u8> {
    let mut out = Vec::new();
    push_canonical(&mut out, doc, index);
    out
}

/// Appends the spelling that all spellings of a value share.
pub fn push_canonical(out: &mut Vec<u8>, doc: Document<'_>, index: u32) {
    match doc.kind(index) {
        Kind::Null | Kind::True | Kind::False => out.extend_from_slice(doc.raw(index)),
        Kind::Integer | Kind::Number => Decimal::read(doc.raw(index)).push(out),
        Kind::Plain | Kind::Escaped => push_string(out, &doc.string(index).unwrap_or_default()),
        Kind::Array => {
            out.push(b'[');
            for item in doc.items(index) {
                push_canonical(out, doc, item);
                out.push(b',');
            }
            out.push(b']');
        }
        Kind::Object => {
            let mut members = doc.distinct_members(index);
            members.sort_by_cached_key(|(key, _)| doc.string(*key).unwrap_or_default().into_owned());
            out.push(b'{');
            for (key, value) in members {
                push_canonical(out, doc, key);
                out.push(b':');
                push_canonical(out, doc, value);
                out.push(b',');
            }
            out.push(b'}');
        }
    }
}

/// The same without types.
pub fn push_canonical_text(out: &mut Vec<u8>, doc: Document<'_>, index: u32) {
    let text = text(doc, index);
    let mut tape = Tape::default();
    match tape.read(&text) {
        Ok(()) if !matches!(tape.tokens[0].kind, Kind::Plain | Kind::Escaped) => {
            push_canonical(out, Document { text: &text, tokens: &tape.tokens }, 0);
        }
        _ => out.extend_from_slice(&text),
    }
}

/// A number: `0.DIGITS` times ten to the `exponent`, without zeros at either end; no digits is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    exponent: i64,
    digits: Vec<u8>,
}

impl Decimal {
    /// Reads a number of JSON.
    #[must_use]
    pub fn read(text: &[u8]) -> Self {
        let (negative, text) = match text.split_first() {
            Some((b'-', rest)) => (true, rest),
            _ => (false, text),
        };
        let mantissa_end = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
        let (mantissa, exponent) = text.split_at(mantissa_end);
        let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
        let (whole, fraction) = mantissa.split_at(point);
        let mut digits = Vec::with_capacity(mantissa.len());
        digits.extend_from_slice(whole);
        digits.extend_from_slice(fraction.get(1..).unwrap_or_default());
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..zeros);
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return Self { negative: false, exponent: 0, digits };
        }
        let places = i64::try_from(whole.len()).unwrap_or(i64::MAX) - i64::try_from(zeros).unwrap_or(0);
        Self { negative, exponent: read_exponent(exponent).saturating_add(places), digits }
    }

    /// Appends a text that only the same number has.
    fn push(&self, out: &mut Vec<u8>) {
        if self.negative {
            out.push(b'-');
        }
        out.extend_from_slice(b"0.");
        out.extend_from_slice(&self.digits);
        out.push(b'e');
        out.extend_from_slice(self.exponent.to_string().as_bytes());
    }

    /// Appends bytes that sort as the numbers do.
    pub fn push_sortable(&self, out: &mut Vec<u8>) {
        let start = out.len();
        if !self.digits.is_empty() {
            // The sign is turned so that small exponents come first.
            out.extend_from_slice(&(self.exponent ^ i64::MIN).to_be_bytes());
            out.extend_from_slice(&self.digits);
            out.push(0);
        }
        if self.negative {
            for byte in &mut out[start..] {
                *byte = !*byte;
            }
        }
        let sign = match (self.digits.is_empty(), self.negative) {
            (true, _) => 1,
            (false, true) => 0,
            (false, false) => 2,
        };
        out.insert(start, sign);
    }
}

fn read_exponent(text: &[u8]) -> i64 {
    let digits = text.get(1..).unwrap_or_default();
    let (negative, digits) = match digits.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, digits),
    };
    let size = digits.iter().fold(0_i64, |size, digit| {
        size.saturating_mul(10).saturating_add(i64::from(digit.wrapping_sub(b'0')))
    });
    if negative { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &str, b: &str, typing: Typing) -> bool {
        let (mut tape_a, mut tape_b) = (Tape::default(), Tape::default());
        tape_a.read(a.as_bytes()).unwrap();
        tape_b.read(b.as_bytes()).unwrap();
        let a = Document { text: a.as_bytes(), tokens: &tape_a.tokens };
        let b = Document { text: b.as_bytes(), tokens: &tape_b.tokens };
        let forth = same(a, 0, b, 0, typing);
        assert_eq!(forth, same(b, 0, a, 0, typing));
        if typing == Typing::Json {
            assert_eq!(forth, canonical(a, 0) == canonical(b, 0), "{a:?} {b:?}");
        }
        forth
    }

    #[test]
    fn spelling_does_not_matter_and_type_does() {
        for (a, b) in [
            ("1", "1.0"),
            ("1", "1e0"),
            ("100", "1E+2"),
            ("0", "-0.0"),
            ("0.001", "1e-3"),
            ("12345678901234567890123", "12345678901234567890123.0"),
            (r#""\u00e9""#, "\"\u{e9}\""),
            (r#"{"a":1,"b":[2.0]}"#, r#"{"b":[2],"a":1}"#),
            ("null", "null"),
        ] {
            assert!(check(a, b, Typing::Json), "{a} {b}");
        }
        for (a, b) in [
            ("1", r#""1""#),
            ("1", "true"),
            ("1", "-1"),
            ("12345678901234567890123", "12345678901234567890124"),
            ("0.1", "0.10000000000000001"),
            ("[1,2]", "[2,1]"),
            (r#"{"a":null}"#, "{}"),
            ("\"\"", "null"),
        ] {
            assert!(!check(a, b, Typing::Json), "{a} {b}");
        }
    }

    #[test]
    fn a_file_without_types_is_read_as_it_stands() {
        assert!(check("1", r#""1""#, Typing::Text));
        assert!(check("1.0", r#""1""#, Typing::Text));
        assert!(check("true", r#""true""#, Typing::Text));
        assert!(check(r#"{"a":1}"#, r#""{\"a\": 1.0}""#, Typing::Text));
        assert!(!check("1", r#""01""#, Typing::Text));
        assert!(!check(r#""a""#, r#""b""#, Typing::Text));
    }

    #[test]
    fn sortable_bytes_sort_as_numbers_do() {
        let ascending =
            ["-1e9", "-100", "-12", "-1.5", "-1", "-0.1", "0", "0.01", "0.1", "1", "1.5", "9", "10", "1e9"];
        let sortable: Vec<Vec<u8>> = ascending
            .iter()
            .map(|text| {
                let mut out = Vec::new();
                Decimal::read(text.as_bytes()).push_sortable(&mut out);
                out
            })
            .collect();
        assert!(sortable.is_sorted_by(|a, b| a < b), "{sortable:?}");
    }
}
