//! The resolver: applies events to the identity graph, one at a time and in order.
//!
//! It is sequential on purpose: the order decides which profile survives a merge, which rows appear and which limits
//! hold. It reports what an event did as [`EventChanges`]; the pipeline writes the rows.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    graph::{IdentityGraph, MappedIdentifier, ProfileId},
    packed_traits::{EncodedTraits, SetAt},
    segment_id::ksuid,
    traits::{ProfileTraits, TraitNames},
    types::{IdentifierTypes, TypeRanks},
};
use crate::{
    collections::Set,
    config::rules::{Limit, Rules, SegmentIdStyle},
    event::{
        block::{Event, EventBlock, EventIdentifier, TypeId},
        columns::ColumnPlan,
    },
    time::timestamp::{Micros, Millis},
};

/// Up to this many identifiers, repeated ones are found by comparing all pairs; a set costs more.
const FEW: u32 = 16;

/// The rule that kept an identifier of an event from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ViolatedRule {
    /// Its value is blocked.
    Blocked,
    /// The profile would hold too many values of a type.
    Limit,
    /// Too many profiles would be merged into one.
    MergeCap,
    /// The profile would hold too many identifiers.
    MappingCap,
}

/// A violation: an identifier that the event carried and that was not used.
#[derive(Debug, Clone, Copy)]
pub struct UnusedIdentifier {
    /// Index into [`EventBlock::identifiers`].
    pub identifier: u32,
    /// The violated rule.
    pub rule: ViolatedRule,
    /// For a limit: the type over its limit; if several are, the one with the highest rank.
    pub limit_type: TypeId,
    /// The profile the identifier belongs to. If it belongs to none, the profile it would have been mapped to.
    pub profile: Option<ProfileId>,
    /// Whether it was not mapped because the profile that the event resolved to was full.
    pub profile_full: bool,
}

/// A profile that was merged into another, with every segment id that mapped to it.
#[derive(Debug, Clone)]
pub struct ProfileMerge {
    /// The profile that stops being canonical.
    pub from: ProfileId,
    /// `from` and all profiles merged into it before, oldest first.
    pub segments: Vec<ProfileId>,
    /// The profile they map to now.
    pub into: ProfileId,
    /// The identifier of the event through which it was found: index in the block's identifiers.
    pub found_by: u32,
}

/// The effects of one event.
#[derive(Debug, Default)]
pub struct EventChanges {
    /// The profile the event was stamped with; `None` for an unresolved event.
    pub segment: Option<ProfileId>,
    /// The canonical profile of the event after its merges.
    pub canonical: Option<ProfileId>,
    /// Whether the event created that profile.
    pub created: bool,
    /// The profiles merged away, oldest first.
    pub merges: Vec<ProfileMerge>,
    /// The identifier through which the canonical profile was found; `None` if it was created. Index into
    /// [`EventBlock::identifiers`].
    pub found_by: Option<u32>,
    /// Identifiers mapped for the first time, by rank, then value. Indices into [`EventBlock::identifiers`].
    pub mapped: Vec<u32>,
    /// All identifiers of the event without repetitions. Indices into [`EventBlock::identifiers`].
    pub seen: Vec<u32>,
    /// Identifiers that belonged to a profile before the event and were not demoted.
    pub known: Vec<u32>,
    /// Whether a traits snapshot must be written.
    pub traits: bool,
    /// Columns of the profile's previous snapshot that it no longer has.
    pub removed_columns: Vec<u32>,
    /// The `seq` of the event's raw rows.
    pub seq: u64,
    /// The violations, in the order in which the resolver found them.
    pub violations: Vec<UnusedIdentifier>,
}

impl EventChanges {
    fn clear(&mut self) {
        self.segment = None;
        self.canonical = None;
        self.created = false;
        self.merges.clear();
        self.found_by = None;
        self.mapped.clear();
        self.known.clear();
        self.seen.clear();
        self.traits = false;
        self.removed_columns.clear();
        self.seq = 0;
        self.violations.clear();
    }

    /// Returns whether the event writes a row to a raw profile table.
    #[must_use]
    pub fn has_rows(&self) -> bool {
        self.created || !self.merges.is_empty() || !self.mapped.is_empty() || self.traits
    }
}

/// An identifier of the current event.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    index: u32,
    key: u128,
    type_id: TypeId,
    /// The canonical profile it belongs to.
    profile: Option<ProfileId>,
}

/// Counts of one type: values on the event that belong to no profile, and values on the profiles found.
#[derive(Debug, Clone, Copy)]
struct TypeTally {
    type_id: TypeId,
    n_new: u64,
    n_held: u64,
    /// How many of the profiles found hold the type, and the last of them.
    n_holders: u32,
    last_holder: Option<ProfileId>,
    /// How many of the held values fall into the limit's window; `None` until counted.
    n_in_window: Option<u64>,
}

impl TypeTally {
    fn of(type_id: TypeId) -> Self {
        Self { type_id, n_new: 0, n_held: 0, n_holders: 0, last_holder: None, n_in_window: None }
    }
}

/// The tallies of an event, indexed by type. An event may carry thousands of identifiers of thousands of types.
#[derive(Debug, Default)]
struct Tallies {
    all: Vec<TypeTally>,
    /// By type: 0 if it has no tally, otherwise its index in `all` plus 1.
    places: Vec<u32>,
}

impl Tallies {
    fn clear(&mut self) {
        for tally in self.all.drain(..) {
            self.places[tally.type_id as usize] = 0;
        }
    }

    /// Returns the index of the type's tally, which must exist.
    fn at(&self, type_id: TypeId) -> usize {
        self.places[type_id as usize] as usize - 1
    }

    fn of(&mut self, type_id: TypeId) -> &mut TypeTally {
        let number = type_id as usize;
        if self.places.len() <= number {
            self.places.resize(number + 1, 0);
        }
        if self.places[number] == 0 {
            self.all.push(TypeTally::of(type_id));
            self.places[number] = u32::try_from(self.all.len()).expect("fewer than 2^32 types");
        }
        &mut self.all[self.places[number] as usize - 1]
    }
}

/// What several profiles hold in total.
#[derive(Debug, Clone, Copy, Default)]
struct CombinedSize {
    n_segments: u64,
    n_identifiers: u64,
}

/// The state of a demotion: what remains of the event while its identifiers are demoted.
#[derive(Debug)]
struct Demotion {
    timestamp: Millis,
    /// How many of the remaining identifiers belong to each profile in `found`, which keeps its entries until the end.
    n_of: Vec<u32>,
    n_found: usize,
    size: CombinedSize,
    /// Tally indices by rank, and the rank of each tally.
    by_rank: Vec<u32>,
    places: Vec<u32>,
    /// Ranks of the types over their limit. Taking identifiers off only shrinks this set.
    broken: BTreeSet<u32>,
}

impl Demotion {
    fn of(resolver: &mut Resolver, timestamp: Millis) -> Self {
        let mut n_of = vec![0; resolver.found.len()];
        for profile in resolver.candidates.iter().filter_map(|candidate| candidate.profile) {
            n_of[index_of(&resolver.found, profile)] += 1;
        }
        for at in 0..resolver.tallies.all.len() {
            let TypeTally { type_id, n_new, n_held, .. } = resolver.tallies.all[at];
            let is_many = u64::from(resolver.limits[type_id as usize].values) < n_held + n_new;
            if let Some(after) = resolver.window_start(type_id, timestamp).filter(|_| is_many) {
                resolver.tallies.all[at].n_in_window = Some(resolver.count_in_window(type_id, after));
            }
        }
        let all = &resolver.tallies.all;
        let mut by_rank: Vec<u32> = (0..).take(all.len()).collect();
        let type_at = |at: u32| all[at as usize].type_id;
        by_rank.sort_unstable_by(|&a, &b| resolver.ranks.compare(type_at(a), type_at(b)));
        let mut places = vec![0; all.len()];
        for (place, &at) in (0..).zip(&by_rank) {
            places[at as usize] = place;
        }
        let is_broken = |at: u32| resolver.breaks_limit(&all[at as usize], timestamp);
        let broken = (0..).zip(&by_rank).filter(|(_, at)| is_broken(**at)).map(|(place, _)| place).collect();
        let size = resolver.size_of(&resolver.found);
        Self { timestamp, n_found: n_of.len(), n_of, size, by_rank, places, broken }
    }

    /// Removes an identifier that belongs to no profile.
    fn remove_new(&mut self, resolver: &mut Resolver, type_id: TypeId) {
        resolver.tallies.of(type_id).n_new -= 1;
        self.recheck(resolver, type_id);
    }

    /// Removes an identifier that belongs to `profile`. Removes the profile as well if this was its last identifier.
    fn remove_known(&mut self, resolver: &mut Resolver, profile: ProfileId) {
        let n_left = &mut self.n_of[index_of(&resolver.found, profile)];
        *n_left -= 1;
        if 0 < *n_left {
            return;
        }
        self.n_found -= 1;
        let size = resolver.size_of(&[profile]);
        self.size.n_segments -= size.n_segments;
        self.size.n_identifiers -= size.n_identifiers;
        // With one profile found, `find` counted only the event's own types; with several, it counted every type.
        let is_last = self.n_found == 0;
        let mut types: Vec<(TypeId, u32)> = if is_last {
            resolver.tallies.all.iter().map(|tally| (tally.type_id, 0)).collect()
        } else {
            resolver.graph.types(profile).collect()
        };
        types.sort_unstable();
        for of_type in types.chunk_by(|a, b| a.0 == b.0) {
            let type_id = of_type[0].0;
            let n_held: u64 = of_type.iter().map(|(_, n)| u64::from(*n)).sum();
            let is_counted = resolver.tallies.of(type_id).n_in_window.is_some();
            let after = resolver.window_start(type_id, self.timestamp).filter(|_| is_counted);
            let n_lately = after.map(|after| u64::from(resolver.graph.count_after(profile, type_id, after)));
            let tally = resolver.tallies.of(type_id);
            if is_last {
                (tally.n_held, tally.n_holders, tally.n_in_window) = (0, 0, Some(0));
            } else {
                tally.n_held -= n_held;
                tally.n_holders -= 1;
                tally.n_in_window = tally.n_in_window.zip(n_lately).map(|(all, gone)| all - gone);
            }
            self.recheck(resolver, type_id);
        }
    }

    /// Drops the type from `broken` if it is now within its limit.
    fn recheck(&mut self, resolver: &mut Resolver, type_id: TypeId) {
        let at = resolver.tallies.at(type_id);
        let place = self.places[at];
        if self.broken.contains(&place) && !resolver.breaks_limit(&resolver.tallies.all[at], self.timestamp) {
            self.broken.remove(&place);
        }
    }

    /// Returns the rule that the remaining identifiers break, and the type for a limit.
    fn broken_rule(&self, resolver: &Resolver) -> Option<(ViolatedRule, TypeId)> {
        if let Some(&place) = self.broken.first() {
            let at = self.by_rank[place as usize];
            return Some((ViolatedRule::Limit, resolver.tallies.all[at as usize].type_id));
        }
        if self.n_found < 2 { None } else { resolver.broken_cap(self.size) }
    }

    /// Removes the profiles that none of the remaining identifiers belongs to.
    fn close(self, resolver: &mut Resolver) {
        let mut n_of = self.n_of.into_iter();
        resolver.found.retain(|_| n_of.next().is_some_and(|n| 0 < n));
    }
}

/// Returns the index of a profile in `found`, which is sorted.
fn index_of(found: &[ProfileId], profile: ProfileId) -> usize {
    found.binary_search(&profile).expect("`found` holds the profile of every candidate")
}

/// Resolves events against a graph.
#[derive(Debug)]
pub struct Resolver {
    /// The identity graph after all events so far.
    pub graph: IdentityGraph,
    /// The paths of all traits.
    pub trait_names: TraitNames,
    /// The traits of the current event's profile, if the event changes them.
    pub traits: ProfileTraits,
    rules: Arc<Rules>,
    types: Arc<IdentifierTypes>,
    ranks: TypeRanks,
    limits: Vec<Limit>,
    candidates: Vec<Candidate>,
    found: Vec<ProfileId>,
    /// Of each profile found, the highest-ranked identifier of the event that belongs to it.
    found_by: Vec<u32>,
    tallies: Tallies,
    n_refused_traits: u64,
}

impl Resolver {
    /// Creates a resolver that continues from a graph.
    #[must_use]
    pub fn new(
        rules: &Arc<Rules>,
        types: &Arc<IdentifierTypes>,
        graph: IdentityGraph,
        trait_names: TraitNames,
    ) -> Self {
        Self {
            graph,
            trait_names,
            traits: ProfileTraits::default(),
            rules: Arc::clone(rules),
            types: Arc::clone(types),
            ranks: TypeRanks::new(&rules.order),
            limits: Vec::new(),
            candidates: Vec::new(),
            found: Vec::new(),
            found_by: Vec::new(),
            tallies: Tallies::default(),
            n_refused_traits: 0,
        }
    }

    /// Returns how many traits were dropped because their profile had the maximum number of trait names.
    #[must_use]
    pub fn n_dropped_traits(&self) -> u64 {
        self.n_refused_traits
    }

    /// Registers the identifier types seen since the last call. Call this before resolving events that use them.
    pub fn learn_types(&mut self) {
        let names = self.ranks.learn(&self.types);
        self.limits.extend(names.iter().map(|name| self.rules.limit_of(name)));
    }

    /// Resolves one event and writes its effects to `changes`, which is cleared first.
    pub fn resolve(
        &mut self,
        block: &EventBlock,
        event: &Event,
        uuid_ts: Micros,
        changes: &mut EventChanges,
    ) {
        changes.clear();
        self.collect(block, event, changes);
        let n_left = self.demote(event.timestamp, changes);
        if n_left == 0 {
            return;
        }
        self.set_found_by(n_left);
        let touched = self.found.iter().map(|&p| self.graph.last_seq(p) + 1).max().unwrap_or(0);
        changes.seq = nanos(event.timestamp).max(touched);
        let canonical = self.choose_profile(block, event, uuid_ts, changes);
        let mut previous_columns = Vec::new();
        if event.traits.is_some() || !changes.merges.is_empty() {
            self.traits.decode(self.graph.traits(canonical));
            previous_columns = self.traits.columns(&self.trait_names).collect();
        }
        self.apply_merges(canonical, uuid_ts, changes);
        self.map_identifiers((event.timestamp, uuid_ts), canonical, n_left, changes);
        let plan = event.traits.map(|t| {
            let traits = &block.traits[t as usize];
            let range = traits.values.0 as usize..traits.values.1 as usize;
            let values: Vec<&[u8]> = block.values[range].iter().map(|v| v.of(&block.arena)).collect();
            (&*traits.plan, values)
        });
        let at = SetAt { timestamp: event.timestamp, uuid_ts, seq: changes.seq };
        self.update_traits(canonical, plan, previous_columns, at, changes);
        if changes.has_rows() {
            self.graph.record_seq(canonical, changes.seq);
        }
        for refused in &mut changes.violations {
            // This event may have merged the profile into another.
            let reached = refused.profile.map(|profile| self.graph.canonical(profile));
            let new = refused.rule != ViolatedRule::Blocked;
            refused.profile = reached.or(new.then_some(canonical));
        }
    }

    /// Collects the event's identifiers without repetitions, by rank, then value. Blocked ones become violations.
    fn collect(&mut self, block: &EventBlock, event: &Event, changes: &mut EventChanges) {
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
                changes.violations.push(UnusedIdentifier {
                    identifier: index,
                    rule: ViolatedRule::Blocked,
                    limit_type: identifier.type_id,
                    profile: profile_of(&mut self.graph, identifier.key),
                    profile_full: false,
                });
                continue;
            }
            self.candidates.push(Candidate {
                index,
                key: identifier.key,
                type_id: identifier.type_id,
                profile: None,
            });
        }
        if 1 < self.candidates.len() {
            let value = |c: &Candidate| {
                let identifier: &EventIdentifier = &block.identifiers[c.index as usize];
                identifier.value.of(&block.arena)
            };
            let ranks = &self.ranks;
            self.candidates.sort_unstable_by(|a, b| {
                ranks.compare(a.type_id, b.type_id).then_with(|| value(a).cmp(value(b)))
            });
        }
        for candidate in &mut self.candidates {
            candidate.profile = profile_of(&mut self.graph, candidate.key);
        }
    }

    /// Demotes the lowest-ranked identifiers until the rest break no rule. Returns how many are left.
    fn demote(&mut self, timestamp: Millis, changes: &mut EventChanges) -> usize {
        self.find_profiles();
        let mut n_left = self.candidates.len();
        let Some(mut broken) = self.broken_rule(timestamp) else { return n_left };
        // Updates the counts per identifier instead of recounting: an event may carry thousands, most of them over a
        // limit.
        let mut demotion = Demotion::of(self, timestamp);
        while 0 < n_left {
            n_left -= 1;
            let Candidate { index, type_id, profile, .. } = self.candidates[n_left];
            let (refusal, limited_type) = broken;
            let no_room = false;
            changes.violations.push(UnusedIdentifier {
                identifier: index,
                rule: refusal,
                limit_type: limited_type,
                profile,
                profile_full: no_room,
            });
            match profile {
                Some(profile) => demotion.remove_known(self, profile),
                None => demotion.remove_new(self, type_id),
            }
            match demotion.broken_rule(self) {
                Some(rule) => broken = rule,
                None => break,
            }
        }
        demotion.close(self);
        n_left
    }

    /// Finds the profiles that the identifiers belong to, oldest first, and counts the event's types.
    fn find_profiles(&mut self) {
        self.found.clear();
        self.found.extend(self.candidates.iter().filter_map(|c| c.profile));
        self.found.sort_unstable();
        self.found.dedup();
        self.tallies.clear();
        for candidate in self.candidates.iter().filter(|c| c.profile.is_none()) {
            self.tallies.of(candidate.type_id).n_new += 1;
        }
        match *self.found {
            [] => {}
            // Types that the profile holds and the event does not carry cannot break a limit.
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

    /// Returns the rule that the event breaks. Limits are checked before the caps.
    fn broken_rule(&self, timestamp: Millis) -> Option<(ViolatedRule, TypeId)> {
        // If several limits are broken, the violation reports the one with the highest rank.
        let limited = (self.tallies.all.iter())
            .filter(|tally| self.breaks_limit(tally, timestamp))
            .min_by(|a, b| self.ranks.compare(a.type_id, b.type_id));
        if let Some(tally) = limited {
            return Some((ViolatedRule::Limit, tally.type_id));
        }
        if self.found.len() < 2 { None } else { self.broken_cap(self.size_of(&self.found)) }
    }

    /// Returns what the profiles hold in total.
    fn size_of(&self, profiles: &[ProfileId]) -> CombinedSize {
        let mut size = CombinedSize::default();
        for &profile in profiles {
            size.n_segments += 1 + self.graph.merged(profile).len() as u64;
            size.n_identifiers += u64::from(self.graph.n_identifiers_of(profile));
        }
        size
    }

    /// Returns the cap that a merge of this size breaks.
    fn broken_cap(&self, size: CombinedSize) -> Option<(ViolatedRule, TypeId)> {
        if u64::from(self.rules.merge_cap) < size.n_segments - 1 {
            return Some((ViolatedRule::MergeCap, 0));
        }
        (u64::from(self.rules.mapping_cap) < size.n_identifiers).then_some((ViolatedRule::MappingCap, 0))
    }

    /// Returns whether the event and the profiles found hold too many values of a type. They do not if the event adds
    /// none and one profile holds them all: a profile over a tightened limit keeps resolving.
    fn breaks_limit(&self, tally: &TypeTally, timestamp: Millis) -> bool {
        let &TypeTally { type_id, n_new, n_held, n_holders, .. } = tally;
        if n_new == 0 && n_holders < 2 {
            return false;
        }
        let limit = self.limits[type_id as usize];
        let most = u64::from(limit.values);
        // Times matter only if the total is over the limit.
        if n_held + n_new <= most {
            return false;
        }
        let Some(after) = self.window_start(type_id, timestamp) else { return true };
        let n_lately = tally.n_in_window.unwrap_or_else(|| self.count_in_window(type_id, after));
        most < n_lately + n_new
    }

    /// Returns the start of the type's limit window; `None` for a window without a start.
    fn window_start(&self, type_id: TypeId, timestamp: Millis) -> Option<Millis> {
        self.limits[type_id as usize].window.millis().map(|window| timestamp - window)
    }

    /// Returns how many values of a type were mapped to the profiles found after the given time.
    fn count_in_window(&self, type_id: TypeId, after: Millis) -> u64 {
        self.found.iter().map(|&p| u64::from(self.graph.count_after(p, type_id, after))).sum()
    }

    /// Sets [`Self::found_by`]. The candidates are sorted by rank and value, so the first one of a profile counts.
    fn set_found_by(&mut self, n_left: usize) {
        self.found_by.clear();
        self.found_by.resize(self.found.len(), u32::MAX);
        for candidate in &self.candidates[..n_left] {
            if let Some(profile) = candidate.profile {
                let first = &mut self.found_by[index_of(&self.found, profile)];
                if *first == u32::MAX {
                    *first = candidate.index;
                }
            }
        }
    }

    /// Chooses the profile: creates one, takes the one found, or records merges into the oldest. Returns the canonical
    /// profile.
    fn choose_profile(
        &mut self,
        block: &EventBlock,
        event: &Event,
        uuid_ts: Micros,
        changes: &mut EventChanges,
    ) -> ProfileId {
        let Some((&survivor, others)) = self.found.split_first() else {
            let profile = self.create(event.timestamp, event.message_id.of(&block.arena), uuid_ts);
            changes.created = true;
            changes.segment = Some(profile);
            changes.canonical = Some(profile);
            return profile;
        };
        // The event is stamped with the youngest profile found.
        changes.segment = Some(others.last().copied().unwrap_or(survivor));
        changes.canonical = Some(survivor);
        changes.found_by = Some(self.found_by[0]);
        for (&profile, &found_by) in others.iter().zip(&self.found_by[1..]) {
            let mut segments = vec![profile];
            segments.extend(self.graph.merged(profile).iter().map(|&(merged, _)| merged));
            segments.sort_unstable();
            changes.merges.push(ProfileMerge { from: profile, segments, into: survivor, found_by });
        }
        survivor
    }

    fn create(&mut self, timestamp: Millis, message_id: &[u8], uuid_ts: Micros) -> ProfileId {
        let mut attempt = 0;
        let n_profiles = self.graph.n_profiles();
        loop {
            let segment_id = match self.rules.segment_ids {
                SegmentIdStyle::Ksuid => ksuid(timestamp, message_id, attempt),
                SegmentIdStyle::Sequential => format!("profile_{}", n_profiles + 1 + attempt as usize),
            };
            if self.graph.find_segment_id(&segment_id).is_none() {
                return self.graph.create(&segment_id, uuid_ts);
            }
            attempt += 1;
        }
    }

    /// Applies the recorded merges to the graph and to the traits.
    fn apply_merges(&mut self, canonical: ProfileId, uuid_ts: Micros, changes: &mut EventChanges) {
        let mut others: Vec<EncodedTraits> = Vec::new();
        for merge in &changes.merges {
            let from = merge.from;
            self.graph.merge(from, canonical, uuid_ts);
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

    /// Maps the event's new identifiers: first those that were not demoted, then the demoted ones that belong to no
    /// profile and now break no rule.
    fn map_identifiers(
        &mut self,
        (timestamp, uuid_ts): (Millis, Micros),
        canonical: ProfileId,
        n_left: usize,
        changes: &mut EventChanges,
    ) {
        let segment = changes.segment.unwrap_or(canonical);
        self.found.clear();
        self.found.push(canonical);
        // The demoted identifiers are the last violations, in reverse order of `candidates`.
        let n_refused = changes.violations.len();
        let mut has_its_place = vec![false; self.candidates.len() - n_left];
        // The tally of the current type: candidates of one type are adjacent.
        let mut alone = None;
        for at in 0..self.candidates.len() {
            let candidate = self.candidates[at];
            if candidate.profile.is_some() {
                if at < n_left {
                    changes.known.push(candidate.index);
                }
                continue;
            }
            let taken_off = at.checked_sub(n_left);
            let refusal =
                if taken_off.is_some() && self.breaks_limit_alone(candidate.type_id, timestamp, &mut alone) {
                    Some(ViolatedRule::Limit)
                } else if self.rules.mapping_cap <= self.graph.n_identifiers_of(canonical) {
                    Some(ViolatedRule::MappingCap)
                } else {
                    None
                };
            if let Some(refusal) = refusal {
                let last_word = UnusedIdentifier {
                    identifier: candidate.index,
                    rule: refusal,
                    limit_type: candidate.type_id,
                    profile: None,
                    profile_full: refusal == ViolatedRule::MappingCap,
                };
                // Report the rule that failed the second chance, not the one that demoted it first.
                match taken_off {
                    Some(place) => changes.violations[n_refused - 1 - place] = last_word,
                    None => changes.violations.push(last_word),
                }
                continue;
            }
            if let Some(place) = taken_off {
                has_its_place[place] = true;
            }
            if let Some(tally) = &mut alone {
                tally.n_held += u64::from(tally.type_id == candidate.type_id);
                tally.n_in_window =
                    tally.n_in_window.map(|n| n + u64::from(tally.type_id == candidate.type_id));
            }
            let Candidate { key, type_id, .. } = candidate;
            self.graph.map(MappedIdentifier { key, timestamp, uuid_ts, profile: segment, type_id });
            changes.mapped.push(candidate.index);
        }
        if has_its_place.contains(&true) {
            let mut at = 0;
            changes.violations.retain(|_| {
                let place = n_refused.checked_sub(1 + at);
                at += 1;
                !place.and_then(|place| has_its_place.get(place)).is_some_and(|&has| has)
            });
        }
    }

    /// Returns whether the profile has no room for another value of the type. `tally` carries the counts to the next
    /// candidate.
    fn breaks_limit_alone(&self, type_id: TypeId, timestamp: Millis, tally: &mut Option<TypeTally>) -> bool {
        let same = tally.take().filter(|tally| tally.type_id == type_id);
        let tally = tally.insert(same.unwrap_or_else(|| {
            let n_held = self.found.iter().map(|&p| u64::from(self.graph.count(p, type_id))).sum();
            let n_lately =
                self.window_start(type_id, timestamp).map(|after| self.count_in_window(type_id, after));
            TypeTally { n_new: 1, n_held, n_in_window: n_lately, ..TypeTally::of(type_id) }
        }));
        self.breaks_limit(tally, timestamp)
    }

    /// Applies an identify call's traits and decides whether a snapshot must be written.
    fn update_traits(
        &mut self,
        canonical: ProfileId,
        plan: Option<(&ColumnPlan, Vec<&[u8]>)>,
        mut previous: Vec<u32>,
        at: SetAt,
        changes: &mut EventChanges,
    ) {
        if let Some((plan, values)) = plan
            && !plan.traits.is_empty()
        {
            changes.traits = true;
            let most = self.rules.max_traits;
            self.n_refused_traits += self.traits.apply(plan, &values, at, &mut self.trait_names, most);
        } else if changes.merges.is_empty() {
            return;
        }
        self.graph.set_traits(canonical, self.traits.encode());
        let mut present: Vec<u32> = self.traits.columns(&self.trait_names).collect();
        present.sort_unstable();
        let n_previous = previous.len();
        previous.retain(|column| present.binary_search(column).is_err());
        // Columns were added if more are present than remained.
        changes.traits |= !previous.is_empty() || n_previous - previous.len() < present.len();
        changes.removed_columns = previous;
    }
}

/// Returns the canonical profile of an identifier.
fn profile_of(graph: &mut IdentityGraph, key: u128) -> Option<ProfileId> {
    graph.find(key).map(|identifier| graph.profile_of(identifier))
}

/// Converts an event's time to nanoseconds since 1970. Event times lie between 1970 and 2285.
fn nanos(timestamp: Millis) -> u64 {
    u64::try_from(timestamp).unwrap_or(0) * 1_000_000
}
