//! Adopts a snapshot into a space: new rows become inferred raw rows, known rows change nothing, and contradicting rows
//! are recorded as conflicts.
//!
//! Rows are adopted in four passes: profiles, segment ids merged into them, identifiers, traits. Each pass goes by the
//! snapshot's own clocks, then by id. An adopted profile is therefore older than every live one, and of two adopted
//! profiles that merge, the older one survives.

use super::{
    conflicts::{Conflict, ConflictReason},
    inferred::{InferredClocks, SpaceClocks, push_graph_row, push_mapping_row, push_traits_row},
    newest::groups_of_equal_keys,
    rows_of::FactRows,
    state::{ClockKey, ProfileSnapshot, TraitValue, clock_key},
};
use crate::{
    collections::Set,
    error::{Error, Result},
    event::block::TypeId,
    files::Files,
    identity::{
        graph::{MappedIdentifier, ProfileId, UNKNOWN_TIME},
        packed_traits::{EncodedValue, SetAt},
        traits::ProfileTraits,
        types::IdentifierTypes,
    },
    progress::Progress,
    raw::{
        external_id_mapping_updates, id_graph_updates,
        profile_traits_updates::{self, TraitRows},
    },
    space::{commit::Space, replayed::ResolverState},
    time::timestamp::Micros,
    view::segments::Segment,
};

/// The result of adopting a snapshot.
#[derive(Debug, Default)]
pub struct Adopted {
    /// The number of profiles created.
    pub profiles: u64,
    /// The number of segment ids of merged profiles.
    pub merged: u64,
    /// The number of identifiers, by index of the snapshot's types.
    pub identifiers: Vec<u64>,
    /// The number of traits.
    pub traits: u64,
    /// The number of profiles and segment ids, of identifiers, and of traits that were already known.
    pub known: [u64; 3],
    /// The rows that were not adopted.
    pub conflicts: Vec<Conflict>,
}

/// Adopts a snapshot: adds rows to the tables of a space and updates the resolver's state.
pub struct Adopter<'a> {
    /// The snapshot to adopt.
    pub state: &'a ProfileSnapshot,
    /// The resolver's state.
    pub replayed: &'a mut ResolverState,
    /// The identifier types of the space.
    pub types: &'a IdentifierTypes,
    /// The clocks of the space.
    pub clocks: &'a mut SpaceClocks,
    /// The space to add rows to.
    pub space: &'a mut Space,
    /// Access to the files of the space.
    pub files: &'a Files,
    /// Receives progress and can interrupt the job.
    pub progress: &'a dyn Progress,
}

/// What has become of the snapshot's segment ids, by index.
struct AdoptedSegments {
    /// The profile that each one is, or was merged into; `None` if it was not adopted.
    profile: Vec<Option<ProfileId>>,
    /// Whether the segment id belongs to a different profile in the space.
    taken: Vec<bool>,
}

/// The job checks for an interrupt once per this many rows.
const ROWS_PER_INTERRUPT_CHECK: u64 = 1 << 14;

impl Adopter<'_> {
    /// Adopts everything that can be adopted.
    pub fn run(mut self) -> Result<Adopted> {
        let mut adopted = Adopted { identifiers: vec![0; self.state.type_names.len()], ..Adopted::default() };
        let taken = self.find_taken();
        let mut fates = AdoptedSegments { profile: vec![None; taken.len()], taken };
        self.profiles(&mut fates, &mut adopted)?;
        self.merged(&mut fates, &mut adopted)?;
        self.identifiers(&fates, &mut adopted)?;
        self.traits(&fates, &mut adopted)?;
        Ok(adopted)
    }

    /// Returns for each segment id whether it belongs to a different profile in the space: one with identifiers, none
    /// of them in common with the snapshot's profile.
    fn find_taken(&mut self) -> Vec<bool> {
        let graph = &mut self.replayed.graph;
        let mut n_identifiers = vec![(0_u64, 0_u64); self.state.profiles.len()];
        let here: Vec<Option<ProfileId>> = (0..self.state.segments.len())
            .map(|segment| {
                let profile = graph.find_segment_id(self.state.segment_id(segment))?;
                Some(graph.canonical(profile))
            })
            .collect();
        for identifier in &self.state.identifiers {
            let (n_all, n_shared) = &mut n_identifiers[identifier.segment as usize];
            *n_all += 1;
            if let Some(profile) = here[identifier.segment as usize] {
                let found = graph.find(identifier.key).map(|number| graph.profile_of(number));
                *n_shared += u64::from(found == Some(profile));
            }
        }
        let taken = here.iter().zip(n_identifiers).map(|(here, (n_all, n_shared))| {
            here.is_some_and(|profile| 0 < n_all && n_shared == 0 && 0 < graph.n_identifiers_of(profile))
        });
        taken.collect()
    }

    /// Adopts the profiles that are not merged away.
    fn profiles(&mut self, fates: &mut AdoptedSegments, adopted: &mut Adopted) -> Result<()> {
        for segment in self.in_order(|segment, canonical| segment == canonical) {
            let profile = self.state.profiles[segment as usize];
            let segment_id = self.state.segment_id(segment);
            if fates.taken[segment as usize] {
                let detail =
                    format!("\"{segment_id}\" is a different profile here, with none of its identifiers");
                adopted.record_conflicts(self.state, profile.rows, ConflictReason::SegmentIdTaken, &detail);
                continue;
            }
            let here = if let Some(here) = self.replayed.graph.find_segment_id(segment_id) {
                adopted.known[0] += 1;
                here
            } else {
                adopted.profiles += 1;
                self.create(segment_id, profile.received_at)?
            };
            fates.profile[segment as usize] = Some(here);
        }
        Ok(())
    }

    /// Adopts the segment ids that were merged into others.
    fn merged(&mut self, fates: &mut AdoptedSegments, adopted: &mut Adopted) -> Result<()> {
        for segment in self.in_order(|segment, canonical| segment != canonical) {
            let profile = self.state.profiles[segment as usize];
            let segment_id = self.state.segment_id(segment);
            let canonical_id = self.state.segment_id(profile.canonical);
            let Some(into) = fates.profile[profile.canonical as usize] else {
                let detail = format!("\"{segment_id}\" is part of \"{canonical_id}\", which was not adopted");
                adopted.record_conflicts(self.state, profile.rows, ConflictReason::SegmentIdTaken, &detail);
                continue;
            };
            let into = self.replayed.graph.canonical(into);
            if let Some(here) = self.replayed.graph.find_segment_id(segment_id) {
                let here = self.replayed.graph.canonical(here);
                if here == into {
                    adopted.known[0] += 1;
                    fates.profile[segment as usize] = Some(into);
                } else {
                    let here = self.replayed.graph.segment_id(here);
                    let detail =
                        format!("\"{segment_id}\" is part of \"{here}\" here, not of \"{canonical_id}\"");
                    adopted.record_conflicts(
                        self.state,
                        profile.rows,
                        ConflictReason::SegmentElsewhere,
                        &detail,
                    );
                }
                continue;
            }
            let from = self.create(segment_id, None)?;
            let row = self.clocks.next(profile.received_at);
            let graph = &mut self.replayed.graph;
            graph.merge(from, into, row.uuid_ts);
            graph.record_seq(into, row.seq);
            let table = self.space.table(id_graph_updates::TABLE);
            let out = self.space.tables()[table].pending();
            push_graph_row(out, &row, segment_id, graph.segment_id(into));
            self.added(table, row.seq)?;
            adopted.merged += 1;
            fates.profile[segment as usize] = Some(into);
        }
        Ok(())
    }

    fn create(&mut self, segment_id: &str, received_at: Option<Micros>) -> Result<ProfileId> {
        let row = self.clocks.next(received_at);
        let profile = self.replayed.graph.create(segment_id, row.uuid_ts);
        self.replayed.graph.record_seq(profile, row.seq);
        let table = self.space.table(id_graph_updates::TABLE);
        push_graph_row(self.space.tables()[table].pending(), &row, segment_id, segment_id);
        self.added(table, row.seq)?;
        Ok(profile)
    }

    fn identifiers(&mut self, fates: &AdoptedSegments, adopted: &mut Adopted) -> Result<()> {
        let state = self.state;
        let type_ids: Vec<TypeId> = state.type_names.iter().map(|name| self.types.intern(name)).collect();
        let mut in_order: Vec<&_> = state.identifiers.iter().collect();
        in_order.sort_by(|a, b| {
            let key = |i: &super::state::SnapshotIdentifier| {
                (clock_key(&i.clock), &state.type_names[i.kind as usize])
            };
            key(a).cmp(&key(b)).then_with(|| state.value(a).cmp(state.value(b)))
        });
        let table = self.space.table(external_id_mapping_updates::TABLE);
        for identifier in in_order {
            let name = &state.type_names[identifier.kind as usize];
            let value = state.value(identifier);
            let told = || format!("{name} \"{}\"", String::from_utf8_lossy(value));
            let segment_id = state.segment_id(identifier.segment);
            let graph = &mut self.replayed.graph;
            let here = graph.find(identifier.key).map(|number| graph.profile_of(number));
            let wanted = fates.profile[identifier.segment as usize].map(|profile| graph.canonical(profile));
            match (here, wanted) {
                (Some(here), Some(wanted)) if here == wanted => adopted.known[1] += 1,
                (Some(here), _) => {
                    let here = graph.segment_id(here);
                    let detail = format!("{} belongs to \"{here}\" here, not to \"{segment_id}\"", told());
                    adopted.record_conflicts(
                        state,
                        Some(identifier.rows),
                        ConflictReason::IdentifierElsewhere,
                        &detail,
                    );
                }
                (None, None) => {
                    let detail = format!("{} belongs to \"{segment_id}\", which was not adopted", told());
                    adopted.record_conflicts(
                        state,
                        Some(identifier.rows),
                        ConflictReason::SegmentIdTaken,
                        &detail,
                    );
                }
                (None, Some(profile)) => {
                    let row = self.clocks.next(identifier.clock.received_at());
                    graph.map(MappedIdentifier {
                        key: identifier.key,
                        timestamp: UNKNOWN_TIME,
                        uuid_ts: row.uuid_ts,
                        profile,
                        type_id: type_ids[identifier.kind as usize],
                    });
                    graph.record_seq(profile, row.seq);
                    let out = self.space.tables()[table].pending();
                    push_mapping_row(out, &row, name, value, graph.segment_id(profile));
                    self.added(table, row.seq)?;
                    adopted.identifiers[identifier.kind as usize] += 1;
                }
            }
        }
        Ok(())
    }

    /// Adopts traits. Traits of a profile that were set at the same time share a row, so each keeps its `received_at`.
    fn traits(&mut self, fates: &AdoptedSegments, adopted: &mut Adopted) -> Result<()> {
        let state = self.state;
        // Of two values the one with the newest `timestamp` wins, then the one that was processed later.
        let order = |one: &TraitValue| {
            let (uuid_ts, seq, timestamp, received_at) = clock_key(&one.clock);
            (timestamp, uuid_ts, seq, received_at)
        };
        let is_older = self.record_older_traits(fates, adopted);
        let mut in_order: Vec<&TraitValue> = (state.traits.iter().enumerate())
            .filter(|(place, _)| !is_older.contains(place))
            .map(|(_, one)| one)
            .collect();
        in_order.sort_by(|a, b| {
            let key = |one: &TraitValue| (order(one), state.profiles[one.segment as usize].age);
            key(a)
                .cmp(&key(b))
                .then_with(|| state.segment_id(a.segment).cmp(state.segment_id(b.segment)))
                .then_with(|| state.trait_names.path(a.name).cmp(state.trait_names.path(b.name)))
        });
        let mut rows = TraitRows::default();
        for group in in_order.chunk_by(|a, b| a.segment == b.segment && order(a) == order(b)) {
            let segment_id = state.segment_id(group[0].segment);
            let Some(profile) = fates.profile[group[0].segment as usize] else {
                for one in group {
                    let name = String::from_utf8_lossy(state.trait_names.path(one.name));
                    let detail = format!("trait `{name}` of \"{segment_id}\", which was not adopted");
                    adopted.record_conflicts(state, Some(one.rows), ConflictReason::SegmentIdTaken, &detail);
                }
                continue;
            };
            let profile = self.replayed.graph.canonical(profile);
            let new: Vec<&TraitValue> =
                group.iter().copied().filter(|one| self.is_new(one, profile, adopted)).collect();
            if !new.is_empty() {
                adopted.traits += new.len() as u64;
                self.set_traits(&new, profile, &mut rows)?;
            }
        }
        Ok(())
    }

    /// Records older trait values as conflicts. Several profiles of the snapshot may be one profile here, and of their
    /// values of a trait only the newest counts. Returns the indexes of the older values.
    fn record_older_traits(&mut self, fates: &AdoptedSegments, adopted: &mut Adopted) -> Set<usize> {
        let state = self.state;
        let mut known = Set::default();
        let mut canonicals = Vec::with_capacity(fates.profile.len());
        let mut is_shared = false;
        for (segment, profile) in (0..).zip(&fates.profile) {
            let here = profile.map(|profile| self.replayed.graph.canonical(profile));
            if state.profiles[segment as usize].canonical == segment {
                is_shared |= here.is_some_and(|here| !known.insert(here));
            }
            canonicals.push(here);
        }
        if !is_shared {
            return Set::default();
        }
        let profile_of = |one: &TraitValue| canonicals[one.segment as usize].ok_or(one.segment);
        let mut is_older = Set::default();
        for group in groups_of_equal_keys(state.traits.iter().map(|one| (profile_of(one), one.name))) {
            let winner = state.newest_trait(&group);
            for place in group.into_iter().filter(|&place| place != winner) {
                let [counts, older] = [winner, place].map(|place| &state.traits[place]);
                if state.is_same_trait(counts, older) {
                    adopted.known[2] += 1;
                } else {
                    adopted.conflicts.extend(state.older_rows(counts, older));
                }
                is_older.insert(place);
            }
        }
        is_older
    }

    /// Returns whether a profile has no value of a trait and never had one. If not, counts the trait as known or
    /// records a conflict.
    fn is_new(&mut self, one: &TraitValue, profile: ProfileId, adopted: &mut Adopted) -> bool {
        let path = self.state.trait_names.path(one.name);
        let ResolverState { graph, trait_names, .. } = &mut *self.replayed;
        let name = trait_names.intern(path);
        let column = trait_names.column(name);
        let told = || String::from_utf8_lossy(path).into_owned();
        let traits = graph.traits(profile);
        let is_held =
            |held: &EncodedValue<'_>| !held.value.is_empty() && trait_names.column(held.path) == column;
        if let Some(held) = traits.values().find(is_held) {
            if self.state.says(one, held.value) {
                adopted.known[2] += 1;
            } else {
                let detail = format!(
                    "trait `{}` of \"{}\" is {} here, not {}",
                    told(),
                    graph.segment_id(profile),
                    String::from_utf8_lossy(held.value),
                    String::from_utf8_lossy(self.state.json(one))
                );
                adopted.record_conflicts(self.state, Some(one.rows), ConflictReason::TraitDiffers, &detail);
            }
            return false;
        }
        if traits.values().any(|held| held.name == name) {
            let detail = format!(
                "trait `{}` of \"{}\" was removed here, or is an object",
                told(),
                graph.segment_id(profile)
            );
            adopted.record_conflicts(self.state, Some(one.rows), ConflictReason::TraitDiffers, &detail);
            return false;
        }
        true
    }

    fn set_traits(&mut self, new: &[&TraitValue], profile: ProfileId, rows: &mut TraitRows) -> Result<()> {
        let ResolverState { graph, trait_names, .. } = &mut *self.replayed;
        let next = self.clocks.next(new[0].clock.received_at());
        // The row must be the newest of its profile, so it comes after the rows that the profile already has here.
        let row = InferredClocks { seq: next.seq.max(graph.last_seq(profile) + 1), ..next };
        let at = SetAt { timestamp: UNKNOWN_TIME, uuid_ts: row.uuid_ts, seq: row.seq };
        let mut traits = ProfileTraits::default();
        traits.decode(graph.traits(profile));
        for one in new {
            let name = trait_names.intern(self.state.trait_names.path(one.name));
            traits.put(name, at, self.state.json(one), trait_names);
        }
        graph.set_traits(profile, traits.encode());
        graph.record_seq(profile, row.seq);
        let table = self.space.table(profile_traits_updates::TABLE);
        let out = self.space.tables()[table].pending();
        push_traits_row(out, &row, graph.segment_id(profile), &traits, trait_names, rows);
        self.added(table, next.seq)
    }

    /// Returns the segments for which `wanted` is true, in the order of the snapshot's clocks, then of ids.
    fn in_order(&self, wanted: impl Fn(Segment, Segment) -> bool) -> Vec<Segment> {
        let state = self.state;
        let mut segments: Vec<Segment> = (0..)
            .zip(&state.profiles)
            .filter(|(segment, profile)| profile.counts && wanted(*segment, profile.canonical))
            .map(|(segment, _)| segment)
            .collect();
        segments.sort_by(|&a, &b| {
            let age = |segment: Segment| -> ClockKey { state.profiles[segment as usize].age };
            age(a).cmp(&age(b)).then_with(|| state.segment_id(a).cmp(state.segment_id(b)))
        });
        segments
    }

    /// Counts an appended row, and checks for an interrupt now and then.
    fn added(&mut self, table: usize, number: u64) -> Result<()> {
        self.space.tables()[table].count_appended(1, self.files)?;
        if number.is_multiple_of(ROWS_PER_INTERRUPT_CHECK) && self.progress.interrupted() {
            return Err(Error::Interrupted);
        }
        Ok(())
    }
}

impl Adopted {
    /// Records a conflict for each row that states a fact. A segment id without a row of its own is covered by the
    /// conflicts of the rows that refer to it.
    fn record_conflicts(
        &mut self,
        state: &ProfileSnapshot,
        rows: Option<FactRows>,
        reason: ConflictReason,
        detail: &str,
    ) {
        let rows = rows.into_iter().flat_map(|rows| state.other_rows.all(rows));
        self.conflicts.extend(rows.map(|row| Conflict { row, reason, detail: detail.to_owned() }));
    }
}
