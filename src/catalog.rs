//! The tables of a space: the name, kind, key and content of each.
//!
//! Every other list of tables derives from this one. Tables named after track events are not listed: they have the kind
//! and the key of an event table.

/// What a table is for, which determines who writes it and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// The history of profiles, from which everything else derives. Append-only, always written.
    Raw,
    /// One row per event. Append-only.
    Event,
    /// What a run reports about its inputs or its decisions. Append-only.
    Report,
    /// The current state, computed from the raw tables alone. Replaced as a whole.
    View,
}

/// A table with a built-in name.
#[derive(Debug, Clone, Copy)]
pub struct TableInfo {
    /// Name of the table, and of its file without the extension.
    pub name: &'static str,
    /// What the table is for.
    pub kind: TableKind,
    /// Columns that identify a row.
    pub key: &'static [&'static str],
    /// What one row represents, for people.
    pub grain: &'static str,
}

const fn table(
    name: &'static str,
    kind: TableKind,
    key: &'static [&'static str],
    grain: &'static str,
) -> TableInfo {
    TableInfo { name, kind, key, grain }
}

/// `id_graph_updates`.
pub const ID_GRAPH_UPDATES: &str = "id_graph_updates";
/// `external_id_mapping_updates`.
pub const EXTERNAL_ID_MAPPING_UPDATES: &str = "external_id_mapping_updates";
/// `profile_traits_updates`.
pub const PROFILE_TRAITS_UPDATES: &str = "profile_traits_updates";
/// `rejected`.
pub const REJECTED: &str = "rejected";
/// `identity_violations`.
pub const IDENTITY_VIOLATIONS: &str = "identity_violations";
/// `identity_links`.
pub const IDENTITY_LINKS: &str = "identity_links";
/// `backfill_conflicts`.
pub const BACKFILL_CONFLICTS: &str = "backfill_conflicts";
/// `_backfill_resolved`.
pub const BACKFILL_RESOLVED: &str = "_backfill_resolved";

/// All tables with built-in names: raw tables, event tables, reports, views.
pub const TABLES: [TableInfo; 20] = [
    table(
        ID_GRAPH_UPDATES,
        TableKind::Raw,
        &["id"],
        "one change of the profile that a segment id belongs to",
    ),
    table(
        EXTERNAL_ID_MAPPING_UPDATES,
        TableKind::Raw,
        &["external_id_type", "external_id_value"],
        "one identifier, when it was first mapped to a profile",
    ),
    table(PROFILE_TRAITS_UPDATES, TableKind::Raw, &["id"], "all traits of a profile, each time they change"),
    table("identifies", TableKind::Event, &["id"], "one identify call"),
    table("pages", TableKind::Event, &["id"], "one page call"),
    table("screens", TableKind::Event, &["id"], "one screen call"),
    table("groups", TableKind::Event, &["id"], "one group call"),
    table("aliases", TableKind::Event, &["id"], "one alias call"),
    table("tracks", TableKind::Event, &["id"], "one track call, without its properties"),
    table(REJECTED, TableKind::Report, &["file", "line"], "one line that is not a usable event"),
    table(
        IDENTITY_VIOLATIONS,
        TableKind::Report,
        &["message_id", "type", "value"],
        "one identifier that was not used to resolve its event",
    ),
    table(
        IDENTITY_LINKS,
        TableKind::Report,
        &["link", "external_id_type", "external_id_value", "segment_id"],
        "one identifier that was mapped, or one profile that was merged away, and what led to its profile",
    ),
    table(BACKFILL_CONFLICTS, TableKind::Report, &[], "one row that a backfill did not use"),
    table(BACKFILL_RESOLVED, TableKind::Report, &["id"], "one backfilled event that was resolved later"),
    table("id_graph", TableKind::View, &["segment_id"], "one segment id and the profile it belongs to"),
    table(
        "external_id_mapping",
        TableKind::View,
        &["external_id_hash", "external_id_type", "external_id_value"],
        "one identifier and the profile it belongs to",
    ),
    table(
        "profile_traits",
        TableKind::View,
        &["canonical_segment_id"],
        "one profile with its current traits",
    ),
    table(
        "user_traits",
        TableKind::View,
        &["canonical_segment_id", "name"],
        "one current trait of a profile",
    ),
    table(
        "user_identifiers",
        TableKind::View,
        &["canonical_segment_id", "type", "value"],
        "one identifier of a profile",
    ),
    table(
        "profile_merges",
        TableKind::View,
        &["canonical_segment_id", "segment_id"],
        "one segment id of a profile",
    ),
];

/// Returns the table with this built-in name.
#[must_use]
pub fn find(name: &str) -> Option<&'static TableInfo> {
    TABLES.iter().find(|table| table.name == name)
}

/// Returns whether a table has this built-in name. The table of a track event with such a name gets a leading `_`.
#[must_use]
pub fn is_built_in(name: &str) -> bool {
    find(name).is_some()
}

/// Returns whether this is the name of a view.
#[must_use]
pub fn is_view(name: &str) -> bool {
    find(name).is_some_and(|table| table.kind == TableKind::View)
}

/// Returns whether this is the name of a table in which a run reports.
#[must_use]
pub fn is_report(name: &str) -> bool {
    find(name).is_some_and(|table| table.kind == TableKind::Report)
}

/// Returns whether a table of a space holds events, either of one call or of one track event name.
#[must_use]
pub fn is_event_table(name: &str) -> bool {
    find(name).is_none_or(|table| table.kind == TableKind::Event)
}

/// Returns the names of all tables of a kind, in the order of [`TABLES`].
pub fn names_of(kind: TableKind) -> impl Iterator<Item = &'static str> {
    TABLES.iter().filter(move |table| table.kind == kind).map(|table| table.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Call, view::View};

    #[test]
    fn every_table_has_its_own_name() {
        let names: std::collections::BTreeSet<_> = TABLES.iter().map(|table| table.name).collect();
        assert_eq!(names.len(), TABLES.len());
    }

    #[test]
    fn calls_and_views_are_listed() {
        let calls: Vec<_> = Call::ALL.into_iter().map(Call::table).collect();
        assert_eq!(
            names_of(TableKind::Event).collect::<std::collections::BTreeSet<_>>(),
            calls.into_iter().collect()
        );
        assert_eq!(names_of(TableKind::View).collect::<Vec<_>>(), View::ALL.map(View::name));
    }
}
