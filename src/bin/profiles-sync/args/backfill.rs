//! What was typed behind `backfill`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Messages;
use crate::values;

const BACKFILL_HELP: &str = "\
Exit codes:
  0    did it
  2    could not; nothing was committed, and the message says why
  130  interrupted by Ctrl-C; nothing was committed
  143  interrupted by SIGTERM; nothing was committed

Examples:
  Go on with the profiles of a warehouse:
    profiles-sync backfill profiles export --space out
    profiles-sync ingest /dumps/today --space out --materialize";

const PROFILES_HELP: &str = "\
Memory:
  Grows with the identifiers, profiles and traits of the state and of the
  space, about the size of the state.

Exit codes:
  0    did it; rows that say something else were set aside
  2    could not; nothing was committed, and the message says why
  130  interrupted by Ctrl-C; nothing was committed
  143  interrupted by SIGTERM; nothing was committed

Examples:
  Begin a space with the profiles of a warehouse:
    profiles-sync backfill profiles export --space out
  First see whether anything would be set aside:
    profiles-sync backfill profiles export --space out --strict --dry-run";

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
}

impl BackfillArgs {
    /// The flags on messages.
    pub(crate) fn messages(&self) -> Messages {
        match &self.what {
            BackfillWhat::Profiles(args) => args.messages,
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
#[command(after_long_help = PROFILES_HELP, args_override_self = true)]
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

/// Where to, and how.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Work on N threads, by default on all cores
    ///
    /// How many threads read, parse and write. The result is the same with any number. By default one per core.
    #[arg(long, value_name = "N", value_parser = values::threads, help_heading = "Input")]
    pub(crate) threads: Option<usize>,
    /// The folder of the tables; made where it is missing
    ///
    /// The folder that holds the tables of one profiles space, one NDJSON file each. It is made where it is missing.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) space: PathBuf,
    /// Do everything but the commit
    ///
    /// Reads and reports as if in earnest, and leaves the space as it is.
    #[arg(long, help_heading = "Output")]
    pub(crate) dry_run: bool,
    /// Wait so long for another run on the space to end
    ///
    /// One run at a time may write to a space. By default a second one fails at once; with this flag it waits so many
    /// seconds for the first to end.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "Output"
    )]
    pub(crate) wait: u64,
}
