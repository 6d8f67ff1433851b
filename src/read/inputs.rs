//! Which files a run reads: files as given, folders walked, `-` for the standard input.

use std::{
    fs,
    io::{self, Read},
    path::{self, Component, Path, PathBuf},
};

use super::gzip::Members;
use crate::{
    error::{Error, Result},
    files::Files,
    progress::Progress,
};

/// One input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// As given, or as found below a folder that was given.
    pub path: PathBuf,
    /// The source that an archive path names, for lines that name none.
    pub source: Option<String>,
}

impl Input {
    /// Whether it is the standard input.
    #[must_use]
    pub fn is_stdin(&self) -> bool {
        self.path.as_os_str() == "-"
    }

    /// How it is called in messages and tables.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }
}

/// Lists the inputs in the order of the arguments, the files of a folder by path. The space's own folder is no input,
/// wherever it stands.
pub fn list(arguments: &[PathBuf], space: &Path, progress: &dyn Progress) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    let space = fs::canonicalize(space).ok();
    let (mut passed_over, mut without) = (Vec::new(), Vec::new());
    for argument in arguments {
        if argument.as_os_str() == "-" {
            if inputs.iter().any(Input::is_stdin) {
                return Err(Error::Refused("`-` is given twice, but there is one standard input".to_owned()));
            }
            inputs.push(Input { path: argument.clone(), source: None });
            continue;
        }
        let metadata = fs::metadata(argument).map_err(|e| {
            let missing = e.kind() == io::ErrorKind::NotFound;
            let error = Error::io("read", argument, e);
            if missing {
                error.hint("give files or folders of events, or `-` for the standard input")
            } else {
                error
            }
        })?;
        let absolute = absolute(argument)?;
        if metadata.is_dir() {
            if space.is_some() && fs::canonicalize(argument).ok() == space {
                return Err(Error::file(argument, "the space itself is given as a folder of events")
                    .hint("give the folder that the dump is in"));
            }
            let mut walk = Walk { space: space.as_deref(), found: Vec::new(), passed_over, progress };
            walk.folder(argument, &absolute)?;
            if walk.found.is_empty() {
                without.push(argument);
            }
            walk.found.sort_by_cached_key(|input| path_bytes(&input.path).to_owned());
            inputs.extend(walk.found);
            passed_over = walk.passed_over;
        } else {
            inputs.push(Input { source: archive_source(&absolute), path: argument.clone() });
        }
    }
    for folder in without {
        let told = format!(
            "no event files in `{}`: files there are read when they end in .json, .ndjson or .jsonl, with .gz or .zst \
             behind it or not",
            folder.display()
        );
        // A folder may be empty, but a run that reads nothing at all is hardly what was meant.
        if inputs.is_empty() { progress.warning(&told) } else { progress.notice(&told) }
    }
    if let Some(example) = passed_over.iter().min_by_key(|path| path_bytes(path)) {
        let (count, example) = (passed_over.len(), example.display());
        progress.notice(&match count {
            1 => format!("passed over 1 file that is no event file: `{example}`"),
            _ => format!("passed over {count} files that are no event files, such as `{example}`"),
        });
    }
    Ok(inputs)
}

fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

/// A path from the root on, so that what it means does not depend on the working folder.
fn absolute(path: &Path) -> Result<PathBuf> {
    // What `..` leads to is known to the file system only; elsewhere links keep the names that they were given by.
    let goes_up = path.components().any(|part| part == Component::ParentDir);
    let absolute = if goes_up { fs::canonicalize(path) } else { path::absolute(path) };
    absolute.map_err(|e| Error::io("read", path, e))
}

/// The walk of a folder that was given.
struct Walk<'a> {
    /// Of this run.
    space: Option<&'a Path>,
    found: Vec<Input>,
    /// Files that are no event files.
    passed_over: Vec<PathBuf>,
    progress: &'a dyn Progress,
}

impl Walk<'_> {
    /// Takes what is in a folder, which is given as the user named it and from the root on.
    fn folder(&mut self, folder: &Path, absolute: &Path) -> Result<()> {
        let entries = fs::read_dir(folder).map_err(|e| Error::io("read the folder", folder, e))?;
        for entry in entries {
            let entry = entry.map_err(|e| Error::io("read the folder", folder, e))?;
            // A glob of the shell would pass over hidden ones too: they are half-written, or notes of other programs.
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let (path, absolute) = (entry.path(), absolute.join(entry.file_name()));
            let kind = entry.file_type().map_err(|e| Error::io("read", &path, e))?;
            if kind.is_dir() {
                if self.space.is_some() && fs::canonicalize(&path).ok().as_deref() == self.space {
                    continue;
                }
                if is_space(&path) {
                    let told =
                        format!("passed over `{}`: it is a space, its tables are no events", path.display());
                    self.progress.notice(&told);
                    continue;
                }
                self.folder(&path, &absolute)?;
            } else if kind.is_symlink() && path.is_dir() {
                // A link to a folder is not followed: it may lead in a circle.
            } else if is_event_file(&absolute) {
                self.found.push(Input { path, source: archive_source(&absolute) });
            } else {
                self.passed_over.push(path);
            }
        }
        Ok(())
    }
}

/// Whether a folder is a space of this program.
fn is_space(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_dir();
    folder.join("manifest.json").is_file() && (has(".state") || has(".run"))
}

fn is_event_file(absolute: &Path) -> bool {
    let name = absolute.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let without_gz = name.strip_suffix(".gz");
    let bare = without_gz.or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    [".json", ".ndjson", ".jsonl"].iter().any(|end| bare.ends_with(end))
        || without_gz.is_some() && below_archive(absolute).is_some()
}

/// The source in `.../segment-logs/SOURCE/DAY/file.gz`.
fn archive_source(absolute: &Path) -> Option<String> {
    let mut parts = below_archive(absolute)?.components();
    let source = parts.next()?.as_os_str().to_string_lossy().into_owned();
    // The last part is the file itself.
    parts.next().map(|_| source)
}

/// The rest of a path behind the last folder `segment-logs` in it.
fn below_archive(absolute: &Path) -> Option<&Path> {
    let mut folders = absolute.ancestors().skip(1);
    let archive = folders.find(|folder| folder.file_name().is_some_and(|name| name == "segment-logs"))?;
    absolute.strip_prefix(archive).ok()
}

/// How a file is packed, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip, perhaps of several members and with zero bytes after the last.
    Gzip,
    /// zstd, perhaps of several frames.
    Zstd,
}

impl Packing {
    /// Tells the packing by the first bytes of a file.
    #[must_use]
    pub fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// Bytes at the start of a file that tell its packing.
pub const MAGIC: usize = 4;

/// Unpacks a stream whose first bytes are given.
pub fn unpack<'a>(first: Vec<u8>, rest: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let packing = Packing::of(&first);
    let whole = io::BufReader::with_capacity(1 << 18, io::Cursor::new(first).chain(rest));
    Ok(match packing {
        Packing::Plain => Box::new(whole),
        Packing::Gzip => Box::new(Members::new(whole)),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(whole)?),
    })
}

/// Reads the first bytes of a stream, fewer where it is shorter.
pub fn first_bytes(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut first = Vec::with_capacity(MAGIC);
    reader.by_ref().take(MAGIC as u64).read_to_end(&mut first)?;
    Ok(first)
}

/// Refuses an archive, of which the first lines of each file stand behind its name and numbers.
pub fn refuse_tar(path: &Path, start: &[u8]) -> Result<()> {
    // Either form has a NUL, which no JSON can.
    let magic = start.get(257..).unwrap_or_default();
    if magic.starts_with(b"ustar\0") || magic.starts_with(b"ustar  \0") {
        return Err(Error::file(path, "is a tar archive").hint("unpack it first, with `tar -x`"));
    }
    Ok(())
}

/// Whether an input has to be unpacked, or cannot be read twice.
pub fn packed(input: &Input, files: &Files) -> Result<bool> {
    if input.is_stdin() {
        return Ok(true);
    }
    // A pipe must not be opened twice.
    if !fs::metadata(&input.path).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(true);
    }
    first_bytes(&mut files.open(&input.path)?)
        .map(|first| Packing::of(&first) != Packing::Plain)
        .map_err(|e| Error::io("read", &input.path, e))
}

/// Opens a file and unpacks it.
pub fn open(path: &Path, files: &Files) -> Result<Box<dyn Read + Send>> {
    let mut file = files.open(path)?;
    first_bytes(&mut file).and_then(|first| unpack(first, file)).map_err(|e| Error::io("read", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_paths_name_their_source() {
        let source = |path: &str| archive_source(Path::new(path));
        assert_eq!(source("a/segment-logs/src1/2024/x.gz"), Some("src1".to_owned()));
        assert_eq!(source("segment-logs/src1/x.gz"), Some("src1".to_owned()));
        assert_eq!(source("segment-logs/x.gz"), None);
        assert_eq!(source("logs/src1/x.gz"), None);
        assert_eq!(source("segment-logs/us/segment-logs/src1/x.gz"), Some("src1".to_owned()));
    }

    #[test]
    fn packing_is_told_by_magic_bytes() {
        assert_eq!(Packing::of(b"{}"), Packing::Plain);
        assert_eq!(Packing::of(b""), Packing::Plain);
        assert_eq!(Packing::of(&[0x1f, 0x8b, 8]), Packing::Gzip);
        assert_eq!(Packing::of(&[0x28, 0xb5, 0x2f, 0xfd]), Packing::Zstd);
    }
}
