//! One file per subcommand. Each turns its arguments into an options struct, calls the library, and prints the summary.

pub(crate) mod backfill;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod generate;
pub(crate) mod ingest;
pub(crate) mod materialize;
pub(crate) mod schema;

use anyhow::{Context, Result};

use crate::signals;

/// Runs a job on this many threads, by default one per core. The first signal from here on only asks the job to stop.
fn on_threads<T: Send>(threads: Option<usize>, job: impl FnOnce() -> T + Send) -> Result<T> {
    signals::watch().context("could not listen for signals")?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .build()
        .context("could not start the threads")?;
    Ok(pool.install(job))
}

/// Replaces the message of an interrupted job. These jobs commit nothing anyway, so `told` describes the outcome better
/// than "nothing was committed".
fn interruptible<T>(result: profiles_sync::error::Result<T>, told: &'static str) -> Result<T> {
    result.map_err(|error| {
        let interrupted = error.is_interrupted();
        let error = anyhow::Error::from(error);
        if interrupted { error.context(told) } else { error }
    })
}
