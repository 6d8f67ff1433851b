//! The clocks of a row: four columns that all raw tables and most views have. They are read in any supported spelling
//! and written in one.

use super::blocks::LineProblem;
use crate::{
    json::{JsonKind, unescape},
    time::{
        clock_text,
        reader::TimeReader,
        seq::{SEQ_DIGITS, push_seq},
        timestamp::{Micros, parse_micros, push_micros, push_millis},
    },
};

/// The clocks of a row. A missing clock compares as older than any value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    seq: u64,
    uuid_ts: Micros,
    timestamp: Micros,
    received_at: Micros,
}

/// A missing `seq`. Any other `seq` is stored as its value plus one, so that it compares as newer.
pub const NO_SEQ: u64 = 0;
const NO_TIME: Micros = Micros::MIN;

const SEQ_HINT: &str = "write `seq` as a whole number of at most 19 digits, or as a string of such digits";
const TIME_HINT: &str =
    "write times as RFC 3339, as `YYYY-MM-DD HH:MM:SS[.f]`, or as a number of milliseconds";

/// Reads the clocks of rows. Faster for consecutive rows with similar times.
#[derive(Debug, Default)]
pub struct ClockReader {
    times: TimeReader,
    minute: Minute,
}

/// The minute of the last time read. The times of a row and its neighbours are mostly in the same minute.
#[derive(Debug, Default)]
struct Minute {
    /// `2022-05-02T14:01:`
    text: [u8; 17],
    start: Micros,
}

/// A value that is not null: its type and its bytes as written, without the quotes of a string.
pub type RawValue<'a> = (JsonKind, &'a [u8]);

impl ClockReader {
    /// Reads the clocks from these values of a row: `seq`, `uuid_ts`, `timestamp`, `received_at`.
    pub fn read(&mut self, values: [Option<RawValue<'_>>; 4]) -> Result<Clock, LineProblem> {
        let [seq, uuid_ts, timestamp, received_at] = values;
        Ok(Clock {
            seq: seq.map_or(Ok(NO_SEQ), read_seq)?,
            uuid_ts: self.time(uuid_ts, "uuid_ts")?,
            timestamp: self.time(timestamp, "timestamp")?,
            received_at: self.time(received_at, "received_at")?,
        })
    }

    fn time(&mut self, value: Option<RawValue<'_>>, name: &str) -> Result<Micros, LineProblem> {
        let time = match value {
            None | Some((JsonKind::Plain | JsonKind::Escaped, b"")) => Some(NO_TIME),
            Some((JsonKind::Plain, text)) => self.micros(text),
            Some((JsonKind::Escaped, text)) => parse_micros(&unescape(text)),
            Some((JsonKind::Integer, digits)) => {
                let millis = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<i64>().ok());
                millis.and_then(|millis| millis.checked_mul(1000))
            }
            Some(_) => None,
        };
        time.ok_or_else(|| LineProblem {
            message: format!("`{name}` cannot be read as a time").into(),
            hint: TIME_HINT,
        })
    }
}

impl ClockReader {
    #[inline]
    fn micros(&mut self, text: &[u8]) -> Option<Micros> {
        if let Some((minute, rest)) = text.split_first_chunk::<17>()
            && *minute == self.minute.text
            && let Some(micros) = seconds(rest)
        {
            return Some(self.minute.start + micros);
        }
        let time = self.times.read(text)?.micros;
        if let Some((minute, rest)) = text.split_first_chunk::<17>()
            && let [.., b'T', _, _, b':', _, _, b':'] = minute
            && let Some(micros) = seconds(rest)
        {
            self.minute = Minute { text: *minute, start: time - micros };
        }
        Some(time)
    }
}

/// Returns the microseconds in `00.000Z` or `00.000000Z`. `None` for second 60, which falls in the next minute.
#[inline]
fn seconds(text: &[u8]) -> Option<Micros> {
    let (second, fraction) = text.split_first_chunk::<2>()?;
    let second = digits(second)?;
    let micros = match *fraction {
        [b'.', ref millis @ .., b'Z'] if millis.len() == 3 => digits(millis.first_chunk::<3>()?)? * 1000,
        [b'.', ref micros @ .., b'Z'] if micros.len() == 6 => digits(micros.first_chunk::<6>()?)?,
        _ => return None,
    };
    (second < 60).then_some(second * 1_000_000 + micros)
}

#[inline]
fn digits<const N: usize>(text: &[u8; N]) -> Option<i64> {
    let (mut number, mut largest) = (0, 0);
    for digit in text {
        let digit = digit.wrapping_sub(b'0');
        largest = largest.max(digit);
        number = number * 10 + i64::from(digit);
    }
    (largest < 10).then_some(number)
}

/// Parses eight digits at once: each step combines neighbouring digits.
#[inline]
fn eight_digits(text: [u8; 8]) -> Option<u64> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    let word = u64::from_le_bytes(text);
    let high = |word: u64| word & (ONES * 0xf0);
    if high(word) != ONES * 0x30 || high(word.wrapping_add(ONES * 6)) != ONES * 0x30 {
        return None;
    }
    let word = word - ONES * 0x30;
    let word = word * 10 + (word >> 8);
    let first = (word & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let second = (word >> 16 & PAIRS).wrapping_mul(1 + (10_000 << 32));
    Some(first.wrapping_add(second) >> 32)
}

impl Clock {
    /// Returns the key that orders rows: the greater one is later.
    #[must_use]
    pub fn order(&self) -> (u64, Micros) {
        (self.seq, self.uuid_ts)
    }

    /// Returns the key that orders values of a trait if no later snapshot decides: the greater one is newer.
    #[must_use]
    pub fn recency(&self) -> (Micros, u64, Micros) {
        (self.timestamp, self.seq, self.uuid_ts)
    }

    /// Returns whether the row existed at time `as_of`. A row without `uuid_ts` always did.
    #[must_use]
    pub fn existed_at(&self, as_of: Option<Micros>) -> bool {
        as_of.is_none_or(|as_of| self.uuid_ts <= as_of)
    }

    /// Returns its `seq` as [`seq_of`] does.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Returns the time at which the row was added to its space, or `None` if it is missing.
    #[must_use]
    pub fn uuid_ts(&self) -> Option<Micros> {
        present(self.uuid_ts)
    }

    /// Returns the time at which the event happened, or `None` if it is missing.
    #[must_use]
    pub fn timestamp(&self) -> Option<Micros> {
        present(self.timestamp)
    }

    /// Returns the time at which the event arrived, or `None` if it is missing.
    #[must_use]
    pub fn received_at(&self) -> Option<Micros> {
        present(self.received_at)
    }

    /// Appends `"seq":...,"received_at":...,"uuid_ts":...,"timestamp":...`.
    pub fn push_all(&self, out: &mut Vec<u8>) {
        if self.seq != NO_SEQ
            && let Some(text) = clock_text::all(self.seq - 1, self.received_at, self.uuid_ts, self.timestamp)
        {
            out.extend_from_slice(&text);
        } else {
            self.push_all_by_field(out);
        }
    }

    fn push_all_by_field(&self, out: &mut Vec<u8>) {
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
        if self.seq != NO_SEQ
            && let Some(text) = clock_text::mapping(self.seq - 1, self.uuid_ts, self.timestamp)
        {
            out.extend_from_slice(&text);
        } else {
            self.push_mapping_by_field(out);
        }
    }

    fn push_mapping_by_field(&self, out: &mut Vec<u8>) {
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

fn present(time: Micros) -> Option<Micros> {
    (time != NO_TIME).then_some(time)
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

fn read_seq(value: RawValue<'_>) -> Result<u64, LineProblem> {
    let seq = match value {
        (JsonKind::Plain | JsonKind::Integer | JsonKind::Number, text) => seq_of(text),
        (JsonKind::Escaped, text) => seq_of(&unescape(text)),
        _ => None,
    };
    seq.ok_or_else(|| LineProblem { message: "`seq` is not a whole number".into(), hint: SEQ_HINT })
}

/// Parses a `seq` into a number that compares like it: [`NO_SEQ`] for an empty text, else the value plus one. Returns
/// `None` if the text is not a valid `seq`.
#[must_use]
pub fn seq_of(text: &[u8]) -> Option<u64> {
    if text.len() == SEQ_DIGITS
        && let Some((first, rest)) = text.split_first_chunk::<8>()
        && let Some((second, rest)) = rest.split_first_chunk::<8>()
        && let Some(last) = rest.first_chunk::<3>().and_then(digits)
        && let (Some(first), Some(second)) = (eight_digits(*first), eight_digits(*second))
    {
        return Some((first * 100_000_000 + second) * 1000 + last.unsigned_abs() + 1);
    }
    let text = text.trim_ascii();
    // Some warehouses export integers of a decimal type as `123.0`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Document, Tape};

    fn read(json: &str) -> Result<Clock, LineProblem> {
        let mut tape = Tape::default();
        tape.read(json.as_bytes()).unwrap();
        let document = Document { text: json.as_bytes(), tokens: &tape.tokens };
        let values: Vec<_> =
            document.items(0).map(|value| Some((document.kind(value), document.raw(value)))).collect();
        ClockReader::default().read([values[0], values[1], values[2], values[3]])
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
    fn clocks_are_the_same_put_into_a_template_and_piece_by_piece() {
        let days = (0..2_932_897).step_by(97).chain([0, 58, 59, 60, 365, 789, 11_016, 11_017, 2_932_896]);
        let times = days.map(|day: i64| day * 86_400_000_000 + day * 1_234_567 % 86_400_000_000);
        let edges = [-1, 86_399_999_999, 86_400_000_000, 253_402_300_799_999_999, 253_402_300_800_000_000];
        for time in times.chain(edges) {
            let seq = time.unsigned_abs().wrapping_mul(7_777_777_777) % 9_999_999_999_999_999_999 + 1;
            let clock = Clock { seq, uuid_ts: time, timestamp: time + 1, received_at: time / 2 };
            let (mut all, mut mapping) = (Vec::new(), Vec::new());
            clock.push_all(&mut all);
            clock.push_mapping(&mut mapping);
            let (mut all_pieces, mut mapping_pieces) = (Vec::new(), Vec::new());
            clock.push_all_by_field(&mut all_pieces);
            clock.push_mapping_by_field(&mut mapping_pieces);
            assert_eq!(all, all_pieces, "{clock:?}");
            assert_eq!(mapping, mapping_pieces, "{clock:?}");
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
    fn a_day_met_before_makes_no_difference() {
        let mut reader = ClockReader::default();
        for text in [
            "2022-05-02T14:01:00.123Z",
            "2022-05-02T14:01:00.123456Z",
            "2022-05-02T14:01:59.12345Z",
            "2022-05-02T14:01:60.123Z",
            "2022-05-02T14:01:61.123Z",
            "2022-05-02T14:01:5x.123Z",
            "2022-05-02T14:01:",
            "2022-05-02t14:01:05.123Z",
            "2022-05-02T14:02:00.999Z",
            "2022-05-02T23:59:59.999Z",
            "2022-05-02T24:00:00.000Z",
            "2022-05-02T23:60:00.000Z",
            "2022-05-02T23:59:60.000Z",
            "2022-05-02T2a:00:00.000Z",
            "2022-05-02T14:01:00.12Z",
            "2022-05-02T14:01:00Z",
            "2022-05-02T14:01:00.123+02:00",
            "2022-05-02 14:01:00.123Z",
            "2022-5-2T14:01:00.123Z",
            "2022-05-02",
            "2022-05-02T",
            "2022-02-30T00:00:00.000Z",
        ] {
            for _ in 0..2 {
                let time = reader.time(Some((JsonKind::Plain, text.as_bytes())), "timestamp").ok();
                assert_eq!(time, parse_micros(text.as_bytes()), "{text}");
            }
        }
    }

    #[test]
    fn a_seq_is_read_digit_by_digit_and_eight_at_once() {
        for text in
            ["0000000000000000000", "1714521645419000123", "9999999999999999999", "1234567890123456789"]
        {
            assert_eq!(seq_of(text.as_bytes()), text.parse::<u64>().ok().map(|seq| seq + 1), "{text}");
            for (place, other) in
                (0..text.len()).flat_map(|place| [b'/', b':', b'x', 0xb0].map(|other| (place, other)))
            {
                let mut text = text.as_bytes().to_vec();
                text[place] = other;
                assert_eq!(seq_of(&text), None, "{text:?}");
            }
        }
    }

    #[test]
    fn a_row_without_seq_is_older_than_any_with_one() {
        let none = read(r#"["","2023-01-01","",""]"#).unwrap();
        let zero = read(r#"["0","","",""]"#).unwrap();
        assert!(none.order() < zero.order());
        assert!(zero.existed_at(Some(0)) && !none.existed_at(Some(0)) && none.existed_at(None));
    }
}
