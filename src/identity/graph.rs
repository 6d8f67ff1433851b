//! The identity graph: profiles, the identifiers mapped to them, and their merges.
//!
//! It is a fold over raw rows. Creating, merging and mapping are its only changes, made by the resolver or by a replay
//! of the raw tables.
//!
//! Profiles of earlier runs stay on disk until one of their identifiers or segment ids is looked up, and are then
//! loaded whole. So the cost of a run depends on the profiles it affects, not on the age of the space.

use std::{fmt, hash::BuildHasher, sync::Arc};

use hashbrown::HashTable;

use super::packed_traits::EncodedTraits;
use crate::{
    collections::{Hasher, SplitKey, key_of},
    error::{Error, Result},
    event::block::TypeId,
    time::timestamp::{Micros, Millis},
};

/// A profile's number, assigned in order of creation. [`IdentityGraph::segment_id`] returns its segment id.
pub type ProfileId = u32;

/// The mapping time of an identifier that was adopted without one. It lies inside the `ever` window and outside all
/// others.
pub const UNKNOWN_TIME: Millis = Millis::MIN;

/// The `uuid_ts` of a row that was adopted without one.
pub const UNKNOWN_CLOCK: Micros = Micros::MIN;

const NONE: u32 = u32::MAX;

/// A mapped identifier.
#[derive(Debug, Clone, Copy)]
struct IdentifierNode {
    key: SplitKey,
    /// The `timestamp` of its mapping.
    timestamp: Millis,
    /// The `uuid_ts` of its mapping.
    uuid_ts: Micros,
    /// The profile it was mapped to, which may have been merged since.
    profile: ProfileId,
    type_id: TypeId,
    /// The next identifier of the same canonical profile.
    next: u32,
}

impl IdentifierNode {
    fn identifier(&self) -> MappedIdentifier {
        let Self { key, timestamp, uuid_ts, profile, type_id, .. } = *self;
        MappedIdentifier { key: key.whole(), timestamp, uuid_ts, profile, type_id }
    }
}

/// A profile in memory. Only canonical profiles use the fields other than `id` and `parent`.
#[derive(Debug, Clone)]
struct Profile {
    id: ProfileId,
    /// Itself, or a profile closer to the canonical one.
    parent: ProfileId,
    n_identifiers: u32,
    first_identifier: u32,
    last_identifier: u32,
    /// The `seq` of the last raw row written for it.
    last_seq: u64,
    /// The `uuid_ts` of its creation.
    created: Micros,
    traits: EncodedTraits,
    more: Option<Box<ProfileExtra>>,
    /// Whether it changed since it was loaded.
    changed: bool,
}

/// Fields that only larger profiles need.
#[derive(Debug, Clone, Default)]
struct ProfileExtra {
    /// The profiles merged into this one, each with the `uuid_ts` of its merge. They are in order of arrival: keeping
    /// them sorted would make each merge of a small profile into a large one cost more.
    merged: Vec<(ProfileId, Micros)>,
    /// The number of identifiers by type, sorted by type. Used only above [`COUNT_ON_DEMAND`] identifiers.
    counts: Vec<(TypeId, u32)>,
}

/// Up to this many identifiers are counted on demand.
const COUNT_ON_DEMAND: u32 = 8;

/// A canonical profile with everything that belongs to it, as stored in the state cache.
#[derive(Debug, Clone, Default)]
pub struct ProfileRecord {
    /// The `seq` of its last raw row.
    pub last_seq: u64,
    /// The profile itself, then the profiles merged into it.
    pub segments: Vec<SegmentRecord>,
    /// The identifiers mapped to any of them.
    pub identifiers: Vec<MappedIdentifier>,
    /// Its traits.
    pub traits: EncodedTraits,
}

/// One segment id of a profile, as stored in the state cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRecord {
    /// The profile's number.
    pub id: ProfileId,
    /// Its segment id.
    pub segment_id: Box<str>,
    /// The `uuid_ts` of its creation.
    pub created: Micros,
    /// The `uuid_ts` of the event that merged it away; [`UNKNOWN_CLOCK`] for the canonical profile.
    pub merged: Micros,
}

/// Loads the profiles that are on disk.
pub trait ProfileLoader: fmt::Debug + Send + Sync {
    /// Returns the profile that a key belongs to: the key of an identifier, or the [`segment_key`] of a segment id.
    fn load(&self, key: u128) -> Result<Option<ProfileRecord>>;
}

/// Returns the key of a segment id, which differs from the keys of all identifiers.
#[must_use]
pub fn segment_key(segment_id: &str) -> u128 {
    key_of(&[&u32::MAX.to_le_bytes(), segment_id.as_bytes()].concat())
}

/// A profile with its state, for storing and comparing.
#[derive(Debug, Clone, Copy)]
pub struct ProfileState<'a> {
    /// Its segment id.
    pub segment_id: &'a str,
    /// Its canonical profile, which may be itself.
    pub canonical: ProfileId,
    /// The `seq` of the last raw row of a canonical profile.
    pub last_seq: u64,
    /// The `uuid_ts` of its creation.
    pub created: Micros,
    /// The traits of a canonical profile.
    pub traits: &'a EncodedTraits,
}

/// A mapped identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MappedIdentifier {
    /// Hash of its type and value.
    pub key: u128,
    /// The `timestamp` of its mapping.
    pub timestamp: Millis,
    /// The `uuid_ts` of its mapping.
    pub uuid_ts: Micros,
    /// The profile it was mapped to, which may have been merged since.
    pub profile: ProfileId,
    /// Its type.
    pub type_id: TypeId,
}

/// All profiles of a space.
#[derive(Debug, Default)]
pub struct IdentityGraph {
    /// The index of each profile in `profiles`; [`NONE`] for a profile on disk.
    slots: Vec<u32>,
    profiles: Vec<Profile>,
    segment_ids: String,
    segment_id_ends: Vec<usize>,
    by_segment_id: HashTable<ProfileId>,
    identifiers: Vec<IdentifierNode>,
    by_key: HashTable<u32>,
    hasher: Hasher,
    cold: Option<Arc<dyn ProfileLoader>>,
    trouble: Option<Error>,
}

impl IdentityGraph {
    /// Creates a graph of `n_profiles` profiles, all of them on disk.
    #[must_use]
    pub fn on_disk(n_profiles: u32, cold: Arc<dyn ProfileLoader>) -> Self {
        Self { slots: vec![NONE; n_profiles as usize], cold: Some(cold), ..Self::default() }
    }

    /// Returns whether profiles may be on disk.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.cold.is_some()
    }

    /// Returns the first error of loading a profile and clears it. After an error, nothing that was resolved since is
    /// valid.
    pub fn deferred_error(&mut self) -> Result<()> {
        self.trouble.take().map_or(Ok(()), Err)
    }

    /// Adds a profile loaded from disk, unless it is in memory already.
    pub fn load(&mut self, cluster: ProfileRecord) {
        let Some(root) = cluster.segments.first().map(|segment| segment.id) else { return };
        if self.slots[root as usize] != NONE {
            return;
        }
        for segment in &cluster.segments {
            self.add_profile(segment.id, root, &segment.segment_id, segment.created);
        }
        for identifier in cluster.identifiers {
            self.map(identifier);
        }
        let profile = self.profile_mut(root);
        if 1 < cluster.segments.len() {
            let merged = &mut profile.more.get_or_insert_default().merged;
            merged.extend(cluster.segments[1..].iter().map(|segment| (segment.id, segment.merged)));
        }
        profile.last_seq = cluster.last_seq;
        profile.traits = cluster.traits;
        profile.changed = false;
    }

    /// Marks the graph as fully loaded, and all profiles as changed so that they are stored again. All of them must be
    /// in memory.
    pub fn mark_fully_loaded(&mut self) {
        self.cold = None;
        for profile in &mut self.profiles {
            profile.changed = true;
        }
    }

    /// Returns the canonical profiles that changed since they were loaded, in order of creation.
    pub fn changed(&self) -> impl Iterator<Item = ProfileId> {
        let here = self.slots.iter().filter_map(|&slot| self.profiles.get(slot as usize));
        here.filter(|profile| profile.changed && profile.parent == profile.id).map(|profile| profile.id)
    }

    /// Returns the identifiers of a canonical profile.
    pub fn identifiers_of(&self, profile: ProfileId) -> impl Iterator<Item = MappedIdentifier> {
        let mut at = self.profile(profile).first_identifier;
        std::iter::from_fn(move || {
            let mapped = self.identifiers.get(at as usize)?;
            at = mapped.next;
            Some(mapped.identifier())
        })
    }

    fn profile(&self, id: ProfileId) -> &Profile {
        &self.profiles[self.slots[id as usize] as usize]
    }

    fn profile_mut(&mut self, id: ProfileId) -> &mut Profile {
        &mut self.profiles[self.slots[id as usize] as usize]
    }

    fn fetch(&mut self, key: u128) {
        let Some(cold) = &self.cold else { return };
        match cold.load(key) {
            Ok(None) => {}
            Ok(Some(cluster)) => self.load(cluster),
            Err(error) => self.trouble = self.trouble.take().or(Some(error)),
        }
    }

    /// Returns all profiles in memory, in order of creation.
    pub fn profile_states(&self) -> impl Iterator<Item = ProfileState<'_>> {
        let here = self.slots.iter().filter_map(|&slot| self.profiles.get(slot as usize));
        here.map(|profile| {
            let id = profile.id;
            let mut canonical = id;
            while self.profile(canonical).parent != canonical {
                canonical = self.profile(canonical).parent;
            }
            let Profile { last_seq, created, traits, .. } = profile;
            let (last_seq, created) = (*last_seq, *created);
            ProfileState { segment_id: self.segment_id(id), canonical, last_seq, created, traits }
        })
    }

    /// Returns all identifiers in memory, in an arbitrary order.
    pub fn mapped_identifiers(&self) -> impl Iterator<Item = MappedIdentifier> {
        self.identifiers.iter().map(IdentifierNode::identifier)
    }

    /// Reserves memory for `additional` more identifiers.
    pub fn reserve_identifiers(&mut self, additional: usize) {
        self.identifiers.reserve(additional);
        let identifiers = &self.identifiers;
        self.by_key.reserve(additional, |&i| identifiers[i as usize].key.hash());
    }

    /// Returns the number of profiles ever created, including those on disk.
    #[must_use]
    pub fn n_profiles(&self) -> usize {
        self.slots.len()
    }

    /// Returns the number of canonical profiles in memory.
    #[must_use]
    pub fn n_canonical(&self) -> usize {
        self.profiles.iter().filter(|profile| profile.parent == profile.id).count()
    }

    /// Returns the number of identifiers in memory.
    #[must_use]
    pub fn n_identifiers(&self) -> usize {
        self.identifiers.len()
    }

    /// Returns a profile's segment id. The profile must be in memory.
    #[must_use]
    pub fn segment_id(&self, profile: ProfileId) -> &str {
        self.text(self.slots[profile as usize])
    }

    fn text(&self, slot: u32) -> &str {
        let at = slot as usize;
        let start = if at == 0 { 0 } else { self.segment_id_ends[at - 1] };
        &self.segment_ids[start..self.segment_id_ends[at]]
    }

    /// Returns the profile of a segment id, loading it if necessary.
    pub fn find_segment_id(&mut self, segment_id: &str) -> Option<ProfileId> {
        let hash = self.hasher.hash_one(segment_id);
        let here = |graph: &Self| {
            graph
                .by_segment_id
                .find(hash, |&slot| graph.text(slot) == segment_id)
                .map(|&slot| graph.profiles[slot as usize].id)
        };
        if let Some(profile) = here(self) {
            return Some(profile);
        }
        self.cold.as_ref()?;
        self.fetch(segment_key(segment_id));
        here(self)
    }

    /// Creates a profile. The segment id must be unused.
    pub fn create(&mut self, segment_id: &str, uuid_ts: Micros) -> ProfileId {
        let profile = ProfileId::try_from(self.slots.len()).expect("fewer than 2^32 profiles");
        self.slots.push(NONE);
        self.add_profile(profile, profile, segment_id, uuid_ts);
        profile
    }

    fn add_profile(&mut self, id: ProfileId, parent: ProfileId, segment_id: &str, created: Micros) {
        let slot = u32::try_from(self.profiles.len()).expect("fewer than 2^32 profiles");
        self.slots[id as usize] = slot;
        self.segment_ids.push_str(segment_id);
        self.segment_id_ends.push(self.segment_ids.len());
        self.profiles.push(Profile {
            id,
            parent,
            n_identifiers: 0,
            first_identifier: NONE,
            last_identifier: NONE,
            last_seq: 0,
            created,
            traits: EncodedTraits::default(),
            more: None,
            changed: true,
        });
        let hash = self.hasher.hash_one(segment_id);
        let (ids, ends, hasher) = (&self.segment_ids, &self.segment_id_ends, &self.hasher);
        self.by_segment_id.insert_unique(hash, slot, |&slot| {
            let at = slot as usize;
            hasher.hash_one(&ids[if at == 0 { 0 } else { ends[at - 1] }..ends[at]])
        });
    }

    /// Returns the canonical profile of a profile, and shortens the path to it.
    pub fn canonical(&mut self, profile: ProfileId) -> ProfileId {
        let mut root = profile;
        loop {
            let parent = self.profile(root).parent;
            if parent == root {
                break;
            }
            root = parent;
        }
        let mut at = profile;
        while at != root {
            at = std::mem::replace(&mut self.profile_mut(at).parent, root);
        }
        root
    }

    /// Returns the index of a mapped identifier, loading its profile if necessary.
    pub fn find(&mut self, key: u128) -> Option<u32> {
        let found = self.find_in_memory(key);
        if found.is_some() || self.cold.is_none() {
            return found;
        }
        self.fetch(key);
        self.find_in_memory(key)
    }

    /// Returns the index of a mapped identifier that is in memory.
    #[must_use]
    pub fn find_in_memory(&self, key: u128) -> Option<u32> {
        let key = SplitKey::from(key);
        self.by_key.find(key.hash(), |&i| self.identifiers[i as usize].key == key).copied()
    }

    /// Returns the canonical profile of an identifier.
    pub fn profile_of(&mut self, identifier: u32) -> ProfileId {
        self.canonical(self.identifiers[identifier as usize].profile)
    }

    /// Returns the profile that an identifier was first mapped to, which may have been merged since.
    #[must_use]
    pub fn mapped_profile_of(&self, identifier: u32) -> ProfileId {
        self.identifiers[identifier as usize].profile
    }

    /// Maps a new identifier to a profile, which may have been merged away.
    pub fn map(&mut self, new: MappedIdentifier) {
        let MappedIdentifier { key, timestamp, uuid_ts, profile, type_id } = new;
        let canonical = self.canonical(profile);
        let number = u32::try_from(self.identifiers.len()).expect("fewer than 2^32 identifiers");
        let key = SplitKey::from(key);
        self.identifiers.push(IdentifierNode { key, timestamp, uuid_ts, profile, type_id, next: NONE });
        let identifiers = &self.identifiers;
        self.by_key.insert_unique(key.hash(), number, |&i| identifiers[i as usize].key.hash());
        let profile = self.profile_mut(canonical);
        profile.changed = true;
        profile.n_identifiers += 1;
        let last = std::mem::replace(&mut profile.last_identifier, number);
        if last == NONE {
            profile.first_identifier = number;
        }
        let n = profile.n_identifiers;
        if COUNT_ON_DEMAND + 1 < n {
            add_count(&mut profile.more.get_or_insert_default().counts, type_id, 1);
        }
        if last != NONE {
            self.identifiers[last as usize].next = number;
        }
        if n == COUNT_ON_DEMAND + 1 {
            self.count_all(canonical);
        }
    }

    /// Starts counting a profile's identifiers by type, once there are many.
    fn count_all(&mut self, profile: ProfileId) {
        let mut counts = Vec::new();
        for identifier in self.identifiers_of(profile) {
            add_count(&mut counts, identifier.type_id, 1);
        }
        self.profile_mut(profile).more.get_or_insert_default().counts = counts;
    }

    /// Returns the `uuid_ts` of a profile's creation.
    #[must_use]
    pub fn created(&self, profile: ProfileId) -> Micros {
        self.profile(profile).created
    }

    /// Merges a canonical profile into another. The caller merges the traits; see [`IdentityGraph::take_traits`].
    pub fn merge(&mut self, from: ProfileId, into: ProfileId, uuid_ts: Micros) {
        debug_assert_ne!(from, into);
        let counts = [from, into].map(|profile| self.n_identifiers_of(profile));
        if COUNT_ON_DEMAND < counts[0] + counts[1] {
            for (profile, n) in [from, into].into_iter().zip(counts) {
                if n <= COUNT_ON_DEMAND {
                    self.count_all(profile);
                }
            }
        }
        let source = self.profile_mut(from);
        source.parent = into;
        let more = source.more.take().unwrap_or_default();
        let (first, last, n, last_seq) =
            (source.first_identifier, source.last_identifier, source.n_identifiers, source.last_seq);
        let target = self.profile_mut(into);
        target.changed = true;
        target.last_seq = target.last_seq.max(last_seq);
        target.n_identifiers += n;
        let of_target = target.more.get_or_insert_default();
        of_target.merged.push((from, uuid_ts));
        of_target.merged.extend(more.merged);
        for (type_id, count) in more.counts {
            add_count(&mut of_target.counts, type_id, count);
        }
        if first != NONE {
            let end = std::mem::replace(&mut target.last_identifier, last);
            if end == NONE {
                target.first_identifier = first;
            } else {
                self.identifiers[end as usize].next = first;
            }
        }
    }

    /// Returns the profiles merged into a canonical one, in an arbitrary order, each with the `uuid_ts` of its merge.
    #[must_use]
    pub fn merged(&self, profile: ProfileId) -> &[(ProfileId, Micros)] {
        self.profile(profile).more.as_ref().map_or(&[], |more| &more.merged)
    }

    /// Returns the number of identifiers of a canonical profile.
    #[must_use]
    pub fn n_identifiers_of(&self, profile: ProfileId) -> u32 {
        self.profile(profile).n_identifiers
    }

    /// Returns the types of a canonical profile's identifiers with their counts, in an arbitrary order. A type may be
    /// repeated.
    pub fn types(&self, profile: ProfileId) -> impl Iterator<Item = (TypeId, u32)> {
        let counts = self.counts(profile);
        let few = counts.is_none().then(|| self.identifiers_of(profile));
        let counted = counts.into_iter().flatten().copied();
        counted.chain(few.into_iter().flatten().map(|identifier| (identifier.type_id, 1)))
    }

    /// Returns the number of identifiers of one type on a canonical profile.
    #[must_use]
    pub fn count(&self, profile: ProfileId, type_id: TypeId) -> u32 {
        match self.counts(profile) {
            Some(counts) => {
                counts.binary_search_by_key(&type_id, |count| count.0).map_or(0, |at| counts[at].1)
            }
            None => {
                self.identifiers_of(profile).map(|identifier| u32::from(identifier.type_id == type_id)).sum()
            }
        }
    }

    /// Returns the counts by type; `None` for a profile with few identifiers.
    fn counts(&self, profile: ProfileId) -> Option<&[(TypeId, u32)]> {
        let profile = self.profile(profile);
        let more = profile.more.as_ref().filter(|_| COUNT_ON_DEMAND < profile.n_identifiers)?;
        Some(&more.counts)
    }

    /// Returns how many identifiers of a type were mapped to a canonical profile after the given time.
    #[must_use]
    pub fn count_after(&self, profile: ProfileId, type_id: TypeId, after: Millis) -> u32 {
        let mut n = 0;
        let mut at = self.profile(profile).first_identifier;
        while at != NONE {
            let identifier = &self.identifiers[at as usize];
            n += u32::from(identifier.type_id == type_id && after < identifier.timestamp);
            at = identifier.next;
        }
        n
    }

    /// Returns the `seq` of a canonical profile's last raw row; 0 if it has none.
    #[must_use]
    pub fn last_seq(&self, profile: ProfileId) -> u64 {
        self.profile(profile).last_seq
    }

    /// Records the `seq` of a raw row of the profile.
    pub fn record_seq(&mut self, profile: ProfileId, seq: u64) {
        let canonical = self.canonical(profile);
        let profile = self.profile_mut(canonical);
        profile.changed |= profile.last_seq < seq;
        profile.last_seq = seq.max(profile.last_seq);
    }

    /// Returns the traits of a canonical profile.
    #[must_use]
    pub fn traits(&self, profile: ProfileId) -> &EncodedTraits {
        &self.profile(profile).traits
    }

    /// Replaces the traits of a canonical profile.
    pub fn set_traits(&mut self, profile: ProfileId, traits: EncodedTraits) {
        let profile = self.profile_mut(profile);
        profile.changed = true;
        profile.traits = traits;
    }

    /// Removes and returns the traits of a profile that is merged away.
    pub fn take_traits(&mut self, profile: ProfileId) -> EncodedTraits {
        std::mem::take(&mut self.profile_mut(profile).traits)
    }
}

fn add_count(counts: &mut Vec<(TypeId, u32)>, type_id: TypeId, n: u32) {
    match counts.binary_search_by_key(&type_id, |count| count.0) {
        Ok(at) => counts[at].1 += n,
        Err(at) => counts.insert(at, (type_id, n)),
    }
}
