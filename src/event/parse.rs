//! Turns a JSON object into an event, or into a reject with the first rule that it breaks.

use std::borrow::Cow;

use sha1::{Digest, Sha1};

use super::{
    Call,
    fields::EventFields,
    reject::{Reject, RejectReason},
};
use crate::{
    bytes::push_hex,
    collections::Set,
    json::{Document, JsonKind},
    time::{
        reader::TimeReader,
        timestamp::{Millis, TOO_LATE},
    },
};

/// An event with its fields checked and its times parsed.
#[derive(Debug)]
pub struct ParsedEvent<'a> {
    /// The document that holds the event.
    pub doc: Document<'a>,
    /// The tokens of its fields.
    pub fields: EventFields,
    /// Its type.
    pub call: Call,
    /// The `messageId` as sent; `None` if it is missing and must be derived.
    pub message_id: Option<Cow<'a, [u8]>>,
    /// `projectId`, or else `sourceId`.
    pub source_id: Option<Cow<'a, [u8]>>,
    /// When it happened.
    pub timestamp: Millis,
    /// When it was received.
    pub received_at: Millis,
    /// `originalTimestamp` as sent.
    pub original_timestamp: Option<Millis>,
    /// `sentAt` as sent.
    pub sent_at: Option<Millis>,
    /// The times that rows can copy from the text.
    pub written: CanonicalTimes,
    /// How many of its times are present but unreadable; they count as missing.
    pub n_unreadable_times: u64,
    /// How many of its times were given in seconds.
    pub n_times_in_seconds: u8,
}

/// The tokens of times that are written exactly as rows write them. Derived times have none.
#[derive(Debug, Clone, Copy, Default)]
pub struct CanonicalTimes {
    /// `timestamp`
    pub timestamp: Option<u32>,
    /// `receivedAt`
    pub received_at: Option<u32>,
    /// `originalTimestamp`
    pub original_timestamp: Option<u32>,
    /// `sentAt`
    pub sent_at: Option<u32>,
}

/// The maximum number of top-level traits or properties.
const MAX_KEYS: usize = 300;

/// The maximum length of an event's column names in total.
const MAX_COLUMN_BYTES: u64 = 64 << 20;
/// The column names of an object shorter than this cannot be too long in total.
const SMALL_OBJECT: u64 = 16 << 10;

/// Parses an event and checks it. If it breaks several rules, the first in the order of the code is reported.
pub fn parse_event<'a>(
    doc: Document<'a>,
    mut fields: EventFields,
    times: &mut TimeReader,
) -> Result<ParsedEvent<'a>, Reject> {
    let call = call_of(doc, fields.call)?;
    let message_id = scalar_text(doc, fields.message_id).filter(|id| !id.is_empty());
    if let Some(id) = &message_id
        && 100 < n_characters(id)
    {
        return Err(reject(
            RejectReason::MessageIdTooLong,
            format!("\"messageId\" has {} characters", n_characters(id)),
        ));
    }
    count_keys(doc, fields.traits, RejectReason::TooManyTraits, "traits")?;
    count_keys(doc, fields.properties, RejectReason::TooManyProperties, "properties")?;
    for object in [fields.context, fields.traits, fields.properties].into_iter().flatten() {
        check_columns(doc, object)?;
    }
    if call == Call::Group {
        check_group(doc, fields.group_id)?;
    }
    if matches!(call, Call::Page | Call::Screen) {
        fields.fill_name_from_properties(doc);
    }
    let mut written = CanonicalTimes::default();
    let mut in_seconds = 0;
    let mut read = |value, written| time(doc, value, times, written, &mut in_seconds);
    let original_timestamp = read(fields.original_timestamp, &mut written.original_timestamp);
    let sent_at = read(fields.sent_at, &mut written.sent_at);
    let timestamp = read(fields.timestamp, &mut written.timestamp);
    let received_at = read(fields.received_at, &mut written.received_at);
    let n_unreadable_times = [
        (fields.original_timestamp, original_timestamp),
        (fields.sent_at, sent_at),
        (fields.timestamp, timestamp),
        (fields.received_at, received_at),
    ]
    .into_iter()
    .filter(|(value, time)| time.is_none() && value.is_some_and(|value| is_present(doc, value)))
    .count() as u64;
    let (timestamp, received_at) = derive_times(timestamp, original_timestamp, sent_at, received_at)?;
    let source_id = scalar_text(doc, fields.project_id)
        .filter(|id| !id.is_empty())
        .or_else(|| scalar_text(doc, fields.source_id).filter(|id| !id.is_empty()));
    Ok(ParsedEvent {
        doc,
        fields,
        call,
        message_id,
        source_id,
        timestamp,
        received_at,
        original_timestamp,
        sent_at,
        written,
        n_unreadable_times,
        n_times_in_seconds: in_seconds,
    })
}

/// Returns the `messageId` of an event without one: the hex SHA-1 of its line. For an item of a batch, the hash covers
/// the line, a line feed and the item's index. `of_line` is the hash of the line.
#[must_use]
pub fn derived_message_id(mut of_line: Sha1, item: Option<u32>) -> Vec<u8> {
    if let Some(item) = item {
        of_line.update(b"\n");
        of_line.update(item.to_string());
    }
    let mut id = Vec::with_capacity(40);
    push_hex(&mut id, &of_line.finalize());
    id
}

/// Returns the text of a string, or a number as written; `None` for other values.
#[must_use]
pub fn scalar_text(doc: Document<'_>, value: Option<u32>) -> Option<Cow<'_, [u8]>> {
    doc.scalar_text(value?)
}

fn call_of(doc: Document<'_>, value: Option<u32>) -> Result<Call, Reject> {
    let Some(value) = value else {
        return Err(reject(RejectReason::UnknownType, "\"type\" is missing".to_owned()));
    };
    let Some(name) = doc.string(value) else {
        return Err(reject(RejectReason::UnknownType, "\"type\" is not a string".to_owned()));
    };
    Call::of_type(&name).ok_or_else(|| {
        let name: String = String::from_utf8_lossy(&name).chars().take(100).collect();
        reject(RejectReason::UnknownType, format!("\"type\" is \"{name}\""))
    })
}

fn count_keys(
    doc: Document<'_>,
    object: Option<u32>,
    reason: RejectReason,
    what: &str,
) -> Result<(), Reject> {
    let Some(object) = object else { return Ok(()) };
    let token = doc.tokens[object as usize];
    // A member takes at least two tokens.
    if ((token.next - object - 1) as usize) / 2 <= MAX_KEYS {
        return Ok(());
    }
    let keys: Set<Cow<'_, [u8]>> = doc.members(object).filter_map(|(key, _)| doc.string(key)).collect();
    if keys.len() <= MAX_KEYS {
        return Ok(());
    }
    Err(reject(reason, format!("{} {what}", keys.len())))
}

/// Rejects an object whose column names are too long in total. Each leaf repeats the keys around it, so a long key
/// around many leaves could fill the memory.
fn check_columns(doc: Document<'_>, object: u32) -> Result<(), Reject> {
    if doc.n_bytes(object) < SMALL_OBJECT {
        return Ok(());
    }
    let mut n_bytes = 0;
    // The objects around the current key: where each ends, and the length of the keys that prefix its members.
    let mut around: Vec<(u32, u64)> = vec![(doc.tokens[object as usize].next, 0)];
    let mut at = object + 1;
    while let Some(&(end, outer)) = around.last() {
        if end <= at {
            around.pop();
            continue;
        }
        let value = at + 1;
        let name = outer + doc.raw(at).len() as u64 + 1;
        if doc.kind(value) == JsonKind::Object {
            around.push((doc.tokens[value as usize].next, name));
            at = value + 1;
        } else {
            n_bytes += name;
            at = doc.tokens[value as usize].next;
        }
    }
    if n_bytes <= MAX_COLUMN_BYTES {
        return Ok(());
    }
    let detail = format!("its column names take {n_bytes} bytes, more than {MAX_COLUMN_BYTES}");
    Err(reject(RejectReason::ColumnsTooLong, detail))
}

fn check_group(doc: Document<'_>, group_id: Option<u32>) -> Result<(), Reject> {
    let id = scalar_text(doc, group_id).unwrap_or_default();
    if id.is_empty() {
        return Err(reject(RejectReason::EmptyGroupId, "a group call without \"groupId\"".to_owned()));
    }
    let n = n_characters(&id);
    if 500 < n {
        return Err(reject(RejectReason::GroupIdTooLong, format!("\"groupId\" has {n} characters")));
    }
    Ok(())
}

/// Returns `timestamp` and `receivedAt`, derived from the other times if they are missing.
fn derive_times(
    timestamp: Option<Millis>,
    original: Option<Millis>,
    sent: Option<Millis>,
    received: Option<Millis>,
) -> Result<(Millis, Millis), Reject> {
    let unskewed = match (original, sent, received) {
        (Some(original), Some(sent), Some(received)) => {
            Some(received.saturating_sub(sent.saturating_sub(original)))
        }
        _ => None,
    };
    let Some(timestamp) = timestamp.or(unskewed).or(original).or(sent).or(received) else {
        return Err(reject(RejectReason::NoUsableTime, "no time in it can be read".to_owned()));
    };
    let received_at = received.or(sent).unwrap_or(timestamp);
    let times = [("timestamp", timestamp), ("receivedAt", received_at)];
    if let Some((name, time)) = times.into_iter().find(|(_, time)| *time < 0) {
        return Err(reject(RejectReason::TimeBefore1970, format!("\"{name}\" is {time} ms from 1970")));
    }
    if let Some((name, time)) = times.into_iter().find(|(_, time)| TOO_LATE <= *time) {
        return Err(reject(RejectReason::TimeAfter2285, format!("\"{name}\" is {time} ms from 1970")));
    }
    Ok((timestamp, received_at))
}

/// Integers of a smaller magnitude are seconds, which reach the year 5138. As milliseconds, they would end in March
/// 1973.
const LEAST_MILLIS: u64 = 100_000_000_000;

/// Parses a time: a string in one of the supported formats, or an integer of seconds or milliseconds since 1970.
fn time(
    doc: Document<'_>,
    value: Option<u32>,
    times: &mut TimeReader,
    written: &mut Option<u32>,
    in_seconds: &mut u8,
) -> Option<Millis> {
    let value = value?;
    match doc.kind(value) {
        JsonKind::Integer => {
            let digits = std::str::from_utf8(doc.raw(value)).ok()?;
            // A number with too many digits is still a time, but far out of range.
            let far = if digits.starts_with('-') { Millis::MIN } else { Millis::MAX };
            let number: Millis = digits.parse().unwrap_or(far);
            if number.unsigned_abs() < LEAST_MILLIS {
                *in_seconds += 1;
                return Some(number * 1000);
            }
            Some(number)
        }
        JsonKind::Plain => {
            let read = times.read(doc.raw(value))?;
            *written = read.is_canonical.then_some(value);
            Some(read.micros.div_euclid(1000))
        }
        _ => times.read(&doc.string(value)?).map(|read| read.micros.div_euclid(1000)),
    }
}

/// Returns whether a value is neither null nor an empty string.
fn is_present(doc: Document<'_>, value: u32) -> bool {
    match doc.kind(value) {
        JsonKind::Null => false,
        JsonKind::Plain => !doc.raw(value).is_empty(),
        _ => true,
    }
}

fn n_characters(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
}

fn reject(reason: RejectReason, detail: String) -> Reject {
    Reject { reason, detail }
}
