//! Keys resist forged collisions, and duplicates are found even if the state cache is lost.

use std::fs;

use serde_json::Value;

use crate::support::{Work, project_text};

/// Runs a command that must succeed and returns what it wrote to standard error.
fn run(work: &Work, args: &[&str]) -> String {
    let assert = work.program(args).assert().success();
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

fn summary(work: &Work, args: &[&str]) -> Value {
    let assert = work.program(args).assert().success();
    serde_json::from_slice(&assert.get_output().stdout).unwrap()
}

fn page(message_id: &str, day: u32) -> String {
    format!(
        "{{\"type\":\"page\",\"messageId\":\"{message_id}\",\"userId\":\"u{day}\",\"receivedAt\":\"2026-01-{day:02}T10:00:00Z\"}}\n"
    )
}

fn track(message_id: &str, day: u32) -> String {
    page(message_id, day).replace("\"page\"", "\"track\",\"event\":\"Order\"")
}

#[test]
fn user_ids_forged_to_collide_stay_separate_profiles() {
    let work = Work::new();
    work.write("events.ndjson", project_text("fixtures/colliding/ids.ndjson"));
    run(&work, &["ingest", "events.ndjson", "--space", "space"]);
    assert_eq!(work.rows("space/id_graph_updates.ndjson").len(), 8);
    run(&work, &["ingest", "--verify", "--space", "space"]);
    // They also stay eight when the state is rebuilt from the tables.
    fs::remove_dir_all(work.path("space/.state")).unwrap();
    run(&work, &["materialize", "--space", "space"]);
    assert_eq!(work.rows("space/profile_traits.ndjson").len(), 8);
    assert_eq!(work.rows("space/user_identifiers.ndjson").len(), 8);
}

#[test]
fn a_file_forged_to_collide_with_an_ingested_one_is_read() {
    let work = Work::new();
    let pair = project_text("fixtures/colliding/files.ndjson");
    for (name, line) in ["a.ndjson", "b.ndjson"].into_iter().zip(pair.lines()) {
        work.write(name, line.to_owned() + "\n");
    }
    for (number, name) in (1..).zip(["a.ndjson", "b.ndjson"]) {
        let summary = summary(&work, &["ingest", name, "--space", "space", "--json"]);
        assert_eq!((&summary["files"], &summary["accepted"]), (&1.into(), &1.into()), "{number}");
    }
    let skipped = summary(&work, &["ingest", "a.ndjson", "--space", "space", "--json"]);
    assert_eq!(skipped["files_skipped"], serde_json::json!(["a.ndjson"]));
}

/// Configs that exclude the tables or columns in which message ids are stored.
const LEFT_OUT: [&str; 5] = [
    "[sync]\nexclude_tables = [\"pages\", \"tracks\", \"order\", \"identity_violations\"]\n",
    "[sync]\ntables = [\"identify*\"]\n",
    "[sync]\nexclude_columns = [\"*.id\"]\n",
    "[sync]\nexclude_columns = [\"pages.received_at\", \"tracks.received_at\"]\n",
    "[sync]\nexclude_tables = [\"tracks\"]\n",
];

#[test]
fn duplicates_are_found_without_state_and_without_event_tables() {
    let first = [page("m1", 1), track("m2", 2), page("m3", 3)].concat();
    let second = [page("m4", 4), track("m5", 5)].concat();
    for rules in LEFT_OUT {
        for compress in [&[][..], &["--compress", "zstd"]] {
            let work = Work::new();
            work.write("rules.toml", rules);
            work.write("first.ndjson", &first);
            work.write("second.ndjson", &second);
            work.write("all.ndjson", format!("{second}{first}"));
            let ingest = |input: &str| {
                let args = ["ingest", input, "--space", "space", "--config", "rules.toml", "--json"];
                summary(&work, &[&args, compress].concat())
            };
            assert_eq!(ingest("first.ndjson")["accepted"], 3);
            assert_eq!(ingest("second.ndjson")["accepted"], 2);
            run(&work, &["ingest", "--verify", "--space", "space"]);
            let copied = fs::read(work.path("space/.run/messages")).unwrap();
            fs::remove_dir_all(work.path("space/.state")).unwrap();
            let again = ingest("all.ndjson");
            assert_eq!((&again["accepted"], &again["duplicates"]), (&0.into(), &5.into()), "{rules}");
            run(&work, &["ingest", "--verify", "--space", "space"]);
            assert_eq!(fs::read(work.path("space/.run/messages")).unwrap(), copied);
            // A space that adopts these raw tables finds the duplicates too.
            run(&work, &["backfill", "raw", "space", "--space", "adopted"]);
            for _ in 0..2 {
                let adopted = ["ingest", "all.ndjson", "--space", "adopted", "--again"];
                let adopted = summary(&work, &[&adopted[..], &["--config", "rules.toml", "--json"]].concat());
                assert_eq!((&adopted["accepted"], &adopted["duplicates"]), (&0.into(), &5.into()), "{rules}");
                fs::remove_dir_all(work.path("adopted/.state")).unwrap();
            }
        }
    }
}

#[test]
fn a_missing_messages_file_is_an_error_that_names_it() {
    let work = Work::new();
    work.write("rules.toml", LEFT_OUT[0]);
    work.write("first.ndjson", page("m1", 1));
    work.write("second.ndjson", page("m2", 2));
    let ingest = |input: &'static str| {
        work.program(&["ingest", input, "--space", "space", "--config", "rules.toml"]).assert()
    };
    ingest("first.ndjson").success();
    fs::remove_file(work.path("space/.run/messages")).unwrap();
    let assert = ingest("second.ndjson").code(2);
    let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(said.contains("`space/.run/messages`") && said.contains("hint: restore it"), "{said}");
}

#[test]
fn a_space_that_has_lost_message_ids_is_an_error() {
    let work = Work::new();
    work.write("rules.toml", LEFT_OUT[0]);
    work.write("first.ndjson", [page("m1", 1), page("m2", 1), track("m3", 1)].concat());
    work.write("second.ndjson", page("m4", 2));
    let ingest = |input: &'static str| {
        work.program(&["ingest", input, "--space", "space", "--config", "rules.toml"]).assert()
    };
    ingest("first.ndjson").success();
    // The space as an earlier version of the program left it: without kept messages and without a usable state. The
    // first event created a profile, so a row has its id; the other two are in no table.
    let mut manifest: Value = serde_json::from_str(&work.read("space/manifest.json")).unwrap();
    let keys = manifest.as_object_mut().unwrap();
    for key in ["kept_messages", "newest", "secret"] {
        assert!(keys.remove(key).is_some(), "{key}");
    }
    keys.insert("format".to_owned(), 1.into());
    keys["runs"][0].as_object_mut().unwrap().remove("after");
    work.write("space/manifest.json", manifest.to_string());
    fs::remove_dir_all(work.path("space/.state")).unwrap();
    let assert = ingest("second.ndjson").code(2);
    let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(said.contains("2 accepted events are in no table with `id` and `received_at`"), "{said}");
    assert!(said.contains("hint: ingest all dumps again into a new space"), "{said}");
    run(&work, &["materialize", "--space", "space"]);
}

#[test]
fn late_events_are_counted_and_reported() {
    let work = Work::new();
    work.write("day2.ndjson", [page("m2", 2), page("m3", 3)].concat());
    work.write("day1.ndjson", [page("m1", 1), page("m2", 2), page("m4", 3), page("m0", 3)].concat());
    let ingest = |input: &str| summary(&work, &["ingest", input, "--space", "space", "--json"]);
    assert_eq!(ingest("day2.ndjson")["late"], 0);
    // `m1` arrived a day before `m3`; `m0` arrived at the same time as `m3` and has a smaller id; `m2` is a duplicate.
    let late = ingest("day1.ndjson");
    assert_eq!((&late["accepted"], &late["late"]), (&3.into(), &2.into()));
    work.write("day1-again.ndjson", page("m7", 1));
    let said = run(&work, &["ingest", "day1-again.ndjson", "--space", "space", "--quiet"]);
    assert!(said.contains("warning: 1 event is late: "), "{said}");
    assert!(said.contains("a single run over all events may give another graph"), "{said}");
    // In a space of an earlier version, the arrival of the newest event is found without `newest`.
    let mut manifest: Value = serde_json::from_str(&work.read("space/manifest.json")).unwrap();
    manifest.as_object_mut().unwrap().remove("newest");
    work.write("space/manifest.json", manifest.to_string());
    work.write("later.ndjson", [page("m8", 2), page("m9", 3), page("m10", 4)].concat());
    assert_eq!(ingest("later.ndjson")["late"], 1);
    work.write("more.ndjson", [page("m11", 3), page("m12", 4)].concat());
    assert_eq!(ingest("more.ndjson")["late"], 1);
}
