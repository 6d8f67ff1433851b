//! Parses times in all formats that dumps and warehouses use, and formats them in one.
//!
//! A parsed time is an `i64` of microseconds since 1970; an event stores milliseconds. Event times are truncated to the
//! millisecond, and only `uuid_ts` and `--as-of` have microseconds.

use chrono::{Datelike, NaiveDate};

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;
/// Microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

/// The first time that is too late for a table: 2286-01-01. From 2286-11-20 on, the nanoseconds in a `seq` would need
/// twenty digits.
pub const TOO_LATE: Millis = 9_972_028_800_000;

const DAY_SECONDS: i64 = 86_400;
const EPOCH_DAY: i32 = 719_163;

/// Parses a time to the microsecond. Returns `None` if the text is not a time.
///
/// Accepts RFC 3339 with any number of fraction digits and any offset; a space or `T` between date and time; no offset
/// (UTC), `Z`, ` UTC`, `+02`, `+0200`, `+02:00`; month and day without padding; a date alone (midnight UTC); and second
/// 60 (the next second).
///
/// ```
/// # use profiles_sync::time::timestamp::parse_micros;
/// assert_eq!(parse_micros(b"1970-01-01T02:00:00.0000019+02:00"), Some(1));
/// assert_eq!(parse_micros(b"1970-1-2"), Some(86_400_000_000));
/// assert_eq!(parse_micros(b"yesterday"), None);
/// ```
#[must_use]
pub fn parse_micros(text: &[u8]) -> Option<Micros> {
    let mut rest = text;
    let year = digits(&mut rest, 4, 4)?;
    byte(&mut rest, b'-')?;
    let month = digits(&mut rest, 1, 2)?;
    byte(&mut rest, b'-')?;
    let day = digits(&mut rest, 1, 2)?;
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    let day_seconds = i64::from(date.num_days_from_ce() - EPOCH_DAY) * DAY_SECONDS;
    if rest.is_empty() {
        return Some(day_seconds * 1_000_000);
    }
    if !matches!(rest.first(), Some(b'T' | b't' | b' ')) {
        return None;
    }
    rest = &rest[1..];
    let hour = digits(&mut rest, 2, 2)?;
    byte(&mut rest, b':')?;
    let minute = digits(&mut rest, 2, 2)?;
    byte(&mut rest, b':')?;
    let second = digits(&mut rest, 2, 2)?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let micros = fraction(&mut rest)?;
    let offset = offset_seconds(rest)?;
    let seconds = day_seconds + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second) - offset;
    Some(seconds * 1_000_000 + micros)
}

/// Parses a time and truncates it to the millisecond.
#[must_use]
pub fn parse_millis(text: &[u8]) -> Option<Millis> {
    parse_micros(text).map(|micros| micros.div_euclid(1000))
}

fn digits(rest: &mut &[u8], least: usize, most: usize) -> Option<u32> {
    let mut value = 0;
    let mut n_digits = 0;
    while n_digits < most
        && let Some(digit) = rest.get(n_digits).filter(|b| b.is_ascii_digit())
    {
        value = value * 10 + u32::from(digit - b'0');
        n_digits += 1;
    }
    *rest = &rest[n_digits..];
    (least <= n_digits).then_some(value)
}

fn byte(rest: &mut &[u8], expected: u8) -> Option<()> {
    let (first, behind) = rest.split_first()?;
    *rest = behind;
    (*first == expected).then_some(())
}

fn fraction(rest: &mut &[u8]) -> Option<Micros> {
    let Some(behind) = rest.strip_prefix(b".") else { return Some(0) };
    let n_digits = behind.iter().take_while(|b| b.is_ascii_digit()).count();
    if n_digits == 0 {
        return None;
    }
    let mut micros = 0;
    let shown = behind[..n_digits].iter().map(|digit| Micros::from(digit - b'0'));
    for digit in shown.chain(std::iter::repeat(0)).take(6) {
        micros = micros * 10 + digit;
    }
    *rest = &behind[n_digits..];
    Some(micros)
}

fn offset_seconds(rest: &[u8]) -> Option<i64> {
    if rest.is_empty() {
        return Some(0);
    }
    let mut rest = rest.strip_prefix(b" ").unwrap_or(rest);
    if matches!(rest, b"Z" | b"z" | b"UTC") {
        return Some(0);
    }
    let sign = match rest.first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return None,
    };
    rest = &rest[1..];
    let hours = digits(&mut rest, 2, 2)?;
    let mut minutes = 0;
    if !rest.is_empty() {
        rest = rest.strip_prefix(b":").unwrap_or(rest);
        minutes = digits(&mut rest, 2, 2)?;
    }
    if !rest.is_empty() || hours > 23 || minutes > 59 {
        return None;
    }
    Some(sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60))
}

/// Appends a time as RFC 3339 in UTC with milliseconds: `2022-05-02T14:01:00.000Z`.
pub fn push_millis(out: &mut Vec<u8>, millis: Millis) {
    let mut text = *b"YYYY-MM-DDThh:mm:ss.fffZ";
    write_seconds(&mut text, millis.div_euclid(1000));
    write_number(&mut text[20..23], millis.rem_euclid(1000));
    out.extend_from_slice(&text);
}

/// Appends a time as RFC 3339 in UTC with microseconds: `2022-05-02T14:01:00.000000Z`.
pub fn push_micros(out: &mut Vec<u8>, micros: Micros) {
    let mut text = *b"YYYY-MM-DDThh:mm:ss.ffffffZ";
    write_seconds(&mut text, micros.div_euclid(1_000_000));
    write_number(&mut text[20..26], micros.rem_euclid(1_000_000));
    out.extend_from_slice(&text);
}

fn write_seconds(text: &mut [u8], seconds: i64) {
    let days = i32::try_from(seconds.div_euclid(DAY_SECONDS)).unwrap_or(i32::MAX / 2);
    let date = NaiveDate::from_num_days_from_ce_opt(days.saturating_add(EPOCH_DAY)).unwrap_or(NaiveDate::MAX);
    let second = seconds.rem_euclid(DAY_SECONDS);
    write_number(&mut text[..4], i64::from(date.year()));
    write_number(&mut text[5..7], i64::from(date.month()));
    write_number(&mut text[8..10], i64::from(date.day()));
    write_number(&mut text[11..13], second / 3600);
    write_number(&mut text[14..16], second / 60 % 60);
    write_number(&mut text[17..19], second % 60);
}

/// Writes the last digits of a number, as many as there is room for.
fn write_number(text: &mut [u8], mut number: i64) {
    for place in text.iter_mut().rev() {
        *place = digit(number);
        number = number.div_euclid(10);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "one decimal digit")]
fn digit(value: i64) -> u8 {
    b'0' + value.rem_euclid(10) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let mut out = Vec::new();
        if let Some(micros) = parse_micros(text.as_bytes()) {
            push_micros(&mut out, micros);
        }
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{text}");
    }

    #[test]
    fn every_spelling_is_read() {
        let t = "2022-05-02T14:01:00.000000Z";
        check("2022-05-02T14:01:00Z", t);
        check("2022-05-02t14:01:00z", t);
        check("2022-05-02 14:01:00", t);
        check("2022-5-2 14:01:00", t);
        check("2022-05-02 14:01:00 UTC", t);
        check("2022-05-02T16:01:00+02", t);
        check("2022-05-02T16:01:00+0200", t);
        check("2022-05-02T16:01:00+02:00", t);
        check("2022-05-02T08:31:00-05:30", t);
        check("2022-05-02T14:00:60Z", t);
        check("2022-05-02T14:01:00.1234567899Z", "2022-05-02T14:01:00.123456Z");
        check("2022-05-02T14:01:00.1", "2022-05-02T14:01:00.100000Z");
        check("2022-05-02", "2022-05-02T00:00:00.000000Z");
        check("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn what_is_no_time_is_missing() {
        for text in
            ["", "now", "2022", "2022-02-30", "2022-05-02T", "2022-05-02T14:01Z", "2022-05-02T24:00:00Z"]
        {
            check(text, "");
        }
        for text in [
            "2022-05-02T14:01:00.Z",
            "2022-05-02T14:01:00+2",
            "2022-05-02T14:01:00+02:",
            "2022-05-02T14:01:00 ",
            "2022-05-02T14:01:00Zz",
            "1651500060000",
        ] {
            check(text, "");
        }
    }

    #[test]
    fn the_last_instant_of_2285_is_in_range() {
        assert_eq!(parse_millis(b"2286-01-01T00:00:00Z"), Some(TOO_LATE));
    }
}
