//! Test helpers: a temporary folder, the program to run in it, and the files of this project.

pub(crate) mod tree;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use assert_cmd::Command;
use tempfile::TempDir;

/// A temporary folder for one test.
pub(crate) struct Work {
    folder: TempDir,
}

impl Work {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    /// Returns a path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, creates the folders above it, and returns its path.
    #[expect(clippy::disallowed_methods, reason = "tests may write files directly")]
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Reads a file as text.
    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Reads the rows of a table; empty if there is no such file.
    pub(crate) fn rows(&self, name: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns a command that runs the program in this folder with an empty environment, as cron would.
    pub(crate) fn program(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.current_dir(self.folder.path()).args(args);
        command
    }

    /// Runs the program with standard output going to a pipe that nobody reads.
    pub(crate) fn without_reader(&self, args: &[&str]) -> Output {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        std::process::Command::new(assert_cmd::cargo::cargo_bin!("profiles-sync"))
            .env_clear()
            .current_dir(self.folder.path())
            .args(args)
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .unwrap()
    }
}

/// Returns a command that runs the program with an empty environment.
pub(crate) fn program() -> Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("profiles-sync");
    command.env_clear();
    command
}

/// Returns the path of a file or folder of this project.
pub(crate) fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Reads a file of this project as text.
pub(crate) fn project_text(name: &str) -> String {
    let path = project(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the names of the entries of a folder, sorted.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
