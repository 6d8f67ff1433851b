//! `materialize`: raw tables into views.

use anyhow::Result;
use profiles_sync::{
    files::Files,
    materialize::{MaterializeOptions, materialize},
};

use crate::{
    args::MaterializeArgs,
    commands::{on_threads, print_json},
    console::Console,
    exit::Exit,
    report,
};

/// Runs the subcommand.
pub(crate) fn run(args: &MaterializeArgs, console: &Console) -> Result<Exit> {
    let options = options(args);
    let summary = on_threads(args.threads, || materialize(&options, &Files::real(), console))??;
    if args.messages.json {
        print_json(&summary, console)?;
    } else {
        console.end_step();
        console.say(&report::materialized(&summary));
    }
    Ok(Exit::Done)
}

fn options(args: &MaterializeArgs) -> MaterializeOptions {
    let raw = args.space.clone().or_else(|| args.raw.clone());
    let out = args.out.clone().or_else(|| args.space.clone());
    MaterializeOptions {
        raw: raw.expect("clap requires --space or --raw"),
        space: args.space.is_some(),
        out: out.expect("clap requires --out with --raw"),
        views: args.views.clone(),
        as_of: args.as_of,
        partial: args.partial,
    }
}
