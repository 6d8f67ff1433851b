//! Traits and properties may have the names of columns of this program, of warehouses or of SQL models. Every job
//! treats them like any other trait or property.

use std::{collections::BTreeMap, fs};

use serde_json::{Map, Value, json};

use super::{RAW, assert_whole, export, run, tables, told, view, views};
use crate::support::Work;

/// Names that have a special meaning somewhere.
const NAMES: &[&str] = &[
    // Columns of raw tables.
    "id",
    "segment_id",
    "canonical_segment_id",
    "seq",
    "timestamp",
    "received_at",
    "uuid_ts",
    "triggering_event_id",
    "triggering_event_type",
    "triggering_event_name",
    "triggering_event_source_id",
    "triggering_event_source_name",
    "triggering_event_source_slug",
    "external_id_hash",
    "external_id_type",
    "external_id_value",
    "__trait_seqs",
    "link",
    "via_type",
    "via_value",
    // Columns of event tables.
    "event_id",
    "anonymous_id",
    "user_id",
    "event_source_id",
    "original_timestamp",
    "sent_at",
    "name",
    "category",
    "group_id",
    "previous_id",
    "event",
    "event_text",
    "context",
    "context_page_url",
    "context_seq",
    // Columns of views.
    "merged_to",
    "type",
    "value",
    // Columns of tables about a run.
    "message_id",
    "rule",
    "limit",
    "limit_type",
    "window",
    "blocked_by",
    "event_segment_id",
    "file",
    "line",
    "byte_offset",
    "reason",
    "detail",
    "text",
    "table",
    "view",
    "change",
    "key",
    "row",
    // Columns that warehouses, loaders and SQL models add.
    "__operation",
    "__profile_version",
    "etl_ts",
    "dbt_updated_at",
    "dbt_scd_id",
    "dbt_valid_from",
    "_fivetran_synced",
    "_airbyte_raw_id",
    "_dlt_id",
    "_sdc_batched_at",
    "_id",
    "_seq",
    // Fields of events.
    "messageId",
    "userId",
    "traits",
    "properties",
    "projectId",
    "sourceId",
    "batch",
    "id_type",
    "idType",
    "version",
    "job",
    "run",
    "digest",
    "Seq",
    "SEGMENT_ID",
];

/// Columns of `profile_traits_updates` and `profile_traits` that no trait can take.
const TAKEN_BY_TRAITS: [&str; 14] = [
    "id",
    "segment_id",
    "seq",
    "timestamp",
    "received_at",
    "uuid_ts",
    "triggering_event_id",
    "triggering_event_name",
    "triggering_event_type",
    "triggering_event_source_id",
    "triggering_event_source_name",
    "triggering_event_source_slug",
    "canonical_segment_id",
    "merged_to",
];

/// Columns of all event tables that no property can take.
const TAKEN_BY_EVENTS: [&str; 11] = [
    "segment_id",
    "id",
    "event_id",
    "anonymous_id",
    "user_id",
    "event_source_id",
    "original_timestamp",
    "sent_at",
    "received_at",
    "timestamp",
    "uuid_ts",
];

/// Returns the column of a trait or property; `taken` lists the columns that it cannot take.
fn column(name: &str, taken: &[&[&str]]) -> String {
    let words = match name {
        "messageId" => "message_id".to_owned(),
        "userId" => "user_id".to_owned(),
        "projectId" => "project_id".to_owned(),
        "sourceId" => "source_id".to_owned(),
        "idType" => "id_type".to_owned(),
        other => other.trim_start_matches('_').to_lowercase(),
    };
    if taken.iter().any(|taken| taken.contains(&words.as_str())) { format!("_{words}") } else { words }
}

/// Returns events of every type, numbered from `from` to `to`, whose payload has all of [`NAMES`].
fn events(value: &Value, from: u64, to: u64) -> String {
    let payload: Map<String, Value> = NAMES.iter().map(|name| ((*name).to_owned(), value.clone())).collect();
    let mut lines = String::new();
    for number in from..to {
        for (call, rest) in [
            ("identify", json!({"traits": payload})),
            ("page", json!({"name": "Home", "category": "Shop", "properties": payload})),
            ("screen", json!({"name": "Home", "category": "Shop", "properties": payload})),
            ("track", json!({"event": "Order Completed", "properties": payload})),
            ("group", json!({"groupId": "g", "traits": payload})),
            ("alias", json!({"previousId": "p"})),
        ] {
            let mut event = json!({
                "type": call, "messageId": format!("{call}-{number}"), "userId": format!("u{}", number % 3),
                "anonymousId": format!("a{number}"), "timestamp": format!("2026-01-{:02}T10:00:00Z", number + 1),
                "context": {"page": {"url": "https://shop.example/"}, "names": payload},
            });
            event.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            lines.push_str(&event.to_string());
            lines.push('\n');
        }
    }
    lines
}

/// Returns the values in `user_traits` by trait name.
fn traits(work: &Work, space: &str) -> BTreeMap<String, String> {
    let rows = work.rows(&format!("{space}/user_traits.ndjson"));
    let text = |row: &Value, column: &str| row[column].as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(row, "name"), text(row, "value"))).collect()
}

/// Ingests the events in two runs, with views. `all.ndjson` has them in one file.
fn space(value: &Value) -> Work {
    let work = Work::new();
    work.write("first.ndjson", events(value, 0, 4));
    work.write("second.ndjson", events(value, 4, 8));
    work.write("all.ndjson", events(value, 0, 8));
    for events in ["first.ndjson", "second.ndjson"] {
        run(&work, &["ingest", events, "--space", "space", "--materialize"]);
    }
    work
}

fn values() -> [Value; 7] {
    [
        json!("first"),
        json!(7),
        json!(-1.50),
        json!(true),
        json!(""),
        json!([1, "x"]),
        json!({"seq": "x", "id": 7}),
    ]
}

#[test]
fn any_name_works_as_trait_or_property_in_ingest_and_views() {
    for value in values() {
        let work = space(&value);
        assert_whole(&work, "space");
        if !value.is_object() && !value.is_array() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let traits = traits(&work, "space");
            for &name in NAMES {
                assert_eq!(traits.get(&column(name, &[&TAKEN_BY_TRAITS])), Some(&text), "{name} {value}");
            }
            let row = &work.rows("space/profile_traits.ndjson")[0];
            for (table, own) in [
                ("identifies", &[][..]),
                ("pages", &["name", "category"]),
                ("screens", &["name", "category"]),
                ("groups", &["group_id"]),
                ("order_completed", &["event", "event_text"]),
            ] {
                let event = &work.rows(&format!("space/{table}.ndjson"))[0];
                for &name in NAMES {
                    let mut column = column(name, &[&TAKEN_BY_EVENTS, own]);
                    if column == "context_page_url" {
                        column.insert(0, '_');
                    }
                    assert_eq!(event[&column], value, "{name} {value} {table}");
                }
            }
            for &name in NAMES {
                assert_eq!(row[column(name, &[&TAKEN_BY_TRAITS])], value, "{name} {value}");
            }
        }
        // One run gives the same tables; a full build and one that writes changes give the same views.
        run(&work, &["ingest", "all.ndjson", "--space", "one"]);
        assert!(event_tables(&work, "space") == event_tables(&work, "one"), "{value}");
        for (flags, out) in [(&["--full"][..], "full"), (&["--changes", "changes.ndjson"], "changed")] {
            run(&work, &[&["materialize", "--space", "one", "--out", out], flags].concat());
            assert!(views(&work, "space") == views(&work, out), "{value}");
        }
        run(&work, &["materialize", "--space", "one"]);
        // The state is rebuilt from the tables.
        fs::remove_dir_all(work.path("space/.state")).unwrap();
        work.write("again.ndjson", work.read("all.ndjson") + "\n");
        let assert = work.program(&["ingest", "again.ndjson", "--space", "space"]).assert();
        assert.success();
        assert_whole(&work, "space");
        assert!(event_tables(&work, "space") == event_tables(&work, "one"), "{value}");
        work.program(&["diff", "space", "one", "-q"]).assert().code(0);
    }
}

/// Returns the tables of a space except `rejected`, whose rows have the paths of inputs.
fn event_tables(work: &Work, space: &str) -> BTreeMap<String, String> {
    tables(work, space).into_iter().filter(|(name, _)| name != "rejected").collect()
}

#[test]
fn any_name_works_as_trait_or_property_in_backfills() {
    for value in values() {
        let work = space(&value);
        // Profiles: from the space, and from tables that hold every trait as text.
        export(&work, "space", &["user_identifiers", "user_traits", "profile_merges"], "texts");
        for (state, new) in [("space", "of_space"), ("texts", "of_texts")] {
            run(&work, &["backfill", "profiles", state, "--space", new, "--strict"]);
            assert_whole(&work, new);
            run(&work, &["materialize", "--space", new]);
            assert_eq!(traits(&work, "space"), traits(&work, new), "{value} {state}");
            work.program(&["ingest", "second.ndjson", "--space", new, "-q"]).assert().success();
            assert_whole(&work, new);
        }
        assert_eq!(
            view(&work, "space", "profile_traits", &[]),
            view(&work, "of_space", "profile_traits", &[])
        );
        // A backfill into the original space adds nothing.
        let before = tables(&work, "space");
        run(&work, &["backfill", "profiles", "space", "--space", "space", "--strict"]);
        let always = ["--since", "1970-01-02"];
        let events = ["backfill", "events", "all.ndjson", "--space", "space"];
        assert_eq!(told(&work, &[&events[..], &always].concat())["rows"], json!({}), "{value}");
        assert!(before == tables(&work, "space"), "{value}");
        // Event rows, backfilled twice.
        for _ in 0..2 {
            let args = ["backfill", "events", "all.ndjson", "--space", "rows"];
            work.program(&[&args[..], &always].concat()).arg("-q").assert().success();
        }
        for table in ["pages", "order_completed", "identifies", "groups"] {
            let without = ["segment_id", "uuid_ts"];
            assert_eq!(
                view(&work, "space", table, &without),
                view(&work, "rows", table, &without),
                "{value}"
            );
        }
        run(&work, &["ingest", "all.ndjson", "--space", "rows"]);
        assert_whole(&work, "rows");
        // Raw tables.
        for (name, text) in &before {
            work.write(&format!("export/{name}.ndjson"), text);
        }
        for (raw, new) in [("space", "of_raw"), ("export", "of_export")] {
            let summary = told(&work, &["backfill", "raw", raw, "--space", new, "--strict"]);
            assert_eq!(summary["as_views"], false, "{value}");
            assert_whole(&work, new);
            for table in RAW.into_iter().chain(["pages", "order_completed", "identifies", "groups"]) {
                assert!(before[table] == work.read(&format!("{new}/{table}.ndjson")), "{value} {table}");
            }
            run(&work, &["materialize", "--space", new]);
            assert!(views(&work, "space") == views(&work, new), "{value}");
        }
        run(&work, &["materialize", "--raw", "export", "--out", "raw_views"]);
        assert!(views(&work, "space") == views(&work, "raw_views"), "{value}");
    }
}
