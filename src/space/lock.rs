//! One writer at a time. Readers need no lock: what is committed never changes under them.

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
            // Who holds it is told as far as it can be read.
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
        Ok(Self::sign(file, holds_it))
    }

    /// Takes the lock of a state folder for a moment, unless somebody has it.
    pub(super) fn try_take(state: &Path) -> Result<Option<Self>> {
        let path = state.join(LOCK);
        let (file, is_ours) = try_lock(&path)?;
        Ok(is_ours.then(|| Self::sign(file, BRIEF)))
    }

    /// Writes down who holds it.
    fn sign(mut file: File, holds_it: &str) -> Self {
        let holder = format!("{holds_it}process {} since {}", std::process::id(), wall_clock::now());
        let mut write = || {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(holder.as_bytes())
        };
        // Nobody can be told who holds it on a full disk, but it is held.
        let _: std::io::Result<()> = write();
        Self { file }
    }
}

/// Opens a lock file, or makes it. A link is not followed.
fn open(path: &Path) -> Result<File> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let open =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).custom_flags(flags).open(path);
    open.map_err(|e| {
        let error = Error::io("open the lock file", path, e);
        if path.is_symlink() { error.hint("it is a link: remove it") } else { error }
    })
}

/// Opens a lock file and tries to lock it; says whether it is ours now.
fn try_lock(path: &Path) -> Result<(File, bool)> {
    loop {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", path, e)),
            Err(TryLockError::WouldBlock) => return Ok((file, false)),
        }
        // A file that was removed before it was locked locks nothing.
        let ours = file.metadata().map_err(|e| Error::io("lock", path, e))?;
        if path.symlink_metadata().is_ok_and(|there| (there.ino(), there.dev()) == (ours.ino(), ours.dev())) {
            return Ok((file, true));
        }
    }
}

/// Closing the file would do, but for a child process that was forked just then and holds it open for a moment more.
impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}
