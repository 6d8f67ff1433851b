//! What was typed behind `ingest`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use profiles_sync::{config::rules::SegmentIdStyle, jobs::ingest::MaxRejects};

use super::shared::{Compress, Messages, Threads, Wait};
use crate::values;

const INGEST_HELP: &str = "\
Memory:
  Grows with the identifiers, profiles and traits that the run meets, plus what
  its events are out of order by, up to --memory.

Exit codes:
  0    did it
  1    did it; --verify found something wrong
  2    could not; the message says why
  129  interrupted by SIGHUP
  130  interrupted by Ctrl-C
  143  interrupted by SIGTERM
  Above 1 nothing was committed, unless the message says what was: with
  --materialize the events may be, and the views not yet made.

Examples:
  Everything a first look needs:
    profiles-sync ingest events.ndjson --space out --materialize
  From cron, silent unless something is wrong:
    profiles-sync ingest /dumps/today --space out --max-rejects 1% -q
  The rules, as a file to edit:
    profiles-sync ingest --print-config > rules.toml";

/// Read events, resolve identities, append to the raw tables
///
/// Reads events, resolves their identifiers to profiles, and appends what changed to the raw tables of a space. The
/// events of a run are resolved in the order in which they were received, whatever file they come from. Events and
/// files that were ingested before add nothing, so an old or overlapping dump may be read again.
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
#[expect(clippy::struct_excessive_bools, reason = "one for each switch, as typed")]
pub(crate) struct IngestArgs {
    /// Files and folders of events; `-` is stdin
    ///
    /// Files, folders, or `-` for the standard input. A file holds one JSON object a line, plain, gzip or zstd; its
    /// name does not matter. A folder is walked for `*.json`, `*.ndjson` and `*.jsonl`, plain or with `.gz` or `.zst`, and for
    /// every `.gz` below a folder `segment-logs`; hidden files and folders and other spaces are passed over.
    #[arg(
        required_unless_present_any = ["print_config", "verify"],
        value_name = "EVENTS",
        display_order = 0,
        help_heading = "Input"
    )]
    pub(crate) events: Vec<PathBuf>,
    /// Read inputs again that were ingested before
    ///
    /// Without this flag an input whose content was ingested before is skipped. With it, what the rules left out then and let in
    /// now is added, such as events of a drop rule that is gone; events that were accepted still add nothing, and lines that
    /// cannot be used are set aside once more.
    #[arg(long, conflicts_with = "verify", help_heading = "Input")]
    pub(crate) again: bool,
    /// Fail above N rejected lines, or P% of all; 5%
    ///
    /// Lines that cannot be used are set aside in `rejected.ndjson` with the reason, and the run goes on. If more than N
    /// lines are rejected, or more than P per cent of all events and rejected lines, the run fails and commits nothing. By
    /// default 5%, and never for 100 rejected lines or fewer. Overrides `max_rejects` in the config.
    #[arg(long, value_name = "N|P%", value_parser = values::max_rejects, help_heading = "Input")]
    pub(crate) max_rejects: Option<MaxRejects>,
    /// List the rejected lines in FILE, whatever happens
    ///
    /// Writes every rejected line to FILE with its reason, as `rejected.ndjson` of the space lists it, also with --dry-run and
    /// also if the run fails because there are too many. FILE is replaced.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) rejects: Option<PathBuf>,
    /// Hold at most about SIZE of events in memory
    ///
    /// How much memory the run may take for its events, such as 512M or 4G; larger runs are sorted in parts in temporary
    /// files. The result is the same. By default half of the machine's memory, at most 4G.
    #[arg(long, value_name = "SIZE", value_parser = values::memory, help_heading = "Input")]
    pub(crate) memory: Option<u64>,
    #[command(flatten)]
    pub(crate) threads: Threads,
    /// Rules of identity, filters and names
    ///
    /// A TOML file with the rules: limits, ranks and blocked values of identifiers, custom identifiers, filters, names
    /// of sources, tables to leave out. By default `profiles-sync.toml` in the space, where there is one.
    #[arg(long, value_name = "FILE", help_heading = "Identity")]
    pub(crate) config: Option<PathBuf>,
    /// How segment ids are made: ksuid or sequential
    ///
    /// `ksuid` derives them from the event that founded the profile; `sequential` counts, `profile_1`, `profile_2` and so on,
    /// for examples and tests. Overrides the config, where the default is ksuid.
    #[arg(long, value_enum, value_name = "STYLE", hide_possible_values = true, help_heading = "Identity")]
    pub(crate) segment_ids: Option<SegmentIds>,
    /// Print the rules in force as TOML and do nothing
    ///
    /// Prints the rules in force, defaults included and each explained, as a TOML file on the standard output, and reads no
    /// events. What it prints can be edited and given with --config.
    #[arg(long, help_heading = "Identity")]
    pub(crate) print_config: bool,
    /// The folder of the tables; made where it is missing
    ///
    /// The folder that holds the tables of one profiles space, one NDJSON file each. It is made where it is missing.
    #[arg(long, value_name = "DIR", required_unless_present = "print_config", help_heading = "Output")]
    pub(crate) space: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) compress: Compress,
    /// Then fold the raw tables into the views
    ///
    /// Does what `profiles-sync materialize --space DIR` does, once the events are committed.
    #[arg(long, conflicts_with = "dry_run", overrides_with = "no_materialize", help_heading = "Output")]
    pub(crate) materialize: bool,
    #[arg(long, hide = true, overrides_with = "materialize")]
    no_materialize: bool,
    /// Check that the space is as it was committed
    ///
    /// Reads no events and changes nothing: computes the digests of all committed tables anew, checks that the rules hold in
    /// them and that the state cache is what they give. Exits with 1 where something is wrong, the first differences named.
    #[arg(long, conflicts_with_all = ["events", "materialize", "dry_run", "print_config"], help_heading = "Output")]
    pub(crate) verify: bool,
    /// Count what would be written, and write nothing
    ///
    /// Reads, resolves and reports as if in earnest, in half the time, and leaves the space as it is.
    #[arg(long, help_heading = "Output")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) wait: Wait,
    #[command(flatten)]
    pub(crate) messages: Messages,
}

/// The styles of segment ids, as they are typed.
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
