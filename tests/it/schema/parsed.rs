//! Statements for warehouses that no test can run are read by a parser of their dialects.

use std::{collections::BTreeMap, process::Command};

use super::awkward;
use crate::{
    duckdb::DuckDb,
    support::{Work, project},
};

const DIALECTS: [(&str, &str); 4] = [
    ("snowflake", "@stage/it's here"),
    ("bigquery", "gs://bucket/it's here"),
    ("redshift", "s3://bucket/it's here"),
    ("databricks", "/Volumes/main/default/it's here"),
];

/// How many statements of each kind a parser finds in a script.
fn kinds(python: &DuckDb, work: &Work, dialect: &str, script: &str) -> BTreeMap<String, usize> {
    work.write("script.sql", script);
    let output = Command::new(python.python)
        .arg(project("tests/it/schema/parse.py"))
        .arg(dialect)
        .arg(work.path("script.sql"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{dialect}: {}", String::from_utf8_lossy(&output.stderr));
    let kind = |line: &str| {
        let (kind, count) = line.split_once(' ').unwrap();
        (kind.to_owned(), count.parse().unwrap())
    };
    String::from_utf8(output.stdout).unwrap().lines().map(kind).collect()
}

#[test]
fn other_warehouses_statements_are_of_their_dialect() {
    let work = Work::new();
    let Some(python) = DuckDb::find() else { return };
    let stdout = |args: &[&str]| {
        let assert = work.program(args).assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    let schema = |dialect: &str, prefix: &str, flags: &[&str]| {
        let at = ["schema", "--space", "space", "-q", "--dialect", dialect, "--files-at", prefix];
        stdout(&[&at, flags].concat())
    };
    work.write("first.ndjson", awkward::first_day());
    stdout(&["ingest", "first.ndjson", "--space", "space", "--materialize", "-q"]);
    let mut n_tables = 0;
    for (dialect, prefix) in DIALECTS {
        let json = schema(dialect, prefix, &["--format", "json"]);
        n_tables = json.matches("\"json_schema\"").count();
        work.write(&format!("{dialect}.json"), json);
        for flags in [&[][..], &["--columns-as-json"]] {
            let kinds = kinds(&python, &work, dialect, &schema(dialect, prefix, flags));
            assert_eq!(kinds["Insert"], n_tables, "{dialect}: {kinds:?}");
            assert!(n_tables <= kinds["Create"], "{dialect}: {kinds:?}");
            assert!(!kinds.contains_key("Command"), "{dialect}: {kinds:?}");
        }
    }
    work.write("next.ndjson", awkward::next_day());
    stdout(&["ingest", "next.ndjson", "--space", "space", "-q"]);
    stdout(&["materialize", "--space", "space", "--changes", "changes.ndjson", "-q"]);
    for (dialect, prefix) in DIALECTS {
        let since = format!("{dialect}.json");
        let flags = ["--since", &since, "--night", "--upsert", "changes.ndjson"];
        let kinds = kinds(&python, &work, dialect, &schema(dialect, prefix, &flags));
        // One table is new; a type changes in four steps.
        assert_eq!(kinds["Insert"], n_tables + 1, "{dialect}: {kinds:?}");
        assert!(kinds["Update"] * 3 <= kinds["Alter"], "{dialect}: {kinds:?}");
        // Each view has its deletions.
        assert!(6 <= kinds["Delete"], "{dialect}: {kinds:?}");
        assert!(!kinds.contains_key("Command"), "{dialect}: {kinds:?}");
    }
}
