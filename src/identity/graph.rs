//! Profiles, what maps to them, and which of them became one.
//!
//! A fold over raw rows: creating, merging and mapping are its only changes, whoever asks for them, the resolver or a
//! replay of the raw tables.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::{traits::ProfileTraits, types::TypeId};
use crate::{collections::Hasher, event::timestamp::Millis};

/// A profile's number: the order of creation. Its segment id is [`Graph::segment_id`].
pub type ProfileId = u32;

/// The mapping time of an identifier adopted without one: inside every `ever` window and outside every sliding one.
pub const NO_TIME: Millis = Millis::MIN;

const NONE: u32 = u32::MAX;

/// An identifier that is mapped.
#[derive(Debug, Clone, Copy)]
struct Mapped {
    key: u128,
    /// The `timestamp` of its mapping.
    timestamp: Millis,
    /// The profile it was mapped to; that one may have merged since.
    profile: ProfileId,
    type_id: TypeId,
    /// The next identifier of the same canonical profile.
    next: u32,
}

/// A profile. All but `parent` is kept for canonical profiles only.
#[derive(Debug, Clone)]
struct Profile {
    /// Itself, or towards its canonical profile.
    parent: ProfileId,
    n_identifiers: u32,
    first_identifier: u32,
    last_identifier: u32,
    /// The seq of the last raw row written for it.
    last_seq: u64,
    /// How many identifiers of each type.
    counts: Vec<(TypeId, u32)>,
    /// The profiles that map to it, itself left out, in the order in which they came to it: keeping them sorted would cost
    /// a large profile that merges many small ones more with each of them.
    merged: Vec<ProfileId>,
    traits: Option<Box<ProfileTraits>>,
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
    /// The traits of a canonical profile.
    pub traits: Option<&'a ProfileTraits>,
}

/// An identifier that is mapped, for those who store or compare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MappedIdentifier {
    /// Stands for type and value.
    pub key: u128,
    /// The `timestamp` of its mapping.
    pub timestamp: Millis,
    /// The profile it was mapped to.
    pub profile: ProfileId,
    /// Its type.
    pub type_id: TypeId,
}

/// All profiles of a space.
#[derive(Debug, Default)]
pub struct Graph {
    profiles: Vec<Profile>,
    segment_ids: String,
    segment_id_ends: Vec<usize>,
    by_segment_id: HashTable<ProfileId>,
    identifiers: Vec<Mapped>,
    by_key: HashTable<u32>,
    hasher: Hasher,
}

impl Graph {
    /// All profiles, in the order of creation.
    pub fn profile_states(&self) -> impl Iterator<Item = ProfileState<'_>> {
        (0..).zip(&self.profiles).map(|(id, profile)| {
            let mut canonical = id;
            while self.profiles[canonical as usize].parent != canonical {
                canonical = self.profiles[canonical as usize].parent;
            }
            let (last_seq, traits) = (profile.last_seq, profile.traits.as_deref());
            ProfileState { segment_id: self.segment_id(id), canonical, last_seq, traits }
        })
    }

    /// All identifiers, in no order that means anything.
    pub fn mapped_identifiers(&self) -> impl Iterator<Item = MappedIdentifier> {
        self.identifiers.iter().map(|&Mapped { key, timestamp, profile, type_id, .. }| MappedIdentifier {
            key,
            timestamp,
            profile,
            type_id,
        })
    }

    /// Makes room for identifiers to come.
    pub fn reserve_identifiers(&mut self, additional: usize) {
        self.identifiers.reserve(additional);
        let identifiers = &self.identifiers;
        self.by_key.reserve(additional, |&i| hash_of(identifiers[i as usize].key));
    }

    /// How many profiles were ever created.
    #[must_use]
    pub fn n_profiles(&self) -> usize {
        self.profiles.len()
    }

    /// How many identifiers are mapped.
    #[must_use]
    pub fn n_identifiers(&self) -> usize {
        self.identifiers.len()
    }

    /// A profile's segment id.
    #[must_use]
    pub fn segment_id(&self, profile: ProfileId) -> &str {
        let at = profile as usize;
        let start = if at == 0 { 0 } else { self.segment_id_ends[at - 1] };
        &self.segment_ids[start..self.segment_id_ends[at]]
    }

    /// The profile of a segment id.
    #[must_use]
    pub fn find_segment_id(&self, segment_id: &str) -> Option<ProfileId> {
        let hash = self.hasher.hash_one(segment_id);
        self.by_segment_id.find(hash, |&p| self.segment_id(p) == segment_id).copied()
    }

    /// Creates a profile. The segment id must be free.
    pub fn create(&mut self, segment_id: &str) -> ProfileId {
        let profile = ProfileId::try_from(self.profiles.len()).expect("fewer than 2^32 profiles");
        self.segment_ids.push_str(segment_id);
        self.segment_id_ends.push(self.segment_ids.len());
        self.profiles.push(Profile {
            parent: profile,
            n_identifiers: 0,
            first_identifier: NONE,
            last_identifier: NONE,
            last_seq: 0,
            counts: Vec::new(),
            merged: Vec::new(),
            traits: None,
        });
        let hash = self.hasher.hash_one(segment_id);
        let (ids, ends, hasher) = (&self.segment_ids, &self.segment_id_ends, &self.hasher);
        self.by_segment_id.insert_unique(hash, profile, |&p| {
            let at = p as usize;
            hasher.hash_one(&ids[if at == 0 { 0 } else { ends[at - 1] }..ends[at]])
        });
        profile
    }

    /// The profile that a profile is part of now.
    pub fn canonical(&mut self, profile: ProfileId) -> ProfileId {
        let mut root = profile;
        while self.profiles[root as usize].parent != root {
            root = self.profiles[root as usize].parent;
        }
        let mut at = profile;
        while at != root {
            at = std::mem::replace(&mut self.profiles[at as usize].parent, root);
        }
        root
    }

    /// The number of a mapped identifier.
    #[must_use]
    pub fn find(&self, key: u128) -> Option<u32> {
        self.by_key.find(hash_of(key), |&i| self.identifiers[i as usize].key == key).copied()
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
    pub fn map(&mut self, key: u128, type_id: TypeId, segment: ProfileId, timestamp: Millis) {
        let canonical = self.canonical(segment) as usize;
        let number = u32::try_from(self.identifiers.len()).expect("fewer than 2^32 identifiers");
        self.identifiers.push(Mapped { key, timestamp, profile: segment, type_id, next: NONE });
        let identifiers = &self.identifiers;
        self.by_key.insert_unique(hash_of(key), number, |&i| hash_of(identifiers[i as usize].key));
        let profile = &mut self.profiles[canonical];
        profile.n_identifiers += 1;
        let last = std::mem::replace(&mut profile.last_identifier, number);
        if last == NONE {
            profile.first_identifier = number;
        }
        add_count(&mut profile.counts, type_id, 1);
        if last != NONE {
            self.identifiers[last as usize].next = number;
        }
    }

    /// Merges a canonical profile into another. Traits are the caller's to fold: [`Graph::take_traits`].
    pub fn merge(&mut self, from: ProfileId, into: ProfileId) {
        debug_assert_ne!(from, into);
        let source = &mut self.profiles[from as usize];
        source.parent = into;
        let merged = std::mem::take(&mut source.merged);
        let counts = std::mem::take(&mut source.counts);
        let (first, last, n, last_seq) =
            (source.first_identifier, source.last_identifier, source.n_identifiers, source.last_seq);
        let target = &mut self.profiles[into as usize];
        target.last_seq = target.last_seq.max(last_seq);
        target.n_identifiers += n;
        for (type_id, count) in counts {
            add_count(&mut target.counts, type_id, count);
        }
        target.merged.push(from);
        target.merged.extend(merged);
        if first != NONE {
            let end = std::mem::replace(&mut target.last_identifier, last);
            if end == NONE {
                target.first_identifier = first;
            } else {
                self.identifiers[end as usize].next = first;
            }
        }
    }

    /// The profiles merged into a canonical one, in no order.
    #[must_use]
    pub fn merged(&self, profile: ProfileId) -> &[ProfileId] {
        &self.profiles[profile as usize].merged
    }

    /// How many identifiers a canonical profile has.
    #[must_use]
    pub fn n_identifiers_of(&self, profile: ProfileId) -> u32 {
        self.profiles[profile as usize].n_identifiers
    }

    /// How many identifiers of each type a canonical profile has; types in no order.
    #[must_use]
    pub fn counts(&self, profile: ProfileId) -> &[(TypeId, u32)] {
        &self.profiles[profile as usize].counts
    }

    /// How many identifiers of a type a canonical profile has.
    #[must_use]
    pub fn count(&self, profile: ProfileId, type_id: TypeId) -> u32 {
        self.counts(profile).iter().find(|(t, _)| *t == type_id).map_or(0, |&(_, n)| n)
    }

    /// How many identifiers of a type a canonical profile got after a time.
    #[must_use]
    pub fn count_after(&self, profile: ProfileId, type_id: TypeId, after: Millis) -> u32 {
        let mut n = 0;
        let mut at = self.profiles[profile as usize].first_identifier;
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
        self.profiles[profile as usize].last_seq
    }

    /// Remembers the seq of a raw row.
    pub fn saw_seq(&mut self, profile: ProfileId, seq: u64) {
        let canonical = self.canonical(profile);
        let last = &mut self.profiles[canonical as usize].last_seq;
        *last = seq.max(*last);
    }

    /// The traits of a canonical profile.
    #[must_use]
    pub fn traits(&self, profile: ProfileId) -> Option<&ProfileTraits> {
        self.profiles[profile as usize].traits.as_deref()
    }

    /// The traits of a canonical profile, to be changed; made where there are none.
    pub fn traits_mut(&mut self, profile: ProfileId) -> &mut ProfileTraits {
        self.profiles[profile as usize].traits.get_or_insert_default()
    }

    /// Takes the traits of a profile that merges away.
    pub fn take_traits(&mut self, profile: ProfileId) -> Option<Box<ProfileTraits>> {
        self.profiles[profile as usize].traits.take()
    }
}

fn add_count(counts: &mut Vec<(TypeId, u32)>, type_id: TypeId, n: u32) {
    match counts.iter_mut().find(|(t, _)| *t == type_id) {
        Some((_, count)) => *count += n,
        None => counts.push((type_id, n)),
    }
}

/// Keys are hashes already.
#[expect(clippy::cast_possible_truncation, reason = "half of a 128-bit hash is a hash")]
fn hash_of(key: u128) -> u64 {
    key as u64
}
