//! The resolver against the plain twin, on random small worlds with random rules.
//!
//! `PROFILES_SYNC_CASES=200000 cargo test resolver` tries so many worlds instead of the usual number. A failure tells the
//! seed, the config, and the events that are left when no event, member or item can go without the failure going too.

use std::{env, fmt::Write, panic, path::Path};

use profiles_sync::identity::config;
use rayon::prelude::*;

use crate::{
    invariants::Tables,
    random::{
        Random,
        config::{self as random_config, Config},
        events, messy,
        value::Value,
    },
    stages::{self, Ingested},
    support::tree::{self, Tree},
    twin::{self, Input, Violation},
};

/// A small world.
#[derive(Clone)]
struct World {
    config: Config,
    /// Each becomes a line.
    events: Vec<Value>,
    /// Throws the white space between tokens.
    spaces: Option<Random>,
    /// The lines before this one are a run of their own.
    cut: usize,
}

impl World {
    /// The dumps of the runs.
    fn runs(&self) -> Vec<Vec<u8>> {
        let mut spaces = self.spaces.clone();
        let lines: Vec<String> = self
            .events
            .iter()
            .map(|event| match &mut spaces {
                Some(random) => event.to_spaced_text(random) + "\n",
                None => event.to_text() + "\n",
            })
            .collect();
        let (first, second) = lines.split_at(self.cut.min(lines.len()));
        [first, second].map(|run| run.concat().into_bytes()).into()
    }

    /// What the two disagree on, if anything.
    fn disagreement(&self) -> Option<String> {
        let told = |payload: Box<dyn std::any::Any + Send>| {
            let text = payload.downcast_ref::<String>().cloned();
            text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        };
        panic::catch_unwind(|| self.compare()).unwrap_or_else(|payload| Some(told(payload)))
    }

    fn compare(&self) -> Option<String> {
        let rules = match config::parse(&self.config.text, Path::new("profiles-sync.toml")) {
            Ok(rules) => rules,
            Err(error) => return Some(format!("the config is refused: {error}")),
        };
        let runs = self.runs();
        let ingested = stages::ingest(&rules, &runs);
        let mut twin = twin::Space::new();
        for bytes in &runs {
            twin.ingest(&[Input { name: "events.ndjson", source: None, bytes }], &self.config.rules);
        }
        let tree = |tables: &std::collections::BTreeMap<String, String>| -> Tree {
            let tables =
                tables.iter().filter(|(table, rows)| !rows.is_empty() && *table != "identity_violations");
            tables.map(|(table, rows)| (table.into(), rows.clone().into_bytes())).collect()
        };
        let (mut expected, mut actual) = (tree(twin.tables()), tree(&ingested.tables));
        for tree in [&mut expected, &mut actual] {
            if let Some(rows) = tree.get_mut(Path::new("rejected")) {
                *rows = without_detail(rows);
            }
        }
        let tables = Tables::new(ingested.tables.iter().map(|(name, rows)| (name.as_str(), rows.as_str())));
        tables.check(&rules, "");
        tables.check_summary(&ingested.summary);
        let mut report = tree::differences(&expected, &actual);
        let violations = violations_of_twin(twin.violations(), &self.config);
        report.push_str(&differing_lines(&violations, &violations_of_program(&ingested)));
        (!report.is_empty()).then_some(report)
    }

    /// The same disagreement with as little as possible.
    fn minimised(mut self) -> Self {
        loop {
            let mut smaller: Vec<Self> = Vec::new();
            for at in 0..self.events.len() {
                let mut fewer = self.clone();
                fewer.events.remove(at);
                fewer.cut -= usize::from(at < fewer.cut);
                smaller.push(fewer);
            }
            let mut changed: Vec<Self> = Vec::new();
            for (at, event) in self.events.iter().enumerate() {
                for event in event.smaller() {
                    let mut less = self.clone();
                    less.events[at] = event;
                    changed.push(less);
                }
            }
            if self.spaces.is_some() {
                smaller.push(Self { spaces: None, ..self.clone() });
            }
            let next = smaller.into_iter().chain(changed).find(|world| world.disagreement().is_some());
            match next {
                Some(world) => self = world,
                None => return self,
            }
        }
    }

    fn told(&self) -> String {
        let mut told = format!("config:\n{}\nevents:\n", self.config.text);
        for (number, run) in self.runs().iter().enumerate() {
            writeln!(told, "run {}\n{}", number + 1, String::from_utf8_lossy(run)).unwrap();
        }
        told + "\ndisagreement (expected is the twin's):\n" + &self.disagreement().unwrap_or_default()
    }
}

/// Rejected rows without what is told to a person.
fn without_detail(rows: &[u8]) -> Vec<u8> {
    let rows = std::str::from_utf8(rows).unwrap().lines().map(|row| {
        let mut row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(row).unwrap();
        row.remove("detail");
        serde_json::to_string(&row).unwrap() + "\n"
    });
    rows.collect::<String>().into_bytes()
}

/// The violations as lines, those of an event in a fixed order.
fn violations_of_twin(violations: &[Violation], config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    for (place, one) in grouped(violations, |one| one.message_id.clone()) {
        if one.step == "mapped by second chance" {
            continue;
        }
        let limit = one.limit_type.as_ref().map_or(String::new(), |name| {
            let (most, window) = config.rules.limit(name);
            format!("{name} {most} {}", format!("{window:?}").to_lowercase())
        });
        let segment_id = one.segment_id.as_deref().unwrap_or_default();
        lines.push(format!(
            "{place:04} {} {:?} {:?} {} {limit:?} {segment_id}",
            one.message_id, one.identifier_type, one.value, one.rule
        ));
    }
    lines.sort();
    lines
}

fn violations_of_program(ingested: &Ingested) -> Vec<String> {
    let rows = ingested.tables.get("identity_violations").map_or("", String::as_str);
    let rows: Vec<serde_json::Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let mut lines = Vec::new();
    for (place, row) in grouped(&rows, |row| row["message_id"].to_string()) {
        let text = |column: &str| row[column].as_str().unwrap_or_default().to_owned();
        let limit = match row["limit"].as_u64() {
            Some(most) => format!("{} {most} {}", text("limit_type"), text("window")),
            None => String::new(),
        };
        lines.push(format!(
            "{place:04} {} {:?} {:?} {} {limit:?} {}",
            text("message_id"),
            text("type"),
            text("value"),
            text("rule"),
            text("segment_id")
        ));
    }
    lines.sort();
    lines
}

/// Things with the number of the group of neighbours they belong to.
fn grouped<T>(things: &[T], key: impl Fn(&T) -> String) -> Vec<(usize, &T)> {
    let mut place = 0;
    let mut last = None;
    things
        .iter()
        .map(|thing| {
            let key = key(thing);
            place += usize::from(last.as_ref().is_some_and(|last| *last != key));
            last = Some(key);
            (place, thing)
        })
        .collect()
}

fn differing_lines(expected: &[String], actual: &[String]) -> String {
    let mut report = String::new();
    for (sign, lines, others) in [("-", expected, actual), ("+", actual, expected)] {
        for line in lines.iter().filter(|line| !others.contains(line)) {
            writeln!(report, "violation {sign} {line}").unwrap();
        }
    }
    report
}

/// So many cases, or as many as the environment asks for.
fn n_cases(usual: u64) -> u64 {
    env::var("PROFILES_SYNC_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn check(what: &str, n_cases: u64, world: impl Fn(&mut Random) -> World + Sync) {
    let failed = (0..n_cases).into_par_iter().find_map_first(|seed| {
        let world = world(&mut Random(seed));
        world.disagreement().map(|_| (seed, world))
    });
    if let Some((seed, world)) = failed {
        panic!("{what}, seed {seed}\n{}", world.minimised().told());
    }
}

#[test]
fn agrees_with_the_twin_on_random_rules_and_events() {
    check("random rules and events", n_cases(20_000), |random| {
        let config = random_config::make(random);
        let events = events::make(random);
        let cut = if random.chance(30) { random.below(events.len()) } else { 0 };
        World { config, events, spaces: None, cut }
    });
}

#[test]
fn agrees_with_the_twin_on_messy_payloads() {
    check("messy payloads", n_cases(20_000) / 5, |random| {
        let config = random_config::make(random);
        let events = messy::make(random);
        let spaces = random.chance(50).then(|| random.clone());
        World { config, events, spaces, cut: 0 }
    });
}
