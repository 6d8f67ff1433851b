//! A space loads from the printed statements alone, and so does the next night: new rows, new columns, changed types, and the
//! changes of all views.

use super::{
    awkward::{self, N_WIDE, long_names},
    compare::{Database, Table, assert_same, tables},
    duckdb::DuckDbFile,
    postgres::Postgres,
};
use crate::{
    dump::{self, Knobs},
    support::{Work, project_text},
};

/// Events beside the awkward ones.
const MANY: u64 = 50_000;
const FEW: u64 = 3_000;

/// A path that statements have to quote, and that is a pattern for DuckDB.
const SPACE: &str = "it's a [space]";

/// The standard output of the program.
fn stdout(work: &Work, args: &[&str]) -> String {
    let assert = work.program(args).assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

/// What `schema` prints for the space.
fn schema(work: &Work, dialect: &str, flags: &[&str]) -> String {
    stdout(work, &[&["schema", "--space", SPACE, "--dialect", dialect, "-q"], flags].concat())
}

fn ingest(work: &Work, name: &str, events: &str, flags: &[&str]) {
    work.write(name, events);
    stdout(work, &[&["ingest", name, "--space", SPACE, "-q"], flags].concat());
}

/// Loads a space on one day and brings it up to date on the next; returns the tables as they are then.
fn two_nights<D: Database>(
    work: &Work,
    database: &D,
    n_events: u64,
    dialect: &str,
    ingest_flags: &[&str],
    flags: &[&str],
) -> Vec<Table> {
    let mut events = Vec::new();
    let knobs = Knobs { events: n_events, seed: 11, days: 90, malformed: 0.1, changes: 5.0 };
    dump::write(knobs, &mut events).unwrap();
    let events = String::from_utf8(events).unwrap();
    let lines: Vec<&str> = events.split_inclusive('\n').collect();
    let (first, next) = lines.split_at(lines.len() * 9 / 10);
    ingest(work, "first.ndjson", &(awkward::first_day() + &first.concat()), ingest_flags);
    stdout(work, &["materialize", "--space", SPACE, "-q"]);
    database.run(&schema(work, dialect, flags));
    let was = schema(work, dialect, &[flags, &["--format", "json"]].concat());
    assert_same(database, work, SPACE, &tables(&was));
    work.write("was.json", &was);

    ingest(work, "next.ndjson", &(awkward::next_day() + &next.concat()), &[]);
    stdout(work, &["materialize", "--space", SPACE, "--changes", "what changed.ndjson", "-q"]);
    let views = work.read("what changed.ndjson");
    for (view, change) in [("id_graph", "upsert"), ("profile_traits", "upsert"), ("user_traits", "delete")] {
        let start = format!("{{\"view\":\"{view}\",\"change\":\"{change}\"");
        assert!(views.lines().any(|line| line.starts_with(&start)), "no {change} in {view}");
    }
    let since = ["--since", "was.json"];
    let night = [flags, &since, &["--night", "--upsert", "what changed.ndjson"]].concat();
    let statements = schema(work, dialect, &night);
    database.run(&statements);
    let now = schema(work, dialect, &[flags, &since, &["--format", "json"]].concat());
    let now_tables = tables(&now);
    assert_same(database, work, SPACE, &now_tables);

    // Once more, as after a job that did not know whether it had come to its end; and a night without events.
    database.run(&statements);
    work.write("was.json", &now);
    database.run(&schema(work, dialect, &night));
    assert_same(database, work, SPACE, &now_tables);
    now_tables
}

/// The type of a column in the database.
fn type_of(tables: &[Table], table: &str, column: &str) -> String {
    let found = tables.iter().find(|one| one.ours == table).unwrap_or_else(|| panic!("no {table}"));
    let column = found.columns.iter().find(|one| one.ours == column);
    column.unwrap_or_else(|| panic!("no such column in {table}")).sql_type.clone()
}

#[test]
fn duckdb_has_every_value_after_two_nights() {
    let work = Work::new();
    let Some(database) = DuckDbFile::new(&work) else { return };
    let tables = two_nights(&work, &database, MANY, "duckdb", &["--compress", "zstd"], &[]);
    for (table, column, expected) in [
        // 14 digits before the point and 31 after it are too many for an exact decimal.
        ("identifies", "amount", "VARCHAR"),
        ("identifies", "huge", "DECIMAL(38,0)"),
        ("identifies", "huger", "VARCHAR"),
        ("identifies", "mixed", "VARCHAR"),
        ("identifies", "order", "BOOLEAN"),
        ("identifies", "looks_like_a_time", "VARCHAR"),
        ("identifies", "timestamp", "TIMESTAMPTZ"),
        ("profile_traits", "limit", "VARCHAR"),
        ("profile_traits", "count", "DECIMAL(38,2)"),
        ("profile_traits", "late", "BOOLEAN"),
    ] {
        assert_eq!(type_of(&tables, table, column), expected, "{table}.{column}");
    }
}

#[test]
fn postgres_has_every_value_after_two_nights() {
    let work = Work::new();
    let Some(database) = Postgres::start(&work) else { return };
    let tables = two_nights(&work, &database, MANY, "postgres", &[], &[]);
    for (table, column, expected) in [
        ("identifies", "amount", "numeric"),
        ("identifies", "huger", "numeric"),
        ("identifies", "mixed", "text"),
        ("identifies", "order", "boolean"),
        ("identifies", "timestamp", "timestamptz"),
        ("profile_traits", "limit", "text"),
        ("profile_traits", "count", "numeric"),
        ("tracks", "event_source_id", "text"),
    ] {
        assert_eq!(type_of(&tables, table, column), expected, "{table}.{column}");
    }
    let names: Vec<&String> = tables
        .iter()
        .flat_map(|table| table.columns.iter().map(|column| &column.name).chain([&table.name]))
        .collect();
    assert!(names.iter().all(|name| name.len() <= 63));
    let updates = tables.iter().find(|table| table.ours == "profile_traits_updates").unwrap();
    let long = long_names().map(|name| updates.columns.iter().find(|column| column.ours == name).unwrap());
    assert_ne!(long[0].name, long[1].name);
    let pages = tables.iter().find(|table| table.ours == "pages").unwrap();
    assert!(N_WIDE < pages.columns.len());
}

#[test]
fn postgres_loads_compressed_tables_and_rows_as_json() {
    let work = Work::new();
    let Some(database) = Postgres::start(&work) else { return };
    let tables =
        two_nights(&work, &database, FEW, "postgres", &["--compress", "zstd"], &["--columns-as-json"]);
    let pages = tables.iter().find(|table| table.ours == "pages").unwrap();
    assert_eq!(pages.columns.last().unwrap().name, "row_json");
    assert_eq!(pages.columns.len(), 14);
    let amounts =
        "SELECT row_json->>'amount' FROM identifies WHERE row_json->>'amount' LIKE '1.%' ORDER BY 1";
    assert_eq!(database.rows(amounts), "1.10\n1.234567890123456789012\n");
}

#[test]
fn duckdb_loads_rows_as_json() {
    let work = Work::new();
    let Some(database) = DuckDbFile::new(&work) else { return };
    two_nights(&work, &database, FEW, "duckdb", &[], &["--columns-as-json"]);
}

#[test]
fn the_case_study_loads_everywhere_and_the_second_load_is_refused_whole() {
    let work = Work::new();
    let events = project_text("fixtures/cases/jane-kim/in/events.ndjson");
    ingest(&work, "events.ndjson", &events, &["--materialize", "--segment-ids", "sequential"]);
    if let Some(database) = DuckDbFile::new(&work) {
        let script = schema(&work, "duckdb", &[]);
        database.run(&script);
        let tables = tables(&schema(&work, "duckdb", &["--format", "json"]));
        assert_same(&database, &work, SPACE, &tables);
        assert!(database.try_run(&script).unwrap_err().contains("already exists"));
        assert_same(&database, &work, SPACE, &tables);
    }
    if let Some(database) = Postgres::start(&work) {
        let script = schema(&work, "postgres", &[]);
        database.run(&script);
        let tables = tables(&schema(&work, "postgres", &["--format", "json"]));
        assert_same(&database, &work, SPACE, &tables);
        assert!(database.try_run(&script).unwrap_err().contains("already exists"));
        assert_same(&database, &work, SPACE, &tables);
    }
}
