//! The output of a comparison: four formats, colours and limits; and the recipe for CI.

use std::{
    env, fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::{Work, project, project_text};

const FIXTURE: &str = "fixtures/diff/limit";

/// Ingests the events of the fixture twice: with the default rules into `now`, and with another limit into `limit-1`.
fn two_spaces() -> Work {
    let work = Work::new();
    for name in ["events.ndjson", "limit.toml"] {
        work.write(name, project_text(&format!("{FIXTURE}/{name}")));
    }
    for (space, flags) in [("now", &[][..]), ("limit-1", &["--config", "limit.toml"])] {
        let args =
            [&["ingest", "events.ndjson", "--space", space, "--segment-ids", "sequential", "-q"], flags]
                .concat();
        work.program(&args).assert().success();
        work.program(&["materialize", "--space", space, "-q"]).assert().success();
    }
    work
}

fn diff(work: &Work, flags: &[&str]) -> String {
    let output = work.program(&[&["diff", "now", "limit-1"], flags].concat()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own files need no wrapper")]
fn all_formats_match_the_fixtures() {
    let work = two_spaces();
    for (name, flags) in [
        ("people.txt", &[][..]),
        ("markdown.md", &["--format", "markdown"]),
        ("summary.json", &["--format", "json"]),
        ("changes.ndjson", &["--format", "ndjson"]),
    ] {
        let mut told = diff(&work, flags);
        if name == "summary.json" {
            let value: Value = serde_json::from_str(&told).unwrap();
            told = format!("{value:#}\n");
        }
        let path = project(FIXTURE).join(name);
        if env::var_os("BLESS").is_some() {
            assert!(env::var_os("CI").is_none(), "BLESS is not allowed in CI");
            fs::write(path, told).unwrap();
        } else {
            assert_eq!(told, fs::read_to_string(&path).unwrap_or_default(), "{}", path.display());
        }
    }
}

#[test]
fn the_json_flag_is_the_json_format() {
    let work = two_spaces();
    assert_eq!(diff(&work, &["--json"]), diff(&work, &["--format", "json"]));
}

#[test]
fn colours_do_not_change_the_text() {
    let work = two_spaces();
    let plain = diff(&work, &[]);
    assert!(!plain.contains('\u{1b}'));
    let mut coloured = diff(&work, &["--color", "always"]);
    assert!(coloured.contains("\u{1b}[32m") && coloured.contains("\u{1b}[31m"));
    while let Some(at) = coloured.find('\u{1b}') {
        let end = at + coloured[at..].find('m').unwrap();
        coloured.replace_range(at..=end, "");
    }
    assert_eq!(coloured, plain);
}

#[test]
fn only_summary_has_numbers_and_no_examples() {
    let work = two_spaces();
    let told = diff(&work, &["--only-summary"]);
    assert!(told.contains("\nid_graph ") && told.contains("\n  split "), "{told}");
    assert!(!told.contains("a2") && !told.contains("->"), "{told}");
    let summary: Value = serde_json::from_str(&diff(&work, &["--only-summary", "--json"])).unwrap();
    assert!(summary["tables"][0].get("examples").is_none());
    assert_eq!(diff(&work, &["--only-summary", "--format", "ndjson"]), "");
}

#[test]
fn quiet_prints_nothing_unless_a_difference_counts() {
    let work = two_spaces();
    let quiet = |args: &[&str], code: i32| {
        let assert = work.program(&[&["diff", "-q"], args].concat()).assert().code(code).stderr("");
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    for format in ["people", "markdown"] {
        assert_eq!(quiet(&["now", "now", "--format", format], 0), "");
        assert_eq!(quiet(&["now", "limit-1", "--fail-on", "vanished", "--format", format], 0), "");
        assert_eq!(quiet(&["now", "limit-1", "--format", format], 1), diff(&work, &["--format", format]));
    }
    assert!(quiet(&["now", "now", "--json"], 0).starts_with('{'));
}

#[test]
fn limit_bounds_the_number_of_examples() {
    let work = two_spaces();
    let all = diff(&work, &["--format", "ndjson"]);
    let one = diff(&work, &["--format", "ndjson", "--limit", "1"]);
    assert!(one.lines().count() < all.lines().count());
    let lines: Vec<&str> = all.lines().collect();
    assert!(one.lines().all(|line| lines.contains(&line)), "{one}");
    let none = diff(&work, &["--limit", "0"]);
    assert!(!none.contains("  ~ "), "{none}");
}

#[test]
fn a_closed_stdout_does_not_change_the_exit_code() {
    let work = two_spaces();
    work.write("odd/pages.ndjson", "no JSON\n");
    work.write("even/pages.ndjson", "{\"id\":\"a\"}\n");
    for format in ["people", "markdown", "json", "ndjson"] {
        for (sides, code) in [(["now", "now"], 0), (["now", "limit-1"], 1), (["odd", "even"], 2)] {
            let output = work.without_reader(&[&["diff"], &sides[..], &["--format", format]].concat());
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{format} {sides:?}: {said}");
            assert_eq!(said.is_empty(), code < 2, "{format} {sides:?}: {said}");
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_unwritable_output_is_an_error_in_every_format() {
    let work = two_spaces();
    for format in ["people", "markdown", "json", "ndjson"] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = Command::new(assert_cmd::cargo::cargo_bin!("profiles-sync"))
            .current_dir(work.path(""))
            .args(["diff", "now", "limit-1", "--format", format])
            .stdout(full)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{format}: {said}");
        assert!(said.starts_with("error: could not write "), "{format}: {said}");
        assert!(said.contains("the standard output"), "{format}: {said}");
    }
}

fn sh(work: &Work, script: &str) -> (i32, String) {
    let program = Path::new(assert_cmd::cargo::cargo_bin!("profiles-sync")).parent().unwrap().to_owned();
    let path = format!("{}:{}", program.display(), env::var("PATH").unwrap());
    let mut child = Command::new("sh")
        .current_dir(work.path(""))
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_recipe_for_ci_fails_if_a_golden_table_differs() {
    let page = project_text("docs/ci.md");
    let scripts: Vec<&str> =
        page.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    let work = Work::new();
    std::os::unix::fs::symlink(project("fixtures"), work.path("fixtures")).unwrap();
    let (code, printed) = sh(&work, &scripts.concat());
    assert_eq!(code, 0, "{printed}");
    assert!(printed.starts_with("tests/golden and "), "{printed}");
    let graph = work.read("tests/golden/id_graph.ndjson").replace("profile_2\"", "profile_99\"");
    work.write("tests/golden/id_graph.ndjson", graph);
    let (code, printed) = sh(&work, "sh ci/golden.sh");
    assert_eq!(code, 1);
    assert!(printed.contains("- segment_id profile_99"), "{printed}");
}
