//! Rejects: lines that are not events, recorded with a reason.

use std::{fmt, str::FromStr};

use crate::json::push_string;

/// Why a line is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RejectReason {
    /// The line is over 16 MiB.
    LineTooLong,
    /// The line is not UTF-8.
    InvalidUtf8,
    /// The line is not JSON.
    NotJson,
    /// The line is JSON, but not an object.
    NotAnObject,
    /// The items of a batch, each with what it takes from the envelope, are too large in total.
    BatchTooLarge,
    /// `type` is missing or not one of the six calls.
    UnknownType,
    /// `messageId` is over 100 characters.
    MessageIdTooLong,
    /// There are more than 300 traits.
    TooManyTraits,
    /// There are more than 300 properties.
    TooManyProperties,
    /// The column names are too long in total.
    ColumnsTooLong,
    /// A group call has no `groupId`.
    EmptyGroupId,
    /// `groupId` is over 500 characters.
    GroupIdTooLong,
    /// None of the times can be read.
    NoUsableTime,
    /// `timestamp` or `receivedAt` is before 1970.
    TimeBefore1970,
    /// `timestamp` or `receivedAt` is in the year 2286 or later.
    TimeAfter2285,
}

impl RejectReason {
    /// All reasons, in the order of declaration.
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

    /// Returns the word in the column `reason`.
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

/// A line, or an item of a batch, that is not an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The reason.
    pub reason: RejectReason,
    /// A description for people.
    pub detail: String,
}

/// The position of a line or an item in the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinePosition {
    /// Index of the input in the order of reading.
    pub input: u32,
    /// Line number, counted from 1 and including blank lines.
    pub line: u64,
    /// Index of the item in its batch; 0 for other lines.
    pub item: u32,
    /// Offset of the line's first byte after decompression.
    pub byte_offset: u64,
}

/// The maximum length of the text kept of a rejected line, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;

/// Appends the row of a reject: `file, line, byte_offset, reason, detail, text`.
pub fn push_row(out: &mut Vec<u8>, file: &str, position: LinePosition, reject: &Reject, line: &[u8]) {
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
    // Invalid UTF-8 becomes U+FFFD, which may be longer than the bytes it replaces, so the text is cut after the
    // conversion. The extra 4 bytes complete a last character.
    let text = String::from_utf8_lossy(&line[..line.len().min(MAX_TEXT + 4)]);
    push_string(out, text[..text.floor_char_boundary(MAX_TEXT)].as_bytes());
    out.extend_from_slice(b"}\n");
}

/// How many rejected lines and items of batches a run may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxRejects {
    /// At most this many rejects.
    Lines(u64),
    /// At most this percentage of all events and rejects.
    Percent(f64),
}

impl FromStr for MaxRejects {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_suffix('%') {
            Some(percent) => match percent.trim_end().parse() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self::Percent(percent)),
                _ => Err("give a percentage from 0% to 100%, such as 1% or 0.5%".to_owned()),
            },
            None => text
                .parse()
                .map(Self::Lines)
                .map_err(|_| "give a number of lines such as 100, or a percentage such as 1%".to_owned()),
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
