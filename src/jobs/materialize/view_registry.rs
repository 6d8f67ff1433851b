//! The record of the views in the manifest: which raw rows each view reflects, and which bytes it has.
//!
//! The record never lists a view that is not there. Old entries are removed before views are replaced, and new ones are
//! added afterwards. A run that is killed in between leaves correct views without entries, and the next run builds them
//! from scratch.

use std::collections::BTreeMap;

use super::{job::ViewsJob, options::MaterializeOptions};
use crate::{
    error::Result,
    files::Files,
    progress::Progress,
    space::{
        layout::STATE_FOLDER,
        lock::Lock,
        manifest::{CommittedView, Manifest, ReflectedTable},
        stale_views::{raw_state, time},
    },
    table::write::{StagedViews, ViewStats},
    time::timestamp::Micros,
    view::{RAW_TABLES, View},
};

/// Recorded with each view. A view from another version of the program, or another version of the fold, is not updated
/// but rebuilt.
const MADE_BY: &str = concat!(env!("CARGO_PKG_VERSION"), "/1");

/// The views that were built.
pub(super) struct BuiltViews {
    pub(super) views: Vec<(View, ViewStats)>,
    /// The number of profiles that are not merged away.
    pub(super) profiles: u64,
    /// Whether each identifier has a single row.
    pub(super) plain: bool,
}

/// The record before the run, and what the one after it needs.
pub(super) struct ViewRegistry {
    /// The recorded views, by name.
    known: BTreeMap<String, CommittedView>,
    /// The state of the raw tables in this run, by name.
    raw: BTreeMap<String, ReflectedTable>,
    run: u64,
    columns: String,
}

/// Views that can be updated, because they reflect a prefix of the raw tables.
pub(super) struct Baseline<'a> {
    /// The requested views.
    pub(super) views: Vec<(View, &'a CommittedView)>,
    /// The view of the merges.
    pub(super) merges: &'a CommittedView,
    /// The states of the raw tables that they reflect, by name.
    pub(super) raw: BTreeMap<&'a str, ReflectedTable>,
}

impl ViewRegistry {
    pub(super) fn of(manifest: &Manifest, job: &ViewsJob<'_>) -> Self {
        Self {
            known: manifest.views.clone(),
            raw: RAW_TABLES.iter().map(|&table| (table.to_owned(), raw_state(manifest, table))).collect(),
            run: manifest.runs.len() as u64,
            columns: job.columns.digest(),
        }
    }

    /// Reports views that stay older than the raw tables, and views as of an earlier time that are replaced.
    pub(super) fn report_age(&self, made: &[View], as_of: Option<Micros>, progress: &dyn Progress) {
        let Self { known, run, .. } = self;
        let old: Vec<_> = known.iter().filter(|(_, state)| self.is_old(state)).collect();
        let is_made = |name: &str| made.iter().any(|view| view.name() == name);
        let as_of = known.values().find_map(|state| state.as_of.filter(|_| as_of.is_none()));
        if let Some(as_of) = as_of {
            progress.notice(&format!("the views were as of {}", time(as_of)));
        }
        for (name, state) in old.into_iter().filter(|(name, _)| !is_made(name)) {
            progress.notice(&format!(
                "`{name}` is not rebuilt: it reflects run {}, the raw tables are at run {run}",
                state.run
            ));
        }
    }

    fn is_old(&self, state: &CommittedView) -> bool {
        state.raw.iter().any(|(table, raw)| self.raw.get(table).is_some_and(|now| now.bytes != raw.bytes))
    }

    /// Returns the requested views, if their record allows an update.
    pub(super) fn base(&self, job: &ViewsJob<'_>) -> Option<Baseline<'_>> {
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
        // The two views of identifiers confirm each other, so both are needed.
        let has = |wanted: View| views.iter().any(|(view, _)| *view == wanted);
        if has(View::ExternalIdMapping) != has(View::UserIdentifiers) {
            return None;
        }
        let mut raw: BTreeMap<&str, ReflectedTable> = BTreeMap::new();
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
        Some(Baseline { views, merges, raw })
    }

    /// Puts the views in place and records them in the manifest. Returns the run that they reflect.
    pub(super) fn commit(
        self,
        made: &BuiltViews,
        staged: &StagedViews,
        options: &MaterializeOptions,
        files: &Files,
        progress: &dyn Progress,
    ) -> Result<u64> {
        let space = &options.raw;
        let lock = Lock::take_briefly(&space.join(STATE_FOLDER), options.wait, progress)?;
        // Another run may have extended the raw tables meanwhile. What it committed is kept.
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
            let state = CommittedView {
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
