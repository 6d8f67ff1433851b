//! The record of a run: the object that `--json` prints and the run log of the space stores.

use std::{path::PathBuf, time::Instant};

use profiles_sync::{
    files::Files,
    jobs::verify::Verified,
    space::run_log,
    summary::{EventsSummary, IngestSummary, MaterializeSummary, ProfilesSummary, RawSummary},
    wall_clock,
};
use serde::Serialize;

use crate::{args::Command, exit::Failure, report};

/// The members that depend on the subcommand.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Summary {
    Ingest(Box<IngestSummary>),
    IngestAndViews { ingest: Box<IngestSummary>, materialize: Option<MaterializeSummary> },
    Verified(Verified),
    Materialize(MaterializeSummary),
    Profiles(ProfilesSummary),
    Events(EventsSummary),
    Raw(RawSummary),
    Other {},
}

/// The record of a run, created when the run starts. The subcommand sets `summary`, also if it fails.
pub(crate) struct JsonRecord {
    name: Option<&'static str>,
    space: Option<PathBuf>,
    is_logged: bool,
    started_at: String,
    started: Instant,
    pub(crate) summary: Summary,
}

#[derive(Serialize)]
struct RunObject<'a> {
    program: &'static str,
    version: &'static str,
    command: Option<&'static str>,
    space: Option<String>,
    run: Option<u64>,
    started_at: &'a str,
    ended_at: String,
    #[serde(flatten)]
    summary: &'a Summary,
    warnings: Vec<String>,
    #[serde(flatten)]
    failure: Option<&'a Failure>,
}

impl JsonRecord {
    /// Starts the record of a subcommand.
    pub(crate) fn of(command: &Command) -> Self {
        Self {
            space: command.space().map(ToOwned::to_owned),
            is_logged: command.is_logged(),
            ..Self::begin(command.name(), command.empty_summary())
        }
    }

    /// Starts the record for invalid arguments. `name` is empty if no subcommand was typed.
    pub(crate) fn of_usage(name: &'static str) -> Self {
        Self::begin(name, Summary::empty(name))
    }

    fn begin(name: &'static str, summary: Summary) -> Self {
        Self {
            name: Some(name).filter(|name| !name.is_empty()),
            space: None,
            is_logged: false,
            started_at: wall_clock::now(),
            started: Instant::now(),
            summary,
        }
    }

    /// Returns the object as one line of JSON.
    pub(crate) fn line(
        &mut self,
        warnings: Vec<String>,
        failure: Option<&Failure>,
    ) -> serde_json::Result<Vec<u8>> {
        self.summary.set_seconds(self.started.elapsed().as_secs_f64());
        report::json(&RunObject {
            program: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            command: self.name,
            space: self.space.as_ref().map(|space| space.display().to_string()),
            run: self.summary.run(),
            started_at: &self.started_at,
            ended_at: wall_clock::now(),
            summary: &self.summary,
            warnings,
            failure,
        })
    }

    /// Appends a line to the run log, if this run is logged.
    pub(crate) fn log(&self, line: &[u8]) -> profiles_sync::error::Result<()> {
        match &self.space {
            Some(space) if self.is_logged => run_log::append(space, line, &Files::real()),
            _ => Ok(()),
        }
    }
}

impl Summary {
    /// Returns the summary of a subcommand that has done nothing: all counts are present and 0.
    pub(crate) fn empty(name: &str) -> Self {
        match name {
            "ingest" => Self::Ingest(Box::default()),
            "materialize" => Self::Materialize(MaterializeSummary::default()),
            "backfill profiles" => Self::Profiles(ProfilesSummary::default()),
            "backfill events" => Self::Events(EventsSummary::default()),
            "backfill raw" => Self::Raw(RawSummary::default()),
            _ => Self::Other {},
        }
    }

    fn run(&self) -> Option<u64> {
        match self {
            Self::Ingest(summary) => summary.run,
            Self::IngestAndViews { ingest, materialize } => {
                ingest.run.or_else(|| materialize.as_ref().and_then(|views| views.run))
            }
            Self::Materialize(summary) => summary.run,
            Self::Profiles(summary) => summary.run,
            Self::Events(summary) => summary.run,
            Self::Raw(summary) => summary.run,
            Self::Verified(_) | Self::Other {} => None,
        }
    }

    /// Sets the duration, unless the job has set it. A failed job has not.
    fn set_seconds(&mut self, elapsed: f64) {
        let seconds = match self {
            Self::Ingest(ingest) | Self::IngestAndViews { ingest, .. } => &mut ingest.seconds,
            Self::Materialize(summary) => &mut summary.seconds,
            Self::Profiles(summary) => &mut summary.seconds,
            Self::Events(summary) => &mut summary.seconds,
            Self::Raw(summary) => &mut summary.seconds,
            Self::Verified(_) | Self::Other {} => return,
        };
        if *seconds == 0.0 {
            *seconds = elapsed;
        }
    }
}
