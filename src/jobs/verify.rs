//! The job `ingest --verify`: checks that a space matches its manifest and is consistent.
//!
//! Reads only committed bytes and takes no lock, so it can run during an ingest.

mod cache;
mod clock;
mod event_row;
mod identifiers;
mod limits;
mod spans;

use std::{collections::BTreeMap, path::Path};

use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    files::Files,
    identity::types::IdentifierTypes,
    progress::Progress,
    space::{
        damage::{damage, earlier_states},
        layout::STATE_FOLDER,
        manifest::Manifest,
        replay::replay,
        table_state::CommittedTable,
        tables::{committed_file, committed_file_bytes, storage_of},
    },
    table::blocks::SharedProgress,
};

/// What was checked, and the first differences found, one sentence each.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// The number of tables that were read.
    pub tables: u64,
    /// The number of views that were read.
    pub views: u64,
    /// The number of bytes in both.
    pub bytes: u64,
    /// The number of profiles that are not merged away.
    pub profiles: u64,
    /// The number of mapped identifiers.
    pub identifiers: u64,
    /// The number of remembered messages.
    pub messages: u64,
    /// The differences.
    pub differences: Vec<String>,
}

/// At most this many differences are reported.
const MAX_DIFFERENCES: usize = 20;

/// Verifies a space. Fails if it has no manifest.
pub fn verify(space: &Path, files: &Files, progress: &dyn Progress) -> Result<Verified> {
    loop {
        let Some(manifest) = Manifest::read(space, files)? else {
            return Err(Error::file(space, "is not a space: it has no manifest")
                .hint("give the folder of a space with `--space DIR`"));
        };
        let verified = verify_as(space, &manifest, files, progress);
        let is_answer = match &verified {
            Ok(verified) => verified.differences.is_empty(),
            Err(error) => error.is_interrupted(),
        };
        // If another run has committed meanwhile, the files that it replaced are not differences.
        if is_answer || Manifest::read(space, files)?.as_ref() == Some(&manifest) {
            warn_of_surplus(space, &manifest, files, progress)?;
            return verified;
        }
    }
}

/// Verifies a space against a manifest.
fn verify_as(space: &Path, manifest: &Manifest, files: &Files, progress: &dyn Progress) -> Result<Verified> {
    let views: BTreeMap<&str, CommittedTable> =
        manifest.views.iter().map(|(name, view)| (name.as_str(), view.as_table())).collect();
    let tables = manifest.tables.iter().map(|(name, table)| (name.as_str(), table));
    let all: Vec<(&str, &CommittedTable)> =
        tables.chain(views.iter().map(|(&name, view)| (name, view))).collect();
    let mut verified = Verified {
        tables: manifest.tables.len() as u64,
        views: views.len() as u64,
        bytes: all.iter().map(|(_, committed)| committed.bytes).sum(),
        ..Verified::default()
    };
    progress.start("verifying", Some(verified.bytes));
    let meter = SharedProgress::new(progress);
    let wrong: Vec<Option<String>> = all
        .par_iter()
        .with_max_len(1)
        .map(|(name, committed)| {
            let is_view = views.contains_key(name);
            let earlier = if is_view { Vec::new() } else { earlier_states(manifest, name) };
            damage(space, name, committed, &earlier, files, &meter)
        })
        .collect::<Result<_>>()?;
    let mut tables_are_whole = true;
    for ((name, committed), wrong) in all.iter().zip(wrong) {
        let Some(wrong) = wrong else { continue };
        let path = committed_file(space, name, committed).path;
        let is_view = views.contains_key(name);
        tables_are_whole &= is_view;
        verified.differences.push(if is_view {
            format!("the view `{}`: {wrong}; run `materialize` to rebuild it", path.display())
        } else {
            format!("`{}`: {wrong}; restore it from a backup", path.display())
        });
    }
    // Damaged tables would only cause more differences.
    if tables_are_whole {
        check_content(space, manifest, files, progress, &mut verified)?;
    }
    verified.differences.truncate(MAX_DIFFERENCES);
    Ok(verified)
}

/// Warns about bytes after the committed rows, because other programs would read them as rows.
fn warn_of_surplus(space: &Path, manifest: &Manifest, files: &Files, progress: &dyn Progress) -> Result<()> {
    let surplus = manifest.tables.iter().filter_map(|(name, committed)| {
        let path = committed_file(space, name, committed).path;
        let n_committed = committed_file_bytes(committed, storage_of(space, name, committed));
        let n_bytes = std::fs::metadata(&path).ok()?.len().checked_sub(n_committed).filter(|&n| 0 < n)?;
        Some(format!(
            "`{}` has {n_bytes} bytes after its committed rows; the next run removes them",
            path.display()
        ))
    });
    let surplus: Vec<String> = surplus.collect();
    // A run appends only after it has replaced the manifest.
    if !surplus.is_empty() && Manifest::read(space, files)?.as_ref() == Some(manifest) {
        for warning in &surplus {
            progress.warning(warning);
        }
    }
    Ok(())
}

/// Checks the content of the tables: the clock, the rules, the identifiers of events, and the state cache.
fn check_content(
    space: &Path,
    manifest: &Manifest,
    files: &Files,
    progress: &dyn Progress,
    verified: &mut Verified,
) -> Result<()> {
    let types = IdentifierTypes::default();
    let replayed = replay(space, manifest, &types, files, progress)?;
    verified.profiles = replayed.graph.n_canonical() as u64;
    verified.identifiers = replayed.graph.n_identifiers() as u64;
    verified.messages = replayed.accepted.count() as u64;
    let differences = &mut verified.differences;
    differences.extend(clock::check(space, manifest, files)?);
    limits::check(&replayed.graph, manifest, &types, differences)?;
    differences.extend(identifiers::check(
        space,
        manifest,
        &replayed.graph,
        files,
        &SharedProgress::new(progress),
    )?);
    cache::check(&space.join(STATE_FOLDER), manifest, &replayed, &types, files, progress, differences)?;
    Ok(())
}
