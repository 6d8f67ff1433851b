//! One writer at a time. Readers need no lock: what is committed never changes under them.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Write},
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

impl Lock {
    /// Takes the lock of a state folder, waiting up to `wait` seconds for the one who has it.
    pub fn take(state: &Path, wait: u64, progress: &dyn Progress) -> Result<Self> {
        let path = state.join(LOCK);
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
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.trim().is_empty() { "another run" } else { holder.trim() };
            if Duration::from_secs(wait) <= since.elapsed() {
                let space = state.parent().unwrap_or(state).display();
                return Err(Error::Refused(format!("the space `{space}` is being written by {holder}"))
                    .hint("wait for it to end, or give `--wait SECONDS`"));
            }
            if !told {
                progress.notice(&format!("waiting for {holder} to end"));
                told = true;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let holder = format!("process {} since {}", std::process::id(), started());
        file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).map_err(io("write"))?;
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
