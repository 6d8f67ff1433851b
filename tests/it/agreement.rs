//! The program and the twin, a plain reference implementation, make the same tables from the same dump.

use std::{collections::BTreeMap, fs};

use crate::{
    dump::{self, Knobs},
    support::{
        Work, names_in, project,
        tree::{self, Tree},
    },
    twin::{
        Input, Space,
        rules::{Rules, SegmentIds},
    },
};

/// Returns the twin's tables as files. An empty table has no file.
fn files(tables: &BTreeMap<String, String>) -> Tree {
    tables
        .iter()
        .filter(|(_, rows)| !rows.is_empty())
        .map(|(table, rows)| (format!("{table}.ndjson").into(), rows.as_bytes().to_vec()))
        .collect()
}

fn agree(name: &str, bytes: &[u8]) {
    let work = Work::new();
    work.write("events.ndjson", bytes);
    let args =
        ["ingest", "events.ndjson", "--space", "space", "--segment-ids", "sequential", "--materialize"];
    work.program(&args).args(["--max-rejects", "100%", "-q"]).assert().success();
    assert_twin_agrees(name, &work, "space", bytes);
}

/// Asserts that the tables and views of a space are those that the twin makes from the same `events.ndjson`.
pub(crate) fn assert_twin_agrees(name: &str, work: &Work, space: &str, bytes: &[u8]) {
    let mut twin = Space::new();
    let rules = Rules { segment_ids: SegmentIds::Sequential, ..Rules::default() };
    twin.ingest(&[Input { name: "events.ndjson", source: None, bytes }], &rules);
    let mut expected = files(twin.tables());
    expected.extend(files(&twin.views(None)));
    let mut actual = tree::read(&work.path(space));
    // The twin records violations in another format.
    actual.retain(|path, rows| !rows.is_empty() && !path.starts_with("identity_violations.ndjson"));
    // The column `detail` is text for people, and its wording is not specified.
    for tree in [&mut expected, &mut actual] {
        if let Some(rows) = tree.get_mut("rejected.ndjson".as_ref() as &std::path::Path) {
            *rows = without_detail(rows);
        }
    }
    let differences = tree::differences(&expected, &actual);
    assert!(differences.is_empty(), "{name}\n{differences}");
}

fn without_detail(rows: &[u8]) -> Vec<u8> {
    let mut out = String::new();
    for line in String::from_utf8_lossy(rows).lines() {
        let mut row: serde_json::Map<_, _> = serde_json::from_str(line).unwrap();
        row.remove("detail");
        out.push_str(&serde_json::to_string(&row).unwrap());
        out.push('\n');
    }
    out.into_bytes()
}

#[test]
fn generated_dumps_give_the_same_tables() {
    for seed in 300..330 {
        let mut bytes = Vec::new();
        dump::write(Knobs { events: 150, seed, days: 5, malformed: 2.0, changes: 10.0 }, &mut bytes).unwrap();
        agree(&format!("seed {seed}"), &bytes);
    }
}

#[test]
fn golden_cases_of_one_plain_file_give_the_same_tables() {
    for case in names_in(&project("fixtures/cases")) {
        let folder = project("fixtures/cases").join(&case).join("in");
        if let Ok(bytes) = fs::read(folder.join("events.ndjson"))
            && case != "gzip-input"
        {
            agree(&case, &bytes);
        }
    }
}
