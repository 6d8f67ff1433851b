//! What the values of one column have in common, and the narrowest class of values that holds them all.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::number::Digits;
use crate::json::JsonKind;

/// A class of values. A column is of the narrowest one that holds all of its values without losing a digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "snake_case")]
pub enum Class {
    /// Null in every row.
    Null,
    /// `true` and `false`.
    Boolean,
    /// Integers of 64 bits.
    Integer {
        /// The most digits of one.
        before: u32,
    },
    /// Other numbers.
    Decimal {
        /// The most digits before the point.
        before: u32,
        /// The most digits after it.
        after: u32,
    },
    /// Times in a clock column of ours.
    Time,
    /// The whole row, in a column that holds it as JSON.
    Row,
    /// Texts, or values of several classes; numbers stand as they were written.
    Text,
}

impl Class {
    /// Returns the narrowest class that holds the values of both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Null, one) | (one, Self::Null) => one,
            (Self::Boolean, Self::Boolean) => Self::Boolean,
            (Self::Integer { before }, Self::Integer { before: other }) => {
                Self::Integer { before: before.max(other) }
            }
            (Self::Time, Self::Time) => Self::Time,
            (Self::Row, Self::Row) => Self::Row,
            (one, other) => match (one.digits(), other.digits()) {
                (Some((before, after)), Some((other_before, other_after))) => {
                    Self::Decimal { before: before.max(other_before), after: after.max(other_after) }
                }
                _ => Self::Text,
            },
        }
    }

    /// Returns the digits before and after the point that any of its numbers may have.
    fn digits(self) -> Option<(u32, u32)> {
        match self {
            Self::Integer { before } => Some((before, 0)),
            Self::Decimal { before, after } => Some((before, after)),
            _ => None,
        }
    }
}

/// A type of values in JSON Schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JsonType {
    /// `true` and `false`.
    Boolean,
    /// Integers of any size.
    Integer,
    /// Any numbers.
    Number,
    /// Texts.
    String,
    /// Arrays.
    Array,
    /// Objects.
    Object,
}

/// What is known of the values of a column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each says that some value is such")]
pub(crate) struct Facts {
    /// Values that are not null.
    pub(crate) n_values: u64,
    /// Values that hold the character U+0000.
    pub(crate) n_with_nul: u64,
    /// Values of more bytes than [`LONG`].
    pub(crate) n_long: u64,
    booleans: bool,
    numbers: bool,
    texts: bool,
    nested: bool,
    /// A number is no 64-bit integer.
    not_int64: bool,
    /// A text is no time in our spelling.
    not_time: bool,
    /// The most digits before and after the point.
    before: u32,
    after: u32,
    /// A fraction has more digits than a double holds.
    long_fraction: bool,
    /// A number is spelled in another way than a reader of doubles would spell it.
    odd_spelling: bool,
}

/// Bytes of the longest text that the narrowest text type of a warehouse holds.
pub(crate) const LONG: usize = 65_535;

/// The number of digits up to which a double holds every decimal.
const DOUBLE_DIGITS: u32 = 15;

impl Facts {
    /// Adds a value: its kind and its bytes, of a text those between the quotes.
    pub(crate) fn add(&mut self, kind: JsonKind, raw: &[u8]) {
        match kind {
            JsonKind::Null => return,
            JsonKind::True | JsonKind::False => self.booleans = true,
            JsonKind::Integer => self.add_integer(raw),
            JsonKind::Number => self.add_number(raw),
            JsonKind::Plain | JsonKind::Escaped | JsonKind::Object | JsonKind::Array => {
                let is_text = matches!(kind, JsonKind::Plain | JsonKind::Escaped);
                self.texts |= is_text;
                self.nested |= !is_text;
                if !self.not_time {
                    self.not_time = !is_time(raw);
                }
                self.n_long += u64::from(LONG < raw.len());
                if kind != JsonKind::Plain {
                    self.n_with_nul += u64::from(has_nul(raw));
                }
            }
        }
        self.n_values += 1;
    }

    fn add_integer(&mut self, raw: &[u8]) {
        self.numbers = true;
        let n_digits = raw.len() - usize::from(raw[0] == b'-');
        // Most are far from the bounds.
        if n_digits <= 18 {
            self.before = self.before.max(u32::try_from(n_digits).unwrap_or(u32::MAX));
            self.odd_spelling |= raw == b"-0";
        } else {
            self.before = self.before.max(Digits::of(raw).before);
            self.not_int64 |= std::str::from_utf8(raw).is_ok_and(|text| text.parse::<i64>().is_err());
        }
    }

    fn add_number(&mut self, raw: &[u8]) {
        self.numbers = true;
        self.not_int64 = true;
        self.odd_spelling = true;
        let digits = Digits::of(raw);
        self.before = self.before.max(digits.before);
        self.after = self.after.max(digits.after);
        self.long_fraction |= DOUBLE_DIGITS < digits.significant;
    }

    /// Adds what is known of other values of the column.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.n_values += other.n_values;
        self.n_with_nul += other.n_with_nul;
        self.n_long += other.n_long;
        self.booleans |= other.booleans;
        self.numbers |= other.numbers;
        self.texts |= other.texts;
        self.nested |= other.nested;
        self.not_int64 |= other.not_int64;
        self.not_time |= other.not_time;
        self.before = self.before.max(other.before);
        self.after = self.after.max(other.after);
        self.long_fraction |= other.long_fraction;
        self.odd_spelling |= other.odd_spelling;
    }

    /// Returns the narrowest class; only a clock column may be of times.
    pub(crate) fn class(&self, is_clock: bool) -> Class {
        match (self.booleans, self.numbers, self.texts || self.nested) {
            (false, false, false) if is_clock => Class::Time,
            (false, false, false) => Class::Null,
            (true, false, false) => Class::Boolean,
            (false, true, false) if !self.not_int64 => Class::Integer { before: self.before },
            (false, true, false) => Class::Decimal { before: self.before, after: self.after },
            (false, false, true) if is_clock && !self.not_time => Class::Time,
            _ => Class::Text,
        }
    }

    /// Returns whether arrays or objects are among the values.
    pub(crate) fn has_nested(&self) -> bool {
        self.nested
    }

    /// Returns the JSON types of its values, null aside.
    pub(crate) fn json_types(&self) -> BTreeSet<JsonType> {
        let number = if self.after == 0 && !self.odd_spelling { JsonType::Integer } else { JsonType::Number };
        let types = [
            (self.booleans, JsonType::Boolean),
            (self.numbers, number),
            (self.texts, JsonType::String),
            (self.nested, JsonType::Array),
            (self.nested, JsonType::Object),
        ];
        types.into_iter().filter(|(is_there, _)| *is_there).map(|(_, json)| json).collect()
    }

    /// Returns whether a number would change on its way into a class, in a reader that takes it for a double.
    pub(crate) fn loses_digits(&self, class: Class) -> bool {
        match class {
            Class::Decimal { .. } => self.long_fraction,
            Class::Text => self.numbers && (self.odd_spelling || self.not_int64),
            _ => false,
        }
    }
}

/// Returns whether a text is a time as we write it: `2022-05-02T14:01:00.000Z`, also with microseconds.
fn is_time(text: &[u8]) -> bool {
    const MICROS: &[u8] = b"0000-00-00T00:00:00.000000Z";
    const MILLIS: &[u8] = b"0000-00-00T00:00:00.000Z";
    let pattern = match text.len() {
        24 => MILLIS,
        27 => MICROS,
        _ => return false,
    };
    let fits =
        |(&byte, &wanted): (&u8, &u8)| if wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted };
    text.iter().zip(pattern).all(fits) && is_date(text)
}

/// Returns whether the parts of a time are within their bounds, so that no warehouse refuses it.
fn is_date(text: &[u8]) -> bool {
    let number = |range: std::ops::Range<usize>| {
        text[range].iter().fold(0, |number, digit| number * 10 + i32::from(digit - b'0'))
    };
    let date = chrono::NaiveDate::from_ymd_opt(
        number(0..4),
        number(5..7).cast_unsigned(),
        number(8..10).cast_unsigned(),
    );
    date.is_some() && number(11..13) < 24 && number(14..16) < 60 && number(17..19) < 60
}

/// Returns whether the inside of a JSON string has an escaped U+0000: the escape behind an even number of backslashes.
fn has_nul(raw: &[u8]) -> bool {
    memchr::memmem::find_iter(raw, b"\\u0000")
        .any(|at| raw[..at].iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Document, Tape};

    fn facts(values: &[&str]) -> Facts {
        let mut facts = Facts::default();
        let mut tape = Tape::default();
        for value in values {
            tape.read(value.as_bytes()).unwrap();
            let document = Document { text: value.as_bytes(), tokens: &tape.tokens };
            facts.add(document.kind(0), document.raw(0));
        }
        facts
    }

    #[test]
    fn the_class_is_the_narrowest_that_holds_all_values() {
        let decimal = |before, after| Class::Decimal { before, after };
        let integer = |before| Class::Integer { before };
        for (values, expected) in [
            (&[][..], Class::Null),
            (&["null", "null"], Class::Null),
            (&["true", "null", "false"], Class::Boolean),
            (&["true", "1"], Class::Text),
            (&["true", "\"true\""], Class::Text),
            (&["1", "-0", "9223372036854775807", "-9223372036854775808"], integer(19)),
            (&["1", "9223372036854775808"], decimal(19, 0)),
            (&["1", "123456789012345678901234567890"], decimal(30, 0)),
            (&["1", "0.50"], decimal(1, 2)),
            (&["100", "1.5e-3"], decimal(3, 4)),
            (&["59", "\"sixty\""], Class::Text),
            (&["1", "\"1\""], Class::Text),
            (&["[1]", "null"], Class::Text),
            (&["[1]", "1"], Class::Text),
            (&["\"2022-05-02T14:01:00.000Z\""], Class::Text),
        ] {
            assert_eq!(facts(values).class(false), expected, "{values:?}");
        }
    }

    #[test]
    fn only_our_times_make_a_clock() {
        for (value, expected) in [
            ("\"2022-05-02T14:01:00.000Z\"", Class::Time),
            ("\"2024-02-29T23:59:59.999999Z\"", Class::Time),
            ("\"2023-02-29T23:59:59.999999Z\"", Class::Text),
            ("\"2022-05-02T24:01:00.000Z\"", Class::Text),
            ("\"2022-05-02 14:01:00 UTC\"", Class::Text),
            ("\"2022-05-02\"", Class::Text),
            ("\"\"", Class::Text),
            ("1", Class::Integer { before: 1 }),
            ("null", Class::Time),
        ] {
            assert_eq!(facts(&[value]).class(true), expected, "{value}");
        }
    }

    #[test]
    fn two_halves_are_what_the_whole_is() {
        let values = ["null", "true", "1", "-0", "1.5", "1e30", "\"a\"", "[1]", "9223372036854775808"];
        for one in values {
            for other in values {
                let mut both = facts(&[one]);
                both.merge(&facts(&[other]));
                assert_eq!(both, facts(&[one, other]), "{one} {other}");
                let joined = facts(&[one]).class(false).join(facts(&[other]).class(false));
                assert_eq!(joined, both.class(false), "{one} {other}");
            }
        }
    }

    #[test]
    fn an_escaped_zero_is_found_and_an_escaped_backslash_before_u0000_is_not_one() {
        for (value, n_with_nul) in [
            (r#""a\u0000b""#, 1),
            (r#""\u0000\u0000""#, 1),
            (r#""\\\u0000""#, 1),
            (r#""\\u0000""#, 0),
            (r#""\\\\u0000""#, 0),
            (r#""\\u0000\u0000""#, 1),
            (r#"["\u0000"]"#, 1),
            (r#""\n""#, 0),
        ] {
            assert_eq!(facts(&[value]).n_with_nul, n_with_nul, "{value}");
        }
    }

    #[test]
    fn numbers_that_a_double_changes_are_known() {
        let decimal = Class::Decimal { before: 0, after: 0 };
        for (values, as_decimal, as_text) in [
            (&["1", "2"][..], false, false),
            (&["123456789012345678901234567890"], false, true),
            (&["1.10"], false, true),
            (&["1e3"], false, true),
            (&["-0"], false, true),
            (&["1.234567890123456"], true, true),
            (&["\"1.10\""], false, false),
        ] {
            let facts = facts(values);
            assert_eq!((facts.loses_digits(decimal), facts.loses_digits(Class::Text)), (as_decimal, as_text));
        }
    }
}
