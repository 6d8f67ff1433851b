//! What was typed behind `backfill`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};
use profiles_sync::jobs::ingest::MaxRejects;

use super::shared::{Compress, Messages, Threads, Wait};
use crate::values;

const BACKFILL_HELP: &str = "\
Exit codes:
  0    did it
  2    could not; nothing was committed, and the message says why
  129  interrupted by SIGHUP; nothing was committed
  130  interrupted by Ctrl-C; nothing was committed
  143  interrupted by SIGTERM; nothing was committed

Examples:
  Go on with the profiles of a warehouse:
    profiles-sync backfill profiles export --space out
    profiles-sync ingest /dumps/today --space out --materialize
  The history of a table that was switched on late:
    profiles-sync backfill events /dumps --space out --tables pages";

const PROFILES_HELP: &str = "\
Memory:
  Grows with the identifiers, profiles and traits of the state and of the
  space, about the size of the state.

Exit codes:
  0    did it; rows that say something else were set aside
  2    could not; nothing was committed, and the message says why
  129  interrupted by SIGHUP; nothing was committed
  130  interrupted by Ctrl-C; nothing was committed
  143  interrupted by SIGTERM; nothing was committed

Examples:
  Begin a space with the profiles of a warehouse:
    profiles-sync backfill profiles export --space out
  First see whether anything would be set aside:
    profiles-sync backfill profiles export --space out --strict --dry-run";

const EVENTS_HELP: &str = "\
Memory:
  Grows with the identifiers and profiles of the space, the events that its
  tables have in the window, and what the events of the run are out of order
  by, up to --memory.

Exit codes:
  0    did it
  2    could not; nothing was committed, and the message says why
  129  interrupted by SIGHUP; nothing was committed
  130  interrupted by Ctrl-C; nothing was committed
  143  interrupted by SIGTERM; nothing was committed

Examples:
  The last two months of a table that was switched on late:
    profiles-sync backfill events /dumps --space out --tables order_completed
  All that happened last year:
    profiles-sync backfill events /dumps/2025 --space out \\
      --since 2025-01-01 --until 2026-01-01";

const RAW_HELP: &str = "\
Memory:
  Grows with the identifiers, profiles and traits of the tables, as for
  profiles-sync materialize, and with the messages of event tables; packed
  files are unpacked in memory, one at a time.

Exit codes:
  0    did it
  2    could not; nothing was committed, and the message says why
  129  interrupted by SIGHUP; nothing was committed
  130  interrupted by Ctrl-C; nothing was committed
  143  interrupted by SIGTERM; nothing was committed

Examples:
  Go on with the history that a warehouse has:
    profiles-sync backfill raw export --space out
    profiles-sync ingest /dumps/today --space out --materialize";

/// Begin with what is there: profiles, events, raw tables
///
/// Takes into a space what a team already has. What is known stays as it is, and doing it twice changes nothing.
#[derive(Debug, Args)]
#[command(after_long_help = BACKFILL_HELP, subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub(crate) struct BackfillArgs {
    #[command(subcommand)]
    pub(crate) what: BackfillWhat,
}

/// What is taken in.
#[derive(Debug, Subcommand)]
pub(crate) enum BackfillWhat {
    Profiles(ProfilesArgs),
    Events(EventsArgs),
    Raw(RawArgs),
}

impl BackfillArgs {
    /// The words that select it.
    pub(crate) fn name(&self) -> &'static str {
        match &self.what {
            BackfillWhat::Profiles(_) => "backfill profiles",
            BackfillWhat::Events(_) => "backfill events",
            BackfillWhat::Raw(_) => "backfill raw",
        }
    }

    /// Where to, and how.
    pub(crate) fn target(&self) -> &Target {
        match &self.what {
            BackfillWhat::Profiles(args) => &args.target,
            BackfillWhat::Events(args) => &args.target,
            BackfillWhat::Raw(args) => &args.target,
        }
    }

    /// The flags on messages.
    pub(crate) fn messages(&self) -> Messages {
        match &self.what {
            BackfillWhat::Profiles(args) => args.messages,
            BackfillWhat::Events(args) => args.messages,
            BackfillWhat::Raw(args) => args.messages,
        }
    }
}

/// Adopt the profiles of a current state, same segment ids
///
/// Adopts profiles from their current state: the views of another space, or a warehouse's export of them. Segment ids stay
/// the same, known identifiers lead to the adopted profiles, and `ingest` goes on from there. The state knows no events: the
/// raw rows inferred from it have no `timestamp` and no triggering event.
///
/// What the space knows already stays as it is. A row that says something else is set aside in `backfill_conflicts.ndjson`
/// with the reason.
#[derive(Debug, Args)]
#[command(after_long_help = PROFILES_HELP, args_override_self = true, next_display_order = 2)]
pub(crate) struct ProfilesArgs {
    /// The folder with the tables of the state
    ///
    /// A folder with `user_identifiers`, `user_traits` and `profile_merges`, or `external_id_mapping`, `profile_traits` and
    /// `id_graph`, or all six: `TABLE.ndjson`, `.json` or `.jsonl`, plain or with `.gz` or `.zst`, or folders `TABLE/` of such
    /// files. It is told what a missing one costs.
    #[arg(value_name = "STATE_DIR", display_order = 0, help_heading = "Input")]
    pub(crate) state: PathBuf,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Make conflicts an error
    ///
    /// Fails and commits nothing where a row of the state says something else than what is known.
    #[arg(long, help_heading = "Output")]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) messages: Messages,
}

/// Write the rows of old events, change no profile
///
/// Reads dumps of events and writes the rows that their event tables lack. Profiles are taken as they stand: an event gets the
/// segment id that its highest-ranked known identifier was first mapped to, and no profile changes. Rows that are there
/// already are not written again, so windows may overlap.
#[derive(Debug, Args)]
#[command(after_long_help = EVENTS_HELP, args_override_self = true, next_display_order = 2)]
pub(crate) struct EventsArgs {
    /// Files and folders of events; `-` is stdin
    ///
    /// Files, folders, or `-` for the standard input, as for `profiles-sync ingest`.
    #[arg(value_name = "DUMPS", required = true, display_order = 0, help_heading = "Input")]
    pub(crate) dumps: Vec<PathBuf>,
    /// Only events received at T or later
    ///
    /// Takes events in that arrived at T or later: a time such as 2026-01-31T12:00:00Z; a date alone is its midnight in UTC.
    /// By default two months before the newest event, or before --until.
    #[arg(long, value_name = "T", value_parser = values::as_of, help_heading = "Input")]
    pub(crate) since: Option<i64>,
    /// Only events received at T or earlier
    ///
    /// Takes events in that arrived at T or earlier; a date alone is its midnight in UTC, so give the day after the last. By
    /// default there is no end.
    #[arg(long, value_name = "T", value_parser = values::as_of, help_heading = "Input")]
    pub(crate) until: Option<i64>,
    /// Fail above N rejected lines, or P% of all; 5%
    ///
    /// Lines that cannot be used are counted and left out. If more than N lines are rejected, or more than P per cent of all
    /// events and rejected lines, the run fails and commits nothing. By default 5%, and never for 100 rejected lines or
    /// fewer. Overrides `max_rejects` in the config.
    #[arg(long, value_name = "N|P%", value_parser = values::max_rejects, help_heading = "Input")]
    pub(crate) max_rejects: Option<MaxRejects>,
    /// List the rejected lines in FILE, whatever happens
    ///
    /// Writes every rejected line to FILE with its reason, also with --dry-run and also if the run fails because there are too
    /// many. FILE is replaced.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) rejects: Option<PathBuf>,
    /// Hold at most about SIZE of events in memory
    ///
    /// How much memory the run may take for its events, such as 512M or 4G. The result is the same. By default half of the
    /// machine's memory, at most 4G.
    #[arg(long, value_name = "SIZE", value_parser = values::memory, help_heading = "Input")]
    pub(crate) memory: Option<u64>,
    /// Rules of identity, filters and names
    ///
    /// A TOML file with the rules: which events are dropped, which values are blocked, how identifiers rank, which tables are
    /// written. By default `profiles-sync.toml` in the space, where there is one.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) config: Option<PathBuf>,
    /// Only these tables, separated by commas
    ///
    /// Writes only these event tables, such as `pages,order_completed`. By default all that the rules let be written.
    #[arg(long, value_name = "TABLES", value_delimiter = ',', action = ArgAction::Set, num_args = 1)]
    #[arg(help_heading = "Output")]
    pub(crate) tables: Vec<String>,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) messages: Messages,
}

/// Adopt raw tables with their history as a space
///
/// Makes a space of the raw tables of an export, ours or a warehouse's: rows are copied as they are, views stay the same, and
/// `ingest` appends to them. Event tables are adopted where they are there; their messages are known from then on.
#[derive(Debug, Args)]
#[command(after_long_help = RAW_HELP, args_override_self = true, next_display_order = 2)]
pub(crate) struct RawArgs {
    /// The folder of the raw tables
    ///
    /// A folder with `id_graph_updates`, `external_id_mapping_updates`, `profile_traits_updates`, and event tables: `TABLE.ndjson`,
    /// `.json` or `.jsonl`, plain or with `.gz` or `.zst`, or folders `TABLE/` of such files. Column names may be in any case,
    /// columns may be missing.
    #[arg(value_name = "RAW_DIR", display_order = 0, help_heading = "Input")]
    pub(crate) raw: PathBuf,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Make a missing table an error
    ///
    /// Fails and commits nothing where one of the three raw profile tables is missing.
    #[arg(long, help_heading = "Output")]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) messages: Messages,
}

/// Where to, and how.
#[derive(Debug, Args)]
pub(crate) struct Target {
    #[command(flatten)]
    pub(crate) threads: Threads,
    /// The folder of the tables; made where it is missing
    ///
    /// The folder that holds the tables of one profiles space, one NDJSON file each. It is made where it is missing.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) space: PathBuf,
    #[command(flatten)]
    pub(crate) compress: Compress,
    /// Do everything but the commit
    ///
    /// Reads and reports as if in earnest, and leaves the space as it is.
    #[arg(long, help_heading = "Output")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) wait: Wait,
}
