//! The state cache: what [`super::replay`] would compute, kept so that a run need not read all raw tables again.
//!
//! It consists of segment files in `.state/`, which the manifest lists from oldest to newest. A run adds one with the
//! profiles that it changed, each as a whole, and the messages that it accepted. If several segment files contain a
//! profile, the newest counts. If a segment file is not much smaller than the one before it, compaction merges them, so
//! there are never many. A run does not read profiles that it does not affect.
//!
//! If a segment file is missing, damaged or of another version, the state cannot be used.

mod bits;
mod encode;
mod record;
mod segment_file;
mod segment_files;
mod sorted;
mod spilled_messages;

use std::{path::Path, sync::Arc};

pub use self::spilled_messages::DiskSpillStore;
use self::{
    segment_file::{SegmentFile, SegmentWriter, keys_of},
    segment_files::SegmentFiles,
};
use super::{manifest::StateFile, replayed::ResolverState};
use crate::{
    collections::Set,
    error::Result,
    event::duplicates::SeenMessages,
    files::Files,
    identity::{
        graph::{IdentityGraph, ProfileRecord, segment_key},
        traits::TraitNames,
        types::IdentifierTypes,
    },
};

/// How much of the state to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Each profile and message when it is looked up.
    Lazy,
    /// Everything at once.
    Whole,
    /// Nothing: the state is damaged, so the raw tables are replayed.
    Tables,
}

/// What is written to the state at the end of a run.
#[derive(Debug, Clone, Copy)]
pub struct StateContents<'a> {
    /// Profiles, identifiers and traits.
    pub graph: &'a IdentityGraph,
    /// The paths of all traits.
    pub trait_names: &'a TraitNames,
    /// The accepted messages.
    pub accepted: &'a SeenMessages,
    /// The identifier types.
    pub types: &'a IdentifierTypes,
}

impl<'a> StateContents<'a> {
    /// Returns everything that was replayed.
    #[must_use]
    pub fn of(replayed: &'a ResolverState, types: &'a IdentifierTypes) -> Self {
        let ResolverState { graph, trait_names, accepted } = replayed;
        Self { graph, trait_names, accepted, types }
    }
}

/// Reads the state that the manifest lists; returns `None` if it cannot be used.
pub fn read(
    folder: &Path,
    named: &[StateFile],
    reading: Reading,
    types: &IdentifierTypes,
    files: &Files,
) -> Result<Option<ResolverState>> {
    let mut trait_names = TraitNames::default();
    let Some(parts) = open(folder, named, types, &mut trait_names, files)? else { return Ok(None) };
    let n_profiles = parts.n_profiles();
    let parts = Arc::new(parts);
    if reading == Reading::Lazy {
        let (graph, accepted) = (
            IdentityGraph::on_disk(n_profiles, Arc::clone(&parts) as _),
            SeenMessages::on_disk(Arc::clone(&parts) as _),
        );
        return Ok(Some(ResolverState { graph, trait_names, accepted }));
    }
    let mut graph = IdentityGraph::on_disk(n_profiles, Arc::clone(&parts) as _);
    let mut accepted = SeenMessages::default();
    let whole = parts.profiles(|record| {
        graph.load(record);
        Ok(())
    });
    let whole = whole.and_then(|()| {
        accepted.reserve(usize::try_from(parts.n_messages()).unwrap_or_default());
        parts.messages(|some| {
            some.iter().try_for_each(|message| accepted.insert(message.key.whole(), message.received_at))
        })
    });
    match whole {
        Ok(()) => {
            graph.mark_fully_loaded();
            Ok(Some(ResolverState { graph, trait_names, accepted }))
        }
        Err(crate::error::Error::StateDamaged) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns whether the state that the manifest lists finds every identifier and segment id that it contains, and no
/// other.
pub fn lookup_is_complete(
    folder: &Path,
    named: &[StateFile],
    types: &IdentifierTypes,
    files: &Files,
) -> Result<bool> {
    let Some(parts) = open(folder, named, types, &mut TraitNames::default(), files)? else {
        return Ok(false);
    };
    match parts.lookup_is_complete() {
        Err(crate::error::Error::StateDamaged) => Ok(false),
        answer => answer,
    }
}

/// Returns whether an earlier version of this program wrote the state that the manifest lists.
#[must_use]
pub fn is_of_earlier_version(folder: &Path, named: &[StateFile], files: &Files) -> bool {
    named.iter().any(|part| segment_file::is_of_earlier_version(&folder.join(&part.name), files))
}

fn open(
    folder: &Path,
    named: &[StateFile],
    types: &IdentifierTypes,
    trait_names: &mut TraitNames,
    files: &Files,
) -> Result<Option<SegmentFiles>> {
    let mut parts = Vec::new();
    for part in named {
        match SegmentFile::open(folder, part, types, trait_names, files)? {
            Some(part) => parts.push(part),
            None => return Ok(None),
        }
    }
    Ok(Some(SegmentFiles::new(parts)))
}

/// Writes a segment file with what a run changed, compacts if necessary, and syncs. Returns the new list of segment
/// files.
///
/// `before` lists the segment files from which `contents` was loaded lazily; it is empty if `contents` is complete.
pub fn write(
    folder: &Path,
    number: u64,
    before: &[StateFile],
    contents: StateContents<'_>,
    files: &Files,
) -> Result<Vec<StateFile>> {
    let mut kept = before.to_vec();
    let n_profiles = u32::try_from(contents.graph.n_profiles()).expect("fewer than 2^32 profiles");
    let part = write_part(folder, format!("{PREFIX}{number}"), contents, n_profiles, files)?;
    kept.push(part);
    // The newest segment files, each of which is not much larger than all newer ones together.
    let mut first = kept.len() - 1;
    let mut behind = kept[first].entries;
    while let Some(larger) = first.checked_sub(1)
        && kept[larger].entries < 3 * behind
    {
        behind += kept[larger].entries;
        first = larger;
    }
    if first + 1 < kept.len() {
        let together = kept.split_off(first);
        kept.push(compact(
            folder,
            format!("{PREFIX}{number}-merged"),
            &together,
            contents,
            n_profiles,
            files,
        )?);
    }
    files.sync_folder(folder)?;
    Ok(kept)
}

fn write_part(
    folder: &Path,
    name: String,
    contents: StateContents<'_>,
    n_profiles: u32,
    files: &Files,
) -> Result<StateFile> {
    let StateContents { graph, trait_names, accepted, types } = contents;
    let mut writer = SegmentWriter::create(folder, name, files)?;
    for profile in graph.changed() {
        let merged = graph.merged(profile).iter().map(|&(segment, _)| segment);
        let segments = std::iter::once(profile).chain(merged);
        let keys = segments.map(|segment| segment_key(graph.segment_id(segment)));
        let keys = keys.chain(graph.identifiers_of(profile).map(|identifier| identifier.key));
        writer.record(|out| record::encode(graph, profile, out), keys)?;
    }
    writer.lookup()?;
    accepted.for_each_sorted(|some| writer.messages(some))?;
    writer.finish(n_profiles, types, trait_names)
}

/// Merges segment files into one.
fn compact(
    folder: &Path,
    name: String,
    named: &[StateFile],
    contents: StateContents<'_>,
    n_profiles: u32,
    files: &Files,
) -> Result<StateFile> {
    // The path numbers of `contents` must not change any more, so the merged file gets its own.
    let mut trait_names = TraitNames::default();
    let parts = open(folder, named, contents.types, &mut trait_names, files)?;
    let parts = parts.ok_or(crate::error::Error::StateDamaged)?;
    let mut writer = SegmentWriter::create(folder, name, files)?;
    parts.profiles(|record: ProfileRecord| {
        writer.record(|out| record::encode_cluster(&record, out), keys_of(&record))
    })?;
    writer.lookup()?;
    parts.messages(|some| writer.messages(some))?;
    writer.finish(n_profiles, contents.types, &trait_names)
}

/// Prefix of the names of segment files.
const PREFIX: &str = "resolver-";

/// Returns whether there is a segment file, listed in a manifest or not.
#[must_use]
pub fn is_there(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX))
}

/// Deletes all segment files that are not in use. What cannot be deleted now is deleted by a later run.
pub fn delete_unused(folder: &Path, in_force: &[StateFile], files: &Files) {
    let in_force: Set<&str> = in_force.iter().map(|part| part.name.as_str()).collect();
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(PREFIX) && !in_force.contains(name.as_str()) {
            let _ = files.remove_file(&entry.path());
        }
    }
}
