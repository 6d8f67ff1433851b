//! What the manifest says of the views in a space: which raw tables each reflects, and which bytes it has.
//!
//! It never claims a view that is not there. Before views are replaced their old entries go, after it the new ones come;
//! whoever is killed in between leaves views that are right and of which nothing is known, and the next run folds anew.

use std::{collections::BTreeMap, path::Path};

use super::{Job, MaterializeOptions};
use crate::{
    error::Result,
    files::Files,
    progress::Progress,
    space::{
        commit::STATE,
        lock::Lock,
        manifest::{Manifest, RawState, ViewState},
    },
    table::write::{Staged, Written},
    time::timestamp::{Micros, push_micros},
    view::{RAW_TABLES, View},
};

/// Written into the record: views of another program, or of another fold of this one, are not carried on.
const MADE_BY: &str = concat!(env!("CARGO_PKG_VERSION"), "/1");

/// Views that were made.
pub(super) struct Made {
    pub(super) views: Vec<(View, Written)>,
    /// Profiles that are not merged away.
    pub(super) profiles: u64,
    /// Whether no identifier has more rows than one.
    pub(super) plain: bool,
}

/// What the manifest says before the run, and what it is to say after it.
pub(super) struct Record {
    /// Views as they were written, by name.
    known: BTreeMap<String, ViewState>,
    /// The raw tables of this run, by name.
    raw: BTreeMap<String, RawState>,
    run: u64,
    columns: String,
}

/// Views that may be brought up to date: they reflect the beginning of the raw tables.
pub(super) struct Base<'a> {
    /// The views asked for.
    pub(super) views: Vec<(View, &'a ViewState)>,
    /// Who was merged into whom.
    pub(super) merges: &'a ViewState,
    /// The raw tables they reflect, by name.
    pub(super) raw: BTreeMap<&'a str, RawState>,
}

impl Record {
    pub(super) fn of(manifest: &Manifest, job: &Job<'_>) -> Self {
        Self {
            known: manifest.views.clone(),
            raw: RAW_TABLES.iter().map(|&table| (table.to_owned(), raw_state(manifest, table))).collect(),
            run: manifest.runs.len() as u64,
            columns: job.columns.digest(),
        }
    }

    /// Reports views that stay behind the raw tables, and views as of an earlier time.
    pub(super) fn tell_age(&self, made: &[View], as_of: Option<Micros>, progress: &dyn Progress) {
        let Self { known, run, .. } = self;
        let old: Vec<_> = known.iter().filter(|(_, state)| self.is_old(state)).collect();
        let is_made = |name: &str| made.iter().any(|view| view.name() == name);
        let as_of = known.values().find_map(|state| state.as_of.filter(|_| as_of.is_none()));
        if let Some(as_of) = as_of {
            progress.notice(&format!("the views were as of {}", time(as_of)));
        }
        for (name, state) in old.into_iter().filter(|(name, _)| !is_made(name)) {
            progress.notice(&format!(
                "`{name}` is not made and stays as of run {}; the raw tables are of run {run}",
                state.run
            ));
        }
    }

    fn is_old(&self, state: &ViewState) -> bool {
        state.raw.iter().any(|(table, raw)| self.raw.get(table).is_some_and(|now| now.bytes != raw.bytes))
    }

    /// The views asked for, where all that is said of them allows to carry on from them.
    pub(super) fn base(&self, job: &Job<'_>) -> Option<Base<'_>> {
        if job.options.full || job.options.as_of.is_some() {
            return None;
        }
        let state_of = |view: View| {
            let state = self.known.get(view.name())?;
            let same = state.made_by == MADE_BY && state.columns == self.columns;
            (same && state.as_of.is_none() && state.plain).then_some(state)
        };
        let merges = state_of(View::ProfileMerges)?;
        let views =
            job.views.iter().map(|&view| Some((view, state_of(view)?))).collect::<Option<Vec<_>>>()?;
        // The two views of identifiers vouch for each other.
        let has = |wanted: View| views.iter().any(|(view, _)| *view == wanted);
        if has(View::ExternalIdMapping) != has(View::UserIdentifiers) {
            return None;
        }
        let mut raw: BTreeMap<&str, RawState> = BTreeMap::new();
        for (_, state) in views.iter().chain([&(View::ProfileMerges, merges)]) {
            for (table, reflected) in &state.raw {
                let now = self.raw.get(table)?;
                let known = raw.entry(table).or_insert_with(|| reflected.clone());
                let same = reflected.bytes != now.bytes || reflected.digest == now.digest;
                if *known != *reflected || now.bytes < reflected.bytes || !same {
                    return None;
                }
            }
        }
        Some(Base { views, merges, raw })
    }

    /// Puts the views in place and says so in the manifest. Returns the run whose rows they show.
    pub(super) fn commit(
        self,
        made: &Made,
        staged: &Staged,
        options: &MaterializeOptions,
        files: &Files,
        progress: &dyn Progress,
    ) -> Result<u64> {
        let space = &options.raw;
        let lock = Lock::take_briefly(&space.join(STATE), options.wait, progress)?;
        // Another run may have added to the raw tables meanwhile; what it committed stays.
        let mut manifest = Manifest::read_locked(space, &lock, files)?.unwrap_or_default();
        let n_known = manifest.views.len();
        for (view, _) in &made.views {
            manifest.views.remove(view.name());
        }
        if manifest.views.len() < n_known {
            manifest.write(space, files)?;
            files.sync_folder(space)?;
        }
        staged.put_in_place()?;
        let raw = |view: View| {
            let tables = view.tables().iter().map(|&table| (table.to_owned(), self.raw[table].clone()));
            tables.collect()
        };
        for (view, written) in &made.views {
            let state = ViewState {
                rows: written.rows,
                bytes: written.bytes,
                digest: written.digest.clone(),
                stored: written.stored,
                run: self.run,
                raw: raw(*view),
                as_of: options.as_of,
                made_by: MADE_BY.to_owned(),
                columns: self.columns.clone(),
                profiles: made.profiles,
                plain: made.plain,
            };
            manifest.views.insert(view.name().to_owned(), state);
        }
        manifest.write(space, files)?;
        files.sync_folder(space)?;
        Ok(self.run)
    }
}

fn raw_state(manifest: &Manifest, table: &str) -> RawState {
    let state = manifest.tables.get(table).cloned().unwrap_or_default();
    RawState { bytes: state.bytes, digest: state.digest }
}

/// The views of a space that do not reflect all of its raw tables, by name, each with the run that it is of, and the last
/// run. Nothing where the folder is no space, or nothing is known of its views.
pub fn stale_views(space: &Path, files: &Files) -> Result<(Vec<(String, u64)>, u64)> {
    let Some(manifest) = Manifest::read(space, files)? else { return Ok((Vec::new(), 0)) };
    let old = manifest.views.iter().filter(|(_, state)| is_old(state, &manifest));
    Ok((old.map(|(name, state)| (name.clone(), state.run)).collect(), manifest.runs.len() as u64))
}

/// Says of what is to be read as tables which of its views do not stand as its raw tables do.
pub fn tell_stale_views(folder: &Path, files: &Files, progress: &dyn Progress) {
    // A manifest that cannot be read is told by whoever needs it.
    let Ok(Some(manifest)) = Manifest::read(folder, files) else { return };
    for (view, state) in &manifest.views {
        let what = match state.as_of {
            Some(as_of) => format!("stands as of {}", time(as_of)),
            None if is_old(state, &manifest) => {
                format!("is of run {}, the raw tables are of run {}", state.run, manifest.runs.len())
            }
            None => continue,
        };
        progress.notice(&format!(
            "`{view}` in `{}` {what}: `profiles-sync materialize` brings it up to date",
            folder.display()
        ));
    }
}

fn is_old(state: &ViewState, manifest: &Manifest) -> bool {
    state.raw.iter().any(|(table, raw)| raw_state(manifest, table).bytes != raw.bytes)
}

/// A time in our spelling.
fn time(micros: Micros) -> String {
    let mut text = Vec::new();
    push_micros(&mut text, micros);
    String::from_utf8_lossy(&text).into_owned()
}
