//! A folder for one test, the program in it, and small files.

pub(crate) mod tree;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use assert_cmd::Command;
use tempfile::TempDir;

/// A folder of its own, gone at the end of the test.
pub(crate) struct Work {
    folder: TempDir,
}

impl Work {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a file, and the folders above it.
    #[expect(clippy::disallowed_methods, reason = "a test's own files need no wrapper")]
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The text of a file.
    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The rows of a table; none where there is no such file.
    pub(crate) fn rows(&self, name: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The program, with this folder as working directory and an empty environment, as cron would run it.
    pub(crate) fn program(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.current_dir(self.folder.path()).args(args);
        command
    }

    /// The same, run with a standard output whose reader is gone.
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

/// The program with an empty environment.
pub(crate) fn program() -> Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("profiles-sync");
    command.env_clear();
    command
}

/// A path in this project.
pub(crate) fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The text of a file of this project.
pub(crate) fn project_text(name: &str) -> String {
    let path = project(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names in a folder, sorted.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
