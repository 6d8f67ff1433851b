//! The job `diff`: two sets of tables in, what changed out.
//!
//! Tables are found and paired, the rows of each pair compared by key, profiles compared by their identifiers; and where
//! results differ, it is asked whether they differ in more than generated ids.

pub mod across_formats;
pub mod columns;
pub mod csv_rows;
pub mod fail_on;
pub mod identity;
pub mod judge;
pub mod key_tally;
pub mod keys;
pub mod merge;
pub mod meter;
pub mod outcome;
pub mod parts;
pub mod pending;
pub mod pieces;
pub mod records;
pub mod renaming;
pub mod report;
pub mod rows;
pub mod schema;
pub mod sides;
pub mod spill;
pub mod tables;
pub mod walk;

use std::{io::Write, path::PathBuf};

use crate::{
    error::Result, files::Files, glob::Globs, jobs::materialize::tell_stale_views, progress::Progress,
};

use self::{
    identity::compare::{IdentityResult, Taken},
    meter::Meter,
    outcome::RowKind,
    records::Run,
    renaming::Renaming,
    report::ndjson,
    sides::Side,
    tables::{TableResult, compare_all, pair},
};

/// What to compare, and what to tell.
#[derive(Debug, Clone)]
pub struct DiffOptions {
    /// The old side: a table file, or a folder of tables.
    pub old: PathBuf,
    /// The new side, of the same kind.
    pub new: PathBuf,
    /// The key of tables whose key is not known.
    pub key: Vec<String>,
    /// Only tables that match one of these globs; all where empty.
    pub tables: Vec<String>,
    /// Columns that match one of these globs do not count.
    pub ignore_columns: Vec<String>,
    /// Whether generated segment ids count.
    pub ids: IdMode,
    /// Examples of each kind to keep.
    pub limit: usize,
    /// Changes of each kind and table to write out; 0 where only the result is wanted.
    pub every: u64,
    /// About how many bytes of memory tables in no order may take; by default 256 MiB.
    pub memory: Option<u64>,
    /// How tables are cut for several threads.
    pub sizes: Sizes,
}

/// How tables are cut for several threads. The result is the same with any sizes, which tests make use of.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Pairs of tables with more bytes are cut.
    pub large: u64,
    /// About the bytes of a piece on one side.
    pub piece: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { large: 16 << 20, piece: 4 << 20 }
    }
}

impl DiffOptions {
    fn memory(&self) -> u64 {
        self.memory.unwrap_or(256 << 20)
    }
}

/// Whether generated segment ids count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdMode {
    /// They are values like others.
    Exact,
    /// Old ids are read as the new ids of the same profiles.
    Renamed,
}

/// Whether two sets of tables are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sameness {
    /// They are.
    Same,
    /// They differ in so many generated segment ids and in nothing else.
    Renamed(u64),
    /// They differ.
    Different,
}

/// What a comparison found.
#[derive(Debug)]
pub struct Comparison {
    /// The sides as they were given.
    pub sides: [String; 2],
    /// Whether they are the same.
    pub sameness: Sameness,
    /// Each table, by name.
    pub tables: Vec<TableResult>,
    /// What happened to profiles, where both sides tell.
    pub identity: Option<IdentityResult>,
}

/// Compares two sides. Where all changes are asked for they go to `changes`, a JSON object a line. Runs on the present
/// rayon pool.
pub fn diff(
    options: &DiffOptions,
    files: &Files,
    progress: &dyn Progress,
    changes: &mut dyn Write,
) -> Result<Comparison> {
    for folder in [&options.old, &options.new] {
        tell_stale_views(folder, files, progress);
    }
    let mut sides = Side::open_both(&options.old, &options.new, files)?;
    let wanted = Globs::new(options.tables.clone());
    for side in &mut sides {
        side.keep(&wanted);
    }
    let pairs = pair(&sides, options)?;
    let meter = Meter::new(progress);
    let compare = |step: &str, renaming: Option<&Renaming>| {
        progress.start(step, Some(pairs.iter().map(tables::Pair::n_bytes).sum()));
        compare_all(&pairs, &sides, options, renaming, files, &meter)
    };
    let renaming = match options.ids {
        IdMode::Exact => None,
        IdMode::Renamed => Some(Renaming::infer(&sides, files)?),
    };
    let mut tables = compare("comparing", renaming.as_ref())?;
    progress.start("comparing profiles", None);
    let told = options.limit.max(usize::try_from(options.every).unwrap_or(usize::MAX));
    let taken = Taken::of(&mut tables);
    let identity = identity::compare::compare(&sides, taken, told, files)?;
    let mut sameness = match (tables.iter().all(TableResult::same), &renaming) {
        (false, _) => Sameness::Different,
        (true, Some(renaming)) if 0 < renaming.n_renamed() => Sameness::Renamed(renaming.n_renamed()),
        (true, _) => Sameness::Same,
    };
    if renaming.is_none() && may_be_renamed(&tables, identity.as_ref()) {
        let renaming = Renaming::infer(&sides, files)?;
        if compare("comparing under other ids", Some(&renaming))?.iter().all(TableResult::same) {
            sameness = Sameness::Renamed(renaming.n_renamed());
        }
    }
    for table in &mut tables {
        Run::write_merged(std::mem::take(&mut table.runs), changes)?;
        if 0 < options.every {
            ndjson::write_table(table, changes)?;
        }
    }
    if let (Some(identity), true) = (&identity, 0 < options.every) {
        ndjson::write_identity(identity, changes)?;
    }
    let sides = [&options.old, &options.new].map(|path| path.display().to_string());
    Ok(Comparison { sides, sameness, tables, identity })
}

/// Whether it is worth asking for other ids: all profiles have the same identifiers, some another id, and all tables
/// have as many rows.
fn may_be_renamed(tables: &[TableResult], identity: Option<&IdentityResult>) -> bool {
    let balanced = |table: &TableResult| {
        let outcome = &table.outcome;
        table.odd_lines.is_empty() && outcome.count(RowKind::Added) == outcome.count(RowKind::Removed)
    };
    identity.is_some_and(|identity| {
        0 < identity.renamed && identity.profiles == [identity.unchanged; 2] && tables.iter().all(balanced)
    })
}
