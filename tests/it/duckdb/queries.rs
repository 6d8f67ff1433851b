//! The queries in `docs/tables.md` return the rows in `fixtures/queries`.
//!
//! `BLESS=1 cargo test queries` rewrites the expected rows. Review the change like any other.

use std::{collections::BTreeSet, env, fmt::Write, fs};

use serde_json::{Map, Value};

use super::DuckDb;
use crate::support::{Work, project, project_text, tree};

/// Returns the heading of each query, as a file name, and its SQL.
fn queries(page: &str) -> Vec<(String, &str)> {
    let (_, section) = page.split_once("\n## Queries\n").unwrap();
    let mut queries = Vec::new();
    for text in section.split("\n### ").skip(1) {
        let (heading, text) = text.split_once('\n').unwrap();
        let mut blocks = text.split("```sql\n").skip(1);
        let sql = blocks.next().and_then(|block| block.split_once("```"));
        let (sql, _) = sql.unwrap_or_else(|| panic!("{heading}: no query"));
        assert!(blocks.next().is_none(), "{heading}: two queries");
        queries.push((heading.to_lowercase().replace(' ', "-"), sql));
    }
    queries
}

/// Writes the macro that the queries read tables with, for tables with this suffix, and returns its path.
fn write_setup(work: &Work, page: &str, suffix: &str) -> String {
    let (_, section) = page.split_once("\n## Queries\n").unwrap();
    let (before, _) = section.split_once("\n### ").unwrap();
    let (_, sql) = before.split_once("```sql\n").unwrap();
    let (sql, _) = sql.split_once("```").unwrap();
    let sql = sql.replace(".ndjson'", &format!("{suffix}'"));
    work.write(&format!("setup{suffix}.sql"), sql).display().to_string()
}

/// Returns the arguments of the command that makes the space of the page.
fn arguments(page: &str) -> Vec<&str> {
    let (_, command) = page.split_once("```sh\nprofiles-sync ").unwrap();
    command.lines().next().unwrap().split(' ').collect()
}

#[test]
fn the_queries_of_the_docs_return_the_expected_rows() {
    let Some(duckdb) = DuckDb::find() else { return };
    let page = project_text("docs/tables.md");
    let work = Work::new();
    for input in ["fixtures/sample/events.ndjson", "fixtures/cases/second-chance/in/events.ndjson"] {
        work.write(input, project_text(input));
    }
    work.program(&arguments(&page)).assert().success();
    let queries = queries(&page);
    assert!(!queries.is_empty());
    let paths: Vec<_> =
        queries.iter().map(|(name, sql)| work.write(&format!("sql/{name}.sql"), sql)).collect();
    let setup = write_setup(&work, &page, ".ndjson");
    duckdb.run(&work.path("queries"), &work.path("out"), &["--setup", &setup], &paths);

    let actual = tree::read(&work.path("out"));
    for (path, rows) in &actual {
        assert!(!rows.is_empty(), "{}: the query finds nothing", path.display());
    }
    let folder = project("fixtures/queries");
    let mut expected = tree::read(&folder);
    expected.retain(|path, _| path.extension().is_some_and(|extension| extension == "ndjson"));
    if env::var_os("BLESS").is_some() {
        assert!(env::var_os("CI").is_none(), "BLESS is not allowed in CI");
        for path in expected.keys() {
            fs::remove_file(folder.join(path)).unwrap();
        }
        for (path, rows) in &actual {
            #[expect(clippy::disallowed_methods, reason = "a test's own files need no wrapper")]
            fs::write(folder.join(path), rows).unwrap();
        }
        return;
    }
    let differences = tree::differences(&expected, &actual);
    assert!(differences.is_empty(), "fixtures/queries/\n{differences}");
}

#[test]
fn the_queries_read_compressed_tables_of_several_runs() {
    let Some(duckdb) = DuckDb::find() else { return };
    let page = project_text("docs/tables.md");
    let work = Work::new();
    let inputs = ["fixtures/sample/events.ndjson", "fixtures/cases/second-chance/in/events.ndjson"];
    work.write("first.ndjson", project_text(inputs[1]));
    for input in inputs {
        work.write(input, project_text(input));
    }
    let sqls: Vec<_> =
        queries(&page).iter().map(|(name, sql)| work.write(&format!("sql/{name}.sql"), sql)).collect();
    // Two runs give tables of several frames, and the views reflect both.
    let args = arguments(&page);
    let flags = ["--space", "queries", "--compress", "zstd"];
    work.program(&[&["ingest", "first.ndjson"][..], &flags].concat()).assert().success();
    work.program(&[&args[..], &["--compress", "zstd"]].concat()).assert().success();
    let setup = write_setup(&work, &page, ".ndjson.zst");
    duckdb.run(&work.path("queries"), &work.path("packed"), &["--setup", &setup], &sqls);

    let plain_runs: [&[&str]; 2] = [&["ingest", "first.ndjson", "--space", "plain-space"], &args];
    for run in plain_runs {
        let run: Vec<&str> =
            run.iter().map(|&arg| if arg == "queries" { "plain-space" } else { arg }).collect();
        work.program(&run).assert().success();
    }
    let setup = write_setup(&work, &page, ".ndjson");
    duckdb.run(&work.path("plain-space"), &work.path("plain"), &["--setup", &setup], &sqls);
    let differences = tree::differences(&tree::read(&work.path("plain")), &tree::read(&work.path("packed")));
    assert!(differences.is_empty(), "{differences}");
    assert!(!tree::read(&work.path("packed")).is_empty());
}

/// The number of rows that DuckDB samples by default.
const SAMPLE: usize = 20_480;

/// Adopts profiles, whose rows have no `timestamp`, and then ingests pages and identify calls with 400 sparse columns
/// and a blocked identifier. All their rows come before those of the page's events.
fn fill_with_sparse_rows(work: &Work) {
    let (mut state, mut events) = (String::new(), String::new());
    for number in 0..SAMPLE + 20 {
        let column = number % 400;
        writeln!(state, r#"{{"canonical_segment_id":"a{number}","type":"user_id","value":"old{number}"}}"#)
            .unwrap();
        let common = format!(r#""userId":"old{number}","receivedAt":"2020-01-01T00:00:00Z""#);
        writeln!(
            events,
            r#"{{"type":"page","messageId":"p{number}","anonymousId":"0-0-0",{common},"properties":{{"p_{column}":1}}}}"#
        )
        .unwrap();
        writeln!(
            events,
            r#"{{"type":"identify","messageId":"i{number}",{common},"traits":{{"t_{column}":1}}}}"#
        )
        .unwrap();
    }
    work.write("state/user_identifiers.ndjson", state);
    work.write("sparse.ndjson", events);
    let space = ["--space", "queries", "-q"];
    work.program(&[&["backfill", "profiles", "state"][..], &space].concat()).assert().success();
    work.program(&[&["ingest", "sparse.ndjson"][..], &space].concat()).assert().success();
}

/// Returns the rows of a query in a canonical spelling, without nulls.
fn spelled(rows: &str) -> BTreeSet<String> {
    let row = |line: &str| {
        let row: Map<String, Value> = serde_json::from_str(line).unwrap();
        let row: Map<String, Value> = row.into_iter().filter(|(_, value)| !value.is_null()).collect();
        serde_json::to_string(&row).unwrap()
    };
    rows.lines().map(row).collect()
}

#[test]
fn the_queries_handle_wide_sparse_tables() {
    let Some(duckdb) = DuckDb::find() else { return };
    let page = project_text("docs/tables.md");
    let work = Work::new();
    fill_with_sparse_rows(&work);
    for input in ["fixtures/sample/events.ndjson", "fixtures/cases/second-chance/in/events.ndjson"] {
        work.write(input, project_text(input));
    }
    work.program(&arguments(&page)).assert().success();
    let queries = queries(&page);
    let paths: Vec<_> =
        queries.iter().map(|(name, sql)| work.write(&format!("sql/{name}.sql"), sql)).collect();
    let setup = write_setup(&work, &page, ".ndjson");
    duckdb.run(&work.path("queries"), &work.path("out"), &["--setup", &setup], &paths);
    for (name, _) in queries {
        let rows = spelled(&work.read(&format!("out/{name}.ndjson")));
        let expected = spelled(&project_text(&format!("fixtures/queries/{name}.ndjson")));
        let missing: Vec<_> = expected.difference(&rows).collect();
        assert!(!expected.is_empty() && missing.is_empty(), "{name}: {missing:?}");
    }
}
