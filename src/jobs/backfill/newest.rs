//! Chooses between contradicting rows of a snapshot. The newest row wins, whichever of the profile's segment ids it
//! has. Of rows that are equally old or have no clocks, the one with the greater value wins.

use std::cmp::Ordering;

use super::{
    conflicts::{Conflict, ConflictReason, SnapshotRowPosition},
    state::{ProfileSnapshot, SnapshotIdentifier, TraitValue, is_same},
};
use crate::{
    collections::Map,
    identity::packed_traits::PathId,
    json::{unescape, values::Typing},
    table::clock::Clock,
    time::timestamp::Micros,
    view::segments::Segment,
};

/// A row's statement of which profile an identifier belongs to.
#[derive(Debug, Clone, Copy)]
pub struct IdentifierClaim {
    /// The profile that it belongs to.
    pub segment: Segment,
    /// The clocks of the row.
    pub clock: Clock,
    /// The row.
    pub row: SnapshotRowPosition,
    /// Whether the row removes the identifier.
    pub is_removed: bool,
}

/// Compares the age of two rows as views do: by `seq`, then `uuid_ts`. A missing clock counts as older.
#[must_use]
pub fn newer(a: &Clock, b: &Clock) -> Ordering {
    let key = |clock: &Clock| (clock.order(), clock.timestamp(), clock.received_at());
    key(a).cmp(&key(b))
}

/// Returns the recency of a trait's value. As in views, the newest `timestamp` counts.
fn recency(clock: &Clock) -> ((Micros, u64, Micros), Option<Micros>) {
    (clock.recency(), clock.received_at())
}

impl ProfileSnapshot {
    /// Chooses the profile of each identifier. `others` are the rows after the first one of each identifier.
    pub(super) fn choose_identifiers(
        &mut self,
        mut others: Vec<(u32, IdentifierClaim)>,
        canonicals: &[Segment],
    ) {
        for identifier in &mut self.identifiers {
            identifier.segment = canonicals[identifier.segment as usize];
        }
        others.sort_by_key(|(number, _)| *number);
        for others in others.chunk_by(|a, b| a.0 == b.0) {
            let number = others[0].0 as usize;
            let first = self.identifiers[number];
            let first = IdentifierClaim {
                segment: first.segment,
                clock: first.clock,
                row: first.rows.first(),
                is_removed: first.is_removed,
            };
            let all = std::iter::once(first).chain(others.iter().map(|(_, claim)| *claim));
            let all =
                all.map(|claim| IdentifierClaim { segment: canonicals[claim.segment as usize], ..claim });
            self.choose_identifier(number, &all.collect::<Vec<_>>());
        }
        self.identifiers.retain(|identifier| !identifier.is_removed);
    }

    fn choose_identifier(&mut self, number: usize, claims: &[IdentifierClaim]) {
        let compare = |a: &&IdentifierClaim, b: &&IdentifierClaim| {
            let text = |claim: &IdentifierClaim| (!claim.is_removed, self.segments.text(claim.segment));
            newer(&a.clock, &b.clock).then_with(|| text(a).cmp(&text(b)))
        };
        let Some(&winner) = claims.iter().max_by(compare) else { return };
        let says_so = |claim: &&IdentifierClaim| {
            claim.is_removed == winner.is_removed && (winner.is_removed || claim.segment == winner.segment)
        };
        // The clocks come from the table that is read first, which has those of the identifier itself.
        let first = |a: &&IdentifierClaim, b: &&IdentifierClaim| {
            a.row.table.cmp(&b.row.table).then_with(|| newer(&b.clock, &a.clock))
        };
        let own = claims.iter().filter(says_so).min_by(first).copied().unwrap_or(winner);
        let identifier = &mut self.identifiers[number];
        *identifier = SnapshotIdentifier {
            segment: winner.segment,
            is_removed: winner.is_removed,
            clock: own.clock,
            rows: super::rows_of::FactRows::new(own.row),
            ..*identifier
        };
        for claim in claims.iter().filter(says_so).filter(|claim| claim.row != own.row) {
            self.other_rows.add(&mut identifier.rows, claim.row);
        }
        let identifier = *identifier;
        // A row that removes the identifier is not a conflict if a newer row maps it again.
        for claim in claims.iter().filter(|claim| !says_so(claim) && !claim.is_removed) {
            let told = format!(
                "{} \"{}\"",
                self.type_names[identifier.kind as usize],
                String::from_utf8_lossy(self.value(&identifier))
            );
            let detail = if winner.is_removed {
                format!("{told} is removed in another row of the snapshot")
            } else {
                let segment_id = self.segment_id(winner.segment);
                format!("{told} belongs to \"{segment_id}\" in another row of the snapshot")
            };
            self.conflicts.push(Conflict { row: claim.row, reason: ConflictReason::OlderRow, detail });
        }
    }

    /// Chooses the value of each trait of a profile.
    pub(super) fn choose_traits(&mut self, canonicals: &[Segment]) {
        for one in &mut self.traits {
            one.segment = canonicals[one.segment as usize];
        }
        let rivals = groups_of_equal_keys(self.traits.iter().map(|one| (one.segment, one.name)));
        let mut is_loser = vec![false; if rivals.is_empty() { 0 } else { self.traits.len() }];
        for group in &rivals {
            let winner = self.newest_trait(group);
            for &place in group.iter().filter(|&&place| place != winner) {
                is_loser[place] = true;
                self.merge_or_record(winner, place);
            }
        }
        if !rivals.is_empty() {
            let mut is_loser = is_loser.into_iter();
            self.traits.retain(|_| !is_loser.next().unwrap_or_default());
        }
    }

    /// Returns the index of the newest of the traits at these indexes.
    pub(super) fn newest_trait(&self, places: &[usize]) -> usize {
        let compare = |&&a: &&usize, &&b: &&usize| self.compare_traits(&self.traits[a], &self.traits[b]);
        places.iter().max_by(compare).copied().unwrap_or_default()
    }

    fn compare_traits(&self, a: &TraitValue, b: &TraitValue) -> Ordering {
        recency(&a.newest)
            .cmp(&recency(&b.newest))
            .then_with(|| text_of(self.json(a)).cmp(&text_of(self.json(b))))
            .then_with(|| self.json(a).cmp(self.json(b)))
    }

    /// Merges a trait into the winner if the values are the same; otherwise records a conflict.
    fn merge_or_record(&mut self, winner: usize, loser: usize) {
        let [kept, gone] = [winner, loser].map(|place| self.traits[place]);
        if !self.is_same_trait(&kept, &gone) {
            self.record_older(&kept, &gone);
            return;
        }
        let mut kept = kept;
        let (mut rows, mut second) = (kept.rows, gone.rows);
        if (gone.rows.first().table, std::cmp::Reverse(recency(&gone.clock)))
            < (kept.rows.first().table, std::cmp::Reverse(recency(&kept.clock)))
        {
            (rows, second) = (second, rows);
            kept.clock = gone.clock;
        }
        self.other_rows.join(&mut rows, second);
        kept.rows = rows;
        if kept.typing == Typing::Text && gone.typing == Typing::Json {
            (kept.json, kept.typing) = (gone.json, gone.typing);
        }
        self.traits[winner] = kept;
    }

    /// Returns whether two traits of the snapshot have the same value.
    pub(super) fn is_same_trait(&self, a: &TraitValue, b: &TraitValue) -> bool {
        let is_text = a.typing == Typing::Text || b.typing == Typing::Text;
        is_same(self.json(a), self.json(b), if is_text { Typing::Text } else { Typing::Json })
    }

    /// Returns the conflicts for a trait whose value lost against the winner's.
    pub(super) fn older_rows(&self, winner: &TraitValue, loser: &TraitValue) -> Vec<Conflict> {
        let detail = format!(
            "trait `{}` of \"{}\" is {} in another row of the snapshot",
            String::from_utf8_lossy(self.trait_names.path(winner.name)),
            self.segment_id(winner.segment),
            String::from_utf8_lossy(self.json(winner)),
        );
        let rows = self.other_rows.all(loser.rows);
        rows.map(|row| Conflict { row, reason: ConflictReason::OlderRow, detail: detail.clone() }).collect()
    }

    fn record_older(&mut self, winner: &TraitValue, loser: &TraitValue) {
        let older = self.older_rows(winner, loser);
        self.conflicts.extend(older);
    }
}

/// Returns the indexes of items that share their key with others, in groups, in order.
pub(super) fn groups_of_equal_keys<K: std::hash::Hash + Eq>(
    keys: impl Iterator<Item = (K, PathId)>,
) -> Vec<Vec<usize>> {
    let mut first: Map<(K, PathId), usize> = Map::default();
    let mut pairs = Vec::new();
    for (place, key) in keys.enumerate() {
        let known = *first.entry(key).or_insert(place);
        if known != place {
            pairs.push((known, place));
        }
    }
    pairs.sort_unstable();
    let group = |pairs: &[(usize, usize)]| {
        std::iter::once(pairs[0].0).chain(pairs.iter().map(|pair| pair.1)).collect()
    };
    pairs.chunk_by(|a, b| a.0 == b.0).map(group).collect()
}

/// Returns a JSON value as text: a string without quotes and escapes, anything else as JSON.
fn text_of(json: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    match json {
        [b'"', text @ .., b'"'] if text.contains(&b'\\') => unescape(text),
        [b'"', text @ .., b'"'] => text.into(),
        _ => json.into(),
    }
}
