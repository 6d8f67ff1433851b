//! The merges in a snapshot: the canonical profile of each segment id, and the rows that contradict it.

use std::cmp::Ordering;

use super::{
    conflicts::{Conflict, ConflictReason, SnapshotRowPosition},
    newest::{IdentifierClaim, newer},
    rows_of::FactRows,
    state::{ClockKey, ProfileSnapshot, SnapshotProfile, TABLES, clock_key},
};
use crate::{
    error::{Error, Result},
    table::clock::Clock,
    view::segments::{Segment, Segments},
};

/// A row's statement of which profile a segment id belongs to.
#[derive(Debug, Clone, Copy)]
pub struct MergeClaim {
    /// The profile that it belongs to.
    pub canonical: Segment,
    /// The clocks of the row.
    pub clock: Clock,
    /// The row.
    pub row: SnapshotRowPosition,
}

impl MergeClaim {
    /// Returns whether the row only shows that a segment id has traits, and says nothing about merges.
    fn is_weak(&self, segment: Segment) -> bool {
        self.canonical == segment && TABLES[usize::from(self.row.table)] == "profile_traits"
    }
}

/// The claims collected while tables are read.
#[derive(Debug, Default)]
pub struct MergeClaims {
    /// The newest claim of each segment id.
    newest: Vec<Option<MergeClaim>>,
    /// The other claims, which are compared after all tables have been read.
    other: Vec<(Segment, MergeClaim)>,
    /// Further rows of identifiers, by the identifier's number.
    pub identifiers: Vec<(u32, IdentifierClaim)>,
}

impl MergeClaims {
    /// Adds a claim.
    pub fn put(&mut self, segment: Segment, claim: MergeClaim, segments: &Segments) {
        let at = segment as usize;
        if self.newest.len() <= at {
            self.newest.resize(at + 1, None);
        }
        let Some(known) = &mut self.newest[at] else {
            self.newest[at] = Some(claim);
            return;
        };
        let is_newer = compare(segment, &claim, known, segments).is_gt();
        let loser = if is_newer { std::mem::replace(known, claim) } else { claim };
        self.other.push((segment, loser));
    }
}

/// Compares two claims to a segment id. The newer one is greater; of two equally old ones, the one with the greater
/// profile.
fn compare(segment: Segment, a: &MergeClaim, b: &MergeClaim, segments: &Segments) -> Ordering {
    // A row of `profile_traits` has the clocks of traits. It says nothing about when a merge happened.
    let is_weak = |claim: &MergeClaim| claim.is_weak(segment);
    let text = |claim: &MergeClaim| segments.text(claim.canonical);
    is_weak(b).cmp(&is_weak(a)).then_with(|| newer(&a.clock, &b.clock)).then_with(|| text(a).cmp(text(b)))
}

impl ProfileSnapshot {
    /// Follows chains of merges to their end, and chooses between contradicting rows.
    pub(super) fn resolve(&mut self, mut claims: MergeClaims) -> Result<()> {
        claims.newest.resize(self.segments.len() as usize, None);
        let canonicals = self.follow(&claims.newest)?;
        let none: ClockKey = (None, 0, None, None);
        for (claim, &canonical) in claims.newest.iter().zip(&canonicals) {
            self.profiles.push(SnapshotProfile {
                canonical,
                age: claim.map_or(none, |claim| clock_key(&claim.clock)),
                received_at: claim.and_then(|claim| claim.clock.received_at()),
                rows: claim.map(|claim| FactRows::new(claim.row)),
                counts: false,
            });
        }
        for (segment, claim) in claims.other {
            let known = canonicals[segment as usize];
            if known != segment && claim.is_weak(segment) {
                continue;
            }
            // A claim that a segment id is its own profile must not be followed to the canonical profile of that id.
            let says =
                if claim.canonical == segment { segment } else { canonicals[claim.canonical as usize] };
            if says != known {
                let what = if known == segment {
                    "a profile of its own".to_owned()
                } else {
                    format!("part of \"{}\"", self.segment_id(known))
                };
                let detail =
                    format!("\"{}\" is {what} in another row of the snapshot", self.segment_id(segment));
                self.conflicts.push(Conflict { row: claim.row, reason: ConflictReason::OlderRow, detail });
            } else if let Some(rows) = &mut self.profiles[segment as usize].rows {
                self.other_rows.add(rows, claim.row);
                let profile = &mut self.profiles[segment as usize];
                profile.received_at = profile.received_at.or(claim.clock.received_at());
            }
        }
        self.choose_identifiers(claims.identifiers, &canonicals);
        self.choose_traits(&canonicals);
        self.choose(&claims.newest);
        self.date_profiles(none);
        Ok(())
    }

    /// Marks the segment ids that count. An id that appears only in rows that lost to another row does not.
    fn choose(&mut self, claims: &[Option<MergeClaim>]) {
        let claimed =
            (0..).zip(claims).filter_map(|(segment, claim)| Some([segment, claim.as_ref()?.canonical]));
        let held = self.identifiers.iter().map(|i| i.segment).chain(self.traits.iter().map(|t| t.segment));
        for segment in claimed.flatten().chain(held) {
            self.profiles[segment as usize].counts = true;
        }
    }

    /// Dates profiles without clocks by their oldest identifier or trait.
    fn date_profiles(&mut self, none: ClockKey) {
        let mut first: Vec<Option<ClockKey>> = vec![None; self.profiles.len()];
        let identifiers = self.identifiers.iter().map(|i| (i.segment, clock_key(&i.clock)));
        for (segment, age) in identifiers.chain(self.traits.iter().map(|t| (t.segment, clock_key(&t.clock))))
        {
            let first = &mut first[segment as usize];
            *first = Some(first.map_or(age, |first| first.min(age)));
        }
        for (profile, first) in self.profiles.iter_mut().zip(first) {
            if profile.age == none {
                profile.age = first.unwrap_or(none);
            }
        }
    }

    /// Returns the canonical profile of each segment id.
    fn follow(&self, claims: &[Option<MergeClaim>]) -> Result<Vec<Segment>> {
        let next = |at: Segment| claims[at as usize].map_or(at, |claim| claim.canonical);
        let mut canonicals: Vec<Option<Segment>> = vec![None; claims.len()];
        for first in 0..self.segments.len() {
            let mut path = vec![first];
            let mut at = first;
            let end = loop {
                if let Some(known) = canonicals[at as usize] {
                    break known;
                }
                let to = next(at);
                if to == at {
                    break at;
                }
                if path.contains(&to) {
                    path.push(to);
                    let names: Vec<&str> = path.iter().map(|&segment| self.segment_id(segment)).collect();
                    let message =
                        format!("the merges in the snapshot form a cycle: `{}`", names.join("` -> `"));
                    return Err(Error::Refused(message).hint("fix the row of one of these segment ids"));
                }
                path.push(to);
                at = to;
            };
            for segment in path {
                canonicals[segment as usize] = Some(end);
            }
        }
        Ok((0..).zip(canonicals).map(|(segment, end)| end.unwrap_or(segment)).collect())
    }
}
