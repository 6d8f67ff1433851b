//! The second stage: detects duplicates and resolves the released events in order. Runs on one thread.

use std::{collections::BTreeMap, sync::Arc};

use super::event_names::EventTableLimit;
use crate::{
    config::rules::{Rules, SourceNames},
    error::Result,
    event::{
        block::{ByteSpan, Event, EventBlock},
        duplicates::SeenMessages,
        order::{EventKey, ReleasedEvents},
    },
    identity::{
        account::{IdentifierAccount, IdentifierAccounts, IdentifierOutcome},
        extract::block_entries,
        resolver::{EventChanges, Resolver, ViolatedRule},
        types::IdentifierTypes,
    },
    raw::{
        RowMode, external_id_mapping_updates, id_graph_updates,
        identity_links::{self, Link, LinkRow},
        identity_violations::{self, Violation},
        profile_traits_updates,
        trigger::Trigger,
    },
    space::state::StateContents,
    summary::{IngestSummary, OVER_MAX_TABLES, TIMES_IN_SECONDS},
    time::timestamp::Micros,
};

/// What resolving adds to the rows of an event.
#[derive(Debug, Clone, Copy)]
pub struct EventOutcome {
    /// Its segment id in [`ResolvedEvents::segment_ids`]; empty for an unresolved event.
    pub segment_id: ByteSpan,
    /// The space's clock at the event; `None` for a duplicate, which has no rows.
    pub uuid_ts: Option<Micros>,
    /// Whether an event with a name has the table of that name.
    pub has_table: bool,
}

/// Rows of one table.
#[derive(Debug, Default)]
pub struct RawRows {
    /// The rendered rows.
    pub bytes: Vec<u8>,
    /// The number of rows.
    pub n_rows: u64,
}

/// Events with their outcomes and raw rows.
#[derive(Debug, Default)]
pub struct ResolvedEvents {
    /// The events.
    pub released: ReleasedEvents,
    /// One outcome for each event, in order.
    pub outcomes: Vec<EventOutcome>,
    /// The segment ids of all outcomes.
    pub segment_ids: Vec<u8>,
    /// Rows of `id_graph_updates`.
    pub graph_rows: RawRows,
    /// Rows of `external_id_mapping_updates`.
    pub mapping_rows: RawRows,
    /// Rows of `profile_traits_updates`.
    pub trait_rows: RawRows,
    /// Rows of `identity_violations`.
    pub violation_rows: RawRows,
    /// `identity_links`
    pub link_rows: RawRows,
}

impl ResolvedEvents {
    /// Returns the length of its raw rows in bytes.
    fn n_bytes(&self) -> usize {
        let rows =
            [&self.graph_rows, &self.mapping_rows, &self.trait_rows, &self.violation_rows, &self.link_rows];
        rows.map(|rows| rows.bytes.len()).iter().sum()
    }

    /// Removes the events but keeps the allocated memory.
    fn clear(&mut self) {
        self.released = ReleasedEvents::default();
        self.outcomes.clear();
        self.segment_ids.clear();
        for rows in [
            &mut self.graph_rows,
            &mut self.mapping_rows,
            &mut self.trait_rows,
            &mut self.violation_rows,
            &mut self.link_rows,
        ] {
            rows.bytes.clear();
            rows.n_rows = 0;
        }
    }
}

/// Stops resolving events above this many bytes of raw rows: one event may write a snapshot of ten thousand traits, or
/// a row for each of a thousand merged profiles.
const MAX_ROW_BYTES: usize = 16 << 20;

/// How many events are prefetched at once.
const PREFETCH: usize = 32;

/// A source that occurs in a block.
struct BlockSource {
    number: u32,
    known: Option<SourceNames>,
}

/// The stage with its state.
#[derive(Debug)]
pub struct ResolveStage {
    resolver: Resolver,
    accepted: SeenMessages,
    uuid_ts: Micros,
    /// The greatest key accepted by earlier runs.
    newest_before: Option<EventKey>,
    /// The greatest key accepted by this run.
    newest: Option<EventKey>,
    rules: Arc<Rules>,
    types: Arc<IdentifierTypes>,
    rows: RowMode,
    /// Whether `identity_links` is written.
    has_links: bool,
    link_tail: Vec<u8>,
    type_names: Vec<Arc<str>>,
    trait_rows: profile_traits_updates::TraitRows,
    changes: EventChanges,
    accounts: IdentifierAccounts,
    block_entries: Vec<String>,
    event_names: EventTableLimit,
    n_accepted: u64,
    n_duplicates: u64,
    n_late: u64,
    n_unresolved: u64,
    n_created: u64,
    n_merged: u64,
    n_times_in_seconds: u64,
}

impl ResolveStage {
    /// Creates the stage with the state in which the last run ended.
    #[must_use]
    pub fn new(
        resolver: Resolver,
        accepted: SeenMessages,
        (uuid_ts, newest_before): (Micros, Option<EventKey>),
        event_names: EventTableLimit,
        rules: &Arc<Rules>,
        types: &Arc<IdentifierTypes>,
        rows: RowMode,
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
            has_links: rules.tables.has(identity_links::TABLE),
            link_tail: Vec::new(),
            type_names: Vec::new(),
            trait_rows: profile_traits_updates::TraitRows::default(),
            changes: EventChanges::default(),
            accounts: IdentifierAccounts::default(),
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

    /// Returns whether rows are rendered.
    #[must_use]
    pub fn rows(&self) -> RowMode {
        self.rows
    }

    /// Returns the `uuid_ts` assigned last.
    #[must_use]
    pub fn uuid_ts(&self) -> Micros {
        self.uuid_ts
    }

    /// Returns the greatest key of all events accepted so far.
    #[must_use]
    pub fn newest(&self) -> Option<EventKey> {
        self.newest_before.clone().max(self.newest.clone())
    }

    /// Returns the state that the next run continues from.
    #[must_use]
    pub fn state(&self) -> StateContents<'_> {
        StateContents {
            graph: &self.resolver.graph,
            trait_names: &self.resolver.trait_names,
            accepted: &self.accepted,
            types: &self.types,
        }
    }

    /// Resolves events in order and reuses the buffers of `resolved`. Returns the resolved events, and the events that
    /// were left because the raw rows reached the memory limit.
    pub fn resolve(
        &mut self,
        mut released: ReleasedEvents,
        mut resolved: ResolvedEvents,
    ) -> Result<(ResolvedEvents, ReleasedEvents)> {
        resolved.clear();
        self.types.learn(&mut self.type_names);
        self.resolver.learn_types();
        let mut n_resolved = released.places.len();
        let sources: Vec<Vec<BlockSource>> = released.blocks.iter().map(|b| self.sources_of(b)).collect();
        let mut names_of: Vec<Vec<Option<bool>>> = vec![Vec::new(); released.blocks.len()];
        resolved.outcomes.reserve(released.places.len());
        let window = self.rules.dedupe_window;
        let mut last_accepted = None;
        let cold_duplicates = self.accepted.duplicates_on_disk(&released, window)?;
        for (number, &place) in released.places.iter().enumerate() {
            if number % PREFETCH == 0 {
                self.prefetch(&released, number);
            }
            let (block, event) = released.event(place);
            if cold_duplicates.get(number).is_some_and(|&duplicate| duplicate)
                || !self.accepted.accept(event.message_key, event.received_at, window)?
            {
                self.n_duplicates += 1;
                let outcome =
                    EventOutcome { segment_id: ByteSpan::default(), uuid_ts: None, has_table: false };
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
            if self.rows == RowMode::Count {
                self.count_rows(&mut resolved);
                resolved.outcomes.push(EventOutcome { segment_id: ByteSpan::default(), uuid_ts, has_table });
                continue;
            }
            self.push_violations(block, event, &mut resolved);
            let start = resolved.segment_ids.len();
            if let Some(segment) = self.changes.segment {
                resolved.segment_ids.extend_from_slice(self.resolver.graph.segment_id(segment).as_bytes());
            }
            let segment_id = ByteSpan::since(&resolved.segment_ids, start);
            resolved.outcomes.push(EventOutcome { segment_id, uuid_ts, has_table });
            if self.changes.has_rows() {
                self.push_rows(block, event, source.known.as_ref(), &mut resolved);
            }
            if MAX_ROW_BYTES < resolved.n_bytes() {
                n_resolved = number + 1;
                break;
            }
        }
        // Events are in order, so the last one accepted has the greatest key.
        if let Some((block, event)) = last_accepted.map(|place| released.event(place)) {
            self.newest = Some(EventKey::of(block, event));
        }
        let later = released.split_off(n_resolved);
        resolved.released = released;
        self.resolver.graph.deferred_error()?;
        Ok((resolved, later))
    }

    /// Looks up the keys of the next events, so that their cache misses overlap instead of occurring one by one.
    fn prefetch(&self, released: &ReleasedEvents, number: usize) {
        let end = released.places.len().min(number + PREFETCH);
        let n_known: usize = released.places[number..end]
            .iter()
            .map(|&place| {
                let (block, event) = released.event(place);
                let (start, end) = event.identifiers;
                let identifiers = &block.identifiers[start as usize..end as usize];
                let known =
                    identifiers.iter().filter(|i| self.resolver.graph.find_in_memory(i.key).is_some());
                known.count() + usize::from(self.accepted.may_hold(event.message_key))
            })
            .sum();
        std::hint::black_box(n_known);
    }

    /// Returns the sources of a block: their numbers in the accounts, and their entries in the config.
    fn sources_of(&mut self, block: &EventBlock) -> Vec<BlockSource> {
        let mut sources = Vec::with_capacity(block.sources.len());
        for id in &block.sources {
            let number = self.accounts.source(id.as_deref());
            let id = id.as_deref().and_then(|id| std::str::from_utf8(id).ok());
            sources
                .push(BlockSource { number, known: id.and_then(|id| self.rules.sources.get(id)).cloned() });
        }
        sources
    }

    /// Counts the rows of the raw tables without rendering them.
    fn count_rows(&self, resolved: &mut ResolvedEvents) {
        let changes = &self.changes;
        let n_merged: usize = changes.merges.iter().map(|merge| merge.segments.len()).sum();
        resolved.graph_rows.n_rows += u64::from(changes.created) + n_merged as u64;
        resolved.mapping_rows.n_rows += changes.mapped.len() as u64;
        resolved.trait_rows.n_rows += u64::from(changes.traits);
        resolved.violation_rows.n_rows += changes.violations.len() as u64;
        if self.has_links {
            resolved.link_rows.n_rows += (changes.merges.len() + changes.mapped.len()) as u64;
        }
    }

    fn push_rows(
        &mut self,
        block: &EventBlock,
        event: &Event,
        source: Option<&SourceNames>,
        resolved: &mut ResolvedEvents,
    ) {
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
        let identifier_at = |index: u32| {
            let identifier = &block.identifiers[index as usize];
            (&*self.type_names[identifier.type_id as usize], identifier.value.of(&block.arena))
        };
        let (segment_id, canonical_segment_id) = (graph.segment_id(segment), graph.segment_id(canonical));
        self.link_tail.clear();
        let tail = &mut self.link_tail;
        let mut push_link = |link, key: &[u8], segment_id, index: u32, via: Option<u32>| {
            let (identifier, via) = (identifier_at(index), via.map(identifier_at));
            let row = LinkRow { link, key, segment_id, canonical_segment_id, identifier, via };
            identity_links::push_row(&mut resolved.link_rows.bytes, &trigger, &row, tail);
            resolved.link_rows.n_rows += 1;
        };
        for merge in changes.merges.iter().filter(|_| self.has_links) {
            let from = graph.segment_id(merge.from);
            push_link(Link::Merged, from.as_bytes(), from, merge.found_by, changes.found_by);
        }
        let link = if changes.created { Link::Created } else { Link::Mapped };
        let out = &mut resolved.mapping_rows;
        let mut hash = Vec::with_capacity(40);
        for (place, &index) in changes.mapped.iter().enumerate() {
            let (type_name, value) = identifier_at(index);
            hash.clear();
            external_id_mapping_updates::push_external_id_hash(&mut hash, type_name.as_bytes(), value);
            let identifier = (type_name, value);
            external_id_mapping_updates::push_row(&mut out.bytes, &trigger, identifier, &hash, segment_id);
            out.n_rows += 1;
            if self.has_links {
                let first = (0 < place).then_some(changes.mapped[0]);
                push_link(link, &hash, segment_id, index, changes.found_by.or(first));
            }
        }
        if changes.traits {
            let out = &mut resolved.trait_rows;
            self.trait_rows.push_row(
                &mut out.bytes,
                &trigger,
                graph.segment_id(canonical),
                &self.resolver.traits,
                &changes.removed_columns,
                &mut self.resolver.trait_names,
            );
            out.n_rows += 1;
        }
    }

    fn push_violations(&self, block: &EventBlock, event: &Event, resolved: &mut ResolvedEvents) {
        let event_segment_id = self.changes.segment.map(|segment| self.resolver.graph.segment_id(segment));
        for refused in &self.changes.violations {
            let identifier = &block.identifiers[refused.identifier as usize];
            let rule = match refused.rule {
                ViolatedRule::Blocked => "blocked",
                ViolatedRule::Limit => "limit",
                ViolatedRule::MergeCap => "merge_cap",
                ViolatedRule::MappingCap => "mapping_cap",
            };
            let limited = &*self.type_names[refused.limit_type as usize];
            let limit =
                (refused.rule == ViolatedRule::Limit).then(|| (limited, self.rules.limit_of(limited)));
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

    fn count(&mut self, block: &EventBlock, source: u32) {
        let changes = &self.changes;
        self.n_unresolved += u64::from(changes.segment.is_none());
        self.n_created += u64::from(changes.created);
        self.n_merged += changes.merges.len() as u64;
        let type_of = |index: u32| block.identifiers[index as usize].type_id;
        for &index in &changes.seen {
            self.accounts.count_seen(source, type_of(index));
        }
        for &index in &changes.mapped {
            self.accounts.count_outcome(source, type_of(index), IdentifierOutcome::Mapped);
        }
        for &index in &changes.known {
            self.accounts.count_outcome(source, type_of(index), IdentifierOutcome::Known);
        }
        for refused in &changes.violations {
            let identifier = &block.identifiers[refused.identifier as usize];
            let fate = match refused.rule {
                ViolatedRule::Blocked => IdentifierOutcome::Blocked(identifier.blocked_by - 1),
                _ if refused.profile_full => IdentifierOutcome::Capped,
                refusal => IdentifierOutcome::Demoted(refusal),
            };
            self.accounts.count_outcome(source, identifier.type_id, fate);
        }
    }

    /// Writes the counts to the summary.
    pub fn finish(&self, summary: &mut IngestSummary) {
        summary.accepted = self.n_accepted;
        summary.duplicates = self.n_duplicates;
        summary.late = self.n_late;
        summary.unresolved = self.n_unresolved;
        summary.profiles_created = self.n_created;
        summary.profiles_merged = self.n_merged;
        for (name, n) in [
            (TIMES_IN_SECONDS, self.n_times_in_seconds),
            (OVER_MAX_TABLES, self.event_names.n_over_limit()),
            ("traits_over_max_traits", self.resolver.n_dropped_traits()),
        ] {
            if 0 < n {
                summary.notes.insert(name.to_owned(), n);
            }
        }
        let accounts = self.accounts.close(&self.type_names, &self.block_entries);
        let by_type = |count: fn(&IdentifierAccount) -> u64| {
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
