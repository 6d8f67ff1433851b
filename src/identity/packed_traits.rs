//! The traits of a profile in as few bytes as will do: most profiles are looked at seldom, and there are many.
//!
//! Values that were set at the same time stand together behind their clock: three numbers, then how many there are. A value
//! is its length, its trait, its path where that is another, and its JSON; a trait that was removed has length 0. All
//! numbers are of variable length. The same bytes stand in the state cache, so that they are checked when they are read.

use super::traits::{PathId, SetAt};
use crate::time::timestamp::Millis;

/// The traits of one profile, packed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackedTraits(Box<[u8]>);

/// A value of a trait, or a trait that was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedValue<'a> {
    /// The trait.
    pub name: PathId,
    /// When it was set or removed.
    pub at: SetAt,
    /// The path inside the trait; its name for a scalar.
    pub path: PathId,
    /// The value as JSON; empty for a trait that was removed.
    pub value: &'a [u8],
}

impl PackedTraits {
    /// Whether there is none, not even a removed one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// All values, those of a trait together.
    #[must_use]
    pub fn values(&self) -> Values<'_> {
        Values::new(&self.0)
    }

    /// Takes in bytes that were put away; `paths` are today's numbers of its paths. `None` where they make no sense.
    #[must_use]
    pub fn read(bytes: &[u8], paths: &[PathId]) -> Option<Self> {
        let mut out = Packer::new(Vec::with_capacity(bytes.len()));
        let mut rest = Values::new(bytes);
        while !rest.is_done() {
            let one = rest.read()?;
            let number = |path: PathId| paths.get(path as usize).copied();
            // Runs of one clock are written as they were read.
            if rest.first {
                out.clock(one.at, rest.left + 1);
            }
            out.value(number(one.name)?, number(one.path)?, one.value);
        }
        Some(Self(out.bytes.into()))
    }
}

impl From<&[u8]> for PackedTraits {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

/// The values of a profile, one after the other.
#[derive(Debug, Clone)]
pub struct Values<'a> {
    bytes: &'a [u8],
    /// Where the next byte is.
    place: usize,
    at: SetAt,
    /// Values to come that have the same clock.
    left: u64,
    /// Whether the last value was the first of its clock.
    first: bool,
}

impl<'a> Values<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, place: 0, at: SetAt { timestamp: 0, uuid_ts: 0, seq: 0 }, left: 0, first: false }
    }

    fn is_done(&self) -> bool {
        self.place == self.bytes.len() && self.left == 0
    }

    #[inline]
    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.place)?;
            self.place += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn path(&mut self) -> Option<PathId> {
        PathId::try_from(self.number()?).ok()
    }

    fn read(&mut self) -> Option<PackedValue<'a>> {
        self.first = self.left == 0;
        if self.first {
            let timestamp = unfold(self.number()?);
            let uuid_ts = timestamp.wrapping_mul(1000).wrapping_add(unfold(self.number()?));
            let seq = nanos(timestamp).wrapping_add(unfold(self.number()?).cast_unsigned());
            self.at = SetAt { timestamp, uuid_ts, seq };
            self.left = self.number()?;
        }
        self.left = self.left.checked_sub(1)?;
        let head = self.number()?;
        let name = self.path()?;
        let path = if head & 1 == 0 { name } else { self.path()? };
        let end = self.place.checked_add(usize::try_from(head >> 1).ok()?)?;
        let value = self.bytes.get(self.place..end)?;
        self.place = end;
        Some(PackedValue { name, at: self.at, path, value })
    }

    /// Where the value that came last ends.
    pub(super) fn place(&self) -> usize {
        self.place
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = PackedValue<'a>;

    fn next(&mut self) -> Option<PackedValue<'a>> {
        if self.is_done() {
            return None;
        }
        Some(self.read().expect("packed traits are what was packed"))
    }
}

/// Packs traits.
#[derive(Debug)]
pub(super) struct Packer {
    bytes: Vec<u8>,
}

impl Packer {
    /// Over what `bytes` holds.
    pub(super) fn new(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self { bytes }
    }

    /// So many values come that were set at this time.
    pub(super) fn clock(&mut self, at: SetAt, n_values: u64) {
        // Times are near each other, and mostly the seq is the time: what is left is small.
        self.number(fold(at.timestamp));
        self.number(fold(at.uuid_ts.wrapping_sub(at.timestamp.wrapping_mul(1000))));
        self.number(fold(at.seq.wrapping_sub(nanos(at.timestamp)).cast_signed()));
        self.number(n_values);
    }

    pub(super) fn value(&mut self, name: PathId, path: PathId, value: &[u8]) {
        let nested = name != path;
        self.number((value.len() as u64) << 1 | u64::from(nested));
        self.number(name.into());
        if nested {
            self.number(path.into());
        }
        self.bytes.extend_from_slice(value);
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
    fn number(&mut self, mut value: u64) {
        while 0x80 <= value {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn nanos(timestamp: Millis) -> u64 {
    timestamp.cast_unsigned().wrapping_mul(1_000_000)
}

/// Small numbers of either sign become small numbers.
fn fold(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

fn unfold(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_clock_and_any_value_come_back() {
        let extremes = [i64::MIN, -1, 0, 1, 1_719_705_599_888, i64::MAX];
        let mut expected = Vec::new();
        let mut out = Packer::new(Vec::new());
        let long = vec![b'1'; 300];
        for timestamp in extremes {
            for uuid_ts in extremes {
                for seq in [0, 1, 1_719_705_599_888_000_000, u64::MAX] {
                    let at = SetAt { timestamp, uuid_ts, seq };
                    let values = [(3, 3, &b"\"a\""[..]), (200, 100_000, &long), (4, 4, b"")];
                    out.clock(at, values.len() as u64);
                    for (name, path, value) in values {
                        out.value(name, path, value);
                        expected.push(PackedValue { name, at, path, value });
                    }
                }
            }
        }
        let packed = PackedTraits::from(&*out.into_bytes());
        assert!(packed.values().eq(expected.iter().copied()));
        let same: Vec<PathId> = (0..=100_000).collect();
        assert_eq!(PackedTraits::read(packed.bytes(), &same), Some(packed.clone()));
        let others: Vec<PathId> = (0..=100_000).map(|path| 2 * path + 7).collect();
        let renamed = PackedTraits::read(packed.bytes(), &others).expect("it is whole");
        assert!(renamed.values().eq(expected.iter().map(|one| PackedValue {
            name: 2 * one.name + 7,
            path: 2 * one.path + 7,
            ..*one
        })));
    }

    #[test]
    fn bytes_that_were_not_packed_are_refused() {
        let mut out = Packer::new(Vec::new());
        out.clock(SetAt { timestamp: 5, uuid_ts: 5000, seq: 7 }, 2);
        out.value(0, 0, b"true");
        out.value(1, 1, b"12");
        let bytes = out.into_bytes();
        assert!(PackedTraits::read(&bytes, &[0, 1]).is_some());
        assert!(PackedTraits::read(&bytes, &[0]).is_none(), "a path without a name");
        for end in 1..bytes.len() {
            assert!(PackedTraits::read(&bytes[..end], &[0, 1]).is_none(), "{end}");
        }
    }
}
