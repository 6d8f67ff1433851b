//! Building blocks of generated dumps: JSON, ids, times and random numbers.

use std::fmt::{self, Write};

/// Milliseconds in a day.
pub(crate) const DAY: u64 = 86_400_000;

/// A JSON object under construction.
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Self {
        Self(String::from("{"))
    }

    /// Appends a string member; the text must be escaped already.
    pub(crate) fn text(&mut self, key: &str, value: impl fmt::Display) -> &mut Self {
        self.raw(key, format_args!("\"{value}\""))
    }

    /// Appends a member whose value is JSON.
    pub(crate) fn raw(&mut self, key: &str, value: impl fmt::Display) -> &mut Self {
        let comma = if self.0.len() == 1 { "" } else { "," };
        write!(self.0, "{comma}\"{key}\":{value}").expect("writing to a string cannot fail");
        self
    }

    pub(crate) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

pub(crate) struct Email(pub(crate) u64);

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reader{}@{}.example", self.0, ["post", "mail", "work"][Random(self.0).index(3)])
    }
}

pub(crate) struct Uuid(pub(crate) u64, pub(crate) u64);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(one, two) = *self;
        let (a, b) = (Random(one ^ two.rotate_left(32)).next(), Random(two.wrapping_add(one << 20)).next());
        write!(
            f,
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        )
    }
}

pub(crate) struct Time(pub(crate) u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(millis) = *self;
        let (mut year, mut day) = (1970, millis / DAY);
        let leap =
            |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        while day >= 365 + u64::from(leap(year)) {
            day -= 365 + u64::from(leap(year));
            year += 1;
        }
        let mut month = 0;
        let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        while day >= lengths[month] {
            day -= lengths[month];
            month += 1;
        }
        let (hour, minute, second) = (millis / 3_600_000 % 24, millis / 60_000 % 60, millis / 1000 % 60);
        write!(
            f,
            "{year}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
            month + 1,
            day + 1,
            millis % 1000
        )
    }
}

/// A small random number generator (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("the number is below a `usize`")
    }

    pub(crate) fn per_mille(&mut self, chance: f64) -> bool {
        // Exact in an `f64`, so the result is the same on every machine.
        let thousandths =
            f64::from(u32::try_from(self.below(1_000_000)).expect("the number is below a million"));
        thousandths < chance * 1000.0
    }
}
