//! One side of a comparison: a table file, or a folder of tables, and what of each file counts.
//!
//! A folder may be a space, of which only committed bytes count, a folder of views, golden files or a warehouse's export.
//! A table is a file `TABLE.ndjson`, `.jsonl`, `.json` or `.csv`, plain or with `.gz` or `.zst`, or a folder `TABLE/` of
//! such files. A folder in a folder that holds tables of ours is more tables, called by their path.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    files::{Files, refuse_pipe},
    glob::Globs,
    raw::names::BUILT_IN_TABLES,
    read::{
        inputs::{Packing, first_bytes},
        lines::BOM,
    },
    space::{
        manifest::{MANIFEST, Manifest},
        tables::{bytes_of, stands},
    },
    table::find,
};

use super::keys;

/// How the rows of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line.
    Json,
    /// Comma-separated, the first line names the columns.
    Csv,
}

/// A file of a table.
#[derive(Debug, Clone)]
pub struct TableFile {
    /// Where it is.
    pub path: PathBuf,
    /// How its rows are written.
    pub format: Format,
    /// How it is packed.
    pub packing: Packing,
    /// Where its rows begin: behind a byte order mark, where it is not packed.
    pub start: u64,
    /// Where what counts of its bytes ends.
    pub bytes: u64,
}

/// The files of a table, in the order of their rows.
pub type Table = Vec<TableFile>;

/// One side.
#[derive(Debug)]
pub struct Side {
    /// As it was given.
    pub path: PathBuf,
    /// Whether it is a folder.
    pub folder: bool,
    /// The tables by name. A single file is one table.
    pub tables: BTreeMap<String, Table>,
}

impl Side {
    /// Lets go of the tables that are not asked for; none are asked for by no globs.
    pub fn keep(&mut self, wanted: &Globs) {
        self.tables.retain(|name, _| wanted.is_empty() || wanted.is_match(name));
    }

    /// Looks at both sides. Two files are one table, whatever they are called: it gets the name that tells a key.
    pub fn open_both(old: &Path, new: &Path, files: &Files) -> Result<[Self; 2]> {
        let mut sides = [Self::open(old, files)?, Self::open(new, files)?];
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

    /// Looks at what was given.
    pub fn open(path: &Path, files: &Files) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(|e| {
            let missing = e.kind() == io::ErrorKind::NotFound;
            let error = Error::io("read", path, e);
            match missing {
                true if path == Path::new("-") => error.hint(
                    "the standard input cannot be compared, as tables are read more than once: write it to a file first",
                ),
                true => error.hint("give two table files, or two folders of tables"),
                false => error,
            }
        })?;
        let mut tables = BTreeMap::new();
        if !metadata.is_dir() {
            let name = file_name(path);
            let (table, format) = table_of(&name).unwrap_or((&name, Format::Json));
            tables.insert(table.to_owned(), vec![look(path, format, None, files)?]);
            return Ok(Self { path: path.to_owned(), folder: false, tables });
        }
        read_folder(path, "", &mut tables, files)?;
        if tables.is_empty() && !path.join(MANIFEST).is_file() {
            return Err(Error::file(path, "holds no tables").hint(
                "a table is a file such as pages.ndjson, .jsonl, .json or .csv, plain or with .gz or .zst behind it",
            ));
        }
        Ok(Self { path: path.to_owned(), folder: true, tables })
    }
}

/// Finds the tables of a folder; in a space, those that are committed.
fn read_folder(
    folder: &Path,
    prefix: &str,
    tables: &mut BTreeMap<String, Table>,
    files: &Files,
) -> Result<()> {
    let manifest = Manifest::read(folder, files)?;
    for path in entries(folder)? {
        let name = file_name(&path);
        if path.is_dir() {
            if is_table_folder(&path, &name)? {
                let mut parts = Vec::new();
                for path in entries(&path)?.into_iter().filter(|path| !path.is_dir()) {
                    if let Some((_, format)) = table_of(&file_name(&path)) {
                        parts.push(look(&path, format, None, files)?);
                    }
                }
                if !parts.is_empty() {
                    insert(tables, format!("{prefix}{name}"), parts)?;
                }
            } else {
                read_folder(&path, &format!("{prefix}{name}/"), tables, files)?;
            }
            continue;
        }
        let Some((table, format)) = table_of(&name) else { continue };
        let committed = match &manifest {
            None => None,
            Some(manifest) => match manifest.tables.get(table) {
                Some(state) => match find::table_of(&name).map(|(_, stored)| stored) {
                    // Beside the table's file somebody may have put it unpacked.
                    Some(stored) if stored != stands(folder, table, state) => continue,
                    stored => Some(bytes_of(state, stored.unwrap_or_default())),
                },
                // Views are folded after the commit, and replaced whole.
                None if VIEWS.contains(&table) => None,
                None => continue,
            },
        };
        insert(tables, format!("{prefix}{table}"), vec![look(&path, format, committed, files)?])?;
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
    Ok(())
}

const VIEWS: [&str; 6] = [
    "id_graph",
    "external_id_mapping",
    "profile_traits",
    "user_traits",
    "user_identifiers",
    "profile_merges",
];

fn insert(tables: &mut BTreeMap<String, Table>, name: String, table: Table) -> Result<()> {
    if let Some(other) = tables.get(&name) {
        let path = table.first().map(|file| file.path.clone()).unwrap_or_default();
        let other = other.first().map(|file| file.path.display().to_string()).unwrap_or_default();
        return Err(Error::file(path, format!("holds the table `{name}`, as `{other}` does"))
            .hint("leave one of the two in the folder"));
    }
    tables.insert(name, table);
    Ok(())
}

/// Whether the files of a folder are the parts of one table: unless they are called as tables of ours are.
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
            if BUILT_IN_TABLES.contains(&table) {
                return Ok(false);
            }
            n_files += 1;
        }
    }
    Ok(0 < n_files)
}

/// What stands in a folder, by name; what is hidden or half written is left out.
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

/// The table and the format that a file's name tells; `None` where it is no table.
fn table_of(name: &str) -> Option<(&str, Format)> {
    if name == MANIFEST {
        return None;
    }
    let bare = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    for (end, format) in
        [(".ndjson", Format::Json), (".jsonl", Format::Json), (".json", Format::Json), (".csv", Format::Csv)]
    {
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

/// Takes down what of a file counts and how it is packed.
fn look(path: &Path, format: Format, committed: Option<u64>, files: &Files) -> Result<TableFile> {
    let io = |e| Error::io("read", path, e);
    refuse_pipe(path)?;
    let mut file = files.open(path)?;
    let first = first_bytes(&mut file).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let bytes = committed.unwrap_or(size);
    if size < bytes {
        return Err(Error::file(path, format!("holds {size} bytes, but {bytes} are committed"))
            .hint("restore the file from a backup"));
    }
    let start = if first.starts_with(BOM) { (BOM.len() as u64).min(bytes) } else { 0 };
    Ok(TableFile { path: path.to_owned(), format, packing: Packing::of(&first), start, bytes })
}
