//! Every change to the file system goes through here, so that each error names the path and the intent,
//! and so that tests can make the k-th change fail.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::error::{Error, Result};

/// One change to the file system, told to a [`Fault`] before it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A file is made, or cut to a length.
    Create,
    /// Bytes are written.
    Write,
    /// A file or folder is synced to the disk.
    Sync,
    /// A file or folder gets its final name.
    Rename,
    /// A file or folder goes.
    Remove,
}

/// Decides whether a change may happen: the tests' way to a full disk or a power cut.
pub trait Fault: Send + Sync {
    /// An error here is reported as if the operating system had given it, and the change does not happen.
    fn before(&self, change: Change, path: &Path) -> io::Result<()>;
}

/// A handle to the file system. Cheap to clone.
#[derive(Clone, Default)]
pub struct Files {
    fault: Option<Arc<dyn Fault>>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("fault", &self.fault.is_some()).finish()
    }
}

impl Files {
    /// The file system as it is.
    #[must_use]
    pub fn real() -> Self {
        Self::default()
    }

    /// The file system with faults injected.
    #[must_use]
    pub fn with_fault(fault: Arc<dyn Fault>) -> Self {
        Self { fault: Some(fault) }
    }

    fn check(&self, change: Change, intent: &'static str, path: &Path) -> Result<()> {
        match &self.fault {
            Some(fault) => fault.before(change, path).map_err(|e| Error::io(intent, path, e)),
            None => Ok(()),
        }
    }

    /// Opens a file for reading.
    #[expect(clippy::disallowed_methods, reason = "this is the wrapper")]
    pub fn open(&self, path: &Path) -> Result<File> {
        File::open(path).map_err(|e| Error::io("open", path, e))
    }

    /// Opens a file for reading; `None` where there is none.
    #[expect(clippy::disallowed_methods, reason = "this is the wrapper")]
    pub fn open_if_there(&self, path: &Path) -> Result<Option<File>> {
        match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(Error::io("open", path, e)),
        }
    }

    /// Reads a whole file; `None` where there is none, not even a folder for it.
    pub fn read_if_there(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(Error::io("read", path, e)),
        }
    }

    /// Makes a file, or empties the one that is there.
    #[expect(clippy::disallowed_methods, reason = "this is the wrapper")]
    pub fn create(&self, path: &Path) -> Result<OutFile> {
        self.check(Change::Create, "create", path)?;
        let file = File::create(path).map_err(|e| Error::io("create", path, e))?;
        Ok(OutFile { file, path: path.to_owned(), files: self.clone() })
    }

    /// Opens a pipe or a device that is there, to be written to.
    pub fn open_to_write(&self, path: &Path) -> Result<OutFile> {
        self.check(Change::Create, "open for writing", path)?;
        let file =
            OpenOptions::new().write(true).open(path).map_err(|e| Error::io("open for writing", path, e))?;
        Ok(OutFile { file, path: path.to_owned(), files: self.clone() })
    }

    /// Makes a file under a name of our own. Whatever has that name goes: a link is never followed.
    pub fn create_anew(&self, path: &Path) -> Result<OutFile> {
        self.check(Change::Create, "create", path)?;
        let create = || OpenOptions::new().write(true).create_new(true).open(path);
        let file = create().or_else(|e| {
            if e.kind() != io::ErrorKind::AlreadyExists {
                return Err(e);
            }
            fs::remove_file(path)?;
            create()
        });
        let file = file.map_err(|e| Error::io("create", path, e))?;
        Ok(OutFile { file, path: path.to_owned(), files: self.clone() })
    }

    /// Opens a table's file to be written from byte `offset` on. It is created if it is missing and `offset` is 0.
    pub fn write_from(&self, path: &Path, offset: u64) -> Result<OutFile> {
        self.check(Change::Create, "open for writing", path)?;
        let open = || -> io::Result<File> {
            let mut file = OpenOptions::new().write(true).create(offset == 0).truncate(false).open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(file)
        };
        let file = open().map_err(|e| Error::io("open for writing", path, e))?;
        Ok(OutFile { file, path: path.to_owned(), files: self.clone() })
    }

    /// Opens a file of our own for appending after its first `length` bytes, and cuts off what follows them. The file is
    /// created if it is missing and `length` is 0. A link is an error, not followed.
    pub fn append_after(&self, path: &Path, length: u64) -> Result<OutFile> {
        self.check(Change::Create, "open for writing", path)?;
        let open = || -> io::Result<File> {
            let mut options = OpenOptions::new();
            options.write(true).create(length == 0).truncate(false);
            let mut file = options.custom_flags(NO_FOLLOW).open(path)?;
            if file.metadata()?.len() != length {
                file.set_len(length)?;
            }
            file.seek(SeekFrom::Start(length))?;
            Ok(file)
        };
        let file = open().map_err(|e| {
            let is_link = path.is_symlink();
            let error = Error::io("open for writing", path, e);
            if is_link { error.hint("it is a link, which is not followed: remove it") } else { error }
        })?;
        Ok(OutFile { file, path: path.to_owned(), files: self.clone() })
    }

    /// Appends a line to a log in a single write, so that lines of several processes do not mix. The file is made if
    /// it is missing; a last line that was cut off is ended first.
    pub fn append_line(&self, path: &Path, line: &[u8]) -> Result<()> {
        self.check(Change::Write, "write to", path)?;
        let append = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            options.read(true).append(true).create(true);
            let mut file = options.custom_flags(NO_FOLLOW).open(path)?;
            let mut last = [b'\n'];
            if 0 < file.metadata()?.len() {
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
            }
            if last == [b'\n'] { file.write_all(line) } else { file.write_all(&[b"\n", line].concat()) }
        };
        append().map_err(|e| Error::io("write to", path, e))
    }

    /// Makes a folder and those above it.
    pub fn create_folder(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        self.check(Change::Create, "create the folder", path)?;
        fs::create_dir_all(path).map_err(|e| Error::io("create the folder", path, e))
    }

    /// Gives a file or folder its final name, in one step that happens or does not.
    #[expect(clippy::disallowed_methods, reason = "this is the wrapper")]
    pub fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.check(Change::Rename, "rename to", to)?;
        fs::rename(from, to).map_err(|e| Error::io("rename to", to, e))
    }

    /// Gives a file a second name; where the file system knows no such thing, a copy has it.
    pub fn link(&self, from: &Path, to: &Path) -> Result<()> {
        self.remove_file(to)?;
        self.check(Change::Create, "create", to)?;
        if fs::hard_link(from, to).is_err() {
            fs::copy(from, to).map_err(|e| Error::io("create", to, e))?;
            self.open(to)?.sync_all().map_err(|e| Error::io("sync", to, e))?;
        }
        Ok(())
    }

    /// Syncs a folder, so that the names in it survive a power cut.
    pub fn sync_folder(&self, path: &Path) -> Result<()> {
        self.check(Change::Sync, "sync the folder", path)?;
        match self.open(path)?.sync_all() {
            // Some file systems of networks know no such thing.
            Err(e) if !matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
                Err(Error::io("sync the folder", path, e))
            }
            _ => Ok(()),
        }
    }

    /// Syncs all files of the file system that a folder is on, in one call; only if [`CAN_SYNC_FILE_SYSTEMS`].
    pub fn sync_file_system(&self, folder: &Path) -> Result<()> {
        self.check(Change::Sync, "sync the file system of", folder)?;
        let folder_file = self.open(folder)?;
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(folder_file)
            .map_err(|e| Error::io("sync the file system of", folder, e.into()))?;
        #[cfg(not(target_os = "linux"))]
        drop(folder_file);
        Ok(())
    }

    /// Removes a file, if it is there.
    pub fn remove_file(&self, path: &Path) -> Result<()> {
        self.check(Change::Remove, "remove", path)?;
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
            _ => Ok(()),
        }
    }

    /// Removes a folder with all that is in it, if it is there.
    pub fn remove_folder(&self, path: &Path) -> Result<()> {
        self.check(Change::Remove, "remove", path)?;
        match fs::remove_dir_all(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
            _ => Ok(()),
        }
    }

    /// Replaces a small file in one step: written beside, synced, renamed. The folder is still to be synced.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let beside = beside(path);
        let mut out = self.create_anew(&beside)?;
        out.write_all(bytes)?;
        out.sync()?;
        self.rename(&beside, path)
    }
}

/// Makes opening a link an error.
#[cfg(unix)]
const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// Whether all files of a file system can be synced in one call.
pub const CAN_SYNC_FILE_SYSTEMS: bool = cfg!(target_os = "linux");

/// Bytes that are copied at a time.
const COPIED: u64 = 8 << 20;

#[cfg(target_os = "linux")]
fn reserve(file: &File, offset: u64, n_bytes: u64) -> io::Result<()> {
    use rustix::{
        fs::{FallocateFlags, fallocate},
        io::Errno,
    };
    loop {
        match fallocate(file, FallocateFlags::KEEP_SIZE, offset, n_bytes) {
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => return Ok(()),
            reserved => return reserved.map_err(Into::into),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

/// Whether a path leads to a pipe: its bytes can be read once, and opening it waits for its writer.
#[must_use]
pub fn is_pipe(path: &Path) -> bool {
    let kind = fs::metadata(path).map(|metadata| metadata.file_type());
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket())
}

/// Refuses a pipe in the place of a table.
pub fn refuse_pipe(path: &Path) -> Result<()> {
    if is_pipe(path) {
        return Err(Error::file(path, "is a pipe, but tables are read more than once")
            .hint("write it to a file first"));
    }
    Ok(())
}

/// The name under which a file of ours is written before it gets its own.
#[must_use]
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

/// A file being written. Not buffered: callers hand over large blocks.
#[derive(Debug)]
pub struct OutFile {
    file: File,
    path: PathBuf,
    files: Files,
}

impl OutFile {
    /// Writes all the bytes.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        self.files.check(Change::Write, "write to", &self.path)?;
        self.file.write_all(bytes).map_err(|e| Error::io("write to", &self.path, e))
    }

    /// Writes bytes of another file from byte `offset` on, without reading them into this process if the system can.
    pub fn copy(&mut self, from: &File, offset: u64, n_bytes: u64) -> Result<()> {
        let error = |e| Error::io("copy rows to", &self.path, e);
        let mut from = from;
        from.seek(SeekFrom::Start(offset)).map_err(error)?;
        let mut n_left = n_bytes;
        while 0 < n_left {
            self.files.check(Change::Write, "copy rows to", &self.path)?;
            let n_copied = io::copy(&mut from.take(n_left.min(COPIED)), &mut self.file).map_err(error)?;
            if n_copied == 0 {
                return Err(error(io::ErrorKind::UnexpectedEof.into()));
            }
            n_left -= n_copied;
        }
        Ok(())
    }

    /// Reserves space from byte `offset` on, so that writing it cannot fail for want of space. The file gets no longer.
    /// A file system that cannot reserve space is left alone.
    pub fn reserve(&self, offset: u64, n_bytes: u64) -> Result<()> {
        self.files.check(Change::Write, "reserve space for", &self.path)?;
        reserve(&self.file, offset, n_bytes).map_err(|e| Error::io("reserve space for", &self.path, e))
    }

    /// Cuts the file, or gives back what was reserved behind its end.
    pub fn cut(&self, length: u64) -> Result<()> {
        self.files.check(Change::Create, "cut", &self.path)?;
        self.file.set_len(length).map_err(|e| Error::io("cut", &self.path, e))
    }

    /// Lets those read and write it who may.
    pub fn set_permissions(&self, permissions: Permissions) -> Result<()> {
        self.files.check(Change::Write, "set the permissions of", &self.path)?;
        self.file.set_permissions(permissions).map_err(|e| Error::io("set the permissions of", &self.path, e))
    }

    /// Brings the bytes to the disk.
    pub fn sync(&self) -> Result<()> {
        self.files.check(Change::Sync, "sync", &self.path)?;
        self.file.sync_data().map_err(|e| Error::io("sync", &self.path, e))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// For encoders that want a writer. An [`Error`] comes out as the source of an [`io::Error`].
impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        OutFile::write_all(self, bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
