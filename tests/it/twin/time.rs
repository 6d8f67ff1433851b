//! Times: parses the accepted formats and writes the format of the tables.

use super::json::Json;

const DAY: i128 = 86_400;

/// Parses a JSON time into microseconds since 1970; `None` if it cannot be read.
///
/// Integers are seconds below 100,000,000,000 in size, else milliseconds. All other times must be strings.
pub(crate) fn read(json: &Json) -> Option<i128> {
    match json {
        Json::String(text) => read_text(text),
        Json::Number(text) => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            // Longer numbers are out of range anyway.
            let limit = 1_000_000_000_000_000_000_000;
            let size = digits.parse::<i128>().unwrap_or(limit).min(limit);
            let micros = if size < 100_000_000_000 { size * 1_000_000 } else { size * 1000 };
            Some(if text.starts_with('-') { -micros } else { micros })
        }
        _ => None,
    }
}

/// Parses a written time into microseconds since 1970.
pub(crate) fn read_text(text: &str) -> Option<i128> {
    let mut rest = text;
    let year = number(&mut rest, 4, 4)?;
    rest = rest.strip_prefix('-')?;
    let month = number(&mut rest, 1, 2)?;
    rest = rest.strip_prefix('-')?;
    let day = number(&mut rest, 1, 2)?;
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    let midnight = days_before(year, month, day) * DAY * 1_000_000;
    if rest.is_empty() {
        return Some(midnight);
    }

    rest = rest.strip_prefix(['T', 't', ' '])?;
    let hour = number(&mut rest, 2, 2)?;
    rest = rest.strip_prefix(':')?;
    let minute = number(&mut rest, 2, 2)?;
    rest = rest.strip_prefix(':')?;
    let second = number(&mut rest, 2, 2)?;
    if 23 < hour || 59 < minute || 60 < second {
        return None;
    }
    let mut micros = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits: String = fraction.chars().take_while(char::is_ascii_digit).collect();
        if digits.is_empty() {
            return None;
        }
        rest = &fraction[digits.len()..];
        let six: String = format!("{digits}000000").chars().take(6).collect();
        micros = six.parse().ok()?;
    }
    let offset = offset_seconds(rest)?;
    Some(midnight + (hour * 3600 + minute * 60 + second - offset) * 1_000_000 + micros)
}

/// Parses an offset into seconds: `Z`, `UTC`, `+02`, `+0200` or `+02:00`, optionally after a space. Empty means UTC.
fn offset_seconds(text: &str) -> Option<i128> {
    if text.is_empty() {
        return Some(0);
    }
    let text = text.strip_prefix(' ').unwrap_or(text);
    if text == "Z" || text == "z" || text == "UTC" {
        return Some(0);
    }
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let mut rest = &text[1..];
    let hours = number(&mut rest, 2, 2)?;
    let mut minutes = 0;
    if !rest.is_empty() {
        rest = rest.strip_prefix(':').unwrap_or(rest);
        minutes = number(&mut rest, 2, 2)?;
    }
    if !rest.is_empty() || 23 < hours || 59 < minutes {
        return None;
    }
    Some(sign * (hours * 3600 + minutes * 60))
}

/// Parses a number of `least` to `most` digits and removes it from `rest`.
fn number(rest: &mut &str, least: usize, most: usize) -> Option<i128> {
    let digits = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if digits < least {
        return None;
    }
    let value = rest[..digits].parse().ok()?;
    *rest = &rest[digits..];
    Some(value)
}

fn leap(year: i128) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_in_month(year: i128, month: i128) -> i128 {
    match month {
        2 if leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Returns the days from 1970-01-01 to a date.
fn days_before(year: i128, month: i128, day: i128) -> i128 {
    let earlier_months: i128 = (1..month).map(|month| days_in_month(year, month)).sum();
    days_before_year(year) + earlier_months + day - 1
}

fn days_before_year(year: i128) -> i128 {
    let past = year - 1;
    let since_year_one = 365 * past + past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400);
    since_year_one - 719_162
}

/// Formats milliseconds since 1970 as RFC 3339 with three decimals; `None` outside the years 0 to 9999.
pub(crate) fn write_millis(millis: i128) -> Option<String> {
    write(millis.checked_mul(1000)?, 3)
}

/// Formats microseconds since 1970 as RFC 3339 with six decimals; `None` outside the years 0 to 9999.
pub(crate) fn write_micros(micros: i128) -> Option<String> {
    write(micros, 6)
}

fn write(micros: i128, digits: usize) -> Option<String> {
    let seconds = micros.div_euclid(1_000_000);
    let days = seconds.div_euclid(DAY);
    // A first guess, corrected below.
    let mut year = 1970 + days.div_euclid(366);
    if !(-400..=20_000).contains(&year) {
        return None;
    }
    while days_before_year(year + 1) <= days {
        year += 1;
    }
    while days < days_before_year(year) {
        year -= 1;
    }
    if !(0..=9999).contains(&year) {
        return None;
    }
    let mut day = days - days_before_year(year) + 1;
    let mut month = 1;
    while days_in_month(year, month) < day {
        day -= days_in_month(year, month);
        month += 1;
    }
    let of_day = seconds.rem_euclid(DAY);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let fraction = format!("{:06}", micros.rem_euclid(1_000_000));
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{}Z", &fraction[..digits]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> Option<String> {
        read_text(text).and_then(write_micros)
    }

    #[test]
    fn accepted_formats_are_rewritten_in_one_format() {
        for (text, expected) in [
            ("2022-05-02T14:01:00.000Z", "2022-05-02T14:01:00.000000Z"),
            ("2022-05-02 14:01:00", "2022-05-02T14:01:00.000000Z"),
            ("2022-05-02 14:01:00.5", "2022-05-02T14:01:00.500000Z"),
            ("2022-5-2T14:01:00Z", "2022-05-02T14:01:00.000000Z"),
            ("2022-05-02T14:01:00.123456789123Z", "2022-05-02T14:01:00.123456Z"),
            ("2022-05-02T14:01:00+02:00", "2022-05-02T12:01:00.000000Z"),
            ("2022-05-02T14:01:00-0530", "2022-05-02T19:31:00.000000Z"),
            ("2022-05-02T14:01:00+02", "2022-05-02T12:01:00.000000Z"),
            ("2022-05-02 14:01:00 UTC", "2022-05-02T14:01:00.000000Z"),
            ("2022-05-02", "2022-05-02T00:00:00.000000Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"),
            ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999000Z"),
            ("2000-03-01T00:00:00Z", "2000-03-01T00:00:00.000000Z"),
            ("1900-12-31T00:00:00Z", "1900-12-31T00:00:00.000000Z"),
        ] {
            assert_eq!(rewritten(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_formats_are_rejected() {
        for text in [
            "",
            "now",
            "2022",
            "2022-13-01",
            "2023-02-29",
            "2022-05-02T24:00:00Z",
            "2022-05-02T14:60:00Z",
            "2022-05-02T14:01:61Z",
            "2022-05-02T14:01:00.Z",
            "2022-05-02T14:01:00+2",
            "2022-05-02T14:01:00Zjunk",
            "22-05-02",
            "1651500060000",
        ] {
            assert_eq!(read_text(text), None, "{text}");
        }
    }

    #[test]
    fn integers_are_seconds_or_milliseconds() {
        assert_eq!(read(&Json::Number("1651500060123".to_owned())), Some(1_651_500_060_123_000));
        for (text, seconds) in [
            ("1580602989", 1_580_602_989),
            ("0", 0),
            ("-1", -1),
            ("99999999999", 99_999_999_999),
            ("-99999999999", -99_999_999_999),
            ("100000000000", 100_000_000),
            ("-100000000000", -100_000_000),
        ] {
            assert_eq!(read(&Json::Number(text.to_owned())), Some(seconds * 1_000_000), "{text}");
        }
        assert_eq!(read(&Json::Number("1.5e3".to_owned())), None);
    }
}
