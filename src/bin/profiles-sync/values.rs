//! Parsers for flag values: numbers with a unit, times, kinds of difference.
//!
//! An error describes the valid form; the argument parser prefixes it with the flag and the value.

use profiles_sync::{diff::fail_on::DifferenceKind, jobs::ingest::MaxRejects, time::timestamp::parse_micros};

/// Parses a number of lines, or a percentage of them.
pub(crate) fn max_rejects(text: &str) -> Result<MaxRejects, String> {
    text.parse()
}

/// Parses a size in bytes, with or without a unit.
pub(crate) fn memory(text: &str) -> Result<u64, String> {
    let message = || "a size is a whole number with K, M, G or T, such as 512M or 4G".to_owned();
    let upper = text.to_ascii_uppercase();
    let digits = upper.trim_end_matches(|character: char| !character.is_ascii_digit());
    let power = match &upper[digits.len()..] {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err(message()),
    };
    let number: u64 = digits.parse().map_err(|_| message())?;
    number.checked_mul(1 << power).filter(|bytes| 0 < *bytes).ok_or_else(message)
}

/// Parses a number of threads.
pub(crate) fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if 0 < number && number <= 1024 => Ok(number),
        _ => Err("a number of threads from 1 to 1024".to_owned()),
    }
}

/// Parses a number of seconds.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a whole number of seconds such as 60".to_owned())
}

/// Parses a number of examples.
pub(crate) fn limit(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a whole number of examples such as 3".to_owned())
}

/// Parses a time or a date into microseconds since 1970.
pub(crate) fn as_of(text: &str) -> Result<i64, String> {
    parse_micros(text.as_bytes())
        .ok_or_else(|| "a time such as 2026-01-31T12:00:00Z, or a date such as 2026-01-31".to_owned())
}

/// Parses a kind of difference.
pub(crate) fn difference(text: &str) -> Result<DifferenceKind, String> {
    let known = DifferenceKind::ALL.into_iter().find(|(word, _)| *word == text);
    known.map(|(_, kind)| kind).ok_or_else(|| {
        let words: Vec<&str> = DifferenceKind::ALL.into_iter().map(|(word, _)| word).collect();
        format!("a difference is one of {}", words.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_unit() {
        for (text, expected) in
            [("1", 1), ("2k", 2048), ("512M", 512 << 20), ("4GiB", 4 << 30), ("1tb", 1 << 40)]
        {
            assert_eq!(memory(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "G", "1.5G", "-1", "9999999999999T", "1X"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rejects_are_counted_in_lines_or_per_cent() {
        assert_eq!(max_rejects("0"), Ok(MaxRejects::Lines(0)));
        assert_eq!(max_rejects("0.5%"), Ok(MaxRejects::Percent(0.5)));
        for text in ["", "%", "-1", "101%", "NaN%", "1.5", "many"] {
            assert!(max_rejects(text).is_err(), "{text}");
        }
    }
}
