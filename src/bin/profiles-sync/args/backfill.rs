//! The arguments of `backfill`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};
use profiles_sync::jobs::ingest::MaxRejects;

use super::shared::{CompressFlag, MessageFlags, ThreadsFlag, WaitFlag};
use crate::values;

const BACKFILL_HELP: &str = "\
Exit codes:
  0    success
  2    failure; nothing was committed, and the error says why
  129  interrupted by SIGHUP; nothing was committed
  130  interrupted by Ctrl-C; nothing was committed
  143  interrupted by SIGTERM; nothing was committed

Examples:
  Continue from the profiles in a warehouse:
    profiles-sync backfill profiles export --space out
    profiles-sync ingest /dumps/today --space out --materialize
  Add the history of a table that was enabled late:
    profiles-sync backfill events /dumps --space out --tables pages";

const PROFILES_HELP: &str = "\
Memory:
  Grows with the identifiers, profiles and traits of the snapshot and the
  space, to about the size of the snapshot.

Exit codes:
  0    success; conflicting rows are in backfill_conflicts
  2    failure; nothing was committed, and the error says why
  129  interrupted by SIGHUP; nothing was committed
  130  interrupted by Ctrl-C; nothing was committed
  143  interrupted by SIGTERM; nothing was committed

Examples:
  Start a space with the profiles of a warehouse:
    profiles-sync backfill profiles export --space out
  First check for conflicts:
    profiles-sync backfill profiles export --space out --strict --dry-run";

const EVENTS_HELP: &str = "\
Memory:
  Grows with the identifiers and profiles of the space and the events in the
  window that its tables hold. Events that arrive out of order are buffered,
  up to --memory.

Exit codes:
  0    success
  2    failure; nothing was committed, and the error says why
  129  interrupted by SIGHUP; nothing was committed
  130  interrupted by Ctrl-C; nothing was committed
  143  interrupted by SIGTERM; nothing was committed

Examples:
  The last two months of a table that was enabled late:
    profiles-sync backfill events /dumps --space out --tables order_completed
  All events of last year:
    profiles-sync backfill events /dumps/2025 --space out \\
      --since 2025-01-01 --until 2026-01-01";

const RAW_HELP: &str = "\
Memory:
  Grows with the identifiers, profiles and traits of the tables, as for
  profiles-sync materialize, and with the messages of event tables.
  Compressed files are decompressed in memory, one at a time.

Exit codes:
  0    success
  2    failure; nothing was committed, and the error says why
  129  interrupted by SIGHUP; nothing was committed
  130  interrupted by Ctrl-C; nothing was committed
  143  interrupted by SIGTERM; nothing was committed

Examples:
  Continue from the history in a warehouse:
    profiles-sync backfill raw export --space out
    profiles-sync ingest /dumps/today --space out --materialize";

/// Import existing data: profiles, events, raw tables
///
/// Imports data that you already have into a space. Data that the space already has is not changed, so a second run of
/// the same backfill adds nothing.
#[derive(Debug, Args)]
#[command(after_long_help = BACKFILL_HELP, subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub(crate) struct BackfillArgs {
    #[command(subcommand)]
    pub(crate) what: BackfillCommand,
}

/// What to import.
#[derive(Debug, Subcommand)]
pub(crate) enum BackfillCommand {
    Profiles(ProfilesArgs),
    Events(EventsArgs),
    Raw(RawArgs),
}

impl BackfillArgs {
    /// Returns the words that select the subcommand.
    pub(crate) fn name(&self) -> &'static str {
        match &self.what {
            BackfillCommand::Profiles(_) => "backfill profiles",
            BackfillCommand::Events(_) => "backfill events",
            BackfillCommand::Raw(_) => "backfill raw",
        }
    }

    /// Returns the arguments about the space.
    pub(crate) fn target(&self) -> &SpaceArgs {
        match &self.what {
            BackfillCommand::Profiles(args) => &args.target,
            BackfillCommand::Events(args) => &args.target,
            BackfillCommand::Raw(args) => &args.target,
        }
    }

    /// Returns the message flags.
    pub(crate) fn messages(&self) -> MessageFlags {
        match &self.what {
            BackfillCommand::Profiles(args) => args.messages,
            BackfillCommand::Events(args) => args.messages,
            BackfillCommand::Raw(args) => args.messages,
        }
    }
}

/// Adopt the current profiles, keeping their segment ids
///
/// Adopts profiles from a snapshot of their current state: the views of another space, or a warehouse's export of such
/// tables. Segment ids are kept, known identifiers lead to the adopted profiles, and `ingest` continues from there. A
/// snapshot holds no events, so the raw rows inferred from it have no `timestamp` and no triggering event.
///
/// Data that the space already has is not changed. A row that contradicts it is written to `backfill_conflicts.ndjson`
/// with the reason.
#[derive(Debug, Args)]
#[command(after_long_help = PROFILES_HELP, args_override_self = true, next_display_order = 2)]
pub(crate) struct ProfilesArgs {
    /// The folder with the tables of the snapshot
    ///
    /// A folder with `user_identifiers`, `user_traits` and `profile_merges`, or `external_id_mapping`, `profile_traits`
    /// and `id_graph`, or all six. A table is `TABLE.ndjson`, `.json` or `.jsonl`, plain or with `.gz` or `.zst`, or a
    /// folder `TABLE/` of such files. The summary lists what is lost with each missing table.
    #[arg(value_name = "STATE_DIR", display_order = 0, help_heading = "Input")]
    pub(crate) state: PathBuf,
    #[command(flatten)]
    pub(crate) target: SpaceArgs,
    /// Fail on conflicts
    ///
    /// Fails and commits nothing if a row of the snapshot contradicts the space or another row.
    #[arg(long, help_heading = "Output")]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) messages: MessageFlags,
}

/// Write missing rows of old events; change no profile
///
/// Reads dumps of events and writes the rows that are missing in their event tables. Profiles do not change: an event
/// gets the segment id that its highest-ranked known identifier was first mapped to. Rows that already exist are not
/// written again, so windows may overlap.
#[derive(Debug, Args)]
#[command(after_long_help = EVENTS_HELP, args_override_self = true, next_display_order = 2)]
pub(crate) struct EventsArgs {
    /// Files and folders of events; `-` is stdin
    ///
    /// Files, folders, or `-` for the standard input, as in `profiles-sync ingest`.
    #[arg(value_name = "DUMPS", required = true, display_order = 0, help_heading = "Input")]
    pub(crate) dumps: Vec<PathBuf>,
    /// Only events received at T or later
    ///
    /// Uses only events that were received at T or later. T is a time such as 2026-01-31T12:00:00Z, or a date, which
    /// means midnight UTC. The default is two months before the newest event, or before --until.
    #[arg(long, value_name = "T", value_parser = values::as_of, help_heading = "Input")]
    pub(crate) since: Option<i64>,
    /// Only events received at T or earlier
    ///
    /// Uses only events that were received at T or earlier. A date means midnight UTC, so give the day after the last
    /// one you want. By default there is no end.
    #[arg(long, value_name = "T", value_parser = values::as_of, help_heading = "Input")]
    pub(crate) until: Option<i64>,
    /// Fail above N rejected lines, or P% of all; 5%
    ///
    /// Invalid lines are counted and skipped. If more than N lines are rejected, or more than P per cent of all events
    /// and rejected lines, the run fails and commits nothing. The default is 5%, and 100 or fewer rejected lines never
    /// fail by default. Overrides `max_rejects` in the config.
    #[arg(long, value_name = "N|P%", value_parser = values::max_rejects, help_heading = "Input")]
    pub(crate) max_rejects: Option<MaxRejects>,
    /// Write rejected lines to FILE
    ///
    /// Writes every rejected line to FILE with its reason, also with --dry-run and also if the run fails because too
    /// many lines were rejected. FILE is replaced.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) rejects: Option<PathBuf>,
    /// Use at most about SIZE of memory for events
    ///
    /// How much memory the run may use for its events, such as 512M or 4G. The result does not depend on it. The
    /// default is half of the machine's memory, but at most 4G.
    #[arg(long, value_name = "SIZE", value_parser = values::memory, help_heading = "Input")]
    pub(crate) memory: Option<u64>,
    /// Rules for identity, filters and names
    ///
    /// A TOML file with the rules: which events to drop, which values to block, how identifiers rank, which tables to
    /// write. The default is `profiles-sync.toml` in the space, if it exists.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) config: Option<PathBuf>,
    /// Only these tables, separated by commas
    ///
    /// Writes only these event tables, such as `pages,order_completed`. The default is every table that the rules
    /// select.
    #[arg(long, value_name = "TABLES", value_delimiter = ',', action = ArgAction::Set, num_args = 1)]
    #[arg(help_heading = "Output")]
    pub(crate) tables: Vec<String>,
    #[command(flatten)]
    pub(crate) target: SpaceArgs,
    #[command(flatten)]
    pub(crate) messages: MessageFlags,
}

/// Adopt raw tables with their history as a space
///
/// Creates a space from exported raw tables, written by this program or by a warehouse. Rows are copied unchanged, the
/// views are the same, and `ingest` appends to the tables. Event tables are adopted if present; `ingest` then
/// recognizes their messages as duplicates.
#[derive(Debug, Args)]
#[command(after_long_help = RAW_HELP, args_override_self = true, next_display_order = 2)]
pub(crate) struct RawArgs {
    /// The folder of the raw tables
    ///
    /// A folder with `id_graph_updates`, `external_id_mapping_updates`, `profile_traits_updates`, and event tables. A
    /// table is `TABLE.ndjson`, `.json` or `.jsonl`, plain or with `.gz` or `.zst`, or a folder `TABLE/` of such files.
    /// Column names may be in any case, and columns may be missing.
    #[arg(value_name = "RAW_DIR", display_order = 0, help_heading = "Input")]
    pub(crate) raw: PathBuf,
    #[command(flatten)]
    pub(crate) target: SpaceArgs,
    /// Fail if a raw profile table is missing
    ///
    /// Fails and commits nothing if one of the three raw profile tables is missing.
    #[arg(long, help_heading = "Output")]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) messages: MessageFlags,
}

/// The arguments about the space, which every backfill has.
#[derive(Debug, Args)]
pub(crate) struct SpaceArgs {
    #[command(flatten)]
    pub(crate) threads: ThreadsFlag,
    /// The folder of the tables; created if missing
    ///
    /// The folder that holds the tables of one space, one NDJSON file each. It is created if it does not exist.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) space: PathBuf,
    #[command(flatten)]
    pub(crate) compress: CompressFlag,
    /// Do everything except the commit
    ///
    /// Reads the input and prints the summary as usual, but leaves the space unchanged.
    #[arg(long, help_heading = "Output")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) wait: WaitFlag,
}
