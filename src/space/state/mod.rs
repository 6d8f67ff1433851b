//! The state cache: what [`super::replay`] would find, kept so that a run need not read all raw tables again.
//!
//! Parts in `.state/`, named by the manifest, oldest first. A run adds one with the profiles that it changed, whole, and
//! the messages that it accepted; of what stands in several parts the newest counts. A part that is not much smaller than
//! the one before it is put together with it, so that there are never many. What a run does not touch it does not read.
//!
//! Where a part is missing, damaged or of another version it is as if there were none.

mod bits;
mod cold;
mod encode;
mod part;
mod record;
mod shelves;
mod sorted;

use std::{path::Path, sync::Arc};

pub use self::shelves::DiskShelves;
use self::{
    cold::Parts,
    part::{Part, Writer, keys_of},
};
use super::{manifest::StateFile, replay::Replayed};
use crate::{
    collections::Set,
    error::Result,
    event::duplicates::Accepted,
    files::Files,
    identity::{
        graph::{Cluster, Graph, segment_key},
        traits::TraitNames,
        types::Types,
    },
};

/// How much of a state is read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// What is looked up, when it is.
    Lazy,
    /// All of it.
    Whole,
    /// Nothing: it was found to be damaged, and the raw tables are replayed.
    Tables,
}

/// What is put away at the end of a run.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    /// Profiles, identifiers and traits.
    pub graph: &'a Graph,
    /// The paths of all traits.
    pub trait_names: &'a TraitNames,
    /// Messages.
    pub accepted: &'a Accepted,
    /// Types.
    pub types: &'a Types,
}

impl<'a> Contents<'a> {
    /// All that was replayed.
    #[must_use]
    pub fn of(replayed: &'a Replayed, types: &'a Types) -> Self {
        let Replayed { graph, trait_names, accepted } = replayed;
        Self { graph, trait_names, accepted, types }
    }
}

/// Reads the state that the manifest names; `None` where it cannot be used.
pub fn read(
    folder: &Path,
    named: &[StateFile],
    reading: Reading,
    types: &Types,
    files: &Files,
) -> Result<Option<Replayed>> {
    let mut trait_names = TraitNames::default();
    let Some(parts) = open(folder, named, types, &mut trait_names, files)? else { return Ok(None) };
    let n_profiles = parts.n_profiles();
    let parts = Arc::new(parts);
    if reading == Reading::Lazy {
        let (graph, accepted) =
            (Graph::cold(n_profiles, Arc::clone(&parts) as _), Accepted::cold(Arc::clone(&parts) as _));
        return Ok(Some(Replayed { graph, trait_names, accepted }));
    }
    let mut graph = Graph::cold(n_profiles, Arc::clone(&parts) as _);
    let mut accepted = Accepted::default();
    let whole = parts.clusters(|cluster| {
        graph.warm(cluster);
        Ok(())
    });
    let whole = whole.and_then(|()| {
        accepted.reserve(usize::try_from(parts.n_messages()).unwrap_or_default());
        parts.messages(|some| {
            some.iter().try_for_each(|message| accepted.remember(message.key.whole(), message.received_at))
        })
    });
    match whole {
        Ok(()) => {
            graph.all_here();
            Ok(Some(Replayed { graph, trait_names, accepted }))
        }
        Err(crate::error::Error::StateDamaged) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns whether the state that the manifest lists finds every identifier and segment id that it holds, and no other.
pub fn lookup_is_whole(folder: &Path, named: &[StateFile], types: &Types, files: &Files) -> Result<bool> {
    let Some(parts) = open(folder, named, types, &mut TraitNames::default(), files)? else {
        return Ok(false);
    };
    match parts.lookup_is_whole() {
        Err(crate::error::Error::StateDamaged) => Ok(false),
        answer => answer,
    }
}

/// Whether the state that the manifest names was written by an earlier version of this program.
#[must_use]
pub fn is_of_earlier_version(folder: &Path, named: &[StateFile], files: &Files) -> bool {
    named.iter().any(|part| part::is_of_earlier_version(&folder.join(&part.name), files))
}

fn open(
    folder: &Path,
    named: &[StateFile],
    types: &Types,
    trait_names: &mut TraitNames,
    files: &Files,
) -> Result<Option<Parts>> {
    let mut parts = Vec::new();
    for part in named {
        match Part::open(folder, part, types, trait_names, files)? {
            Some(part) => parts.push(part),
            None => return Ok(None),
        }
    }
    Ok(Some(Parts::new(parts)))
}

/// Writes what a run leaves beside the parts that are in force, and brings it to the disk. Says what the parts are then.
///
/// `before` are the parts that `contents` was read from lazily; none where it is whole.
pub fn write(
    folder: &Path,
    number: u64,
    before: &[StateFile],
    contents: Contents<'_>,
    files: &Files,
) -> Result<Vec<StateFile>> {
    let mut kept = before.to_vec();
    let n_profiles = u32::try_from(contents.graph.n_profiles()).expect("fewer than 2^32 profiles");
    let part = write_part(folder, format!("{PREFIX}{number}"), contents, n_profiles, files)?;
    kept.push(part);
    // The newest parts that are not much larger than what comes behind them.
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
        kept.push(merge(folder, format!("{PREFIX}{number}-merged"), &together, contents, n_profiles, files)?);
    }
    files.sync_folder(folder)?;
    Ok(kept)
}

fn write_part(
    folder: &Path,
    name: String,
    contents: Contents<'_>,
    n_profiles: u32,
    files: &Files,
) -> Result<StateFile> {
    let Contents { graph, trait_names, accepted, types } = contents;
    let mut writer = Writer::create(folder, name, files)?;
    for profile in graph.changed() {
        let merged = graph.merged(profile).iter().map(|&(segment, _)| segment);
        let segments = std::iter::once(profile).chain(merged);
        let keys = segments.map(|segment| segment_key(graph.segment_id(segment)));
        let keys = keys.chain(graph.identifiers_of(profile).map(|identifier| identifier.key));
        writer.record(|out| record::encode(graph, profile, out), keys)?;
    }
    writer.places()?;
    accepted.sorted(|some| writer.messages(some))?;
    writer.finish(n_profiles, types, trait_names)
}

/// Puts parts together.
fn merge(
    folder: &Path,
    name: String,
    named: &[StateFile],
    contents: Contents<'_>,
    n_profiles: u32,
    files: &Files,
) -> Result<StateFile> {
    // Its own numbers of paths: those of `contents` are not to be changed any more.
    let mut trait_names = TraitNames::default();
    let parts = open(folder, named, contents.types, &mut trait_names, files)?;
    let parts = parts.ok_or(crate::error::Error::StateDamaged)?;
    let mut writer = Writer::create(folder, name, files)?;
    parts.clusters(|cluster: Cluster| {
        writer.record(|out| record::encode_cluster(&cluster, out), keys_of(&cluster))
    })?;
    writer.places()?;
    parts.messages(|some| writer.messages(some))?;
    writer.finish(n_profiles, contents.types, &trait_names)
}

/// What the names of parts begin with.
const PREFIX: &str = "resolver-";

/// Whether there is a state, in force or not.
#[must_use]
pub fn is_there(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX))
}

/// Removes all states but the one in force. What cannot be removed now is removed by a later run.
pub fn sweep(folder: &Path, in_force: &[StateFile], files: &Files) {
    let in_force: Set<&str> = in_force.iter().map(|part| part.name.as_str()).collect();
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(PREFIX) && !in_force.contains(name.as_str()) {
            let _ = files.remove_file(&entry.path());
        }
    }
}
