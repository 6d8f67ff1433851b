//! `backfill` adopts exactly what its inputs have, duplicates and overwrites nothing, and later runs continue from it.

mod events;
mod faults;
mod names;
mod older_rows;
mod profiles;
mod raw;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    dump::{self, Knobs},
    support::Work,
};

const VIEWS: [&str; 6] = [
    "id_graph",
    "external_id_mapping",
    "profile_traits",
    "user_traits",
    "user_identifiers",
    "profile_merges",
];
const RAW: [&str; 3] = ["id_graph_updates", "external_id_mapping_updates", "profile_traits_updates"];

/// Runs the program, which must succeed and print nothing.
fn run(work: &Work, args: &[&str]) {
    work.program(args).arg("-q").assert().success().stdout("").stderr("");
}

/// Runs the program, which must succeed, and returns its JSON summary.
fn told(work: &Work, args: &[&str]) -> Value {
    let assert = work.program(args).args(["-q", "--json"]).assert().success().stderr("");
    serde_json::from_slice(&assert.get_output().stdout).unwrap()
}

/// Runs the program, which must fail, and returns its error message.
fn refused(work: &Work, args: &[&str]) -> String {
    let assert = work.program(args).assert().code(2).stdout("");
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

/// Asserts that a space verifies.
fn assert_whole(work: &Work, space: &str) {
    run(work, &["ingest", "--verify", "--space", space]);
}

/// Writes generated events to `first.ndjson` and `second.ndjson`, split by arrival. All events in the second file
/// happened after those in the first.
fn slices(work: &Work, seed: u64) {
    let mut bytes = Vec::new();
    dump::write(Knobs { events: 400, seed, days: 40, malformed: 0.0, changes: 0.0 }, &mut bytes).unwrap();
    let time = |line: &&str, key: &str| -> String {
        let value: Value = serde_json::from_str(line).unwrap();
        value[key].as_str().unwrap_or_default().to_owned()
    };
    let text = String::from_utf8(bytes).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_by_cached_key(|line| time(line, "receivedAt"));
    let cut = time(&lines[250], "receivedAt");
    let (first, second): (Vec<&str>, Vec<&str>) =
        lines.into_iter().partition(|line| time(line, "receivedAt") < cut);
    let happened = |line: &&str| -> String {
        let times = ["timestamp", "originalTimestamp", "receivedAt"].map(|key| time(line, key));
        times.into_iter().find(|time| !time.is_empty()).unwrap()
    };
    let newest = first.iter().map(happened).max().unwrap();
    let second: Vec<&str> = second.into_iter().filter(|line| newest < happened(line)).collect();
    assert!(100 < second.len());
    work.write("first.ndjson", first.join("\n"));
    work.write("second.ndjson", second.join("\n"));
}

/// Returns the rows of a view without the given columns, sorted.
fn view(work: &Work, folder: &str, view: &str, without: &[&str]) -> Vec<String> {
    let mut rows: Vec<String> = (work.rows(&format!("{folder}/{view}.ndjson")).into_iter())
        .map(|mut row| {
            row.as_object_mut().unwrap().retain(|column, _| !without.contains(&column.as_str()));
            row.to_string()
        })
        .collect();
    rows.sort();
    rows
}

/// Returns the text of every view in a folder or space.
fn views(work: &Work, folder: &str) -> Vec<String> {
    VIEWS.iter().map(|view| work.read(&format!("{folder}/{view}.ndjson"))).collect()
}

/// Copies tables from one folder to another.
fn export(work: &Work, from: &str, tables: &[&str], to: &str) {
    for table in tables {
        work.write(&format!("{to}/{table}.ndjson"), work.read(&format!("{from}/{table}.ndjson")));
    }
}

/// Returns the tables of a space, by name.
fn tables(work: &Work, space: &str) -> BTreeMap<String, String> {
    let manifest: Value = serde_json::from_str(&work.read(&format!("{space}/manifest.json"))).unwrap();
    let names = manifest["tables"].as_object().unwrap().keys();
    names.map(|name| (name.clone(), work.read(&format!("{space}/{name}.ndjson")))).collect()
}

/// Builds the views of a space and returns its identifiers, merged segment ids, traits and `profile_traits` rows.
fn meaning(work: &Work, space: &str) -> [BTreeSet<String>; 4] {
    run(work, &["materialize", "--space", space]);
    let rows = |name: &str, columns: &[&str]| -> BTreeSet<String> {
        let rows = work.rows(&format!("{space}/{name}.ndjson"));
        rows.iter()
            .map(|row| columns.iter().map(|c| row[c].to_string()).collect::<Vec<_>>().join(" "))
            .collect()
    };
    [
        rows("user_identifiers", &["canonical_segment_id", "type", "value"]),
        rows("profile_merges", &["canonical_segment_id", "segment_id"]),
        rows("user_traits", &["canonical_segment_id", "name", "value"]),
        view(work, space, "profile_traits", &[]).into_iter().collect(),
    ]
}
