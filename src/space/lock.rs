//! The locks of a space: one writer at a time. Readers take no lock, because committed rows never change.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    time::{Duration, Instant},
};

use rustix::fs::OFlags;

use crate::{
    error::{Error, Result},
    progress::Progress,
    wall_clock,
};

/// A lock that is held until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// The lock file in the state folder.
pub const LOCK: &str = "lock";

/// The lock file of a run that builds views. It is held from the first read of the old views to the end of the run.
const VIEWS_LOCK: &str = "views-lock";

/// Prefix of the holder's name in the lock file if the lock is held only to put views in place. That is quick, so other
/// runs wait for it.
const BRIEF: &str = "materialize, ";

/// Seconds that other runs wait at least for such a holder.
const BRIEF_WAIT: u64 = 10;

impl Lock {
    /// Takes the lock of a state folder. Waits up to `wait` seconds if another run holds it, then fails.
    pub fn take(state: &Path, wait: u64, progress: &dyn Progress) -> Result<Self> {
        Self::take_file(state, LOCK, "", wait, progress)
    }

    /// Takes the same lock for a moment: other runs wait for it instead of failing at once.
    pub fn take_briefly(state: &Path, wait: u64, progress: &dyn Progress) -> Result<Self> {
        Self::take_file(state, LOCK, BRIEF, wait, progress)
    }

    /// Takes the lock that keeps other runs from building views. It does not block runs that add to the raw tables.
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
        let since = Instant::now();
        let mut told = false;
        let file = loop {
            let (mut file, is_ours) = try_lock(&path)?;
            if is_ours {
                break file;
            }
            if progress.interrupted() {
                return Err(Error::Interrupted);
            }
            let mut holder = String::new();
            // The holder is only needed for the message, so errors do not matter.
            let _ = file.read_to_string(&mut holder);
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
        };
        Ok(Self::write_holder(file, holds_it))
    }

    /// Takes the lock of a state folder for a moment; returns `None` if another run holds it.
    pub(super) fn try_take(state: &Path) -> Result<Option<Self>> {
        let path = state.join(LOCK);
        let (file, is_ours) = try_lock(&path)?;
        Ok(is_ours.then(|| Self::write_holder(file, BRIEF)))
    }

    /// Writes the holder into the lock file.
    fn write_holder(mut file: File, holds_it: &str) -> Self {
        let holder = format!("{holds_it}process {} since {}", std::process::id(), wall_clock::now());
        let mut write = || {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(holder.as_bytes())
        };
        // On a full disk the holder cannot be recorded, but the lock is held all the same.
        let _: std::io::Result<()> = write();
        Self { file }
    }
}

/// Opens a lock file, creating it if necessary. Does not follow a symbolic link.
fn open(path: &Path) -> Result<File> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let open =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).custom_flags(flags).open(path);
    open.map_err(|e| {
        let error = Error::io("open the lock file", path, e);
        if path.is_symlink() {
            error.hint("remove it: a lock file must not be a symbolic link")
        } else {
            error
        }
    })
}

/// Opens a lock file and tries to lock it. Returns whether it is locked by this process now.
fn try_lock(path: &Path) -> Result<(File, bool)> {
    loop {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", path, e)),
            Err(TryLockError::WouldBlock) => return Ok((file, false)),
        }
        // If the file was deleted between opening and locking, the lock protects nothing: try again.
        let ours = file.metadata().map_err(|e| Error::io("lock", path, e))?;
        if path.symlink_metadata().is_ok_and(|there| (there.ino(), there.dev()) == (ours.ino(), ours.dev())) {
            return Ok((file, true));
        }
    }
}

/// Unlocks explicitly, because a child process forked just now may hold the file open for a moment after it is closed
/// here.
impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}
