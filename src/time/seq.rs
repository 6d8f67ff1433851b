//! The `seq` of rows as text.

/// Digits of a written seq. The number is fixed, so that text order is numeric order.
pub const SEQ_DIGITS: usize = 19;

/// Appends a seq, padded with zeros.
pub fn push_seq(out: &mut Vec<u8>, seq: u64) {
    out.extend_from_slice(&seq_digits(seq));
}

/// Returns the digits of a seq, padded with zeros.
#[must_use]
pub fn seq_digits(seq: u64) -> [u8; SEQ_DIGITS] {
    let mut digits = [b'0'; SEQ_DIGITS];
    let mut rest = seq;
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(rest % 10).expect("one decimal digit");
        rest /= 10;
    }
    digits
}
