//! The job `diff`: compares two sets of tables.
//!
//! Tables are found and paired by name, the rows of each pair are compared by key, and profiles are compared by their
//! identifiers. If the results differ, a second comparison finds out whether they differ only in generated ids.

pub mod across_formats;
pub mod columns;
pub mod csv_rows;
pub mod fail_on;
pub mod identity;
pub mod key_tally;
pub mod keys;
pub mod merge;
pub mod meter;
pub mod ndjson;
mod options;
pub mod outcome;
pub mod pair;
pub mod partitions;
pub mod parts;
pub mod pending;
pub mod records;
pub mod renaming;
pub mod row_comparer;
pub mod rows;
pub mod schema;
pub mod sides;
pub mod spill;
pub mod tables;
pub mod walk;

use std::io::Write;

use crate::{
    error::Result, files::Files, glob::Globs, progress::Progress, space::stale_views::tell_stale_views,
};

pub use self::options::{DiffOptions, IdMode, Sizes};
use self::{
    identity::compare::{CollectedViews, IdentityResult},
    meter::DiffMeter,
    outcome::RowKind,
    pair::TablePair,
    records::ChangesRun,
    renaming::Renaming,
    sides::DiffSide,
    tables::{TableResult, compare_all, pair},
};

/// Whether two sets of tables are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sameness {
    /// They are the same.
    Same,
    /// They differ in this number of generated segment ids, and in nothing else.
    Renamed(u64),
    /// They differ.
    Different,
}

/// The result of a comparison.
#[derive(Debug)]
pub struct Comparison {
    /// The paths of the sides, as given.
    pub sides: [String; 2],
    /// Whether the sides are the same.
    pub sameness: Sameness,
    /// The results of all tables, by name.
    pub tables: Vec<TableResult>,
    /// What happened to profiles; `None` if a side has no identity tables.
    pub identity: Option<IdentityResult>,
}

/// Compares two sides. If `options.every` is not 0, writes the changes to `changes`, one JSON object per line. Runs on
/// the current rayon pool.
pub fn diff(
    options: &DiffOptions,
    files: &Files,
    progress: &dyn Progress,
    changes: &mut dyn Write,
) -> Result<Comparison> {
    for folder in [&options.old, &options.new] {
        tell_stale_views(folder, files, progress);
    }
    let mut sides = DiffSide::open_both(&options.old, &options.new, files)?;
    let wanted = Globs::new(options.tables.clone());
    for side in &mut sides {
        side.keep(&wanted);
    }
    let pairs = pair(&sides, options)?;
    let meter = DiffMeter::new(progress);
    let compare = |step: &str, renaming: Option<&Renaming>| {
        progress.start(step, Some(pairs.iter().map(TablePair::n_bytes).sum()));
        compare_all(&pairs, &sides, options, renaming, files, &meter)
    };
    let renaming = match options.ids {
        IdMode::Exact => None,
        IdMode::Renamed => Some(Renaming::infer(&sides, files)?),
    };
    let mut tables = compare("comparing", renaming.as_ref())?;
    progress.start("comparing profiles", None);
    let told = options.limit.max(usize::try_from(options.every).unwrap_or(usize::MAX));
    let taken = CollectedViews::of(&mut tables);
    let identity = identity::compare::compare(&sides, taken, told, files)?;
    let mut sameness = match (tables.iter().all(TableResult::same), &renaming) {
        (false, _) => Sameness::Different,
        (true, Some(renaming)) if 0 < renaming.n_renamed() => Sameness::Renamed(renaming.n_renamed()),
        (true, _) => Sameness::Same,
    };
    if renaming.is_none() && may_be_renamed(&tables, identity.as_ref()) {
        let renaming = Renaming::infer(&sides, files)?;
        if compare("comparing with renamed ids", Some(&renaming))?.iter().all(TableResult::same) {
            sameness = Sameness::Renamed(renaming.n_renamed());
        }
    }
    for table in &mut tables {
        ChangesRun::write_merged(std::mem::take(&mut table.runs), changes)?;
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

/// Returns whether the sides may differ only in generated ids: all profiles have the same identifiers, some have
/// another id, and each table has as many added as removed rows.
fn may_be_renamed(tables: &[TableResult], identity: Option<&IdentityResult>) -> bool {
    let balanced = |table: &TableResult| {
        let outcome = &table.outcome;
        table.malformed_lines.is_empty() && outcome.count(RowKind::Added) == outcome.count(RowKind::Removed)
    };
    identity.is_some_and(|identity| {
        0 < identity.renamed && identity.profiles == [identity.unchanged; 2] && tables.iter().all(balanced)
    })
}
