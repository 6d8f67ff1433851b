//! Every identifier accounted for: what was seen is what became of it, by type and source.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{resolver::Refusal, types::TypeId};
use crate::collections::Map;

/// What became of the identifiers of one type from one source. Each identifier of each accepted event counts once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The type.
    pub r#type: String,
    /// The source id; `None` for events that name none.
    pub source: Option<String>,
    /// All of them.
    pub seen: u64,
    /// Mapped for the first time.
    pub mapped: u64,
    /// Known already, and used.
    pub known: u64,
    /// Taken off their event, by the rule that would have been broken.
    pub demoted: BTreeMap<String, u64>,
    /// Blocked, by the entry of the config.
    pub blocked: BTreeMap<String, u64>,
    /// Left out because the profile holds as many as it may.
    pub capped: u64,
}

impl Account {
    /// Whether what was seen is what became of it.
    #[must_use]
    pub fn balances(&self) -> bool {
        let refused: u64 = self.demoted.values().chain(self.blocked.values()).sum();
        self.seen == self.mapped + self.known + refused + self.capped
    }
}

#[derive(Debug, Clone, Default)]
struct Tally {
    seen: u64,
    mapped: u64,
    known: u64,
    limit: u64,
    merge_cap: u64,
    mapping_cap: u64,
    capped: u64,
    /// By the number of the entry.
    blocked: Vec<(u32, u64)>,
}

/// Counts by source and type while events go by.
#[derive(Debug, Default)]
pub struct Accounts {
    sources: Vec<Option<Box<[u8]>>>,
    by_source: Map<Option<Box<[u8]>>, u32>,
    /// By source.
    tallies: Vec<OfSource>,
}

/// The tallies of a source: of the first types by number, of others as they come. There may be many sources and many types.
#[derive(Debug, Default)]
struct OfSource {
    first: Vec<Tally>,
    others: Map<TypeId, Tally>,
}

/// This many types are counted by their number.
const FIRST: usize = 32;

/// What becomes of an identifier.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    /// Mapped for the first time.
    Mapped,
    /// Known already, and used.
    Known,
    /// Blocked by an entry of this number.
    Blocked(u32),
    /// Taken off the event.
    Demoted(Refusal),
    /// No room on the profile.
    Capped,
}

impl Accounts {
    /// The number of a source.
    pub fn source(&mut self, id: Option<&[u8]>) -> u32 {
        let id: Option<Box<[u8]>> = id.map(Into::into);
        let next = u32::try_from(self.sources.len()).expect("fewer than 2^32 sources");
        let number = *self.by_source.entry(id.clone()).or_insert(next);
        if number == next {
            self.sources.push(id);
            self.tallies.push(OfSource::default());
        }
        number
    }

    /// An identifier was met.
    pub fn saw(&mut self, source: u32, type_id: TypeId) {
        self.tally(source, type_id).seen += 1;
    }

    /// This became of it.
    pub fn became(&mut self, source: u32, type_id: TypeId, fate: Fate) {
        let tally = self.tally(source, type_id);
        match fate {
            Fate::Mapped => tally.mapped += 1,
            Fate::Known => tally.known += 1,
            Fate::Demoted(Refusal::MergeCap) => tally.merge_cap += 1,
            Fate::Demoted(Refusal::MappingCap) => tally.mapping_cap += 1,
            Fate::Demoted(_) => tally.limit += 1,
            Fate::Capped => tally.capped += 1,
            Fate::Blocked(entry) => match tally.blocked.iter_mut().find(|(e, _)| *e == entry) {
                Some((_, n)) => *n += 1,
                None => tally.blocked.push((entry, 1)),
            },
        }
    }

    fn tally(&mut self, source: u32, type_id: TypeId) -> &mut Tally {
        let of_source = &mut self.tallies[source as usize];
        let number = type_id as usize;
        if FIRST <= number {
            return of_source.others.entry(type_id).or_default();
        }
        if of_source.first.len() <= number {
            of_source.first.resize(number + 1, Tally::default());
        }
        &mut of_source.first[number]
    }

    /// The accounts, by type, then source.
    ///
    /// # Panics
    ///
    /// Where one does not balance: an identifier was lost, and the run must not be committed.
    #[must_use]
    pub fn close(&self, type_names: &[Arc<str>], entries: &[String]) -> Vec<Account> {
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
                let account = Account {
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
                assert!(account.balances(), "every identifier is accounted for: {account:?}");
                accounts.push(account);
            }
        }
        accounts.sort_by(|a, b| (&a.r#type, &a.source).cmp(&(&b.r#type, &b.source)));
        accounts
    }
}
