//! Lines that cannot be events: set aside with a reason, never dropped silently.

use std::{fmt, str::FromStr};

use crate::json::push_string;

/// Why a line is no event: a fixed word each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Over 16 MiB.
    LineTooLong,
    /// Not UTF-8.
    InvalidUtf8,
    /// Not JSON.
    NotJson,
    /// JSON, but no object.
    NotAnObject,
    /// A batch whose items make too many bytes, each with what it takes from the envelope.
    BatchTooLarge,
    /// `type` is missing or none of the six calls.
    UnknownType,
    /// `messageId` is over 100 characters.
    MessageIdTooLong,
    /// More than 300 traits.
    TooManyTraits,
    /// More than 300 properties.
    TooManyProperties,
    /// The names of its columns are too many bytes together.
    ColumnsTooLong,
    /// A group call without a `groupId`.
    EmptyGroupId,
    /// `groupId` is over 500 characters.
    GroupIdTooLong,
    /// No time that can be read.
    NoUsableTime,
    /// A `timestamp` or `receivedAt` before 1970.
    TimeBefore1970,
    /// A `timestamp` or `receivedAt` from the year 2286 on.
    TimeAfter2285,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::LineTooLong,
        Self::InvalidUtf8,
        Self::NotJson,
        Self::NotAnObject,
        Self::BatchTooLarge,
        Self::UnknownType,
        Self::MessageIdTooLong,
        Self::TooManyTraits,
        Self::TooManyProperties,
        Self::ColumnsTooLong,
        Self::EmptyGroupId,
        Self::GroupIdTooLong,
        Self::NoUsableTime,
        Self::TimeBefore1970,
        Self::TimeAfter2285,
    ];

    /// The word in the column `reason`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::LineTooLong => "line_too_long",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::NotJson => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::BatchTooLarge => "batch_too_large",
            Self::UnknownType => "unknown_type",
            Self::MessageIdTooLong => "message_id_too_long",
            Self::TooManyTraits => "too_many_traits",
            Self::TooManyProperties => "too_many_properties",
            Self::ColumnsTooLong => "columns_too_long",
            Self::EmptyGroupId => "empty_group_id",
            Self::GroupIdTooLong => "group_id_too_long",
            Self::NoUsableTime => "no_usable_time",
            Self::TimeBefore1970 => "time_before_1970",
            Self::TimeAfter2285 => "time_after_2285",
        }
    }
}

/// A line, or an item of a batch, that is no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: Reason,
    /// What was met, for a person.
    pub detail: String,
}

/// Where a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Which input, in the order of reading.
    pub input: u32,
    /// Counted from 1, blank lines too.
    pub line: u64,
    /// Item of a batch, counted from 0; 0 for a line that is no batch.
    pub item: u32,
    /// First byte of the line, counted from 0 after decompression.
    pub byte_offset: u64,
}

/// So many bytes of the text of a rejected line are kept.
pub const KEPT_TEXT: usize = 64 * 1024;

/// Appends the row of a reject: `file, line, byte_offset, reason, detail, text`.
pub fn push_row(out: &mut Vec<u8>, file: &str, position: Position, reject: &Reject, line: &[u8]) {
    out.extend_from_slice(b"{\"file\":");
    push_string(out, file.as_bytes());
    out.extend_from_slice(
        format!(",\"line\":{},\"byte_offset\":{},\"reason\":\"", position.line, position.byte_offset)
            .as_bytes(),
    );
    out.extend_from_slice(reject.reason.word().as_bytes());
    out.extend_from_slice(b"\",\"detail\":");
    push_string(out, reject.detail.as_bytes());
    out.extend_from_slice(b",\"text\":");
    // What is not UTF-8 shows as U+FFFD, which may take more bytes than it stands for: the text is cut, not the line. The
    // bytes more are those of a last character.
    let text = String::from_utf8_lossy(&line[..line.len().min(KEPT_TEXT + 4)]);
    push_string(out, text[..text.floor_char_boundary(KEPT_TEXT)].as_bytes());
    out.extend_from_slice(b"}\n");
}

/// How many rejected lines and items of batches a run may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxRejects {
    /// At most this many.
    Lines(u64),
    /// At most this many per cent of all events and rejects.
    Percent(f64),
}

impl FromStr for MaxRejects {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_suffix('%') {
            Some(percent) => match percent.trim_end().parse() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self::Percent(percent)),
                _ => Err("a percentage is a number from 0% to 100%, such as 1% or 0.5%".to_owned()),
            },
            None => text
                .parse()
                .map(Self::Lines)
                .map_err(|_| "a whole number of lines such as 100, or a percentage such as 1%".to_owned()),
        }
    }
}

impl fmt::Display for MaxRejects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lines(most) => write!(f, "{most}"),
            Self::Percent(most) => write!(f, "{most}%"),
        }
    }
}
