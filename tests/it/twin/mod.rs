//! The twin: a plain reference implementation of the program.
//!
//! It shares no code with the library and was written from the documentation of the tables alone. If the two agree on
//! random dumps, both are probably right. It is deliberately simple and slow: it processes one event after the other.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) mod json;
pub(crate) mod names;
pub(crate) mod rules;
pub(crate) mod views;

mod event;
mod identifiers;
mod resolver;
mod rows;
mod time;
mod traits;

#[cfg(test)]
mod tests;

use event::Event;
use resolver::Graph;
use rows::Clocks;
use rules::{DropRule, Rules};
use traits::{Trait, Traits};

/// One input file.
pub(crate) struct Input<'a> {
    /// The path as given, for rejected rows.
    pub(crate) name: &'a str,
    /// The source id from an archive path.
    pub(crate) source: Option<&'a str>,
    /// The content, decompressed.
    pub(crate) bytes: &'a [u8],
}

/// An identifier of an event that was blocked, demoted or not mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) message_id: String,
    pub(crate) identifier_type: String,
    pub(crate) value: String,
    /// `limit`, `merge_cap`, `mapping_cap` or `blocked`.
    pub(crate) rule: &'static str,
    /// For a limit: the highest-ranked type with too many values.
    pub(crate) limit_type: Option<String>,
    /// The canonical profile of the identifier after the event. If it has none and is not blocked, that of the event.
    pub(crate) segment_id: Option<String>,
    /// `blocking`, `demoted`, `profile full`, `second chance` (failed) or `mapped by second chance`.
    pub(crate) step: &'static str,
}

/// The tables of a space and the state that is kept between runs.
#[derive(Default)]
pub(crate) struct Space {
    tables: BTreeMap<String, String>,
    violations: Vec<Violation>,
    graph: Graph,
    /// The traits of each canonical profile.
    traits: BTreeMap<usize, Traits>,
    /// For each profile, the columns with a value in its last snapshot.
    columns_before: BTreeMap<usize, BTreeSet<String>>,
    /// For each profile, the `seq` of the last raw row with its segment id.
    last_seq: BTreeMap<usize, i128>,
    /// The tables of event names so far.
    named: BTreeSet<String>,
    /// The last `uuid_ts`, in microseconds since 1970.
    last_uuid_ts: i128,
    /// For each message id, the arrival times of its accepted events in milliseconds since 1970.
    accepted: BTreeMap<String, Vec<i128>>,
    /// The greatest key of the events accepted in earlier runs: time of arrival, time of the event, message id.
    newest: Option<(i128, i128, String)>,
    /// The number of accepted events in all runs that precede the newest event of an earlier run.
    late: u64,
    /// The content and source of every ingested file.
    ingested: Vec<(Vec<u8>, Option<String>)>,
}

impl Space {
    /// Returns an empty space.
    pub(crate) fn new() -> Self {
        let mut space = Self { last_uuid_ts: i128::MIN, ..Self::default() };
        for table in ["id_graph_updates", "external_id_mapping_updates", "profile_traits_updates"] {
            space.tables.insert(table.to_owned(), String::new());
        }
        space
    }

    /// Runs `ingest` over the inputs.
    pub(crate) fn ingest(&mut self, inputs: &[Input], rules: &Rules) {
        let mut any = false;
        let mut events: Vec<Event> = Vec::new();
        let mut rejected = Vec::new();
        let mut ingested = Vec::new();
        for input in inputs {
            let file = (input.bytes.to_vec(), input.source.map(str::to_owned));
            if self.ingested.contains(&file) {
                continue;
            }
            let lines = event::read(input, rules);
            any |= lines.any;
            events.extend(lines.events);
            rejected.extend(lines.rejected);
            ingested.push(file);
        }
        if any && events.is_empty() {
            // Not one event: the run fails and writes nothing.
            return;
        }

        self.ingested.extend(ingested);
        for row in rejected {
            self.append("rejected", &row);
        }
        events.sort_by(|one, other| one.order().cmp(&other.order()));
        let mut newest = self.newest.clone();
        for event in events {
            if !dropped(&event, &rules.drop) && !self.is_duplicate(&event, rules) {
                let key = (event.received_at, event.timestamp, event.message_id.clone());
                if self.newest.as_ref().is_some_and(|newest| key < *newest) {
                    self.late += 1;
                }
                newest = newest.max(Some(key));
                self.process(&event, rules);
            }
        }
        self.newest = newest;
    }

    /// Returns every table with rows, and always the three raw profile tables, as NDJSON by name.
    pub(crate) fn tables(&self) -> &BTreeMap<String, String> {
        &self.tables
    }

    /// Returns the six views, as of a time or with all rows.
    pub(crate) fn views(&self, as_of: Option<&str>) -> BTreeMap<String, String> {
        views::fold(&self.tables, as_of)
    }

    /// Returns the number of late events in all runs.
    pub(crate) fn late(&self) -> u64 {
        self.late
    }

    /// Returns the violations, in order of processing.
    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    fn append(&mut self, table: &str, row: &json::Json) {
        let text = self.tables.entry(table.to_owned()).or_default();
        text.push_str(&row.to_text());
        text.push('\n');
    }

    /// Returns whether the event is a duplicate; if it is not, records it as accepted.
    fn is_duplicate(&mut self, event: &Event, rules: &Rules) -> bool {
        let window = rules.dedupe_days * 86_400_000;
        let times = self.accepted.entry(event.message_id.clone()).or_default();
        if times.iter().any(|received_at| (event.received_at - received_at).abs() <= window) {
            return true;
        }
        times.push(event.received_at);
        false
    }

    fn process(&mut self, event: &Event, rules: &Rules) {
        self.last_uuid_ts = (event.received_at * 1000).max(self.last_uuid_ts.saturating_add(1));
        let uuid_ts = self.last_uuid_ts;
        let own_table = self.own_table(event, rules);
        let own_table = own_table.as_deref();
        let resolution = self.graph.resolve(event, rules, &mut self.violations);
        let Some(resolution) = resolution else {
            for (table, row) in rows::event_rows(event, None, &Clocks::new(event, 0, uuid_ts), own_table) {
                self.append(&table, &row);
            }
            return;
        };

        // After the merge, every profile affected by the event has this canonical profile.
        let segment_id_of = |graph: &Graph, index: usize| graph.profiles[index].segment_id.clone();
        let last_seqs = self
            .last_seq
            .iter()
            .filter(|(profile, _)| self.graph.profiles[**profile].canonical == resolution.canonical);
        let after = last_seqs.map(|(_, seq)| seq + 1).max().unwrap_or(0);
        let seq = after.max(event.timestamp * 1_000_000);
        let clocks = Clocks::new(event, seq, uuid_ts);
        let came_through = segment_id_of(&self.graph, resolution.came_through);

        for (profile, canonical) in &resolution.graph_changes {
            let segment_id = segment_id_of(&self.graph, *profile);
            let canonical_segment_id = segment_id_of(&self.graph, *canonical);
            let (table, row) =
                rows::id_graph_update(event, rules, &clocks, &segment_id, &canonical_segment_id);
            self.append(&table, &row);
            self.last_seq.insert(*profile, seq);
        }

        for identifier in &resolution.mapped {
            let (table, row) =
                rows::external_id_mapping_update(event, rules, &clocks, &came_through, identifier);
            self.append(&table, &row);
            self.last_seq.insert(resolution.came_through, seq);
        }

        for link in &resolution.links {
            let segment_id = segment_id_of(&self.graph, link.profile);
            let canonical = segment_id_of(&self.graph, resolution.canonical);
            let (table, row) = rows::identity_link(event, rules, &clocks, (&segment_id, &canonical), link);
            self.append(&table, &row);
        }

        if self.change_traits(event, &resolution, &clocks, rules.max_traits) {
            let traits = &self.traits[&resolution.canonical];
            let columns_before = self.columns_before.get(&resolution.canonical).cloned().unwrap_or_default();
            let segment_id = segment_id_of(&self.graph, resolution.canonical);
            let (table, row) =
                rows::profile_traits_update(event, rules, &clocks, &segment_id, traits, &columns_before);
            self.columns_before.insert(resolution.canonical, traits::column_names(traits));
            self.append(&table, &row);
            self.last_seq.insert(resolution.canonical, seq);
        }

        for (table, row) in rows::event_rows(event, Some(&came_through), &clocks, own_table) {
            self.append(&table, &row);
        }
    }

    /// Returns the table for the name of a track event; `None` if it has none or there are too many tables.
    fn own_table(&mut self, event: &Event, rules: &Rules) -> Option<String> {
        let name = event.track_name.as_deref().filter(|_| event.call == "track")?;
        let table = names::event_table(name)?;
        if !self.named.contains(&table) && rules.max_tables <= self.named.len() {
            return None;
        }
        self.named.insert(table.clone());
        Some(table)
    }

    /// Merges the traits of the profiles found, then sets those of the event, up to `most` traits.
    ///
    /// Returns whether a snapshot row is due.
    fn change_traits(
        &mut self,
        event: &Event,
        resolution: &resolver::Resolution,
        clocks: &Clocks,
        most: usize,
    ) -> bool {
        let own = self.traits.remove(&resolution.canonical).unwrap_or_default();
        let merged_away: Vec<Traits> = resolution
            .found
            .iter()
            .filter(|profile| **profile != resolution.canonical)
            .map(|profile| self.traits.remove(profile).unwrap_or_default())
            .collect();

        let columns_of_own = traits::column_names(&own);
        let brought_in = merged_away.iter().any(|traits| !traits::columns(traits).is_empty());
        let all: Vec<Traits> = [vec![own], merged_away].concat();
        let mut traits = traits::merge(&all);
        let mut changed = brought_in || traits::column_names(&traits) != columns_of_own;

        if event.call == "identify" {
            for (name, leaves) in traits::of_payload(&event.traits) {
                changed = true;
                if !traits.contains_key(&name) && most <= traits.len() {
                    continue;
                }
                let when = (event.timestamp, self.last_uuid_ts);
                traits::set(&mut traits, &name, Trait { when, seq: clocks.seq.clone(), leaves });
            }
        }
        self.traits.insert(resolution.canonical, traits);
        changed
    }
}

fn dropped(event: &Event, drop: &[DropRule]) -> bool {
    drop.iter().any(|rule| {
        let event_name = if event.call == "track" { event.track_name.as_ref() } else { None };
        let fits = |globs: &Option<Vec<String>>, text: Option<&String>| match globs {
            None => true,
            Some(globs) => text.is_some_and(|text| globs.iter().any(|glob| rules::glob_fits(glob, text))),
        };
        fits(&rule.event_type, Some(&event.call))
            && fits(&rule.event_name, event_name)
            && fits(&rule.source, event.source.as_ref())
    })
}
