//! Shell completions, requested as a shell requests them.

use std::process::Command;

use crate::support::{Work, program, project};

/// Returns what bash offers for the last of these words, by calling the completion function as TAB does.
fn offered(work: &Work, words: &[&str]) -> Vec<String> {
    let script = r#"
        source ./completions
        read -r _ _ function _ < <(complete -p profiles-sync | sed 's/^complete //; s/^\(.*\)-F \([^ ]*\).*/x x \2/')
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        COMP_LINE="$*"
        COMP_POINT=${#COMP_LINE}
        "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let output = Command::new("bash")
        .args(["--norc", "--noprofile", "-c", script, "bash"])
        .args(words)
        .current_dir(work.path(""))
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect()
}

#[test]
fn bash_completes_after_every_subcommand() {
    let work = Work::new();
    let script = program().args(["--generate", "bash"]).output().unwrap().stdout;
    work.write("completions", script);
    for (words, expected) in [
        (&["profiles-sync", "mat"][..], &["materialize"][..]),
        (&["profiles-sync", "ingest", "--max"], &["--max-rejects"]),
        (&["profiles-sync", "ingest", "events.ndjson", "--mat"], &["--materialize"]),
        (&["profiles-sync", "ingest", "e", "--space", "s", "--segment-ids", "s"], &["sequential"]),
        (&["profiles-sync", "ingest", "--compress", ""], &["none", "zstd"]),
        (&["profiles-sync", "materialize", "--space", "s", "--as"], &["--as-of"]),
        (&["profiles-sync", "materialize", "--color", "a"], &["auto", "always"]),
        (&["profiles-sync", "diff", "--ign"], &["--ignore-columns"]),
        (&["profiles-sync", "diff", "--format", "m"], &["markdown"]),
        (&["profiles-sync", "explain", "--format", "t"], &["text"]),
        (&["profiles-sync", "backfill", "pro"], &["profiles"]),
        (&["profiles-sync", "backfill", "profiles", "--str"], &["--strict"]),
        (&["profiles-sync", "backfill", "events", "dumps", "--sin"], &["--since"]),
        (&["profiles-sync", "backfill", "raw", "raw", "--dry"], &["--dry-run"]),
        // The program may also be given by path.
        (&["./bin/profiles-sync", "ingest", "--max"], &["--max-rejects"]),
    ] {
        assert_eq!(offered(&work, words), expected, "{words:?}");
    }
}

#[test]
fn tab_completes_in_a_real_bash() {
    if Command::new("python3").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "python3 is not installed");
        return;
    }
    let work = Work::new();
    work.write("completions", program().args(["--generate", "bash"]).output().unwrap().stdout);
    let output = Command::new("python3")
        .arg(project("tests/it/completion/press_tab.py"))
        .args(["profiles-sync ing", "ingest "])
        .args(["profiles-sync ingest --mat", "--materialize"])
        .args(["profiles-sync backfill events --max", "--max-rejects"])
        .current_dir(work.path(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
