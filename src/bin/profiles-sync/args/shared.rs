//! Flags that several subcommands share.

use clap::{Args, ValueEnum};
use profiles_sync::config::rules::Compression;

use crate::values;

/// What to print, and in which format.
#[derive(Debug, Clone, Copy, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each flag is a field")]
pub(crate) struct MessageFlags {
    /// Print the summary as one JSON object on stdout
    ///
    /// Prints the summary as one JSON object on the standard output instead of as text, also if the run fails.
    #[arg(long, overrides_with = "no_json", help_heading = "Messages")]
    pub(crate) json: bool,
    #[arg(long, hide = true, overrides_with = "json")]
    no_json: bool,
    /// Print only warnings and errors
    ///
    /// Prints no progress, no notices and, after a success, no summary. Errors, warnings and the problems that --verify
    /// finds are still printed. Examples of warnings: a run that ingested nothing, a changed config, or 0.1 % or more
    /// of rejected or late events. --json still prints its object.
    #[arg(short, long, overrides_with = "no_quiet", help_heading = "Messages")]
    pub(crate) quiet: bool,
    #[arg(long, hide = true, overrides_with = "quiet")]
    no_quiet: bool,
}

/// How many threads to use.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ThreadsFlag {
    /// Use N threads; one per core by default
    ///
    /// The number of threads. The result does not depend on it. The default is one per core.
    #[arg(long, value_name = "N", value_parser = values::threads, help_heading = "Input")]
    threads: Option<usize>,
}

impl ThreadsFlag {
    /// Returns the number of threads from the command line.
    pub(crate) fn given(self) -> Option<usize> {
        self.threads
    }
}

/// How long to wait for another run.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct WaitFlag {
    /// Wait up to SECONDS for another run on the space
    ///
    /// Only one run at a time may write to a space or build its views. By default a second run fails at once; with this
    /// flag it waits up to this many seconds for the first to end.
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = values::seconds,
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "Output"
    )]
    wait: u64,
}

impl WaitFlag {
    /// Returns the seconds to wait, 0 by default.
    pub(crate) fn seconds(self) -> u64 {
        self.wait
    }
}

/// How to store tables.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct CompressFlag {
    /// How a new space stores its tables: none or zstd
    ///
    /// With `zstd` the tables and views of a new space are compressed, as `TABLE.ndjson.zst`. With `none`, the default,
    /// they are plain, as `TABLE.ndjson`. A space keeps the choice of its first run, so later runs do not need this
    /// flag. Overrides the config.
    #[arg(long, value_enum, value_name = "HOW", hide_possible_values = true, help_heading = "Output")]
    compress: Option<CompressValue>,
}

impl CompressFlag {
    /// Returns the value from the command line.
    pub(crate) fn given(self) -> Option<Compression> {
        self.compress.map(Into::into)
    }
}

/// The values of `--compress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompressValue {
    None,
    Zstd,
}

impl From<CompressValue> for Compression {
    fn from(typed: CompressValue) -> Self {
        match typed {
            CompressValue::None => Self::None,
            CompressValue::Zstd => Self::Zstd,
        }
    }
}
