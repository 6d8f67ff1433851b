//! The table `identity_links` in spaces without it and of earlier versions. The twin and the invariants check its rows.

use std::fs;

use serde_json::Value;

use crate::support::Work;

fn run(work: &Work, args: &[&str]) {
    work.program(args).assert().success();
}

fn track(message_id: &str, day: u32, name: &str) -> String {
    format!(
        "{{\"type\":\"track\",\"event\":\"{name}\",\"messageId\":\"{message_id}\",\"userId\":\"u{day}\",\"receivedAt\":\"2026-01-{day:02}T10:00:00Z\"}}\n"
    )
}

const WITHOUT: &str = "[sync]\nexclude_tables = [\"identity_links\"]\n";

#[test]
fn a_space_without_links_gets_them_from_its_next_run() {
    let work = Work::new();
    work.write("without.toml", WITHOUT);
    work.write("first.ndjson", track("m1", 1, "Order"));
    work.write("second.ndjson", track("m2", 2, "Order"));
    run(&work, &["ingest", "first.ndjson", "--space", "space", "--config", "without.toml"]);
    assert!(!work.path("space/identity_links.ndjson").exists());
    run(&work, &["ingest", "second.ndjson", "--space", "space"]);
    let rows = work.rows("space/identity_links.ndjson");
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["external_id_value"], "u2");
    run(&work, &["ingest", "--verify", "--space", "space"]);
}

/// Creates a space like those of earlier versions, in which an event name has the table `identity_links`.
fn space_with_such_an_event(work: &Work) {
    work.write("without.toml", WITHOUT);
    work.write("first.ndjson", track("m1", 1, "Identity Links"));
    run(work, &["ingest", "first.ndjson", "--space", "space", "--config", "without.toml"]);
    let manifest = work.read("space/manifest.json").replace("\"_identity_links\"", "\"identity_links\"");
    work.write("space/manifest.json", manifest);
    let rows = work.read("space/_identity_links.ndjson");
    work.write("space/identity_links.ndjson", rows);
    fs::remove_file(work.path("space/_identity_links.ndjson")).unwrap();
}

#[test]
fn an_event_table_with_the_name_is_kept_and_the_run_fails() {
    let work = Work::new();
    space_with_such_an_event(&work);
    let before = work.read("space/identity_links.ndjson");
    work.write("second.ndjson", track("m2", 2, "Identity Links"));
    let assert = work.program(&["ingest", "second.ndjson", "--space", "space"]).assert().code(2);
    let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(said.contains("`space/identity_links.ndjson`: it holds the rows of an event"), "{said}");
    assert!(said.contains("sync.exclude_tables = [\"identity_links\"]"), "{said}");
    assert_eq!(work.read("space/identity_links.ndjson"), before);
    run(&work, &["ingest", "second.ndjson", "--space", "space", "--config", "without.toml"]);
    assert_eq!(work.read("space/identity_links.ndjson"), before);
    assert_eq!(work.rows("space/_identity_links.ndjson").len(), 1);
}

#[test]
fn backfill_raw_skips_an_event_table_with_the_name() {
    let work = Work::new();
    space_with_such_an_event(&work);
    let assert = work.program(&["backfill", "raw", "space", "--space", "new", "--json"]).assert().success();
    let summary: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!(summary["tables_passed_over"], serde_json::json!(["identity_links", "rejected"]));
    assert!(!work.path("new/identity_links.ndjson").exists());
}
