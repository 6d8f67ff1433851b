//! The table `identity_links`: why identifiers belong together.
//!
//! Grain: one identifier that was mapped, or one profile that was merged away. Key: `link`, `external_id_type`,
//! `external_id_value`, of merges also `segment_id`. Order: of processing; of one event first the merges, the oldest profile
//! first, then the identifiers in rank order, then by value.
//!
//! A row joins two identifiers that the event carried, so the rows of a profile form a tree over its identifiers, and the
//! path between two of them is the reason why they are one person. Adopted profiles have no rows.

use super::trigger::Trigger;
use crate::json::push_string;

/// The table's name.
pub const TABLE: &str = crate::catalog::IDENTITY_LINKS;

/// What an event did, as the column `link` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It merged a profile away.
    Merged,
    /// It created the profile, and the identifier was mapped to it.
    Created,
    /// It mapped an identifier to a profile that was there.
    Mapped,
}

impl Link {
    /// Returns the word in the column `link`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Merged => "merged",
            Self::Created => "created",
            Self::Mapped => "mapped",
        }
    }
}

/// Type and value.
pub type Identifier<'a> = (&'a str, &'a [u8]);

/// A row, but for its event.
#[derive(Debug, Clone, Copy)]
pub struct LinkRow<'a> {
    /// What the event did.
    pub link: Link,
    /// What tells rows of one event apart: of a merge the `segment_id`, else the hash of the identifier.
    pub key: &'a [u8],
    /// Of a merge the profile merged away, else the one that the identifier was mapped to.
    pub segment_id: &'a str,
    /// The profile after the event.
    pub canonical_segment_id: &'a str,
    /// Of a merge the identifier through which that profile was found, else the one that was mapped.
    pub identifier: Identifier<'a>,
    /// The identifier through which the profile was found; of one that was created, the first of its identifiers.
    pub via: Option<Identifier<'a>>,
}

/// Appends a row. `tail` is what all rows of one event end with: empty for the first, kept for the next.
pub fn push_row(out: &mut Vec<u8>, trigger: &Trigger<'_>, row: &LinkRow<'_>, tail: &mut Vec<u8>) {
    out.push(b'{');
    trigger.push_id(out, TABLE, row.key);
    out.extend_from_slice(b",\"segment_id\":");
    push_string(out, row.segment_id.as_bytes());
    out.extend_from_slice(b",\"canonical_segment_id\":");
    push_string(out, row.canonical_segment_id.as_bytes());
    out.extend_from_slice(b",\"link\":\"");
    out.extend_from_slice(row.link.word().as_bytes());
    out.extend_from_slice(b"\",\"external_id_type\":");
    push_string(out, row.identifier.0.as_bytes());
    out.extend_from_slice(b",\"external_id_value\":");
    push_string(out, row.identifier.1);
    match row.via {
        Some((type_name, value)) => {
            out.extend_from_slice(b",\"via_type\":");
            push_string(out, type_name.as_bytes());
            out.extend_from_slice(b",\"via_value\":");
            push_string(out, value);
        }
        None => out.extend_from_slice(b",\"via_type\":null,\"via_value\":null"),
    }
    if tail.is_empty() {
        push_tail(tail, trigger);
    }
    out.extend_from_slice(tail);
}

fn push_tail(out: &mut Vec<u8>, trigger: &Trigger<'_>) {
    trigger.push_type(out);
    trigger.push_event_id(out);
    trigger.push_name(out);
    trigger.push_source_id(out);
    trigger.push_received_at(out);
    trigger.push_timestamp(out);
    trigger.push_seq(out);
    trigger.push_uuid_ts(out);
    out.extend_from_slice(b"}\n");
}
