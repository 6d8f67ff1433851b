//! Opening a space, appending to it, and committing: all of a run or nothing.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use tempfile::TempDir;

use super::{
    cut::{cut_back, tell_twin},
    damage::damage,
    kept::{self, Keeper},
    lock::Lock,
    manifest::{MANIFEST, Manifest, TableState},
    place,
    replay::{Replayed, replay},
    state::{self, Contents, Reading},
    tables::{SharedFile, Table, bytes_of, part_of, stands},
};
use crate::{
    collections::Map,
    config::rules::{Compression, Rules},
    error::{Error, Result},
    files::Files,
    identity::types::Types,
    progress::Progress,
    raw::{external_id_mapping_updates, id_graph_updates, profile_traits_updates},
    table::{
        blocks::Meter,
        find::{file_of, table_of},
    },
    time::timestamp::Millis,
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
    keeper: Keeper,
    /// Whether there is nothing that would have to be undone.
    is_clean: bool,
    /// How many runs stay that the space can be rolled back to; all if no rules say.
    keep_runs: Option<u32>,
    _lock: Lock,
    /// The folder of a run that commits nothing, if there is no space yet. Removed last.
    temporary: Option<TempDir>,
}

/// These stand in every space, also without a row: what reads them need not ask whether they are there.
const ALWAYS: [&str; 4] =
    [id_graph_updates::TABLE, external_id_mapping_updates::TABLE, profile_traits_updates::TABLE, "rejected"];
/// More tables than this are not kept open.
const MAX_OPEN: usize = 200;
/// More bytes than this do not wait in all tables together.
const MAX_PENDING: usize = 96 << 20;

impl Space {
    /// Opens a space, making the folder where it is missing. Rows that are committed but not in place are put in place, and
    /// what a run left behind that did not end is removed.
    ///
    /// A new space stores its tables as is said, or as they are; one that is there must store them so, where it is said.
    pub fn open(
        folder: &Path,
        compress: Option<Compression>,
        wait: u64,
        files: &Files,
        progress: &dyn Progress,
    ) -> Result<Self> {
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
        place::refuse_link(folder)?;
        let mut manifest = if let Some(manifest) = Manifest::read_locked(folder, &lock, files)? {
            refuse_other_compression(folder, &manifest, compress)?;
            manifest
        } else {
            let compress = compress.unwrap_or_default();
            refuse_foreign_tables(folder, compress)?;
            state::sweep(&state, &[], files);
            Manifest::of(compress)
        };
        manifest.ensure_secret(files)?;
        let keeper = Keeper::new(folder, manifest.kept_messages.as_ref());
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
        place::discard(folder, files)?;
        cut_back(folder, &space.manifest, files)?;
        Ok(space)
    }

    /// Forgets all rows that were added, so that a run can begin anew.
    pub fn begin_anew(&mut self) -> Result<()> {
        self.forget_tables();
        self.keeper = Keeper::new(&self.folder, self.manifest.kept_messages.as_ref());
        place::discard(&self.folder, &self.files)?;
        self.is_clean = true;
        Ok(())
    }

    /// Opens a space for a run that commits nothing. If there is no space in the folder yet, the folder stays as it is, or
    /// missing, and the run works in a temporary one.
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
            TempDir::new().map_err(|e| Error::io("create a folder in", std::env::temp_dir(), e))?;
        let mut space = Self::open(temporary.path(), compress, wait, files, progress)?;
        space.temporary = Some(temporary);
        Ok(space)
    }

    /// Makes rules say how the space stores its tables, whoever decided it; and says so.
    pub fn settle(&mut self, rules: &mut Rules) -> Compression {
        let compress = self.manifest.compress;
        self.keep_runs = Some(rules.keep_runs);
        rules.compress = Some(compress).filter(|compress| !compress.is_none());
        compress
    }

    /// Keeps an accepted message that no table names.
    pub fn keep(&mut self, message_key: u128, received_at: Millis) -> Result<()> {
        self.keeper.keep(message_key, received_at, &self.files)
    }

    /// The number of a table, opened where it is new.
    pub fn table(&mut self, name: &str) -> usize {
        if let Some(&number) = self.by_name.get(name) {
            return number;
        }
        let committed = self.manifest.tables.get(name);
        self.tables.push(Table::new(&self.folder, name, committed, self.manifest.compress));
        self.names.push(name.to_owned());
        self.by_name.insert(name.to_owned(), self.tables.len() - 1);
        self.tables.len() - 1
    }

    /// The tables, by their numbers.
    pub fn tables(&mut self) -> &mut [Table] {
        self.is_clean = false;
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

    /// Commits the rows of all tables and a state. The manifest that is written first is the commit: an error before it
    /// leaves the space as it was, and one after it is [`Error::NotInPlace`].
    pub fn commit(&mut self, mut next: Manifest, state: Contents<'_>, progress: &dyn Progress) -> Result<()> {
        self.is_clean = false;
        self.finish_tables(&mut next)?;
        let prepared = self.prepare(&mut next, state);
        if let Err(error) = prepared.and_then(|()| next.write(&self.folder, &self.files)) {
            place::release(&self.folder, &next.placing, &self.files);
            return Err(error);
        }
        self.is_clean = true;
        self.forget_tables();
        let synced = self.files.sync_folder(&self.folder);
        let placed = synced.and_then(|()| place::place(&self.folder, &next.placing, true, &self.files));
        placed.map_err(place::not_in_place)?;
        // The next command does it otherwise.
        if !next.placing.is_empty()
            && let Err(error) = place::close(&self.folder, &mut next, &self.files)
        {
            progress.warning(&format!("the run is committed, and the next one tidies up: {error}"));
        }
        self.manifest = next;
        state::sweep(&self.folder.join(STATE), &self.manifest.state, &self.files);
        Ok(())
    }

    fn forget_tables(&mut self) {
        self.tables.clear();
        self.names.clear();
        self.by_name.clear();
    }

    /// Lets all rows go to the staged files, and records in a manifest what the tables are then.
    fn finish_tables(&mut self, next: &mut Manifest) -> Result<()> {
        for name in ALWAYS {
            self.table(name);
        }
        next.kept_messages = self.keeper.finish(&self.files)?;
        let many = MAX_OPEN < self.tables.len();
        self.tables.par_iter_mut().with_max_len(1).try_for_each(|table| {
            table.flush_last(&self.files)?;
            if many {
                table.rest();
            }
            Ok(())
        })?;
        let mut shared = SharedFile::new(&self.folder, &self.files);
        for (name, table) in self.names.iter().zip(&mut self.tables) {
            let addition = match table.finish(&mut shared)? {
                None if ALWAYS.contains(&name.as_str()) && !self.manifest.tables.contains_key(name) => {
                    Some(table.make(&self.files)?)
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

    /// Does all that can fail before the commit.
    fn prepare(&self, next: &mut Manifest, state: Contents<'_>) -> Result<()> {
        place::prepare(&self.folder, &next.placing, &self.files)?;
        // What was read as a whole is written as a whole.
        let before = if state.graph.is_cold() { &self.manifest.state[..] } else { &[] };
        let folder = self.folder.join(STATE);
        next.state = state::write(&folder, next.runs.len() as u64, before, state, &self.files)?;
        next.record_rules(&self.manifest);
        next.record_run(&self.manifest);
        if let Some(keep) = self.keep_runs {
            next.thin_runs(keep);
        }
        Ok(())
    }

    /// Commits a run. `run` becomes its number as soon as the manifest has it, also if something fails after that.
    pub fn commit_run(
        &mut self,
        next: Manifest,
        state: Contents<'_>,
        run: &mut Option<u64>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let number = next.runs.len() as u64;
        let done = self.commit(next, state, progress);
        let has_run =
            |manifest: Option<Manifest>| manifest.is_some_and(|now| number <= now.runs.len() as u64);
        // This run has the lock, so it must not wait for anybody to put rows in place.
        if done.is_ok() || Manifest::load(&self.folder, &self.files).is_ok_and(has_run) {
            *run = Some(number);
        }
        done
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
            let why = if state::is_of_earlier_version(&self.folder.join(STATE), named, &self.files) {
                "of an earlier version of this program"
            } else {
                "missing or damaged"
            };
            progress.notice(&format!("the state cache is {why}: it is rebuilt from the raw tables"));
        }
        let replayed = replay(&self.folder, &self.manifest, types, &self.files, progress)?;
        self.check_truth(progress)?;
        Ok(replayed)
    }

    /// Refuses to rebuild anything from tables that are not as they were committed: it would be wrong for good.
    fn check_truth(&self, progress: &dyn Progress) -> Result<()> {
        let truth =
            [id_graph_updates::TABLE, external_id_mapping_updates::TABLE, profile_traits_updates::TABLE];
        let states = truth.iter().filter_map(|&name| Some((name, self.manifest.tables.get(name)?)));
        progress.start("checking", Some(states.clone().map(|(_, state)| state.bytes).sum()));
        let meter = Meter::new(progress);
        for (name, state) in states {
            if let Some(wrong) = damage(&self.folder, name, state, &[], &self.files, &meter)? {
                return Err(Error::file(part_of(&self.folder, name, state).path, wrong)
                    .hint("restore the table from a backup, or ingest into a new space"));
            }
        }
        Ok(())
    }

    /// Rows added since the last commit, by table.
    #[must_use]
    pub fn rows_added(&self) -> Vec<(String, u64)> {
        let rows = self.names.iter().cloned().zip(self.tables.iter().map(Table::rows_added));
        rows.filter(|(_, n)| 0 < *n).collect()
    }

    /// The tables as they are in the folder of staged files, for a run that begins a space.
    #[must_use]
    pub fn went_out(&self) -> BTreeMap<String, TableState> {
        let tables = self.names.iter().cloned().zip(self.tables.iter().map(Table::went_out));
        tables.filter(|(_, state)| 0 < state.bytes).collect()
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

    /// What the manifest promises must be there.
    fn check_lengths(&self, progress: &dyn Progress) -> Result<()> {
        for (name, state) in &self.manifest.tables {
            let stands = stands(&self.folder, name, state);
            let path = file_of(&self.folder, name, stands);
            let committed = bytes_of(state, stands);
            let wrong = match std::fs::metadata(&path) {
                Ok(there) if there.is_dir() => "a folder stands where the table was".to_owned(),
                Ok(there) if committed <= there.len() => String::new(),
                Ok(there) => format!("{} bytes, but the manifest has committed {committed}", there.len()),
                Err(e) if e.kind() == ErrorKind::NotFound && committed == 0 => String::new(),
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    format!("is missing, and the manifest has committed {committed} bytes of it")
                }
                Err(e) => return Err(Error::io("read", &path, e)),
            };
            if !wrong.is_empty() {
                return Err(Error::file(&path, wrong)
                    .hint("restore the table from a backup, or ingest into a new space"));
            }
            if stands == Compression::Zstd {
                tell_twin(&self.folder, name, progress);
            }
        }
        Ok(())
    }
}

/// A run that does not commit leaves the space as it found it, as far as it still can; the next run does the rest.
impl Drop for Space {
    fn drop(&mut self) {
        if self.is_clean {
            return;
        }
        self.tables.clear();
        state::sweep(&self.folder.join(STATE), &self.manifest.state, &self.files);
        let _ = place::discard(&self.folder, &self.files);
    }
}

/// A folder without a manifest must not hold tables, plain ones or such as would be written. If there is a state and no
/// staged file of a first run, a manifest was lost, and no table that is there may be overlooked.
fn refuse_foreign_tables(folder: &Path, compress: Compression) -> Result<()> {
    let is_lost = !place::staged_folder(folder).exists() && state::is_there(&folder.join(STATE));
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("read the folder", folder, e))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if table_of(&name).is_some_and(|(_, stored)| is_lost || stored.is_none() || stored == compress) {
            return Err(Error::file(
                folder,
                format!("holds `{name}` but no `{MANIFEST}`, so it is not a space"),
            )
            .hint(
                "give a new or empty folder with `--space DIR`; where this was a space whose manifest is lost, restore \
                 that from a backup, or bring its tables into a new one with `backfill raw OLD --space NEW`",
            ));
        }
    }
    Ok(())
}

/// A space stays with what its first run was given.
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
        space.begin_anew().unwrap();
        assert!(open().is_err());
        drop(space);
        open().unwrap();
    }
}
