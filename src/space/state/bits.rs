//! Bit packing: numbers of any width, one after the other, the lowest bit first.

/// Both writers and readers need this many bytes after the packed ones.
pub(super) const SLACK: usize = 16;

/// Returns how many bits a number takes.
pub(super) fn width(number: u128) -> u32 {
    u128::BITS - number.leading_zeros()
}

/// Writes a number of `width` bits at a bit offset. The bytes from there on must be zero.
pub(super) fn put_bits(bytes: &mut [u8], at: usize, width: u32, number: u128) {
    debug_assert!(self::width(number) <= width, "a number fits its bits");
    let shift = at % 8;
    let Some((low, behind)) = bytes[at / 8..].split_first_chunk_mut::<16>() else { return };
    *low = (u128::from_le_bytes(*low) | number << shift).to_le_bytes();
    // A number that does not start at a byte boundary may need a seventeenth byte.
    if 128 < shift + width as usize {
        behind[0] = (number >> 120).to_le_bytes()[0] >> (8 - shift);
    }
}

/// Reads a number of `width` bits at a bit offset. Returns 0 if too few bytes follow.
pub(super) fn get_bits(bytes: &[u8], at: usize, width: u32) -> u128 {
    let Some((low, behind)) = bytes.get(at / 8..).and_then(|bytes| bytes.split_first_chunk::<16>()) else {
        return 0;
    };
    let shift = at % 8;
    let mut number = u128::from_le_bytes(*low) >> shift;
    if let (1.., Some(&next)) = (shift, behind.first()) {
        number |= u128::from(next) << (128 - shift);
    }
    if width == u128::BITS { number } else { number & ((1 << width) - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_width_at_any_place_come_back() {
        for first in 0..9 {
            let mut bytes = vec![0; 4096 + SLACK];
            let numbers = (0..=128_u32).map(|n| if n == 0 { 0 } else { u128::MAX >> (128 - n) });
            let numbers: Vec<u128> =
                numbers.flat_map(|most| [most, most & (0x5555 << 112 | 0xAAAA_5555), 0]).collect();
            let mut at = first;
            for (place, number) in numbers.iter().enumerate() {
                let width = u32::try_from(place / 3).expect("small");
                put_bits(&mut bytes, at, width, *number);
                at += width as usize;
            }
            let mut at = first;
            for (place, number) in numbers.iter().enumerate() {
                let width = u32::try_from(place / 3).expect("small");
                assert_eq!(get_bits(&bytes, at, width), *number, "{width} bits at {at}");
                at += width as usize;
            }
        }
    }

    #[test]
    fn the_width_of_a_number_is_what_holds_it() {
        assert_eq!([0, 1, 2, 255, 256, u128::MAX].map(width), [0, 1, 2, 8, 9, 128]);
    }
}
