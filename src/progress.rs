//! Reports the progress of a run. The library reports, and the program displays and decides when to stop.

/// Receives reports from a job. Methods are called by one thread at a time, at most a few hundred times per second.
pub trait Progress: Sync {
    /// Reports that a step begins. `step` is a verb phrase such as `reading`; `bytes` is the number of bytes to
    /// process, if known.
    fn start(&self, step: &str, bytes: Option<u64>);
    /// Reports that `bytes` more bytes of the current step are done.
    fn advance(&self, bytes: u64);
    /// Reports information that the user should see even if all goes well, such as a skipped file.
    fn notice(&self, text: &str);
    /// Reports a problem that is too small to be shown in a quiet run.
    fn minor_warning(&self, text: &str) {
        self.notice(text);
    }
    /// Reports a problem that the user should see even in a quiet run: nothing failed, but something needs attention.
    fn warning(&self, text: &str) {
        self.notice(text);
    }
    /// Returns whether the user asked the run to stop. Called often. If it returns true, the job ends with
    /// [`crate::error::Error::Interrupted`] and changes nothing.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Prints nothing and never stops a run: for tests and for use as a library.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _step: &str, _bytes: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn notice(&self, _text: &str) {}
}
