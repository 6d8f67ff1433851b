//! An object becomes an event, or a reject: the first rule that it breaks, in a fixed order.

use std::borrow::Cow;

use sha1::{Digest, Sha1};

use super::{
    Call,
    fields::Fields,
    reject::{Reason, Reject},
};
use crate::{
    collections::Set,
    json::{Document, Kind},
    raw::trigger::push_hex,
    time::{
        reader::TimeReader,
        timestamp::{Millis, TOO_LATE},
    },
};

/// An event with its fields checked and its times read.
#[derive(Debug)]
pub struct Parsed<'a> {
    /// The text it stands in.
    pub doc: Document<'a>,
    /// Where its values stand.
    pub fields: Fields,
    /// Which call.
    pub call: Call,
    /// As sent; `None` where it is missing and has to be derived.
    pub message_id: Option<Cow<'a, [u8]>>,
    /// `projectId`, else `sourceId`.
    pub source_id: Option<Cow<'a, [u8]>>,
    /// When it happened.
    pub timestamp: Millis,
    /// When it arrived.
    pub received_at: Millis,
    /// As sent.
    pub original_timestamp: Option<Millis>,
    /// As sent.
    pub sent_at: Option<Millis>,
    /// Where times stand in the text as rows have them.
    pub written: Written,
    /// How many of its times are there and cannot be read, which counts as missing.
    pub n_unreadable_times: u64,
    /// How many of its times were given in seconds.
    pub n_times_in_seconds: u8,
}

/// The values of times that stand in the text exactly as rows have them: `timestamp` and `received_at` only where they are
/// no derived ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct Written {
    /// `timestamp`
    pub timestamp: Option<u32>,
    /// `receivedAt`
    pub received_at: Option<u32>,
    /// `originalTimestamp`
    pub original_timestamp: Option<u32>,
    /// `sentAt`
    pub sent_at: Option<u32>,
}

/// More top-level traits or properties than this are no event's.
const MAX_KEYS: usize = 300;

/// The columns of an event must not be longer together.
const MAX_COLUMN_BYTES: u64 = 64 << 20;
/// The columns of an object of fewer bytes cannot be too long.
const SMALL_OBJECT: u64 = 16 << 10;

/// Checks an event. The rules stand in the order in which they are reported.
pub fn parse<'a>(
    doc: Document<'a>,
    mut fields: Fields,
    times: &mut TimeReader,
) -> Result<Parsed<'a>, Reject> {
    let call = call_of(doc, fields.call)?;
    let message_id = text(doc, fields.message_id).filter(|id| !id.is_empty());
    if let Some(id) = &message_id
        && 100 < n_characters(id)
    {
        return Err(reject(
            Reason::MessageIdTooLong,
            format!("\"messageId\" has {} characters", n_characters(id)),
        ));
    }
    count_keys(doc, fields.traits, Reason::TooManyTraits, "traits")?;
    count_keys(doc, fields.properties, Reason::TooManyProperties, "properties")?;
    for object in [fields.context, fields.traits, fields.properties].into_iter().flatten() {
        check_columns(doc, object)?;
    }
    if call == Call::Group {
        check_group(doc, fields.group_id)?;
    }
    if matches!(call, Call::Page | Call::Screen) {
        fields.name_by_properties(doc);
    }
    let mut written = Written::default();
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
    .filter(|(value, time)| time.is_none() && value.is_some_and(|value| says_something(doc, value)))
    .count() as u64;
    let (timestamp, received_at) = clocks(timestamp, original_timestamp, sent_at, received_at)?;
    let source_id = text(doc, fields.project_id)
        .filter(|id| !id.is_empty())
        .or_else(|| text(doc, fields.source_id).filter(|id| !id.is_empty()));
    Ok(Parsed {
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

/// The `messageId` of an event that has none: the hex SHA-1 of its line, which is given; for an item of a batch of the line,
/// a line feed and the item's number.
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

/// A string's text, or a number as written.
#[must_use]
pub fn text(doc: Document<'_>, value: Option<u32>) -> Option<Cow<'_, [u8]>> {
    doc.scalar_text(value?)
}

fn call_of(doc: Document<'_>, value: Option<u32>) -> Result<Call, Reject> {
    let Some(value) = value else {
        return Err(reject(Reason::UnknownType, "\"type\" is missing".to_owned()));
    };
    let Some(name) = doc.string(value) else {
        return Err(reject(Reason::UnknownType, "\"type\" is not a text".to_owned()));
    };
    Call::of_type(&name).ok_or_else(|| {
        let name: String = String::from_utf8_lossy(&name).chars().take(100).collect();
        reject(Reason::UnknownType, format!("\"type\" is \"{name}\""))
    })
}

fn count_keys(doc: Document<'_>, object: Option<u32>, reason: Reason, what: &str) -> Result<(), Reject> {
    let Some(object) = object else { return Ok(()) };
    let token = doc.tokens[object as usize];
    // A member takes two tokens at least.
    if ((token.next - object - 1) as usize) / 2 <= MAX_KEYS {
        return Ok(());
    }
    let keys: Set<Cow<'_, [u8]>> = doc.members(object).filter_map(|(key, _)| doc.string(key)).collect();
    if keys.len() <= MAX_KEYS {
        return Ok(());
    }
    Err(reject(reason, format!("{} {what}", keys.len())))
}

/// The columns of an object repeat its outer keys once a leaf: a long key around many leaves must not fill the memory.
fn check_columns(doc: Document<'_>, object: u32) -> Result<(), Reject> {
    // The columns of a small object make little, whatever their names.
    if doc.n_bytes(object) < SMALL_OBJECT {
        return Ok(());
    }
    let mut n_bytes = 0;
    // Objects that the present key is in: where each ends, and the bytes of the keys around its members.
    let mut around: Vec<(u32, u64)> = vec![(doc.tokens[object as usize].next, 0)];
    let mut at = object + 1;
    while let Some(&(end, outer)) = around.last() {
        if end <= at {
            around.pop();
            continue;
        }
        let value = at + 1;
        let name = outer + doc.raw(at).len() as u64 + 1;
        if doc.kind(value) == Kind::Object {
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
    let detail = format!("the names of its columns make {n_bytes} bytes, more than {MAX_COLUMN_BYTES}");
    Err(reject(Reason::ColumnsTooLong, detail))
}

fn check_group(doc: Document<'_>, group_id: Option<u32>) -> Result<(), Reject> {
    let id = text(doc, group_id).unwrap_or_default();
    if id.is_empty() {
        return Err(reject(Reason::EmptyGroupId, "a group call without \"groupId\"".to_owned()));
    }
    let n = n_characters(&id);
    if 500 < n {
        return Err(reject(Reason::GroupIdTooLong, format!("\"groupId\" has {n} characters")));
    }
    Ok(())
}

/// `timestamp` and `receivedAt`, worked out where they are missing.
fn clocks(
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
        return Err(reject(Reason::NoUsableTime, "no time in it can be read".to_owned()));
    };
    let received_at = received.or(sent).unwrap_or(timestamp);
    let times = [("timestamp", timestamp), ("receivedAt", received_at)];
    if let Some((name, time)) = times.into_iter().find(|(_, time)| *time < 0) {
        return Err(reject(Reason::TimeBefore1970, format!("\"{name}\" is {time} ms from 1970")));
    }
    if let Some((name, time)) = times.into_iter().find(|(_, time)| TOO_LATE <= *time) {
        return Err(reject(Reason::TimeAfter2285, format!("\"{name}\" is {time} ms from 1970")));
    }
    Ok((timestamp, received_at))
}

/// Integers below this in magnitude are seconds, which reach the year 5138; as milliseconds they would end in March 1973.
const LEAST_MILLIS: u64 = 100_000_000_000;

/// Reads a text in one of the spellings of a time, or an integer of seconds or milliseconds since 1970.
fn time(
    doc: Document<'_>,
    value: Option<u32>,
    times: &mut TimeReader,
    written: &mut Option<u32>,
    in_seconds: &mut u8,
) -> Option<Millis> {
    let value = value?;
    match doc.kind(value) {
        Kind::Integer => {
            let digits = std::str::from_utf8(doc.raw(value)).ok()?;
            // More digits than fit are a time all the same, far out of range.
            let far = if digits.starts_with('-') { Millis::MIN } else { Millis::MAX };
            let number: Millis = digits.parse().unwrap_or(far);
            if number.unsigned_abs() < LEAST_MILLIS {
                *in_seconds += 1;
                return Some(number * 1000);
            }
            Some(number)
        }
        Kind::Plain => {
            let read = times.read(doc.raw(value))?;
            *written = read.ours.then_some(value);
            Some(read.micros.div_euclid(1000))
        }
        _ => times.read(&doc.string(value)?).map(|read| read.micros.div_euclid(1000)),
    }
}

/// Whether a value is neither null nor an empty text.
fn says_something(doc: Document<'_>, value: u32) -> bool {
    match doc.kind(value) {
        Kind::Null => false,
        Kind::Plain => !doc.raw(value).is_empty(),
        _ => true,
    }
}

fn n_characters(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
}

fn reject(reason: Reason, detail: String) -> Reject {
    Reject { reason, detail }
}
