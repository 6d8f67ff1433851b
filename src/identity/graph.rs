//! Profiles, what maps to them, and which of them became one.
//!
//! A fold over raw rows: creating, merging and mapping are its only changes, whoever asks for them, the resolver or a
//! replay of the raw tables.
//!
//! What earlier runs left need not be here: profiles are *cold* until one of their identifiers is looked up, and are then
//! fetched whole. So a run costs what it touches, however old the space is.

use std::{fmt, hash::BuildHasher, sync::Arc};

use hashbrown::HashTable;

use super::{packed_traits::PackedTraits, types::TypeId};
use crate::{
    collections::{Hasher, Key, key_of},
    error::{Error, Result},
    time::timestamp::{Micros, Millis},
};

/// A profile's number: the order of creation. Its segment id is [`Graph::segment_id`].
pub type ProfileId = u32;

/// The mapping time of an identifier adopted without one: inside every `ever` window and outside every sliding one.
pub const NO_TIME: Millis = Millis::MIN;

/// The clock of what was adopted without one.
pub const NO_CLOCK: Micros = Micros::MIN;

const NONE: u32 = u32::MAX;

/// An identifier that is mapped.
#[derive(Debug, Clone, Copy)]
struct Mapped {
    key: Key,
    /// The `timestamp` of its mapping.
    timestamp: Millis,
    /// The `uuid_ts` of its mapping.
    uuid_ts: Micros,
    /// The profile it was mapped to; that one may have merged since.
    profile: ProfileId,
    type_id: TypeId,
    /// The next identifier of the same canonical profile.
    next: u32,
}

impl Mapped {
    fn identifier(&self) -> MappedIdentifier {
        let Self { key, timestamp, uuid_ts, profile, type_id, .. } = *self;
        MappedIdentifier { key: key.whole(), timestamp, uuid_ts, profile, type_id }
    }
}

/// A profile that is here. All but `id` and `parent` is kept for canonical profiles only.
#[derive(Debug, Clone)]
struct Profile {
    id: ProfileId,
    /// Itself, or towards its canonical profile.
    parent: ProfileId,
    n_identifiers: u32,
    first_identifier: u32,
    last_identifier: u32,
    /// The seq of the last raw row written for it.
    last_seq: u64,
    /// The `uuid_ts` of its creation.
    created: Micros,
    traits: PackedTraits,
    more: Option<Box<More>>,
    /// Whether anything of it is not as it was when it was fetched.
    changed: bool,
}

/// What only a profile has that is more than a few identifiers.
#[derive(Debug, Clone, Default)]
struct More {
    /// The profiles that map to it, itself left out, in the order in which they came to it: keeping them sorted would cost
    /// a large profile that merges many small ones more with each of them. With the `uuid_ts` of the event that merged each.
    merged: Vec<(ProfileId, Micros)>,
    /// How many identifiers of each type, by type, if there are more than [`FEW`].
    counts: Vec<(TypeId, u32)>,
}

/// So many identifiers are counted when it is asked for.
const FEW: u32 = 8;

/// A canonical profile with all that belongs to it, as it is put away and fetched again.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// The seq of its last raw row.
    pub last_seq: u64,
    /// It, then the profiles merged into it.
    pub segments: Vec<SegmentRecord>,
    /// What maps to any of them.
    pub identifiers: Vec<MappedIdentifier>,
    /// Its traits.
    pub traits: PackedTraits,
}

/// A profile or one merged into it, as it is written to the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRecord {
    /// Its number.
    pub id: ProfileId,
    /// Its segment id.
    pub segment_id: Box<str>,
    /// The `uuid_ts` of its creation.
    pub created: Micros,
    /// The `uuid_ts` of the event that merged it away; [`NO_CLOCK`] for the canonical profile.
    pub merged: Micros,
}

/// Where profiles are that are not here.
pub trait Cold: fmt::Debug + Send + Sync {
    /// The profile that an identifier, or a segment id by its [`segment_key`], belongs to.
    fn cluster(&self, key: u128) -> Result<Option<Cluster>>;
}

/// The key of a segment id, apart from those of all identifiers.
#[must_use]
pub fn segment_key(segment_id: &str) -> u128 {
    key_of(&[&u32::MAX.to_le_bytes(), segment_id.as_bytes()].concat())
}

/// A profile as a whole, for those who store or compare it.
#[derive(Debug, Clone, Copy)]
pub struct ProfileState<'a> {
    /// Its segment id.
    pub segment_id: &'a str,
    /// What it maps to; itself for a canonical profile.
    pub canonical: ProfileId,
    /// The seq of the last raw row of a canonical profile.
    pub last_seq: u64,
    /// The `uuid_ts` of its creation.
    pub created: Micros,
    /// The traits of a canonical profile.
    pub traits: &'a PackedTraits,
}

/// An identifier that is mapped, for those who store or compare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MappedIdentifier {
    /// Stands for type and value.
    pub key: u128,
    /// The `timestamp` of its mapping.
    pub timestamp: Millis,
    /// The `uuid_ts` of its mapping.
    pub uuid_ts: Micros,
    /// The profile it was mapped to.
    pub profile: ProfileId,
    /// Its type.
    pub type_id: TypeId,
}

/// All profiles of a space.
#[derive(Debug, Default)]
pub struct Graph {
    /// Where each profile is among those that are here; [`NONE`] for a cold one.
    slots: Vec<u32>,
    profiles: Vec<Profile>,
    segment_ids: String,
    segment_id_ends: Vec<usize>,
    by_segment_id: HashTable<ProfileId>,
    identifiers: Vec<Mapped>,
    by_key: HashTable<u32>,
    hasher: Hasher,
    cold: Option<Arc<dyn Cold>>,
    trouble: Option<Error>,
}

impl Graph {
    /// A graph of so many profiles, none of which is here.
    #[must_use]
    pub fn cold(n_profiles: u32, cold: Arc<dyn Cold>) -> Self {
        Self { slots: vec![NONE; n_profiles as usize], cold: Some(cold), ..Self::default() }
    }

    /// Whether there may be profiles that are not here.
    #[must_use]
    pub fn is_cold(&self) -> bool {
        self.cold.is_some()
    }

    /// What went wrong with a cold profile. Where something did, nothing that came since counts.
    pub fn trouble(&mut self) -> Result<()> {
        self.trouble.take().map_or(Ok(()), Err)
    }

    /// Takes a cold profile in; one that is here already stays as it is.
    pub fn warm(&mut self, cluster: Cluster) {
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

    /// Nothing is cold any more: all profiles were taken in, and all count as changed, to be put away as a whole.
    pub fn all_here(&mut self) {
        self.cold = None;
        for profile in &mut self.profiles {
            profile.changed = true;
        }
    }

    /// The canonical profiles that are not as they were when they were fetched, in the order of creation.
    pub fn changed(&self) -> impl Iterator<Item = ProfileId> {
        let here = self.slots.iter().filter_map(|&slot| self.profiles.get(slot as usize));
        here.filter(|profile| profile.changed && profile.parent == profile.id).map(|profile| profile.id)
    }

    /// The identifiers of a canonical profile.
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
        match cold.cluster(key) {
            Ok(None) => {}
            Ok(Some(cluster)) => self.warm(cluster),
            Err(error) => self.trouble = self.trouble.take().or(Some(error)),
        }
    }

    /// All profiles that are here, in the order of creation.
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

    /// All identifiers that are here, in no order that means anything.
    pub fn mapped_identifiers(&self) -> impl Iterator<Item = MappedIdentifier> {
        self.identifiers.iter().map(Mapped::identifier)
    }

    /// Makes room for identifiers to come.
    pub fn reserve_identifiers(&mut self, additional: usize) {
        self.identifiers.reserve(additional);
        let identifiers = &self.identifiers;
        self.by_key.reserve(additional, |&i| identifiers[i as usize].key.hash());
    }

    /// How many profiles were ever created.
    #[must_use]
    pub fn n_profiles(&self) -> usize {
        self.slots.len()
    }

    /// How many profiles are here and not merged away.
    #[must_use]
    pub fn n_survivors(&self) -> usize {
        self.profiles.iter().filter(|profile| profile.parent == profile.id).count()
    }

    /// How many identifiers are mapped and here.
    #[must_use]
    pub fn n_identifiers(&self) -> usize {
        self.identifiers.len()
    }

    /// A profile's segment id.
    #[must_use]
    pub fn segment_id(&self, profile: ProfileId) -> &str {
        self.text(self.slots[profile as usize])
    }

    fn text(&self, slot: u32) -> &str {
        let at = slot as usize;
        let start = if at == 0 { 0 } else { self.segment_id_ends[at - 1] };
        &self.segment_ids[start..self.segment_id_ends[at]]
    }

    /// The profile of a segment id.
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

    /// Creates a profile. The segment id must be free.
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
            traits: PackedTraits::default(),
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

    /// The profile that a profile is part of now.
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

    /// The number of a mapped identifier.
    pub fn find(&mut self, key: u128) -> Option<u32> {
        let found = self.find_here(key);
        if found.is_some() || self.cold.is_none() {
            return found;
        }
        self.fetch(key);
        self.find_here(key)
    }

    /// The number of a mapped identifier that is here.
    #[must_use]
    pub fn find_here(&self, key: u128) -> Option<u32> {
        let key = Key::from(key);
        self.by_key.find(key.hash(), |&i| self.identifiers[i as usize].key == key).copied()
    }

    /// The profile that an identifier maps to now.
    pub fn profile_of(&mut self, identifier: u32) -> ProfileId {
        self.canonical(self.identifiers[identifier as usize].profile)
    }

    /// The profile that an identifier was first mapped to; it may have merged since.
    #[must_use]
    pub fn first_profile_of(&self, identifier: u32) -> ProfileId {
        self.identifiers[identifier as usize].profile
    }

    /// Maps a new identifier to a profile, under one of its segment ids.
    pub fn map(&mut self, new: MappedIdentifier) {
        let MappedIdentifier { key, timestamp, uuid_ts, profile, type_id } = new;
        let canonical = self.canonical(profile);
        let number = u32::try_from(self.identifiers.len()).expect("fewer than 2^32 identifiers");
        let key = Key::from(key);
        self.identifiers.push(Mapped { key, timestamp, uuid_ts, profile, type_id, next: NONE });
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
        if FEW + 1 < n {
            add_count(&mut profile.more.get_or_insert_default().counts, type_id, 1);
        }
        if last != NONE {
            self.identifiers[last as usize].next = number;
        }
        if n == FEW + 1 {
            self.count_all(canonical);
        }
    }

    /// Begins to keep count of a profile's identifiers, which have become many.
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

    /// Merges a canonical profile into another. Traits are the caller's to fold: [`Graph::take_traits`].
    pub fn merge(&mut self, from: ProfileId, into: ProfileId, uuid_ts: Micros) {
        debug_assert_ne!(from, into);
        let counts = [from, into].map(|profile| self.n_identifiers_of(profile));
        if FEW < counts[0] + counts[1] {
            for (profile, n) in [from, into].into_iter().zip(counts) {
                if n <= FEW {
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

    /// The profiles merged into a canonical one, in no order, each with the `uuid_ts` of the event that merged it away.
    #[must_use]
    pub fn merged(&self, profile: ProfileId) -> &[(ProfileId, Micros)] {
        self.profile(profile).more.as_ref().map_or(&[], |more| &more.merged)
    }

    /// How many identifiers a canonical profile has.
    #[must_use]
    pub fn n_identifiers_of(&self, profile: ProfileId) -> u32 {
        self.profile(profile).n_identifiers
    }

    /// The types of a canonical profile's identifiers and how many there are, in no order; one may come more than once.
    pub fn types(&self, profile: ProfileId) -> impl Iterator<Item = (TypeId, u32)> {
        let counts = self.counts(profile);
        let few = counts.is_none().then(|| self.identifiers_of(profile));
        let counted = counts.into_iter().flatten().copied();
        counted.chain(few.into_iter().flatten().map(|identifier| (identifier.type_id, 1)))
    }

    /// How many identifiers of a type a canonical profile has.
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

    /// How many identifiers of each type a profile of many has.
    fn counts(&self, profile: ProfileId) -> Option<&[(TypeId, u32)]> {
        let profile = self.profile(profile);
        let more = profile.more.as_ref().filter(|_| FEW < profile.n_identifiers)?;
        Some(&more.counts)
    }

    /// How many identifiers of a type a canonical profile got after a time.
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

    /// The seq of the last raw row of a canonical profile, 0 for none.
    #[must_use]
    pub fn last_seq(&self, profile: ProfileId) -> u64 {
        self.profile(profile).last_seq
    }

    /// Remembers the seq of a raw row.
    pub fn saw_seq(&mut self, profile: ProfileId, seq: u64) {
        let canonical = self.canonical(profile);
        let profile = self.profile_mut(canonical);
        profile.changed |= profile.last_seq < seq;
        profile.last_seq = seq.max(profile.last_seq);
    }

    /// The traits of a canonical profile.
    #[must_use]
    pub fn traits(&self, profile: ProfileId) -> &PackedTraits {
        &self.profile(profile).traits
    }

    /// Gives a canonical profile other traits.
    pub fn set_traits(&mut self, profile: ProfileId, traits: PackedTraits) {
        let profile = self.profile_mut(profile);
        profile.changed = true;
        profile.traits = traits;
    }

    /// Takes the traits of a profile that merges away.
    pub fn take_traits(&mut self, profile: ProfileId) -> PackedTraits {
        std::mem::take(&mut self.profile_mut(profile).traits)
    }
}

fn add_count(counts: &mut Vec<(TypeId, u32)>, type_id: TypeId, n: u32) {
    match counts.binary_search_by_key(&type_id, |count| count.0) {
        Ok(at) => counts[at].1 += n,
        Err(at) => counts.insert(at, (type_id, n)),
    }
}
