//! What was typed, checked but not yet acted on. The help, the man page and the completions come from here too.

mod backfill;
mod diff;
mod materialize;

use std::{env, ffi::OsString, path::PathBuf};

use clap::{
    Args, ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind,
};
use profiles_sync::{
    identity::rules::{Compression, SegmentIdStyle},
    ingest::MaxRejects,
};

pub(crate) use self::{
    backfill::{BackfillArgs, BackfillWhat, EventsArgs, ProfilesArgs, RawArgs},
    diff::{DiffArgs, DiffFormat},
    materialize::MaterializeArgs,
};
use crate::values;

/// Everything that was typed.
#[derive(Debug)]
pub(crate) struct LowArgs {
    pub(crate) color: Colour,
    pub(crate) command: Command,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Command {
    Ingest(IngestArgs),
    Materialize(MaterializeArgs),
    Backfill(BackfillArgs),
    Diff(DiffArgs),
    Generate(Generate),
}

impl Command {
    /// The flags on messages, which every subcommand has.
    pub(crate) fn messages(&self) -> Messages {
        match self {
            Self::Ingest(args) => args.messages,
            Self::Materialize(args) => args.messages,
            Self::Backfill(args) => args.messages(),
            Self::Diff(args) => args.messages,
            Self::Generate(_) => Messages::default(),
        }
    }
}

impl Command {
    /// Whether the standard output gets data as the job goes.
    pub(crate) fn writes_data(&self) -> bool {
        match self {
            Self::Diff(args) => args.format() == DiffFormat::Ndjson,
            Self::Materialize(args) => args.tells(),
            _ => false,
        }
    }
}

/// Reads the arguments of this process.
pub(crate) fn parse() -> Result<LowArgs, clap::Error> {
    let typed: Vec<OsString> = env::args_os().collect();
    let mut command = command().color(match colour_typed(&typed) {
        Colour::Always => ColorChoice::Always,
        Colour::Never => ColorChoice::Never,
        Colour::Auto => ColorChoice::Auto,
    });
    let program = Program::from_arg_matches(&command.try_get_matches_from_mut(typed)?)?;
    match (program.generate, program.subcommand) {
        (Some(kind), None) => Ok(LowArgs { color: program.color, command: Command::Generate(kind) }),
        (None, Some(SubcommandArgs::Ingest(args))) => {
            Ok(LowArgs { color: program.color, command: Command::Ingest(args) })
        }
        (None, Some(SubcommandArgs::Materialize(args))) if args.tells() && args.messages.json => {
            let message = "--changes - and --json both print on the standard output; give --changes a file";
            Err(command.error(ErrorKind::ArgumentConflict, message))
        }
        (None, Some(SubcommandArgs::Materialize(args))) => {
            Ok(LowArgs { color: program.color, command: Command::Materialize(args) })
        }
        (None, Some(SubcommandArgs::Backfill(args))) => {
            Ok(LowArgs { color: program.color, command: Command::Backfill(args) })
        }
        (None, Some(SubcommandArgs::Diff(args))) => {
            Ok(LowArgs { color: program.color, command: Command::Diff(args) })
        }
        (Some(_), Some(_)) => {
            Err(command.error(ErrorKind::ArgumentConflict, "--generate stands without a subcommand"))
        }
        (None, None) => Err(command.error(ErrorKind::MissingSubcommand, "a subcommand is missing")),
    }
}

/// The description of all arguments.
pub(crate) fn command() -> clap::Command {
    with_negative_numbers(Program::command())
}

/// What follows a flag and looks like -1 is its value, so that the flag says what it takes.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let takes_value = |arg: &clap::Arg| !arg.is_positional() && arg.get_action().takes_values();
    command
        .mut_args(|arg| if takes_value(&arg) { arg.allow_negative_numbers(true) } else { arg })
        .mut_subcommands(with_negative_numbers)
}

/// Which colours the parser's own messages have, before there is a parse.
fn colour_typed(typed: &[OsString]) -> Colour {
    let mut colour = Colour::Auto;
    for (at, argument) in typed.iter().enumerate() {
        let value = match argument.to_str() {
            Some("--color") => typed.get(at + 1).and_then(|value| value.to_str()),
            Some(argument) => argument.strip_prefix("--color="),
            None => None,
        };
        if let Some(value) = value.and_then(|value| Colour::from_str(value, false).ok()) {
            colour = value;
        }
    }
    colour
}

const PROGRAM_HELP: &str = "\
Exit codes:
  0    did it
  1    did it; the answer is no
  2    could not; the message says why
  129  interrupted by SIGHUP
  130  interrupted by Ctrl-C
  143  interrupted by SIGTERM
  Above 1 nothing was committed, unless the message says what was: with
  --materialize the events may be, and the views not yet made.

Examples:
  profiles-sync ingest events.ndjson --space out --materialize
  profiles-sync materialize --space out --as-of 2026-01-01";

/// Resolve dumps of customer events into the tables of Segment's Profiles Sync
///
/// Reads dumps of events in Segment's format (identify, track, page, screen, group, alias; one JSON object a line),
/// decides which identifiers belong to one profile, and writes the raw tables and the views of Segment's Profiles
/// Sync as NDJSON files, one per table, into one folder: a space.
#[derive(Debug, Parser)]
#[command(
    name = "profiles-sync",
    version,
    max_term_width = 80,
    arg_required_else_help = true,
    args_override_self = true,
    after_long_help = PROGRAM_HELP,
    disable_help_subcommand = true
)]
struct Program {
    #[command(subcommand)]
    subcommand: Option<SubcommandArgs>,
    /// Write the man page or shell completions to stdout
    ///
    /// Writes the man page, or the completions of a shell, to the standard output: man, bash, zsh or fish. Stands
    /// without a subcommand.
    #[arg(long, value_enum, value_name = "KIND", hide_possible_values = true, help_heading = "Messages")]
    generate: Option<Generate>,
    /// Colour messages: auto, always or never
    ///
    /// `auto` colours where messages go to a terminal and the environment variable `NO_COLOR` is not set. Nothing needs
    /// colour to be understood.
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value_t = Colour::Auto,
        global = true,
        hide_possible_values = true,
        hide_default_value = true,
        help_heading = "Messages"
    )]
    color: Colour,
}

#[derive(Debug, Subcommand)]
enum SubcommandArgs {
    Ingest(IngestArgs),
    Materialize(MaterializeArgs),
    Backfill(BackfillArgs),
    Diff(DiffArgs),
}

const INGEST_HELP: &str = "\
Memory:
  Grows with the identifiers, profiles and traits of the space, plus what the
  events of the run are out of order by, up to --memory.

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
    args_override_self = true
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
    /// Fail above N rejected lines, or P% of all lines
    ///
    /// Lines that cannot be used are set aside in `rejected.ndjson` with the reason, and the run goes on. With this
    /// flag a run that rejects more than N lines, or more than P per cent of the lines that are not blank, fails and
    /// commits nothing.
    #[arg(long, value_name = "N|P%", value_parser = values::max_rejects, help_heading = "Input")]
    pub(crate) max_rejects: Option<MaxRejects>,
    /// Hold at most about SIZE of events in memory
    ///
    /// How much memory the run may take for its events, such as 512M or 4G; larger runs are sorted in parts in temporary
    /// files. The result is the same. By default half of the machine's memory, at most 4G.
    #[arg(long, value_name = "SIZE", value_parser = values::memory, help_heading = "Input")]
    pub(crate) memory: Option<u64>,
    /// Work on N threads, by default on all cores
    ///
    /// How many threads read, parse and write. The result is the same with any number. By default one per core.
    #[arg(long, value_name = "N", value_parser = values::threads, help_heading = "Input")]
    pub(crate) threads: Option<usize>,
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
    /// How a new space stores its tables: none or zstd
    ///
    /// With `zstd` the tables of a new space, views too, stand packed as `TABLE.ndjson.zst`; by default, or with `none`,
    /// plain as `TABLE.ndjson`. A space stays with what its first run was given, so that later runs need not be told.
    /// Overrides the config.
    #[arg(long, value_enum, value_name = "HOW", hide_possible_values = true, help_heading = "Output")]
    pub(crate) compress: Option<Compress>,
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
    /// Wait so long for another run on the space to end
    ///
    /// One run at a time may write to a space. By default a second one fails at once; with this flag it waits so many
    /// seconds for the first to end.
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = values::seconds,
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "Output"
    )]
    pub(crate) wait: u64,
    #[command(flatten)]
    pub(crate) messages: Messages,
}

/// What is said, and in which form.
#[derive(Debug, Clone, Copy, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch, as typed")]
pub(crate) struct Messages {
    /// Print the summary as one JSON object on stdout
    ///
    /// Prints the summary as one JSON object on the standard output, instead of the one for people on the standard error.
    #[arg(long, overrides_with = "no_json", help_heading = "Messages")]
    pub(crate) json: bool,
    #[arg(long, hide = true, overrides_with = "json")]
    no_json: bool,
    /// Say nothing when all goes well
    ///
    /// Prints neither progress nor notices nor, when all goes well, the summary for people. Errors and what is found wrong are
    /// printed, and warnings that there was nothing to ingest; --json still prints its object.
    #[arg(short, long, overrides_with = "no_quiet", help_heading = "Messages")]
    pub(crate) quiet: bool,
    #[arg(long, hide = true, overrides_with = "quiet")]
    no_quiet: bool,
}

/// When messages are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    Auto,
    Always,
    Never,
}

/// What `--generate` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Generate {
    Man,
    Bash,
    Zsh,
    Fish,
}

/// The styles of segment ids, as they are typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SegmentIds {
    Ksuid,
    Sequential,
}

/// How the tables of a space are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compress {
    None,
    Zstd,
}

impl From<Compress> for Compression {
    fn from(compress: Compress) -> Self {
        match compress {
            Compress::None => Self::None,
            Compress::Zstd => Self::Zstd,
        }
    }
}

impl From<SegmentIds> for SegmentIdStyle {
    fn from(typed: SegmentIds) -> Self {
        match typed {
            SegmentIds::Ksuid => Self::Ksuid,
            SegmentIds::Sequential => Self::Sequential,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_holds_together() {
        command().debug_assert();
    }
}
