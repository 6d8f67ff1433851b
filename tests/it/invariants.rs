//! Invariants that hold after every ingest, whatever the input. They are checked by replaying the rows of the tables.

mod links;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use profiles_sync::{
    config::{self, rules::Rules},
    files::Files,
    space::manifest::Manifest,
    summary::IngestSummary,
    time::timestamp::{Millis, parse_millis},
};
use serde_json::Value;

use links::{Expected, Links};

const CALLS: [&str; 6] = ["identifies", "tracks", "pages", "screens", "groups", "aliases"];

/// An identifier of a profile and the time at which it was mapped; adopted identifiers have no time.
type Mapped = ((String, String), Option<Millis>);

/// The tables to replay.
const TABLES: [&str; 5] = [
    "id_graph_updates",
    "external_id_mapping_updates",
    "profile_traits_updates",
    "identity_violations",
    "identity_links",
];

/// Checks a space after each run. A run may have its own rules, which apply to the rows that it adds.
#[derive(Default)]
pub(crate) struct Watch {
    /// The latest `uuid_ts` before the run.
    since: String,
}

impl Watch {
    /// Checks the space after a run. A failed run may have left no space; then this does nothing.
    pub(crate) fn after_run(&mut self, space: &Path) {
        let Some(manifest) = Manifest::read(space, &Files::real()).unwrap() else { return };
        let rules = manifest.config.map_or_else(Rules::default, |used| {
            config::parse(&used.text, Path::new("manifest.json")).unwrap()
        });
        let read = |table: &&str| {
            let text = fs::read_to_string(space.join(format!("{table}.ndjson"))).unwrap_or_default();
            ((*table).to_owned(), text)
        };
        let tables = Tables::new(&TABLES.iter().chain(&CALLS).map(read).collect());
        tables.check(&rules, &self.since);
        let clocks = TABLES.iter().chain(&CALLS).flat_map(|table| tables.rows(table));
        self.since = clocks.map(|row| text(row, "uuid_ts").to_owned()).max().unwrap_or_default();
    }
}

/// The tables of a space.
pub(crate) struct Tables {
    tables: BTreeMap<String, Vec<Value>>,
}

impl Tables {
    /// Parses tables, given as NDJSON by table name.
    pub(crate) fn new(tables: &BTreeMap<String, String>) -> Self {
        let rows = |text: &String| text.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
        Self { tables: tables.iter().map(|(table, text)| (table.clone(), rows(text))).collect() }
    }

    /// Returns the rows of a table; empty if there is no such table.
    pub(crate) fn rows(&self, table: &str) -> &[Value] {
        self.tables.get(table).map_or(&[], Vec::as_slice)
    }

    /// Replays the profile tables event by event and panics if they break an invariant.
    ///
    /// Rows whose `uuid_ts` is later than `since` were written under `rules`, so they must respect its limits and caps.
    pub(crate) fn check(&self, rules: &Rules, since: &str) {
        let mut space = Replayed::default();
        let mut steps: BTreeMap<&str, Step> = BTreeMap::new();
        for row in self.rows("id_graph_updates") {
            steps.entry(text(row, "uuid_ts")).or_default().graph.push(row);
        }
        for row in self.rows("external_id_mapping_updates") {
            steps.entry(text(row, "uuid_ts")).or_default().mapping.push(row);
        }
        for row in self.rows("profile_traits_updates") {
            steps.entry(text(row, "uuid_ts")).or_default().traits.push(row);
        }
        for row in self.rows("identity_links") {
            steps.entry(text(row, "uuid_ts")).or_default().links.push(row);
        }
        let has_links = rules.tables.has("identity_links") && rules.columns.all();
        let mut links = Links::default();
        for (uuid_ts, step) in &steps {
            let merged = space.apply(step, (since < *uuid_ts).then_some(rules));
            // Adopted rows have no triggering event and no links.
            let of_events: Vec<_> =
                step.mapping.iter().filter(|row| !row["triggering_event_id"].is_null()).copied().collect();
            let is_created = step.graph.iter().any(|row| row["segment_id"] == row["canonical_segment_id"]);
            let expected =
                Expected { mapping: &of_events, merged: &merged, is_created, canonical: &space.canonical };
            links.add(&step.links, (has_links && since < *uuid_ts).then_some(&expected));
        }
        for (profile, identifiers) in &space.identifiers {
            links.check_profile(profile, identifiers.iter().map(|(identifier, _)| identifier));
        }
        let by_call = || CALLS.iter().flat_map(|table| self.rows(table));
        let segment_ids: BTreeMap<&str, &Value> =
            by_call().filter_map(|row| Some((text(row, "uuid_ts"), row.get("segment_id")?))).collect();
        for violation in self.rows("identity_violations") {
            if let Some(of_event) = segment_ids.get(text(violation, "uuid_ts")) {
                assert_eq!(violation["event_segment_id"], **of_event, "{violation}");
            }
        }
        let mut clocks = BTreeSet::new();
        for row in by_call() {
            assert!(clocks.insert(text(row, "uuid_ts")), "duplicate uuid_ts: {row}");
            if let Some(segment_id) = row["segment_id"].as_str() {
                assert!(space.canonical.contains_key(segment_id), "unknown profile: {row}");
            }
        }
    }

    /// Panics if `summary`, of a single run that filled the space, does not account for every identifier and row.
    pub(crate) fn check_summary(&self, summary: &IngestSummary) {
        for account in &summary.identifiers {
            assert!(account.balances(), "{account:?}");
        }
        let sum = |count: fn(&profiles_sync::identity::account::IdentifierAccount) -> u64| -> usize {
            usize::try_from(summary.identifiers.iter().map(count).sum::<u64>()).unwrap()
        };
        let is_own = |row: &&Value| row["segment_id"] == row["canonical_segment_id"];
        let n_created = self.rows("id_graph_updates").iter().filter(is_own).count();
        assert_eq!(summary.profiles_created, n_created as u64);
        let merged: BTreeSet<_> = self
            .rows("id_graph_updates")
            .iter()
            .filter(|row| !is_own(row))
            .map(|row| text(row, "segment_id"))
            .collect();
        assert_eq!(summary.profiles_merged, merged.len() as u64, "each profile is merged away at most once");
        let n_mapped = self.rows("external_id_mapping_updates").len();
        assert_eq!(sum(|account| account.mapped), n_mapped);
        assert_eq!(summary.identifiers_mapped.values().sum::<u64>(), n_mapped as u64);
        let rule_is = |wanted: fn(&str) -> bool| {
            let rows = self.rows("identity_violations");
            rows.iter().filter(|row| wanted(text(row, "rule"))).count()
        };
        assert_eq!(sum(|account| account.blocked.values().sum()), rule_is(|rule| rule == "blocked"));
        assert_eq!(
            sum(|account| account.demoted.values().sum::<u64>() + account.capped),
            rule_is(|rule| rule != "blocked")
        );
        let by_call = || CALLS.iter().flat_map(|table| self.rows(table));
        assert_eq!(summary.accepted, by_call().count() as u64);
        let n_unresolved = by_call().filter(|row| row["segment_id"].is_null()).count();
        assert_eq!(summary.unresolved, n_unresolved as u64);
    }
}

/// The profile rows that one event wrote.
#[derive(Default)]
struct Step<'a> {
    graph: Vec<&'a Value>,
    mapping: Vec<&'a Value>,
    traits: Vec<&'a Value>,
    links: Vec<&'a Value>,
}

/// The state after the rows replayed so far.
#[derive(Default)]
struct Replayed {
    canonical: BTreeMap<String, String>,
    /// The identifiers of each canonical profile.
    identifiers: BTreeMap<String, Vec<Mapped>>,
    mapped: BTreeSet<(String, String)>,
}

impl Replayed {
    /// Applies the rows of an event and returns the profiles that it merged away, except those of adopted rows.
    fn apply(&mut self, step: &Step, rules: Option<&Rules>) -> BTreeSet<String> {
        let mut merged = BTreeSet::new();
        let mut touched = BTreeSet::new();
        let mut before: BTreeMap<String, Vec<Vec<Mapped>>> = BTreeMap::new();
        let mut told = BTreeSet::new();
        for row in &step.graph {
            let (segment_id, canonical) = (text(row, "segment_id"), text(row, "canonical_segment_id"));
            assert!(told.insert(segment_id), "an event wrote two graph rows for one segment id: {row}");
            if segment_id == canonical {
                let old = self.canonical.insert(segment_id.to_owned(), canonical.to_owned());
                assert_eq!(old, None, "created twice: {row}");
                continue;
            }
            assert_eq!(self.canonical.get(canonical).map(String::as_str), Some(canonical), "{row}");
            let old = self.canonical.insert(segment_id.to_owned(), canonical.to_owned());
            let old = old.unwrap_or_else(|| panic!("merged before it was created: {row}"));
            if old == segment_id {
                if !row["triggering_event_id"].is_null() {
                    merged.insert(segment_id.to_owned());
                }
                let own = self.identifiers.entry(canonical.to_owned()).or_default();
                before.entry(canonical.to_owned()).or_insert_with(|| vec![own.clone()]);
                let moved = self.identifiers.remove(segment_id).unwrap_or_default();
                self.identifiers.entry(canonical.to_owned()).or_default().extend(moved.clone());
                before.entry(canonical.to_owned()).or_default().push(moved);
            }
            touched.insert(canonical.to_owned());
        }
        for (segment_id, canonical) in &self.canonical {
            assert_eq!(self.canonical.get(canonical), Some(canonical), "canonical of {segment_id}");
        }
        let mut n_mapped = 0;
        for row in &step.mapping {
            let identifier =
                (text(row, "external_id_type").to_owned(), text(row, "external_id_value").to_owned());
            assert!(self.mapped.insert(identifier.clone()), "mapped twice: {row}");
            let canonical = self.canonical.get(text(row, "segment_id"));
            let canonical = canonical.unwrap_or_else(|| panic!("unknown profile: {row}")).clone();
            let of_profile = self.identifiers.entry(canonical.clone()).or_default();
            before.entry(canonical.clone()).or_insert_with(|| vec![of_profile.clone()]);
            of_profile.push((identifier, time(row)));
            touched.insert(canonical);
            n_mapped += 1;
        }
        for row in &step.traits {
            let segment_id = text(row, "segment_id");
            assert_eq!(self.canonical.get(segment_id).map(String::as_str), Some(segment_id), "{row}");
        }
        let Some(rules) = rules else { return merged };
        for profile in touched {
            let (Some(parts), Some(now)) = (before.get(&profile), step.time()) else { continue };
            self.check_rules(&profile, parts, now, n_mapped, rules);
        }
        merged
    }

    /// Panics if a profile that has just grown out of `parts` breaks a limit or a cap.
    fn check_rules(&self, profile: &str, parts: &[Vec<Mapped>], now: Millis, n_mapped: usize, rules: &Rules) {
        let all = &self.identifiers[profile];
        let types: BTreeSet<&String> = all.iter().map(|((name, _), _)| name).collect();
        for name in types {
            let of_type = |list: &[Mapped]| list.iter().filter(|((n, _), _)| n == name).count();
            let grew = parts.iter().all(|part| of_type(part) < of_type(all));
            let limit = rules.limit_of(name);
            let counts = |mapped: &&Mapped| match (limit.window.millis(), mapped.1) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(window), Some(at)) => now - window < at,
            };
            let n_in_window = all.iter().filter(|((n, _), _)| n == name).filter(counts).count();
            assert!(!grew || n_in_window <= limit.values as usize, "{profile} has {n_in_window} of {name}");
        }
        if 1 < parts.len() {
            let n_segments = self.canonical.values().filter(|canonical| *canonical == profile).count();
            assert!(n_segments - 1 <= rules.merge_cap as usize, "{profile} merged {n_segments} profiles");
            let n_identifiers: usize = parts.iter().map(Vec::len).sum();
            assert!(
                n_identifiers <= rules.mapping_cap as usize,
                "{profile} merged {n_identifiers} identifiers"
            );
        }
        assert!(n_mapped == 0 || all.len() <= rules.mapping_cap as usize, "{profile} has {}", all.len());
    }
}

impl Step<'_> {
    fn time(&self) -> Option<Millis> {
        time(self.graph.first().or(self.mapping.first())?)
    }
}

fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().unwrap_or_default()
}

fn time(row: &Value) -> Option<Millis> {
    parse_millis(row["timestamp"].as_str()?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds tables in which every row comes from an event of its own.
    fn tables(graph: &[(&str, &str)], mapping: &[(&str, &str, &str)]) -> Tables {
        let row = |table: &str, at: usize, members: String| {
            let clocks = format!(
                "\"uuid_ts\":\"2024-01-01T00:00:00.{at:06}Z\",\"timestamp\":\"2024-01-01T00:00:00.000Z\""
            );
            (table.to_owned(), format!("{{{members},{clocks}}}\n"))
        };
        let graph = graph.iter().enumerate().map(|(at, (segment_id, canonical))| {
            let members = format!("\"segment_id\":\"{segment_id}\",\"canonical_segment_id\":\"{canonical}\"");
            row("id_graph_updates", at, members)
        });
        let mapping = mapping.iter().enumerate().map(|(at, (segment_id, name, value))| {
            let members = format!(
                "\"segment_id\":\"{segment_id}\",\"external_id_type\":\"{name}\",\"external_id_value\":\"{value}\""
            );
            row("external_id_mapping_updates", 100 + at, members)
        });
        let mut texts: BTreeMap<String, String> = BTreeMap::new();
        for (table, text) in graph.chain(mapping) {
            texts.entry(table).or_default().push_str(&text);
        }
        Tables::new(&texts)
    }

    #[test]
    fn consistent_tables_pass() {
        tables(
            &[("p1", "p1"), ("p2", "p2"), ("p2", "p1")],
            &[("p2", "user_id", "u1"), ("p1", "email", "e1")],
        )
        .check(&Rules::default(), "");
    }

    #[test]
    #[should_panic(expected = "p1 has 2 of user_id")]
    fn a_broken_limit_is_detected() {
        tables(&[("p1", "p1")], &[("p1", "user_id", "u1"), ("p1", "user_id", "u2")])
            .check(&Rules::default(), "");
    }

    #[test]
    #[should_panic(expected = "p1 merged 3 profiles")]
    fn a_broken_cap_is_detected() {
        let rules = Rules { merge_cap: 1, ..Rules::default() };
        tables(&[("p1", "p1"), ("p2", "p2"), ("p3", "p3"), ("p2", "p1"), ("p3", "p1")], &[])
            .check(&rules, "");
    }

    #[test]
    #[should_panic(expected = "canonical of p3")]
    fn a_missing_recursive_entry_is_detected() {
        tables(&[("p1", "p1"), ("p2", "p2"), ("p3", "p3"), ("p3", "p2"), ("p2", "p1")], &[])
            .check(&Rules::default(), "");
    }

    #[test]
    #[should_panic(expected = "every mapped identifier must have a row")]
    fn a_missing_link_is_detected() {
        let mut tables = tables(&[("p1", "p1")], &[("p1", "user_id", "u1")]);
        let mapping = tables.tables.get_mut("external_id_mapping_updates").unwrap();
        mapping[0]["triggering_event_id"] = "m1".into();
        tables.check(&Rules::default(), "");
    }

    #[test]
    #[should_panic(expected = "a cycle of links")]
    fn a_cycle_of_links_is_detected() {
        let row = |value: &str, via: &str, link: &str| {
            serde_json::json!({"link": link, "external_id_type": "t", "external_id_value": value,
                "via_type": "t", "via_value": via})
        };
        let rows = [row("a", "b", "mapped"), row("c", "b", "mapped"), row("a", "c", "merged")];
        Links::default().add(&rows.iter().collect::<Vec<_>>(), None);
    }

    #[test]
    #[should_panic(expected = "p1 is not connected")]
    fn a_profile_with_unconnected_identifiers_is_detected() {
        let row = |value: &str| serde_json::json!({"link": "created", "external_id_type": "t", "external_id_value": value});
        let rows = [row("a"), row("b")];
        let mut links = Links::default();
        links.add(&rows.iter().collect::<Vec<_>>(), None);
        let identifiers = ["a", "b"].map(|value| ("t".to_owned(), value.to_owned()));
        links.check_profile("p1", identifiers.iter());
    }

    #[test]
    #[should_panic(expected = "unknown profile")]
    fn an_identifier_of_an_unknown_profile_is_detected() {
        tables(&[("p1", "p1")], &[("p9", "email", "e1")]).check(&Rules::default(), "");
    }
}
