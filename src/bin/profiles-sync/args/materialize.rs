//! The arguments of `materialize`.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, builder::PossibleValuesParser};
use profiles_sync::catalog::{self, TableKind};

use super::shared::{MessageFlags, ThreadsFlag, WaitFlag};
use crate::values;

const MATERIALIZE_HELP: &str = "\
Memory:
  Grows with the identifiers, profiles and traits of the raw tables, to about
  a third of their bytes, up to --memory. Beyond that it uses about 30 more
  bytes per profile. The event tables are not read.

Exit codes:
  0    success
  2    failure; the views are unchanged, and the error says why
  129  interrupted by SIGHUP; the views are unchanged
  130  interrupted by Ctrl-C; the views are unchanged
  143  interrupted by SIGTERM; the views are unchanged

Examples:
  The views as of the end of a quarter, in a folder of their own:
    profiles-sync materialize --space out --as-of 2026-04-01 --out out/q1
  The changes since the last time, for a warehouse's MERGE:
    profiles-sync materialize --space out --changes changes.ndjson
  The views of a warehouse's export that lacks a table:
    profiles-sync materialize --raw export --out views --partial";

/// Build the views from the raw tables
///
/// Builds the views `id_graph`, `external_id_mapping`, `profile_traits`, `user_traits`, `user_identifiers` and
/// `profile_merges` from the raw tables, one NDJSON file each, sorted by key. The views depend on the raw tables alone.
/// Each view is replaced in one step.
///
/// If the space has older views, only the profiles with new rows are recomputed. The result is the same.
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
    /// The folder that `profiles-sync ingest` wrote. Only committed rows are read. The views are written there too,
    /// unless --out is given.
    #[arg(long, value_name = "DIR", required_unless_present = "raw", conflicts_with = "raw")]
    #[arg(help_heading = "Input")]
    pub(crate) space: Option<PathBuf>,
    /// Raw tables as exported by a warehouse, not a space
    ///
    /// A folder of raw tables that are not a space, such as a warehouse's export. A table is `TABLE.ndjson`, `.json` or
    /// `.jsonl`, plain or with `.gz` or `.zst`, or a folder `TABLE/` of such files. Column names may be in any case,
    /// and columns may be missing.
    #[arg(long, value_name = "DIR", requires = "out", help_heading = "Input")]
    pub(crate) raw: Option<PathBuf>,
    /// Only rows up to this time, by their `uuid_ts`
    ///
    /// Ignores rows whose `uuid_ts` is later than T, so the views are as they were at that time. T is a time such as
    /// 2026-01-31T12:00:00Z, or a date, which means midnight UTC.
    #[arg(long, value_name = "T", value_parser = values::as_of, help_heading = "Input")]
    pub(crate) as_of: Option<i64>,
    /// Rebuild the views from all raw rows
    ///
    /// Rebuilds the views from all raw rows. By default existing views are updated from the rows that were added since
    /// they were built. The result is the same either way.
    #[arg(long, overrides_with = "no_full", help_heading = "Input")]
    pub(crate) full: bool,
    #[arg(long, hide = true, overrides_with = "full")]
    no_full: bool,
    /// Use at most about SIZE of memory
    ///
    /// How much memory the job may use, such as 512M or 4G; larger raw tables are split into partitions in temporary
    /// files. The result does not depend on it. The default is half of the machine's memory, but at most 4G.
    #[arg(long, value_name = "SIZE", value_parser = values::memory, help_heading = "Input")]
    pub(crate) memory: Option<u64>,
    /// Rules whose `[sync]` selects views and columns
    ///
    /// A TOML file as for `ingest`. `tables`, `exclude_tables`, `columns` and `exclude_columns` under `[sync]` select
    /// the views to write and their columns. The default is `profiles-sync.toml` in the space if it exists, else the
    /// rules of the last run.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: ThreadsFlag,
    /// The folder of the views; created if missing
    ///
    /// The folder to write the views to, which may not be another space. Required with --raw. With --space the default
    /// is the space.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) out: Option<PathBuf>,
    /// Only these views, separated by commas
    ///
    /// Writes only these views, separated by commas, even if the config excludes them. The other views are left
    /// unchanged.
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
    /// Skip views whose raw table is missing
    ///
    /// By default a missing raw table is an error. With this flag, the views that need it are skipped and listed.
    #[arg(long, help_heading = "Output")]
    pub(crate) partial: bool,
    /// Write the changes in the views to FILE; `-` is stdout
    ///
    /// Writes one JSON object per line for every row that was added, changed or removed: `view`, `change` (`upsert` or
    /// `delete`), `key` and `row`. Applying them to the old views gives the new ones. `-` is the standard output.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) changes: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) wait: WaitFlag,
    #[command(flatten)]
    pub(crate) messages: MessageFlags,
}

impl MaterializeArgs {
    /// Returns whether changes go to the standard output.
    pub(crate) fn changes_to_stdout(&self) -> bool {
        self.changes.as_deref() == Some(Path::new("-"))
    }
}
