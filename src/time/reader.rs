//! Parses sequences of times. Consecutive times are mostly on the same day, whose date is parsed once.

use super::timestamp::{Micros, parse_micros};

/// Parses times. Reuse it for all times of a sequence.
#[derive(Debug, Default)]
pub struct TimeReader {
    /// The last date parsed: `2022-05-02T`.
    date: [u8; 11],
    /// Start of that day.
    midnight: Micros,
}

/// A parsed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedTime {
    /// The time.
    pub micros: Micros,
    /// Whether [`push_millis`](super::timestamp::push_millis) would write exactly the same text.
    pub is_canonical: bool,
}

impl TimeReader {
    /// Parses a time like [`parse_micros`].
    #[inline]
    pub fn read(&mut self, text: &[u8]) -> Option<ParsedTime> {
        if let Some(read) = self.of_this_day(text) {
            return Some(read);
        }
        let micros = parse_micros(text)?;
        if let Some((date, _)) = text.split_first_chunk::<11>()
            && let Some(midnight) = parse_micros(&date[..10])
            && date[10] == b'T'
        {
            self.date = *date;
            self.midnight = midnight;
        }
        Some(self.of_this_day(text).unwrap_or(ParsedTime { micros, is_canonical: false }))
    }

    /// Parses a time on the last day seen, if it is in the format that this program writes, with milliseconds or
    /// microseconds.
    fn of_this_day(&self, text: &[u8]) -> Option<ParsedTime> {
        let (date, time) = text.split_first_chunk::<11>()?;
        if *date != self.date {
            return None;
        }
        let (clock, fraction) = time.split_first_chunk::<8>()?;
        let [h1, h2, b':', m1, m2, b':', s1, s2] = *clock else { return None };
        let (hour, minute, second) = (number(&[h1, h2])?, number(&[m1, m2])?, number(&[s1, s2])?);
        let (micros, ours) = match *fraction {
            [b'.', a, b, c, b'Z'] => (number(&[a, b, c])? * 1000, true),
            [b'.', ref micros @ .., b'Z'] => {
                (number(micros.first_chunk::<6>().filter(|_| micros.len() == 6)?)?, false)
            }
            _ => return None,
        };
        // Larger values are not valid times, except second 60, which the general parser handles.
        let in_range = hour < 24 && minute < 60 && second < 60;
        let micros = self.midnight + ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros;
        in_range.then_some(ParsedTime { micros, is_canonical: ours })
    }
}

fn number<const N: usize>(digits: &[u8; N]) -> Option<i64> {
    let mut number = 0;
    let mut largest = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        largest = largest.max(digit);
        number = number * 10 + i64::from(digit);
    }
    (largest < 10).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::timestamp::push_millis;

    #[test]
    fn times_are_those_of_the_plain_parser_whatever_was_read_before() {
        let texts = [
            "2022-05-02T14:01:00.123Z",
            "2022-05-02T14:01:00.123456Z",
            "2022-05-02T14:01:60.123Z",
            "2022-05-02T24:01:00.123Z",
            "2022-05-02T14:01:00.12Z",
            "2022-05-02T14:01:00.1x3Z",
            "2022-05-02 14:01:00.123Z",
            "2022-05-02T14:01:00.123+02",
            "2022-05-03T00:00:00.000Z",
            "2022-5-3T00:00:00.000Z",
            "2022-13-03T00:00:00.000Z",
            "0000-01-01T00:00:00.000Z",
            "1969-12-31T23:59:59.999Z",
            "2022-05-02",
            "",
        ];
        for before in texts {
            for text in texts {
                let mut reader = TimeReader::default();
                let _ = reader.read(before.as_bytes());
                let read = reader.read(text.as_bytes());
                assert_eq!(read.map(|read| read.micros), parse_micros(text.as_bytes()), "{before} {text}");
                let mut ours = Vec::new();
                if let Some(read) = read {
                    push_millis(&mut ours, read.micros.div_euclid(1000));
                    assert_eq!(read.is_canonical, ours == text.as_bytes(), "{before} {text}");
                }
            }
        }
    }
}
