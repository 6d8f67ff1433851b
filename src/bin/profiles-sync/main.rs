//! The program `profiles-sync`: parses the arguments, calls the library once, and returns an exit code.

mod args;
mod commands;
mod console;
mod exit;
mod explain;
mod numbers;
mod record;
mod report;
mod signals;
mod usage;
mod values;

use std::process::ExitCode;

use anyhow::Context;
use profiles_sync::progress::Progress;

use crate::{
    args::{Command, LowArgs},
    console::Console,
    exit::{Exit, Failure, chain},
    record::JsonRecord,
};

/// An allocator that asks the system for large pages, as configured in `.cargo/config.toml`.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match args::parse() {
        Ok(args) => run(&args).code(),
        Err(error) => usage::report(&error).code(),
    }
}

fn run(args: &LowArgs) -> Exit {
    let console = Console::new(args);
    let mut record = JsonRecord::of(&args.command);
    let done = match &args.command {
        Command::Ingest(command) => commands::ingest::run(command, &console, &mut record),
        Command::Materialize(command) => commands::materialize::run(command, &console, &mut record),
        Command::Backfill(command) => commands::backfill::run(command, &console, &mut record),
        Command::Diff(command) => commands::diff::run(command, &console),
        Command::Explain(command) => commands::explain::run(command, &console),
        Command::Schema(command) => commands::schema::run(command, &console),
        Command::Generate(kind) => commands::generate::run(*kind, &console),
    };
    let (exit, failure) = match done {
        Ok(exit) => (exit, None),
        Err(error) => {
            let (exit, failure) = Failure::of(&error);
            console.error(&failure.error, failure.hint.as_deref());
            (exit, Some(failure))
        }
    };
    finish(args, &console, &mut record, exit, failure.as_ref())
}

/// Writes the machine-readable output: the line in the run log and the `--json` object.
fn finish(
    args: &LowArgs,
    console: &Console,
    record: &mut JsonRecord,
    exit: Exit,
    failure: Option<&Failure>,
) -> Exit {
    let written =
        record.line(console.warnings(), failure).context("could not write the summary").and_then(|line| {
            // If the run failed, the space may not be writable, which the run's error has already reported.
            if let Err(error) = record.log(&line)
                && failure.is_none()
            {
                console.warning(&format!(
                    "the run succeeded, but could not be added to the run log: {}",
                    chain(&error.into())
                ));
            }
            if args.command.prints_object(failure.is_some()) {
                console.data("the summary", &line).context("the run succeeded")?;
            }
            Ok(())
        });
    match written {
        Ok(()) => exit,
        Err(error) => {
            let (failed, failure) = Failure::of(&error);
            console.error(&failure.error, failure.hint.as_deref());
            if exit == Exit::Done { failed } else { exit }
        }
    }
}
