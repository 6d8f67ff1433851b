//! Second stage: released events meet the memory of messages and the resolver, one after the other, on one thread.

use std::{collections::BTreeMap, sync::Arc};

use super::event_names::EventNames;
use crate::{
    config::rules::{Rules, Source},
    error::Result,
    event::{
        block::{Block, Event, Span},
        duplicates::Accepted,
        order::{EventKey, Released},
    },
    identity::{
        account::{Account, Accounts, Fate},
        extract::block_entries,
        resolver::{Changes, Refusal, Resolver},
        types::Types,
    },
    raw::{
        Rows, external_id_mapping_updates, id_graph_updates,
        identity_violations::{self, Violation},
        profile_traits_updates,
        trigger::Trigger,
    },
    space::state::Contents,
    summary::{IngestSummary, TIMES_IN_SECONDS},
    time::timestamp::Micros,
};

/// What the resolver knows of an event's rows.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Its segment id in [`Resolved::segment_ids`]; empty for an unresolved event.
    pub segment_id: Span,
    /// The space's clock; `None` for a duplicate, which has no rows.
    pub uuid_ts: Option<Micros>,
    /// Whether there is room for the table of its name, if it has one.
    pub has_table: bool,
}

/// Rows of one raw profile table.
#[derive(Debug, Default)]
pub struct RawRows {
    /// The rows.
    pub bytes: Vec<u8>,
    /// How many.
    pub n_rows: u64,
}

/// Events with their outcomes.
#[derive(Debug, Default)]
pub struct Resolved {
    /// The events.
    pub released: Released,
    /// One for each event, in order.
    pub outcomes: Vec<Outcome>,
    /// The segment ids of all outcomes.
    pub segment_ids: Vec<u8>,
    /// `id_graph_updates`
    pub graph_rows: RawRows,
    /// `external_id_mapping_updates`
    pub mapping_rows: RawRows,
    /// `profile_traits_updates`
    pub trait_rows: RawRows,
    /// `identity_violations`
    pub violation_rows: RawRows,
}

impl Resolved {
    /// Bytes of its raw rows.
    fn n_bytes(&self) -> usize {
        let rows = [&self.graph_rows, &self.mapping_rows, &self.trait_rows, &self.violation_rows];
        rows.map(|rows| rows.bytes.len()).iter().sum()
    }

    /// Forgets what it holds and keeps the memory.
    fn clear(&mut self) {
        self.released = Released::default();
        self.outcomes.clear();
        self.segment_ids.clear();
        for rows in
            [&mut self.graph_rows, &mut self.mapping_rows, &mut self.trait_rows, &mut self.violation_rows]
        {
            rows.bytes.clear();
            rows.n_rows = 0;
        }
    }
}

/// Bytes of raw rows that are written before more events are resolved: one event may give a snapshot of ten thousand traits,
/// or a row for each of a thousand profiles merged before.
const MOST_ROWS: usize = 16 << 20;

/// So many events are looked up ahead.
const AHEAD: usize = 32;

/// A source of a block.
struct SourceOf {
    number: u32,
    known: Option<Source>,
}

/// The stage, with what it carries from event to event.
#[derive(Debug)]
pub struct Stage {
    resolver: Resolver,
    accepted: Accepted,
    uuid_ts: Micros,
    /// The greatest key that earlier runs accepted.
    newest_before: Option<EventKey>,
    /// The greatest key that this run accepted.
    newest: Option<EventKey>,
    rules: Arc<Rules>,
    types: Arc<Types>,
    rows: Rows,
    type_names: Vec<Arc<str>>,
    trait_rows: profile_traits_updates::TraitRows,
    changes: Changes,
    accounts: Accounts,
    block_entries: Vec<String>,
    event_names: EventNames,
    n_accepted: u64,
    n_duplicates: u64,
    n_late: u64,
    n_unresolved: u64,
    n_created: u64,
    n_merged: u64,
    n_times_in_seconds: u64,
}

impl Stage {
    /// Carries on from where the last run ended.
    #[must_use]
    pub fn new(
        resolver: Resolver,
        accepted: Accepted,
        (uuid_ts, newest_before): (Micros, Option<EventKey>),
        event_names: EventNames,
        rules: &Arc<Rules>,
        types: &Arc<Types>,
        rows: Rows,
    ) -> Self {
        Self {
            resolver,
            accepted,
            uuid_ts,
            newest_before,
            newest: None,
            rules: Arc::clone(rules),
            types: Arc::clone(types),
            rows,
            type_names: Vec::new(),
            trait_rows: profile_traits_updates::TraitRows::default(),
            changes: Changes::default(),
            accounts: Accounts::default(),
            block_entries: block_entries(rules),
            event_names,
            n_accepted: 0,
            n_duplicates: 0,
            n_late: 0,
            n_unresolved: 0,
            n_created: 0,
            n_merged: 0,
            n_times_in_seconds: 0,
        }
    }

    /// What is to come of rows.
    #[must_use]
    pub fn rows(&self) -> Rows {
        self.rows
    }

    /// The last `uuid_ts` given.
    #[must_use]
    pub fn uuid_ts(&self) -> Micros {
        self.uuid_ts
    }

    /// The greatest key of the events accepted so far.
    #[must_use]
    pub fn newest(&self) -> Option<EventKey> {
        self.newest_before.clone().max(self.newest.clone())
    }

    /// What the next run needs to carry on.
    #[must_use]
    pub fn state(&self) -> Contents<'_> {
        Contents {
            graph: &self.resolver.graph,
            trait_names: &self.resolver.trait_names,
            accepted: &self.accepted,
            types: &self.types,
        }
    }

    /// Resolves events in their order; over what `resolved` holds. Returns them and those that were not resolved yet, because
    /// the rows so far are as many as should be in memory.
    pub fn resolve(
        &mut self,
        mut released: Released,
        mut resolved: Resolved,
    ) -> Result<(Resolved, Released)> {
        resolved.clear();
        self.types.learn(&mut self.type_names);
        self.resolver.learn_types();
        let mut n_resolved = released.places.len();
        let sources: Vec<Vec<SourceOf>> = released.blocks.iter().map(|b| self.sources_of(b)).collect();
        let mut names_of: Vec<Vec<Option<bool>>> = vec![Vec::new(); released.blocks.len()];
        resolved.outcomes.reserve(released.places.len());
        let window = self.rules.dedupe_window;
        let mut last_accepted = None;
        let cold_duplicates = self.accepted.cold_duplicates(&released, window)?;
        for (number, &place) in released.places.iter().enumerate() {
            if number % AHEAD == 0 {
                self.look_ahead(&released, number);
            }
            let (block, event) = released.event(place);
            if cold_duplicates.get(number).is_some_and(|&duplicate| duplicate)
                || !self.accepted.accept(event.message_key, event.received_at, window)?
            {
                self.n_duplicates += 1;
                let outcome = Outcome { segment_id: Span::default(), uuid_ts: None, has_table: false };
                resolved.outcomes.push(outcome);
                continue;
            }
            self.n_accepted += 1;
            self.n_times_in_seconds += u64::from(event.n_times_in_seconds);
            last_accepted = Some(place);
            let is_late = self.newest_before.as_ref().is_some_and(|newest| newest.is_after(block, event));
            self.n_late += u64::from(is_late);
            self.uuid_ts = (event.received_at * 1000).max(self.uuid_ts + 1);
            let uuid_ts = Some(self.uuid_ts);
            let has_table = self.event_names.admit_event(block, event, &mut names_of[place.block as usize]);
            self.resolver.resolve(block, event, self.uuid_ts, &mut self.changes);
            let source = &sources[place.block as usize][event.source as usize];
            self.count(block, source.number);
            if self.rows == Rows::Counted {
                self.count_rows(&mut resolved);
                resolved.outcomes.push(Outcome { segment_id: Span::default(), uuid_ts, has_table });
                continue;
            }
            self.push_violations(block, event, &mut resolved);
            let start = resolved.segment_ids.len();
            if let Some(segment) = self.changes.segment {
                resolved.segment_ids.extend_from_slice(self.resolver.graph.segment_id(segment).as_bytes());
            }
            let segment_id = Span::since(&resolved.segment_ids, start);
            resolved.outcomes.push(Outcome { segment_id, uuid_ts, has_table });
            if self.changes.any_rows() {
                self.push_rows(block, event, source.known.as_ref(), &mut resolved);
            }
            if MOST_ROWS < resolved.n_bytes() {
                n_resolved = number + 1;
                break;
            }
        }
        // Events come in order.
        if let Some((block, event)) = last_accepted.map(|place| released.event(place)) {
            self.newest = Some(EventKey::of(block, event));
        }
        let later = released.split_off(n_resolved);
        resolved.released = released;
        self.resolver.graph.trouble()?;
        Ok((resolved, later))
    }

    /// Looks up what the next events will ask for: so the waits for memory overlap, which come one by one otherwise.
    fn look_ahead(&self, released: &Released, number: usize) {
        let end = released.places.len().min(number + AHEAD);
        let n_known: usize = released.places[number..end]
            .iter()
            .map(|&place| {
                let (block, event) = released.event(place);
                let (start, end) = event.identifiers;
                let identifiers = &block.identifiers[start as usize..end as usize];
                let known = identifiers.iter().filter(|i| self.resolver.graph.find_here(i.key).is_some());
                known.count() + usize::from(self.accepted.may_hold(event.message_key))
            })
            .sum();
        std::hint::black_box(n_known);
    }

    /// The sources of a block: their numbers in the accounts, and what the config knows of them.
    fn sources_of(&mut self, block: &Block) -> Vec<SourceOf> {
        let mut sources = Vec::with_capacity(block.sources.len());
        for id in &block.sources {
            let number = self.accounts.source(id.as_deref());
            let id = id.as_deref().and_then(|id| std::str::from_utf8(id).ok());
            sources.push(SourceOf { number, known: id.and_then(|id| self.rules.sources.get(id)).cloned() });
        }
        sources
    }

    /// Counts the rows of the raw tables.
    fn count_rows(&self, resolved: &mut Resolved) {
        let changes = &self.changes;
        let n_merged: usize = changes.merges.iter().map(|merge| merge.segments.len()).sum();
        resolved.graph_rows.n_rows += u64::from(changes.created) + n_merged as u64;
        resolved.mapping_rows.n_rows += changes.mapped.len() as u64;
        resolved.trait_rows.n_rows += u64::from(changes.traits);
        resolved.violation_rows.n_rows += changes.refused.len() as u64;
    }

    fn push_rows(&mut self, block: &Block, event: &Event, source: Option<&Source>, resolved: &mut Resolved) {
        let changes = &self.changes;
        let (Some(segment), Some(canonical)) = (changes.segment, changes.canonical) else { return };
        let trigger = Trigger { block, event, uuid_ts: self.uuid_ts, seq: changes.seq, source };
        let graph = &self.resolver.graph;
        let out = &mut resolved.graph_rows;
        if changes.created {
            let id = graph.segment_id(canonical);
            id_graph_updates::push_row(&mut out.bytes, &trigger, id, id);
            out.n_rows += 1;
        }
        for merge in &changes.merges {
            let into = graph.segment_id(merge.into);
            for &segment in &merge.segments {
                id_graph_updates::push_row(&mut out.bytes, &trigger, graph.segment_id(segment), into);
                out.n_rows += 1;
            }
        }
        let out = &mut resolved.mapping_rows;
        for &index in &changes.mapped {
            let identifier = &block.identifiers[index as usize];
            let type_name = &self.type_names[identifier.type_id as usize];
            let value = identifier.value.of(&block.arena);
            let segment_id = graph.segment_id(segment);
            external_id_mapping_updates::push_row(&mut out.bytes, &trigger, type_name, value, segment_id);
            out.n_rows += 1;
        }
        if changes.traits {
            let out = &mut resolved.trait_rows;
            self.trait_rows.push_row(
                &mut out.bytes,
                &trigger,
                graph.segment_id(canonical),
                &self.resolver.traits,
                &changes.gone_columns,
                &mut self.resolver.trait_names,
            );
            out.n_rows += 1;
        }
    }

    fn push_violations(&self, block: &Block, event: &Event, resolved: &mut Resolved) {
        let event_segment_id = self.changes.segment.map(|segment| self.resolver.graph.segment_id(segment));
        for refused in &self.changes.refused {
            let identifier = &block.identifiers[refused.identifier as usize];
            let rule = match refused.refusal {
                Refusal::Blocked => "blocked",
                Refusal::Limit => "limit",
                Refusal::MergeCap => "merge_cap",
                Refusal::MappingCap => "mapping_cap",
            };
            let limited = &*self.type_names[refused.limited_type as usize];
            let limit = (refused.refusal == Refusal::Limit).then(|| (limited, self.rules.limit_of(limited)));
            let violation = Violation {
                message_id: event.message_id.of(&block.arena),
                type_name: &self.type_names[identifier.type_id as usize],
                value: identifier.value.of(&block.arena),
                rule,
                limit,
                blocked_by: identifier
                    .blocked_by
                    .checked_sub(1)
                    .map(|entry| self.block_entries[entry as usize].as_str()),
                segment_id: refused.profile.map(|profile| self.resolver.graph.segment_id(profile)),
                event_segment_id,
                received_at: event.received_at,
                timestamp: event.timestamp,
                uuid_ts: self.uuid_ts,
            };
            identity_violations::push_row(&mut resolved.violation_rows.bytes, &violation);
            resolved.violation_rows.n_rows += 1;
        }
    }

    fn count(&mut self, block: &Block, source: u32) {
        let changes = &self.changes;
        self.n_unresolved += u64::from(changes.segment.is_none());
        self.n_created += u64::from(changes.created);
        self.n_merged += changes.merges.len() as u64;
        let type_of = |index: u32| block.identifiers[index as usize].type_id;
        for &index in &changes.seen {
            self.accounts.saw(source, type_of(index));
        }
        for &index in &changes.mapped {
            self.accounts.became(source, type_of(index), Fate::Mapped);
        }
        for &index in &changes.known {
            self.accounts.became(source, type_of(index), Fate::Known);
        }
        for refused in &changes.refused {
            let identifier = &block.identifiers[refused.identifier as usize];
            let fate = match refused.refusal {
                Refusal::Blocked => Fate::Blocked(identifier.blocked_by - 1),
                _ if refused.no_room => Fate::Capped,
                refusal => Fate::Demoted(refusal),
            };
            self.accounts.became(source, identifier.type_id, fate);
        }
    }

    /// Tells what was counted.
    pub fn finish(&self, summary: &mut IngestSummary) {
        summary.accepted = self.n_accepted;
        summary.duplicates = self.n_duplicates;
        summary.late = self.n_late;
        summary.unresolved = self.n_unresolved;
        summary.profiles_created = self.n_created;
        summary.profiles_merged = self.n_merged;
        for (name, n) in [
            (TIMES_IN_SECONDS, self.n_times_in_seconds),
            ("events_over_max_tables", self.event_names.n_refused()),
            ("traits_over_max_traits", self.resolver.n_refused_traits()),
        ] {
            if 0 < n {
                summary.notes.insert(name.to_owned(), n);
            }
        }
        let accounts = self.accounts.close(&self.type_names, &self.block_entries);
        let by_type = |count: fn(&Account) -> u64| {
            let mut counts = BTreeMap::new();
            for account in accounts.iter().filter(|account| 0 < count(account)) {
                *counts.entry(account.r#type.clone()).or_default() += count(account);
            }
            counts
        };
        summary.identifiers_mapped = by_type(|account| account.mapped);
        summary.identifiers_demoted = by_type(|account| account.demoted.values().sum());
        summary.identifiers_blocked = by_type(|account| account.blocked.values().sum());
        summary.identifiers_capped = by_type(|account| account.capped);
        summary.identifiers = accounts;
    }
}
