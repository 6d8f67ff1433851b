//! Raw rows inferred from a snapshot. No event triggered them, and it is unknown when they happened.
//!
//! `timestamp` and `triggering_event_*` are null. `seq` is a running number, and `uuid_ts` continues the space's clock
//! by one microsecond per row.

use sha1::{Digest, Sha1};

use crate::{
    bytes::push_hex,
    identity::traits::{ProfileTraits, TraitNames},
    json::push_string,
    raw::{
        external_id_mapping_updates::{self, push_external_id_hash},
        id_graph_updates,
        profile_traits_updates::{self, TraitRows},
    },
    time::{
        seq::push_seq,
        timestamp::{Micros, push_micros, push_millis},
    },
};

/// The clocks of an inferred row.
#[derive(Debug, Clone, Copy)]
pub struct InferredClocks {
    /// The running number of the row.
    pub seq: u64,
    /// The space's clock at this row.
    pub uuid_ts: Micros,
    /// When the event was received, if the snapshot has it.
    pub received_at: Option<Micros>,
}

/// The clocks of the space while rows are inferred.
#[derive(Debug, Clone, Copy)]
pub struct SpaceClocks {
    /// The last running number used.
    pub seq: u64,
    /// The last `uuid_ts` used.
    pub uuid_ts: Micros,
}

impl SpaceClocks {
    /// Advances the clocks and returns those of the next row.
    pub fn next(&mut self, received_at: Option<Micros>) -> InferredClocks {
        self.seq += 1;
        self.uuid_ts += 1;
        InferredClocks { seq: self.seq, uuid_ts: self.uuid_ts, received_at }
    }
}

/// Appends a row of `id_graph_updates`.
pub fn push_graph_row(out: &mut Vec<u8>, row: &InferredClocks, segment_id: &str, canonical_segment_id: &str) {
    out.push(b'{');
    row.push_id(out, id_graph_updates::TABLE, segment_id.as_bytes());
    out.extend_from_slice(b",\"segment_id\":");
    push_string(out, segment_id.as_bytes());
    out.extend_from_slice(b",\"canonical_segment_id\":");
    push_string(out, canonical_segment_id.as_bytes());
    push_nulls(out, ["type", "id", "name", "source_id", "source_name", "source_slug"]);
    row.push_received_at(out);
    out.extend_from_slice(b",\"timestamp\":null");
    row.push_seq(out);
    row.push_uuid_ts(out);
    out.extend_from_slice(b"}\n");
}

/// Appends a row of `external_id_mapping_updates`.
pub fn push_mapping_row(out: &mut Vec<u8>, row: &InferredClocks, kind: &str, value: &[u8], segment_id: &str) {
    let mut hash = Vec::with_capacity(40);
    push_external_id_hash(&mut hash, kind.as_bytes(), value);
    out.extend_from_slice(b"{\"external_id_hash\":\"");
    out.extend_from_slice(&hash);
    out.extend_from_slice(b"\",\"external_id_type\":");
    push_string(out, kind.as_bytes());
    out.extend_from_slice(b",\"external_id_value\":");
    push_string(out, value);
    out.push(b',');
    row.push_id(out, external_id_mapping_updates::TABLE, &hash);
    row.push_received_at(out);
    out.extend_from_slice(b",\"segment_id\":");
    push_string(out, segment_id.as_bytes());
    row.push_seq(out);
    out.extend_from_slice(b",\"timestamp\":null");
    push_nulls(out, ["id", "name", "source_id", "source_name", "source_slug", "type"]);
    row.push_uuid_ts(out);
    out.extend_from_slice(b"}\n");
}

/// Appends a row of `profile_traits_updates`.
pub fn push_traits_row(
    out: &mut Vec<u8>,
    row: &InferredClocks,
    segment_id: &str,
    traits: &ProfileTraits,
    names: &mut TraitNames,
    rows: &mut TraitRows,
) {
    out.push(b'{');
    row.push_id(out, profile_traits_updates::TABLE, segment_id.as_bytes());
    out.extend_from_slice(b",\"segment_id\":");
    push_string(out, segment_id.as_bytes());
    row.push_seq(out);
    out.extend_from_slice(b",\"timestamp\":null");
    row.push_received_at(out);
    row.push_uuid_ts(out);
    push_nulls(out, ["id", "name", "type", "source_id", "source_name", "source_slug"]);
    rows.push_snapshot(out, traits, &[], names);
}

fn push_nulls(out: &mut Vec<u8>, columns: [&str; 6]) {
    for column in columns {
        out.extend_from_slice(b",\"triggering_event_");
        out.extend_from_slice(column.as_bytes());
        out.extend_from_slice(b"\":null");
    }
}

impl InferredClocks {
    /// Appends an `id` like that of an event's row, but with the running number instead of a `messageId`.
    fn push_id(&self, out: &mut Vec<u8>, table: &str, key: &[u8]) {
        let mut number = Vec::with_capacity(19);
        push_seq(&mut number, self.seq);
        let mut hash = Sha1::new();
        hash.update(table);
        hash.update([0]);
        hash.update(b"backfill ");
        hash.update(&number);
        hash.update([0]);
        hash.update(key);
        out.extend_from_slice(b"\"id\":\"");
        push_hex(out, &hash.finalize()[..16]);
        out.push(b'"');
    }

    fn push_received_at(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"received_at\":");
        match self.received_at {
            Some(received_at) => {
                out.push(b'"');
                push_millis(out, received_at.div_euclid(1000));
                out.push(b'"');
            }
            None => out.extend_from_slice(b"null"),
        }
    }

    fn push_seq(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"seq\":\"");
        push_seq(out, self.seq);
        out.push(b'"');
    }

    fn push_uuid_ts(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"uuid_ts\":\"");
        push_micros(out, self.uuid_ts);
        out.push(b'"');
    }
}
