//! `backfill raw` makes a space from the raw tables of an export.

use std::fs;

use serde_json::{Value, json};

use super::{RAW, VIEWS, assert_whole, meaning, refused, run, slices, tables, told, views};
use crate::{materialize::random, support::Work};

const SEEDS: std::ops::Range<u64> = 500..503;

/// Returns the tables of a space that an adoption copies.
fn adopted(work: &Work, space: &str) -> Vec<(String, String)> {
    tables(work, space).into_iter().filter(|(name, _)| name != "rejected").collect()
}

#[test]
fn our_tables_are_adopted_byte_for_byte_and_later_runs_continue() {
    for seed in SEEDS {
        let work = Work::new();
        slices(&work, seed);
        run(&work, &["ingest", "first.ndjson", "--space", "old"]);
        for (name, text) in tables(&work, "old") {
            work.write(&format!("export/{name}.ndjson"), text);
        }
        let summary = told(&work, &["backfill", "raw", "export", "--space", "new", "--strict"]);
        assert_eq!(summary["as_views"], false);
        assert_eq!(summary["tables_passed_over"], json!(["rejected"]));
        assert_whole(&work, "new");
        assert_eq!(adopted(&work, "old"), adopted(&work, "new"));
        if seed % 2 == 0 {
            fs::remove_dir_all(work.path("new/.state")).unwrap();
        }
        // The file is new, but the messages of the first slice are known.
        let text = work.read("first.ndjson") + "\n" + &work.read("second.ndjson");
        work.write("again.ndjson", text);
        work.program(&["ingest", "again.ndjson", "--space", "new"]).assert().success();
        run(&work, &["ingest", "second.ndjson", "--space", "old"]);
        assert_whole(&work, "new");
        assert!(adopted(&work, "old") == adopted(&work, "new"), "seed {seed}");
    }
}

#[test]
fn only_committed_rows_of_a_space_are_adopted() {
    let work = Work::new();
    slices(&work, 510);
    run(&work, &["ingest", "first.ndjson", "--space", "old"]);
    let committed = adopted(&work, "old");
    let torn = work.read("old/pages.ndjson") + "{\"torn\":";
    work.write("old/pages.ndjson", torn);
    run(&work, &["backfill", "raw", "old", "--space", "new"]);
    assert!(committed == adopted(&work, "new"));
    assert_whole(&work, "new");
}

#[test]
fn profiles_adopted_before_the_export_stay_the_oldest() {
    let work = Work::new();
    slices(&work, 520);
    run(&work, &["ingest", "first.ndjson", "--space", "a", "--materialize"]);
    super::export(&work, "a", &VIEWS, "state");
    run(&work, &["ingest", "second.ndjson", "--space", "b"]);
    work.program(&["backfill", "profiles", "state", "--space", "b", "-q"]).assert().success();
    run(&work, &["backfill", "raw", "b", "--space", "c"]);
    work.write(
        "other/user_identifiers.ndjson",
        json!({"canonical_segment_id": "use_x", "type": "email", "value": "x@other.example"}).to_string(),
    );
    for space in ["b", "c"] {
        run(&work, &["backfill", "profiles", "other", "--space", space]);
        assert_whole(&work, space);
        fs::remove_dir_all(work.path(space).join(".state")).unwrap();
        work.program(&["ingest", "first.ndjson", "--space", space]).assert().success();
        assert_whole(&work, space);
    }
    assert_eq!(meaning(&work, "b"), meaning(&work, "c"));
}

/// Returns identify events whose identifiers may occur in a random export.
fn live(n: u64) -> String {
    let kinds =
        [("userId", "x"), ("userId", "12"), ("userId", "y"), ("anonymousId", "live"), ("userId", "bc")];
    let events = kinds.iter().enumerate().map(|(at, (kind, value))| {
        let traits =
            json!({"plan": format!("live {n}"), "email": if at == 1 { "x" } else { "live@shop.example" }});
        json!({
            "type": "identify", "messageId": format!("live-{n}-{at}"), "traits": traits, *kind: value,
            "timestamp": format!("2026-01-01T00:00:{at:02}Z"),
        })
        .to_string()
    });
    events.collect::<Vec<_>>().join("\n")
}

#[test]
fn random_exports_keep_their_views_and_later_runs_continue() {
    let mut n_as_views = 0;
    for seed in 0..24 {
        let mut random = random::Random::new(seed);
        let export = random::tables(&mut random);
        let work = Work::new();
        random::write(&mut random, &export, &work.path("export"));
        run(&work, &["materialize", "--raw", "export", "--out", "expected"]);
        let summary = told(&work, &["backfill", "raw", "export", "--space", "space"]);
        n_as_views += u64::from(summary["as_views"] == true);
        assert_whole(&work, "space");
        run(&work, &["materialize", "--space", "space"]);
        let expected = views(&work, "expected");
        assert_eq!(expected, views(&work, "space"), "seed {seed}");

        // Events resolve to the profiles in the views.
        work.write("live.ndjson", live(seed));
        let owner = |kind: &str, value: &str| -> Option<Value> {
            let rows = work.rows("expected/user_identifiers.ndjson");
            let row = rows.iter().find(|row| row["type"] == kind && row["value"] == value)?;
            Some(row["canonical_segment_id"].clone())
        };
        let known = ["x", "12", "y", "live", "bc"].map(|value| owner("user_id", value));
        run(&work, &["ingest", "live.ndjson", "--space", "space"]);
        assert_whole(&work, "space");
        let rows = work.rows("space/identifies.ndjson");
        if let Some(first) = &known[0] {
            assert!(rows[0]["segment_id"].is_string(), "seed {seed}");
            let email = owner("email", "live@shop.example");
            assert!(email.is_some() || rows[0]["segment_id"] == *first, "seed {seed}: {} {first}", rows[0]);
        }
        let before = tables(&work, "space");
        fs::remove_dir_all(work.path("space/.state")).unwrap();
        work.write("again.ndjson", live(seed) + "\n");
        work.program(&["ingest", "again.ndjson", "--space", "space"]).assert().success();
        assert!(before == tables(&work, "space"), "seed {seed}");
        assert_whole(&work, "space");
        run(&work, &["materialize", "--space", "space"]);
    }
    assert!(10 < n_as_views, "{n_as_views}");
}

#[test]
fn event_tables_of_a_warehouse_are_recognized_with_their_messages() {
    let work = Work::new();
    work.write(
        "export/EXTERNAL_ID_MAPPING_UPDATES.json",
        r#"{"EXTERNAL_ID_TYPE":"user_id","EXTERNAL_ID_VALUE":"jane","SEGMENT_ID":"use_a","SEQ":7,"UUID_TS":"2026-01-01 00:00:00 UTC"}"#,
    );
    work.write("export/pages/1.json", r#"{"ID":"m1","RECEIVED_AT":1767225600000,"USER_ID":"jane"}"#);
    work.write(
        "export/order_completed.json",
        r#"{"EVENT_ID":"m2","RECEIVED_AT":"2026-01-01 00:00:00","EVENT":"order_completed"}"#,
    );
    work.write(
        "export/tracks.json",
        r#"{"EVENT_ID":"m2","RECEIVED_AT":"2026-01-01 00:00:00","EVENT":"order_completed"}"#,
    );
    work.write("export/users.json", r#"{"ID":"jane","RECEIVED_AT":"2026-01-01 00:00:00","EVENT":"x"}"#);
    let said = refused(&work, &["backfill", "raw", "export", "--space", "space", "--strict"]);
    assert!(said.contains("`id_graph_updates` is missing"), "{said}");
    let summary = told(&work, &["backfill", "raw", "export", "--space", "space"]);
    assert_eq!(summary["tables_passed_over"], json!(["users"]));
    assert_eq!(summary["messages"], 2);
    assert_whole(&work, "space");
    let event = |id: &str, rest: Value| {
        let mut event = json!({"messageId": id, "userId": "jane", "timestamp": "2026-01-02T00:00:00Z"});
        event.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        format!("{event}\n")
    };
    let page = json!({"type": "page"});
    let track = json!({"type": "track", "event": "Order Completed"});
    work.write("dump.ndjson", event("m1", page.clone()) + &event("m2", track) + &event("m3", page));
    let summary = told(&work, &["ingest", "dump.ndjson", "--space", "space"]);
    assert_eq!([&summary["duplicates"], &summary["profiles_created"]], [2, 0]);
    assert_eq!(work.rows("space/pages.ndjson")[1]["segment_id"], "use_a");
    assert_whole(&work, "space");
}

#[test]
fn adopting_twice_changes_nothing_and_another_history_is_refused() {
    let work = Work::new();
    slices(&work, 530);
    run(&work, &["ingest", "first.ndjson", "--space", "old"]);
    let backfill = ["backfill", "raw", "old", "--space", "new"];
    run(&work, &backfill);
    run(&work, &["ingest", "second.ndjson", "--space", "new"]);
    let before = tables(&work, "new");
    run(&work, &backfill);
    assert!(before == tables(&work, "new"));
    run(&work, &["ingest", "second.ndjson", "--space", "old"]);
    let said = refused(&work, &backfill);
    assert!(said.contains("has tables already") && said.contains("backfill profiles"), "{said}");
    assert!(before == tables(&work, "new"));
}

#[test]
fn errors_point_to_the_bad_row_of_the_export() {
    let work = Work::new();
    let backfill = ["backfill", "raw", "export", "--space", "space"];
    work.write("export/id_graph_updates.ndjson", "");
    let said = refused(&work, &backfill);
    assert!(said.contains("external_id_mapping_updates") && said.contains("hint: "), "{said}");
    work.write("export/external_id_mapping_updates.ndjson", "\n{\"external_id_type\":\"email\"}\n");
    let said = refused(&work, &backfill);
    assert!(said.contains("export/external_id_mapping_updates.ndjson:2: "), "{said}");
    work.write("export/external_id_mapping_updates.ndjson", "");
    let loops = [["a", "b"], ["b", "a"]]
        .map(|[from, into]| json!({"segment_id": from, "canonical_segment_id": into}));
    work.write("export/id_graph_updates.ndjson", format!("{}\n{}\n", loops[0], loops[1]));
    let said = refused(&work, &backfill);
    assert!(said.contains("`a` -> `b` -> `a`"), "{said}");
    work.write("export/id_graph_updates.ndjson", "");
    work.write("export/pages.ndjson", "{}\n{\"received_at\":\"yesterday\"}\n");
    let said = refused(&work, &backfill);
    assert!(said.contains("export/pages.ndjson:2: "), "{said}");
    for table in RAW {
        assert!(!work.path(&format!("space/{table}.ndjson")).exists());
    }
}

#[test]
fn a_damaged_row_after_adopted_ones_is_reported_by_line() {
    let work = Work::new();
    work.write(
        "export/external_id_mapping_updates.json",
        "{\"external_id_type\":\"email\",\"external_id_value\":\"x\",\"segment_id\":\"use_a\"}\n",
    );
    let summary = told(&work, &["backfill", "raw", "export", "--space", "space"]);
    assert_eq!(summary["as_views"], true);
    work.write("live.ndjson", live(1));
    run(&work, &["ingest", "live.ndjson", "--space", "space"]);
    let table = work.read("space/external_id_mapping_updates.ndjson");
    let last = table.lines().count();
    let (before, row) = table.trim_end().rsplit_once('\n').unwrap();
    work.write(
        "space/external_id_mapping_updates.ndjson",
        format!("{before}\n{}\n", row.replace("\"external_id_type\"", "\"external_id_typo\"")),
    );
    fs::remove_dir_all(work.path("space/.state")).unwrap();
    work.write("more.ndjson", live(2));
    let said = refused(&work, &["ingest", "more.ndjson", "--space", "space", "-q"]);
    assert!(said.contains(&format!("external_id_mapping_updates.ndjson:{last}: ")), "{said}");
}

#[test]
fn scattered_values_of_a_trait_stay_one_trait() {
    let identify = |traits: Value, at: &str| {
        let event = json!({"type": "identify", "userId": "u", "traits": traits, "timestamp": at});
        format!("{event}\n")
    };
    for other_seq in [false, true] {
        let work = Work::new();
        let traits = json!({"address": {"city": "c", "zip": "z"}, "other": 1, "plan": "p"});
        work.write("first.ndjson", identify(traits, "2024-05-01T00:00:00Z"));
        run(&work, &["ingest", "first.ndjson", "--space", "old"]);
        for (name, text) in tables(&work, "old") {
            work.write(&format!("export/{name}.ndjson"), text);
        }
        let mut row: Value =
            serde_json::from_str(&work.read("export/profile_traits_updates.ndjson")).unwrap();
        let seq = row["seq"].as_str().unwrap().to_owned();
        let earlier = if other_seq { "0000000000000000001".to_owned() } else { seq.clone() };
        row["__trait_seqs"] = json!(format!(
            r#"{{"other":"{seq}","address.zip":"{earlier}","plan":"{seq}","address.city":"{seq}"}}"#
        ));
        work.write("export/profile_traits_updates.ndjson", format!("{row}\n"));
        run(&work, &["backfill", "raw", "export", "--space", "new"]);
        work.write("scalar.ndjson", identify(json!({"address": "x"}), "2024-05-02T00:00:00Z"));
        run(&work, &["ingest", "scalar.ndjson", "--space", "new"]);
        work.write("gone.ndjson", identify(json!({"address": null}), "2024-05-03T00:00:00Z"));
        run(&work, &["ingest", "gone.ndjson", "--space", "new"]);
        let rows = work.read("new/profile_traits_updates.ndjson");
        let snapshots: Vec<Value> =
            rows.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
        let [scalar, gone] = snapshots.as_slice() else { panic!("expected two snapshots: {rows}") };
        assert_eq!(scalar["address"], "x", "{scalar}");
        for column in ["address_city", "address_zip"] {
            assert!(scalar[column].is_null(), "{scalar}");
        }
        assert!(gone["address"].is_null(), "{gone}");
        let seqs = gone["__trait_seqs"].as_str().unwrap();
        assert_eq!(seqs.matches("address").count(), 1, "{seqs}");
    }
}
