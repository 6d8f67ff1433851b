//! Flags that several subcommands have.

use clap::{Args, ValueEnum};
use profiles_sync::config::rules::Compression;

use crate::values;

/// What is said, and in which form.
#[derive(Debug, Clone, Copy, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch, as typed")]
pub(crate) struct Messages {
    /// Print the summary as one JSON object on stdout
    ///
    /// Prints the summary as one JSON object on the standard output, instead of the one for people; also if the run fails.
    #[arg(long, overrides_with = "no_json", help_heading = "Messages")]
    pub(crate) json: bool,
    #[arg(long, hide = true, overrides_with = "json")]
    no_json: bool,
    /// Print only warnings and errors
    ///
    /// Prints neither progress nor notices nor, when all goes well, the summary for people. Errors, warnings and what is found
    /// wrong are printed, such as a run that ingested nothing, a changed config, or rejected or late events from 0.1 % of
    /// all on; --json still prints its object.
    #[arg(short, long, overrides_with = "no_quiet", help_heading = "Messages")]
    pub(crate) quiet: bool,
    #[arg(long, hide = true, overrides_with = "quiet")]
    no_quiet: bool,
}

/// On how many cores to work.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Threads {
    /// Work on N threads, by default on all cores
    ///
    /// How many threads work. The result is the same with any number. By default one per core.
    #[arg(long, value_name = "N", value_parser = values::threads, help_heading = "Input")]
    threads: Option<usize>,
}

impl Threads {
    /// How many were given.
    pub(crate) fn given(self) -> Option<usize> {
        self.threads
    }
}

/// Whether to wait for another run.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Wait {
    /// Wait so long for another run on the space to end
    ///
    /// One run at a time may write to a space, or make its views. By default a second one fails at once; with this flag it
    /// waits so many seconds for the first to end.
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

impl Wait {
    /// For how long.
    pub(crate) fn seconds(self) -> u64 {
        self.wait
    }
}

/// How tables are stored.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Compress {
    /// How a new space stores its tables: none or zstd
    ///
    /// With `zstd` the tables of a new space, views too, stand packed as `TABLE.ndjson.zst`; by default, or with `none`,
    /// plain as `TABLE.ndjson`. A space stays with what its first run was given, so that later runs need not be told.
    /// Overrides the config.
    #[arg(long, value_enum, value_name = "HOW", hide_possible_values = true, help_heading = "Output")]
    compress: Option<Storing>,
}

impl Compress {
    /// What was given.
    pub(crate) fn given(self) -> Option<Compression> {
        self.compress.map(Into::into)
    }
}

/// How the tables of a space are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Storing {
    None,
    Zstd,
}

impl From<Storing> for Compression {
    fn from(typed: Storing) -> Self {
        match typed {
            Storing::None => Self::None,
            Storing::Zstd => Self::Zstd,
        }
    }
}
