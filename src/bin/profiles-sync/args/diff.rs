//! The arguments of `diff`.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use profiles_sync::diff::{IdMode, fail_on::DifferenceKind};

use super::shared::{MessageFlags, ThreadsFlag};
use crate::values;

const DIFF_HELP: &str = "\
Memory:
  Constant for tables sorted by their key, as views are. For other tables,
  rows whose position differs between the two sides use up to --memory, then
  temporary files. The identity section uses about 100 bytes per identifier.

Exit codes:
  0    no differences, or none that --fail-on selects
  1    differences
  2    failure, or a line could not be read; the error says why
  129  interrupted by SIGHUP
  130  interrupted by Ctrl-C
  143  interrupted by SIGTERM

Examples:
  Does today's build still produce the golden tables?
    profiles-sync diff golden out
  How would another rule change profiles? Ingest twice, then:
    profiles-sync diff now limit-1 --tables 'id_graph*,external_id*'
  All changes of last night, machine-readable:
    profiles-sync diff yesterday today --format ndjson | zstd > changes.zst";

/// Report what differs between two sets of tables
///
/// Compares two table files, or two folders of tables (spaces, views, golden files, exports; plain, gzip or zstd), by
/// key. Reports rows that were added, removed or changed, profiles that were created, vanished, merged or split, and
/// identifiers that moved. The order of rows and columns and the notation of numbers do not matter; null and absent are
/// equal.
#[derive(Debug, Args)]
#[command(after_long_help = DIFF_HELP, args_override_self = true, next_display_order = 2)]
pub(crate) struct DiffArgs {
    /// The old side: a table, or a folder of tables
    ///
    /// A table file, or a folder of tables. A table is `TABLE.ndjson`, `.jsonl`, `.json` or `.csv`, plain or with `.gz`
    /// or `.zst`, or a folder `TABLE/` of such files. In a space, only committed rows are read.
    #[arg(value_name = "OLD", display_order = 0, help_heading = "Input")]
    pub(crate) old: PathBuf,
    /// The new side: two files, or two folders
    ///
    /// What to compare the old side with. If OLD is a file, give a file; if it is a folder, give a folder.
    #[arg(value_name = "NEW", display_order = 1, help_heading = "Input")]
    pub(crate) new: PathBuf,
    /// Key columns, separated by commas
    ///
    /// The key of tables that this program does not know; known tables have their own. The default is `id`, or the
    /// whole row if a table has no such column. With two files, this is the key whatever their names are.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', action = ArgAction::Set, num_args = 1)]
    #[arg(help_heading = "Input")]
    pub(crate) key: Vec<String>,
    /// Only these tables, separated by commas; globs work
    ///
    /// Compares only tables with these names, separated by commas. `*` matches anything, as in `order_*`.
    #[arg(long, value_name = "TABLES", value_delimiter = ',', action = ArgAction::Set, num_args = 1)]
    #[arg(help_heading = "Input")]
    pub(crate) tables: Vec<String>,
    /// Columns to ignore; globs work
    ///
    /// Ignores the values of these columns, separated by commas. `*` matches anything, as in `context_*`.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', action = ArgAction::Set, num_args = 1)]
    #[arg(help_heading = "Input")]
    pub(crate) ignore_columns: Vec<String>,
    /// How to compare segment ids: exact or renamed
    ///
    /// `exact` compares generated segment ids like any other value; if two results differ in nothing else, the report
    /// says so. `renamed` first maps each old id to the new id of the same profile, so such results are equal.
    #[arg(long, value_enum, value_name = "MODE", default_value_t = DiffIds::Exact, hide_possible_values = true)]
    #[arg(hide_default_value = true, help_heading = "Identity")]
    pub(crate) ids: DiffIds,
    /// Use at most about SIZE of memory for rows
    ///
    /// How much memory tables that are not sorted by their key may use, such as 512M or 4G; rows beyond that go to
    /// temporary files. The result does not depend on it. The default is 256M.
    #[arg(long, value_name = "SIZE", value_parser = values::memory, help_heading = "Input")]
    pub(crate) memory: Option<u64>,
    #[command(flatten)]
    pub(crate) threads: ThreadsFlag,
    /// Output: people, markdown, json or ndjson
    ///
    /// `people` is a report to read, `markdown` is a comment for a pull request, `json` is the summary as one object,
    /// and `ndjson` is every change, one object per line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = DiffFormat::People)]
    #[arg(hide_possible_values = true, hide_default_value = true, help_heading = "Output")]
    format: DiffFormat,
    /// Numbers only, no examples
    ///
    /// Leaves out the examples and the changes of single profiles.
    #[arg(long, overrides_with = "no_only_summary", help_heading = "Output")]
    pub(crate) only_summary: bool,
    #[arg(long, hide = true, overrides_with = "only_summary")]
    no_only_summary: bool,
    /// Show N examples of each kind of change
    ///
    /// The number of examples of each kind of change, per table and for profiles. The default is 3. `--format ndjson`
    /// writes all changes unless this flag is given.
    #[arg(long, value_name = "N", value_parser = values::limit, help_heading = "Output")]
    pub(crate) limit: Option<u64>,
    /// Exit with 1 only for these differences
    ///
    /// Which differences make the exit code 1, separated by commas: added, removed, changed (rows); created, vanished,
    /// merged, split (profiles); moved (identifiers). The default is any difference.
    #[arg(long, value_name = "KINDS", value_delimiter = ',', action = ArgAction::Set, num_args = 1)]
    #[arg(value_parser = values::difference, help_heading = "Output")]
    pub(crate) fail_on: Vec<DifferenceKind>,
    #[command(flatten)]
    pub(crate) messages: MessageFlags,
}

impl DiffArgs {
    /// Returns the output format, from `--json` or `--format`.
    pub(crate) fn format(&self) -> DiffFormat {
        if self.messages.json { DiffFormat::Json } else { self.format }
    }
}

/// The output format of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiffFormat {
    People,
    Markdown,
    Json,
    Ndjson,
}

/// The values of `--ids`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiffIds {
    Exact,
    Renamed,
}

impl From<DiffIds> for IdMode {
    fn from(typed: DiffIds) -> Self {
        match typed {
            DiffIds::Exact => Self::Exact,
            DiffIds::Renamed => Self::Renamed,
        }
    }
}
