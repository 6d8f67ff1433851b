//! DuckDB reads the tables of the program, as an independent check.
//!
//! It is installed once, from PyPI, into a virtual environment below `target/`. If that fails, these tests print the
//! reason and do nothing; in CI they fail.

mod parity;
mod queries;

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::support::project;

/// The version to install from PyPI.
const VERSION: &str = "2.0.0";
/// The version of `sqlglot`, which parses the SQL of warehouses that no test can run.
const SQLGLOT: &str = "30.30.0";

/// A Python interpreter that has DuckDB.
pub(crate) struct DuckDb {
    pub(crate) python: &'static Path,
}

impl DuckDb {
    /// Finds or installs DuckDB. If that fails, panics in CI and otherwise returns `None`.
    pub(crate) fn find() -> Option<Self> {
        static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        match PYTHON.get_or_init(find_or_make) {
            Ok(python) => Some(Self { python }),
            Err(error) => {
                assert!(env::var_os("CI").is_none(), "DuckDB is needed in CI: {error}");
                // The test harness captures what the print macros write, but not this.
                let message = format!("SKIPPED: a test that needs DuckDB from PyPI: {error}\n");
                io::stderr().write_all(message.as_bytes()).unwrap();
                None
            }
        }
    }

    /// Runs queries over the tables in a folder and writes each result to `OUT/NAME.ndjson`.
    fn run(&self, folder: &Path, out: &Path, flags: &[&str], queries: &[PathBuf]) {
        let mut command = Command::new(self.python);
        command.current_dir(folder).arg(project("tests/it/duckdb/run.py")).arg(out).args(queries).args(flags);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn find_or_make() -> Result<PathBuf, String> {
    python_with(&[("duckdb", VERSION), ("sqlglot", SQLGLOT)])
}

/// A Python of its own that has packages of PyPI in these versions; made once.
pub(crate) fn python_with(packages: &[(&str, &str)]) -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let names: Vec<String> = packages.iter().map(|(name, version)| format!("{name}-{version}")).collect();
    let environment = target.join(names.join("-"));
    let python = environment.join("bin/python");
    if is_usable(&python, packages) {
        return Ok(python);
    }
    // Installed in a temporary folder and then renamed, so an interrupted installation is never used.
    let beside = tempfile::Builder::new().prefix("python-").tempdir_in(target).unwrap();
    run(Command::new("python3").args(["-m", "venv"]).arg(beside.path()))?;
    let pinned = packages.iter().map(|(name, version)| format!("{name}=={version}"));
    let flags = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(beside.path().join("bin/python")).args(flags).args(pinned))?;
    let _ = fs::remove_dir_all(&environment);
    #[expect(clippy::disallowed_methods, reason = "a test's own files need no wrapper")]
    let renamed = fs::rename(beside.path(), &environment);
    // Another process may have been faster.
    if is_usable(&python, packages) {
        Ok(python)
    } else {
        Err(format!("the interpreter does not run: {renamed:?}"))
    }
}

fn is_usable(python: &Path, packages: &[(&str, &str)]) -> bool {
    let checks: Vec<String> =
        packages.iter().map(|(name, wanted)| format!("assert version('{name}') == '{wanted}'")).collect();
    let code = format!("from importlib.metadata import version\n{}", checks.join("\n"));
    Command::new(python).args(["-c", &code]).output().is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&said).trim()))
}
