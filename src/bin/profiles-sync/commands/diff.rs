//! `diff`: compares two sets of tables.

use std::io::{self, Write};

use anyhow::Result;
use profiles_sync::{
    diff::{DiffOptions, Sizes, diff, fail_on::fails},
    error::Error,
    files::Files,
};

use crate::{
    args::{DiffArgs, DiffFormat},
    commands::{interruptible, on_threads},
    console::Console,
    exit::Exit,
    report::{
        self,
        diff::{json, markdown, people},
    },
};

/// At most this many unreadable lines are reported in full.
const NAMED: usize = 10;

/// Runs the subcommand.
pub(crate) fn run(args: &DiffArgs, console: &Console) -> Result<Exit> {
    let options = options(args);
    let files = Files::real();
    let comparison = on_threads(args.threads.given(), || -> Result<_, Error> {
        let mut out = io::BufWriter::with_capacity(1 << 16, ChangesToStdout(console));
        let comparison = diff(&options, &files, console, &mut out)?;
        out.flush().map_err(|e| Error::io("write to", "the standard output", e))?;
        Ok(comparison)
    })?;
    let comparison = interruptible(comparison, "interrupted")?;
    console.end_step();
    let unreadable: Vec<_> = comparison.tables.iter().flat_map(|table| &table.malformed_lines).collect();
    let exit = if !unreadable.is_empty() {
        Exit::Failed
    } else if fails(&comparison, &args.fail_on) {
        Exit::No
    } else {
        Exit::Done
    };
    let examples = !args.only_summary;
    match args.format() {
        DiffFormat::Ndjson => {}
        DiffFormat::Json => {
            console.data("the report", &report::json(&json::summary(&comparison, examples))?)?;
        }
        // With `--quiet` the report is printed only if there is something to report.
        _ if args.messages.quiet && exit == Exit::Done => {}
        DiffFormat::Markdown => {
            console.data("the report", markdown::write(&comparison, examples).as_bytes())?;
        }
        DiffFormat::People => {
            let style = people::Style { colour: console.colours_data(), examples };
            console.data("the report", people::write(&comparison, style).as_bytes())?;
        }
    }
    for line in unreadable.iter().take(NAMED) {
        console.error(
            &format!("{}:{}: the line {}", line.file, line.line, line.message),
            Some("fix or remove the line; all other lines were compared"),
        );
    }
    if NAMED < unreadable.len() {
        console.error(&format!("{} more lines could not be read", unreadable.len() - NAMED), None);
    }
    Ok(exit)
}

fn options(args: &DiffArgs) -> DiffOptions {
    let every = match args.format() {
        DiffFormat::Ndjson if args.only_summary => 0,
        DiffFormat::Ndjson => args.limit.unwrap_or(u64::MAX),
        _ => 0,
    };
    let limit = match args.format() {
        DiffFormat::Ndjson => 0,
        _ if args.only_summary => 0,
        _ => args.limit.unwrap_or(3),
    };
    DiffOptions {
        old: args.old.clone(),
        new: args.new.clone(),
        key: args.key.clone(),
        tables: args.tables.clone(),
        ignore_columns: args.ignore_columns.clone(),
        ids: args.ids.into(),
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        every,
        memory: args.memory,
        sizes: Sizes::default(),
    }
}

/// Writes changes to the standard output while tables are compared.
struct ChangesToStdout<'a>(&'a Console);

impl Write for ChangesToStdout<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_if_read(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
