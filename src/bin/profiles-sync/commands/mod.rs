//! One file per subcommand: typed arguments become an options struct, the library does the work, the console
//! tells what came of it.

pub(crate) mod backfill;
pub(crate) mod diff;
pub(crate) mod generate;
pub(crate) mod ingest;
pub(crate) mod materialize;

use anyhow::{Context, Result};

use crate::signals;

/// Runs a job on so many threads, all cores where none are asked for, with signals turned into a polite end.
fn on_threads<T: Send>(threads: Option<usize>, job: impl FnOnce() -> T + Send) -> Result<T> {
    signals::watch().context("could not listen for signals")?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .build()
        .context("could not start the threads")?;
    Ok(pool.install(job))
}

/// The result of a job that commits nothing: where a signal ended it, it is not said that nothing was committed, but what else
/// there is to know.
fn interruptible<T>(result: profiles_sync::error::Result<T>, told: &'static str) -> Result<T> {
    result.map_err(|error| {
        let interrupted = error.interrupted();
        let error = anyhow::Error::from(error);
        if interrupted { error.context(told) } else { error }
    })
}
