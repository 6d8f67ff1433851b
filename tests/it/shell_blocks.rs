//! Every shell block of the README runs as printed, in order, in a fresh folder that contains only `fixtures/`. A `text`
//! block after a shell block is its expected output.

use std::{
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::support::{Work, project, project_text};

/// A fenced code block: its language, its text, and the line number of its opening fence.
struct Block {
    language: String,
    text: String,
    line: usize,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (number, line) in page.lines().enumerate() {
        if let Some(language) = line.strip_prefix("```") {
            if !is_open {
                blocks.push(Block { language: language.to_owned(), text: String::new(), line: number + 1 });
            }
            is_open = !is_open;
        } else if is_open {
            let block = blocks.last_mut().unwrap();
            block.text.push_str(line);
            block.text.push('\n');
        }
    }
    assert!(!is_open, "a code block is not closed");
    blocks
}

/// Runs the shell blocks of a page and returns their number.
fn run_page(page: &str, path_variable: &str) -> usize {
    let work = Work::new();
    symlink(project("fixtures"), work.path("fixtures")).unwrap();
    let blocks = blocks(&project_text(page));
    let mut n_run = 0;
    for (index, block) in blocks.iter().enumerate() {
        // CI builds and tests the project anyway.
        if block.language != "sh" || block.text.starts_with("cargo ") {
            continue;
        }
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &block.text])
            .current_dir(work.path(""))
            .env_clear()
            .env("PATH", path_variable)
            .env("HOME", work.path(""))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let place = format!("{page}:{}", block.line);
        assert!(output.status.success(), "{place} failed:\n{}\n{stdout}{stderr}", block.text);
        if let Some(shown) = blocks.get(index + 1).filter(|next| next.language == "text") {
            assert_eq!(shown.text, stdout, "unexpected output of {place}");
        }
        n_run += 1;
    }
    n_run
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[test]
fn every_shell_block_of_the_readme_runs() {
    if !is_installed("jq") {
        assert!(std::env::var_os("CI").is_none(), "jq is not installed");
        // Written directly, because the test harness captures what macros print.
        std::io::stderr().write_all(b"SKIPPED: a test that needs jq\n").unwrap();
        return;
    }
    let program = PathBuf::from(assert_cmd::cargo::cargo_bin!("profiles-sync"));
    let path_variable = format!(
        "{}:{}",
        program.parent().unwrap_or(Path::new("")).display(),
        std::env::var("PATH").unwrap_or_default()
    );
    assert!(2 <= run_page("README.md", &path_variable));
}
