//! The table `identity_violations`: every identifier that an event carried and that was not used, with the reason.
//!
//! Grain: one identifier of one event. Key: `message_id`, `type`, `value`. Order: order of processing; within an event,
//! the order in which the resolver found the violations.
//!
//! `rule` is `blocked`, `limit`, `merge_cap` or `mapping_cap`. For an identifier that failed its second chance, it is
//! the rule that it failed then.

use crate::{
    config::rules::Limit,
    json::push_string,
    time::timestamp::{Micros, Millis, push_micros, push_millis},
};

/// The table's name.
pub const TABLE: &str = crate::catalog::IDENTITY_VIOLATIONS;

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Violation<'a> {
    /// The event's `messageId`.
    pub message_id: &'a [u8],
    /// The identifier's type.
    pub type_name: &'a str,
    /// Its value.
    pub value: &'a [u8],
    /// The violated rule, as written in the column.
    pub rule: &'a str,
    /// For a limit: the type over its limit and the limit. If several types are, the one with the highest rank.
    pub limit: Option<(&'a str, Limit)>,
    /// For a blocked value: the config's entry that blocks it.
    pub blocked_by: Option<&'a str>,
    /// The profile the identifier belongs to. If it belongs to none, the profile it would have been mapped to.
    pub segment_id: Option<&'a str>,
    /// The `segment_id` of the event's own row.
    pub event_segment_id: Option<&'a str>,
    /// When the event was received.
    pub received_at: Millis,
    /// When the event happened.
    pub timestamp: Millis,
    /// The space's clock at the event.
    pub uuid_ts: Micros,
}

/// Appends a row.
pub fn push_row(out: &mut Vec<u8>, row: &Violation<'_>) {
    let text = |out: &mut Vec<u8>, column: &str, value: Option<&[u8]>| {
        out.push(b'"');
        out.extend_from_slice(column.as_bytes());
        out.extend_from_slice(b"\":");
        match value {
            Some(value) => push_string(out, value),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b',');
    };
    out.push(b'{');
    text(out, "message_id", Some(row.message_id));
    text(out, "type", Some(row.type_name.as_bytes()));
    text(out, "value", Some(row.value));
    text(out, "rule", Some(row.rule.as_bytes()));
    text(out, "limit_type", row.limit.map(|(name, _)| name.as_bytes()));
    out.extend_from_slice(b"\"limit\":");
    match row.limit {
        Some((_, limit)) => out.extend_from_slice(limit.values.to_string().as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b',');
    text(out, "window", row.limit.map(|(_, limit)| limit.window.name().as_bytes()));
    text(out, "blocked_by", row.blocked_by.map(str::as_bytes));
    text(out, "segment_id", row.segment_id.map(str::as_bytes));
    text(out, "event_segment_id", row.event_segment_id.map(str::as_bytes));
    out.extend_from_slice(b"\"received_at\":\"");
    push_millis(out, row.received_at);
    out.extend_from_slice(b"\",\"timestamp\":\"");
    push_millis(out, row.timestamp);
    out.extend_from_slice(b"\",\"uuid_ts\":\"");
    push_micros(out, row.uuid_ts);
    out.extend_from_slice(b"\"}\n");
}
