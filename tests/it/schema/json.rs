//! What `schema --format json` says.

use serde_json::Value;

use crate::support::{Work, project_text};

fn space(events: &str, flags: &[&str]) -> Work {
    let work = Work::new();
    work.write("events.ndjson", events);
    work.program(&[&["ingest", "events.ndjson", "--space", "space", "-q"], flags].concat())
        .assert()
        .success();
    work
}

fn schema(work: &Work, flags: &[&str]) -> Value {
    let args =
        [&["schema", "--space", "space", "--dialect", "duckdb", "-q", "--format", "json"], flags].concat();
    let assert = work.program(&args).assert().success().stderr("");
    serde_json::from_slice(&assert.get_output().stdout).unwrap()
}

fn table<'a>(schema: &'a Value, name: &str) -> &'a Value {
    let tables = schema["tables"].as_array().unwrap();
    tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("no {name}"))
}

fn column<'a>(schema: &'a Value, name: &str, of: &str) -> &'a Value {
    let columns = table(schema, of)["columns"].as_array().unwrap();
    columns.iter().find(|column| column["column"] == name).unwrap_or_else(|| panic!("no {of}.{name}"))
}

#[test]
fn tables_with_a_row_and_all_views_are_there_also_if_they_were_not_made() {
    let work = space(&project_text("fixtures/sample/events.ndjson"), &[]);
    let before = schema(&work, &[]);
    let names: Vec<_> =
        before["tables"].as_array().unwrap().iter().map(|one| one["table"].as_str().unwrap()).collect();
    assert!(names.contains(&"profile_traits") && names.contains(&"tracks"), "{names:?}");
    assert!(!names.contains(&"backfill_conflicts"), "{names:?}");
    assert!(names.is_sorted());
    work.program(&["materialize", "--space", "space", "-q"]).assert().success();
    let after = schema(&work, &[]);
    for view in [
        "id_graph",
        "external_id_mapping",
        "user_traits",
        "user_identifiers",
        "profile_merges",
        "profile_traits",
    ] {
        assert_eq!(table(&before, view)["file"], Value::Null);
        assert_eq!(table(&after, view)["file"], format!("{view}.ndjson"));
        let described = |schema: &Value| -> Vec<(Value, Value)> {
            let columns = table(schema, view)["columns"].as_array().unwrap();
            columns.iter().map(|column| (column["column"].clone(), column["type"].clone())).collect()
        };
        // Traits that nobody has any more are no columns of the view that was made.
        let (was, is) = (described(&before), described(&after));
        let all_null = |column: &(Value, Value)| column.0 == "merged_to" || was.contains(column);
        assert!(is.iter().all(all_null), "{view}: {is:?} {was:?}");
    }
}

#[test]
fn clocks_are_times_and_traits_that_look_like_times_are_not() {
    let event = r#"{"type":"identify","messageId":"m","userId":"u","receivedAt":"2026-01-05T10:00:00Z","traits":{"timestamp":"2026-01-04T10:00:00.000Z","sent_at":"2026-01-04T10:00:00.000Z","seq":7}}"#;
    let work = space(event, &["--materialize"]);
    let schema = schema(&work, &[]);
    for (of, name, class) in [
        ("identifies", "received_at", "time"),
        ("identifies", "uuid_ts", "time"),
        ("identifies", "sent_at", "time"),
        ("identifies", "_timestamp", "text"),
        ("identifies", "_sent_at", "text"),
        ("identifies", "seq", "integer"),
        ("profile_traits_updates", "timestamp", "time"),
        ("profile_traits_updates", "sent_at", "text"),
        ("profile_traits_updates", "seq", "text"),
        ("profile_traits", "sent_at", "text"),
        ("profile_traits", "_seq", "integer"),
        ("user_traits", "timestamp", "time"),
        ("user_traits", "value", "text"),
        ("profile_traits", "merged_to", "null"),
    ] {
        assert_eq!(column(&schema, name, of)["class"], class, "{of}.{name}");
    }
    assert_eq!(column(&schema, "merged_to", "profile_traits")["type"], "VARCHAR");
}

#[test]
fn tables_are_chosen_by_globs() {
    let work = space(&project_text("fixtures/sample/events.ndjson"), &["--materialize"]);
    let schema = schema(&work, &["--tables", "id_*,pages"]);
    let names: Vec<_> =
        schema["tables"].as_array().unwrap().iter().map(|one| one["table"].as_str().unwrap()).collect();
    for name in ["id_graph", "id_graph_updates", "pages"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(names.iter().all(|name| name.starts_with("id") || *name == "pages"), "{names:?}");
}

#[test]
fn every_row_fits_the_json_schema_of_its_table() {
    let work = space(&project_text("fixtures/sample/events.ndjson"), &["--materialize"]);
    let schema = schema(&work, &[]);
    let mut n_rows = 0;
    for table in schema["tables"].as_array().unwrap() {
        let json_schema = &table["json_schema"];
        for row in work.rows(&format!("space/{}", table["file"].as_str().unwrap())) {
            n_rows += 1;
            for (name, value) in row.as_object().unwrap() {
                let types = json_schema["properties"][name]["type"].as_array().unwrap();
                let kind = match value {
                    Value::Null => "null",
                    Value::Bool(_) => "boolean",
                    Value::Number(number) if number.is_f64() => "number",
                    Value::Number(_) => "integer",
                    Value::String(_) => "string",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                };
                let fits = types.iter().any(|one| one == kind || one == "number" && kind == "integer");
                assert!(fits, "{}.{name}: {value} is none of {types:?}", table["table"]);
            }
            for name in json_schema["required"].as_array().unwrap() {
                assert!(!row[name.as_str().unwrap()].is_null(), "{name} {row}");
            }
        }
    }
    assert!(1000 < n_rows, "{n_rows}");
}

#[test]
fn the_answer_is_the_same_with_any_number_of_threads() {
    let work = space(&project_text("fixtures/sample/events.ndjson"), &["--materialize"]);
    assert_eq!(schema(&work, &["--threads", "1"]), schema(&work, &["--threads", "3"]));
}
