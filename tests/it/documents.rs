//! The README and the docs match what the program prints and what CI runs.

mod flags;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::support::{Work, project, project_text};

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
    let command = block_after(&page, "A run prints what it did");
    let args: Vec<&str> = command[0].split(' ').skip(1).collect();
    let work = Work::new();
    std::os::unix::fs::symlink(project("fixtures"), work.path("fixtures")).unwrap();
    let assert = work.program(&args).assert().success();
    let printed = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    let (_, rest) = page.split_once(command[0]).unwrap();
    let shown = block_after(rest, "```");
    // The headlines end with the time taken.
    let without_time = |line: &str| line.split_once(" in ").map_or(line, |(start, _)| start).to_owned();
    let printed: Vec<String> = printed.lines().map(without_time).collect();
    assert_eq!(shown.into_iter().map(without_time).collect::<Vec<_>>(), printed);
}

#[test]
fn the_page_on_the_command_line_lists_exactly_the_flags() {
    let page = project_text("docs/cli.md");
    let mut known: BTreeSet<String> =
        flags::commands().iter().flat_map(|command| flags_in(&flags::long_help(command))).collect();
    known.extend(
        ["--no-full", "--no-json", "--no-materialize", "--no-only-summary", "--no-quiet"].map(str::to_owned),
    );
    assert_eq!(flags_in(&page), known);
}

fn flags_in(text: &str) -> BTreeSet<String> {
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

#[test]
fn the_page_on_architecture_mentions_files_that_exist() {
    fn walk(folder: &Path, files: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            }
            files.push(path.display().to_string());
        }
    }
    let mut files = Vec::new();
    walk(&project("src"), &mut files);
    let page = project_text("docs/architecture.md");
    let mentioned =
        page.split('`').skip(1).step_by(2).filter(|text| Path::new(text).extension() == Some("rs".as_ref()));
    let missing: Vec<&str> =
        mentioned.filter(|name| !files.iter().any(|file| file.ends_with(&format!("/{name}")))).collect();
    assert!(missing.is_empty(), "docs/architecture.md mentions files that do not exist: {missing:?}");
}
