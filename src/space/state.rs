//! The state cache: what [`super::replay`] would find, kept so that a run need not read all raw tables again.
//!
//! One file, `.state/resolver-N`, written anew by each run and named by the manifest together with its digest. Where it is
//! missing, damaged or of another version it is as if it had never been there. All numbers are little-endian; lists begin
//! with their length (u64), texts with their length (u32).

use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::{manifest::StateFile, replay::Replayed};
use crate::{
    error::Result,
    event::duplicates::Accepted,
    files::Files,
    identity::{
        graph::{Graph, ProfileState},
        traits::{Cell, ProfileTraits, SetAt, Trait, TraitNames},
        types::Types,
    },
};

/// Changes whenever the bytes mean something else.
const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"psstate\n";

/// Encodes a state.
#[must_use]
pub fn encode(graph: &Graph, trait_names: &TraitNames, accepted: &Accepted, types: &Types) -> Vec<u8> {
    let mut out = Out(Vec::with_capacity(accepted.count() * 24 + graph.n_identifiers() * 32));
    out.0.extend_from_slice(&MAGIC);
    out.u32(VERSION);
    out.list(&types.names(), |out, name| out.text(name.as_bytes()));
    out.list(&trait_names.paths().collect::<Vec<_>>(), |out, path| out.text(path));
    out.u64(graph.n_profiles() as u64);
    for profile in graph.profile_states() {
        encode_profile(&mut out, &profile);
    }
    out.u64(graph.n_identifiers() as u64);
    for identifier in graph.mapped_identifiers() {
        out.0.extend_from_slice(&identifier.key.to_le_bytes());
        out.i64(identifier.timestamp);
        out.u32(identifier.profile);
        out.u32(identifier.type_id);
    }
    out.u64(accepted.count() as u64);
    for (key, received_at) in accepted.messages() {
        out.0.extend_from_slice(&key.to_le_bytes());
        out.i64(received_at);
    }
    out.0
}

fn encode_profile(out: &mut Out, profile: &ProfileState<'_>) {
    out.text(profile.segment_id.as_bytes());
    out.u32(profile.canonical);
    out.u64(profile.last_seq);
    let traits = profile.traits.map_or(&[][..], |traits| &traits.traits);
    out.u32(u32::try_from(traits.len()).unwrap_or(u32::MAX));
    for one in traits {
        out.u32(one.name);
        out.i64(one.at.timestamp);
        out.i64(one.at.uuid_ts);
        out.u64(one.at.seq);
        out.u32(u32::try_from(one.cells.len()).unwrap_or(u32::MAX));
        for cell in &one.cells {
            out.u32(cell.path);
            out.text(&cell.value);
        }
    }
}

/// Decodes a state; `None` where the bytes are not one of this version.
#[must_use]
pub fn decode(bytes: &[u8], types: &Types) -> Option<Replayed> {
    let mut rest = In(bytes.strip_prefix(&MAGIC)?);
    if rest.u32()? != VERSION {
        return None;
    }
    // Types are numbered in each run as they come: the file's numbers are translated.
    let mut type_ids = Vec::new();
    for _ in 0..rest.u64()? {
        type_ids.push(types.id(std::str::from_utf8(rest.text()?).ok()?));
    }
    let mut trait_names = TraitNames::default();
    for _ in 0..rest.u64()? {
        let path = rest.text()?;
        trait_names.id(path);
    }
    let mut graph = Graph::default();
    let n_profiles = rest.u64()?;
    let mut canonicals = Vec::new();
    for profile in 0..u32::try_from(n_profiles).ok()? {
        graph.create(std::str::from_utf8(rest.text()?).ok()?);
        let canonical = rest.u32()?;
        canonicals.push(canonical);
        graph.saw_seq(profile, rest.u64()?);
        let traits = decode_traits(&mut rest)?;
        if !traits.traits.is_empty() {
            *graph.traits_mut(profile) = traits;
        }
    }
    for (profile, canonical) in (0..).zip(canonicals) {
        if u64::from(canonical) >= n_profiles {
            return None;
        }
        if profile != canonical {
            graph.merge(profile, canonical);
        }
    }
    graph.reserve_identifiers(usize::try_from(rest.count(32)?).ok()?);
    for _ in 0..rest.u64()? {
        let key = u128::from_le_bytes(rest.take()?);
        let timestamp = rest.i64()?;
        let profile = rest.u32()?;
        let type_id = *type_ids.get(rest.u32()? as usize)?;
        if u64::from(profile) >= n_profiles {
            return None;
        }
        graph.map(key, type_id, profile, timestamp);
    }
    let mut accepted = Accepted::default();
    accepted.reserve(usize::try_from(rest.count(24)?).ok()?);
    for _ in 0..rest.u64()? {
        let key = u128::from_le_bytes(rest.take()?);
        accepted.remember(key, rest.i64()?);
    }
    rest.0.is_empty().then_some(Replayed { graph, trait_names, accepted })
}

fn decode_traits(rest: &mut In<'_>) -> Option<ProfileTraits> {
    let mut traits = Vec::new();
    for _ in 0..rest.u32()? {
        let name = rest.u32()?;
        let at = SetAt { timestamp: rest.i64()?, uuid_ts: rest.i64()?, seq: rest.u64()? };
        let mut cells = Vec::new();
        for _ in 0..rest.u32()? {
            cells.push(Cell { path: rest.u32()?, value: rest.text()?.into() });
        }
        traits.push(Trait { name, at, cells: cells.into() });
    }
    Some(ProfileTraits { traits })
}

/// Reads the state that the manifest names; `None` where it cannot be used.
pub fn read(
    state_folder: &Path,
    named: &StateFile,
    types: &Types,
    files: &Files,
) -> Result<Option<Replayed>> {
    let Some(bytes) = files.read_if_there(&state_folder.join(&named.name))? else { return Ok(None) };
    if digest(&bytes) != named.digest {
        return Ok(None);
    }
    Ok(decode(&bytes, types))
}

/// Writes a state beside the one that is in force, and brings it to the disk.
pub fn write(state_folder: &Path, number: u64, bytes: &[u8], files: &Files) -> Result<StateFile> {
    let name = format!("resolver-{number}");
    let mut out = files.create(&state_folder.join(&name))?;
    out.write_all(bytes)?;
    out.sync()?;
    files.sync_folder(state_folder)?;
    Ok(StateFile { name, digest: digest(bytes) })
}

/// Removes all states but the one in force. What cannot be removed now is removed by a later run.
pub fn sweep(state_folder: &Path, in_force: Option<&StateFile>, files: &Files) {
    let Ok(entries) = std::fs::read_dir(state_folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("resolver-") && in_force.is_none_or(|state| state.name != name) {
            let _ = files.remove_file(&entry.path());
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("{:032x}", xxh3_128(bytes))
}

struct Out(Vec<u8>);

impl Out {
    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn text(&mut self, text: &[u8]) {
        self.u32(u32::try_from(text.len()).expect("a value is shorter than a line"));
        self.0.extend_from_slice(text);
    }
    fn list<T>(&mut self, items: &[T], push: impl Fn(&mut Self, &T)) {
        self.u64(items.len() as u64);
        for item in items {
            push(self, item);
        }
    }
}

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (now, behind) = self.0.split_first_chunk::<N>()?;
        self.0 = behind;
        Some(*now)
    }
    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }
    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (now, behind) = self.0.split_at_checked(length)?;
        self.0 = behind;
        Some(now)
    }
    /// The length of the list that comes next, where so many items of this size can be there.
    fn count(&self, size: u64) -> Option<u64> {
        let count = u64::from_le_bytes(*self.0.first_chunk()?);
        (count.checked_mul(size)? <= self.0.len() as u64).then_some(count)
    }
}
