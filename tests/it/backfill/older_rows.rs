//! `backfill profiles`: which rows of a snapshot count, and which are recorded as conflicts.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{assert_whole, meaning, refused, run, told};
use crate::support::Work;

fn lines(rows: &[Value]) -> String {
    rows.iter().flat_map(|row| [row.to_string(), "\n".to_owned()]).collect()
}

/// Returns a row with the clocks of a day of January 2023.
fn at(number: u64, mut row: Value) -> Value {
    let time = format!("2023-01-{number:02}T00:00:00Z");
    let clocks = json!({"seq": number.to_string(), "uuid_ts": time, "timestamp": time});
    row.as_object_mut().unwrap().extend(clocks.as_object().unwrap().clone());
    row
}

fn mapping(id: &str, kind: &str, value: &str) -> Value {
    json!({"canonical_segment_id": id, "type": kind, "value": value})
}

fn of_trait(id: &str, name: &str, value: &Value) -> Value {
    json!({"canonical_segment_id": id, "name": name, "value": value})
}

fn merge(segment: &str, id: &str) -> Value {
    json!({"canonical_segment_id": id, "segment_id": segment})
}

/// Writes tables of the snapshot.
fn write(work: &Work, tables: &[(&str, &[Value])]) {
    for (table, rows) in tables {
        work.write(&format!("state/{table}.ndjson"), lines(rows));
    }
}

/// Adopts the snapshot, which must succeed. Returns the table and reason of each row in `backfill_conflicts`.
fn adopt(work: &Work, flags: &[&str]) -> Vec<String> {
    let backfill = ["backfill", "profiles", "state", "--space", "space"];
    let summary = told(work, &[&backfill[..], flags].concat());
    assert_whole(work, "space");
    let set_aside = work.rows("space/backfill_conflicts.ndjson");
    let older = set_aside.iter().filter(|row| row["reason"] == "older_row").count();
    assert_eq!(summary["older_rows"].as_u64().unwrap(), older as u64);
    set_aside
        .iter()
        .map(|row| format!("{} {}", row["table"].as_str().unwrap(), row["reason"].as_str().unwrap()))
        .collect()
}

/// Returns the traits of the space, each as `PROFILE NAME VALUE`.
fn traits(work: &Work) -> BTreeSet<String> {
    meaning(work, "space")[2].iter().map(|row| row.replace('"', "")).collect()
}

#[test]
fn the_newest_value_of_a_trait_counts_whatever_its_segment_id() {
    let old = |clock, value: Value| at(clock, of_trait("use_a", "plan", &value));
    let own = |clock, value: Value| at(clock, of_trait("use_c", "plan", &value));
    let without = |value: Value| of_trait("use_a", "plan", &value);
    for (one, other, expected, n_older) in [
        (old(1, json!("old")), own(5, json!("new")), "new", 1),
        (old(5, json!("new")), own(1, json!("old")), "new", 1),
        // If equally old or without clocks, the greater value counts.
        (old(3, json!("a")), own(3, json!("a!")), "a!", 1),
        (without(json!("zz")), of_trait("use_c", "plan", &json!("a")), "zz", 1),
        (without(json!("zz")), own(1, json!("a")), "a", 1),
        // Equal values are no conflict.
        (old(1, json!("1.0")), own(5, json!("1")), "1", 0),
        (old(5, json!("1.0")), own(1, json!("1")), "1.0", 0),
        (old(5, json!("same")), own(1, json!("same")), "same", 0),
        // Both rows have the same segment id.
        (own(1, json!("old")), own(5, json!("new")), "new", 1),
    ] {
        for rows in [[&one, &other], [&other, &one]] {
            let work = Work::new();
            let rows = rows.map(Value::clone);
            let merges = [at(4, merge("use_a", "use_c")), at(1, merge("use_c", "use_c"))];
            let identifiers = [mapping("use_c", "user_id", "42")];
            write(
                &work,
                &[("user_traits", &rows), ("profile_merges", &merges), ("user_identifiers", &identifiers)],
            );
            let set_aside = adopt(&work, &["--strict"]);
            assert_eq!(set_aside, vec!["user_traits older_row"; n_older], "{one} {other}");
            let expected = format!("use_c plan {expected}");
            assert_eq!(traits(&work), BTreeSet::from([expected]), "{one} {other}");
        }
    }
}

#[test]
fn a_newer_profile_traits_row_beats_user_traits() {
    for (clock, expected) in [(9, "new"), (2, "old")] {
        let work = Work::new();
        let snapshot = at(clock, json!({"canonical_segment_id": "use_a", "plan": "new", "visits": 3}));
        write(
            &work,
            &[
                ("user_identifiers", &[mapping("use_a", "user_id", "42")]),
                ("user_traits", &[at(5, of_trait("use_a", "plan", &json!("old")))]),
                ("profile_traits", &[snapshot]),
            ],
        );
        adopt(&work, &["--strict"]);
        let expected = [format!("use_a plan {expected}"), "use_a visits 3".to_owned()];
        assert_eq!(traits(&work), BTreeSet::from(expected));
    }
}

#[test]
fn the_newest_row_decides_identifiers_and_merges() {
    let work = Work::new();
    let removed = |clock, mut row: Value| {
        row["__operation"] = json!("REMOVED");
        at(clock, row)
    };
    write(
        &work,
        &[
            (
                "user_identifiers",
                &[
                    at(2, mapping("use_a", "user_id", "1")),
                    at(3, mapping("use_b", "user_id", "1")),
                    mapping("use_a", "email", "x"),
                    mapping("use_b", "email", "x"),
                    at(2, mapping("use_a", "email", "gone")),
                    removed(3, mapping("use_a", "email", "gone")),
                    removed(2, mapping("use_a", "email", "back")),
                    at(3, mapping("use_a", "email", "back")),
                ],
            ),
            (
                "profile_merges",
                &[
                    at(3, merge("use_d", "use_a")),
                    at(4, merge("use_d", "use_b")),
                    at(1, merge("use_d", "use_d")),
                ],
            ),
            // The clocks of traits do not matter for merges.
            ("profile_traits", &[at(9, json!({"canonical_segment_id": "use_d", "plan": "x"}))]),
        ],
    );
    let set_aside = adopt(&work, &["--strict"]);
    let [merges, identifiers] = ["profile_merges older_row", "user_identifiers older_row"];
    assert_eq!(set_aside, [merges, merges, identifiers, identifiers, identifiers]);
    let [identifiers, merges, traits, _] = meaning(&work, "space");
    let expected = [r#""use_a" "email" "back""#, r#""use_b" "email" "x""#, r#""use_b" "user_id" "1""#];
    assert_eq!(identifiers, expected.map(str::to_owned).into());
    assert!(merges.contains(r#""use_b" "use_d""#), "{merges:?}");
    assert_eq!(traits, [r#""use_b" "plan" "x""#.to_owned()].into());
}

#[test]
fn profiles_merged_in_the_space_get_the_newest_value() {
    let work = Work::new();
    let identify = |id: &str, anonymous: &str| {
        json!({
            "type": "page", "messageId": id, "userId": "u", "anonymousId": anonymous,
            "timestamp": "2026-01-01T00:00:00Z",
        })
    };
    work.write("events.ndjson", lines(&[identify("m1", "a"), identify("m2", "b")]));
    run(&work, &["ingest", "events.ndjson", "--space", "space", "--segment-ids", "sequential"]);
    // Two more profiles are adopted, which an event then merges.
    write(
        &work,
        &[(
            "user_identifiers",
            &[mapping("use_x", "anonymous_id", "x"), mapping("use_y", "anonymous_id", "y")],
        )],
    );
    adopt(&work, &[]);
    let meets = json!({
        "type": "page", "messageId": "m3", "timestamp": "2026-01-02T00:00:00Z",
        "context": {"externalIds": [{"type": "anonymous_id", "id": "x"}, {"type": "anonymous_id", "id": "y"}]},
    });
    work.write("meets.ndjson", lines(&[meets]));
    run(&work, &["ingest", "meets.ndjson", "--space", "space", "--segment-ids", "sequential"]);
    let values = [(2, "use_x", "new"), (1, "use_y", "old")];
    let rows = values.map(|(clock, id, value)| at(clock, of_trait(id, "plan", &json!(value))));
    write(&work, &[("user_traits", &rows)]);
    assert_eq!(adopt(&work, &["--strict"]), ["user_traits older_row"]);
    assert_eq!(traits(&work), BTreeSet::from(["use_x plan new".to_owned()]));
}

#[test]
fn a_row_without_its_key_is_recorded_and_others_are_adopted() {
    let good: [(&str, Value); 6] = [
        ("profile_merges", merge("use_b", "use_a")),
        ("id_graph", merge("use_b", "use_a")),
        ("user_identifiers", mapping("use_a", "user_id", "1")),
        (
            "external_id_mapping",
            json!({"canonical_segment_id": "use_a", "external_id_type": "user_id", "external_id_value": "1"}),
        ),
        ("user_traits", of_trait("use_a", "plan", &json!("pro"))),
        ("profile_traits", json!({"canonical_segment_id": "use_a", "plan": "pro", "merged_to": null})),
    ];
    for (table, row) in &good {
        let mut keys = vec![("canonical_segment_id", json!(null)), ("canonical_segment_id", json!(""))];
        keys.push(("canonical_segment_id", json!(["use_a"])));
        let reason = match *table {
            "user_traits" => "trait_without_name",
            _ => "row_without_key",
        };
        keys.extend(match *table {
            "profile_merges" | "id_graph" => vec![("segment_id", json!(null))],
            "user_identifiers" => vec![("type", json!("")), ("value", json!(null))],
            "external_id_mapping" => {
                vec![("external_id_type", json!("")), ("external_id_value", json!(null))]
            }
            "user_traits" => vec![("name", json!("")), ("name", json!(null)), ("name", json!("!"))],
            _ => vec![],
        });
        for (column, value) in keys {
            let reason = if column == "canonical_segment_id" { "row_without_key" } else { reason };
            let work = Work::new();
            write(&work, &good.each_ref().map(|(table, row)| (*table, std::slice::from_ref(row))));
            let mut bad = row.clone();
            bad[column] = value.clone();
            write(&work, &[(*table, &[bad.clone(), row.clone()])]);
            assert_eq!(adopt(&work, &[]), [format!("{table} {reason}")], "{bad}");
            assert_eq!(traits(&work), BTreeSet::from(["use_a plan pro".to_owned()]), "{bad}");
            // A table with only unusable rows is an error that points to a row; an empty table is fine.
            write(&work, &[(*table, &[bad.clone()])]);
            let said = refused(&work, &["backfill", "profiles", "state", "--space", "other"]);
            assert!(said.contains(&format!("state/{table}.ndjson:1: ")), "{said}");
            write(&work, &[(*table, &[])]);
            run(&work, &["backfill", "profiles", "state", "--space", "third"]);
        }
    }
}

#[test]
fn bookkeeping_columns_of_sql_models_are_not_traits() {
    let work = Work::new();
    let row = json!({
        "canonical_segment_id": "use_a", "email": "a@shop.example", "segment_id": "use_a", "seq": "7",
        "uuid_ts": "2023-03-02T10:05:00.123456Z", "triggering_event_id": "m1", "etl_ts": "2023-06-01T00:00:00Z",
        "dbt_updated_at": "2023-06-01", "DBT_SCD_ID": "x", "_fivetran_synced": "x", "_airbyte_raw_id": "x",
        "__loaded_at": "x", "merged_to": "",
    });
    write(
        &work,
        &[
            ("user_identifiers", &[mapping("use_a", "user_id", "1")]),
            ("profile_traits", std::slice::from_ref(&row)),
        ],
    );
    adopt(&work, &["--strict"]);
    assert_eq!(traits(&work), BTreeSet::from(["use_a email a@shop.example".to_owned()]));
    // If `user_traits` has such a name, it is a trait.
    write(&work, &[("user_traits", &[of_trait("use_a", "etl_ts", &json!("2023-06-01T00:00:00Z"))])]);
    run(&work, &["backfill", "profiles", "state", "--space", "other", "--strict"]);
    assert_eq!(meaning(&work, "other")[2].len(), 2);

    // The same goes for raw tables, except for rows that this program wrote.
    for (seqs, expected) in [(None, 1), (Some(r#"{"email":"7","etl_ts":"7","dbt_scd_id":"7"}"#), 4)] {
        let work = Work::new();
        let mut row = row.clone();
        if let Some(seqs) = seqs {
            row["__trait_seqs"] = json!(seqs);
        }
        work.write("raw/profile_traits_updates.json", lines(&[row]));
        work.write("raw/id_graph_updates.json", lines(&[at(7, merge("use_a", "use_a"))]));
        let mapping = json!({"segment_id": "use_a", "external_id_type": "user_id", "external_id_value": "1"});
        work.write("raw/external_id_mapping_updates.json", lines(&[at(7, mapping)]));
        run(&work, &["materialize", "--raw", "raw", "--out", "views"]);
        assert_eq!(work.rows("views/user_traits.ndjson").len(), expected);
        run(&work, &["backfill", "raw", "raw", "--space", "space"]);
        assert_whole(&work, "space");
        let expected: Vec<String> =
            work.rows("views/user_traits.ndjson").iter().map(|row| row["name"].to_string()).collect();
        run(&work, &["materialize", "--space", "space"]);
        let names = |work: &Work| -> Vec<String> {
            work.rows("space/user_traits.ndjson").iter().map(|row| row["name"].to_string()).collect()
        };
        assert_eq!(names(&work), expected);
        // The resolver's state has no other traits.
        let event = json!({
            "type": "identify", "messageId": "m9", "userId": "1", "traits": {"plan": "pro"},
            "timestamp": "2026-01-01T00:00:00Z",
        });
        work.write("event.ndjson", lines(&[event]));
        run(&work, &["ingest", "event.ndjson", "--space", "space", "--materialize"]);
        assert_whole(&work, "space");
        assert_eq!(names(&work).len(), expected.len() + 1);
    }
}

#[test]
fn a_table_in_an_unsupported_format_is_an_error() {
    let identifiers = lines(&[mapping("use_a", "user_id", "1")]);
    for name in ["user_traits.csv", "PROFILE_MERGES.parquet", "user_identifiers.csv.gz", "id_graph"] {
        let work = Work::new();
        work.write("state/user_identifiers.ndjson", &identifiers);
        work.write(&format!("state/{name}"), "canonical_segment_id,name,value\n");
        let said = refused(&work, &["backfill", "profiles", "state", "--space", "space"]);
        assert!(
            said.contains(&format!("state/{name}`: holds the table `")) && said.contains("hint: "),
            "{said}"
        );
    }
    let work = Work::new();
    work.write("raw/external_id_mapping_updates.ndjson", "");
    work.write("raw/orders.parquet", "");
    let backfill = ["backfill", "raw", "raw", "--space", "space"];
    let summary = told(&work, &[&backfill[..], &["--dry-run"]].concat());
    assert_eq!(summary["tables_passed_over"], json!(["orders.parquet"]));
    for name in ["id_graph_updates.avro", "pages.csv"] {
        work.write(&format!("raw/{name}"), "");
        let said = refused(&work, &backfill);
        assert!(said.contains(name), "{said}");
        std::fs::remove_file(work.path(&format!("raw/{name}"))).unwrap();
    }
    work.write("raw/profile_traits_updates.csv", "");
    let said = refused(&work, &["materialize", "--raw", "raw", "--out", "views"]);
    assert!(said.contains("profile_traits_updates.csv"), "{said}");
}

#[test]
fn a_merged_profile_without_identifiers_is_not_counted() {
    let work = Work::new();
    let mapping = |segment: &str, value: &str, clock, operation: Option<&str>| {
        let row = json!({
            "segment_id": segment, "external_id_type": "email", "external_id_value": value,
            "__operation": operation,
        });
        at(clock, row)
    };
    let mappings = [
        mapping("use_a", "a", 1, None),
        mapping("use_b", "b", 2, None),
        mapping("use_b", "b", 5, Some("REMOVED")),
        // Only rows that no longer count have these profiles.
        mapping("use_x", "x", 1, None),
        mapping("use_a", "x", 2, None),
        mapping("use_y", "y", 1, Some("REMOVED")),
    ];
    work.write("raw/external_id_mapping_updates.ndjson", lines(&mappings));
    let graph = [merge("use_a", "use_a"), merge("use_b", "use_b"), merge("use_b", "use_a")];
    let graph = [(1, &graph[0]), (2, &graph[1]), (3, &graph[2])].map(|(clock, row)| at(clock, row.clone()));
    work.write("raw/id_graph_updates.ndjson", lines(&graph));
    let backfill = told(&work, &["backfill", "raw", "raw", "--space", "space"]);
    let verify = told(&work, &["ingest", "--verify", "--space", "space"]);
    let materialize = told(&work, &["materialize", "--space", "space"]);
    for summary in [backfill, verify, materialize] {
        assert_eq!(summary["profiles"], 1, "{summary}");
    }
}
