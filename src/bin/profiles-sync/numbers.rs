//! Counts and sizes for people.

use indicatif::{DecimalBytes, HumanCount};

/// Returns a number and what it counts.
pub(crate) fn count(number: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// Returns a number with thousands separators.
pub(crate) fn thousands(number: u64) -> String {
    HumanCount(number).to_string()
}

/// Returns a number of bytes in the largest unit of thousands.
pub(crate) fn bytes(number: u64) -> String {
    DecimalBytes(number).to_string()
}
