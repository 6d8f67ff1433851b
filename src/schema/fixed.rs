//! The columns that a table always has, and which of them are clocks.

use crate::{
    catalog::{self, TableKind},
    event::columns::{FIXED_COLUMNS, Payload},
};

/// The columns that a table always has, in the order of its rows; those of an event table without `context_*`.
#[must_use]
pub(crate) fn fixed_columns(table: &str) -> Vec<&'static str> {
    let columns: &[&str] = match table {
        "id_graph_updates" => &[
            "id",
            "segment_id",
            "canonical_segment_id",
            "triggering_event_type",
            "triggering_event_id",
            "triggering_event_name",
            "triggering_event_source_id",
            "triggering_event_source_name",
            "triggering_event_source_slug",
            "received_at",
            "timestamp",
            "seq",
            "uuid_ts",
        ],
        "external_id_mapping_updates" => &[
            "external_id_hash",
            "external_id_type",
            "external_id_value",
            "id",
            "received_at",
            "segment_id",
            "seq",
            "timestamp",
            "triggering_event_id",
            "triggering_event_name",
            "triggering_event_source_id",
            "triggering_event_source_name",
            "triggering_event_source_slug",
            "triggering_event_type",
            "uuid_ts",
        ],
        "profile_traits_updates" => &[
            "id",
            "segment_id",
            "seq",
            "timestamp",
            "received_at",
            "uuid_ts",
            "triggering_event_id",
            "triggering_event_name",
            "triggering_event_type",
            "triggering_event_source_id",
            "triggering_event_source_name",
            "triggering_event_source_slug",
            "__trait_seqs",
        ],
        "identity_links" => &[
            "id",
            "segment_id",
            "canonical_segment_id",
            "link",
            "external_id_type",
            "external_id_value",
            "via_type",
            "via_value",
            "triggering_event_type",
            "triggering_event_id",
            "triggering_event_name",
            "triggering_event_source_id",
            "received_at",
            "timestamp",
            "seq",
            "uuid_ts",
        ],
        "identity_violations" => &[
            "message_id",
            "type",
            "value",
            "rule",
            "limit_type",
            "limit",
            "window",
            "blocked_by",
            "segment_id",
            "event_segment_id",
            "received_at",
            "timestamp",
            "uuid_ts",
        ],
        "rejected" => &["file", "line", "byte_offset", "reason", "detail", "text"],
        "backfill_conflicts" => &["table", "reason", "detail", "text"],
        "_backfill_resolved" => &["id", "received_at", "segment_id", "uuid_ts"],
        _ if catalog::is_view(table) => view_columns(table),
        _ => return [&FIXED_COLUMNS[..], own_columns(table)].concat(),
    };
    columns.to_vec()
}

/// The columns of a view; of `profile_traits` those that are no traits.
fn view_columns(table: &str) -> &'static [&'static str] {
    match table {
        "id_graph" => &["segment_id", "canonical_segment_id", "timestamp", "seq", "uuid_ts"],
        "external_id_mapping" => &[
            "canonical_segment_id",
            "external_id_type",
            "external_id_value",
            "external_id_hash",
            "timestamp",
            "seq",
            "uuid_ts",
        ],
        "profile_traits" => &["canonical_segment_id", "merged_to"],
        "user_traits" => {
            &["canonical_segment_id", "name", "value", "seq", "received_at", "uuid_ts", "timestamp"]
        }
        "user_identifiers" => {
            &["canonical_segment_id", "type", "value", "seq", "received_at", "uuid_ts", "timestamp"]
        }
        "profile_merges" => {
            &["canonical_segment_id", "segment_id", "seq", "received_at", "uuid_ts", "timestamp"]
        }
        _ => &[],
    }
}

/// The columns of a call, beside those that all event tables have.
fn own_columns(table: &str) -> &'static [&'static str] {
    match table {
        "identifies" => &[],
        "pages" | "screens" => Payload::PageProperties.own_columns(),
        "groups" => Payload::GroupTraits.own_columns(),
        "aliases" => &["previous_id"],
        _ => Payload::TrackProperties.own_columns(),
    }
}

/// Returns whether rows of a table may have other columns than the fixed ones: those of traits, properties and context.
#[must_use]
pub(crate) fn is_wide(table: &str) -> bool {
    catalog::is_event_table(table) || matches!(table, "profile_traits_updates" | "profile_traits")
}

/// Returns whether a column is one of the program's clocks, and not a trait or property of that name.
#[must_use]
pub(crate) fn is_clock(table: &str, column: &str) -> bool {
    match column {
        "original_timestamp" | "sent_at" => catalog::is_event_table(table),
        "timestamp" | "received_at" | "uuid_ts" => fixed_columns(table).contains(&column),
        _ => false,
    }
}

/// The kind of a table.
pub(crate) fn kind_of(table: &str) -> TableKind {
    catalog::find(table).map_or(TableKind::Event, |info| info.kind)
}
