//! The program `profiles-sync`: arguments in, one call of the library, an exit code out.

mod args;
mod commands;
mod console;
mod exit;
mod report;
mod signals;
mod values;

use std::process::ExitCode;

use crate::{
    args::{Command, LowArgs},
    console::Console,
    exit::Exit,
};

/// Asks the system for large pages, as `.cargo/config.toml` says.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match args::parse() {
        Ok(args) => run(&args).code(),
        Err(error) => Exit::of_usage(&error).code(),
    }
}

fn run(args: &LowArgs) -> Exit {
    let console = Console::new(args);
    let done = match &args.command {
        Command::Ingest(command) => commands::ingest::run(command, &console),
        Command::Materialize(command) => commands::materialize::run(command, &console),
        Command::Backfill(command) => commands::backfill::run(command, &console),
        Command::Diff(command) => commands::diff::run(command, &console),
        Command::Generate(kind) => commands::generate::run(*kind, &console),
    };
    match done {
        Ok(exit) => exit,
        Err(error) => Exit::of_error(&error, &console),
    }
}
