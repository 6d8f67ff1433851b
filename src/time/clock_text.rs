//! Formats clocks by writing digits into a template at fixed offsets, without a branch for each digit.
//!
//! Views hold millions of clocks, and nearly all are complete and within the years 1970 to 9999. For any other the
//! functions return `None`, and the caller formats it field by field.

use crate::time::timestamp::Micros;

const DIGITS: &[u8; 10] = b"0123456789";

/// The two digits of each number below 100.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [DIGITS[number / 10], DIGITS[number % 10]];
        number += 1;
    }
    pairs
};

const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;
/// Number of days from 1970 to the end of the year 9999.
const N_DAYS: u64 = 2_932_897;

/// `2022-05-02`
type Date = [u8; 10];
/// `2022-05-02T14:01:00.000000Z`
type MicrosText = [u8; 27];
/// `2022-05-02T14:01:00.000Z`
type MillisText = [u8; 24];
/// `0001651500060000000`
type SeqText = [u8; 19];

/// Formats times. Consecutive times are mostly on the same day, whose date is computed once.
#[derive(Debug)]
struct Dates {
    day: u64,
    date: Date,
}

/// Returns `"seq":...,"received_at":...,"uuid_ts":...,"timestamp":...`, or `None` if a time is before 1970 or after
/// 9999.
pub(crate) fn all(seq: u64, received_at: Micros, uuid_ts: Micros, timestamp: Micros) -> Option<[u8; 147]> {
    let mut dates = Dates { day: u64::MAX, date: [0; 10] };
    let mut text = const {
        concat_bytes(
            br#""seq":"0000000000000000000","received_at":"0000-00-00T00:00:00.000Z","#,
            br#""uuid_ts":"0000-00-00T00:00:00.000000Z","timestamp":"0000-00-00T00:00:00.000Z""#,
        )
    };
    put(&mut text, 7, seq_text(seq));
    put(&mut text, 43, dates.millis(received_at)?);
    put(&mut text, 80, dates.micros(uuid_ts)?);
    put(&mut text, 122, dates.millis(timestamp)?);
    Some(text)
}

/// Returns `"timestamp":...,"seq":...,"uuid_ts":...`, or `None` as in [`all`].
pub(crate) fn mapping(seq: u64, uuid_ts: Micros, timestamp: Micros) -> Option<[u8; 106]> {
    let mut dates = Dates { day: u64::MAX, date: [0; 10] };
    let mut text = const {
        concat_bytes(
            br#""timestamp":"0000-00-00T00:00:00.000Z","seq":"0000000000000000000","#,
            br#""uuid_ts":"0000-00-00T00:00:00.000000Z""#,
        )
    };
    put(&mut text, 13, dates.millis(timestamp)?);
    put(&mut text, 46, seq_text(seq));
    put(&mut text, 78, dates.micros(uuid_ts)?);
    Some(text)
}

impl Dates {
    #[inline]
    fn millis(&mut self, time: Micros) -> Option<MillisText> {
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let fraction = self.seconds(&mut text, time)?;
        let [_, a, b, c] = four_digits(fraction / 1000);
        put(&mut text, 20, [a, b, c]);
        Some(text)
    }

    #[inline]
    fn micros(&mut self, time: Micros) -> Option<MicrosText> {
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let fraction = self.seconds(&mut text, time)?;
        put(&mut text, 20, PAIRS[fraction as usize / 10_000]);
        put(&mut text, 22, four_digits(fraction % 10_000));
        Some(text)
    }

    /// Writes everything but the fraction. Returns the fraction in microseconds.
    #[inline]
    fn seconds<const N: usize>(&mut self, text: &mut [u8; N], time: Micros) -> Option<u32> {
        let time = u64::try_from(time).ok()?;
        let day = time / DAY;
        if day != self.day {
            self.date = date(day)?;
            self.day = day;
        }
        let second = below_32_bits(time % DAY / SECOND);
        put(text, 0, self.date);
        put(text, 11, PAIRS[second as usize / 3600]);
        put(text, 14, PAIRS[second as usize / 60 % 60]);
        put(text, 17, PAIRS[second as usize % 60]);
        Some(below_32_bits(time % SECOND))
    }
}

/// Returns the date of a day counted from 1970, by Howard Hinnant's `civil_from_days`. Years begin in March, so that
/// the leap day is the last of the year.
fn date(day: u64) -> Option<Date> {
    if N_DAYS <= day {
        return None;
    }
    let day = below_32_bits(day) + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day + 2) / 153;
    let day = day - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = 400 * era + year + u32::from(month <= 2);
    let mut text = *b"0000-00-00";
    put(&mut text, 0, four_digits(year));
    put(&mut text, 5, PAIRS[month as usize]);
    put(&mut text, 8, PAIRS[day as usize]);
    Some(text)
}

fn seq_text(seq: u64) -> SeqText {
    const HALF: u64 = 100_000_000;
    let mut text = [0; 19];
    let [_, a, b, c] = four_digits(below_32_bits(seq / HALF / HALF));
    put(&mut text, 0, [a, b, c]);
    for (start, half) in [(3, seq / HALF % HALF), (11, seq % HALF)] {
        let half = below_32_bits(half);
        put(&mut text, start, four_digits(half / 10_000));
        put(&mut text, start + 4, four_digits(half % 10_000));
    }
    text
}

fn four_digits(number: u32) -> [u8; 4] {
    let ([a, b], [c, d]) = (PAIRS[number as usize / 100], PAIRS[number as usize % 100]);
    [a, b, c, d]
}

/// Converts a number that the caller has reduced to 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "the upper bits are zero")]
fn below_32_bits(number: u64) -> u32 {
    number as u32
}

#[inline]
fn put<const N: usize, const M: usize>(text: &mut [u8; N], start: usize, piece: [u8; M]) {
    text[start..start + M].copy_from_slice(&piece);
}

/// Concatenates two texts of fixed length.
const fn concat_bytes<const N: usize, const A: usize, const B: usize>(a: &[u8; A], b: &[u8; B]) -> [u8; N] {
    let mut all = [0; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < A { a[at] } else { b[at - A] };
        at += 1;
    }
    all
}
