//! `materialize`: builds the views from the raw tables.

use std::{
    io::{self, Write},
    path::Path,
};

use anyhow::Result;
use profiles_sync::{
    files::Files,
    jobs::materialize::{MaterializeOptions, materialize, materialize_with_changes},
};

use crate::{
    args::MaterializeArgs,
    commands::{interruptible, on_threads},
    console::Console,
    exit::Exit,
    record::{JsonRecord, Summary},
    report,
};

/// Runs the subcommand.
pub(crate) fn run(args: &MaterializeArgs, console: &Console, record: &mut JsonRecord) -> Result<Exit> {
    let options = options(args);
    let files = Files::real();
    let summary = on_threads(args.threads.given(), || {
        if args.changes_to_stdout() {
            materialize_with_changes(&options, &files, console, &mut ViewChangesToStdout(console))
        } else {
            materialize(&options, &files, console)
        }
    })?;
    let summary = interruptible(summary, "interrupted; the views are unchanged")?;
    console.end_step();
    if !args.messages.json {
        console.report(&report::materialized(&summary));
    }
    record.summary = Summary::Materialize(summary);
    Ok(Exit::Done)
}

fn options(args: &MaterializeArgs) -> MaterializeOptions {
    let raw = args.space.as_ref().or(args.raw.as_ref()).expect("clap requires --space or --raw");
    let out = args.out.as_ref().or(args.space.as_ref()).expect("clap requires --out with --raw");
    MaterializeOptions {
        space: args.space.is_some(),
        views: args.views.clone(),
        as_of: args.as_of,
        partial: args.partial,
        config: args.config.clone(),
        full: args.full,
        memory: args.memory,
        changes: args.changes.clone().filter(|path| path != Path::new("-")),
        wait: args.wait.seconds(),
        ..MaterializeOptions::of_export(raw, out)
    }
}

/// Writes changes to the standard output. A consumer needs all changes, so a closed pipe is an error that ends the run.
struct ViewChangesToStdout<'a>(&'a Console);

impl Write for ViewChangesToStdout<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
