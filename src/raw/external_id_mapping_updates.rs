//! The raw table `external_id_mapping_updates`: the segment id that each identifier was first mapped to.
//!
//! Grain: one identifier. Key: `external_id_type`, `external_id_value`. Order: order of processing; within an event by
//! rank, then value.

use sha1::{Digest, Sha1};

use super::trigger::Trigger;
use crate::{bytes::push_hex, json::push_string};

/// The table's name.
pub const TABLE: &str = crate::catalog::EXTERNAL_ID_MAPPING_UPDATES;

/// Appends a row. `hash` is the identifier's, as [`push_external_id_hash`] gives it.
pub fn push_row(
    out: &mut Vec<u8>,
    trigger: &Trigger<'_>,
    (type_name, value): (&str, &[u8]),
    hash: &[u8],
    segment_id: &str,
) {
    out.extend_from_slice(b"{\"external_id_hash\":\"");
    out.extend_from_slice(hash);
    out.extend_from_slice(b"\",\"external_id_type\":");
    push_string(out, type_name.as_bytes());
    out.extend_from_slice(b",\"external_id_value\":");
    push_string(out, value);
    out.push(b',');
    trigger.push_id(out, TABLE, hash);
    trigger.push_received_at(out);
    out.extend_from_slice(b",\"segment_id\":");
    push_string(out, segment_id.as_bytes());
    trigger.push_seq(out);
    trigger.push_timestamp(out);
    trigger.push_event_id(out);
    trigger.push_name(out);
    trigger.push_source(out);
    trigger.push_type(out);
    trigger.push_uuid_ts(out);
    out.extend_from_slice(b"}\n");
}

/// Appends the hash of an identifier: the lower-case hex SHA-1 of its type followed by its value.
pub fn push_external_id_hash(out: &mut Vec<u8>, type_name: &[u8], value: &[u8]) {
    let mut hash = Sha1::new();
    hash.update(type_name);
    hash.update(value);
    push_hex(out, &hash.finalize());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_the_documented_one() {
        let mut hash = Vec::new();
        push_external_id_hash(&mut hash, b"email", b"jane.kim@segment.com");
        assert_eq!(hash, b"bc269125e7a325f844980b80d7084928bbcaf304");
    }
}
