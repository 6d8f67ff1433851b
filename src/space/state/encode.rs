//! Encodes numbers and texts as bytes. Numbers are little-endian; a list begins with its length (u64), a text with its
//! length (u32).

/// A buffer to encode into.
#[derive(Debug, Default)]
pub(super) struct Encoder(pub(super) Vec<u8>);

impl Encoder {
    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    pub(super) fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    pub(super) fn u128(&mut self, value: u128) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    /// Appends a number that is usually small, in as few bytes as possible: seven bits per byte, the lowest first.
    pub(super) fn varint(&mut self, mut value: u64) {
        while let (low, rest @ 1..) = (value & 0x7F, value >> 7) {
            self.0.push(u8::try_from(low).unwrap_or_default() | 0x80);
            value = rest;
        }
        self.0.push(u8::try_from(value).unwrap_or_default());
    }
    /// Appends a number that is usually near 0, positive or negative.
    pub(super) fn signed_varint(&mut self, value: i64) {
        self.varint((value << 1 ^ value >> 63).cast_unsigned());
    }
    pub(super) fn text(&mut self, text: &[u8]) {
        self.length(text.len());
        self.0.extend_from_slice(text);
    }
    /// Appends a length as u32.
    pub(super) fn length(&mut self, length: usize) {
        self.u32(u32::try_from(length).expect("a profile has fewer than 2^32 of anything"));
    }
    pub(super) fn list<T>(&mut self, items: &[T], push: impl Fn(&mut Self, &T)) {
        self.u64(items.len() as u64);
        for item in items {
            push(self, item);
        }
    }
}

/// The bytes left to decode. Its methods return `None` if these are too few or malformed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decoder<'a>(pub(super) &'a [u8]);

impl<'a> Decoder<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (now, behind) = self.0.split_first_chunk::<N>()?;
        self.0 = behind;
        Some(*now)
    }
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
    pub(super) fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }
    pub(super) fn u128(&mut self) -> Option<u128> {
        self.take().map(u128::from_le_bytes)
    }
    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, behind) = self.0.split_first()?;
            self.0 = behind;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
    pub(super) fn signed_varint(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }
    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (now, behind) = self.0.split_at_checked(length)?;
        self.0 = behind;
        Some(now)
    }
    /// Returns the length of the list that comes next, without consuming it; `None` if that many items of at least
    /// `size` bytes cannot follow.
    pub(super) fn count(&self, size: u64) -> Option<u64> {
        let count = u64::from_le_bytes(*self.0.first_chunk()?);
        (count.checked_mul(size)? <= self.0.len() as u64).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_size_come_back() {
        let numbers = [0, 1, -1, 63, -64, 64, 1 << 31, -(1 << 40), i64::MAX, i64::MIN];
        let mut out = Encoder::default();
        for number in numbers {
            out.signed_varint(number);
            out.varint(number.cast_unsigned());
        }
        let mut rest = Decoder(&out.0);
        for number in numbers {
            assert_eq!(rest.signed_varint(), Some(number));
            assert_eq!(rest.varint(), Some(number.cast_unsigned()));
        }
        assert_eq!(rest.varint(), None);
        let mut small = Encoder::default();
        small.signed_varint(-64);
        assert_eq!(small.0.len(), 1);
    }
}
