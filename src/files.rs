//! All changes to the file system. Errors name the path and the failed operation, and tests can make the k-th change
//! fail.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::error::{Error, Result};

/// A change to the file system, passed to a [`Fault`] before it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileChange {
    /// Creates a file, or truncates it to a length.
    Create,
    /// Writes bytes.
    Write,
    /// Syncs a file or folder to disk.
    Sync,
    /// Gives a file or folder its final name.
    Rename,
    /// Removes a file or folder.
    Remove,
}

/// Decides whether a change may happen. Tests use it to simulate a full disk or a power cut.
pub trait Fault: Send + Sync {
    /// Called before each change. An error is reported as if it came from the operating system, and the change does not
    /// happen.
    fn before(&self, change: FileChange, path: &Path) -> io::Result<()>;
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
    /// Returns the real file system.
    #[must_use]
    pub fn real() -> Self {
        Self::default()
    }

    /// Returns the file system with injected faults.
    #[must_use]
    pub fn with_fault(fault: Arc<dyn Fault>) -> Self {
        Self { fault: Some(fault) }
    }

    fn check(&self, change: FileChange, intent: &'static str, path: &Path) -> Result<()> {
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

    /// Opens a file for reading. Returns `None` if it does not exist.
    #[expect(clippy::disallowed_methods, reason = "this is the wrapper")]
    pub fn open_if_exists(&self, path: &Path) -> Result<Option<File>> {
        match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(Error::io("open", path, e)),
        }
    }

    /// Reads a whole file. Returns `None` if it or its folder does not exist.
    pub fn read_if_exists(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(Error::io("read", path, e)),
        }
    }

    /// Creates a file, or truncates an existing one to no bytes.
    #[expect(clippy::disallowed_methods, reason = "this is the wrapper")]
    pub fn create(&self, path: &Path) -> Result<OutFile> {
        self.check(FileChange::Create, "create", path)?;
        let file = File::create(path).map_err(|e| Error::io("create", path, e))?;
        Ok(OutFile { file, path: path.to_owned(), files: self.clone() })
    }

    /// Opens an existing pipe or device for writing.
    pub fn open_to_write(&self, path: &Path) -> Result<OutFile> {
        self.check(FileChange::Create, "open for writing", path)?;
        let file =
            OpenOptions::new().write(true).open(path).map_err(|e| Error::io("open for writing", path, e))?;
        Ok(OutFile { file, path: path.to_owned(), files: self.clone() })
    }

    /// Creates a file under a name that belongs to this program. Replaces whatever has that name, and never follows a
    /// link.
    pub fn create_replacing(&self, path: &Path) -> Result<OutFile> {
        self.check(FileChange::Create, "create", path)?;
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

    /// Opens a table file for writing at byte `offset`. Creates the file if it is missing and `offset` is 0.
    pub fn write_from(&self, path: &Path, offset: u64) -> Result<OutFile> {
        self.check(FileChange::Create, "open for writing", path)?;
        let open = || -> io::Result<File> {
            let mut file = OpenOptions::new().write(true).create(offset == 0).truncate(false).open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(file)
        };
        let file = open().map_err(|e| Error::io("open for writing", path, e))?;
        Ok(OutFile { file, path: path.to_owned(), files: self.clone() })
    }

    /// Opens a file that belongs to this program for appending after its first `length` bytes, and truncates the rest.
    /// Creates the file if it is missing and `length` is 0. A link is an error: it is not followed.
    pub fn append_after(&self, path: &Path, length: u64) -> Result<OutFile> {
        self.check(FileChange::Create, "open for writing", path)?;
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
            if is_link { error.hint("remove it: it is a link, and links are not followed") } else { error }
        })?;
        Ok(OutFile { file, path: path.to_owned(), files: self.clone() })
    }

    /// Appends a line to a log with a single write, so that lines of several processes do not mix. Creates the file if
    /// it is missing. If the last line is incomplete, ends it first.
    pub fn append_line(&self, path: &Path, line: &[u8]) -> Result<()> {
        self.check(FileChange::Write, "write to", path)?;
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

    /// Creates a folder and its missing parents.
    pub fn create_folder(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        self.check(FileChange::Create, "create the folder", path)?;
        fs::create_dir_all(path).map_err(|e| Error::io("create the folder", path, e))
    }

    /// Renames a file or folder to its final name, atomically.
    #[expect(clippy::disallowed_methods, reason = "this is the wrapper")]
    pub fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.check(FileChange::Rename, "rename to", to)?;
        fs::rename(from, to).map_err(|e| Error::io("rename to", to, e))
    }

    /// Gives a file a second name with a hard link, or makes a copy if the file system does not support links.
    pub fn link(&self, from: &Path, to: &Path) -> Result<()> {
        self.remove_file(to)?;
        self.check(FileChange::Create, "create", to)?;
        if fs::hard_link(from, to).is_err() {
            fs::copy(from, to).map_err(|e| Error::io("create", to, e))?;
            self.open(to)?.sync_all().map_err(|e| Error::io("sync", to, e))?;
        }
        Ok(())
    }

    /// Syncs a folder, so that the names in it survive a power cut.
    pub fn sync_folder(&self, path: &Path) -> Result<()> {
        self.check(FileChange::Sync, "sync the folder", path)?;
        match self.open(path)?.sync_all() {
            // Some network file systems do not support this.
            Err(e) if !matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
                Err(Error::io("sync the folder", path, e))
            }
            _ => Ok(()),
        }
    }

    /// Syncs all files of the file system that contains `folder`, in one call. Has an effect only if
    /// [`CAN_SYNC_FILE_SYSTEMS`] is true.
    pub fn sync_file_system(&self, folder: &Path) -> Result<()> {
        self.check(FileChange::Sync, "sync the file system of", folder)?;
        let folder_file = self.open(folder)?;
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(folder_file)
            .map_err(|e| Error::io("sync the file system of", folder, e.into()))?;
        #[cfg(not(target_os = "linux"))]
        drop(folder_file);
        Ok(())
    }

    /// Removes a file if it exists.
    pub fn remove_file(&self, path: &Path) -> Result<()> {
        self.check(FileChange::Remove, "remove", path)?;
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
            _ => Ok(()),
        }
    }

    /// Removes a folder and everything in it, if it exists.
    pub fn remove_folder(&self, path: &Path) -> Result<()> {
        self.check(FileChange::Remove, "remove", path)?;
        match fs::remove_dir_all(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
            _ => Ok(()),
        }
    }

    /// Replaces a small file atomically: writes a temporary file, syncs it and renames it. The caller must sync the
    /// folder.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let beside = temporary_path(path);
        let mut out = self.create_replacing(&beside)?;
        out.write_all(bytes)?;
        out.sync()?;
        self.rename(&beside, path)
    }
}

/// Makes opening a link fail.
#[cfg(unix)]
const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// Whether this system can sync a whole file system in one call.
pub const CAN_SYNC_FILE_SYSTEMS: bool = cfg!(target_os = "linux");

/// Number of bytes to copy at a time.
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

/// Returns whether a path leads to a pipe or socket. Its bytes can be read only once, and opening it waits for the
/// writer.
#[must_use]
pub fn is_pipe(path: &Path) -> bool {
    let kind = fs::metadata(path).map(|metadata| metadata.file_type());
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket())
}

/// Returns an error if a table's path leads to a pipe.
pub fn refuse_pipe(path: &Path) -> Result<()> {
    if is_pipe(path) {
        return Err(Error::file(path, "is a pipe, but tables are read more than once")
            .hint("write it to a file first"));
    }
    Ok(())
}

/// Returns the temporary name under which a file is written before it is renamed.
#[must_use]
pub fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

/// A file being written. Not buffered: callers pass large blocks.
#[derive(Debug)]
pub struct OutFile {
    file: File,
    path: PathBuf,
    files: Files,
}

impl OutFile {
    /// Writes all the bytes.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        self.files.check(FileChange::Write, "write to", &self.path)?;
        self.file.write_all(bytes).map_err(|e| Error::io("write to", &self.path, e))
    }

    /// Copies `n_bytes` of another file, starting at its byte `offset`. If the system can, the bytes are not read into
    /// this process.
    pub fn copy(&mut self, from: &File, offset: u64, n_bytes: u64) -> Result<()> {
        let error = |e| Error::io("copy rows to", &self.path, e);
        let mut from = from;
        from.seek(SeekFrom::Start(offset)).map_err(error)?;
        let mut n_left = n_bytes;
        while 0 < n_left {
            self.files.check(FileChange::Write, "copy rows to", &self.path)?;
            let n_copied = io::copy(&mut from.take(n_left.min(COPIED)), &mut self.file).map_err(error)?;
            if n_copied == 0 {
                return Err(error(io::ErrorKind::UnexpectedEof.into()));
            }
            n_left -= n_copied;
        }
        Ok(())
    }

    /// Reserves space from byte `offset` on, so that a later write cannot fail because the disk is full. Does not
    /// change the file's length. Does nothing if the file system cannot reserve space.
    pub fn reserve(&self, offset: u64, n_bytes: u64) -> Result<()> {
        self.files.check(FileChange::Write, "reserve space for", &self.path)?;
        reserve(&self.file, offset, n_bytes).map_err(|e| Error::io("reserve space for", &self.path, e))
    }

    /// Truncates the file to `length` bytes, which also releases space reserved after its end.
    pub fn truncate(&self, length: u64) -> Result<()> {
        self.files.check(FileChange::Create, "truncate", &self.path)?;
        self.file.set_len(length).map_err(|e| Error::io("truncate", &self.path, e))
    }

    /// Sets the permissions of the file.
    pub fn set_permissions(&self, permissions: Permissions) -> Result<()> {
        self.files.check(FileChange::Write, "set the permissions of", &self.path)?;
        self.file.set_permissions(permissions).map_err(|e| Error::io("set the permissions of", &self.path, e))
    }

    /// Syncs the content to disk.
    pub fn sync(&self) -> Result<()> {
        self.files.check(FileChange::Sync, "sync", &self.path)?;
        self.file.sync_data().map_err(|e| Error::io("sync", &self.path, e))
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// For encoders that need a writer. An [`Error`] becomes the source of an [`io::Error`].
impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        OutFile::write_all(self, bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
