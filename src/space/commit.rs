//! Opens a space, appends to it, and commits a run: as a whole or not at all.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use tempfile::TempDir;

use super::{
    cut::{cut_back, report_duplicate_file},
    damage::damage,
    kept::{self, KeptMessageWriter},
    layout::{MANIFEST, STATE_FOLDER, staged_folder},
    lock::Lock,
    manifest::Manifest,
    place,
    replay::replay,
    replayed::ResolverState,
    state::{self, Reading, StateContents},
    table_state::CommittedTable,
    tables::{AppendTable, SharedFile, committed_file, committed_file_bytes, storage_of},
};
use crate::{
    collections::Map,
    config::rules::{Compression, Rules},
    error::{Error, Result},
    files::Files,
    identity::types::IdentifierTypes,
    progress::Progress,
    raw::{external_id_mapping_updates, id_graph_updates, profile_traits_updates},
    table::{
        blocks::SharedProgress,
        find::{file_of, table_of},
    },
    time::timestamp::Millis,
};

/// A space opened for writing.
#[derive(Debug)]
pub struct Space {
    folder: PathBuf,
    files: Files,
    /// The manifest of the last commit.
    pub manifest: Manifest,
    names: Vec<String>,
    tables: Vec<AppendTable>,
    by_name: Map<String, usize>,
    keeper: KeptMessageWriter,
    /// Whether there is nothing to undo if the run ends now.
    is_clean: bool,
    /// Number of runs that stay available for rollback; all if no rules limit them.
    keep_runs: Option<u32>,
    _lock: Lock,
    /// The folder of a run that commits nothing, if there is no space yet. Removed last.
    temporary: Option<TempDir>,
}

/// Tables that every space has, even without rows, so that readers need not check for them.
const ALWAYS_PRESENT: [&str; 4] =
    [id_graph_updates::TABLE, external_id_mapping_updates::TABLE, profile_traits_updates::TABLE, "rejected"];
/// If there are more tables than this, their files do not stay open.
const MAX_OPEN: usize = 200;
/// Limit of the bytes that are pending in all tables together.
const MAX_PENDING: usize = 96 << 20;

impl Space {
    /// Opens a space, creating the folder if necessary. If an earlier run was killed, puts its committed rows in place
    /// and removes everything else that it left behind.
    ///
    /// A new space stores its tables as `compress` says, by default plain. Fails if an existing space stores them in
    /// another way.
    pub fn open(
        folder: &Path,
        compress: Option<Compression>,
        wait: u64,
        files: &Files,
        progress: &dyn Progress,
    ) -> Result<Self> {
        if folder.exists() && !folder.is_dir() {
            return Err(
                Error::file(folder, "is not a folder").hint("give a folder for the space with `--space DIR`")
            );
        }
        let state = folder.join(STATE_FOLDER);
        files
            .create_folder(&state)
            .map_err(|e| e.hint("give a folder that you can write to with `--space DIR`"))?;
        let lock = Lock::take(&state, wait, progress)?;
        place::refuse_link(folder)?;
        let mut manifest = if let Some(manifest) = Manifest::read_locked(folder, &lock, files)? {
            refuse_other_compression(folder, &manifest, compress)?;
            manifest
        } else {
            let compress = compress.unwrap_or_default();
            refuse_foreign_tables(folder, compress)?;
            state::delete_unused(&state, &[], files);
            Manifest::of(compress)
        };
        manifest.ensure_secret(files)?;
        let keeper = KeptMessageWriter::new(folder, manifest.kept_messages.as_ref());
        let space = Self {
            folder: folder.to_owned(),
            files: files.clone(),
            keeper,
            manifest,
            names: Vec::new(),
            tables: Vec::new(),
            by_name: Map::default(),
            is_clean: true,
            keep_runs: None,
            _lock: lock,
            temporary: None,
        };
        space.check_lengths(progress)?;
        kept::check_length(folder, space.manifest.kept_messages.as_ref())?;
        place::delete_staged(folder, files)?;
        cut_back(folder, &space.manifest, files)?;
        Ok(space)
    }

    /// Drops all rows added so far, so that the run can start again.
    pub fn start_over(&mut self) -> Result<()> {
        self.drop_added_rows();
        self.keeper = KeptMessageWriter::new(&self.folder, self.manifest.kept_messages.as_ref());
        place::delete_staged(&self.folder, &self.files)?;
        self.is_clean = true;
        Ok(())
    }

    /// Opens a space for a run that commits nothing. If the folder is missing or not yet a space, it stays as it is and
    /// the run uses a temporary folder.
    pub fn open_dry(
        folder: &Path,
        compress: Option<Compression>,
        wait: u64,
        files: &Files,
        progress: &dyn Progress,
    ) -> Result<Self> {
        if Manifest::read(folder, files)?.is_some() || folder.exists() && !folder.is_dir() {
            return Self::open(folder, compress, wait, files, progress);
        }
        if folder.is_dir() {
            refuse_foreign_tables(folder, compress.unwrap_or_default())?;
        }
        let temporary =
            TempDir::new().map_err(|e| Error::io("create a temporary folder in", std::env::temp_dir(), e))?;
        let mut space = Self::open(temporary.path(), compress, wait, files, progress)?;
        space.temporary = Some(temporary);
        Ok(space)
    }

    /// Sets the compression in the rules to that of the space, and returns it. Takes from the rules how many runs to
    /// keep.
    pub fn apply_compression(&mut self, rules: &mut Rules) -> Compression {
        let compress = self.manifest.compress;
        self.keep_runs = Some(rules.keep_runs);
        rules.compress = Some(compress).filter(|compress| !compress.is_none());
        compress
    }

    /// Keeps an accepted message that no table records.
    pub fn keep(&mut self, message_key: u128, received_at: Millis) -> Result<()> {
        self.keeper.append(message_key, received_at, &self.files)
    }

    /// Returns the number of a table, opening it if necessary.
    pub fn table(&mut self, name: &str) -> usize {
        if let Some(&number) = self.by_name.get(name) {
            return number;
        }
        let committed = self.manifest.tables.get(name);
        self.tables.push(AppendTable::new(&self.folder, name, committed, self.manifest.compress));
        self.names.push(name.to_owned());
        self.by_name.insert(name.to_owned(), self.tables.len() - 1);
        self.tables.len() - 1
    }

    /// Returns the tables, by number.
    pub fn tables(&mut self) -> &mut [AppendTable] {
        self.is_clean = false;
        &mut self.tables
    }

    /// Returns the name of a table.
    #[must_use]
    pub fn name(&self, number: usize) -> &str {
        &self.names[number]
    }

    /// Flushes and closes files if over the limits. Call after each batch.
    pub fn enforce_limits(&mut self) -> Result<()> {
        let pending: usize = self.tables.iter().map(AppendTable::n_pending).sum();
        let many = MAX_OPEN < self.tables.len();
        for table in &mut self.tables {
            if MAX_PENDING < pending {
                table.flush(&self.files)?;
            }
            if many {
                table.close();
            }
        }
        Ok(())
    }

    /// Commits the rows of all tables and the state. Writing the manifest is the commit: an earlier error leaves the
    /// space as it was, a later one is [`Error::NotInPlace`].
    pub fn commit(
        &mut self,
        mut next: Manifest,
        state: StateContents<'_>,
        progress: &dyn Progress,
    ) -> Result<()> {
        self.is_clean = false;
        self.finish_tables(&mut next)?;
        let prepared = self.prepare(&mut next, state);
        if let Err(error) = prepared.and_then(|()| next.write(&self.folder, &self.files)) {
            place::release_reserved(&self.folder, &next.placing, &self.files);
            return Err(error);
        }
        self.is_clean = true;
        self.drop_added_rows();
        let synced = self.files.sync_folder(&self.folder);
        let placed =
            synced.and_then(|()| place::put_in_place(&self.folder, &next.placing, true, &self.files));
        placed.map_err(place::not_in_place)?;
        // If this fails, the next command does it.
        if !next.placing.is_empty()
            && let Err(error) = place::record_in_place(&self.folder, &mut next, &self.files)
        {
            progress.warning(&format!(
                "the run is committed, but its staged files are left to the next run: {error}"
            ));
        }
        self.manifest = next;
        state::delete_unused(&self.folder.join(STATE_FOLDER), &self.manifest.state, &self.files);
        Ok(())
    }

    fn drop_added_rows(&mut self) {
        self.tables.clear();
        self.names.clear();
        self.by_name.clear();
    }

    /// Flushes all rows to the staged files, and records the new tables in the manifest.
    fn finish_tables(&mut self, next: &mut Manifest) -> Result<()> {
        for name in ALWAYS_PRESENT {
            self.table(name);
        }
        next.kept_messages = self.keeper.finish(&self.files)?;
        let many = MAX_OPEN < self.tables.len();
        self.tables.par_iter_mut().with_max_len(1).try_for_each(|table| {
            table.flush_last(&self.files)?;
            if many {
                table.close();
            }
            Ok(())
        })?;
        let mut shared = SharedFile::new(&self.folder, &self.files);
        for (name, table) in self.names.iter().zip(&mut self.tables) {
            let addition = match table.finish(&mut shared)? {
                None if ALWAYS_PRESENT.contains(&name.as_str())
                    && !self.manifest.tables.contains_key(name) =>
                {
                    Some(table.create_empty(&self.files)?)
                }
                addition => addition,
            };
            if let Some(addition) = addition {
                next.tables.insert(name.clone(), addition.state);
                next.placing.insert(addition.file, addition.placement);
            }
        }
        shared.finish()
    }

    /// Does everything that can fail before the commit.
    fn prepare(&self, next: &mut Manifest, state: StateContents<'_>) -> Result<()> {
        place::prepare(&self.folder, &next.placing, &self.files)?;
        // A state that was loaded completely is written completely.
        let before = if state.graph.is_partial() { &self.manifest.state[..] } else { &[] };
        let folder = self.folder.join(STATE_FOLDER);
        next.state = state::write(&folder, next.runs.len() as u64, before, state, &self.files)?;
        next.record_rules(&self.manifest);
        next.record_run(&self.manifest);
        if let Some(keep) = self.keep_runs {
            next.drop_old_records(keep);
        }
        Ok(())
    }

    /// Commits a run. Sets `run` to its number as soon as the manifest contains the run, even if a later step fails.
    pub fn commit_run(
        &mut self,
        next: Manifest,
        state: StateContents<'_>,
        run: &mut Option<u64>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let number = next.runs.len() as u64;
        let done = self.commit(next, state, progress);
        let has_run =
            |manifest: Option<Manifest>| manifest.is_some_and(|now| number <= now.runs.len() as u64);
        // This run holds the lock, so it must not wait for another process to put rows in place.
        if done.is_ok() || Manifest::load(&self.folder, &self.files).is_ok_and(has_run) {
            *run = Some(number);
        }
        done
    }

    /// Returns how to read the state for a run over `n_bytes` of events: lookups cost more per event, and loading
    /// everything costs something for each entry.
    #[must_use]
    pub fn choose_reading(&self, n_bytes: u64, reading: Reading) -> Reading {
        const BYTES_PER_ENTRY: u64 = 200;
        let n_entries: u64 = self.manifest.state.iter().map(|part| part.entries).sum();
        match reading {
            Reading::Lazy if n_entries * BYTES_PER_ENTRY < n_bytes => Reading::Whole,
            _ => reading,
        }
    }

    /// Returns the state that the resolver continues with: from the cache if possible, otherwise from the raw tables.
    pub fn load_state(
        &self,
        reading: Reading,
        types: &IdentifierTypes,
        progress: &dyn Progress,
    ) -> Result<ResolverState> {
        let named = &self.manifest.state;
        if !named.is_empty()
            && reading != Reading::Tables
            && let Some(state) =
                state::read(&self.folder.join(STATE_FOLDER), named, reading, types, &self.files)?
        {
            return Ok(state);
        }
        if !self.manifest.runs.is_empty() {
            let why = if state::is_of_earlier_version(&self.folder.join(STATE_FOLDER), named, &self.files) {
                "from an earlier version of this program"
            } else {
                "missing or damaged"
            };
            progress.notice(&format!("the state cache is {why}: it is rebuilt from the raw tables"));
        }
        let replayed = replay(&self.folder, &self.manifest, types, &self.files, progress)?;
        self.check_raw_tables(progress)?;
        Ok(replayed)
    }

    /// Fails if a raw table is not as committed. A state rebuilt from it would stay wrong.
    fn check_raw_tables(&self, progress: &dyn Progress) -> Result<()> {
        let truth =
            [id_graph_updates::TABLE, external_id_mapping_updates::TABLE, profile_traits_updates::TABLE];
        let states = truth.iter().filter_map(|&name| Some((name, self.manifest.tables.get(name)?)));
        progress.start("checking", Some(states.clone().map(|(_, state)| state.bytes).sum()));
        let meter = SharedProgress::new(progress);
        for (name, state) in states {
            if let Some(wrong) = damage(&self.folder, name, state, &[], &self.files, &meter)? {
                return Err(Error::file(committed_file(&self.folder, name, state).path, wrong)
                    .hint("restore the table from a backup, or ingest into a new space"));
            }
        }
        Ok(())
    }

    /// Returns the number of rows added since the last commit, by table.
    #[must_use]
    pub fn rows_added(&self) -> Vec<(String, u64)> {
        let rows = self.names.iter().cloned().zip(self.tables.iter().map(AppendTable::rows_added));
        rows.filter(|(_, n)| 0 < *n).collect()
    }

    /// Returns what was flushed of each table, for the first run in a space: as if the staged files were the tables.
    #[must_use]
    pub fn flushed(&self) -> BTreeMap<String, CommittedTable> {
        let tables = self.names.iter().cloned().zip(self.tables.iter().map(AppendTable::flushed));
        tables.filter(|(_, state)| 0 < state.bytes).collect()
    }

    /// Returns the byte range added since the last commit, by table.
    #[must_use]
    pub fn bytes_added(&self) -> BTreeMap<String, (u64, u64)> {
        let bytes = self.names.iter().cloned().zip(self.tables.iter().map(AppendTable::bytes_added));
        bytes.filter(|(_, (start, end))| start < end).collect()
    }

    /// Returns the folder of the space.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Fails if a table is missing or shorter than its committed length. Reports duplicate files.
    fn check_lengths(&self, progress: &dyn Progress) -> Result<()> {
        for (name, state) in &self.manifest.tables {
            let stands = storage_of(&self.folder, name, state);
            let path = file_of(&self.folder, name, stands);
            let committed = committed_file_bytes(state, stands);
            let wrong = match std::fs::metadata(&path) {
                Ok(there) if there.is_dir() => "is a folder, not a file".to_owned(),
                Ok(there) if committed <= there.len() => String::new(),
                Ok(there) => format!("has {} bytes, but {committed} are committed", there.len()),
                Err(e) if e.kind() == ErrorKind::NotFound && committed == 0 => String::new(),
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    format!("is missing, but {committed} bytes of it are committed")
                }
                Err(e) => return Err(Error::io("read", &path, e)),
            };
            if !wrong.is_empty() {
                return Err(Error::file(&path, wrong)
                    .hint("restore the table from a backup, or ingest into a new space"));
            }
            if stands == Compression::Zstd {
                report_duplicate_file(&self.folder, name, progress);
            }
        }
        Ok(())
    }
}

/// A run that does not commit leaves the space as it was, as far as possible. The next run does the rest.
impl Drop for Space {
    fn drop(&mut self) {
        if self.is_clean {
            return;
        }
        self.tables.clear();
        state::delete_unused(&self.folder.join(STATE_FOLDER), &self.manifest.state, &self.files);
        let _ = place::delete_staged(&self.folder, &self.files);
    }
}

/// Fails if a folder without a manifest contains tables that are plain or stored as a new space would store them. Files
/// in other formats may stay. If there is a state but no staged file of a first run, the manifest was lost, so any
/// table is an error.
fn refuse_foreign_tables(folder: &Path, compress: Compression) -> Result<()> {
    let is_lost = !staged_folder(folder).exists() && state::is_there(&folder.join(STATE_FOLDER));
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("read the folder", folder, e))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if table_of(&name).is_some_and(|(_, stored)| is_lost || stored.is_none() || stored == compress) {
            return Err(Error::file(
                folder,
                format!("contains `{name}` but no `{MANIFEST}`, so it is not a space"),
            )
            .hint(
                "give a new or empty folder with `--space DIR`; if this was a space and its manifest is lost, restore \
                 the manifest from a backup, or adopt the tables with `backfill raw OLD --space NEW`",
            ));
        }
    }
    Ok(())
}

/// Fails if a space does not store its tables as `wanted`. The first run decides that for good.
fn refuse_other_compression(folder: &Path, manifest: &Manifest, wanted: Option<Compression>) -> Result<()> {
    let Some(wanted) = wanted.filter(|wanted| *wanted != manifest.compress) else { return Ok(()) };
    let told = |compression| match compression {
        Compression::None => "plain",
        Compression::Zstd => "compressed",
    };
    let message = format!("its tables are {}, and cannot become {}", told(manifest.compress), told(wanted));
    Err(Error::file(folder, message).hint(format!(
        "leave out `--compress {0}` and `compress = \"{0}\"` in the config, or give a new space with `--space DIR`",
        wanted.word()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn a_run_that_begins_anew_keeps_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::real();
        let open = || Space::open(folder.path(), None, 0, &files, &Silent);
        let mut space = open().unwrap();
        assert!(open().is_err());
        space.start_over().unwrap();
        assert!(open().is_err());
        drop(space);
        open().unwrap();
    }
}
