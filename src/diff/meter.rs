//! The progress of a comparison, told from many threads and passed on from one at a time.

use std::sync::{Mutex, PoisonError};

use crate::{
    error::{Error, Result},
    progress::Progress,
};

/// Tells how far a comparison has come.
pub struct Meter<'a> {
    progress: Mutex<&'a dyn Progress>,
}

impl<'a> Meter<'a> {
    /// Tells this one.
    pub fn new(progress: &'a dyn Progress) -> Self {
        Self { progress: Mutex::new(progress) }
    }

    /// So many more bytes were compared; an error where the user wants to stop.
    pub fn passed(&self, bytes: u64) -> Result<()> {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.advance(bytes);
        if progress.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Says a sentence.
    pub fn notice(&self, text: &str) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).notice(text);
    }
}
