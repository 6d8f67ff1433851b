//! What `docs/loading.md` shows runs as it is printed, and gives what the page says.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    compare::{Database, assert_same, tables},
    duckdb::DuckDbFile,
    postgres::Postgres,
};
use crate::support::{Work, project, project_text};

const PAGE: &str = "docs/loading.md";

/// The part of the page below a heading of the second level.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    rest.split("\n## ").next().unwrap()
}

/// The blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("```{language}\n");
    text.split(start.as_str()).skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

/// A folder that has the fixtures, as the page expects.
fn work() -> Work {
    let work = Work::new();
    symlink(project("fixtures"), work.path("fixtures")).unwrap();
    work
}

/// Runs a shell block with the program and a database of its own.
fn run(work: &Work, postgres: &Postgres<'_>, database: &str, script: &str) {
    let program = PathBuf::from(assert_cmd::cargo::cargo_bin!("profiles-sync"));
    let folder = program.parent().unwrap_or(Path::new("")).display();
    let output = Command::new("bash")
        .args(["-euc", script])
        .current_dir(work.path(""))
        .env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap_or_default()))
        .env("PGHOST", postgres.host())
        .env("PGUSER", "postgres")
        .env("PGDATABASE", database)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_postgres_of_the_page_loads_and_its_nights_keep_it_true() {
    let page = project_text(PAGE);
    let work = work();
    let Some(postgres) = Postgres::start(&work) else { return };
    run(&work, &postgres, "postgres", blocks(&page, "sh")[0]);
    for sql in blocks(section(&page, "PostgreSQL"), "sql") {
        let rows = postgres.rows(sql);
        assert!(sql.starts_with("CREATE INDEX") || 10 <= rows.lines().count(), "{sql}: {rows}");
    }

    postgres.rows("CREATE DATABASE night");
    let nights = blocks(section(&page, "Every night"), "sh");
    run(&work, &postgres, "night", nights[0]);
    work.write("night.sh", nights[1]);
    run(&work, &postgres, "night", "sh night.sh fixtures/cases/second-chance/in");
    let check = || {
        let night = postgres.database("night");
        assert_same(&night, &work, "out", &tables(&work.read("warehouse.json")));
    };
    check();
    assert!(!work.path("changes.ndjson").exists());

    // A night that did not come to its end: the statements were not run, and a later night sees to it.
    let interrupted = nights[1].replace("    psql ", "    exit 3 # ");
    work.write("interrupted.sh", interrupted);
    run(&work, &postgres, "night", "! sh interrupted.sh fixtures/cases/kiosk/in");
    assert!(work.path("changes.ndjson").exists());
    run(&work, &postgres, "night", "sh night.sh fixtures/cases/late-merge/in");
    check();
}

#[test]
fn the_duckdb_of_the_page_loads_and_becomes_parquet() {
    let page = project_text(PAGE);
    let work = work();
    let Some(duckdb) = DuckDbFile::new(&work) else { return };
    let ingest = ["ingest", "fixtures/sample/events.ndjson", "--space", "out", "--materialize", "-q"];
    work.program(&ingest).assert().success();
    let section = section(&page, "DuckDB");
    let [command, load] = blocks(section, "sh")[0].lines().collect::<Vec<_>>()[..] else {
        panic!("two commands")
    };
    assert!(load.ends_with("< load.sql"), "{load}");
    let words: Vec<&str> = command.strip_suffix(" > load.sql").unwrap().split(' ').skip(1).collect();
    let assert = work.program(&words).assert().success();
    duckdb.run(&String::from_utf8_lossy(&assert.get_output().stdout));
    let [profiles, export] = blocks(section, "sql")[..] else { panic!("two queries") };
    assert_eq!(duckdb.rows(profiles).lines().count(), 10);
    duckdb.run(export);
    assert!(work.path("parquet/profile_traits.parquet").is_file());

    let assert = work.program(&[&words[..], &["--format", "json"]].concat()).assert().success();
    let tables = tables(&String::from_utf8_lossy(&assert.get_output().stdout));
    assert_same(&duckdb, &work, "out", &tables);
    let copy = duckdb.other("copy.duckdb");
    copy.run("IMPORT DATABASE 'parquet'");
    assert_same(&copy, &work, "out", &tables);
    for table in &tables {
        let types = |database: &DuckDbFile<'_>| {
            let name = table.ours.replace('\'', "''");
            database.rows(&format!(
                "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = '{name}' ORDER BY column_index"
            ))
        };
        assert_eq!(types(&duckdb), types(&copy), "{}", table.ours);
    }
}
