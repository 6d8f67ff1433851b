//! The job `ingest --verify`: is a space still what its manifest says, and does it hold together?
//!
//! Reads only committed bytes and takes no lock, so it may run beside an ingest.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    event::duplicates::Message,
    files::Files,
    identity::{
        config,
        graph::{Graph, MappedIdentifier},
        packed_traits::PackedTraits,
        rules::{Compression, Rules, Window},
        traits::{SetAt, TraitNames},
        types::{TypeId, Types},
    },
    progress::Progress,
    read::digest::{Digest, PIECE},
    space::{
        commit::STATE,
        manifest::{Manifest, Stored, TableState, ViewState},
        replay::{Replayed, replay},
        state::{self, Reading},
        tables::{bytes_of, part_of, stands},
    },
    table::source::Source,
};

/// What was checked, and what was found wrong: a sentence each, the first ones only.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// Tables whose bytes were read.
    pub tables: u64,
    /// Views whose bytes were read.
    pub views: u64,
    /// The bytes of both.
    pub bytes: u64,
    /// Profiles that are not merged away.
    pub profiles: u64,
    /// Identifiers mapped.
    pub identifiers: u64,
    /// Messages remembered.
    pub messages: u64,
    /// What is wrong.
    pub differences: Vec<String>,
}

/// So many differences are named.
const NAMED: usize = 20;

/// Verifies a space.
pub fn verify(space: &Path, files: &Files, progress: &dyn Progress) -> Result<Verified> {
    loop {
        let Some(manifest) = Manifest::read(space, files)? else {
            return Err(Error::file(space, "no space: it has no manifest")
                .hint("give the folder of a space with `--space DIR`"));
        };
        let verified = verify_as(space, &manifest, files, progress);
        let is_answer = match &verified {
            Ok(verified) => verified.differences.is_empty(),
            Err(error) => error.interrupted(),
        };
        // Where another run has committed meanwhile, what it replaced is not wrong.
        if is_answer || Manifest::read(space, files)?.as_ref() == Some(&manifest) {
            return verified;
        }
    }
}

/// Verifies a space by a manifest.
fn verify_as(space: &Path, manifest: &Manifest, files: &Files, progress: &dyn Progress) -> Result<Verified> {
    let views: BTreeMap<&str, TableState> =
        manifest.views.iter().map(|(name, view)| (name.as_str(), as_written(view))).collect();
    let tables = manifest.tables.iter().map(|(name, table)| (name.as_str(), table));
    let all: Vec<(&str, &TableState)> =
        tables.chain(views.iter().map(|(&name, view)| (name, view))).collect();
    let mut verified = Verified {
        tables: manifest.tables.len() as u64,
        views: views.len() as u64,
        bytes: all.iter().map(|(_, committed)| committed.bytes).sum(),
        ..Verified::default()
    };
    progress.start("verifying", Some(verified.bytes));
    let wrong: Vec<Option<String>> = all
        .par_iter()
        .with_max_len(1)
        .map(|(name, committed)| check_table(space, name, committed, files, progress))
        .collect::<Result<_>>()?;
    let mut tables_stand = true;
    for ((name, _), wrong) in all.iter().zip(wrong) {
        let Some(wrong) = wrong else { continue };
        let is_view = views.contains_key(name);
        tables_stand &= is_view;
        verified.differences.push(if is_view {
            format!("the view {wrong}; `materialize` makes it anew")
        } else {
            format!("{wrong}; restore it from a backup")
        });
    }
    // What does not stand as it was written cannot be replayed to any purpose.
    if tables_stand {
        let types = Types::default();
        let replayed = replay(space, manifest, &types, files, progress)?;
        verified.profiles = replayed.graph.n_survivors() as u64;
        verified.identifiers = replayed.graph.n_identifiers() as u64;
        verified.messages = replayed.accepted.count() as u64;
        check_rules(&replayed.graph, manifest, &types, &mut verified.differences)?;
        let state = space.join(STATE);
        if state::is_of_earlier_version(&state, &manifest.state, files) {
            progress.notice(
                "the state cache is of an earlier version of this program: the next run rebuilds it from the raw tables",
            );
        } else {
            check_state(&state, manifest, &replayed, &types, files, &mut verified.differences)?;
        }
    }
    verified.differences.truncate(NAMED);
    Ok(verified)
}

/// A view as if it were a table that was committed.
fn as_written(view: &ViewState) -> TableState {
    TableState {
        rows: view.rows,
        bytes: view.bytes,
        digest: view.digest.clone(),
        link: String::new(),
        stored: view.stored.map(|bytes| Stored { bytes, tail: 0 }),
    }
}

/// Recomputes the digest and the number of rows of a table or a view.
fn check_table(
    space: &Path,
    name: &str,
    committed: &TableState,
    files: &Files,
    progress: &dyn Progress,
) -> Result<Option<String>> {
    let stands = stands(space, name, committed);
    let n_committed = bytes_of(committed, stands);
    let part = part_of(space, name, committed);
    let Ok(file) = std::fs::metadata(&part.path) else {
        return Ok(Some(format!("`{name}` is missing: there is no `{}`", part.path.display())));
    };
    let length = file.len();
    if length < n_committed {
        return Ok(Some(format!("`{name}` has {length} bytes, {n_committed} are committed")));
    }
    let damaged = |error: Error| match stands {
        Compression::None => Err(error),
        Compression::Zstd => Ok(Some(format!("`{name}` cannot be unpacked: {error}"))),
    };
    let source = match Source::open(&part, files) {
        Ok(source) => source,
        Err(error) => return damaged(error),
    };
    let mut digest = Digest::default();
    let (mut offset, mut rows) = (0, 0);
    let mut piece = vec![0; usize::try_from(PIECE).unwrap_or(usize::MAX)];
    while offset < committed.bytes {
        if progress.interrupted() {
            return Err(Error::Interrupted);
        }
        let n = usize::try_from((committed.bytes - offset).min(PIECE)).unwrap_or(usize::MAX);
        if let Err(error) = source.read_at(&mut piece[..n], offset) {
            return damaged(error);
        }
        digest.update(&piece[..n]);
        rows += memchr::memchr_iter(b'\n', &piece[..n]).count() as u64;
        offset += n as u64;
        progress.advance(n as u64);
    }
    if digest.hex() != committed.digest {
        return Ok(Some(format!(
            "`{name}` has other bytes than were committed: digest {}, not {}",
            digest.hex(),
            committed.digest
        )));
    }
    if rows != committed.rows {
        return Ok(Some(format!("`{name}` has {rows} rows, {} are committed", committed.rows)));
    }
    Ok(None)
}

/// Limits and caps, where the rules never changed: a profile over a limit that was tightened later breaks none.
fn check_rules(
    graph: &Graph,
    manifest: &Manifest,
    types: &Types,
    differences: &mut Vec<String>,
) -> Result<()> {
    let Some(used) = &manifest.config else { return Ok(()) };
    if manifest.runs.iter().any(|run| run.config != used.digest) {
        return Ok(());
    }
    let rules = Arc::new(config::parse(&used.text, Path::new("the config in the manifest"))?);
    let names = types.names();
    for (id, profile) in (0..).zip(graph.profile_states()) {
        if profile.canonical != id {
            continue;
        }
        let segment_id = profile.segment_id;
        let (n_identifiers, n_merged) = (graph.n_identifiers_of(id), graph.merged(id).len());
        if rules.mapping_cap < n_identifiers {
            differences
                .push(format!("profile \"{segment_id}\" has {n_identifiers} identifiers, over the cap"));
        }
        if (rules.merge_cap as usize) < n_merged {
            differences
                .push(format!("profile \"{segment_id}\" has {n_merged} merged profiles, over the cap"));
        }
        let mut counts: BTreeMap<TypeId, u32> = BTreeMap::new();
        for type_id in graph.identifiers_of(id).map(|identifier| identifier.type_id) {
            *counts.entry(type_id).or_default() += 1;
        }
        for (type_id, n) in counts {
            let name = &names[type_id as usize];
            if over_limit(&rules, name, n) {
                differences.push(format!("profile \"{segment_id}\" has {n} of `{name}`, over its limit"));
            }
        }
    }
    Ok(())
}

/// Limits that slide are checked by the moment, which is over.
fn over_limit(rules: &Rules, type_name: &str, n: u32) -> bool {
    let limit = rules.limit_of(type_name);
    limit.window == Window::Ever && limit.values < n
}

fn check_state(
    state: &Path,
    manifest: &Manifest,
    replayed: &Replayed,
    types: &Types,
    files: &Files,
    differences: &mut Vec<String>,
) -> Result<()> {
    if manifest.state.is_empty() {
        return Ok(());
    }
    match state::read(state, &manifest.state, Reading::Whole, types, files)? {
        None => differences.push(
            "the state cache is missing or damaged; remove `.state/resolver-*`, and the next `ingest` that finds events to read rebuilds it from the raw tables"
                .to_owned(),
        ),
        Some(cached) => compare(&cached, replayed, differences)?,
    }
    Ok(())
}

/// Names where a state and a replay differ.
fn compare(cached: &Replayed, replayed: &Replayed, differences: &mut Vec<String>) -> Result<()> {
    let profiles = |state: &Replayed| -> Vec<(String, u32, u64, TraitsByName)> {
        let of = state.graph.profile_states().map(|p| {
            let canonical = traits_of(p.traits, &state.trait_names);
            (p.segment_id.to_owned(), p.canonical, p.last_seq, canonical)
        });
        of.collect()
    };
    let (of_cache, of_replay) = (profiles(cached), profiles(replayed));
    if of_cache.len() != of_replay.len() {
        differences.push(format!(
            "the state cache has {} profiles, the raw tables {}",
            of_cache.len(),
            of_replay.len()
        ));
    }
    for (id, (cache, replay)) in (0..).zip(of_cache.iter().zip(&of_replay)) {
        // What merged away keeps no seq of its own that would matter.
        let canonical = replay.1 == id;
        if cache.0 != replay.0
            || cache.1 != replay.1
            || canonical && (cache.2 != replay.2 || cache.3 != replay.3)
        {
            differences
                .push(format!("profile \"{}\" in the state cache is not what the raw tables give", replay.0));
        }
    }
    let identifiers = |graph: &Graph| -> Vec<MappedIdentifier> {
        let mut all: Vec<MappedIdentifier> = graph.mapped_identifiers().collect();
        all.par_sort_unstable();
        all
    };
    if identifiers(&cached.graph) != identifiers(&replayed.graph) {
        differences.push("the identifiers in the state cache are not those of the raw tables".to_owned());
    }
    let messages = |state: &Replayed| -> Result<Vec<Message>> {
        let mut all: Vec<Message> = Vec::with_capacity(state.accepted.count());
        state.accepted.sorted(|some| {
            all.extend_from_slice(some);
            Ok(())
        })?;
        Ok(all)
    };
    let (of_cache, of_replay) = (messages(cached)?, messages(replayed)?);
    // Event tables that are not synced leave messages that only the cache remembers.
    if of_replay.iter().any(|message| of_cache.binary_search(message).is_err()) {
        differences.push("the state cache has forgotten messages that stand in the event tables".to_owned());
    }
    Ok(())
}

/// Traits by name: when each was set, and its values, spelled out.
type TraitsByName = BTreeMap<String, (SetAt, Vec<String>)>;

fn traits_of(traits: &PackedTraits, names: &TraitNames) -> TraitsByName {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut out: TraitsByName = BTreeMap::new();
    for one in traits.values() {
        let (_, values) = out.entry(text(names.path(one.name))).or_insert((one.at, Vec::new()));
        if !one.value.is_empty() {
            values.push(format!("{}={}", text(names.path(one.path)), text(one.value)));
        }
    }
    for (_, values) in out.values_mut() {
        values.sort();
    }
    out
}
