//! A DuckDB file, filled by printed statements.

use std::process::Command;

use super::compare::{Database, Table};
use crate::{
    duckdb::DuckDb,
    support::{Work, project},
};

/// A database in a folder of a test.
pub(crate) struct DuckDbFile<'a> {
    python: DuckDb,
    work: &'a Work,
    file: &'static str,
}

impl<'a> DuckDbFile<'a> {
    /// An empty one; `None` if DuckDB cannot be had.
    pub(crate) fn new(work: &'a Work) -> Option<Self> {
        DuckDb::find().map(|python| Self { python, work, file: "test.duckdb" })
    }

    /// Another one beside it.
    pub(crate) fn other(&self, file: &'static str) -> Self {
        Self { python: DuckDb { python: self.python.python }, work: self.work, file }
    }

    /// Runs a script that may fail.
    pub(crate) fn try_run(&self, script: &str) -> Result<(), String> {
        self.work.write("script.sql", script);
        self.call("run", "script.sql").map(drop)
    }

    /// The rows of a query.
    pub(crate) fn rows(&self, query: &str) -> String {
        self.call("rows", query).unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    fn call(&self, what: &str, argument: &str) -> Result<String, String> {
        let output = Command::new(self.python.python)
            .current_dir(self.work.path(""))
            .arg(project("tests/it/schema/run_script.py"))
            .args([self.file, what, argument])
            .output()
            .unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

impl Database for DuckDbFile<'_> {
    const STORES_NUL: bool = true;

    fn run(&self, script: &str) {
        self.try_run(script).unwrap_or_else(|error| panic!("{error}"));
    }

    fn dump(&self, table: &Table) -> String {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let columns: Vec<_> = table.columns.iter().map(|column| quoted(&column.name)).collect();
        let columns: Vec<_> = columns.iter().map(|name| format!("{name}::VARCHAR AS {name}")).collect();
        self.rows(&format!("SELECT {} FROM {}", columns.join(", "), quoted(&table.name)))
    }
}
