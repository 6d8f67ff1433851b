//! A PostgreSQL of a test's own: a cluster in a folder, on a Unix socket, gone at the end.
//!
//! It is Debian's package `postgresql`. As root it runs as the user `nobody`, for it refuses root.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use super::compare::{Database, Table};
use crate::support::Work;

/// The user and group that serve in the place of root.
const NOBODY: u32 = 65_534;

/// A running server, and a folder from which `psql` runs.
pub(crate) struct Postgres<'a> {
    server: Child,
    folder: TempDir,
    work: &'a Work,
}

impl<'a> Postgres<'a> {
    /// Starts one; `None` if it is not installed, which must not happen in CI.
    pub(crate) fn start(work: &'a Work) -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(env::var_os("CI").is_none(), "PostgreSQL is needed in CI: apt-get install postgresql");
            // Past the capturing of what tests print.
            io::stderr().write_all(b"SKIPPED: a test that needs PostgreSQL and psql\n").unwrap();
            return None;
        };
        let folder = TempDir::new().unwrap();
        let is_root =
            fs::metadata("/proc/self").is_ok_and(|itself| std::os::unix::fs::MetadataExt::uid(&itself) == 0);
        if is_root {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let program = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.current_dir(folder.path()).env_clear().stdin(Stdio::null());
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let data = folder.path().join("data");
        let flags = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"];
        let made = program("initdb").arg("-D").arg(&data).args(flags).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let log = fs::OpenOptions::new().append(true).create(true).open(folder.path().join("log")).unwrap();
        let server = program("postgres")
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_wal_size=4GB"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut postgres = Self { server, folder, work };
        postgres.wait();
        Some(postgres)
    }

    fn wait(&mut self) {
        for _ in 0..600 {
            if self.database("postgres").psql(&["--command", "SELECT 1"]).output().unwrap().status.success() {
                return;
            }
            assert!(self.server.try_wait().unwrap().is_none(), "{}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
        panic!("PostgreSQL does not start: {}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Where clients find the server.
    pub(crate) fn host(&self) -> &Path {
        self.folder.path()
    }

    /// One of its databases.
    pub(crate) fn database(&self, name: &'static str) -> PostgresDatabase<'_> {
        PostgresDatabase { host: self.host(), work: self.work, name }
    }

    /// Runs a script that may fail in the database that is always there.
    pub(crate) fn try_run(&self, script: &str) -> Result<(), String> {
        self.database("postgres").try_run(script)
    }

    /// The rows of a query of the database that is always there.
    pub(crate) fn rows(&self, query: &str) -> String {
        self.database("postgres").rows(query)
    }
}

/// A database of a running server.
pub(crate) struct PostgresDatabase<'a> {
    host: &'a Path,
    work: &'a Work,
    name: &'static str,
}

impl PostgresDatabase<'_> {
    fn psql(&self, args: &[&str]) -> Command {
        let mut command = Command::new("psql");
        command
            .current_dir(self.work.path(""))
            .args(["--no-psqlrc", "--quiet", "--username", "postgres", "--dbname", self.name, "--host"])
            .arg(self.host)
            .args(args);
        command
    }

    fn try_run(&self, script: &str) -> Result<(), String> {
        self.work.write("script.sql", script);
        let output = self.psql(&["--file", "script.sql"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    }

    fn rows(&self, query: &str) -> String {
        let output = self.psql(&["--tuples-only", "--no-align", "--command", query]).output().unwrap();
        assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Postgres<'_> {
    fn drop(&mut self) {
        // At once, whoever is connected: nothing of it is needed any more.
        let _ = Command::new("kill").args(["-QUIT", &self.server.id().to_string()]).status();
        let _ = self.server.wait();
    }
}

impl Database for Postgres<'_> {
    const STORES_NUL: bool = false;

    fn run(&self, script: &str) {
        self.database("postgres").run(script);
    }

    fn dump(&self, table: &Table) -> String {
        self.database("postgres").dump(table)
    }
}

impl Database for PostgresDatabase<'_> {
    const STORES_NUL: bool = false;

    fn run(&self, script: &str) {
        self.try_run(script).unwrap_or_else(|error| panic!("{error}"));
    }

    fn dump(&self, table: &Table) -> String {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let columns: Vec<_> = table.columns.iter().map(|column| quoted(&column.name)).collect();
        let columns: Vec<_> = columns.iter().map(|name| format!("{name}::text AS {name}")).collect();
        let query = format!(
            "SET TimeZone = 'UTC'; SELECT to_json(one) FROM (SELECT {} FROM {}) AS one",
            columns.join(", "),
            quoted(&table.name)
        );
        self.rows(&query)
    }
}

/// The folder of the server's programs.
fn programs() -> Option<PathBuf> {
    Command::new("psql").arg("--version").output().ok()?;
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    let path = env::var_os("PATH").unwrap_or_default();
    folders.splice(0..0, env::split_paths(&path));
    folders.into_iter().rev().find(|folder| folder.join("initdb").is_file() && has_server(folder))
}

fn has_server(folder: &Path) -> bool {
    folder.join("postgres").is_file()
}
