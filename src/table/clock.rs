//! The clocks of a row: four columns that all raw tables and most views have, read in any spelling and written in ours.

use std::borrow::Cow;

use super::blocks::Problem;
use crate::{
    event::{
        json::{Document, Kind},
        timestamp::{Micros, parse_micros, push_micros, push_millis},
    },
    raw::trigger::push_seq,
};

/// When a row came to be. What is missing is older than everything that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    seq: u64,
    uuid_ts: Micros,
    timestamp: Micros,
    received_at: Micros,
}

/// A `seq` that is not there. Any other is kept as one more than its number, so that it compares as newer.
pub const NO_SEQ: u64 = 0;
const SEQ_DIGITS: usize = 19;
const NO_TIME: Micros = Micros::MIN;

const SEQ_HINT: &str = "`seq` is a whole number of at most 19 digits, or text of such digits";
const TIME_HINT: &str =
    "write times as RFC 3339, as `YYYY-MM-DD HH:MM:SS[.f]`, or as a number of milliseconds";

impl Clock {
    /// The clocks in these values of a row, tokens of `document`: `seq`, `uuid_ts`, `timestamp`, `received_at`.
    pub fn read(document: Document<'_>, values: [Option<u32>; 4]) -> Result<Self, Problem> {
        let [seq, uuid_ts, timestamp, received_at] = values;
        let time = |value: Option<u32>, name| match value {
            Some(value) => read_time(document, value, name),
            None => Ok(NO_TIME),
        };
        Ok(Self {
            seq: match seq {
                Some(value) => read_seq(document, value)?,
                None => NO_SEQ,
            },
            uuid_ts: time(uuid_ts, "uuid_ts")?,
            timestamp: time(timestamp, "timestamp")?,
            received_at: time(received_at, "received_at")?,
        })
    }

    /// What decides which of two rows is later, everywhere.
    #[must_use]
    pub fn order(&self) -> (u64, Micros) {
        (self.seq, self.uuid_ts)
    }

    /// What decides which of two values of a trait is newer, where no later snapshot says so.
    #[must_use]
    pub fn recency(&self) -> (Micros, u64, Micros) {
        (self.timestamp, self.seq, self.uuid_ts)
    }

    /// Whether the row was there at a time. One without `uuid_ts` always was.
    #[must_use]
    pub fn was_there(&self, as_of: Option<Micros>) -> bool {
        as_of.is_none_or(|as_of| self.uuid_ts <= as_of)
    }

    /// Its `seq` as [`seq_of`] gives it.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Appends `"seq":...,"received_at":...,"uuid_ts":...,"timestamp":...`.
    pub fn push_all(&self, out: &mut Vec<u8>) {
        self.push_seq(out);
        out.push(b',');
        push_time(out, b"\"received_at\":", self.received_at, push_milliseconds);
        out.push(b',');
        push_time(out, b"\"uuid_ts\":", self.uuid_ts, push_micros);
        out.push(b',');
        push_time(out, b"\"timestamp\":", self.timestamp, push_milliseconds);
    }

    /// Appends `"timestamp":...,"seq":...,"uuid_ts":...`.
    pub fn push_mapping(&self, out: &mut Vec<u8>) {
        push_time(out, b"\"timestamp\":", self.timestamp, push_milliseconds);
        out.push(b',');
        self.push_seq(out);
        out.push(b',');
        push_time(out, b"\"uuid_ts\":", self.uuid_ts, push_micros);
    }

    fn push_seq(&self, out: &mut Vec<u8>) {
        if self.seq == NO_SEQ {
            out.extend_from_slice(b"\"seq\":null");
            return;
        }
        out.extend_from_slice(b"\"seq\":\"");
        push_seq(out, self.seq - 1);
        out.push(b'"');
    }
}

fn push_milliseconds(out: &mut Vec<u8>, micros: Micros) {
    push_millis(out, micros.div_euclid(1000));
}

fn push_time(out: &mut Vec<u8>, name: &[u8], time: Micros, push: fn(&mut Vec<u8>, Micros)) {
    out.extend_from_slice(name);
    if time == NO_TIME {
        out.extend_from_slice(b"null");
        return;
    }
    out.push(b'"');
    push(out, time);
    out.push(b'"');
}

fn read_seq(document: Document<'_>, value: u32) -> Result<u64, Problem> {
    let problem = || Problem { message: "`seq` is no whole number".into(), hint: SEQ_HINT };
    match document.scalar_text(value) {
        Some(text) => seq_of(&text).ok_or_else(problem),
        None => Err(problem()),
    }
}

/// A `seq` as a number that compares like it: [`NO_SEQ`] for none, else one more than its value. `None` where the text is
/// no such thing.
#[must_use]
pub fn seq_of(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    // Some warehouses export whole numbers of a decimal type as `123.0`.
    let whole = match memchr::memchr(b'.', text) {
        Some(point) if text[point + 1..].iter().all(|&digit| digit == b'0') => &text[..point],
        _ => text,
    };
    if whole.is_empty() {
        return text.is_empty().then_some(NO_SEQ);
    }
    let zeros = whole.iter().take_while(|&&digit| digit == b'0').count();
    let digits = &whole[zeros..];
    if SEQ_DIGITS < digits.len() {
        return None;
    }
    let mut number = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u64::from(digit - b'0');
    }
    Some(number + 1)
}

fn read_time(document: Document<'_>, value: u32, name: &str) -> Result<Micros, Problem> {
    let time = match document.kind(value) {
        Kind::Plain | Kind::Escaped => {
            let text = document.string(value).unwrap_or(Cow::Borrowed(b""));
            if text.is_empty() {
                return Ok(NO_TIME);
            }
            parse_micros(&text)
        }
        Kind::Integer => std::str::from_utf8(document.raw(value))
            .ok()
            .and_then(|digits| digits.parse::<i64>().ok())
            .and_then(|millis| millis.checked_mul(1000)),
        _ => None,
    };
    time.ok_or_else(|| Problem {
        message: format!("`{name}` cannot be read as a time").into(),
        hint: TIME_HINT,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::json::Tape;

    fn read(json: &str) -> Result<Clock, Problem> {
        let mut tape = Tape::default();
        tape.read(json.as_bytes()).unwrap();
        let document = Document { text: json.as_bytes(), tokens: &tape.tokens };
        let values: Vec<_> = document.items(0).map(Some).collect();
        Clock::read(document, [values[0], values[1], values[2], values[3]])
    }

    fn check(json: &str, expected: &str) {
        let mut out = Vec::new();
        read(json).unwrap().push_all(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{json}");
    }

    #[test]
    fn every_spelling_is_written_in_ours() {
        let expected = concat!(
            r#""seq":"0000000000000000042","received_at":"2022-05-02T14:01:00.123Z","#,
            r#""uuid_ts":"2022-05-02T14:01:00.123456Z","timestamp":"2022-05-02T14:01:00.000Z""#
        );
        for seq in
            ["42", "\"42\"", "\"0000000000000000042\"", "\"000000000000000000000042\"", "42.0", "\"42.00\""]
        {
            let times = r#""2022-05-02 14:01:00.123456 UTC","2022-05-02T16:01:00+02:00",1651500060123"#;
            check(&format!("[{seq},{times}]"), expected);
        }
    }

    #[test]
    fn what_is_empty_is_null() {
        let expected = r#""seq":null,"received_at":null,"uuid_ts":null,"timestamp":null"#;
        check(r#"["","","",""]"#, expected);
    }

    #[test]
    fn what_cannot_be_read_is_a_problem() {
        for json in [
            r#"["x","","",""]"#,
            r#"[-1,"","",""]"#,
            r#"[1.5,"","",""]"#,
            r#"["12345678901234567890","","",""]"#,
            r#"[true,"","",""]"#,
            r#"["","yesterday","",""]"#,
            r#"["","","",1.5]"#,
            r#"["",[],"",""]"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_row_without_seq_is_older_than_any_with_one() {
        let none = read(r#"["","2023-01-01","",""]"#).unwrap();
        let zero = read(r#"["0","","",""]"#).unwrap();
        assert!(none.order() < zero.order());
        assert!(zero.was_there(Some(0)) && !none.was_there(Some(0)) && none.was_there(None));
    }
}
