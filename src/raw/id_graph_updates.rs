//! The raw table `id_graph_updates`: the canonical segment id of each segment id over time.
//!
//! Grain: one change of a segment id's mapping. Key: `id`. Order: order of processing.
//!
//! A creation maps the profile to itself. A merge writes a row for the profile merged away and for each profile that
//! mapped to it, oldest first.

use super::trigger::Trigger;
use crate::json::push_string;

/// The table's name.
pub const TABLE: &str = crate::catalog::ID_GRAPH_UPDATES;

/// Appends a row.
pub fn push_row(out: &mut Vec<u8>, trigger: &Trigger<'_>, segment_id: &str, canonical_segment_id: &str) {
    out.push(b'{');
    trigger.push_id(out, TABLE, segment_id.as_bytes());
    out.extend_from_slice(b",\"segment_id\":");
    push_string(out, segment_id.as_bytes());
    out.extend_from_slice(b",\"canonical_segment_id\":");
    push_string(out, canonical_segment_id.as_bytes());
    trigger.push_type(out);
    trigger.push_event_id(out);
    trigger.push_name(out);
    trigger.push_source(out);
    trigger.push_received_at(out);
    trigger.push_timestamp(out);
    trigger.push_seq(out);
    trigger.push_uuid_ts(out);
    out.extend_from_slice(b"}\n");
}
