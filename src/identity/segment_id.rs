//! Derives segment ids from the founding event. They are never random.
//!
//! A segment id is `use_` and the text form of a KSUID: 4 bytes of seconds since 2014-05-13T16:53:20Z and 16 bytes of
//! SHA-1, as one big-endian number in 27 base-62 digits.

use sha1::{Digest, Sha1};

use crate::time::timestamp::Millis;

/// Seconds from 1970 to the KSUID epoch.
const KSUID_EPOCH: i64 = 1_400_000_000;
const BASE_62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Returns the segment id of a profile founded by this message. `attempt` starts at 0 and is increased while the id is
/// taken.
#[must_use]
pub fn ksuid(timestamp: Millis, message_id: &[u8], attempt: u32) -> String {
    let mut hash = Sha1::new();
    hash.update(message_id);
    if 0 < attempt {
        hash.update([0]);
        hash.update(attempt.to_string());
    }
    let hash = hash.finalize();
    let seconds = timestamp.div_euclid(1000).saturating_sub(KSUID_EPOCH).max(0);
    // 32 bits of seconds last until 2150; later times get the highest value instead of wrapping.
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&seconds.to_be_bytes());
    bytes[4..].copy_from_slice(&hash[..16]);
    let mut id = String::with_capacity(31);
    id.push_str("use_");
    for digit in base_62(bytes) {
        id.push(char::from(BASE_62[usize::from(digit)]));
    }
    id
}

/// Returns the 27 base-62 digits of a 160-bit number, by long division of five 32-bit words.
fn base_62(bytes: [u8; 20]) -> [u8; 27] {
    let mut words = [0_u64; 5];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = chunk.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
    }
    let mut digits = [0; 27];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0;
        for word in &mut words {
            let value = remainder << 32 | *word;
            *word = value / 62;
            remainder = value % 62;
        }
        *digit = u8::try_from(remainder).expect("a remainder is less than 62");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: [u8; 20]) -> String {
        base_62(bytes).map(|d| char::from(BASE_62[usize::from(d)])).iter().collect()
    }

    #[test]
    fn text_form_is_that_of_the_reference_implementation() {
        assert_eq!(text([0; 20]), "000000000000000000000000000");
        assert_eq!(text([255; 20]), "aWgEPTl1tmebfsQzFP4bxwgy80V");
        // The sample of the reference implementation's README: 0669F7EFB5A1CD34B5F99D1154FB6853345C9735.
        let raw = 0x0669_F7EF_B5A1_CD34_B5F9_9D11_54FB_6853_u128.to_be_bytes();
        let mut bytes = [0; 20];
        bytes[..16].copy_from_slice(&raw);
        bytes[16..].copy_from_slice(&0x345C_9735_u32.to_be_bytes());
        assert_eq!(text(bytes), "0ujtsYcgvSTl8PAuAdqWYSMnLOv");
    }

    #[test]
    fn earlier_than_the_epoch_is_second_zero_and_attempts_differ() {
        assert_eq!(ksuid(0, b"m", 0), ksuid(1_000_000_000_000, b"m", 0));
        assert_ne!(ksuid(0, b"m", 0), ksuid(0, b"m", 1));
        assert_eq!(ksuid(0, b"m", 0).len(), 31);
    }
}
