//! A compact encoding of a profile's traits: there are many profiles, and most are rarely read.
//!
//! Values that were set at the same time follow their shared clock: three numbers, then the number of values. A value
//! is its length, its trait, its path if it differs from the trait, and its JSON; a removed trait has length 0. All
//! numbers are of variable length. The state cache stores the same bytes, so they are checked when they are loaded.

use crate::time::timestamp::{Micros, Millis};

/// A path's number: of `address.postal_code`, or of a trait's bare name.
pub type PathId = u32;

/// When a trait was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetAt {
    /// The `timestamp` of the event. The newest value wins.
    pub timestamp: Millis,
    /// The `uuid_ts` of the event. For equal timestamps, the event processed later wins.
    pub uuid_ts: Micros,
    /// The `seq` of the event's raw rows.
    pub seq: u64,
}

/// The encoded traits of one profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedTraits(Box<[u8]>);

/// A value of a trait, or a removed trait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedValue<'a> {
    /// The trait.
    pub name: PathId,
    /// When it was set or removed.
    pub at: SetAt,
    /// The path inside the trait; for a scalar, the trait's name.
    pub path: PathId,
    /// The value as JSON; empty for a removed trait.
    pub value: &'a [u8],
}

impl EncodedTraits {
    /// Returns whether there are no traits, not even removed ones.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the encoded bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns all values. The values of one trait are adjacent.
    #[must_use]
    pub fn values(&self) -> TraitValues<'_> {
        TraitValues::new(&self.0)
    }

    /// Decodes bytes of the state cache and renumbers their paths: `paths` maps the stored numbers to current ones.
    /// Returns `None` if the bytes are malformed.
    #[must_use]
    pub fn read(bytes: &[u8], paths: &[PathId]) -> Option<Self> {
        let mut out = TraitEncoder::new(Vec::with_capacity(bytes.len()));
        let mut rest = TraitValues::new(bytes);
        while !rest.is_done() {
            let one = rest.read()?;
            let number = |path: PathId| paths.get(path as usize).copied();
            // Values with one clock stay grouped as they were stored.
            if rest.first {
                out.clock(one.at, rest.left + 1);
            }
            out.value(number(one.name)?, number(one.path)?, one.value);
        }
        Some(Self(out.bytes.into()))
    }
}

impl From<&[u8]> for EncodedTraits {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

/// An iterator over the values of a profile.
#[derive(Debug, Clone)]
pub struct TraitValues<'a> {
    bytes: &'a [u8],
    /// Offset of the next byte.
    place: usize,
    at: SetAt,
    /// The number of further values with the same clock.
    left: u64,
    /// Whether the last value was the first with its clock.
    first: bool,
}

impl<'a> TraitValues<'a> {
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

    fn read(&mut self) -> Option<EncodedValue<'a>> {
        self.first = self.left == 0;
        if self.first {
            let timestamp = unzigzag(self.number()?);
            let uuid_ts = timestamp.wrapping_mul(1000).wrapping_add(unzigzag(self.number()?));
            let seq = nanos(timestamp).wrapping_add(unzigzag(self.number()?).cast_unsigned());
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
        Some(EncodedValue { name, at: self.at, path, value })
    }

    /// Returns the offset at which the last value ends.
    pub(super) fn place(&self) -> usize {
        self.place
    }
}

impl<'a> Iterator for TraitValues<'a> {
    type Item = EncodedValue<'a>;

    fn next(&mut self) -> Option<EncodedValue<'a>> {
        if self.is_done() {
            return None;
        }
        Some(self.read().expect("encoded traits were checked when loaded"))
    }
}

/// Encodes traits.
#[derive(Debug)]
pub(super) struct TraitEncoder {
    bytes: Vec<u8>,
}

impl TraitEncoder {
    /// Creates an encoder that reuses the buffer.
    pub(super) fn new(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self { bytes }
    }

    /// Starts a group of `n_values` values that were set at the same time.
    pub(super) fn clock(&mut self, at: SetAt, n_values: u64) {
        // The times are close to each other, and the seq is usually the time, so the differences are small.
        self.number(zigzag(at.timestamp));
        self.number(zigzag(at.uuid_ts.wrapping_sub(at.timestamp.wrapping_mul(1000))));
        self.number(zigzag(at.seq.wrapping_sub(nanos(at.timestamp)).cast_signed()));
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
    #[expect(clippy::cast_possible_truncation, reason = "only the low seven bits are kept")]
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

/// Encodes signed numbers of small magnitude as small unsigned ones (zigzag).
fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_clock_and_any_value_come_back() {
        let extremes = [i64::MIN, -1, 0, 1, 1_719_705_599_888, i64::MAX];
        let mut expected = Vec::new();
        let mut out = TraitEncoder::new(Vec::new());
        let long = vec![b'1'; 300];
        for timestamp in extremes {
            for uuid_ts in extremes {
                for seq in [0, 1, 1_719_705_599_888_000_000, u64::MAX] {
                    let at = SetAt { timestamp, uuid_ts, seq };
                    let values = [(3, 3, &b"\"a\""[..]), (200, 100_000, &long), (4, 4, b"")];
                    out.clock(at, values.len() as u64);
                    for (name, path, value) in values {
                        out.value(name, path, value);
                        expected.push(EncodedValue { name, at, path, value });
                    }
                }
            }
        }
        let packed = EncodedTraits::from(&*out.into_bytes());
        assert!(packed.values().eq(expected.iter().copied()));
        let same: Vec<PathId> = (0..=100_000).collect();
        assert_eq!(EncodedTraits::read(packed.bytes(), &same), Some(packed.clone()));
        let others: Vec<PathId> = (0..=100_000).map(|path| 2 * path + 7).collect();
        let renamed = EncodedTraits::read(packed.bytes(), &others).expect("the bytes are valid");
        assert!(renamed.values().eq(expected.iter().map(|one| EncodedValue {
            name: 2 * one.name + 7,
            path: 2 * one.path + 7,
            ..*one
        })));
    }

    #[test]
    fn bytes_that_were_not_packed_are_refused() {
        let mut out = TraitEncoder::new(Vec::new());
        out.clock(SetAt { timestamp: 5, uuid_ts: 5000, seq: 7 }, 2);
        out.value(0, 0, b"true");
        out.value(1, 1, b"12");
        let bytes = out.into_bytes();
        assert!(EncodedTraits::read(&bytes, &[0, 1]).is_some());
        assert!(EncodedTraits::read(&bytes, &[0]).is_none(), "a path without a name");
        for end in 1..bytes.len() {
            assert!(EncodedTraits::read(&bytes[..end], &[0, 1]).is_none(), "{end}");
        }
    }
}
