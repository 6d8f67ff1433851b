//! Compares JSON values, and gives all spellings of a value one canonical form.
//!
//! Numbers are compared as exact decimals: `1`, `1.0` and `1e0` are equal, but the string `"1"` is not. Strings are
//! compared decoded. Arrays are compared item by item, and objects without regard to the order of members. Cells of CSV
//! files are strings. Two strings are equal only if all characters are, and a value of another type equals a cell that
//! contains its JSON.

use std::borrow::Cow;

use super::{Document, JsonKind, Tape, push_string};

/// How strictly types are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typing {
    /// Both sides are JSON, or both are CSV.
    Json,
    /// One side is CSV: its `1` may be a number or a string, and an empty string is null.
    Csv,
    /// Like [`Self::Csv`], but two strings that contain the same number, array or object are also equal.
    Text,
}

/// Returns whether a value is null. If `typing` involves CSV, so is an empty string.
#[must_use]
pub fn is_null(doc: Document<'_>, index: u32, typing: Typing) -> bool {
    match doc.kind(index) {
        JsonKind::Null => true,
        JsonKind::Plain => typing != Typing::Json && doc.raw(index).is_empty(),
        _ => false,
    }
}

/// Returns whether two values are equal. Null equals only null.
#[must_use]
pub fn same(old: Document<'_>, a: u32, new: Document<'_>, b: u32, typing: Typing) -> bool {
    let (kind_a, kind_b) = (old.kind(a), new.kind(b));
    if kind_a == kind_b && old.raw(a) == new.raw(b) {
        return true;
    }
    if typing != Typing::Json {
        return same_text(old, a, new, b, typing);
    }
    match (kind_a, kind_b) {
        (JsonKind::Integer | JsonKind::Number, JsonKind::Integer | JsonKind::Number) => {
            Decimal::read(old.raw(a)) == Decimal::read(new.raw(b))
        }
        (JsonKind::Plain | JsonKind::Escaped, JsonKind::Plain | JsonKind::Escaped) => {
            old.string(a) == new.string(b)
        }
        (JsonKind::Array, JsonKind::Array) | (JsonKind::Object, JsonKind::Object) => {
            canonical(old, a) == canonical(new, b)
        }
        _ => false,
    }
}

/// Compares two values if one side is CSV, where all types but strings are represented by their JSON.
fn same_text(old: Document<'_>, a: u32, new: Document<'_>, b: u32, typing: Typing) -> bool {
    match (is_text(old.kind(a)), is_text(new.kind(b))) {
        (true, true) if old.string(a) == new.string(b) => true,
        (true, true) if typing == Typing::Csv => false,
        (true, true) => {
            let new = new.string(b).unwrap_or_default();
            let mut tape = Tape::default();
            read_cell(&mut tape, &new)
                && reads_as(
                    &old.string(a).unwrap_or_default(),
                    Document { text: &new, tokens: &tape.tokens },
                    0,
                )
        }
        (true, false) => reads_as(&old.string(a).unwrap_or_default(), new, b),
        (false, true) => reads_as(&new.string(b).unwrap_or_default(), old, a),
        (false, false) => same(old, a, new, b, Typing::Json),
    }
}

fn is_text(kind: JsonKind) -> bool {
    matches!(kind, JsonKind::Plain | JsonKind::Escaped)
}

/// Returns whether a cell contains the JSON of a value.
fn reads_as(cell: &[u8], doc: Document<'_>, index: u32) -> bool {
    let mut tape = Tape::default();
    read_cell(&mut tape, cell)
        && same(Document { text: cell, tokens: &tape.tokens }, 0, doc, index, Typing::Json)
}

/// Parses a cell that contains JSON. Returns false if it does not, or if it contains a string or null: in CSV, a string
/// has no quotes and null is an empty cell.
fn read_cell(tape: &mut Tape, cell: &[u8]) -> bool {
    let spaced = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_whitespace);
    let is_json = !spaced(cell.first()) && !spaced(cell.last()) && tape.read(cell).is_ok();
    is_json && !matches!(tape.tokens[0].kind, JsonKind::Plain | JsonKind::Escaped | JsonKind::Null)
}

/// Returns a value as the text of a CSV cell.
fn cell_text(doc: Document<'_>, index: u32) -> Cow<'_, [u8]> {
    match doc.kind(index) {
        JsonKind::Null => Cow::Borrowed(b""),
        JsonKind::Array | JsonKind::Object => {
            let mut out = Vec::new();
            doc.push_compact(&mut out, index);
            Cow::Owned(out)
        }
        _ => doc.string(index).unwrap_or_else(|| Cow::Borrowed(doc.raw(index))),
    }
}

/// Returns the canonical form of a value.
fn canonical(doc: Document<'_>, index: u32) -> Vec<u8> {
    let mut out = Vec::new();
    push_canonical(&mut out, doc, index);
    out
}

/// Appends the canonical form of a value, which all its spellings share.
pub fn push_canonical(out: &mut Vec<u8>, doc: Document<'_>, index: u32) {
    match doc.kind(index) {
        JsonKind::Null | JsonKind::True | JsonKind::False => out.extend_from_slice(doc.raw(index)),
        JsonKind::Integer | JsonKind::Number => Decimal::read(doc.raw(index)).push(out),
        JsonKind::Plain | JsonKind::Escaped => push_string(out, &doc.string(index).unwrap_or_default()),
        JsonKind::Array => {
            out.push(b'[');
            for item in doc.items(index) {
                push_canonical(out, doc, item);
                out.push(b',');
            }
            out.push(b']');
        }
        JsonKind::Object => {
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

/// Appends a form shared by all values that may be equal if one side is CSV. Values that differ may share it too: the
/// strings `1` and `1.0` both become the number 1.
pub fn push_canonical_text(out: &mut Vec<u8>, doc: Document<'_>, index: u32) {
    let text = cell_text(doc, index);
    let mut tape = Tape::default();
    if read_cell(&mut tape, &text) {
        push_canonical(out, Document { text: &text, tokens: &tape.tokens }, 0);
    } else {
        out.extend_from_slice(&text);
    }
}

/// An exact number: `0.DIGITS` times ten to the power of `exponent`, without zeros at either end. Zero has no digits.
///
/// Exponents of 18 or more digits are not calculated with: such numbers are equal only if they are written the same
/// way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    exponent: i64,
    digits: Vec<u8>,
}

impl Decimal {
    /// Parses a valid JSON number.
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
        let (exponent_negative, exponent) = split_exponent(exponent);
        if MAX_EXPONENT_DIGITS < exponent.len() {
            digits.extend_from_slice(format!("e{places}e").as_bytes());
            digits.extend_from_slice(exponent);
            let exponent = if exponent_negative { i64::MIN } else { i64::MAX };
            return Self { negative, exponent, digits };
        }
        let size = exponent.iter().fold(0, |size, digit| size * 10 + i64::from(digit.wrapping_sub(b'0')));
        Self { negative, exponent: if exponent_negative { -size } else { size } + places, digits }
    }

    /// Appends a text that is unique to this number.
    fn push(&self, out: &mut Vec<u8>) {
        if self.negative {
            out.push(b'-');
        }
        out.extend_from_slice(b"0.");
        out.extend_from_slice(&self.digits);
        out.push(b'e');
        out.extend_from_slice(self.exponent.to_string().as_bytes());
    }

    /// Appends bytes that sort in numeric order.
    pub fn push_sortable(&self, out: &mut Vec<u8>) {
        let start = out.len();
        if !self.digits.is_empty() {
            // The sign bit is flipped, so that small exponents sort first.
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

/// With this many digits, adding the length of a text cannot overflow.
const MAX_EXPONENT_DIGITS: usize = 17;

/// Returns whether an exponent is negative, and its digits without leading zeros.
fn split_exponent(text: &[u8]) -> (bool, &[u8]) {
    let digits = text.get(1..).unwrap_or_default();
    let (negative, digits) = match digits.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, digits),
    };
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    (negative, &digits[zeros..])
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
        } else if typing == Typing::Csv && forth {
            let [mut of_a, mut of_b] = [Vec::new(), Vec::new()];
            push_canonical_text(&mut of_a, a, 0);
            push_canonical_text(&mut of_b, b, 0);
            assert_eq!(of_a, of_b);
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
            ("1e400", "10E0399"),
            ("1e9223372036854775808", "1e09223372036854775808"),
            ("0e9223372036854775808", "0"),
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
            ("1e9223372036854775808", "1e9223372036854775809"),
            ("1e-9223372036854775808", "1e-9223372036854775809"),
            ("1e9223372036854775808", "-1e9223372036854775808"),
            ("1e99999999999999999", "1e99999999999999998"),
            ("[1,2]", "[2,1]"),
            (r#"{"a":null}"#, "{}"),
            ("\"\"", "null"),
        ] {
            assert!(!check(a, b, Typing::Json), "{a} {b}");
        }
    }

    #[test]
    fn a_cell_is_the_text_that_it_holds_or_the_json_of_another_type() {
        for (json, cell) in [
            ("1", "1"),
            ("1.0", "1"),
            ("1", "1.0"),
            ("120000", "12e4"),
            ("12345678901234567890123", "12345678901234567890123.0"),
            ("1e400", "10E399"),
            ("true", "true"),
            ("\"1.0\"", "1.0"),
            ("\"NaN\"", "NaN"),
            ("\"\\u00e9\"", "\u{e9}"),
            ("\"\\\"a\\\"\"", "\"a\""),
            (r#"{"a":1}"#, r#"{"a": 1.0}"#),
            ("[1,null]", "[1.0, null]"),
        ] {
            let mut quoted = Vec::new();
            push_string(&mut quoted, cell.as_bytes());
            let quoted = String::from_utf8(quoted).unwrap();
            assert!(check(json, &quoted, Typing::Csv), "{json} {cell}");
        }
        assert!(check(r#""1.0""#, r#""1""#, Typing::Text) && !check(r#""1.0""#, r#""1""#, Typing::Csv));
        for (json, cell) in [
            ("null", "null"),
            ("1", "01"),
            ("1", "+1"),
            ("1", "1."),
            ("1", " 1"),
            ("1", "1\n"),
            ("0.5", ".5"),
            ("\"1\"", "1.0"),
            ("\"12e4\"", "120000"),
            ("\"true\"", "TRUE"),
            ("true", "TRUE"),
            ("\"[1]\"", "[1.0]"),
            ("\"a\"", "b"),
            ("\"a\"", "\"a\""),
            ("12345678901234567890123", "12345678901234567890124"),
        ] {
            let mut quoted = Vec::new();
            push_string(&mut quoted, cell.as_bytes());
            let quoted = String::from_utf8(quoted).unwrap();
            assert!(!check(json, &quoted, Typing::Csv), "{json} {cell}");
        }
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
