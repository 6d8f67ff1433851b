//! Plain SQL over the raw tables gives the same six views, row for row: the current ones, and those of an earlier time.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::DuckDb;
use crate::{
    dump::{self, Knobs},
    support::{
        Work, project,
        tree::{self, Tree},
    },
};

/// The views, each after those that its SQL reads.
const VIEWS: [&str; 6] = [
    "id_graph",
    "external_id_mapping",
    "profile_traits",
    "user_traits",
    "user_identifiers",
    "profile_merges",
];

const KNOBS: Knobs = Knobs { events: 100_000, seed: 7, days: 120, malformed: 0.0, changes: 5.0 };

/// Each situation must occur more often than this, or the test proves little.
const OFTEN: u64 = 50;

#[test]
fn plain_sql_gives_the_views_of_100_000_events() {
    let Some(duckdb) = DuckDb::find() else { return };
    let work = Work::new();
    let mut events = Vec::new();
    dump::write(KNOBS, &mut events).unwrap();
    work.write("events.ndjson", events);
    work.program(&["ingest", "events.ndjson", "--space", "space", "--materialize"]).assert().success();
    check(&duckdb, &work, "space", &[]);

    let situations = work.rows("sql-space/situations.ndjson");
    let situations = situations[0].as_object().unwrap();
    assert_eq!(situations.len(), 7, "{situations:?}");
    for (what, count) in situations {
        assert!(OFTEN < count.as_u64().unwrap(), "{what}: {count}");
    }

    // A clock from the middle of the tables.
    let updates = work.read("space/profile_traits_updates.ndjson");
    let row = updates.lines().nth(updates.lines().count() / 2).unwrap();
    let row: Value = serde_json::from_str(row).unwrap();
    let as_of = ["--as-of", row["uuid_ts"].as_str().unwrap()];
    let past = ["materialize", "--space", "space", "--out", "past", as_of[0], as_of[1]];
    work.program(&past).assert().success();
    check(&duckdb, &work, "past", &as_of);
    assert!(work.read("past/id_graph.ndjson").len() < work.read("space/id_graph.ndjson").len());
}

/// Compares the views in a folder with those that DuckDB makes from the raw tables of the space.
fn check(duckdb: &DuckDb, work: &Work, folder: &str, flags: &[&str]) {
    let sql = project("tests/it/duckdb");
    let setup = sql.join("raw.sql");
    let flags = [flags, &["--setup", setup.to_str().unwrap()]].concat();
    let views = VIEWS.map(|view| sql.join(format!("views/{view}.sql")));
    let queries = [&views[..], &[sql.join("situations.sql")]].concat();
    let out = work.path(&format!("sql-{folder}"));
    duckdb.run(&work.path("space"), &out, &flags, &queries);
    let differences = tree::differences(&views_in(&out), &views_in(&work.path(folder)));
    assert!(differences.is_empty(), "{folder}, where SQL gives the expected views\n{differences}");
}

/// Reads the views in a canonical spelling: columns sorted by name, without nulls.
fn views_in(folder: &Path) -> Tree {
    let view = |name: &str| {
        let name = PathBuf::from(format!("{name}.ndjson"));
        let text = fs::read_to_string(folder.join(&name)).unwrap();
        let rows = text.lines().map(|line| {
            let row: Map<String, Value> = serde_json::from_str(line).unwrap();
            let row: Map<String, Value> = row.into_iter().filter(|(_, value)| !value.is_null()).collect();
            serde_json::to_string(&row).unwrap() + "\n"
        });
        let rows: String = rows.collect();
        assert!(!rows.is_empty(), "{}", name.display());
        (name, rows.into_bytes())
    };
    VIEWS.into_iter().map(view).collect()
}
