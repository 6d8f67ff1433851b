//! The files that a run reads: files as given, files found in folders, and `-` for the standard input.

use std::{
    fs,
    io::{self, Read},
    path::{self, Component, Path, PathBuf},
};

use super::gzip::GzipMembers;
use crate::{
    error::{Error, Result},
    files::Files,
    progress::Progress,
};

/// An input of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Path as given, or as found in a given folder.
    pub path: PathBuf,
    /// Source taken from an archive path, for lines that do not have one.
    pub source: Option<String>,
}

impl Input {
    /// Returns whether this is the standard input.
    #[must_use]
    pub fn is_stdin(&self) -> bool {
        self.path.as_os_str() == "-"
    }

    /// Returns the name used in messages and tables.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }
}

/// Lists the inputs in the order of the arguments, and the files of a folder by path. Skips the space's own folder,
/// wherever it is.
pub fn list(arguments: &[PathBuf], space: &Path, progress: &dyn Progress) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    let space = fs::canonicalize(space).ok();
    let (mut passed_over, mut without) = (Vec::new(), Vec::new());
    for argument in arguments {
        if argument.as_os_str() == "-" {
            if inputs.iter().any(Input::is_stdin) {
                return Err(Error::Refused(
                    "`-` is given twice, but there is only one standard input".to_owned(),
                ));
            }
            inputs.push(Input { path: argument.clone(), source: None });
            continue;
        }
        let metadata = fs::metadata(argument).map_err(|e| {
            let missing = e.kind() == io::ErrorKind::NotFound;
            let error = Error::io("read", argument, e);
            if missing {
                error.hint("give files or folders with events, or `-` for the standard input")
            } else {
                error
            }
        })?;
        let absolute = absolute(argument)?;
        if metadata.is_dir() {
            if space.is_some() && fs::canonicalize(argument).ok() == space {
                return Err(Error::file(argument, "this is the space itself, not a folder with events")
                    .hint("give the folder that contains the dump"));
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
            "no event files in `{}`: event files end in .json, .ndjson or .jsonl, \
             optionally followed by .gz or .zst",
            folder.display()
        );
        // One empty folder is fine, but a run without any input is hardly intended.
        if inputs.is_empty() { progress.warning(&told) } else { progress.notice(&told) }
    }
    if let Some(example) = passed_over.iter().min_by_key(|path| path_bytes(path)) {
        let (count, example) = (passed_over.len(), example.display());
        progress.notice(&match count {
            1 => format!("skipped 1 file that is not an event file: `{example}`"),
            _ => format!("skipped {count} files that are not event files, such as `{example}`"),
        });
    }
    Ok(inputs)
}

fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

/// Makes a path absolute, so that its meaning does not depend on the working directory.
fn absolute(path: &Path) -> Result<PathBuf> {
    // Only the file system knows where `..` leads. Other paths keep the names of links as given.
    let goes_up = path.components().any(|part| part == Component::ParentDir);
    let absolute = if goes_up { fs::canonicalize(path) } else { path::absolute(path) };
    absolute.map_err(|e| Error::io("read", path, e))
}

/// The search for event files below a given folder.
struct Walk<'a> {
    /// The space of this run.
    space: Option<&'a Path>,
    found: Vec<Input>,
    /// Files that are not event files.
    passed_over: Vec<PathBuf>,
    progress: &'a dyn Progress,
}

impl Walk<'_> {
    /// Collects the event files in a folder. `folder` is the path as given and `absolute` is the same folder from the
    /// root.
    fn folder(&mut self, folder: &Path, absolute: &Path) -> Result<()> {
        let entries = fs::read_dir(folder).map_err(|e| Error::io("read the folder", folder, e))?;
        for entry in entries {
            let entry = entry.map_err(|e| Error::io("read the folder", folder, e))?;
            // Shell globs skip hidden files too. They are half-written, or belong to other programs.
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
                        format!("skipped `{}`: it is a space, and its tables are not events", path.display());
                    self.progress.notice(&told);
                    continue;
                }
                self.folder(&path, &absolute)?;
            } else if kind.is_symlink() && path.is_dir() {
                // Links to folders are not followed: they may form a loop.
            } else if is_event_file(&absolute) {
                self.found.push(Input { path, source: archive_source(&absolute) });
            } else {
                self.passed_over.push(path);
            }
        }
        Ok(())
    }
}

/// Returns whether a folder is a space of this program.
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

/// Returns the source in `.../segment-logs/SOURCE/DAY/file.gz`.
fn archive_source(absolute: &Path) -> Option<String> {
    let mut parts = below_archive(absolute)?.components();
    let source = parts.next()?.as_os_str().to_string_lossy().into_owned();
    // The last component is the file itself.
    parts.next().map(|_| source)
}

/// Returns the part of a path after its last `segment-logs` folder.
fn below_archive(absolute: &Path) -> Option<&Path> {
    let mut folders = absolute.ancestors().skip(1);
    let archive = folders.find(|folder| folder.file_name().is_some_and(|name| name == "segment-logs"))?;
    absolute.strip_prefix(archive).ok()
}

/// Compression format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionFormat {
    /// Uncompressed.
    Plain,
    /// gzip, possibly with several members and zero bytes after the last one.
    Gzip,
    /// zstd, possibly with several frames.
    Zstd,
}

impl CompressionFormat {
    /// Detects the compression format from the first bytes of a file.
    #[must_use]
    pub fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// Number of bytes needed to detect the compression format.
pub const MAGIC: usize = 4;

/// Decompresses a stream, given its first bytes and the rest.
pub fn decompress<'a>(first: Vec<u8>, rest: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let packing = CompressionFormat::of(&first);
    let whole = io::BufReader::with_capacity(1 << 18, io::Cursor::new(first).chain(rest));
    Ok(match packing {
        CompressionFormat::Plain => Box::new(whole),
        CompressionFormat::Gzip => Box::new(GzipMembers::new(whole)),
        CompressionFormat::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(whole)?),
    })
}

/// Reads the first [`MAGIC`] bytes of a stream, or fewer if it is shorter.
pub fn first_bytes(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut first = Vec::with_capacity(MAGIC);
    reader.by_ref().take(MAGIC as u64).read_to_end(&mut first)?;
    Ok(first)
}

/// Returns an error if the input is a tar archive. Otherwise its headers would be read as parts of lines.
pub fn refuse_tar(path: &Path, start: &[u8]) -> Result<()> {
    // Both magic strings contain a NUL, which cannot occur in JSON.
    let magic = start.get(257..).unwrap_or_default();
    if magic.starts_with(b"ustar\0") || magic.starts_with(b"ustar  \0") {
        return Err(Error::file(path, "is a tar archive").hint("extract it first, with `tar -x`"));
    }
    Ok(())
}

/// Returns whether an input is compressed or cannot be read twice.
pub fn is_compressed_or_stream(input: &Input, files: &Files) -> Result<bool> {
    if input.is_stdin() {
        return Ok(true);
    }
    // A pipe must not be opened twice.
    if !fs::metadata(&input.path).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(true);
    }
    first_bytes(&mut files.open(&input.path)?)
        .map(|first| CompressionFormat::of(&first) != CompressionFormat::Plain)
        .map_err(|e| Error::io("read", &input.path, e))
}

/// Opens a file and decompresses it if necessary.
pub fn open(path: &Path, files: &Files) -> Result<Box<dyn Read + Send>> {
    let mut file = files.open(path)?;
    first_bytes(&mut file).and_then(|first| decompress(first, file)).map_err(|e| Error::io("read", path, e))
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
        assert_eq!(CompressionFormat::of(b"{}"), CompressionFormat::Plain);
        assert_eq!(CompressionFormat::of(b""), CompressionFormat::Plain);
        assert_eq!(CompressionFormat::of(&[0x1f, 0x8b, 8]), CompressionFormat::Gzip);
        assert_eq!(CompressionFormat::of(&[0x28, 0xb5, 0x2f, 0xfd]), CompressionFormat::Zstd);
    }
}
