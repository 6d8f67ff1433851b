//! `backfill profiles` adopts a snapshot of current profiles.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{VIEWS, assert_whole, export, meaning, refused, run, slices, tables, told, view};
use crate::{invariants::Watch, support::Work};

const SEEDS: std::ops::Range<u64> = 300..304;
const OF_WAREHOUSE: [&str; 3] = ["user_identifiers", "user_traits", "profile_merges"];
const OF_VIEWS: [&str; 3] = ["external_id_mapping", "profile_traits", "id_graph"];

/// Makes a space from the first slice and copies some of its views to the folder `state`.
fn state(seed: u64, views: &[&str]) -> Work {
    let work = Work::new();
    slices(&work, seed);
    run(&work, &["ingest", "first.ndjson", "--space", "old", "--materialize"]);
    export(&work, "old", views, "state");
    work
}

/// The clocks that an adoption loses, as documented.
const LOST: [&str; 3] = ["seq", "uuid_ts", "timestamp"];

#[test]
fn any_set_of_views_comes_back_except_for_lost_clocks() {
    for seed in SEEDS {
        for views in [&VIEWS[..], &OF_WAREHOUSE, &OF_VIEWS] {
            let work = state(seed, views);
            run(&work, &["backfill", "profiles", "state", "--space", "new", "--strict"]);
            assert_whole(&work, "new");
            run(&work, &["materialize", "--space", "new"]);
            for name in VIEWS {
                let received = !views.contains(&"user_traits");
                let without =
                    if received { &["seq", "uuid_ts", "timestamp", "received_at"][..] } else { &LOST };
                let (old, new) = (view(&work, "old", name, without), view(&work, "new", name, without));
                if name == "profile_traits" && !views.contains(&name) {
                    // Only `profile_traits` has the types of values.
                    let text =
                        |rows: Vec<String>| -> Vec<Value> { rows.iter().map(|row| as_text(row)).collect() };
                    assert_eq!(text(old), text(new), "seed {seed}: {name} of {views:?}");
                } else {
                    assert_eq!(old, new, "seed {seed}: {name} of {views:?}");
                }
            }
        }
    }
}

/// Returns a row of `profile_traits` with every trait as text.
fn as_text(row: &str) -> Value {
    let mut row: Value = serde_json::from_str(row).unwrap();
    for value in row.as_object_mut().unwrap().values_mut() {
        if !value.is_string() && !value.is_null() {
            *value = value.to_string().into();
        }
    }
    row
}

#[test]
fn inferred_rows_have_the_documented_clocks_and_are_older_than_live_ones() {
    let work = state(310, &VIEWS);
    run(&work, &["backfill", "profiles", "state", "--space", "new"]);
    run(&work, &["ingest", "second.ndjson", "--space", "new"]);
    let newest =
        work.rows("state/user_identifiers.ndjson").iter().map(|row| row["uuid_ts"].to_string()).max();
    let mut seqs = BTreeSet::new();
    let mut clocks = BTreeSet::new();
    let mut live = BTreeSet::new();
    for table in super::RAW {
        for row in work.rows(&format!("new/{table}.ndjson")) {
            if !row["timestamp"].is_null() {
                live.insert(row["seq"].to_string());
                continue;
            }
            for (column, value) in row.as_object().unwrap() {
                assert!(!column.starts_with("triggering_event_") || value.is_null(), "{column} in {row}");
            }
            assert!(seqs.insert(row["seq"].to_string()), "{row}");
            assert!(clocks.insert(row["uuid_ts"].to_string()), "{row}");
        }
    }
    assert!(newest.as_ref() < clocks.first());
    assert!(seqs.last() < live.first());
    let number = |seq: &String| seq.trim_matches('"').parse::<usize>().unwrap();
    assert_eq!(seqs.iter().map(number).collect::<Vec<_>>(), (1..=seqs.len()).collect::<Vec<_>>());
}

#[test]
fn later_runs_give_the_profiles_of_the_original_space() {
    for seed in SEEDS {
        for views in [&VIEWS[..], &OF_WAREHOUSE] {
            let work = state(seed, views);
            run(&work, &["backfill", "profiles", "state", "--space", "new"]);
            if seed % 2 == 0 {
                // Losing the state cache changes nothing.
                std::fs::remove_dir_all(work.path("new/.state")).unwrap();
                run_with_notice(&work, &["ingest", "second.ndjson", "--space", "new"]);
            } else {
                run(&work, &["ingest", "second.ndjson", "--space", "new"]);
            }
            run(&work, &["ingest", "second.ndjson", "--space", "old"]);
            assert_whole(&work, "new");
            Watch::default().after_run(&work.path("new"));
            let [old, new] = ["old", "new"].map(|space| meaning(&work, space));
            assert!(60 < old[0].len(), "{}", old[0].len());
            assert_eq!(old[..3], new[..3], "seed {seed}, {views:?}");
            if views.len() == 6 {
                assert_eq!(old[3], new[3], "seed {seed}");
            }
        }
    }
}

fn run_with_notice(work: &Work, args: &[&str]) {
    work.program(args).assert().success();
}

#[test]
fn adopting_twice_changes_nothing_even_between_runs() {
    let work = state(320, &VIEWS);
    let backfill = ["backfill", "profiles", "state", "--space", "new"];
    run(&work, &backfill);
    let before = (tables(&work, "new"), work.read("new/manifest.json"));
    run(&work, &backfill);
    assert!(before == (tables(&work, "new"), work.read("new/manifest.json")));
    run(&work, &["ingest", "second.ndjson", "--space", "new"]);
    let before = tables(&work, "new");
    run(&work, &[&backfill[..], &["--strict"]].concat());
    assert!(before == tables(&work, "new"));
    // The original space knows everything in the snapshot.
    let before = tables(&work, "old");
    let told = told(&work, &["backfill", "profiles", "state", "--space", "old", "--strict"]);
    assert_eq!(told["rows"], json!({}));
    assert!(before == tables(&work, "old"));
}

/// Returns rows as NDJSON.
fn rows(rows: &[Value]) -> String {
    rows.iter().flat_map(|row| [row.to_string(), "\n".to_owned()]).collect()
}

const JANE: &str = r#"{"type":"identify","messageId":"m1","userId":"jane","traits":{"plan":"pro"},"timestamp":"2026-01-05T10:00:00Z"}"#;

/// Makes a space in which jane is `profile_1`.
fn with_jane() -> Work {
    let work = Work::new();
    work.write("jane.ndjson", JANE);
    run(&work, &["ingest", "jane.ndjson", "--space", "space", "--segment-ids", "sequential"]);
    work
}

fn reasons(work: &Work) -> Vec<String> {
    let rows = work.rows("space/backfill_conflicts.ndjson");
    rows.iter()
        .map(|row| format!("{} {}", row["table"].as_str().unwrap(), row["reason"].as_str().unwrap()))
        .collect()
}

/// Adopts a snapshot of these rows and returns the table and reason of each conflict. Also checks that `--strict` fails
/// and that a second adoption adds nothing.
fn conflicts(work: &Work, identifiers: &[Value], others: &[(&str, &[Value])]) -> Vec<String> {
    work.write("state/user_identifiers.ndjson", rows(identifiers));
    for (table, of_table) in others {
        work.write(&format!("state/{table}.ndjson"), rows(of_table));
    }
    let backfill = ["backfill", "profiles", "state", "--space", "space"];
    let before = tables(work, "space");
    let said = refused(work, &[&backfill[..], &["--strict"]].concat());
    assert!(said.contains(" conflict") && said.contains("hint: "), "{said}");
    assert!(before == tables(work, "space"), "`--strict` committed something");
    let summary = told(work, &backfill);
    assert_whole(work, "space");
    let before = tables(work, "space");
    // A file with another digest but the same rows: everything is known or already recorded as a conflict.
    work.write("state/user_identifiers.ndjson", format!("{}\n", rows(identifiers)));
    assert_eq!(told(work, &backfill)["rows"], json!({}));
    assert!(before == tables(work, "space"), "a conflict was recorded twice");
    let reasons = reasons(work);
    assert_eq!(summary["rows"]["backfill_conflicts"].as_u64().unwrap(), reasons.len() as u64);
    reasons
}

fn mapping(id: &str, kind: &str, value: &str) -> Value {
    json!({"canonical_segment_id": id, "type": kind, "value": value})
}

fn of_trait(id: &str, name: &str, value: &str) -> Value {
    json!({"canonical_segment_id": id, "name": name, "value": value})
}

fn merge(segment: &str, id: &str) -> Value {
    json!({"canonical_segment_id": id, "segment_id": segment})
}

#[test]
fn an_identifier_of_another_profile_stays_there() {
    let work = with_jane();
    let found = conflicts(
        &work,
        &[mapping("use_a", "user_id", "jane"), mapping("use_a", "email", "jane@shop.example")],
        &[("profile_merges", &[merge("profile_1", "use_b")])],
    );
    assert_eq!(found, ["profile_merges segment_elsewhere", "user_identifiers identifier_elsewhere"]);
    let row = &work.rows("space/backfill_conflicts.ndjson")[1];
    assert_eq!(row["detail"], "user_id \"jane\" belongs to \"profile_1\" here, not to \"use_a\"");
    assert_eq!(row["text"], mapping("use_a", "user_id", "jane").to_string());
    let identifiers = &meaning(&work, "space")[0];
    assert!(identifiers.contains(r#""profile_1" "user_id" "jane""#), "{identifiers:?}");
    assert!(identifiers.contains(r#""use_a" "email" "jane@shop.example""#), "{identifiers:?}");
}

#[test]
fn an_unrelated_profile_with_the_same_segment_id_is_a_conflict() {
    let work = with_jane();
    let found = conflicts(
        &work,
        &[mapping("profile_1", "user_id", "kim"), mapping("use_b", "user_id", "lou")],
        &[
            ("profile_merges", &[merge("profile_1", "profile_1"), merge("profile_7", "profile_1")]),
            ("user_traits", &[of_trait("profile_1", "city", "Kyoto"), of_trait("use_b", "city", "Bonn")]),
        ],
    );
    let taken = "segment_id_taken";
    let tables = ["profile_merges", "profile_merges", "user_identifiers", "user_traits"];
    assert_eq!(found, tables.map(|table| format!("{table} {taken}")));
    let [identifiers, merges, traits, _] = meaning(&work, "space");
    assert_eq!(identifiers.len(), 2, "{identifiers:?}");
    assert_eq!(merges.len(), 2, "{merges:?}");
    assert_eq!(traits.len(), 2, "{traits:?}");
}

#[test]
fn existing_traits_stay_and_new_ones_are_added() {
    let work = with_jane();
    let found = conflicts(
        &work,
        &[mapping("profile_1", "user_id", "jane"), mapping("profile_1", "email", "j@shop.example")],
        &[(
            "user_traits",
            &[
                of_trait("profile_1", "plan", "free"),
                of_trait("profile_1", "City", "Kyoto"),
                of_trait("profile_1", "!", "x"),
                of_trait("profile_1", "city", "Osaka"),
            ],
        )],
    );
    assert_eq!(
        found,
        ["user_traits trait_differs", "user_traits older_row", "user_traits trait_without_name"]
    );
    let traits = &meaning(&work, "space")[2];
    let expected = [r#""profile_1" "city" "Osaka""#, r#""profile_1" "plan" "pro""#].map(str::to_owned);
    assert_eq!(*traits, BTreeSet::from(expected));
    // An event changes one trait; the other stays.
    work.write("more.ndjson", JANE.replace("m1", "m2").replace("plan", "city").replace("pro", "Nara"));
    run(&work, &["ingest", "more.ndjson", "--space", "space", "--segment-ids", "sequential"]);
    assert_whole(&work, "space");
    let traits = &meaning(&work, "space")[2];
    let expected = [r#""profile_1" "city" "Nara""#, r#""profile_1" "plan" "pro""#].map(str::to_owned);
    assert_eq!(*traits, BTreeSet::from(expected));
}

#[test]
fn adopted_profiles_are_always_older_than_live_ones() {
    let work = with_jane();
    work.write(
        "state/user_identifiers.ndjson",
        rows(&[mapping("use_b", "anonymous_id", "b"), mapping("use_a", "anonymous_id", "a")]),
    );
    run(&work, &["backfill", "profiles", "state", "--space", "space"]);
    assert_whole(&work, "space");
    let meet = |id: &str, anonymous: &str, user: &str| {
        format!(
            "{{\"type\":\"page\",\"messageId\":\"{id}\",\"anonymousId\":\"{anonymous}\",\"userId\":\"{user}\",\"timestamp\":\"2026-02-01\"}}\n"
        )
    };
    work.write("meet.ndjson", meet("m2", "b", "jane"));
    work.write("again.ndjson", meet("m3", "a", "jane"));
    let style = ["--segment-ids", "sequential"];
    run(&work, &[&["ingest", "meet.ndjson", "--space", "space"][..], &style].concat());
    std::fs::remove_dir_all(work.path("space/.state")).unwrap();
    run_with_notice(&work, &[&["ingest", "again.ndjson", "--space", "space"][..], &style].concat());
    assert_whole(&work, "space");
    let merges = &meaning(&work, "space")[1];
    // Without clocks the order of ids decides.
    let expected = ["use_a", "use_b", "profile_1"].map(|id| format!("\"use_a\" \"{id}\""));
    assert_eq!(*merges, BTreeSet::from(expected));
}

#[test]
fn warehouse_spellings_of_names_and_times_are_read() {
    let work = Work::new();
    work.write(
        "state/USER_IDENTIFIERS/part-1.json",
        concat!(
            r#"{"CANONICAL_SEGMENT_ID":"use_b","TYPE":"EMAIL","VALUE":"b@shop.example","SEQ":12,"#,
            r#""RECEIVED_AT":"2026-01-02 03:04:05.678 UTC","UUID_TS":1767323045678,"_FIVETRAN_SYNCED":"x"}"#
        ),
    );
    work.write("state/USER_IDENTIFIERS/part-2.json", rows(&[mapping("use_a", "user_id", "a")]));
    work.write(
        "state/PROFILE_TRAITS.JSONL",
        r#"{"CANONICAL_SEGMENT_ID":"use_b","PLAN":"pro","VISITS":3,"MERGED_TO":""}"#,
    );
    let summary = told(&work, &["backfill", "profiles", "state", "--space", "space"]);
    assert_eq!(summary["tables_used"], json!(["user_identifiers", "profile_traits"]));
    assert_eq!(summary["tables_missing"].as_object().unwrap().len(), 4);
    let cost = summary["tables_missing"]["user_traits"].as_str().unwrap();
    assert!(cost.contains("received_at"), "{cost}");
    assert_whole(&work, "space");
    run(&work, &["materialize", "--space", "space"]);
    let row = &work.rows("space/external_id_mapping.ndjson")[1];
    assert_eq!(row["external_id_type"], "email");
    assert_eq!(work.rows("space/user_identifiers.ndjson")[1]["received_at"], "2026-01-02T03:04:05.678Z");
    let traits = &work.rows("space/profile_traits.ndjson")[1];
    assert_eq!(
        *traits,
        json!({"canonical_segment_id": "use_b", "plan": "pro", "visits": 3, "merged_to": null})
    );
}

#[test]
fn an_unusable_snapshot_is_an_error() {
    let work = Work::new();
    work.write("state/user_traits.ndjson", "");
    let said = refused(&work, &["backfill", "profiles", "state", "--space", "space"]);
    assert!(said.contains("user_identifiers") && said.contains("hint: "), "{said}");
    work.write("state/user_identifiers.ndjson", "{\"type\":\"email\"}\n");
    let said = refused(&work, &["backfill", "profiles", "state", "--space", "space"]);
    assert!(said.contains("user_identifiers.ndjson:1: "), "{said}");
    work.write("state/user_identifiers.ndjson", "");
    work.write("state/id_graph.ndjson", rows(&[merge("a", "b"), merge("b", "a")]));
    let said = refused(&work, &["backfill", "profiles", "state", "--space", "space"]);
    assert!(said.contains("`a` -> `b` -> `a`"), "{said}");
    assert!(!work.path("space/manifest.json").exists());
}

#[test]
fn adopted_identifiers_count_only_in_limits_that_last_forever() {
    for (window, is_full) in [("ever", true), ("daily", false), ("annually", false)] {
        let work = Work::new();
        let emails = ["1", "2"].map(|n| mapping("use_a", "email", &format!("{n}@shop.example")));
        work.write(
            "state/user_identifiers.ndjson",
            rows(&emails) + &rows(&[mapping("use_a", "user_id", "jane")]),
        );
        run(&work, &["backfill", "profiles", "state", "--space", "space"]);
        work.write(
            "space/profiles-sync.toml",
            format!("[identity.types.email]\nlimit = 2\nwindow = \"{window}\"\n"),
        );
        work.write("more.ndjson", JANE.replace("\"plan\"", "\"email\"").replace("pro", "3@shop.example"));
        run(&work, &["ingest", "more.ndjson", "--space", "space"]);
        assert_whole(&work, "space");
        let identifiers = meaning(&work, "space")[0].len();
        assert_eq!(identifiers, if is_full { 3 } else { 4 }, "{window}");
    }
}

#[test]
fn profile_traits_alone_is_enough_to_find_merges() {
    let work = Work::new();
    work.write(
        "state/external_id_mapping.ndjson",
        r#"{"canonical_segment_id":"use_a","external_id_type":"email","external_id_value":"a"}"#,
    );
    let old = json!({"canonical_segment_id": "use_b", "plan": "old", "merged_to": "use_a"});
    let survivor = json!({"canonical_segment_id": "use_a", "plan": "pro", "merged_to": null});
    work.write("state/profile_traits.ndjson", rows(&[old, survivor]));
    run(&work, &["backfill", "profiles", "state", "--space", "space", "--strict"]);
    let [_, merges, traits, _] = meaning(&work, "space");
    assert_eq!(merges, ["use_a", "use_b"].map(|id| format!("\"use_a\" \"{id}\"")).into());
    assert_eq!(traits, BTreeSet::from([r#""use_a" "plan" "pro""#.to_owned()]));
}

#[test]
fn values_known_only_as_text_equal_typed_ones() {
    let work = Work::new();
    work.write(
        "events.ndjson",
        r#"{"type":"identify","messageId":"m1","userId":"u","traits":{"age":5,"vip":true,"list":[1,2],"zip":"01","big":12.50},"timestamp":"2026-01-01T00:00:00Z"}"#,
    );
    run(&work, &["ingest", "events.ndjson", "--space", "space", "--materialize"]);
    export(&work, "space", &OF_WAREHOUSE, "texts");
    run(&work, &["backfill", "profiles", "texts", "--space", "space", "--strict"]);
    // The types in `profile_traits` count, however a warehouse formats numbers.
    export(&work, "space", &VIEWS, "typed");
    let floats = work.read("typed/profile_traits.ndjson").replace("\"age\":5", "\"age\":5.0");
    work.write("typed/profile_traits.ndjson", floats.replace("12.50", "12.5"));
    run(&work, &["backfill", "profiles", "typed", "--space", "space", "--strict"]);
    let texts = work.read("typed/profile_traits.ndjson").replace("\"01\"", "1");
    work.write("typed/profile_traits.ndjson", texts);
    // With `user_traits`, which has clocks, the changed row would only count as older.
    std::fs::remove_file(work.path("typed/user_traits.ndjson")).unwrap();
    let said = refused(&work, &["backfill", "profiles", "typed", "--space", "space", "--strict"]);
    assert!(said.contains("trait `zip`"), "{said}");
}

#[test]
fn views_older_than_their_space_are_reported() {
    let work = Work::new();
    slices(&work, 300);
    run(&work, &["ingest", "first.ndjson", "--space", "old", "--materialize"]);
    run(&work, &["ingest", "second.ndjson", "--space", "old"]);
    let assert = work.program(&["backfill", "profiles", "old", "--space", "new"]).assert().success();
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(
        said.contains("note: `id_graph` in `old` reflects run 1, the raw tables are at run 2: "),
        "{said}"
    );
}
