//! Properties that hold for every dump, tested on generated dumps of a few hundred events.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    dump::{self, Knobs},
    invariants::Watch,
    support::{
        Work,
        tree::{self, Tree},
    },
};

const SEEDS: std::ops::Range<u64> = 100..106;

fn lines(seed: u64) -> Vec<String> {
    let mut bytes = Vec::new();
    dump::write(Knobs { events: 400, seed, days: 40, malformed: 0.0, changes: 0.0 }, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

/// Ingests the inputs of each run in turn, builds the views, and returns all tables and views.
fn tables(work: &Work, space: &str, runs: &[&[&str]], flags: &[&str]) -> Tree {
    let mut watch = Watch::default();
    for inputs in runs {
        let args = [&["ingest", "--space", space, "-q"], *inputs, flags].concat();
        work.program(&args).assert().success().stdout("");
        watch.after_run(&work.path(space));
    }
    work.program(&["materialize", "--space", space, "-q"]).assert().success().stderr("");
    tree::read(&work.path(space))
}

fn assert_same(expected: &Tree, actual: &Tree, what: &str) {
    let differences = tree::differences(expected, actual);
    assert!(differences.is_empty(), "{what}\n{differences}");
}

#[test]
fn shuffled_files_any_threads_and_little_memory_give_the_same_bytes() {
    for seed in SEEDS {
        let work = Work::new();
        let lines = lines(seed);
        work.write("all.ndjson", lines.join("\n"));
        let expected = tables(&work, "one", &[&["all.ndjson"]], &["--threads", "1"]);
        // Spread the lines over three files, in reverse order, and number the files in reverse order too.
        for part in 0..3 {
            let part_lines: Vec<_> = lines.iter().skip(part).step_by(3).rev().map(String::as_str).collect();
            work.write(&format!("parts/{}.ndjson", 9 - part), part_lines.join("\r\n"));
        }
        let flags = ["--threads", "7", "--memory", "1M"];
        assert_same(&expected, &tables(&work, "two", &[&["parts"]], &flags), &format!("seed {seed}"));
    }
}

#[test]
fn runs_over_consecutive_slices_give_the_bytes_of_one_run() {
    for seed in SEEDS {
        let work = Work::new();
        let mut lines = lines(seed);
        work.write("all.ndjson", lines.join("\n"));
        let expected = tables(&work, "one", &[&["all.ndjson"]], &[]);
        let received = |line: &String| -> String {
            let value: Value = serde_json::from_str(line).unwrap();
            value["receivedAt"].as_str().unwrap().to_owned()
        };
        lines.sort_by_cached_key(received);
        let (mut first, mut rest) = (lines.clone(), lines.split_off(150));
        // Events with the same time of arrival stay in one slice: two runs could resolve them in another order.
        let cut = received(&rest[0]);
        first.retain(|line| received(line) < cut);
        let last = rest.split_off(100);
        let middle = rest;
        let end = received(&last[0]);
        let (middle, last): (Vec<_>, Vec<_>) =
            middle.into_iter().chain(last).partition(|line| received(line) < end);
        for (name, slice) in [("a", first), ("b", middle), ("c", last)] {
            work.write(&format!("{name}.ndjson"), slice.join("\n"));
        }
        let runs: [&[&str]; 3] = [&["a.ndjson"], &["b.ndjson"], &["c.ndjson"]];
        assert_same(&expected, &tables(&work, "three", &runs, &[]), &format!("seed {seed}"));
    }
}

#[test]
fn ingesting_a_dump_again_adds_nothing() {
    let work = Work::new();
    let mut lines = lines(200);
    work.write("all.ndjson", lines.join("\n"));
    let expected = tables(&work, "space", &[&["all.ndjson"]], &[]);
    let again = tables(&work, "space", &[&["all.ndjson"]], &[]);
    assert_same(&expected, &again, "the same file");
    lines.reverse();
    lines.truncate(250);
    work.write("overlapping.ndjson", lines.join("\n"));
    let again = tables(&work, "space", &[&["overlapping.ndjson"]], &[]);
    assert_same(&expected, &again, "a part of the file, in reverse order");
}

#[test]
fn all_tables_are_consistent() {
    for seed in SEEDS {
        let work = Work::new();
        work.write("all.ndjson", lines(seed).join("\n"));
        tables(&work, "space", &[&["all.ndjson"]], &[]);
        let table = |name: &str| work.rows(&format!("space/{name}.ndjson"));
        let text = |row: &Value, column: &str| row[column].as_str().unwrap_or_default().to_owned();

        let graph: BTreeMap<_, _> = table("id_graph")
            .iter()
            .map(|row| (text(row, "segment_id"), text(row, "canonical_segment_id")))
            .collect();
        for canonical in graph.values() {
            assert_eq!(
                graph.get(canonical),
                Some(canonical),
                "a canonical profile is its own canonical profile"
            );
        }
        for (view, key) in [
            ("id_graph", &["segment_id"][..]),
            ("external_id_mapping", &["external_id_hash", "external_id_type", "external_id_value"]),
            ("profile_traits", &["canonical_segment_id"]),
            ("user_traits", &["canonical_segment_id", "name"]),
            ("user_identifiers", &["canonical_segment_id", "type", "value"]),
            ("profile_merges", &["canonical_segment_id", "segment_id"]),
        ] {
            let keys: Vec<Vec<_>> =
                table(view).iter().map(|row| key.iter().map(|column| text(row, column)).collect()).collect();
            assert!(
                !keys.is_empty() && keys.is_sorted_by(|a, b| a < b),
                "{view} must be sorted by its unique key"
            );
        }
        let mut ids = BTreeSet::new();
        for name in ["id_graph_updates", "external_id_mapping_updates", "profile_traits_updates"] {
            let mut last = BTreeMap::new();
            let mut clock = String::new();
            for row in table(name) {
                assert!(ids.insert(text(&row, "id")), "{name}: duplicate id");
                assert!(graph.contains_key(&text(&row, "segment_id")), "{name}: {row}");
                assert!(clock <= text(&row, "uuid_ts"), "{name}: {row}");
                clock = text(&row, "uuid_ts");
                let seq = text(&row, "seq");
                assert_eq!(seq.len(), 19);
                let before = last.insert(text(&row, "segment_id"), seq.clone());
                assert!(before.is_none_or(|before| before <= seq), "{name}: {row}");
            }
        }
        let users: BTreeMap<_, Vec<_>> = table("user_identifiers")
            .iter()
            .filter(|row| row["type"] == "user_id")
            .map(|row| (text(row, "canonical_segment_id"), text(row, "value")))
            .fold(BTreeMap::new(), |mut users, (profile, value)| {
                users.entry(profile).or_insert_with(Vec::new).push(value);
                users
            });
        assert!(
            users.values().all(|values| values.len() == 1),
            "a profile has at most one user_id: {users:?}"
        );
        let mut clocks = BTreeSet::new();
        for name in ["identifies", "pages", "screens", "groups", "aliases", "tracks"] {
            for row in table(name) {
                assert!(clocks.insert(text(&row, "uuid_ts")), "{name}: duplicate uuid_ts");
                assert!(row["segment_id"].is_null() || graph.contains_key(&text(&row, "segment_id")));
            }
        }
    }
}
