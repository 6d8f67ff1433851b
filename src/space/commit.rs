//! Opening a space, appending to it, and committing: all of a run or nothing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    lock::Lock,
    manifest::{MANIFEST, Manifest, TableState},
    replay::{Replayed, replay},
    state::{self, Contents, Reading},
    tables::{Table, path_of},
};
use crate::{
    collections::Map,
    error::{Error, Result},
    files::Files,
    identity::types::Types,
    progress::Progress,
    raw::{external_id_mapping_updates, id_graph_updates, profile_traits_updates},
    read::digest::Digest,
};

/// The folder in a space that holds what is not a table.
pub const STATE: &str = ".state";

/// A space opened for writing.
#[derive(Debug)]
pub struct Space {
    folder: PathBuf,
    files: Files,
    /// As it was committed last.
    pub manifest: Manifest,
    names: Vec<String>,
    tables: Vec<Table>,
    by_name: Map<String, usize>,
    committed: bool,
    _lock: Lock,
}

/// These stand in every space, also without a row: what reads them need not ask whether they are there.
const ALWAYS: [&str; 4] =
    [id_graph_updates::TABLE, external_id_mapping_updates::TABLE, profile_traits_updates::TABLE, "rejected"];
/// More tables than this are not kept open.
const MAX_OPEN: usize = 200;
/// More bytes than this do not wait in all tables together.
const MAX_PENDING: usize = 96 << 20;

impl Space {
    /// Opens a space, making the folder where it is missing. What a run left behind that did not end is cut off.
    pub fn open(folder: &Path, wait: u64, files: &Files, progress: &dyn Progress) -> Result<Self> {
        if folder.exists() && !folder.is_dir() {
            return Err(
                Error::file(folder, "not a folder").hint("give a folder for the space with `--space DIR`")
            );
        }
        let state = folder.join(STATE);
        files
            .create_folder(&state)
            .map_err(|e| e.hint("give a folder you may write to with `--space DIR`"))?;
        let lock = Lock::take(&state, wait, progress)?;
        let manifest = if let Some(manifest) = Manifest::read(folder, files)? {
            manifest
        } else {
            refuse_foreign_tables(folder)?;
            Manifest::default()
        };
        let space = Self {
            folder: folder.to_owned(),
            files: files.clone(),
            manifest,
            names: Vec::new(),
            tables: Vec::new(),
            by_name: Map::default(),
            committed: true,
            _lock: lock,
        };
        space.check_lengths()?;
        Ok(space)
    }

    /// The number of a table, opened where it is new.
    pub fn table(&mut self, name: &str) -> usize {
        if let Some(&number) = self.by_name.get(name) {
            return number;
        }
        let committed = self.manifest.tables.get(name).cloned().unwrap_or_default();
        self.tables.push(Table::new(&self.folder, name, &committed));
        self.names.push(name.to_owned());
        self.by_name.insert(name.to_owned(), self.tables.len() - 1);
        self.tables.len() - 1
    }

    /// The tables, by their numbers.
    pub fn tables(&mut self) -> &mut [Table] {
        self.committed = false;
        &mut self.tables
    }

    /// A table's name.
    #[must_use]
    pub fn name(&self, number: usize) -> &str {
        &self.names[number]
    }

    /// Keeps memory and open files within bounds. To be called now and then.
    pub fn relieve(&mut self) -> Result<()> {
        let pending: usize = self.tables.iter().map(Table::n_pending).sum();
        let many = MAX_OPEN < self.tables.len();
        for table in &mut self.tables {
            if MAX_PENDING < pending {
                table.flush(&self.files)?;
            }
            if many {
                table.rest();
            }
        }
        Ok(())
    }

    /// Commits: tables and state to the disk, then the folder, then the manifest.
    pub fn commit(&mut self, mut next: Manifest, state: Contents<'_>) -> Result<()> {
        for name in ALWAYS {
            self.table(name);
        }
        for (name, table) in self.names.iter().zip(&mut self.tables) {
            let state = table.finish(&self.files)?;
            if 0 < state.bytes || self.manifest.tables.contains_key(name) {
                next.tables.insert(name.clone(), state);
            } else if ALWAYS.contains(&name.as_str()) {
                self.files.append_after(&path_of(&self.folder, name), 0)?.sync()?;
                let digest = Digest::default().hex();
                next.tables
                    .insert(name.clone(), TableState { digest: digest.clone(), link: digest, ..state });
            }
        }
        let state_folder = self.folder.join(STATE);
        // What was read as a whole is written as a whole.
        let before = if state.graph.is_cold() { &self.manifest.state[..] } else { &[] };
        next.state = state::write(&state_folder, next.runs.len() as u64, before, state, &self.files)?;
        self.files.sync_folder(&self.folder)?;
        next.write(&self.folder, &self.files)?;
        self.manifest = next;
        self.committed = true;
        state::sweep(&state_folder, &self.manifest.state, &self.files);
        Ok(())
    }

    /// How to read the state for a run over so many bytes of events: looking everything up costs more for each event,
    /// reading all costs something for each entry.
    #[must_use]
    pub fn reading_for(&self, n_bytes: u64, reading: Reading) -> Reading {
        const BYTES_PER_ENTRY: u64 = 200;
        let n_entries: u64 = self.manifest.state.iter().map(|part| part.entries).sum();
        match reading {
            Reading::Lazy if n_entries * BYTES_PER_ENTRY < n_bytes => Reading::Whole,
            _ => reading,
        }
    }

    /// What the resolver needs to carry on: from the cache, else from the raw tables.
    pub fn carry_on(&self, reading: Reading, types: &Types, progress: &dyn Progress) -> Result<Replayed> {
        let named = &self.manifest.state;
        if !named.is_empty()
            && reading != Reading::Tables
            && let Some(state) = state::read(&self.folder.join(STATE), named, reading, types, &self.files)?
        {
            return Ok(state);
        }
        if !self.manifest.runs.is_empty() {
            progress.notice("the state cache is missing or damaged: it is rebuilt from the raw tables");
        }
        replay(&self.folder, &self.manifest, types, &self.files, progress)
    }

    /// Rows added since the last commit, by table.
    #[must_use]
    pub fn rows_added(&self) -> Vec<(String, u64)> {
        let rows = self.names.iter().cloned().zip(self.tables.iter().map(Table::rows_added));
        rows.filter(|(_, n)| 0 < *n).collect()
    }

    /// Where in each table the bytes added since the last commit begin and end.
    #[must_use]
    pub fn bytes_added(&self) -> BTreeMap<String, (u64, u64)> {
        let bytes = self.names.iter().cloned().zip(self.tables.iter().map(Table::bytes_added));
        bytes.filter(|(_, (start, end))| start < end).collect()
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the manifest promises must be there; what is there beyond it is cut off.
    fn check_lengths(&self) -> Result<()> {
        for (name, state) in &self.manifest.tables {
            let path = path_of(&self.folder, name);
            let length = std::fs::metadata(&path).map_or(0, |m| m.len());
            if length < state.bytes {
                return Err(Error::file(
                    &path,
                    format!("{length} bytes, but the manifest has committed {}", state.bytes),
                )
                .hint("restore the table from a backup, or ingest into a new space"));
            }
        }
        cut_back(&self.folder, &self.manifest, &self.files)
    }
}

/// A run that does not commit leaves the space as it found it, as far as it still can.
///
/// What counts is the manifest on the disk: an error behind its renaming comes after the commit.
impl Drop for Space {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        self.tables.clear();
        if let Ok(manifest) = Manifest::read(&self.folder, &self.files) {
            // The next run would do it otherwise.
            let _ = cut_back(&self.folder, &manifest.unwrap_or_default(), &self.files);
        }
    }
}

/// Cuts tables back to what is committed, and removes tables of which nothing is.
fn cut_back(folder: &Path, manifest: &Manifest, files: &Files) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("read the folder", folder, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("read the folder", folder, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(table) = name.strip_suffix(".ndjson") else { continue };
        if is_view(table) {
            continue;
        }
        let path = entry.path();
        let length = entry.metadata().map_err(|e| Error::io("read", &path, e))?.len();
        match manifest.tables.get(table) {
            Some(TableState { bytes, .. }) if length == *bytes => {}
            Some(TableState { bytes, .. }) => drop(files.append_after(&path, *bytes)?),
            None => files.remove_file(&path)?,
        }
    }
    Ok(())
}

/// The six views: pure functions of the tables, replaced whole and never appended to.
pub const VIEWS: [&str; 6] = [
    "user_traits",
    "user_identifiers",
    "profile_merges",
    "id_graph",
    "external_id_mapping",
    "profile_traits",
];

fn is_view(table: &str) -> bool {
    VIEWS.contains(&table)
}

/// A folder without a manifest must not hold tables of somebody else's.
fn refuse_foreign_tables(folder: &Path) -> Result<()> {
    let state = folder.join(STATE);
    // A first run that was killed leaves tables without a manifest, but with its mark in the state folder.
    if state.join(FIRST_RUN).exists() {
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("read the folder", folder, e))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".ndjson") {
            return Err(Error::file(
                folder,
                format!("holds `{name}` but no `{MANIFEST}`, so it is no space of ours"),
            )
            .hint("give a new or empty folder with `--space DIR`"));
        }
    }
    Ok(())
}

/// Stands in the state folder from before a space's first table until it has a manifest.
const FIRST_RUN: &str = "first-run";

impl Space {
    /// To be called before the first row goes out: leaves the mark that what is here without a manifest is ours.
    pub fn begin(&mut self) -> Result<()> {
        self.committed = false;
        if self.manifest.runs.is_empty() {
            let state = self.folder.join(STATE);
            drop(self.files.create(&state.join(FIRST_RUN))?);
            self.files.sync_folder(&state)?;
        }
        Ok(())
    }
}
