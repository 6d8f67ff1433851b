//! `backfill`: what a team already has, taken into a space.

use anyhow::Result;
use profiles_sync::{
    backfill::{ProfilesOptions, profiles},
    files::Files,
};

use crate::{
    args::{BackfillArgs, BackfillWhat, ProfilesArgs},
    commands::{on_threads, print_json},
    console::Console,
    exit::Exit,
    report,
};

/// Runs the subcommand.
pub(crate) fn run(args: &BackfillArgs, console: &Console) -> Result<Exit> {
    match &args.what {
        BackfillWhat::Profiles(args) => run_profiles(args, console),
    }
}

fn run_profiles(args: &ProfilesArgs, console: &Console) -> Result<Exit> {
    let options = ProfilesOptions {
        state: args.state.clone(),
        space: args.target.space.clone(),
        strict: args.strict,
        dry_run: args.target.dry_run,
        wait: args.target.wait,
    };
    let summary = on_threads(args.target.threads, || profiles(&options, &Files::real(), console))??;
    if args.messages.json {
        print_json(&summary, console)?;
    } else {
        console.end_step();
        console.say(&report::backfill::profiles(&summary, &options));
    }
    Ok(Exit::Done)
}
