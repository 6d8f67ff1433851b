//! The job `backfill`: starts a space with data that you already have, or adds data that it lacks.
//!
//! [`profiles`] infers raw rows from a snapshot of current profiles: each of its rows is new, known or a conflict, and
//! nothing that is known changes. [`events`] adds rows to event tables. [`raw`] adopts the raw tables of an export,
//! with their history.

pub mod adopt;
pub mod conflicts;
pub mod event_tables;
pub mod events;
pub mod inferred;
pub mod known_calls;
pub mod merges;
pub mod newest;
pub mod raw;
pub mod raw_rows;
mod read_state;
pub mod reorder;
pub mod rows_of;
pub mod state;
pub mod state_rows;
pub mod tables_of;

use std::{path::PathBuf, time::Instant};

use self::{
    adopt::Adopter, conflicts::Conflict, inferred::SpaceClocks, reorder::adopted_first,
    state::ProfileSnapshot,
};
use crate::{
    config::{in_force::compression_of, rules::Compression},
    error::Result,
    files::Files,
    identity::types::IdentifierTypes,
    progress::Progress,
    space::{
        commit::Space,
        manifest::{Manifest, RunInput, RunKind, RunRecord},
        stale_views::tell_stale_views,
        state::{Reading, StateContents},
    },
    summary::ProfilesSummary,
    table::blocks::SharedProgress,
};

/// Options of [`profiles`]: which snapshot to adopt, and where to.
#[derive(Debug, Clone)]
pub struct ProfilesOptions {
    /// The folder with the tables of the snapshot.
    pub state: PathBuf,
    /// The space; created if missing.
    pub space: PathBuf,
    /// How a new space stores its tables; overrides its config.
    pub compress: Option<Compression>,
    /// Whether a conflict is an error, so that nothing is committed.
    pub strict: bool,
    /// Whether to do everything except the commit.
    pub dry_run: bool,
    /// How many seconds to wait for another run to end.
    pub wait: u64,
}

/// Adopts the profiles of a snapshot. Commits nothing if anything fails. Runs on the current rayon pool.
pub fn profiles(
    options: &ProfilesOptions,
    files: &Files,
    progress: &dyn Progress,
) -> Result<ProfilesSummary> {
    let started = Instant::now();
    let meter = SharedProgress::new(progress);
    tell_stale_views(&options.state, files, progress);
    let mut state = ProfileSnapshot::read(&options.state, files, &meter)?;
    let mut summary = ProfilesSummary {
        tables_used: state.used.iter().map(|table| table.name.clone()).collect(),
        tables_missing: std::mem::take(&mut state.missing),
        ..ProfilesSummary::default()
    };
    let compress = compression_of(&options.space, options.compress, files)?;
    let open = if options.dry_run { Space::open_dry } else { Space::open };
    let mut space = open(&options.space, compress, options.wait, files, progress)?;
    if let Some(n_conflicts) = adopted_before(&space.manifest, RunKind::BackfillProfiles, &state.used)
        && (n_conflicts == 0 || !options.strict)
    {
        progress.notice(&format!("`{}` was adopted before: nothing to do", options.state.display()));
        summary.adopted_before = true;
        summary.seconds = started.elapsed().as_secs_f64();
        return Ok(summary);
    }
    let types = IdentifierTypes::default();
    let mut replayed = space.load_state(Reading::Whole, &types, progress)?;
    progress.start("adopting", None);
    let n_profiles = replayed.graph.n_profiles();
    let n_adopted: u64 = space.manifest.runs.iter().map(|run| run.adopted).sum();
    let n_adopted = usize::try_from(n_adopted).unwrap_or(n_profiles);
    let given: u64 = space.manifest.runs.iter().map(|run| run.inferred).sum();
    let mut clocks = SpaceClocks {
        seq: given,
        uuid_ts: space.manifest.uuid_ts.max(state.newest.unwrap_or(space.manifest.uuid_ts)),
    };
    let mut adopted = Adopter {
        state: &state,
        replayed: &mut replayed,
        types: &types,
        clocks: &mut clocks,
        space: &mut space,
        files,
        progress,
    }
    .run()?;
    adopted.conflicts.append(&mut state.conflicts);
    conflicts::sort(&mut adopted.conflicts);
    if options.strict && adopted.conflicts.iter().any(Conflict::is_error) {
        return Err(conflicts::strict_error(&adopted.conflicts));
    }
    let known = conflicts::known(space.folder(), &space.manifest, files)?;
    let table = space.table(conflicts::TABLE);
    for row in conflicts::render(&adopted.conflicts, &state::TABLES, &state.sources, &known)? {
        let table = &mut space.tables()[table];
        table.pending().extend_from_slice(&row);
        table.count_appended(1, files)?;
    }
    summary.profiles = adopted.profiles;
    summary.merged = adopted.merged;
    let by_type = state.type_names.iter().cloned().zip(adopted.identifiers);
    summary.identifiers = by_type.filter(|(_, n)| 0 < *n).collect();
    summary.traits = adopted.traits;
    [summary.profiles_known, summary.identifiers_known, summary.traits_known] = adopted.known;
    summary.conflicts = conflicts::counts(&adopted.conflicts);
    let n_conflicts: u64 = summary.conflicts.values().sum();
    summary.older_rows = adopted.conflicts.len() as u64 - n_conflicts;
    summary.rows = space.rows_added().into_iter().collect();
    if !options.dry_run && !summary.rows.is_empty() {
        let mut manifest = space.manifest.clone();
        manifest.uuid_ts = clocks.uuid_ts.max(manifest.uuid_ts);
        manifest.runs.push(RunRecord {
            job: RunKind::BackfillProfiles,
            inputs: state.used.clone(),
            inferred: clocks.seq - given,
            adopted: (replayed.graph.n_profiles() - n_profiles) as u64,
            conflicts: n_conflicts,
            ..RunRecord::default()
        });
        if n_adopted < n_profiles && n_profiles < replayed.graph.n_profiles() {
            replayed.graph = adopted_first(&replayed.graph, n_adopted, n_profiles);
        }
        space.commit_run(manifest, StateContents::of(&replayed, &types), &mut summary.run, progress)?;
    }
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(summary)
}

/// Returns the number of conflicts when tables of this content were adopted; `None` if they never were.
fn adopted_before(manifest: &Manifest, job: RunKind, tables: &[RunInput]) -> Option<u64> {
    let same = |run: &&RunRecord| {
        run.job == job
            && run.inputs.len() == tables.len()
            && run.inputs.iter().zip(tables).all(|(a, b)| (&a.name, &a.digest) == (&b.name, &b.digest))
    };
    manifest.runs.iter().find(same).map(|run| run.conflicts)
}
