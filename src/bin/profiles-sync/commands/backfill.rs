//! `backfill`: imports existing data into a space.

use anyhow::Result;
use profiles_sync::{
    files::Files,
    jobs::backfill::{
        ProfilesOptions,
        events::{EventsOptions, events_into},
        profiles,
        raw::{RawOptions, raw},
    },
    summary::EventsSummary,
};

use crate::{
    args::{BackfillArgs, BackfillCommand, EventsArgs, ProfilesArgs, RawArgs},
    commands::on_threads,
    console::Console,
    exit::Exit,
    record::{JsonRecord, Summary},
    report,
};

/// Runs the subcommand.
pub(crate) fn run(args: &BackfillArgs, console: &Console, record: &mut JsonRecord) -> Result<Exit> {
    match &args.what {
        BackfillCommand::Profiles(args) => run_profiles(args, console, record),
        BackfillCommand::Events(args) => run_events(args, console, record),
        BackfillCommand::Raw(args) => run_raw(args, console, record),
    }
}

fn run_profiles(args: &ProfilesArgs, console: &Console, record: &mut JsonRecord) -> Result<Exit> {
    let options = ProfilesOptions {
        state: args.state.clone(),
        space: args.target.space.clone(),
        compress: args.target.compress.given(),
        strict: args.strict,
        dry_run: args.target.dry_run,
        wait: args.target.wait.seconds(),
    };
    let summary = on_threads(args.target.threads.given(), || profiles(&options, &Files::real(), console))??;
    console.end_step();
    if !args.messages.json {
        console.report(&report::backfill::profiles(&summary, &options));
    }
    record.summary = Summary::Profiles(summary);
    Ok(Exit::Done)
}

fn run_events(args: &EventsArgs, console: &Console, record: &mut JsonRecord) -> Result<Exit> {
    let options = EventsOptions {
        inputs: args.dumps.clone(),
        space: args.target.space.clone(),
        config: args.config.clone(),
        compress: args.target.compress.given(),
        since: args.since,
        until: args.until,
        tables: args.tables.clone(),
        max_rejects: args.max_rejects,
        rejects: args.rejects.clone(),
        memory: args.memory,
        dry_run: args.target.dry_run,
        wait: args.target.wait.seconds(),
    };
    let mut summary = EventsSummary::default();
    let done = on_threads(args.target.threads.given(), || {
        events_into(&options, &Files::real(), console, &mut summary)
    });
    // The counts are useful even if the run failed.
    if let Err(error) = done.and_then(|done| Ok(done?)) {
        record.summary = Summary::Events(summary);
        return Err(error);
    }
    console.end_step();
    if !args.messages.json {
        console.report(&report::backfill::events(&summary, &options));
    }
    record.summary = Summary::Events(summary);
    Ok(Exit::Done)
}

fn run_raw(args: &RawArgs, console: &Console, record: &mut JsonRecord) -> Result<Exit> {
    let options = RawOptions {
        raw: args.raw.clone(),
        space: args.target.space.clone(),
        compress: args.target.compress.given(),
        strict: args.strict,
        dry_run: args.target.dry_run,
        wait: args.target.wait.seconds(),
    };
    let summary = on_threads(args.target.threads.given(), || raw(&options, &Files::real(), console))??;
    console.end_step();
    if !args.messages.json {
        console.report(&report::backfill::raw(&summary, &options));
    }
    record.summary = Summary::Raw(summary);
    Ok(Exit::Done)
}
