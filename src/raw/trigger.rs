//! The columns that describe the triggering event, shared by the three raw profile tables.

use sha1::{Digest, Sha1};

use crate::{
    bytes::push_hex,
    config::rules::SourceNames,
    event::block::{Event, EventBlock},
    json::push_string,
    time::{
        seq::push_seq,
        timestamp::{Micros, push_micros, push_millis},
    },
};

/// The event that triggers the rows being written.
#[derive(Debug, Clone, Copy)]
pub struct Trigger<'a> {
    /// The block that holds the event.
    pub block: &'a EventBlock,
    /// The event.
    pub event: &'a Event,
    /// The space's clock at this event.
    pub uuid_ts: Micros,
    /// The `seq` of all rows of this event.
    pub seq: u64,
    /// The config's entry for the event's source.
    pub source: Option<&'a SourceNames>,
}

/// Columns are appended as `,"name":value`; `id` comes without the comma.
impl Trigger<'_> {
    /// Appends `id`: the first 16 bytes, in hex, of the SHA-1 of the table, NUL, `messageId`, NUL and the key.
    pub fn push_id(&self, out: &mut Vec<u8>, table: &str, key: &[u8]) {
        let mut hash = Sha1::new();
        hash.update(table);
        hash.update([0]);
        hash.update(self.event.message_id.of(&self.block.arena));
        hash.update([0]);
        hash.update(key);
        out.extend_from_slice(b"\"id\":\"");
        push_hex(out, &hash.finalize()[..16]);
        out.push(b'"');
    }

    /// Appends `received_at`.
    pub fn push_received_at(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"received_at\":\"");
        push_millis(out, self.event.received_at);
        out.push(b'"');
    }

    /// Appends `timestamp`.
    pub fn push_timestamp(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"timestamp\":\"");
        push_millis(out, self.event.timestamp);
        out.push(b'"');
    }

    /// Appends `seq`.
    pub fn push_seq(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"seq\":\"");
        push_seq(out, self.seq);
        out.push(b'"');
    }

    /// Appends `uuid_ts`.
    pub fn push_uuid_ts(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"uuid_ts\":\"");
        push_micros(out, self.uuid_ts);
        out.push(b'"');
    }

    /// Appends `triggering_event_type`.
    pub fn push_type(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"triggering_event_type\":\"");
        out.extend_from_slice(self.event.call.name().as_bytes());
        out.push(b'"');
    }

    /// Appends `triggering_event_id`.
    pub fn push_event_id(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"triggering_event_id\":");
        push_string(out, self.event.message_id.of(&self.block.arena));
    }

    /// Appends `triggering_event_name`.
    pub fn push_name(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"triggering_event_name\":");
        out.extend_from_slice(self.event.name.of(&self.block.arena));
    }

    /// Appends `triggering_event_source_id`.
    pub fn push_source_id(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"triggering_event_source_id\":");
        match self.block.sources[self.event.source as usize].as_deref() {
            Some(id) => push_string(out, id),
            None => out.extend_from_slice(b"null"),
        }
    }

    /// Appends `triggering_event_source_id`, `_name` and `_slug`.
    pub fn push_source(&self, out: &mut Vec<u8>) {
        self.push_source_id(out);
        let name = self.source.and_then(|s| s.name.as_deref()).map(str::as_bytes);
        let slug = self.source.and_then(|s| s.slug.as_deref()).map(str::as_bytes);
        for (column, value) in [("name", name), ("slug", slug)] {
            out.extend_from_slice(b",\"triggering_event_source_");
            out.extend_from_slice(column.as_bytes());
            out.extend_from_slice(b"\":");
            match value {
                Some(value) => push_string(out, value),
                None => out.extend_from_slice(b"null"),
            }
        }
    }
}
