//! One side of a comparison: a table file or a folder of tables, and how many bytes of each file count.
//!
//! A folder may be a space, of which only committed bytes count, or hold views, golden files or a warehouse's export. A
//! table is a file `TABLE.ndjson`, `.jsonl`, `.json` or `.csv`, plain or with `.gz` or `.zst`, or a folder `TABLE/` of
//! such files. A nested folder with tables that this program knows holds more tables, named by their path.

use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    catalog,
    error::{Error, Result},
    files::{Files, refuse_pipe},
    glob::Globs,
    read::{
        inputs::{CompressionFormat, first_bytes},
        lines::BOM,
    },
    space::{
        layout::MANIFEST,
        manifest::Manifest,
        tables::{committed_file_bytes, storage_of},
    },
    table::find,
};

use super::keys;

/// The index of the old side.
pub const OLD: usize = 0;
/// The index of the new side.
pub const NEW: usize = 1;

/// The format of a file's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// One JSON object per line.
    Json,
    /// Comma-separated, with the column names in the first line.
    Csv,
}

/// A table file as it was when the comparison began. If it is replaced later, the new file is not read.
#[derive(Debug, Clone)]
pub struct TableFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The format of its rows.
    pub format: TableFormat,
    /// How it is compressed.
    pub packing: CompressionFormat,
    /// The offset of the first row: after a byte order mark, if the file is not compressed.
    pub start: u64,
    /// The end of the bytes that count.
    pub bytes: u64,
    held: HeldFile,
}

/// How to open a file again.
#[derive(Debug, Clone)]
enum HeldFile {
    /// It stays open.
    Open(Arc<File>),
    /// It is opened again by its path, and must be this file.
    Closed(FileId),
}

/// Device and inode. A file that replaces another has its path, but not these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// The number of files of a side that stay open. Systems allow a process 256 or more, and a space may have thousands of
/// event tables.
const MAX_OPEN: usize = 100;

impl TableFile {
    /// Opens the file. Its position is shared, so it must be read by offset. Fails if the file was replaced.
    pub fn open(&self, files: &Files) -> Result<Arc<File>> {
        match &self.held {
            HeldFile::Open(file) => Ok(Arc::clone(file)),
            HeldFile::Closed(id) => {
                let file = files.open(&self.path)?;
                let metadata = file.metadata().map_err(|e| Error::io("read", &self.path, e))?;
                if FileId::of(&metadata) != *id {
                    return Err(Error::file(&self.path, "was replaced while it was compared")
                        .hint("compare again when nothing writes to the folder"));
                }
                Ok(Arc::new(file))
            }
        }
    }
}

/// The files of a table, in the order of their rows.
pub type TableFiles = Vec<TableFile>;

/// One side of a comparison.
#[derive(Debug, Clone)]
pub struct DiffSide {
    /// The path as given.
    pub path: PathBuf,
    /// Whether it is a folder.
    pub folder: bool,
    /// The tables by name. A single file is one table.
    pub tables: BTreeMap<String, TableFiles>,
}

impl DiffSide {
    /// Keeps the tables that match `wanted`; all of them if it has no globs.
    pub fn keep(&mut self, wanted: &Globs) {
        self.tables.retain(|name, _| wanted.is_empty() || wanted.is_match(name));
    }

    /// Opens both sides. Two files are one table, whatever their names are. It gets the name that has a known key, if
    /// there is one.
    pub fn open_both(old: &Path, new: &Path, files: &Files) -> Result<[Self; 2]> {
        let id = |path: &Path| fs::metadata(path).ok().map(|metadata| FileId::of(&metadata));
        let side_old = Self::open(old, files)?;
        // A space that is on both sides is opened once, so that it is the same even if a run commits in between.
        let side_new = if id(old) == id(new) {
            Self { path: new.to_owned(), ..side_old.clone() }
        } else {
            Self::open(new, files)?
        };
        let mut sides = [side_old, side_new];
        let [old, new] = &sides;
        if old.folder != new.folder {
            let (folder, file) = if old.folder { (old, new) } else { (new, old) };
            return Err(Error::file(
                &file.path,
                format!("is a file, but `{}` is a folder", folder.path.display()),
            )
            .hint("compare two table files, or two folders of tables"));
        }
        if !old.folder {
            let names = [old, new].map(|side| side.tables.keys().next().cloned().unwrap_or_default());
            let name = names.iter().find(|name| keys::known(name).is_some()).unwrap_or(&names[0]).clone();
            for side in &mut sides {
                let tables = std::mem::take(&mut side.tables);
                side.tables = tables.into_values().map(|table| (name.clone(), table)).collect();
            }
        }
        Ok(sides)
    }

    /// Opens a file or a folder.
    pub fn open(path: &Path, files: &Files) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(|e| {
            let missing = e.kind() == io::ErrorKind::NotFound;
            let error = Error::io("read", path, e);
            match missing {
                true if path == Path::new("-") => error
                    .hint("write the standard input to a file first, because tables are read more than once"),
                true => error.hint("give two table files, or two folders of tables"),
                false => error,
            }
        })?;
        let mut side = Self { path: path.to_owned(), folder: metadata.is_dir(), tables: BTreeMap::new() };
        let mut opener = Opener { files, n_open: 0 };
        if side.folder {
            opener.add_folder(path, "", &mut side.tables)?;
            if side.tables.is_empty() && !path.join(MANIFEST).is_file() {
                return Err(Error::file(path, "has no tables").hint(
                    "a table is a file such as pages.ndjson, .jsonl, .json or .csv, also with .gz or .zst",
                ));
            }
        } else {
            let name = file_name(path);
            let (table, format) = table_of(&name).unwrap_or((&name, TableFormat::Json));
            side.tables.insert(table.to_owned(), vec![opener.single(path, table, format)?]);
        }
        Ok(side)
    }
}

/// A folder that changes is listed again up to this many times.
const MAX_TRIES: usize = 100;

/// Opens the files of a side.
struct Opener<'a> {
    files: &'a Files,
    /// The number of files that stay open.
    n_open: usize,
}

impl Opener<'_> {
    /// Adds the tables of a folder; of a space, those that are committed.
    fn add_folder(
        &mut self,
        folder: &Path,
        prefix: &str,
        tables: &mut BTreeMap<String, TableFiles>,
    ) -> Result<()> {
        let found = self.unchanged(folder, |opener, manifest| opener.files_of(folder, prefix, manifest))?;
        for (name, table) in found {
            insert(tables, name, table)?;
        }
        for path in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
            let name = file_name(&path);
            if !is_table_folder(&path, &name)? {
                self.add_folder(&path, &format!("{prefix}{name}/"), tables)?;
            }
        }
        Ok(())
    }

    /// Opens what belongs to a manifest. Tries again if another manifest was committed meanwhile, because the lengths
    /// of one run do not fit the files of another, and such errors would mean nothing.
    fn unchanged<T>(
        &mut self,
        folder: &Path,
        open: impl Fn(&mut Self, Option<&Manifest>) -> Result<T>,
    ) -> Result<T> {
        let n_open = self.n_open;
        let mut manifest = Manifest::read(folder, self.files)?;
        for _ in 0..MAX_TRIES {
            let opened = open(self, manifest.as_ref());
            let now = Manifest::read(folder, self.files)?;
            if now == manifest {
                return opened;
            }
            manifest = now;
            self.n_open = n_open;
        }
        Err(Error::file(folder, "changes faster than it can be read")
            .hint("compare again when nothing writes to it"))
    }

    /// Returns the tables that are files in a folder, or folders of files.
    fn files_of(
        &mut self,
        folder: &Path,
        prefix: &str,
        manifest: Option<&Manifest>,
    ) -> Result<BTreeMap<String, TableFiles>> {
        let mut tables = BTreeMap::new();
        for path in entries(folder)? {
            let name = file_name(&path);
            if path.is_dir() {
                if is_table_folder(&path, &name)? {
                    let mut parts = Vec::new();
                    for path in entries(&path)?.into_iter().filter(|path| !path.is_dir()) {
                        if let Some((_, format)) = table_of(&file_name(&path)) {
                            parts.push(self.file(&path, format, None)?);
                        }
                    }
                    if !parts.is_empty() {
                        insert(&mut tables, format!("{prefix}{name}"), parts)?;
                    }
                }
                continue;
            }
            let Some((table, format)) = table_of(&name) else { continue };
            let committed = match manifest.map(|manifest| committed_bytes(folder, manifest, table, &name)) {
                None => None,
                Some(Some(bytes)) => Some(bytes),
                // Views are written after the commit, and replaced as a whole.
                Some(None) if catalog::is_view(table) => None,
                Some(None) => continue,
            };
            insert(&mut tables, format!("{prefix}{table}"), vec![self.file(&path, format, committed)?])?;
        }
        for (table, state) in manifest.iter().flat_map(|manifest| &manifest.tables) {
            if 0 < state.bytes && !tables.contains_key(&format!("{prefix}{table}")) {
                return Err(Error::file(
                    folder,
                    format!("the table `{table}` is committed but its file is missing"),
                )
                .hint("restore the file from a backup"));
            }
        }
        Ok(tables)
    }

    /// Opens a file given by its path. Of a table in a space, only committed bytes count.
    fn single(&mut self, path: &Path, table: &str, format: TableFormat) -> Result<TableFile> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        // The folder's `manifest.json` may be a file of another program.
        if Manifest::read(folder, self.files).is_err() {
            return self.file(path, format, None);
        }
        self.unchanged(folder, |opener, manifest| {
            let committed =
                manifest.and_then(|manifest| committed_bytes(folder, manifest, table, &file_name(path)));
            opener.file(path, format, committed)
        })
    }

    /// Opens a file, of which `committed` bytes count, or all.
    fn file(&mut self, path: &Path, format: TableFormat, committed: Option<u64>) -> Result<TableFile> {
        let io = |e| Error::io("read", path, e);
        refuse_pipe(path)?;
        let mut file = self.files.open(path)?;
        let first = first_bytes(&mut file).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        let size = metadata.len();
        let bytes = committed.unwrap_or(size);
        if size < bytes {
            return Err(Error::file(path, format!("holds {size} bytes, but {bytes} are committed"))
                .hint("restore the file from a backup"));
        }
        let start = if first.starts_with(BOM) { (BOM.len() as u64).min(bytes) } else { 0 };
        // Files whose length is in a manifest are only appended to. The others may be replaced, so they are kept open
        // first.
        let most = if committed.is_none() { MAX_OPEN } else { MAX_OPEN / 2 };
        let held = if self.n_open < most {
            self.n_open += 1;
            HeldFile::Open(Arc::new(file))
        } else {
            HeldFile::Closed(FileId::of(&metadata))
        };
        Ok(TableFile {
            path: path.to_owned(),
            format,
            packing: CompressionFormat::of(&first),
            start,
            bytes,
            held,
        })
    }
}

/// Returns the number of committed bytes in a table's file; `None` if the manifest does not list the table, or if the
/// table is stored in another file.
fn committed_bytes(folder: &Path, manifest: &Manifest, table: &str, file_name: &str) -> Option<u64> {
    let state = manifest.tables.get(table)?;
    let stored = find::table_of(file_name).map(|(_, stored)| stored);
    // The user may have put a decompressed copy next to the table's file.
    if stored.is_some_and(|stored| stored != storage_of(folder, table, state)) {
        return None;
    }
    Some(committed_file_bytes(state, stored.unwrap_or_default()))
}

fn insert(tables: &mut BTreeMap<String, TableFiles>, name: String, table: TableFiles) -> Result<()> {
    if let Some(other) = tables.get(&name) {
        let path = table.first().map(|file| file.path.clone()).unwrap_or_default();
        let other = other.first().map(|file| file.path.display().to_string()).unwrap_or_default();
        return Err(Error::file(path, format!("holds the table `{name}`, as `{other}` does"))
            .hint("leave one of the two in the folder"));
    }
    tables.insert(name, table);
    Ok(())
}

/// Returns whether the files of a folder are parts of one table. They are not if one is named like a table of this
/// program.
fn is_table_folder(folder: &Path, name: &str) -> Result<bool> {
    if keys::known(name).is_some() {
        return Ok(true);
    }
    let mut n_files = 0;
    for path in entries(folder)? {
        if path.is_dir() {
            return Ok(false);
        }
        if let Some((table, _)) = table_of(&file_name(&path)) {
            if catalog::is_built_in(table) {
                return Ok(false);
            }
            n_files += 1;
        }
    }
    Ok(0 < n_files)
}

/// Returns the paths in a folder, sorted by name, except hidden and temporary ones.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let io = |e| Error::io("read the folder", folder, e);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if !file_name(&path).starts_with('.') {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Returns the table and the format from a file's name; `None` if the file is not a table.
fn table_of(name: &str) -> Option<(&str, TableFormat)> {
    if name == MANIFEST {
        return None;
    }
    let bare = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    for (end, format) in [
        (".ndjson", TableFormat::Json),
        (".jsonl", TableFormat::Json),
        (".json", TableFormat::Json),
        (".csv", TableFormat::Csv),
    ] {
        if let Some(table) = bare.strip_suffix(end)
            && !table.is_empty()
        {
            return Some((table, format));
        }
    }
    None
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
