//! The arguments of `ingest`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use profiles_sync::{config::rules::SegmentIdStyle, jobs::ingest::MaxRejects};

use super::shared::{CompressFlag, MessageFlags, ThreadsFlag, WaitFlag};
use crate::values;

const INGEST_HELP: &str = "\
Memory:
  Grows with the identifiers, profiles and traits that the run uses. Events
  that arrive out of order are buffered, up to --memory.

Exit codes:
  0    success
  1    success, but --verify found problems
  2    failure; the error says why
  129  interrupted by SIGHUP
  130  interrupted by Ctrl-C
  143  interrupted by SIGTERM
  Above 1 nothing was committed, unless the error lists what was: with
  --materialize the events may be committed and the views still be old.

Examples:
  Create the raw tables and the views:
    profiles-sync ingest events.ndjson --space out --materialize
  Run from cron, silent unless something is wrong:
    profiles-sync ingest /dumps/today --space out --max-rejects 1% -q
  Write the rules to a file that you can edit:
    profiles-sync ingest --print-config > rules.toml";

/// Read events, resolve identities, append to the raw tables
///
/// Reads events, resolves their identifiers to profiles, and appends the changes to the raw tables of a space. The
/// events of a run are resolved in the order in which they were received, whichever file they come from. Events and
/// files that were ingested before add nothing, so you can read an old or overlapping dump again.
///
/// Either the whole run is committed or none of it.
#[derive(Debug, Args)]
#[command(
    override_usage = "profiles-sync ingest [OPTIONS] --space <DIR> <EVENTS>...\n       \
        profiles-sync ingest [OPTIONS] --print-config\n       \
        profiles-sync ingest [OPTIONS] --verify --space <DIR>",
    after_long_help = INGEST_HELP,
    args_override_self = true,
    next_display_order = 2
)]
#[expect(clippy::struct_excessive_bools, reason = "each flag is a field")]
pub(crate) struct IngestArgs {
    /// Files and folders of events; `-` is stdin
    ///
    /// Files, folders, or `-` for the standard input. A file holds one JSON object per line, plain, gzip or zstd,
    /// whatever its name. In a folder, all `*.json`, `*.ndjson` and `*.jsonl` are read, plain or with `.gz` or `.zst`,
    /// and every `.gz` below a folder `segment-logs`. Hidden files and folders and other spaces are skipped.
    #[arg(
        required_unless_present_any = ["print_config", "verify"],
        value_name = "EVENTS",
        display_order = 0,
        help_heading = "Input"
    )]
    pub(crate) events: Vec<PathBuf>,
    /// Read inputs again that were ingested before
    ///
    /// By default an input whose content was ingested before is skipped. With this flag it is read again, and events
    /// that the rules excluded then but allow now are added, such as those of a removed drop rule. Events that were
    /// accepted before add nothing, and rejected lines are listed once more.
    #[arg(long, conflicts_with = "verify", help_heading = "Input")]
    pub(crate) again: bool,
    /// Fail above N rejected lines, or P% of all; 5%
    ///
    /// Invalid lines are written to `rejected.ndjson` with the reason, and the run continues. If more than N lines are
    /// rejected, or more than P per cent of all events and rejected lines, the run fails and commits nothing. The
    /// default is 5%, and 100 or fewer rejected lines never fail by default. Overrides `max_rejects` in the config.
    #[arg(long, value_name = "N|P%", value_parser = values::max_rejects, help_heading = "Input")]
    pub(crate) max_rejects: Option<MaxRejects>,
    /// Write rejected lines to FILE
    ///
    /// Writes every rejected line to FILE with its reason, in the format of `rejected.ndjson`, also with --dry-run and
    /// also if the run fails because too many lines were rejected. FILE is replaced.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) rejects: Option<PathBuf>,
    /// Use at most about SIZE of memory for events
    ///
    /// How much memory the run may use for its events, such as 512M or 4G; larger runs are sorted with temporary files.
    /// The result does not depend on it. The default is half of the machine's memory, but at most 4G.
    #[arg(long, value_name = "SIZE", value_parser = values::memory, help_heading = "Input")]
    pub(crate) memory: Option<u64>,
    #[command(flatten)]
    pub(crate) threads: ThreadsFlag,
    /// Rules for identity, filters and names
    ///
    /// A TOML file with the rules: limits, ranks and blocked values of identifiers, custom identifiers, filters, names
    /// of sources, tables to leave out. The default is `profiles-sync.toml` in the space, if it exists.
    #[arg(long, value_name = "FILE", help_heading = "Identity")]
    pub(crate) config: Option<PathBuf>,
    /// How to generate segment ids: ksuid or sequential
    ///
    /// `ksuid` derives the id from the event that created the profile. `sequential` counts `profile_1`, `profile_2` and
    /// so on, for examples and tests. Overrides the config, where the default is ksuid.
    #[arg(long, value_enum, value_name = "STYLE", hide_possible_values = true, help_heading = "Identity")]
    pub(crate) segment_ids: Option<SegmentIds>,
    /// Print the rules in force as TOML and exit
    ///
    /// Prints the rules in force as a commented TOML file on the standard output, defaults included, and reads no
    /// events. You can edit the output and pass it to --config.
    #[arg(long, help_heading = "Identity")]
    pub(crate) print_config: bool,
    /// The folder of the tables; created if missing
    ///
    /// The folder that holds the tables of one space, one NDJSON file each. It is created if it does not exist.
    #[arg(long, value_name = "DIR", required_unless_present = "print_config", help_heading = "Output")]
    pub(crate) space: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) compress: CompressFlag,
    /// Then build the views from the raw tables
    ///
    /// Runs `profiles-sync materialize --space DIR` after the events are committed.
    #[arg(long, conflicts_with = "dry_run", overrides_with = "no_materialize", help_heading = "Output")]
    pub(crate) materialize: bool,
    #[arg(long, hide = true, overrides_with = "materialize")]
    no_materialize: bool,
    /// Check that the space is as it was committed
    ///
    /// Reads no events and changes nothing. Compares the digests of all committed tables, checks that the tables follow
    /// the rules, and checks that the state cache matches the raw tables. Exits with 1 if there are problems and lists
    /// the first ones.
    #[arg(long, conflicts_with_all = ["events", "materialize", "dry_run", "print_config"], help_heading = "Output")]
    pub(crate) verify: bool,
    /// Print the counts, but write nothing
    ///
    /// Reads and resolves the events and prints the summary in half the time, but leaves the space unchanged.
    #[arg(long, help_heading = "Output")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) wait: WaitFlag,
    #[command(flatten)]
    pub(crate) messages: MessageFlags,
}

/// The values of `--segment-ids`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SegmentIds {
    Ksuid,
    Sequential,
}

impl From<SegmentIds> for SegmentIdStyle {
    fn from(typed: SegmentIds) -> Self {
        match typed {
            SegmentIds::Ksuid => Self::Ksuid,
            SegmentIds::Sequential => Self::Sequential,
        }
    }
}
