//! What was typed after `explain`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::shared::{MessageFlags, ThreadsFlag};
use crate::values;

const EXPLAIN_HELP: &str = "\
Memory:
  Of one or two identifiers, that of their profiles. Of all profiles, about
  200 bytes an identifier; about 50 a profile if the state is missing.

Exit codes:
  0    answered
  1    nobody has an identifier that was given; the nearest ones are suggested
  2    could not; the message says why
  129  interrupted by SIGHUP
  130  interrupted by Ctrl-C
  143  interrupted by SIGTERM

Examples:
  Why are these two addresses one person, or why not?
    profiles-sync explain email:a@example.com email:b@example.com --space out
  Who is this, and how did the profile come to be?
    profiles-sync explain user_id:u42 --space out
  Is anything wrong with the profiles?
    profiles-sync explain --space out";

/// Explain why identifiers are one profile, or not
///
/// With two identifiers: the events that lead from one to the other if they are one profile, else every reason why they are
/// not. With one: its profile and its history. With none: how healthy the profiles of the space are. Reads the tables of the
/// space and changes nothing.
#[derive(Debug, Args)]
#[command(after_long_help = EXPLAIN_HELP, args_override_self = true, next_display_order = 2)]
pub(crate) struct ExplainArgs {
    /// None, one or two: a segment id, TYPE:VALUE or a value
    ///
    /// What to explain: a segment id, an identifier such as `email:jane@example.com`, or a value alone, which is looked for in
    /// all types. A segment id stands for the first identifier of the event that founded it.
    #[arg(value_name = "ID", num_args = 0..=2, display_order = 0, help_heading = "Input")]
    pub(crate) ids: Vec<String>,
    /// The folder of the space
    ///
    /// The folder that holds the tables.
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    pub(crate) space: PathBuf,
    /// As it was at this time
    ///
    /// Only what was there at this time, by the clock of the space (`uuid_ts`).
    #[arg(long, value_name = "TIME", value_parser = values::as_of, help_heading = "Input")]
    pub(crate) as_of: Option<i64>,
    #[command(flatten)]
    pub(crate) threads: ThreadsFlag,
    /// text, json, mermaid, dot, svg or html
    ///
    /// `text` is for reading; `json` is one object; `mermaid`, `dot` and `svg` are pictures; `html` is one page that needs no
    /// network, with the picture and the history. `--json` is `--format json`.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = ExplainFormat::Text)]
    #[arg(hide_possible_values = true, hide_default_value = true, help_heading = "Output")]
    format: ExplainFormat,
    /// Write to FILE
    ///
    /// Writes the explanation to FILE, which is replaced, and not to the standard output.
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) messages: MessageFlags,
}

impl ExplainArgs {
    /// The format, by either flag.
    pub(crate) fn format(&self) -> ExplainFormat {
        if self.messages.json { ExplainFormat::Json } else { self.format }
    }
}

/// How an explanation is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainFormat {
    Text,
    Json,
    Mermaid,
    Dot,
    Svg,
    Html,
}
