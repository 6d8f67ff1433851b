//! `backfill events` writes rows of event tables and nothing else.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{RAW, assert_whole, meaning, refused, run, slices, tables, told};
use crate::support::Work;

const SEEDS: std::ops::Range<u64> = 400..403;

/// A date before all events of these tests.
const ALWAYS: &str = "1970-01-02";

/// Returns the rows of each event table, without the columns that depend on when a row was written.
fn event_rows(work: &Work, space: &str) -> BTreeMap<String, Vec<String>> {
    let event_tables = tables(work, space).into_keys().filter(|name| {
        !RAW.contains(&name.as_str())
            && !name.starts_with('_')
            && !["rejected", "identity_violations"].contains(&name.as_str())
    });
    let rows = |name: &String| -> Vec<String> { super::view(work, space, name, &["segment_id", "uuid_ts"]) };
    event_tables.map(|name| (name.clone(), rows(&name))).collect()
}

#[test]
fn a_table_enabled_late_gets_its_earlier_rows() {
    for seed in SEEDS {
        let work = Work::new();
        slices(&work, seed);
        run(&work, &["ingest", "first.ndjson", "second.ndjson", "--space", "all"]);
        work.write("off.toml", "[sync]\nexclude_tables = [\"pages\", \"order_completed\"]\n");
        run(&work, &["ingest", "first.ndjson", "second.ndjson", "--space", "late", "--config", "off.toml"]);
        let before = tables(&work, "late");
        assert!(!before.contains_key("pages"));
        let backfill = ["backfill", "events", "first.ndjson", "second.ndjson", "--space", "late"];
        let told =
            told(&work, &[&backfill[..], &["--tables", "pages,order_completed", "--since", ALWAYS]].concat());
        assert_eq!(event_rows(&work, "all"), event_rows(&work, "late"), "seed {seed}");
        assert!(0 < told["not_wanted"].as_u64().unwrap());
        let after = tables(&work, "late");
        for (name, text) in &before {
            assert!(after[name] == *text, "{name} changed");
        }
        assert_whole(&work, "late");
        // A backfill of all tables finds no missing rows.
        run(&work, &[&backfill[..], &["--since", ALWAYS]].concat());
        assert!(after == tables(&work, "late"));
    }
}

#[test]
fn overlapping_windows_duplicate_nothing() {
    let work = Work::new();
    slices(&work, 410);
    run(&work, &["ingest", "first.ndjson", "second.ndjson", "--space", "all"]);
    let windows = [["2026-03-01", "2026-03-20"], ["2026-03-10", "2026-03-25"], ["1970-01-02", "2030-01-01"]];
    for [since, until] in windows {
        let args =
            ["backfill", "events", "first.ndjson", "--space", "space", "--since", since, "--until", until];
        work.program(&args).arg("-q").assert().success();
        assert_whole(&work, "space");
    }
    // Events that already have rows are resolved as usual, and their rows stay.
    run(&work, &["ingest", "first.ndjson", "--space", "space"]);
    assert_whole(&work, "space");
    run(&work, &["backfill", "events", "second.ndjson", "--space", "space", "--since", ALWAYS]);
    let graph = RAW.map(|table| work.read(&format!("space/{table}.ndjson")));
    run(&work, &["backfill", "events", "second.ndjson", "--space", "space", "--since", ALWAYS]);
    assert!(graph == RAW.map(|table| work.read(&format!("space/{table}.ndjson"))));
    run(&work, &["ingest", "second.ndjson", "--space", "space"]);
    assert_whole(&work, "space");
    assert_eq!(event_rows(&work, "all"), event_rows(&work, "space"));
    assert_eq!(meaning(&work, "all"), meaning(&work, "space"));

    // The messages are accepted by now, so another file with the same events adds nothing, even without the cache.
    let text = work.read("first.ndjson") + "\n" + &work.read("second.ndjson");
    work.write("again.ndjson", text.lines().rev().collect::<Vec<_>>().join("\n"));
    let before = tables(&work, "space");
    std::fs::remove_dir_all(work.path("space/.state")).unwrap();
    let assert = work.program(&["ingest", "again.ndjson", "--space", "space", "--json"]).assert().success();
    let summary: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!(summary["accepted"], 0);
    assert!(before == tables(&work, "space"));
    assert_whole(&work, "space");
}

#[test]
fn backfilled_rows_get_later_clocks_than_existing_ones() {
    let work = Work::new();
    slices(&work, 420);
    run(&work, &["ingest", "second.ndjson", "--space", "space"]);
    run(&work, &["backfill", "events", "first.ndjson", "--space", "space", "--since", ALWAYS]);
    let clocks: Vec<String> = work
        .rows("space/pages.ndjson")
        .iter()
        .map(|row| row["uuid_ts"].as_str().unwrap().to_owned())
        .collect();
    assert!(clocks.is_sorted_by(|a, b| a < b), "{clocks:?}");
}

fn event(id: &str, received: &str, rest: &Value) -> String {
    let mut event = json!({"type": "page", "messageId": id, "receivedAt": received, "timestamp": received});
    event.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    format!("{event}\n")
}

#[test]
fn an_event_gets_the_segment_id_that_its_identifier_was_first_mapped_to() {
    let work = Work::new();
    let lines = [
        event("m1", "2026-01-01T00:00:00Z", &json!({"userId": "u"})),
        event("m2", "2026-01-02T00:00:00Z", &json!({"anonymousId": "a"})),
        event("m3", "2026-01-03T00:00:00Z", &json!({"anonymousId": "a", "userId": "u"})),
    ];
    work.write("events.ndjson", lines.concat());
    run(&work, &["ingest", "events.ndjson", "--space", "space", "--segment-ids", "sequential"]);
    let old = [
        event("o1", "2026-01-01T00:00:00Z", &json!({"anonymousId": "a"})),
        event("o2", "2026-01-01T00:00:01Z", &json!({"anonymousId": "a", "userId": "u"})),
        event("o3", "2026-01-01T00:00:02Z", &json!({"anonymousId": "b", "userId": "null"})),
        event("m2", "2026-01-02T00:00:00Z", &json!({"anonymousId": "a"})),
    ];
    work.write("old.ndjson", old.concat() + "no event\n");
    let args = ["backfill", "events", "old.ndjson", "--space", "space", "-q", "--json"];
    let assert = work.program(&args).assert().success();
    let summary: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!([&summary["written"], &summary["known"], &summary["unresolved"]], [3, 1, 1]);
    assert_eq!(summary["rejected"], json!({"not_json": 1}));
    let rows = work.rows("space/pages.ndjson");
    let stamped: Vec<_> = rows[3..].iter().map(|row| row["segment_id"].clone()).collect();
    assert_eq!(stamped, [json!("profile_2"), json!("profile_1"), Value::Null]);
    assert!(work.rows("space/rejected.ndjson").is_empty());
    assert_whole(&work, "space");
}

#[test]
fn the_default_window_is_the_two_months_before_the_newest_event() {
    let work = Work::new();
    let times =
        ["2025-12-28T09:59:59.999Z", "2025-12-28T10:00:00Z", "2026-01-15T00:00:00Z", "2026-02-28T10:00:00Z"];
    let lines: Vec<String> =
        (1..).zip(times).map(|(n, time)| event(&format!("m{n}"), time, &json!({"userId": "u"}))).collect();
    work.write("dump.ndjson", lines.concat());
    let window = |flags: &[&str]| -> Vec<String> {
        std::fs::remove_dir_all(work.path("space")).ok();
        run(&work, &[&["backfill", "events", "dump.ndjson", "--space", "space"], flags].concat());
        work.rows("space/pages.ndjson").iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(window(&[]), ["m2", "m3", "m4"]);
    assert_eq!(window(&["--until", "2026-02-28T09:59:59.999Z"]), ["m1", "m2", "m3"]);
    assert_eq!(window(&["--until", "2026-02-27"]), ["m1", "m2", "m3"]);
    assert_eq!(window(&["--since", "2026-01-01", "--until", "2026-02-01"]), ["m3"]);
    work.write("dump.ndjson", lines.concat() + &event("m5", "2026-03-15T00:00:00Z", &json!({})));
    assert_eq!(window(&[]), ["m3", "m4", "m5"]);
}

#[test]
fn the_first_duplicate_counts_even_outside_the_window() {
    let work = Work::new();
    let lines = [
        event("m1", "2026-01-01T00:00:00Z", &json!({"userId": "u"})),
        event("m1", "2026-01-20T00:00:00Z", &json!({"userId": "u"})),
        event("m1", "2026-03-20T00:00:00Z", &json!({"userId": "u"})),
        event("m1", "2026-03-21T00:00:00Z", &json!({"userId": "u", "type": "track", "event": "x"})),
    ];
    work.write("dump.ndjson", lines.concat());
    let backfill = ["backfill", "events", "dump.ndjson", "--space", "space", "--since", "2026-01-10"];
    let summary = told(&work, &backfill);
    assert_eq!([&summary["written"], &summary["duplicates"], &summary["outside_window"]], [1, 2, 1]);
    work.write("dump.ndjson", lines[3].clone());
    let summary = told(&work, &backfill);
    assert_eq!([&summary["written"], &summary["duplicates"]], [0, 1]);
}

#[test]
fn a_duplicate_does_not_make_later_events_duplicates() {
    let work = Work::new();
    let received = ["2026-01-01", "2026-01-29", "2026-02-10"];
    let lines = received.map(|day| event("m1", &format!("{day}T00:00:00Z"), &json!({"userId": "u"})));
    work.write("dump.ndjson", lines.concat());
    let window = ["backfill", "events", "dump.ndjson", "--space", "space", "--since", "2026-02-01"];
    let summary = told(&work, &window);
    assert_eq!([&summary["written"], &summary["duplicates"], &summary["outside_window"]], [1, 1, 1]);
}

#[test]
fn a_message_known_as_another_call_is_a_duplicate() {
    let day = "2026-01-01T00:00:00Z";
    let track = |name: &str| event("m1", day, &json!({"type": "track", "event": name, "userId": "u"}));
    let page = || event("m1", day, &json!({"userId": "u"}));
    // The ingested event, the event to backfill, and whether the two are different calls.
    let cases = [
        (page(), track("Order Completed"), true),
        (page(), page(), false),
        (track("Order Completed"), page(), true),
        (track("Order Completed"), track("order completed"), false),
        (track("Order Completed"), track("Order Refunded"), true),
        (track("!"), track("?"), false),
        (track("!"), track("Order Completed"), true),
    ];
    let nothing = "exclude_tables = [\"pages\", \"tracks\", \"order_*\", \"groups\"]";
    // The message is known from all tables; from raw tables only; from event tables without the event's name.
    for config in ["", nothing, "exclude_columns = [\"tracks.event*\"]"] {
        for (known, comes, is_other) in &cases {
            let work = Work::new();
            work.write("config.toml", format!("[sync]\n{config}\n"));
            work.write("known.ndjson", known.as_str());
            run(&work, &["ingest", "known.ndjson", "--space", "space", "--config", "config.toml"]);
            let tables = ["screens,groups", "tracks,order_completed,order_refunded,pages"];
            for tables in tables {
                work.write("dump.ndjson", comes.as_str());
                let args = ["backfill", "events", "dump.ndjson", "--space", "space", "--tables", tables];
                work.write(
                    "off.toml",
                    if config.contains("event*") { format!("[sync]\n{config}\n") } else { String::new() },
                );
                let assert =
                    work.program(&[&args[..], &["--config", "off.toml", "--json", "-q"]].concat()).assert();
                let summary: Value = serde_json::from_slice(&assert.success().get_output().stdout).unwrap();
                let is_other = *is_other;
                assert_eq!(
                    summary["duplicates"] == 1,
                    is_other,
                    "{config} {tables} {known} {comes} {summary}"
                );
                if is_other {
                    assert_eq!(summary["rows"], json!({}), "{known} {comes}");
                }
            }
            assert_whole(&work, "space");
        }
    }
}

#[test]
fn another_call_is_a_duplicate_only_within_the_dedupe_window() {
    let work = Work::new();
    work.write("known.ndjson", event("m1", "2026-01-01T00:00:00Z", &json!({"userId": "u"})));
    run(&work, &["ingest", "known.ndjson", "--space", "space"]);
    let screen =
        |day: &str| event("m1", &format!("{day}T00:00:00Z"), &json!({"userId": "u", "type": "screen"}));
    // A duplicate is not recorded as seen, so the event 20 days after it is accepted.
    work.write("dump.ndjson", screen("2026-01-25") + &screen("2026-02-14"));
    let args = ["backfill", "events", "dump.ndjson", "--space", "space", "--tables", "screens"];
    let summary = told(&work, &[&args[..], &["--since", "2026-02-01"]].concat());
    assert_eq!([&summary["written"], &summary["duplicates"], &summary["outside_window"]], [1, 1, 0]);
    // Duplicates are recognized before the time window is applied.
    let summary = told(&work, &[&args[..], &["--since", "2026-03-01", "--until", "2026-04-01"]].concat());
    assert_eq!([&summary["written"], &summary["duplicates"], &summary["outside_window"]], [0, 1, 1]);
    assert_whole(&work, "space");
}

#[test]
fn a_config_that_differs_from_the_last_run_is_reported() {
    let work = Work::new();
    work.write("dump.ndjson", event("m1", "2026-01-01T00:00:00Z", &json!({"userId": "u"})));
    work.write("rules.toml", "[[drop]]\ntype = [\"screen\"]\n");
    run(&work, &["ingest", "dump.ndjson", "--space", "space", "--config", "rules.toml"]);
    let backfill = |config: &[&str]| {
        let args = ["backfill", "events", "dump.ndjson", "--space", "space"];
        let assert = work.program(&[&args[..], config].concat()).assert().success();
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    assert!(!backfill(&["--config", "rules.toml"]).contains("the config changed"));
    let said = backfill(&[]);
    let note =
        "note: the config changed since the last run: `drop` was `[{ type = [\"screen\"] }]`, is not set";
    assert!(said.contains(note), "{said}");
}

#[test]
fn invalid_tables_windows_and_dumps_are_errors() {
    let work = Work::new();
    work.write("dump.ndjson", event("m1", "2026-01-01T00:00:00Z", &json!({"userId": "u"})) + "no event\n");
    let backfill = ["backfill", "events", "dump.ndjson", "--space", "space"];
    let said = refused(&work, &[&backfill[..], &["--tables", "id_graph"]].concat());
    assert!(said.contains("`id_graph` is not an event table"), "{said}");
    work.write("off.toml", "[sync]\nexclude_tables = [\"pages\"]\n");
    let said = refused(&work, &[&backfill[..], &["--tables", "pages", "--config", "off.toml"]].concat());
    assert!(said.contains("excludes `pages`"), "{said}");
    work.write("off.toml", "[sync]\nexclude_columns = [\"*.id\", \"*.event_id\"]\n");
    let said = refused(&work, &[&backfill[..], &["--config", "off.toml"]].concat());
    assert!(said.contains("cannot be identified"), "{said}");
    let window = ["--since", "2026-02-01", "--until", "2026-01-01"];
    let said = refused(&work, &[&backfill[..], &window].concat());
    assert!(said.contains("ends before it begins"), "{said}");
    let mut misspelt = work.program(&[&backfill[..], &["--tables", "oder_completed", "--dry-run"]].concat());
    let said = String::from_utf8(misspelt.assert().success().get_output().stderr.clone()).unwrap();
    assert!(said.contains("no event in the window belongs to `oder_completed`"), "{said}");
    let said = refused(&work, &[&backfill[..], &["--max-rejects", "0"]].concat());
    assert!(said.contains("1 of 2 events and lines rejected"), "{said}");
    work.write("dump.ndjson", "no event\n");
    let said = refused(&work, &backfill);
    assert!(said.contains("but no events"), "{said}");
    assert!(!work.path("space/manifest.json").exists());
}
