//! What a run did, in numbers: for the person at 7 a.m. and for `--json`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::identity::account::Account;

/// The note that counts times of accepted events that were given in seconds.
pub const TIMES_IN_SECONDS: &str = "times_in_seconds";

/// What an ingest did. Every event read is a duplicate, filtered out or accepted; every line is an event (or several, in
/// a batch), blank, or rejected.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct IngestSummary {
    /// The number of the run, counted from 1; `None` if nothing was committed.
    #[serde(skip)]
    pub run: Option<u64>,
    /// Input files read; skipped ones left out.
    pub files: u64,
    /// Input files whose content was ingested before, or stands in another input of the run, as they were given.
    pub files_skipped: Vec<String>,
    /// Bytes of the lines read, after decompression.
    pub bytes: u64,
    /// Lines that are not blank.
    pub lines: u64,
    /// Well-formed events, before filters and duplicates.
    pub events: u64,
    /// Events that a drop filter took out.
    pub filtered: u64,
    /// Events whose `messageId` was accepted before.
    pub duplicates: u64,
    /// Events that reached resolution and stand in the event tables.
    pub accepted: u64,
    /// Accepted events that come before the newest event of an earlier run.
    pub late: u64,
    /// Accepted events left without a profile.
    pub unresolved: u64,
    /// Rejected lines (and batch items) by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Profiles created.
    pub profiles_created: u64,
    /// Profiles merged away into an older one.
    pub profiles_merged: u64,
    /// Identifiers mapped for the first time.
    pub identifiers_mapped: BTreeMap<String, u64>,
    /// Identifiers taken off an event because a rule would have been broken, by type.
    pub identifiers_demoted: BTreeMap<String, u64>,
    /// Identifiers not promoted because their value is blocked, by type.
    pub identifiers_blocked: BTreeMap<String, u64>,
    /// Identifiers left out because their profile holds as many as it may, by type.
    pub identifiers_capped: BTreeMap<String, u64>,
    /// Every identifier accounted for, by type and source.
    pub identifiers: Vec<Account>,
    /// Things left out of tables or put under another name, by kind; each is explained in `docs/tables.md`.
    pub notes: BTreeMap<String, u64>,
    /// Rows added, by table.
    pub rows: BTreeMap<String, u64>,
    /// Wall seconds.
    pub seconds: f64,
    /// Events read a second.
    pub events_per_second: f64,
}

/// What a materialize did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MaterializeSummary {
    /// The last run whose rows the views of the space show now; `None` if they were left as they were or went elsewhere.
    #[serde(skip)]
    pub run: Option<u64>,
    /// Rows read, by raw table.
    pub rows_read: BTreeMap<String, u64>,
    /// Bytes of the raw tables read, after decompression.
    pub bytes: u64,
    /// Canonical profiles: those that are not merged away.
    pub profiles: u64,
    /// Rows written, by view.
    pub rows: BTreeMap<String, u64>,
    /// Views not written, and the raw table each would have needed.
    pub views_left_out: BTreeMap<String, String>,
    /// Views not written because the config leaves them out.
    pub views_not_selected: Vec<String>,
    /// How it went about it; the views are the same whichever way.
    pub fold: Fold,
    /// Changes told, where they were asked for.
    pub changes: Option<u64>,
    /// Wall seconds.
    pub seconds: f64,
}

/// How views were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Fold {
    /// All raw rows were folded, in memory.
    #[default]
    Full,
    /// All raw rows were folded, part by part.
    Partitioned,
    /// The profiles that new raw rows touch were folded, and replaced in the views that were there.
    Incremental,
    /// The views that were there reflect all raw rows, and stay.
    Current,
}

/// What a backfill of profiles did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ProfilesSummary {
    /// The number of the run, counted from 1; `None` if nothing was committed.
    #[serde(skip)]
    pub run: Option<u64>,
    /// The tables of the state that were read.
    pub tables_used: Vec<String>,
    /// What is lost for want of the others.
    pub tables_missing: BTreeMap<String, String>,
    /// Whether this state was adopted before, so that nothing was done.
    pub adopted_before: bool,
    /// Profiles adopted.
    pub profiles: u64,
    /// Segment ids adopted that were merged into them.
    pub merged: u64,
    /// Identifiers adopted, by type.
    pub identifiers: BTreeMap<String, u64>,
    /// Traits adopted.
    pub traits: u64,
    /// Profiles and segment ids that were known.
    pub profiles_known: u64,
    /// Identifiers that were known.
    pub identifiers_known: u64,
    /// Traits that were known.
    pub traits_known: u64,
    /// Rows of the state that were set aside, by reason.
    pub conflicts: BTreeMap<String, u64>,
    /// Rows of the state that were set aside because another row of it is newer.
    pub older_rows: u64,
    /// Rows added, by table.
    pub rows: BTreeMap<String, u64>,
    /// Wall seconds.
    pub seconds: f64,
}

/// What a backfill of events did. Every event read is filtered out, outside the window, a duplicate, in no table that is
/// wanted, there already, or written.
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
    /// Events that a drop filter took out.
    pub filtered: u64,
    /// Rejected lines (and batch items) by reason; they are not written anywhere.
    pub rejected: BTreeMap<String, u64>,
    /// From when events were taken in.
    pub since: Option<String>,
    /// Until when.
    pub until: Option<String>,
    /// Events that arrived earlier or later.
    pub outside_window: u64,
    /// Events of a message that was met before.
    pub duplicates: u64,
    /// Events that have no row in any of the tables that are wanted.
    pub not_wanted: u64,
    /// Events whose rows were all there.
    pub known: u64,
    /// Events that got a row.
    pub written: u64,
    /// Of these, without a profile.
    pub unresolved: u64,
    /// Things left out of tables or put under another name, by kind.
    pub notes: BTreeMap<String, u64>,
    /// Rows added, by table.
    pub rows: BTreeMap<String, u64>,
    /// Wall seconds.
    pub seconds: f64,
}

/// What a backfill of raw tables did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RawSummary {
    /// The number of the run, counted from 1; `None` if nothing was committed.
    #[serde(skip)]
    pub run: Option<u64>,
    /// What is lost for want of a table.
    pub tables_missing: BTreeMap<String, String>,
    /// Tables in the folder that are no raw tables and were not adopted.
    pub tables_passed_over: Vec<String>,
    /// Whether these tables were adopted before, so that nothing was done.
    pub adopted_before: bool,
    /// Whether profiles go on from what views of the tables show, because a replay of the rows would say something else.
    pub as_views: bool,
    /// Profiles that are not merged away.
    pub profiles: u64,
    /// Identifiers mapped.
    pub identifiers: u64,
    /// Messages that event tables remember.
    pub messages: u64,
    /// Rows added, by table.
    pub rows: BTreeMap<String, u64>,
    /// Wall seconds.
    pub seconds: f64,
}
