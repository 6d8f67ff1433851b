//! One writer at a time. Readers need no lock: what is committed never changes under them.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Result},
    progress::Progress,
};

/// Held until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// The file in the state folder.
pub const LOCK: &str = "lock";

/// The file that a run holds which makes the views of the space, from its first look at them to its end.
const VIEWS_LOCK: &str = "views-lock";

/// How a run names itself that only puts views in place, which takes no time: whoever meets it waits.
const BRIEF: &str = "materialize, ";

/// So many seconds.
const BRIEF_WAIT: u64 = 10;

impl Lock {
    /// Takes the lock of a state folder, waiting up to `wait` seconds for the one who has it.
    pub fn take(state: &Path, wait: u64, progress: &dyn Progress) -> Result<Self> {
        Self::take_file(state, LOCK, "", wait, progress)
    }

    /// The same for a moment only.
    pub fn take_briefly(state: &Path, wait: u64, progress: &dyn Progress) -> Result<Self> {
        Self::take_file(state, LOCK, BRIEF, wait, progress)
    }

    /// Keeps other runs from making views of the space, and no run from adding to its raw tables.
    pub fn take_views(state: &Path, wait: u64, progress: &dyn Progress) -> Result<Self> {
        Self::take_file(state, VIEWS_LOCK, "", wait, progress)
    }

    fn take_file(
        state: &Path,
        name: &str,
        holds_it: &str,
        wait: u64,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let path = state.join(name);
        let io = |intent| {
            let path = path.clone();
            move |e| Error::io(intent, path, e)
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io("open the lock file"))?;
        let since = Instant::now();
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(e)) => return Err(io("lock")(e)),
                Err(TryLockError::WouldBlock) => {}
            }
            if progress.interrupted() {
                return Err(Error::Interrupted);
            }
            let mut holder = String::new();
            // Who holds it is told as far as it can be read.
            let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut holder));
            let wait = if holder.starts_with(BRIEF) { wait.max(BRIEF_WAIT) } else { wait };
            let holder = if holder.trim().is_empty() { "another run" } else { holder.trim() };
            if Duration::from_secs(wait) <= since.elapsed() {
                let space = state.parent().unwrap_or(state).display();
                let what = if name == VIEWS_LOCK { "the views of the space" } else { "the space" };
                return Err(Error::Refused(format!("{what} `{space}` is being written by {holder}"))
                    .hint("wait for it to end, or give `--wait SECONDS`"));
            }
            if !told {
                progress.notice(&format!("waiting for {holder} to end"));
                told = true;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let holder = format!("{holds_it}process {} since {}", std::process::id(), started());
        let mut write = || {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(holder.as_bytes())
        };
        write().map_err(io("write"))?;
        Ok(Self { file })
    }
}

/// Closing the file would do, but for a child process that was forked just then and holds it open for a moment more.
impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// When this run took the lock, for the message to the one who waits; it stands in no table.
#[expect(clippy::disallowed_methods, reason = "told to a person, never written to a table")]
fn started() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut text = Vec::new();
    crate::event::timestamp::push_millis(&mut text, i64::try_from(now.as_millis()).unwrap_or(0));
    String::from_utf8_lossy(&text).into_owned()
}
