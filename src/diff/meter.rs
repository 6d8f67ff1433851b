//! Reports the progress of a comparison from many threads, one at a time.

use std::sync::{Mutex, PoisonError};

use crate::{
    error::{Error, Result},
    progress::Progress,
};

/// Reports how far a comparison has come.
pub struct DiffMeter<'a> {
    progress: Mutex<&'a dyn Progress>,
}

impl<'a> DiffMeter<'a> {
    /// Creates a meter that reports to `progress`.
    pub fn new(progress: &'a dyn Progress) -> Self {
        Self { progress: Mutex::new(progress) }
    }

    /// Reports that this many more bytes were compared. Fails if the user wants to stop.
    pub fn passed(&self, bytes: u64) -> Result<()> {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.advance(bytes);
        if progress.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Prints a notice.
    pub fn notice(&self, text: &str) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).notice(text);
    }
}
