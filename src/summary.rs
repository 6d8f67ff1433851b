//! Counts of what a run did, for people and for `--json`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::identity::account::IdentifierAccount;

/// Name of the note that counts times in accepted events that were given in seconds.
pub const TIMES_IN_SECONDS: &str = "times_in_seconds";
/// The note that counts events without a table of their own, because the space has as many tables as it may.
pub const OVER_MAX_TABLES: &str = "events_over_max_tables";

/// Summary of an ingest. Every event read is counted as a duplicate, filtered or accepted. Every line holds an event
/// (or several, in a batch), is blank, or is rejected.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct IngestSummary {
    /// The number of the run, counted from 1; `None` if nothing was committed.
    #[serde(skip)]
    pub run: Option<u64>,
    /// Number of input files read, without skipped ones.
    pub files: u64,
    /// Input files, as given, whose content was ingested before or is equal to that of another input of the run.
    pub files_skipped: Vec<String>,
    /// Bytes of the lines read, after decompression.
    pub bytes: u64,
    /// Lines that are not blank.
    pub lines: u64,
    /// Well-formed events, before filters and duplicates.
    pub events: u64,
    /// Events that a drop filter removed.
    pub filtered: u64,
    /// Events whose `messageId` was accepted before.
    pub duplicates: u64,
    /// Events that were resolved and written to the event tables.
    pub accepted: u64,
    /// Accepted events that come before the newest event of an earlier run.
    pub late: u64,
    /// Accepted events left without a profile.
    pub unresolved: u64,
    /// Rejected lines (and batch items) by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Profiles created.
    pub profiles_created: u64,
    /// Profiles merged into an older one.
    pub profiles_merged: u64,
    /// Identifiers mapped for the first time.
    pub identifiers_mapped: BTreeMap<String, u64>,
    /// Identifiers demoted because they would have violated a rule, by type.
    pub identifiers_demoted: BTreeMap<String, u64>,
    /// Identifiers not used because their value is blocked, by type.
    pub identifiers_blocked: BTreeMap<String, u64>,
    /// Identifiers not used because their profile has as many as it may have, by type.
    pub identifiers_capped: BTreeMap<String, u64>,
    /// What happened to every identifier, by type and source.
    pub identifiers: Vec<IdentifierAccount>,
    /// Things left out of tables or stored under another name, by kind. `docs/cli.md` explains each.
    pub notes: BTreeMap<String, u64>,
    /// Rows added, by table.
    pub rows: BTreeMap<String, u64>,
    /// Wall-clock time in seconds.
    pub seconds: f64,
    /// Events read per second.
    pub events_per_second: f64,
}

/// Summary of a materialize.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MaterializeSummary {
    /// The last run that is reflected in the views of the space; `None` if they were not changed or were written
    /// elsewhere.
    #[serde(skip)]
    pub run: Option<u64>,
    /// Rows read, by raw table.
    pub rows_read: BTreeMap<String, u64>,
    /// Bytes of the raw tables read, after decompression.
    pub bytes: u64,
    /// Number of canonical profiles, which are those not merged into others.
    pub profiles: u64,
    /// Rows written, by view.
    pub rows: BTreeMap<String, u64>,
    /// Views that could not be written, each with the missing raw table.
    pub views_left_out: BTreeMap<String, String>,
    /// Views that the config excludes.
    pub views_not_selected: Vec<String>,
    /// How the views were computed. The result is the same either way.
    pub fold: Fold,
    /// Number of changes reported, if requested.
    pub changes: Option<u64>,
    /// Wall-clock time in seconds.
    pub seconds: f64,
}

/// How views were computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Fold {
    /// All raw rows were folded in memory.
    #[default]
    Full,
    /// All raw rows were folded, one partition at a time.
    Partitioned,
    /// Only the profiles affected by new raw rows were folded, and replaced in the existing views.
    Incremental,
    /// The existing views reflect all raw rows and were kept.
    Current,
}

/// Summary of a backfill of profiles.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ProfilesSummary {
    /// The number of the run, counted from 1; `None` if nothing was committed.
    #[serde(skip)]
    pub run: Option<u64>,
    /// Tables of the snapshot that were read.
    pub tables_used: Vec<String>,
    /// Tables that were missing, each with what is lost without it.
    pub tables_missing: BTreeMap<String, String>,
    /// Whether this snapshot was adopted before, so that nothing was done.
    pub adopted_before: bool,
    /// Profiles adopted.
    pub profiles: u64,
    /// Adopted segment ids that were merged into these profiles.
    pub merged: u64,
    /// Identifiers adopted, by type.
    pub identifiers: BTreeMap<String, u64>,
    /// Traits adopted.
    pub traits: u64,
    /// Profiles and segment ids that already existed.
    pub profiles_known: u64,
    /// Identifiers that already existed.
    pub identifiers_known: u64,
    /// Traits that already existed.
    pub traits_known: u64,
    /// Rows of the snapshot that were not used, by reason.
    pub conflicts: BTreeMap<String, u64>,
    /// Rows of the snapshot that were not used because another row is newer.
    pub older_rows: u64,
    /// Rows added, by table.
    pub rows: BTreeMap<String, u64>,
    /// Wall-clock time in seconds.
    pub seconds: f64,
}

/// Summary of a backfill of events. Every event read is counted as filtered, outside the window, a duplicate, not
/// wanted in any table, known, or written.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EventsSummary {
    /// The number of the run, counted from 1; `None` if nothing was committed.
    #[serde(skip)]
    pub run: Option<u64>,
    /// Input files read.
    pub files: u64,
    /// Bytes of the lines read, after decompression.
    pub bytes: u64,
    /// Lines that are not blank.
    pub lines: u64,
    /// Well-formed events.
    pub events: u64,
    /// Events that a drop filter removed.
    pub filtered: u64,
    /// Rejected lines (and batch items) by reason. They are not written to a table.
    pub rejected: BTreeMap<String, u64>,
    /// Start of the window.
    pub since: Option<String>,
    /// End of the window.
    pub until: Option<String>,
    /// Events that arrived outside the window.
    pub outside_window: u64,
    /// Events whose `messageId` was seen before.
    pub duplicates: u64,
    /// Events without a row in any of the requested tables.
    pub not_wanted: u64,
    /// Events whose rows all existed already.
    pub known: u64,
    /// Events for which rows were written.
    pub written: u64,
    /// Written events without a profile.
    pub unresolved: u64,
    /// Things left out of tables or stored under another name, by kind.
    pub notes: BTreeMap<String, u64>,
    /// Rows added, by table.
    pub rows: BTreeMap<String, u64>,
    /// Wall-clock time in seconds.
    pub seconds: f64,
}

/// Summary of a backfill of raw tables.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RawSummary {
    /// The number of the run, counted from 1; `None` if nothing was committed.
    #[serde(skip)]
    pub run: Option<u64>,
    /// Tables that were missing, each with what is lost without it.
    pub tables_missing: BTreeMap<String, String>,
    /// Tables in the folder that were not adopted because they are not raw tables.
    pub tables_passed_over: Vec<String>,
    /// Whether these tables were adopted before, so that nothing was done.
    pub adopted_before: bool,
    /// Whether profiles continue from what the views of the tables show, because replaying the rows would give another
    /// result.
    pub as_views: bool,
    /// Number of canonical profiles.
    pub profiles: u64,
    /// Identifiers mapped.
    pub identifiers: u64,
    /// Messages found in event tables.
    pub messages: u64,
    /// Rows added, by table.
    pub rows: BTreeMap<String, u64>,
    /// Wall-clock time in seconds.
    pub seconds: f64,
}
