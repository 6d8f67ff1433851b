//! How far a run has come. The library counts, the program draws; and the program says when to stop.

/// Told by a job as it goes. All methods are called from one thread at a time, a few hundred times a second
/// at most.
pub trait Progress: Sync {
    /// A step of the job begins: a verb phrase such as `reading`, and how many bytes it will pass, where
    /// that is known.
    fn start(&self, step: &str, bytes: Option<u64>);
    /// So many more bytes of the present step are done.
    fn advance(&self, bytes: u64);
    /// A sentence the user should see even when all goes well, such as a file skipped.
    fn notice(&self, text: &str);
    /// Something that is not as it should be, but too small to break the silence of a quiet run.
    fn minor_warning(&self, text: &str) {
        self.notice(text);
    }
    /// A sentence the user should see even when asked to be left in peace: nothing failed, but all is not well.
    fn warning(&self, text: &str) {
        self.notice(text);
    }
    /// Whether the user asked the run to stop. Asked often; a job answers by ending with
    /// [`crate::error::Error::Interrupted`] and leaving everything as it was.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Says nothing and never stops a run: for tests and for use as a library.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _step: &str, _bytes: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn notice(&self, _text: &str) {}
}
