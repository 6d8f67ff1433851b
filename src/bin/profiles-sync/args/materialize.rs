//! The arguments of `materialize`.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, builder::PossibleValuesParser};
use profiles_sync::catalog::{self, TableKind};

use super::shared::{Messages, Threads, Wait};
use crate::values;

const MATERIALIZE_HELP: &str = "\
Memory:
  Grows with the identifiers, profiles and traits of the raw tables, about a
  third of their bytes, up to --memory; beyond that with the profiles alone,
  about 30 bytes each. The event tables are not read.

Exit codes:
  0    did it
  2    could not; the views are as they were, and the message says why
  129  interrupted by SIGHUP; the views are as they were
  130  interrupted by Ctrl-C; the views are as they were
  143  interrupted by SIGTERM; the views are as they were

Examples:
  The views as they stood at the end of a quarter, beside the present ones:
    profiles-sync materialize --space out --as-of 2026-04-01 --out out/q1
  What changed since the last time, for a warehouse's MERGE:
    profiles-sync materialize --space out --changes changes.ndjson
  The views of a warehouse's export that lacks a table:
    profiles-sync materialize --raw export --out views --partial";

/// Fold the raw tables into the views
///
/// Folds the raw tables into the views: `id_graph`, `external_id_mapping`, `profile_traits`, `user_traits`,
/// `user_identifiers` and `profile_merges`, one NDJSON file each, sorted by key. The views depend on the raw tables alone. Each view is
/// replaced in one step.
///
/// Where a space has views of an earlier state of its raw tables, only the profiles are folded that rows were added to; the
/// result is the same.
#[derive(Debug, Args)]
#[command(
    override_usage = "profiles-sync materialize [OPTIONS] --space <DIR>\n       \
        profiles-sync materialize [OPTIONS] --raw <DIR> --out <DIR>",
    after_long_help = MATERIALIZE_HELP,
    args_override_self = true
)]
pub(crate) struct MaterializeArgs {
    /// The space to read, and to write unless --out is given
    ///
    /// The folder that `profiles-sync ingest` wrote. Only what was committed is read. The views go there too, unless
    /// --out names another folder.
    #[arg(long, value_name = "DIR", required_unless_present = "raw", conflicts_with = "raw")]
    #[arg(help_heading = "Input")]
    pub(crate) space: Option<PathBuf>,
    /// Raw tables as exported by a warehouse, not a space
    ///
    /// A folder of raw tables from elsewhere, such as a warehouse's export: `TABLE.ndjson`, `.json` or `.jsonl`, plain or
    /// with `.gz` or `.zst`, or a folder `TABLE/` of such files. Column names may be in any case, columns may be missing.
    #[arg(long, value_name = "DIR", requires = "out", help_heading = "Input")]
    pub(crate) raw: Option<PathBuf>,
    /// Only rows up to this time, by their `uuid_ts`
    ///
    /// Leaves out rows whose `uuid_ts` is later than T, so that the views come out as they stood then. T is a time such as
    /// 2026-01-31T12:00:00Z; a date alone is its midnight in UTC.
    #[arg(long, value_name = "T", value_parser = values::as_of, help_heading = "Input")]
    pub(crate) as_of: Option<i64>,
    /// Fold everything anew, whatever views are there
    ///
    /// Without this flag the views in a space are brought up to date from the rows that were added since they were made. The
    /// result is the same either way.
    #[arg(long, overrides_with = "no_full", help_heading = "Input")]
    pub(crate) full: bool,
    #[arg(long, hide = true, overrides_with = "full")]
    no_full: bool,
    /// Fold in at most about SIZE of memory
    ///
    /// How much memory the fold may take, such as 512M or 4G; larger raw tables are cut into parts in temporary files. The
    /// result is the same. By default half of the machine's memory, at most 4G.
    #[arg(long, value_name = "SIZE", value_parser = values::memory, help_heading = "Input")]
    pub(crate) memory: Option<u64>,
    /// Rules of which `[sync]` says what to write
    ///
    /// A TOML file as for `ingest`; `tables`, `exclude_tables`, `columns` and `exclude_columns` under `[sync]` say which views are
    /// written, and which of their columns. By default `profiles-sync.toml` in the space, else the rules of the last run.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: Threads,
    /// The folder of the views; made where it is missing
    ///
    /// Where the views go. Needed with --raw; with --space the views go to the space without it.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) out: Option<PathBuf>,
    /// Only these views, separated by commas
    ///
    /// Writes only the views named, separated by commas, also where the config leaves them out; the others stay as they are.
    #[arg(
        long,
        value_name = "VIEWS",
        value_delimiter = ',',
        value_parser = PossibleValuesParser::new(catalog::names_of(TableKind::View)),
        hide_possible_values = true,
        action = ArgAction::Set,
        num_args = 1,
        help_heading = "Output"
    )]
    pub(crate) views: Vec<String>,
    /// Write what can be written when a raw table is missing
    ///
    /// Without this flag a missing raw table is an error. With it, the views that need it are left out and named.
    #[arg(long, help_heading = "Output")]
    pub(crate) partial: bool,
    /// Write what changes in the views; `-` is stdout
    ///
    /// Writes one JSON object a line for every row that comes, changes or goes: `view`, `change` (`upsert` or `delete`), `key` and
    /// `row`. Applied to the views that are there they give the new ones. `-` is the standard output.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) changes: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) wait: Wait,
    #[command(flatten)]
    pub(crate) messages: Messages,
}

impl MaterializeArgs {
    /// Whether changes go to the standard output.
    pub(crate) fn tells(&self) -> bool {
        self.changes.as_deref() == Some(Path::new("-"))
    }
}
