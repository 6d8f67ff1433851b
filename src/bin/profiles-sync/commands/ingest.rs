//! `ingest`: appends events to the raw tables, and with `--materialize` updates the views.

use anyhow::Result;
use profiles_sync::{
    config,
    files::Files,
    jobs::{
        ingest::{IngestOptions, ingest_into, load_rules},
        materialize::{MaterializeOptions, materialize},
        verify::verify,
    },
    progress::Progress,
    space::stale_views::stale_views,
    summary::{IngestSummary, MaterializeSummary},
};

use crate::{
    args::IngestArgs,
    commands::{interruptible, on_threads},
    console::Console,
    exit::Exit,
    record::{JsonRecord, Summary},
    report,
};

/// Runs the subcommand.
pub(crate) fn run(args: &IngestArgs, console: &Console, record: &mut JsonRecord) -> Result<Exit> {
    let options = options(args);
    let files = Files::real();
    if args.print_config {
        console.data("the rules", config::print(&load_rules(&options, &files)?).as_bytes())?;
        return Ok(Exit::Done);
    }
    if args.verify {
        return verified(args, &options, &files, console, record);
    }
    let (mut ingested, mut made) = (IngestSummary::default(), None);
    let done = on_threads(args.threads.given(), || -> Result<()> {
        ingest_into(&options, &files, console, &mut ingested)?;
        console.end_step();
        if !args.messages.json {
            console.report(&report::ingested(&ingested, &options));
        }
        if args.materialize {
            let views = views(&options, &files, console)?;
            if !args.messages.json {
                console.report(&report::materialized(&views));
            }
            made = Some(views);
        } else if !options.dry_run {
            // The run is committed: failing to check the views is no reason to fail.
            match stale_views(&options.space, &files) {
                Ok((stale, _)) if stale.is_empty() => {}
                Ok((stale, _)) => console.report(&report::stale(&stale, &options.space)),
                Err(error) => {
                    console.warning(&format!("could not check whether the views are up to date: {error}"));
                }
            }
        }
        Ok(())
    });
    console.end_step();
    // The counts are useful even if the run failed.
    let ingested = Box::new(ingested);
    record.summary = if args.materialize {
        Summary::IngestAndViews { ingest: ingested, materialize: made }
    } else {
        Summary::Ingest(ingested)
    };
    done??;
    Ok(Exit::Done)
}

/// Runs `--verify`, which changes nothing.
fn verified(
    args: &IngestArgs,
    options: &IngestOptions,
    files: &Files,
    console: &Console,
    record: &mut JsonRecord,
) -> Result<Exit> {
    let verified = on_threads(args.threads.given(), || verify(&options.space, files, console))?;
    let verified = interruptible(verified, "interrupted")?;
    console.end_step();
    let is_right = verified.differences.is_empty();
    if !args.messages.json {
        let report = report::verified(&verified, options);
        if is_right { console.report(&report) } else { console.report_always(&report) }
    }
    record.summary = Summary::Verified(verified);
    Ok(if is_right { Exit::Done } else { Exit::No })
}

fn options(args: &IngestArgs) -> IngestOptions {
    IngestOptions {
        inputs: args.events.clone(),
        // Only `--print-config` works without a space. It then looks for a config in the working directory.
        space: args.space.clone().unwrap_or_default(),
        config: args.config.clone(),
        segment_ids: args.segment_ids.map(Into::into),
        compress: args.compress.given(),
        max_rejects: args.max_rejects,
        rejects: args.rejects.clone(),
        memory: args.memory,
        dry_run: args.dry_run,
        again: args.again,
        wait: args.wait.seconds(),
    }
}

/// Runs the second half of `--materialize`. The events are already committed, and an error has to say so.
fn views(options: &IngestOptions, files: &Files, console: &Console) -> Result<MaterializeSummary> {
    let again = format!("run `profiles-sync materialize --space {}`", options.space.display());
    let options = MaterializeOptions {
        config: options.config.clone(),
        memory: options.memory,
        wait: options.wait,
        ..MaterializeOptions::of_space(&options.space)
    };
    materialize(&options, files, console).map_err(|error| {
        let told = if error.is_interrupted() {
            "interrupted; the events are committed, the views are unchanged"
        } else {
            "the events are committed, but the views are unchanged"
        };
        let error = if error.hint_text().is_some() { error } else { error.hint(again) };
        anyhow::Error::from(error).context(told)
    })
}
