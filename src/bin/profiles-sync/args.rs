//! Command-line arguments, parsed and checked. The help, the man page and the completions are generated from them.

mod backfill;
mod diff;
mod explain;
mod ingest;
mod materialize;
mod schema;
mod shared;

use std::{env, ffi::OsString, path::Path};

use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind};

use profiles_sync::{escape::escaped, jobs::verify::Verified};

use crate::record::Summary;

pub(crate) use self::{
    backfill::{BackfillArgs, BackfillCommand, EventsArgs, ProfilesArgs, RawArgs},
    diff::{DiffArgs, DiffFormat},
    explain::{ExplainArgs, ExplainFormat},
    ingest::IngestArgs,
    materialize::MaterializeArgs,
    schema::{SchemaArgs, SchemaFormat},
    shared::MessageFlags,
};

/// The parsed command line.
#[derive(Debug)]
pub(crate) struct LowArgs {
    pub(crate) color: Colour,
    pub(crate) command: Command,
}

/// A subcommand with its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Ingest(IngestArgs),
    Materialize(MaterializeArgs),
    Backfill(BackfillArgs),
    Diff(DiffArgs),
    Explain(ExplainArgs),
    Schema(SchemaArgs),
    #[command(skip)]
    Generate(Generate),
}

impl Command {
    /// Returns the message flags, which every subcommand has.
    pub(crate) fn messages(&self) -> MessageFlags {
        match self {
            Self::Ingest(args) => args.messages,
            Self::Materialize(args) => args.messages,
            Self::Backfill(args) => args.messages(),
            Self::Diff(args) => args.messages,
            Self::Explain(args) => args.messages,
            Self::Schema(args) => args.messages,
            Self::Generate(_) => MessageFlags::default(),
        }
    }

    /// Returns the words that select this subcommand, such as `backfill raw`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ingest(_) => "ingest",
            Self::Materialize(_) => "materialize",
            Self::Backfill(args) => args.name(),
            Self::Diff(_) => "diff",
            Self::Explain(_) => "explain",
            Self::Schema(_) => "schema",
            Self::Generate(_) => "",
        }
    }

    /// Returns the space that the subcommand works on.
    pub(crate) fn space(&self) -> Option<&Path> {
        match self {
            Self::Ingest(args) => args.space.as_deref(),
            Self::Materialize(args) => args.space.as_deref(),
            Self::Backfill(args) => Some(&args.target().space),
            Self::Explain(args) => Some(&args.space),
            Self::Schema(args) => Some(&args.space),
            Self::Diff(_) | Self::Generate(_) => None,
        }
    }

    /// Returns whether the run changes its space and belongs in the run log.
    pub(crate) fn is_logged(&self) -> bool {
        match self {
            Self::Ingest(args) => !args.dry_run && !args.verify && !args.print_config,
            Self::Materialize(args) => args.out.is_none(),
            Self::Backfill(args) => !args.target().dry_run,
            Self::Diff(_) | Self::Explain(_) | Self::Schema(_) | Self::Generate(_) => false,
        }
    }

    /// Returns the summary to print if the run fails at once.
    pub(crate) fn empty_summary(&self) -> Summary {
        match self {
            Self::Ingest(args) if args.verify => Summary::Verified(Verified::default()),
            Self::Ingest(args) if args.materialize => {
                Summary::IngestAndViews { ingest: Box::default(), materialize: None }
            }
            _ => Summary::empty(self.name()),
        }
    }

    /// Returns whether to print the `--json` object. `diff` and `--print-config` print their own output instead, unless
    /// they failed.
    pub(crate) fn prints_object(&self, failed: bool) -> bool {
        let has_its_own = match self {
            Self::Ingest(args) => args.print_config,
            Self::Diff(_) | Self::Explain(_) | Self::Schema(_) | Self::Generate(_) => true,
            _ => false,
        };
        let wanted = match self {
            Self::Diff(args) => args.format() == DiffFormat::Json,
            Self::Explain(args) => args.format() == ExplainFormat::Json,
            Self::Schema(args) => args.format() == SchemaFormat::Json,
            _ => self.messages().json,
        };
        wanted && (failed || !has_its_own)
    }

    /// Returns whether data is written to the standard output while the job runs.
    pub(crate) fn streams_data(&self) -> bool {
        match self {
            Self::Diff(args) => args.format() == DiffFormat::Ndjson,
            Self::Schema(_) => true,
            Self::Materialize(args) => args.changes_to_stdout(),
            _ => false,
        }
    }
}

/// Parses the arguments of this process.
pub(crate) fn parse() -> Result<LowArgs, clap::Error> {
    let typed: Vec<OsString> = env::args_os().collect();
    // An argument may hold a file name that somebody else chose, so the parser's errors show it escaped.
    let shown = typed.iter().map(|word| escaped(&word.to_string_lossy()).into_owned().into()).collect();
    let is_safe = typed == shown;
    parse_words(typed).map_err(
        |error| {
            if is_safe { error } else { parse_words(shown).err().unwrap_or(error) }
        },
    )
}

fn parse_words(typed: Vec<OsString>) -> Result<LowArgs, clap::Error> {
    let mut command = command().color(match colour_typed(&typed) {
        Colour::Always => ColorChoice::Always,
        Colour::Never => ColorChoice::Never,
        Colour::Auto => ColorChoice::Auto,
    });
    let program = Program::from_arg_matches(&command.try_get_matches_from_mut(typed)?)?;
    let what = match (program.generate, program.subcommand) {
        (Some(kind), None) => Command::Generate(kind),
        (None, Some(what)) => what,
        (Some(_), Some(_)) => {
            let message = "--generate takes no subcommand";
            return Err(command.error(ErrorKind::ArgumentConflict, message));
        }
        (None, None) => return Err(command.error(ErrorKind::MissingSubcommand, "a subcommand is missing")),
    };
    if let Command::Materialize(args) = &what
        && args.changes_to_stdout()
        && args.messages.json
    {
        let message = "--changes - and --json both write to the standard output; give --changes a file";
        return Err(command.error(ErrorKind::ArgumentConflict, message));
    }
    Ok(LowArgs { color: program.color, command: what })
}

/// Returns the description of all arguments.
pub(crate) fn command() -> clap::Command {
    with_negative_numbers(Program::command())
}

/// Accepts values such as `-1`, so that the error explains what the flag takes instead of rejecting `-1` as a flag.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let takes_value = |arg: &clap::Arg| !arg.is_positional() && arg.get_action().takes_values();
    command
        .mut_args(|arg| if takes_value(&arg) { arg.allow_negative_numbers(true) } else { arg })
        .mut_subcommands(with_negative_numbers)
}

/// Finds `--color` before parsing, because the parser's own messages need it.
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
  0    success
  1    success, but --verify found problems or diff found differences
  2    failure; the error says why
  129  interrupted by SIGHUP
  130  interrupted by Ctrl-C
  143  interrupted by SIGTERM
  Above 1 nothing was committed, unless the error lists what was: with
  --materialize the events may be committed and the views still be old.

Examples:
  profiles-sync ingest events.ndjson --space out --materialize
  profiles-sync materialize --space out --as-of 2026-01-01 --out out/then";

/// Resolve dumps of customer events into the tables of Segment's Profiles Sync
///
/// Reads dumps of events in Segment's format (identify, track, page, screen, group, alias; one JSON object per line),
/// resolves which identifiers belong to the same profile, and writes the raw tables and views of Segment's Profiles
/// Sync as NDJSON files, one per table. The folder that holds them is a space.
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
    subcommand: Option<Command>,
    /// Write the man page or shell completions to stdout
    ///
    /// Writes the man page (man) or the completions of a shell (bash, zsh, fish) to the standard output. Takes no
    /// subcommand.
    #[arg(long, value_enum, value_name = "KIND", hide_possible_values = true, help_heading = "Messages")]
    generate: Option<Generate>,
    /// Colour messages: auto, always or never
    ///
    /// `auto` uses colour if messages go to a terminal and the environment variable `NO_COLOR` is not set. No message
    /// depends on colour to be understood.
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

/// When to colour messages.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_holds_together() {
        command().debug_assert();
    }
}
