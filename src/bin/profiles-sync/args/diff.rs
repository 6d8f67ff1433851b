//! What was typed behind `diff`.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use profiles_sync::diff::{IdMode, fail_on::Kind};

use super::shared::{Messages, Threads};
use crate::values;

const DIFF_HELP: &str = "\
Memory:
  Constant for tables sorted by their key, as views are. Tables in another
  order take up to --memory for rows that stand elsewhere on the other side,
  beyond it temporary files. The identity section takes about 100 bytes an
  identifier.

Exit codes:
  0    the two sides are the same, or differ in nothing that counts
  1    they differ
  2    could not compare, or could not read a line; the message says why
  129  interrupted by SIGHUP
  130  interrupted by Ctrl-C
  143  interrupted by SIGTERM

Examples:
  Does today's build still give the golden tables?
    profiles-sync diff golden out
  What would another rule do to profiles? Ingest twice, then:
    profiles-sync diff now limit-1 --tables 'id_graph*,external_id*'
  All changes of last night, for a machine:
    profiles-sync diff yesterday today --format ndjson | zstd > changes.zst";

/// Tell what differs between two sets of tables
///
/// Compares two table files, or two folders of tables (spaces, views, golden files, exports; plain, gzip or zstd), by key:
/// rows added, removed and changed, and what happened to profiles: created, vanished, merged, split, and identifiers that
/// moved. The order of rows and columns does not matter, nor how a number is spelled; null and absent are the same.
#[derive(Debug, Args)]
#[command(after_long_help = DIFF_HELP, args_override_self = true, next_display_order = 2)]
pub(crate) struct DiffArgs {
    /// The old side: a table, or a folder of tables
    ///
    /// A table file, or a folder of tables. A table is `TABLE.ndjson`, `.jsonl`, `.json` or `.csv`, plain or with `.gz` or
    /// `.zst`, or a folder `TABLE/` of such files. Of a space, only what was committed counts.
    #[arg(value_name = "OLD", display_order = 0, help_heading = "Input")]
    pub(crate) old: PathBuf,
    /// The new side, of the same kind
    ///
    /// What the old side is compared with, of the same kind: two files, or two folders.
    #[arg(value_name = "NEW", display_order = 1, help_heading = "Input")]
    pub(crate) new: PathBuf,
    /// Find rows by these columns, separated by commas
    ///
    /// The key of tables that are none of ours; ours have theirs. By default `id`, and where a table has no such column, the
    /// whole row. With two files it is the key whatever they are called.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', action = ArgAction::Set, num_args = 1)]
    #[arg(help_heading = "Input")]
    pub(crate) key: Vec<String>,
    /// Only these tables, separated by commas; globs work
    ///
    /// Only tables whose name is one of these, separated by commas. `*` stands for anything, as in `order_*`.
    #[arg(long, value_name = "TABLES", value_delimiter = ',', action = ArgAction::Set, num_args = 1)]
    #[arg(help_heading = "Input")]
    pub(crate) tables: Vec<String>,
    /// Columns that do not count; globs work
    ///
    /// Columns whose values do not count, separated by commas. `*` stands for anything, as in `context_*`.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', action = ArgAction::Set, num_args = 1)]
    #[arg(help_heading = "Input")]
    pub(crate) ignore_columns: Vec<String>,
    /// Whether segment ids count: exact or renamed
    ///
    /// With `exact` a generated segment id is a value like any other; two results that differ in nothing else are told as
    /// such. With `renamed` old ids are read as the new ids of the same profiles, so that such results are the same.
    #[arg(long, value_enum, value_name = "MODE", default_value_t = DiffIds::Exact, hide_possible_values = true)]
    #[arg(hide_default_value = true, help_heading = "Identity")]
    pub(crate) ids: DiffIds,
    /// Hold at most about SIZE of rows in memory
    ///
    /// How much memory tables that are not sorted by their key may take, such as 512M or 4G; what is more goes to temporary
    /// files. The result is the same. By default 256M.
    #[arg(long, value_name = "SIZE", value_parser = values::memory, help_heading = "Input")]
    pub(crate) memory: Option<u64>,
    #[command(flatten)]
    pub(crate) threads: Threads,
    /// For people, or markdown, json, ndjson
    ///
    /// `people` is for reading; `markdown` is a comment for a pull request; `json` is the summary as one object; `ndjson` is
    /// every change, one object a line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = DiffFormat::People)]
    #[arg(hide_possible_values = true, hide_default_value = true, help_heading = "Output")]
    format: DiffFormat,
    /// Numbers only, no examples
    ///
    /// Leaves out the examples and the stories of single profiles.
    #[arg(long, overrides_with = "no_only_summary", help_heading = "Output")]
    pub(crate) only_summary: bool,
    #[arg(long, hide = true, overrides_with = "only_summary")]
    no_only_summary: bool,
    /// Show N examples of each kind of change
    ///
    /// How many examples of each kind of change, for each table and for profiles; by default 3. With `--format ndjson` all
    /// changes are written unless this flag is given.
    #[arg(long, value_name = "N", value_parser = values::limit, help_heading = "Output")]
    pub(crate) limit: Option<u64>,
    /// Exit with 1 only for these differences
    ///
    /// Which differences make the exit code 1, separated by commas: added, removed, changed (rows); created, vanished, merged,
    /// split (profiles); moved (identifiers). By default any difference does.
    #[arg(long, value_name = "KINDS", value_delimiter = ',', action = ArgAction::Set, num_args = 1)]
    #[arg(value_parser = values::difference, help_heading = "Output")]
    pub(crate) fail_on: Vec<Kind>,
    #[command(flatten)]
    pub(crate) messages: Messages,
}

impl DiffArgs {
    /// The format, by either flag.
    pub(crate) fn format(&self) -> DiffFormat {
        if self.messages.json { DiffFormat::Json } else { self.format }
    }
}

/// How a comparison is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiffFormat {
    People,
    Markdown,
    Json,
    Ndjson,
}

/// Whether generated segment ids count, as it is typed.
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
