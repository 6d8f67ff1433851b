//! The rows of one profile, from whichever tables they were read, and what they say as of a time.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    answer::{HistoryStep, Identifier, Mapped, ProfileInBrief, Step, Trait},
    rows::{Change, Mapping},
};
use crate::time::timestamp::Micros;

/// All rows about a profile, each list in the order of its table.
#[derive(Debug, Clone, Default)]
pub(super) struct ProfileRows {
    pub(super) changes: Vec<Change>,
    pub(super) mappings: Vec<Mapping>,
    pub(super) links: Vec<Step>,
    pub(super) traits: Vec<Trait>,
}

/// A profile as of a time.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    pub(super) segment_id: String,
    /// Oldest first.
    pub(super) segment_ids: Vec<String>,
    pub(super) rows: ProfileRows,
}

impl ProfileRows {
    /// Returns the profile that a segment id belongs to, as of a time. Rows may be about several profiles that became one later.
    pub(super) fn profile_of(mut self, segment_id: &str, as_of: Option<Micros>) -> Profile {
        let was_there = |uuid_ts: Micros| as_of.is_none_or(|as_of| uuid_ts <= as_of);
        self.changes.retain(|change| was_there(change.uuid_ts));
        self.mappings.retain(|mapping| was_there(mapping.uuid_ts));
        self.links.retain(|link| was_there(link.uuid_ts));
        let mut newest: BTreeMap<&str, &Change> = BTreeMap::new();
        for change in &self.changes {
            let known = newest.entry(&change.segment_id).or_insert(change);
            if known.order <= change.order {
                *known = change;
            }
        }
        let canonical = |segment_id: &str| -> String {
            let mut at = segment_id;
            for _ in 0..=newest.len() {
                match newest.get(at) {
                    Some(change) if change.canonical_segment_id != at => at = &change.canonical_segment_id,
                    _ => break,
                }
            }
            at.to_owned()
        };
        let wanted = canonical(segment_id);
        let mut segment_ids: Vec<String> = Vec::new();
        let of_mappings = self.mappings.iter().map(|mapping| &mapping.segment_id);
        for id in self.changes.iter().map(|change| &change.segment_id).chain(of_mappings) {
            if !segment_ids.contains(id) && canonical(id) == wanted {
                segment_ids.push(id.clone());
            }
        }
        let belongs: BTreeSet<&str> = segment_ids.iter().map(String::as_str).collect();
        self.changes.retain(|change| belongs.contains(change.segment_id.as_str()));
        self.mappings.retain(|mapping| belongs.contains(mapping.segment_id.as_str()));
        self.links.retain(|link| belongs.contains(link.segment_id.as_str()));
        keep_newest(&mut self.mappings);
        Profile { segment_id: wanted, segment_ids, rows: self }
    }
}

/// Of several rows about one identifier the newest counts; one that was removed is gone.
fn keep_newest(mappings: &mut Vec<Mapping>) {
    let mut newest: BTreeMap<Identifier, (u64, Micros)> = BTreeMap::new();
    for mapping in &*mappings {
        let order = newest.entry(mapping.identifier.clone()).or_insert(mapping.order);
        *order = mapping.order.max(*order);
    }
    mappings.retain(|mapping| {
        newest.get(&mapping.identifier).is_some_and(|order| *order == mapping.order) && !mapping.is_removed
    });
}

impl Profile {
    pub(super) fn has(&self, identifier: &Identifier) -> bool {
        self.rows.mappings.iter().any(|mapping| mapping.identifier == *identifier)
    }

    /// Returns the first identifier that was mapped to a segment id, by its founding event.
    pub(super) fn first_of(&self, segment_id: &str) -> Option<&Identifier> {
        let mapping = self.rows.mappings.iter().find(|mapping| mapping.segment_id == segment_id);
        mapping.map(|mapping| &mapping.identifier)
    }

    pub(super) fn identifiers(&self) -> Vec<Mapped> {
        let mapped = |mapping: &Mapping| Mapped {
            identifier: mapping.identifier.clone(),
            segment_id: mapping.segment_id.clone(),
            timestamp: mapping.event.timestamp.clone(),
        };
        self.rows.mappings.iter().map(mapped).collect()
    }

    pub(super) fn in_brief(&self) -> ProfileInBrief {
        ProfileInBrief {
            segment_id: self.segment_id.clone(),
            n_segment_ids: self.segment_ids.len() as u64,
            identifiers: self.rows.mappings.iter().map(|mapping| mapping.identifier.clone()).collect(),
        }
    }

    /// Returns the history: the links, and what the raw tables say of that for which there is no link.
    pub(super) fn history(&self) -> Vec<HistoryStep> {
        let mut steps = self.steps();
        steps.sort_by_key(|step| step.uuid_ts);
        steps.into_iter().map(HistoryStep::from).collect()
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = self.rows.links.clone();
        steps.extend(self.changes_without_link().map(step_of_change));
        steps.extend(self.mappings_without_link().map(|mapping| self.step_of_mapping(mapping)));
        steps
    }

    /// Returns the merges of the profile that no link explains; those that only followed another merge do not count.
    pub(super) fn changes_without_link(&self) -> impl Iterator<Item = &Change> {
        let explained: BTreeSet<(&str, Micros)> = (self.rows.links.iter())
            .filter(|link| link.link == "merged")
            .map(|link| (link.segment_id.as_str(), link.uuid_ts))
            .collect();
        let mut canonical: BTreeMap<&str, &str> = BTreeMap::new();
        let mut direct = Vec::new();
        for change in &self.rows.changes {
            let (id, into) = (change.segment_id.as_str(), change.canonical_segment_id.as_str());
            let before = canonical.insert(id, into);
            if id != into
                && before.is_none_or(|before| before == id)
                && !explained.contains(&(id, change.uuid_ts))
            {
                direct.push(change);
            }
        }
        direct.into_iter()
    }

    /// Returns the identifiers whose mapping no link explains.
    pub(super) fn mappings_without_link(&self) -> impl Iterator<Item = &Mapping> {
        let explained: BTreeSet<&Identifier> = (self.rows.links.iter())
            .filter(|link| link.link != "merged")
            .filter_map(|link| link.identifier.as_ref())
            .collect();
        self.rows.mappings.iter().filter(move |mapping| !explained.contains(&mapping.identifier))
    }

    /// Returns what a row of mappings says of an identifier for which there is no link.
    pub(super) fn step_of_mapping(&self, mapping: &Mapping) -> Step {
        let founded = self.rows.changes.iter().any(|change| {
            change.segment_id == mapping.segment_id
                && change.canonical_segment_id == mapping.segment_id
                && change.uuid_ts == mapping.uuid_ts
        });
        Step {
            event: mapping.event.clone(),
            identifier: Some(mapping.identifier.clone()),
            via: None,
            link: if founded { "created" } else { "mapped" }.to_owned(),
            segment_id: mapping.segment_id.clone(),
            canonical_segment_id: mapping.segment_id.clone(),
            uuid_ts: mapping.uuid_ts,
        }
    }
}

/// Returns what a row of the graph says of a merge for which there is no link.
pub(super) fn step_of_change(change: &Change) -> Step {
    Step {
        event: change.event.clone(),
        identifier: None,
        via: None,
        link: "merged".to_owned(),
        segment_id: change.segment_id.clone(),
        canonical_segment_id: change.canonical_segment_id.clone(),
        uuid_ts: change.uuid_ts,
    }
}
