//! `backfill`: what a team already has, taken into a space.

use anyhow::Result;
use profiles_sync::{
    backfill::{
        ProfilesOptions,
        events::{EventsOptions, events},
        profiles,
        raw::{RawOptions, raw},
    },
    files::Files,
};

use crate::{
    args::{BackfillArgs, BackfillWhat, EventsArgs, ProfilesArgs, RawArgs},
    commands::{on_threads, print_json},
    console::Console,
    exit::Exit,
    report,
};

/// Runs the subcommand.
pub(crate) fn run(args: &BackfillArgs, console: &Console) -> Result<Exit> {
    match &args.what {
        BackfillWhat::Profiles(args) => run_profiles(args, console),
        BackfillWhat::Events(args) => run_events(args, console),
        BackfillWhat::Raw(args) => run_raw(args, console),
    }
}

fn run_profiles(args: &ProfilesArgs, console: &Console) -> Result<Exit> {
    let options = ProfilesOptions {
        state: args.state.clone(),
        space: args.target.space.clone(),
        compress: args.target.compress.given(),
        strict: args.strict,
        dry_run: args.target.dry_run,
        wait: args.target.wait.seconds(),
    };
    let summary = on_threads(args.target.threads.given(), || profiles(&options, &Files::real(), console))??;
    if args.messages.json {
        print_json(&summary, console)?;
    } else {
        console.end_step();
        console.say(&report::backfill::profiles(&summary, &options));
    }
    Ok(Exit::Done)
}

fn run_events(args: &EventsArgs, console: &Console) -> Result<Exit> {
    let options = EventsOptions {
        inputs: args.dumps.clone(),
        space: args.target.space.clone(),
        config: args.config.clone(),
        compress: args.target.compress.given(),
        since: args.since,
        until: args.until,
        tables: args.tables.clone(),
        max_rejects: args.max_rejects,
        memory: args.memory,
        dry_run: args.target.dry_run,
        wait: args.target.wait.seconds(),
    };
    let summary = on_threads(args.target.threads.given(), || events(&options, &Files::real(), console))??;
    if args.messages.json {
        print_json(&summary, console)?;
    } else {
        console.end_step();
        console.say(&report::backfill::events(&summary, &options));
    }
    Ok(Exit::Done)
}

fn run_raw(args: &RawArgs, console: &Console) -> Result<Exit> {
    let options = RawOptions {
        raw: args.raw.clone(),
        space: args.target.space.clone(),
        compress: args.target.compress.given(),
        strict: args.strict,
        dry_run: args.target.dry_run,
        wait: args.target.wait.seconds(),
    };
    let summary = on_threads(args.target.threads.given(), || raw(&options, &Files::real(), console))??;
    if args.messages.json {
        print_json(&summary, console)?;
    } else {
        console.end_step();
        console.say(&report::backfill::raw(&summary, &options));
    }
    Ok(Exit::Done)
}
