//! Compares the resolver with the twin, the plain reference implementation, on small random cases with random rules.
//!
//! `PROFILES_SYNC_CASES=200000 cargo test resolver` runs 200,000 cases instead of the default number. A failure reports
//! the seed, the config, and a minimal set of events: without any one of them, or of their members, the two would agree.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write,
    fs, panic,
    path::{Path, PathBuf},
};

use profiles_sync::{
    config,
    files::Files,
    jobs::{
        ingest::{IngestOptions, ingest},
        materialize::{MaterializeOptions, materialize},
        verify::verify,
    },
    progress::Silent,
    summary::IngestSummary,
};
use rayon::prelude::*;
use tempfile::TempDir;

use crate::{
    invariants::Tables,
    random::{
        Random,
        config::{self as random_config, Config},
        events, messy,
        value::Value,
    },
    stages,
    support::{
        names_in,
        tree::{self, Tree},
    },
    twin::{self, Input, Violation},
};

/// A test case: a config, events, and how to ingest them.
#[derive(Clone)]
struct World {
    config: Config,
    /// The lines of the dump.
    events: Vec<Value>,
    /// The source of random white space between tokens; `None` for compact lines.
    spaces: Option<Random>,
    /// The index of the first event of the second run.
    cut: usize,
    /// What happens to the state cache between runs; `None` if the runs do not use a space on disk.
    on_disk: Option<State>,
    /// Event tables that are excluded from a space on disk.
    left_out: Vec<&'static str>,
}

/// What happens to the state cache of a space between runs.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Kept,
    Forgotten,
}

/// Creates a temporary folder, in memory if possible, because every run syncs its files.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn tree(tables: &BTreeMap<String, String>) -> Tree {
    let tables = tables.iter().filter(|(_, rows)| !rows.is_empty());
    tables.map(|(table, rows)| (table.into(), rows.clone().into_bytes())).collect()
}

impl World {
    /// Returns the dump of each run.
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

    /// Describes how the program and the twin differ; `None` if they agree.
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
            Err(error) => return Some(format!("the config is invalid: {error}")),
        };
        let work = self.on_disk.map(|_| folder());
        let mut twin = twin::Space::new();
        for (number, bytes) in self.runs().iter().enumerate() {
            let name = work.as_ref().map_or(PathBuf::new(), |work| work.path().join(number.to_string()));
            let name = name.display().to_string();
            twin.ingest(&[Input { name: &name, source: None, bytes }], &self.config.rules);
        }
        let mut actual = if let Some(work) = &work {
            let (tables, late) = self.ingest_on_disk(work.path());
            if late != twin.late() {
                return Some(format!("{late} late events, expected {}", twin.late()));
            }
            tables
        } else {
            let ingested = stages::ingest(&rules, &self.runs());
            let tables = Tables::new(&ingested.tables);
            tables.check(&rules, "");
            tables.check_summary(&ingested.summary);
            ingested.tables
        };
        let violations = actual.remove("identity_violations").unwrap_or_default();
        let mut expected = tree(twin.tables());
        if work.is_some() {
            expected.extend(tree(&twin.views(None)));
        }
        expected.retain(|table, _| !self.left_out.iter().any(|name| Path::new(name) == table));
        let mut actual = tree(&actual);
        for tree in [&mut expected, &mut actual] {
            if let Some(rows) = tree.get_mut(Path::new("rejected")) {
                *rows = without_detail(rows);
            }
        }
        let mut report = tree::differences(&expected, &actual);
        report.push_str(&differing_lines(
            &violations_of_twin(twin.violations(), &self.config),
            &violations_of_program(&violations),
        ));
        (!report.is_empty()).then_some(report)
    }

    /// Ingests the runs into a space on disk and returns its tables and views, and the number of late events.
    fn ingest_on_disk(&self, work: &Path) -> (BTreeMap<String, String>, u64) {
        let space = work.join("space");
        let files = Files::real();
        let write = |name: &str, bytes: &[u8]| {
            files.replace(&work.join(name), bytes).unwrap();
            work.join(name)
        };
        let left_out = format!("\n[sync]\nexclude_tables = {:?}\n", self.left_out);
        let config = write("profiles-sync.toml", (self.config.text.clone() + &left_out).as_bytes());
        let mut late = 0;
        for (number, bytes) in self.runs().iter().enumerate() {
            let options = IngestOptions {
                inputs: vec![write(&number.to_string(), bytes)],
                space: space.clone(),
                config: Some(config.clone()),
                segment_ids: None,
                compress: None,
                max_rejects: None,
                rejects: None,
                memory: None,
                dry_run: false,
                again: false,
                wait: 0,
            };
            let counted = ingest(&IngestOptions { dry_run: true, ..options.clone() }, &files, &Silent);
            let written = ingest(&options, &files, &Silent);
            assert_eq!(counted.ok().map(untimed), written.as_ref().ok().cloned().map(untimed));
            late += written.as_ref().map_or(0, |summary| summary.late);
            match written {
                Ok(_) if self.on_disk == Some(State::Forgotten) => {
                    files.remove_folder(&space.join(".state")).unwrap();
                }
                Ok(_) => {
                    let verified = verify(&space, &files, &Silent).unwrap();
                    assert!(verified.differences.is_empty(), "{:?}", verified.differences);
                }
                // A dump without a single event is an error; the twin ignores it.
                Err(error) if error.to_string().contains("but no events") => {}
                Err(error) => panic!("{error}"),
            }
        }
        if !space.join("manifest.json").exists() {
            return (BTreeMap::new(), late);
        }
        let views = MaterializeOptions::of_space(&space);
        materialize(&views, &files, &Silent).unwrap();
        let names = names_in(&space);
        let tables = names.iter().filter_map(|name| Some((name.strip_suffix(".ndjson")?.to_owned(), name)));
        let tables =
            tables.map(|(table, name)| (table, fs::read_to_string(space.join(name)).unwrap())).collect();
        (tables, late)
    }

    /// Shrinks the case for as long as the program and the twin still differ.
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
        told + "\ndifferences (the twin gives the expected rows):\n"
            + &self.disagreement().unwrap_or_default()
    }
}

/// Removes `detail`, which the twin does not fill, from rejected rows.
fn without_detail(rows: &[u8]) -> Vec<u8> {
    let rows = std::str::from_utf8(rows).unwrap().lines().map(|row| {
        let mut row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(row).unwrap();
        row.remove("detail");
        serde_json::to_string(&row).unwrap() + "\n"
    });
    rows.collect::<String>().into_bytes()
}

/// Formats the violations of the twin as lines; those of one event are sorted.
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

fn violations_of_program(rows: &str) -> Vec<String> {
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

/// Pairs each item with the number of its group. Consecutive items with the same key are a group.
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

/// Returns the number of cases: `PROFILES_SYNC_CASES` if it is set, else `usual`.
fn n_cases(usual: u64) -> u64 {
    env::var("PROFILES_SYNC_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Clears the fields of a summary that differ between a dry run and the real one.
fn untimed(mut summary: IngestSummary) -> IngestSummary {
    summary.seconds = 0.0;
    summary.events_per_second = 0.0;
    // A dry run commits nothing, so it has no number.
    summary.run = None;
    summary
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
        World { config, events, spaces: None, cut, on_disk: None, left_out: Vec::new() }
    });
}

#[test]
fn agrees_with_the_twin_on_messy_payloads() {
    check("messy payloads", n_cases(20_000) / 5, |random| {
        let config = random_config::make(random);
        let events = messy::make(random);
        let spaces = random.chance(50).then(|| random.clone());
        World { config, events, spaces, cut: 0, on_disk: None, left_out: Vec::new() }
    });
}

#[test]
fn agrees_with_the_twin_across_runs_on_disk() {
    check("runs through a space", n_cases(20_000) / 40, |random| {
        let config = random_config::make(random);
        let events = if random.chance(50) { events::make(random) } else { messy::make(random) };
        let cut = random.below(events.len());
        let state = if random.chance(50) { State::Kept } else { State::Forgotten };
        let percent = random.pick(&[&0, &0, &50, &100]);
        let left_out =
            random.some(&["identifies", "pages", "screens", "groups", "aliases", "tracks"], *percent);
        World { config, events, spaces: None, cut, on_disk: Some(state), left_out }
    });
}
