//! Counts identifiers by type and source, and checks that each one seen has exactly one outcome.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::resolver::ViolatedRule;
use crate::{collections::Map, event::block::TypeId};

/// The outcomes of the identifiers of one type from one source. Each identifier of an accepted event counts once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IdentifierAccount {
    /// The identifier type.
    pub r#type: String,
    /// The source id; `None` for events without one.
    pub source: Option<String>,
    /// All identifiers.
    pub seen: u64,
    /// Mapped for the first time.
    pub mapped: u64,
    /// Used, and mapped before.
    pub known: u64,
    /// Demoted, by the rule that would have been broken.
    pub demoted: BTreeMap<String, u64>,
    /// Blocked, by the config's entry.
    pub blocked: BTreeMap<String, u64>,
    /// Not mapped because the profile was full.
    pub capped: u64,
}

impl IdentifierAccount {
    /// Returns whether the outcomes add up to `seen`.
    #[must_use]
    pub fn balances(&self) -> bool {
        let refused: u64 = self.demoted.values().chain(self.blocked.values()).sum();
        self.seen == self.mapped + self.known + refused + self.capped
    }
}

#[derive(Debug, Clone, Default)]
struct OutcomeCounts {
    seen: u64,
    mapped: u64,
    known: u64,
    limit: u64,
    merge_cap: u64,
    mapping_cap: u64,
    capped: u64,
    /// By the index of the config's entry.
    blocked: Vec<(u32, u64)>,
}

/// Counts identifiers by source and type while events are resolved.
#[derive(Debug, Default)]
pub struct IdentifierAccounts {
    sources: Vec<Option<Box<[u8]>>>,
    by_source: Map<Option<Box<[u8]>>, u32>,
    /// By source number.
    tallies: Vec<SourceCounts>,
}

/// The tallies of one source. The first types are stored by number and the others in a map: there may be many sources
/// with many types each.
#[derive(Debug, Default)]
struct SourceCounts {
    first: Vec<OutcomeCounts>,
    others: Map<TypeId, OutcomeCounts>,
}

/// Types below this number are stored in a vector.
const DENSE_TYPES: usize = 32;

/// The outcome of an identifier.
#[derive(Debug, Clone, Copy)]
pub enum IdentifierOutcome {
    /// Mapped for the first time.
    Mapped,
    /// Used, and mapped before.
    Known,
    /// Blocked by the config's entry with this index.
    Blocked(u32),
    /// Demoted.
    Demoted(ViolatedRule),
    /// Not mapped because the profile was full.
    Capped,
}

impl IdentifierAccounts {
    /// Returns the number of a source, assigning one if it is new.
    pub fn source(&mut self, id: Option<&[u8]>) -> u32 {
        let id: Option<Box<[u8]>> = id.map(Into::into);
        let next = u32::try_from(self.sources.len()).expect("fewer than 2^32 sources");
        let number = *self.by_source.entry(id.clone()).or_insert(next);
        if number == next {
            self.sources.push(id);
            self.tallies.push(SourceCounts::default());
        }
        number
    }

    /// Counts an identifier as seen.
    pub fn count_seen(&mut self, source: u32, type_id: TypeId) {
        self.tally(source, type_id).seen += 1;
    }

    /// Counts the outcome of an identifier.
    pub fn count_outcome(&mut self, source: u32, type_id: TypeId, fate: IdentifierOutcome) {
        let tally = self.tally(source, type_id);
        match fate {
            IdentifierOutcome::Mapped => tally.mapped += 1,
            IdentifierOutcome::Known => tally.known += 1,
            IdentifierOutcome::Demoted(ViolatedRule::MergeCap) => tally.merge_cap += 1,
            IdentifierOutcome::Demoted(ViolatedRule::MappingCap) => tally.mapping_cap += 1,
            IdentifierOutcome::Demoted(_) => tally.limit += 1,
            IdentifierOutcome::Capped => tally.capped += 1,
            IdentifierOutcome::Blocked(entry) => match tally.blocked.iter_mut().find(|(e, _)| *e == entry) {
                Some((_, n)) => *n += 1,
                None => tally.blocked.push((entry, 1)),
            },
        }
    }

    fn tally(&mut self, source: u32, type_id: TypeId) -> &mut OutcomeCounts {
        let of_source = &mut self.tallies[source as usize];
        let number = type_id as usize;
        if DENSE_TYPES <= number {
            return of_source.others.entry(type_id).or_default();
        }
        if of_source.first.len() <= number {
            of_source.first.resize(number + 1, OutcomeCounts::default());
        }
        &mut of_source.first[number]
    }

    /// Returns the accounts, by type, then source.
    ///
    /// # Panics
    ///
    /// Panics if an account does not balance. An identifier was lost, so the run must not be committed.
    #[must_use]
    pub fn close(&self, type_names: &[Arc<str>], entries: &[String]) -> Vec<IdentifierAccount> {
        let mut accounts = Vec::new();
        for (source, of_source) in self.sources.iter().zip(&self.tallies) {
            let source = source.as_ref().map(|id| String::from_utf8_lossy(id).into_owned());
            let others = of_source.others.iter().map(|(&type_id, tally)| (type_id, tally));
            for (type_id, tally) in (0..).zip(&of_source.first).chain(others) {
                if tally.seen == 0 {
                    continue;
                }
                let name = &type_names[type_id as usize];
                let demoted = [
                    ("limit", tally.limit),
                    ("merge_cap", tally.merge_cap),
                    ("mapping_cap", tally.mapping_cap),
                ];
                let mut blocked = BTreeMap::new();
                for &(entry, n) in &tally.blocked {
                    *blocked.entry(entries[entry as usize].clone()).or_default() += n;
                }
                let account = IdentifierAccount {
                    r#type: name.to_string(),
                    source: source.clone(),
                    seen: tally.seen,
                    mapped: tally.mapped,
                    known: tally.known,
                    demoted: demoted
                        .into_iter()
                        .filter(|(_, n)| 0 < *n)
                        .map(|(r, n)| (r.to_owned(), n))
                        .collect(),
                    blocked,
                    capped: tally.capped,
                };
                assert!(account.balances(), "every identifier has one outcome: {account:?}");
                accounts.push(account);
            }
        }
        accounts.sort_by(|a, b| (&a.r#type, &a.source).cmp(&(&b.r#type, &b.source)));
        accounts
    }
}
