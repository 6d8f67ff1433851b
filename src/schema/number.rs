//! The digits of a number as it is written in JSON: what an exact decimal type needs to hold it.

/// The size of a number that is written with all of its digits and no exponent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digits {
    /// Digits before the point, without leading zeros.
    pub(crate) before: u32,
    /// Digits after the point, trailing zeros too.
    pub(crate) after: u32,
    /// Digits from the first that is not zero to the last one written.
    pub(crate) significant: u32,
}

/// An exponent beyond this is in no type.
const MAX_EXPONENT: i64 = 1 << 30;

impl Digits {
    /// Counts the digits of a number that is valid JSON.
    pub(crate) fn of(number: &[u8]) -> Self {
        let number = number.strip_prefix(b"-").unwrap_or(number);
        let at = number.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(number.len());
        let (mantissa, exponent) = (&number[..at], exponent(number.get(at + 1..).unwrap_or_default()));
        let whole = mantissa.iter().position(|&byte| byte == b'.').unwrap_or(mantissa.len());
        let digits = || mantissa.iter().filter(|&&byte| byte != b'.');
        let n_digits = count(digits().count());
        let n_zeros = count(digits().take_while(|&&byte| byte == b'0').count());
        // Where the point is among the digits, once the exponent has moved it.
        let point = count(whole) + exponent;
        let size = |digits: i64| u32::try_from(digits.max(0)).unwrap_or(u32::MAX);
        Self {
            before: if n_zeros == n_digits { 0 } else { size(point - n_zeros) },
            after: size(n_digits - point),
            significant: size(n_digits - n_zeros),
        }
    }
}

fn exponent(text: &[u8]) -> i64 {
    let is_negative = text.starts_with(b"-");
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    let mut value = 0;
    for &digit in digits {
        value = (value * 10 + i64::from(digit - b'0')).min(MAX_EXPONENT);
    }
    if is_negative { -value } else { value }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_number_without_exponent() {
        for (number, before, after, significant) in [
            ("0", 0, 0, 0),
            ("-0", 0, 0, 0),
            ("0.0", 0, 1, 0),
            ("7", 1, 0, 1),
            ("-120", 3, 0, 3),
            ("1.50", 1, 2, 3),
            ("-0.050", 0, 3, 2),
            ("1e3", 4, 0, 1),
            ("1.5E+3", 4, 0, 2),
            ("15e-1", 1, 1, 2),
            ("1.5e-3", 0, 4, 2),
            ("0.001e2", 0, 1, 1),
            ("0.00125e4", 2, 1, 3),
            ("1e400", 401, 0, 1),
            ("123456789012345678901234567890", 30, 0, 30),
            ("0e99999999999999999999", 0, 0, 0),
        ] {
            assert_eq!(Digits::of(number.as_bytes()), Digits { before, after, significant }, "{number}");
        }
        assert_eq!(Digits::of(b"1e99999999999999999999").before, 1 + (1 << 30));
    }
}
