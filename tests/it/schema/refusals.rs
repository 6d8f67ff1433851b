//! What `schema` refuses, and what it says of values that a warehouse cannot hold.

use crate::support::Work;

const LINE: &str = r#"{"type":"identify","messageId":"m","userId":"u","receivedAt":"2026-01-05T10:00:00Z","traits":{"note":"a\u0000b"}}"#;

fn space() -> Work {
    let work = Work::new();
    work.write("events.ndjson", LINE);
    work.program(&["ingest", "events.ndjson", "--space", "space", "--materialize", "-q"]).assert().success();
    work
}

/// What the program says on the standard error, with its exit code.
fn said(work: &Work, args: &[&str], code: i32) -> String {
    let assert = work.program(&[&["schema"], args].concat()).assert().code(code);
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

#[test]
fn what_cannot_be_done_is_said_with_a_way_out() {
    let work = space();
    let json =
        work.program(&["schema", "--space", "space", "--dialect", "duckdb", "--json"]).assert().success();
    work.write("duckdb.json", &json.get_output().stdout);
    work.write("no.json", "{}");
    for (args, error, hint) in [
        (&["--dialect", "duckdb", "--space", "nowhere"][..], "is not a space", "--space DIR"),
        (&["--dialect", "bigquery"], "BigQuery reads no files of this machine", "--files-at gs://"),
        (
            &["--dialect", "duckdb", "--tables", "order_*"],
            "no table is called like `order_*`",
            "the space has",
        ),
        (&["--dialect", "postgres", "--since", "duckdb.json"], "for DuckDB, not for PostgreSQL", "--dialect"),
        (&["--dialect", "duckdb", "--since", "no.json"], "is no schema", "--format json"),
        (&["--dialect", "duckdb", "--since", "missing.json"], "is not there", "--format json"),
        (
            &["--dialect", "duckdb", "--since", "duckdb.json", "--columns-as-json"],
            "was loaded without `--columns-as-json`",
            "leave out `--columns-as-json`",
        ),
    ] {
        let space: &[&str] = if args.contains(&"--space") { &[] } else { &["--space", "space"] };
        let said = said(&work, &[space, args].concat(), 2);
        assert!(said.contains(error) && said.contains("hint: ") && said.contains(hint), "{args:?}: {said}");
    }
}

#[test]
fn a_table_of_more_columns_than_the_warehouse_has_is_refused() {
    let work = Work::new();
    let page = |number: u32| {
        let columns: Vec<String> = (0..200).map(|column| format!("\"p_{number}_{column}\":1")).collect();
        format!(
            "{{\"type\":\"page\",\"messageId\":\"m{number}\",\"userId\":\"u\",\"receivedAt\":\"2026-01-05T10:00:00Z\",\"properties\":{{{}}}}}\n",
            columns.join(",")
        )
    };
    work.write("events.ndjson", (0..9).map(page).collect::<String>());
    work.program(&["ingest", "events.ndjson", "--space", "space", "-q"]).assert().success();
    let said = said(&work, &["--space", "space", "--dialect", "postgres"], 2);
    assert!(
        said.contains("`pages` has 18")
            && said.contains("at most 1600")
            && said.contains("--columns-as-json"),
        "{said}"
    );
    for flags in [["--dialect", "postgres", "--columns-as-json"].as_slice(), &["--dialect", "duckdb"]] {
        work.program(&[&["schema", "--space", "space"], flags].concat()).assert().success();
    }
}

#[test]
fn values_that_postgres_cannot_hold_are_counted_on_both_streams() {
    let work = space();
    let assert =
        work.program(&["schema", "--space", "space", "--dialect", "postgres", "-q"]).assert().success();
    let (out, err) = (&assert.get_output().stdout, &assert.get_output().stderr);
    let (out, err) = (String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    let loss = "`profile_traits`.`note`: 1 value with U+0000, which PostgreSQL cannot store; loaded with U+FFFD in its place";
    assert!(out.contains(&format!("\n-- {loss}\n")), "{out}");
    assert!(err.contains(&format!("warning: {loss}\n")), "{err}");
    let assert =
        work.program(&["schema", "--space", "space", "--dialect", "duckdb", "-q"]).assert().success();
    assert!(assert.get_output().stderr.is_empty());
}
