//! Every shell block of the README and of `docs/` runs as printed, in order, each page in a fresh folder that contains
//! only `fixtures/`. A `text` block after a shell block, under the same heading, is its expected output.

use std::{
    fmt::Write as _,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::support::{Work, names_in, project, project_text};

/// A fenced code block: its language, its text, the line number of its opening fence, and the number of headings before.
struct Block<'a> {
    language: &'a str,
    text: String,
    line: usize,
    heading: usize,
}

/// The languages of blocks. Only `sh` is run, so another name for a shell is refused. A `log` is on the standard error.
const LANGUAGES: [&str; 10] =
    ["sh", "text", "log", "console", "crontab", "json", "sql", "toml", "yaml", "mermaid"];

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut is_open, mut heading) = (false, 0);
    for (number, line) in page.lines().enumerate() {
        if let Some(language) = line.strip_prefix("```") {
            if !is_open {
                assert!(LANGUAGES.contains(&language), "line {}: a block of `{language}`", number + 1);
                blocks.push(Block { language, text: String::new(), line: number + 1, heading });
            }
            is_open = !is_open;
        } else if is_open {
            let block = blocks.last_mut().unwrap();
            block.text.push_str(line);
            block.text.push('\n');
        } else if line.starts_with('#') {
            heading += 1;
        }
    }
    assert!(!is_open, "a code block is not closed");
    blocks
}

/// Runs the shell blocks of a page up to the first that fails. Returns their number and the errors.
fn run_page(page: &str, path_variable: &str) -> (usize, String) {
    let work = Work::new();
    symlink(project("fixtures"), work.path("fixtures")).unwrap();
    let text = project_text(page);
    let blocks = blocks(&text);
    let (mut n_run, mut wrong) = (0, String::new());
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
        n_run += 1;
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let line = block.line;
        if !output.status.success() {
            writeln!(wrong, "{page}:{line} fails:\n{}\n{stdout}{stderr}", block.text).unwrap();
            break;
        }
        let next = blocks.get(index + 1);
        let shown = next.filter(|next| next.language == "text" && next.heading == block.heading);
        if shown.is_some_and(|shown| shown.text != stdout) {
            writeln!(wrong, "{page}:{line} has an unexpected output:\n{stdout}").unwrap();
        }
    }
    (n_run, wrong)
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[test]
fn every_shell_block_runs_as_printed() {
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
    let docs = names_in(&project("docs"))
        .into_iter()
        .filter(|name| Path::new(name).extension() == Some("md".as_ref()))
        // These need a database: `schema::page` runs them.
        .filter(|name| name != "loading.md");
    let pages = docs.map(|name| format!("docs/{name}"));
    let (mut n_run, mut wrong) = (0, String::new());
    for page in ["README.md".to_owned()].into_iter().chain(pages) {
        let (n, errors) = run_page(&page, &path_variable);
        n_run += n;
        wrong += &errors;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(20 <= n_run, "only {n_run} blocks were found");
}
