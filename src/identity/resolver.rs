//! The resolver: one event after the other, in order, each against the graph as it stands.
//!
//! Sequential on purpose: which profile survives, which rows appear and which limits hold depend on the order. What it
//! does to an event comes out as [`Changes`]; writing rows is not its business.

use std::sync::Arc;

use super::{
    graph::{Graph, ProfileId},
    packed_traits::PackedTraits,
    rules::{Limit, Rules, SegmentIdStyle},
    segment_id::ksuid,
    traits::{ProfileTraits, SetAt, TraitNames},
    types::{TypeId, Types, ranks},
};
use crate::{
    collections::Set,
    event::{
        block::{Block, Event, Identifier},
        timestamp::{Micros, Millis},
    },
    raw::columns::Plan,
};

/// Among so many identifiers of an event, one that stands twice is found by looking at all.
const FEW: u32 = 16;

/// Why an identifier of an event was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Its value is blocked.
    Blocked,
    /// Its type's limit would have been passed.
    Limit,
    /// Too many profiles would have become one.
    MergeCap,
    /// Too many identifiers would have stood on one profile.
    MappingCap,
}

/// An identifier taken off an event, or left out.
#[derive(Debug, Clone, Copy)]
pub struct Refused {
    /// Index in the block's identifiers.
    pub identifier: u32,
    /// Which rule.
    pub refusal: Refusal,
    /// The type whose limit is meant, for a limit: of several the one of the highest rank.
    pub limited_type: TypeId,
    /// The profile it belongs to; for one that belongs to nobody, the profile it would have been mapped to.
    pub profile: Option<ProfileId>,
    /// Whether it was left out for want of room, after the event had found its profile.
    pub no_room: bool,
}

/// A profile that merged into another, with all that mapped to it, oldest first.
#[derive(Debug, Clone)]
pub struct Merge {
    /// The canonical profile that is none any more.
    pub from: ProfileId,
    /// It and those that mapped to it.
    pub segments: Vec<ProfileId>,
    /// What they map to now.
    pub into: ProfileId,
}

/// What an event did.
#[derive(Debug, Default)]
pub struct Changes {
    /// The profile it came through; `None` for an unresolved event.
    pub segment: Option<ProfileId>,
    /// The profile it belongs to now.
    pub canonical: Option<ProfileId>,
    /// Whether that profile was created by it.
    pub created: bool,
    /// Profiles merged away, oldest first.
    pub merges: Vec<Merge>,
    /// Identifiers mapped for the first time, in rank order, then by value: indices in the block's identifiers.
    pub mapped: Vec<u32>,
    /// All identifiers of the event, each once: indices in the block's identifiers.
    pub seen: Vec<u32>,
    /// Identifiers that were known already and stayed on it.
    pub known: Vec<u32>,
    /// Whether a snapshot of the traits is due.
    pub traits: bool,
    /// Columns of the profile's previous snapshot that are gone.
    pub gone_columns: Vec<u32>,
    /// The seq of its rows.
    pub seq: u64,
    /// Identifiers that were not used, in the order in which they were refused.
    pub refused: Vec<Refused>,
}

impl Changes {
    fn clear(&mut self) {
        self.segment = None;
        self.canonical = None;
        self.created = false;
        self.merges.clear();
        self.mapped.clear();
        self.known.clear();
        self.seen.clear();
        self.traits = false;
        self.gone_columns.clear();
        self.seq = 0;
        self.refused.clear();
    }

    /// Whether a raw profile row is due.
    #[must_use]
    pub fn any_rows(&self) -> bool {
        self.created || !self.merges.is_empty() || !self.mapped.is_empty() || self.traits
    }
}

/// An identifier of the present event.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    index: u32,
    key: u128,
    type_id: TypeId,
    rank: u32,
    /// The profile it belongs to now.
    profile: Option<ProfileId>,
}

/// What a candidate has of one type: the identifiers of the event that belong to nobody, and those of the profiles found.
#[derive(Debug, Clone, Copy)]
struct Tally {
    type_id: TypeId,
    n_new: u64,
    n_held: u64,
    /// How many of the profiles found hold some, and the last of them.
    n_holders: u32,
    last_holder: Option<ProfileId>,
}

/// Tallies, each found by the number of its type: an event may bring thousands of identifiers, of thousands of types.
#[derive(Debug, Default)]
struct Tallies {
    all: Vec<Tally>,
    /// By type; 0 for none, else one more than its place.
    places: Vec<u32>,
}

impl Tallies {
    fn clear(&mut self) {
        for tally in self.all.drain(..) {
            self.places[tally.type_id as usize] = 0;
        }
    }

    fn of(&mut self, type_id: TypeId) -> &mut Tally {
        let number = type_id as usize;
        if self.places.len() <= number {
            self.places.resize(number + 1, 0);
        }
        if self.places[number] == 0 {
            self.all.push(Tally { type_id, n_new: 0, n_held: 0, n_holders: 0, last_holder: None });
            self.places[number] = u32::try_from(self.all.len()).expect("fewer than 2^32 types");
        }
        &mut self.all[self.places[number] as usize - 1]
    }
}

/// Resolves events against a graph.
#[derive(Debug)]
pub struct Resolver {
    /// What has come of all events so far.
    pub graph: Graph,
    /// The paths of all traits.
    pub trait_names: TraitNames,
    /// The traits of the present event's profile, where the event changes them.
    pub traits: ProfileTraits,
    rules: Arc<Rules>,
    types: Arc<Types>,
    ranks: Vec<u32>,
    limits: Vec<Limit>,
    candidates: Vec<Candidate>,
    found: Vec<ProfileId>,
    tallies: Tallies,
}

impl Resolver {
    /// A resolver that carries on from a graph.
    #[must_use]
    pub fn new(rules: &Arc<Rules>, types: &Arc<Types>, graph: Graph, trait_names: TraitNames) -> Self {
        Self {
            graph,
            trait_names,
            traits: ProfileTraits::default(),
            rules: Arc::clone(rules),
            types: Arc::clone(types),
            ranks: Vec::new(),
            limits: Vec::new(),
            candidates: Vec::new(),
            found: Vec::new(),
            tallies: Tallies::default(),
        }
    }

    /// Takes notice of types met since the last time. To be called before the events that hold them.
    pub fn learn_types(&mut self) {
        if self.types.count() != self.ranks.len() {
            let names = self.types.names();
            self.ranks = ranks(&names, &self.rules.order);
            self.limits = names.iter().map(|name| self.rules.of_type(name).limit).collect();
        }
    }

    /// Resolves one event.
    pub fn resolve(&mut self, block: &Block, event: &Event, uuid_ts: Micros, changes: &mut Changes) {
        changes.clear();
        self.collect(block, event, changes);
        let mut n_left = self.candidates.len();
        self.find(n_left);
        loop {
            if n_left == 0 {
                return;
            }
            let Some((refusal, limited_type)) = self.broken_rule(event.timestamp) else { break };
            n_left -= 1;
            let Candidate { index, type_id, profile, .. } = self.candidates[n_left];
            let no_room = false;
            changes.refused.push(Refused { identifier: index, refusal, limited_type, profile, no_room });
            match profile {
                Some(_) => self.find(n_left),
                None => self.tallies.of(type_id).n_new -= 1,
            }
        }
        let touched = self.found.iter().map(|&p| self.graph.last_seq(p) + 1).max().unwrap_or(0);
        changes.seq = nanos(event.timestamp).max(touched);
        let canonical = self.settle(block, event, changes);
        let mut previous_columns = Vec::new();
        if event.traits.is_some() || !changes.merges.is_empty() {
            self.traits.unpack(self.graph.traits(canonical));
            previous_columns = self.traits.columns(&self.trait_names).collect();
        }
        self.merge(canonical, changes);
        self.map(event.timestamp, canonical, n_left, changes);
        let plan = event.traits.map(|t| {
            let traits = &block.traits[t as usize];
            let range = traits.values.0 as usize..traits.values.1 as usize;
            let values: Vec<&[u8]> = block.values[range].iter().map(|v| v.of(&block.arena)).collect();
            (&*traits.plan, values)
        });
        let at = SetAt { timestamp: event.timestamp, uuid_ts, seq: changes.seq };
        self.update_traits(canonical, plan, previous_columns, at, changes);
        if changes.any_rows() {
            self.graph.saw_seq(canonical, changes.seq);
        }
        for refused in &mut changes.refused {
            // Profiles may have merged in this very event.
            let reached = refused.profile.map(|profile| self.graph.canonical(profile));
            let new = refused.refusal != Refusal::Blocked;
            refused.profile = reached.or(new.then_some(canonical));
        }
    }

    /// The identifiers of the event, each once, highest rank first, equal ranks by value.
    fn collect(&mut self, block: &Block, event: &Event, changes: &mut Changes) {
        self.candidates.clear();
        let (start, end) = event.identifiers;
        let many = FEW < end - start;
        let mut met = Set::default();
        for index in start..end {
            let identifier = &block.identifiers[index as usize];
            let before = &block.identifiers[start as usize..index as usize];
            let again = if many {
                !met.insert(identifier.key)
            } else {
                before.iter().any(|before| before.key == identifier.key)
            };
            if again {
                continue;
            }
            changes.seen.push(index);
            if 0 < identifier.blocked_by {
                changes.refused.push(Refused {
                    identifier: index,
                    refusal: Refusal::Blocked,
                    limited_type: identifier.type_id,
                    profile: profile_of(&mut self.graph, identifier.key),
                    no_room: false,
                });
                continue;
            }
            self.candidates.push(Candidate {
                index,
                key: identifier.key,
                type_id: identifier.type_id,
                rank: self.ranks[identifier.type_id as usize],
                profile: None,
            });
        }
        if 1 < self.candidates.len() {
            let value = |c: &Candidate| {
                let identifier: &Identifier = &block.identifiers[c.index as usize];
                identifier.value.of(&block.arena)
            };
            self.candidates.sort_unstable_by(|a, b| a.rank.cmp(&b.rank).then_with(|| value(a).cmp(value(b))));
        }
        for candidate in &mut self.candidates {
            candidate.profile = profile_of(&mut self.graph, candidate.key);
        }
    }

    /// The profiles that the first `n` identifiers belong to, oldest first, and what the candidate has of each type.
    fn find(&mut self, n: usize) {
        self.found.clear();
        self.found.extend(self.candidates[..n].iter().filter_map(|c| c.profile));
        self.found.sort_unstable();
        self.found.dedup();
        self.tallies.clear();
        for candidate in self.candidates[..n].iter().filter(|c| c.profile.is_none()) {
            self.tallies.of(candidate.type_id).n_new += 1;
        }
        match *self.found {
            [] => {}
            // What it holds and the event does not add to breaks nothing.
            [profile] => {
                for tally in &mut self.tallies.all {
                    tally.n_held = u64::from(self.graph.count(profile, tally.type_id));
                }
            }
            _ => {
                for &profile in &self.found {
                    for (type_id, n) in self.graph.types(profile) {
                        let tally = self.tallies.of(type_id);
                        tally.n_held += u64::from(n);
                        tally.n_holders += u32::from(tally.last_holder != Some(profile));
                        tally.last_holder = Some(profile);
                    }
                }
            }
        }
    }

    /// The rule that the candidate breaks: a limit before the caps.
    fn broken_rule(&self, timestamp: Millis) -> Option<(Refusal, TypeId)> {
        // Of several limits the one of the highest rank is told.
        let limited = (self.tallies.all.iter())
            .filter(|tally| self.breaks_limit(tally, timestamp))
            .min_by_key(|tally| self.ranks[tally.type_id as usize]);
        if let Some(tally) = limited {
            return Some((Refusal::Limit, tally.type_id));
        }
        if self.found.len() < 2 {
            return None;
        }
        let n_segments: usize = self.found.iter().map(|&p| 1 + self.graph.merged(p).len()).sum();
        let n_merged = n_segments - 1;
        if (self.rules.merge_cap as usize) < n_merged {
            return Some((Refusal::MergeCap, 0));
        }
        let n_identifiers: u64 = self.found.iter().map(|&p| u64::from(self.graph.n_identifiers_of(p))).sum();
        if u64::from(self.rules.mapping_cap) < n_identifiers {
            return Some((Refusal::MappingCap, 0));
        }
        None
    }

    /// Whether the candidate holds too many values of a type. Not where one of the profiles found holds all of them
    /// already: a profile over a tightened limit keeps resolving.
    fn breaks_limit(&self, tally: &Tally, timestamp: Millis) -> bool {
        let &Tally { type_id, n_new, n_held, n_holders, .. } = tally;
        if n_new == 0 && n_holders < 2 {
            return false;
        }
        let limit = self.limits[type_id as usize];
        let most = u64::from(limit.values);
        // Only where all that there ever was is too much is it worth looking at times.
        if n_held + n_new <= most {
            return false;
        }
        let Some(window) = limit.window.millis() else { return true };
        let after = timestamp - window;
        let n_lately: u64 =
            self.found.iter().map(|&p| u64::from(self.graph.count_after(p, type_id, after))).sum();
        most < n_lately + n_new
    }

    /// Creates, finds or merges. Says which profile it is now.
    fn settle(&mut self, block: &Block, event: &Event, changes: &mut Changes) -> ProfileId {
        let Some((&survivor, others)) = self.found.split_first() else {
            let profile = self.create(event.timestamp, event.message_id.of(&block.arena));
            changes.created = true;
            changes.segment = Some(profile);
            changes.canonical = Some(profile);
            return profile;
        };
        // The youngest is the one the event came through.
        changes.segment = Some(others.last().copied().unwrap_or(survivor));
        changes.canonical = Some(survivor);
        for &profile in others {
            let mut segments = vec![profile];
            segments.extend_from_slice(self.graph.merged(profile));
            segments.sort_unstable();
            changes.merges.push(Merge { from: profile, segments, into: survivor });
        }
        survivor
    }

    fn create(&mut self, timestamp: Millis, message_id: &[u8]) -> ProfileId {
        let mut attempt = 0;
        let n_profiles = self.graph.n_profiles();
        loop {
            let segment_id = match self.rules.segment_ids {
                SegmentIdStyle::Ksuid => ksuid(timestamp, message_id, attempt),
                SegmentIdStyle::Sequential => format!("profile_{}", n_profiles + 1 + attempt as usize),
            };
            if self.graph.find_segment_id(&segment_id).is_none() {
                return self.graph.create(&segment_id);
            }
            attempt += 1;
        }
    }

    /// Merges what is to be merged, traits too.
    fn merge(&mut self, canonical: ProfileId, changes: &mut Changes) {
        let mut others: Vec<PackedTraits> = Vec::new();
        for merge in &changes.merges {
            let from = merge.from;
            self.graph.merge(from, canonical);
            let traits = self.graph.take_traits(from);
            if !traits.is_empty() {
                changes.traits |= traits.values().any(|one| !one.value.is_empty());
                others.push(traits);
            }
        }
        if !others.is_empty() {
            self.traits.merge(&others, &self.trait_names);
        }
    }

    /// Maps the identifiers that are new: those left on the event, then those taken off it that belong to nobody, where
    /// nothing breaks.
    fn map(&mut self, timestamp: Millis, canonical: ProfileId, n_left: usize, changes: &mut Changes) {
        let segment = changes.segment.unwrap_or(canonical);
        self.found.clear();
        self.found.push(canonical);
        // Those taken off stand at the end of what was refused, the last one of the event first.
        let n_refused = changes.refused.len();
        let mut has_its_place = vec![false; self.candidates.len() - n_left];
        for at in 0..self.candidates.len() {
            let candidate = self.candidates[at];
            if candidate.profile.is_some() {
                if at < n_left {
                    changes.known.push(candidate.index);
                }
                continue;
            }
            let taken_off = at.checked_sub(n_left);
            let refusal = if taken_off.is_some() && self.breaks_limit_alone(candidate.type_id, timestamp) {
                Some(Refusal::Limit)
            } else if self.rules.mapping_cap <= self.graph.n_identifiers_of(canonical) {
                Some(Refusal::MappingCap)
            } else {
                None
            };
            if let Some(refusal) = refusal {
                let last_word = Refused {
                    identifier: candidate.index,
                    refusal,
                    limited_type: candidate.type_id,
                    profile: None,
                    no_room: refusal == Refusal::MappingCap,
                };
                // What keeps it off in the end counts, not what took it off at first.
                match taken_off {
                    Some(place) => changes.refused[n_refused - 1 - place] = last_word,
                    None => changes.refused.push(last_word),
                }
                continue;
            }
            if let Some(place) = taken_off {
                has_its_place[place] = true;
            }
            self.graph.map(candidate.key, candidate.type_id, segment, timestamp);
            changes.mapped.push(candidate.index);
        }
        if has_its_place.contains(&true) {
            let mut at = 0;
            changes.refused.retain(|_| {
                let place = n_refused.checked_sub(1 + at);
                at += 1;
                !place.and_then(|place| has_its_place.get(place)).is_some_and(|&has| has)
            });
        }
    }

    /// Whether a profile found has no room for another value of a type.
    fn breaks_limit_alone(&self, type_id: TypeId, timestamp: Millis) -> bool {
        let n_held = self.found.iter().map(|&p| u64::from(self.graph.count(p, type_id))).sum();
        let tally = Tally { type_id, n_new: 1, n_held, n_holders: 0, last_holder: None };
        self.breaks_limit(&tally, timestamp)
    }

    /// Applies an identify call's traits, and works out whether a snapshot is due.
    fn update_traits(
        &mut self,
        canonical: ProfileId,
        plan: Option<(&Plan, Vec<&[u8]>)>,
        mut previous: Vec<u32>,
        at: SetAt,
        changes: &mut Changes,
    ) {
        if let Some((plan, values)) = plan
            && !plan.traits.is_empty()
        {
            changes.traits = true;
            self.traits.apply(plan, &values, at, &mut self.trait_names);
        } else if changes.merges.is_empty() {
            return;
        }
        self.graph.set_traits(canonical, self.traits.pack());
        let mut present: Vec<u32> = self.traits.columns(&self.trait_names).collect();
        present.sort_unstable();
        let n_previous = previous.len();
        previous.retain(|column| present.binary_search(column).is_err());
        // Columns came where more are present than stayed.
        changes.traits |= !previous.is_empty() || n_previous - previous.len() < present.len();
        changes.gone_columns = previous;
    }
}

/// The profile that an identifier maps to now.
fn profile_of(graph: &mut Graph, key: u128) -> Option<ProfileId> {
    graph.find(key).map(|identifier| graph.profile_of(identifier))
}

/// Nanoseconds since 1970 of an event's time, which is neither before 1970 nor after 2285.
fn nanos(timestamp: Millis) -> u64 {
    u64::try_from(timestamp).unwrap_or(0) * 1_000_000
}
