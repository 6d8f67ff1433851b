//! The README and the docs match what the program prints and what CI runs.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::support::{Work, program, project, project_text};

/// Returns the lines of the first fenced block after `start`.
fn block_after<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no `{start}`"));
    rest.lines()
        .skip_while(|line| !line.starts_with("```"))
        .skip(1)
        .take_while(|line| !line.starts_with("```"))
        .collect()
}

#[test]
fn ci_runs_the_commands_of_the_readme() {
    let (readme, ci) = (project_text("README.md"), project_text(".ci/run"));
    for start in ["This builds the program", "This runs all tests"] {
        let block = block_after(&readme, start);
        assert_eq!(block.len(), 1, "expected one line: {block:?}");
        assert!(ci.lines().any(|line| line.trim_start() == block[0]), "`{}` is not in .ci/run", block[0]);
    }
}

#[test]
fn the_summary_on_the_command_line_page_is_what_the_program_prints() {
    let page = project_text("docs/cli.md");
    let work = Work::new();
    work.write("fixtures/sample/events.ndjson", project_text("fixtures/sample/events.ndjson"));
    let args = ["ingest", "fixtures/sample/events.ndjson", "--space", "out", "--materialize"];
    let assert = work.program(&args).assert().success();
    let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    let shown = block_after(&page, "A run prints what it did");
    // The headline ends with the folder and the time taken, which differ.
    assert_eq!(shown[0].split_once(" into ").unwrap().0, said.split_once(" into ").unwrap().0);
    let said: Vec<_> = said.lines().filter(|line| line.starts_with(' ')).collect();
    let shown: Vec<_> = shown.into_iter().filter(|line| line.starts_with(' ')).collect();
    assert_eq!(shown, said);
}

#[test]
fn the_page_on_the_command_line_lists_exactly_the_flags() {
    let page = project_text("docs/cli.md");
    let mut known = BTreeSet::new();
    for command in [
        &[][..],
        &["ingest"],
        &["materialize"],
        &["backfill", "profiles"],
        &["backfill", "events"],
        &["backfill", "raw"],
        &["diff"],
    ] {
        let assert = program().args(command).arg("--help").assert().success();
        let help = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
        known.extend(flags(&help));
    }
    known.extend(
        ["--no-full", "--no-json", "--no-materialize", "--no-only-summary", "--no-quiet"].map(str::to_owned),
    );
    assert_eq!(flags(&page), known);
}

fn flags(text: &str) -> BTreeSet<String> {
    text.match_indices("--")
        .filter(|(at, _)| text[..*at].ends_with([' ', '`', '(', '|', '\n', '[']))
        .map(|(at, _)| {
            let name: String =
                text[at + 2..].chars().take_while(|next| next.is_ascii_lowercase() || *next == '-').collect();
            format!("--{name}")
        })
        .filter(|flag| flag.len() > 2 && !flag.ends_with('-'))
        .collect()
}

#[test]
fn the_console_blocks_of_the_docs_run() {
    trycmd::TestCases::new().case(project("docs/cli.md"));
}

#[test]
fn code_is_ascii() {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "toml") {
                files.push(path);
            }
        }
    }
    let mut files = vec![project("Cargo.toml"), project(".clippy.toml"), project(".rustfmt.toml")];
    for folder in ["src", "tests", "fixtures"] {
        walk(&project(folder), &mut files);
    }
    for file in files {
        assert!(fs::read(&file).unwrap().is_ascii(), "{}", file.display());
    }
}
