//! The program under cron: no terminal, closed or full streams, and folders and files that cannot be written.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use crate::support::{Work, names_in};

const LINE: &str = r#"{"type":"page","messageId":"m1","userId":"u1","timestamp":"2026-01-05T10:00:00Z"}"#;

/// Makes a space with an event, and the inputs of every subcommand.
fn prepared() -> Work {
    let work = Work::new();
    work.write("events.ndjson", format!("{LINE}\n"));
    work.write("more.ndjson", LINE.replace("m1", "m2") + "\n");
    work.write(
        "state/user_identifiers.ndjson",
        "{\"canonical_segment_id\":\"s\",\"type\":\"email\",\"value\":\"e\"}\n",
    );
    for table in ["id_graph_updates", "external_id_mapping_updates", "profile_traits_updates"] {
        work.write(&format!("raw/{table}.ndjson"), "");
    }
    work.program(&["ingest", "events.ndjson", "--space", "space", "-q"]).assert().success();
    work
}

/// Every subcommand, in each of its modes.
const COMMANDS: [&[&str]; 10] = [
    &["ingest", "more.ndjson", "--space", "space"],
    &["ingest", "more.ndjson", "--space", "space", "--dry-run"],
    &["ingest", "--verify", "--space", "space"],
    &["ingest", "--print-config"],
    &["materialize", "--space", "space"],
    &["backfill", "profiles", "state", "--space", "space"],
    &["backfill", "events", "events.ndjson", "--space", "space"],
    &["backfill", "raw", "raw", "--space", "new"],
    &["diff", "space", "space"],
    &["explain", "user_id:u1", "--space", "space"],
];

/// Runs a line of shell with the program as `$0` and the arguments as `$@`.
fn shell(work: &Work, line: &str, args: &[&str]) -> Output {
    Command::new("bash")
        .args(["-c", line])
        .arg(assert_cmd::cargo::cargo_bin!("profiles-sync"))
        .args(args)
        .current_dir(work.path(""))
        .output()
        .unwrap()
}

#[test]
fn closed_streams_and_an_empty_environment_change_nothing() {
    for line in
        [r#"env -i "$0" "$@" >&- 2>&- <&-"#, r#"env -i setsid -w "$0" "$@" </dev/null >/dev/null 2>&1"#]
    {
        for args in COMMANDS {
            let work = prepared();
            let output = shell(&work, line, args);
            assert_eq!(output.status.code(), Some(0), "{line} {args:?}");
            // No output went to a file of the space that was opened under the number of a closed stream.
            let log = "space/.run/runs.ndjson";
            assert!(work.rows(log).iter().all(|line| line["program"] == "profiles-sync"), "{line} {args:?}");
            work.program(&["ingest", "--verify", "--space", "space", "-q"]).assert().success();
        }
    }
}

#[test]
fn a_full_stdout_is_an_error_but_a_full_stderr_is_not() {
    for args in COMMANDS {
        let work = prepared();
        let output = shell(&work, r#"env -i "$0" "$@" --json >/dev/full"#, args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains("error: ") && said.contains("No space left on device"), "{args:?}: {said}");
        // A full standard error is no reason to fail.
        let work = prepared();
        let output = shell(&work, r#"env -i "$0" "$@" 2>/dev/full"#, args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn an_unwritable_folder_is_an_error_with_a_hint() {
    // Root may write anywhere, so the test returns early for root.
    let work = prepared();
    let lock = |mode| {
        for folder in ["space", "space/.state", "space/.run"] {
            fs::set_permissions(work.path(folder), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if is_root {
        return;
    }
    lock(0o555);
    for args in [COMMANDS[0], COMMANDS[4], COMMANDS[5]] {
        let assert = work.program(args).assert().code(2);
        let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(said.contains("Permission denied") && said.contains("hint: "), "{args:?}: {said}");
    }
    lock(0o755);
}

#[test]
fn a_file_size_limit_is_an_error_with_a_path_and_a_hint() {
    let work = Work::new();
    let lines: String = (0..5000).map(|at| LINE.replace("m1", &format!("m{at}")) + "\n").collect();
    work.write("many.ndjson", lines);
    // `ulimit -f` counts in blocks of 1024 bytes.
    for args in [
        &["ingest", "many.ndjson", "--space", "space"][..],
        &["backfill", "events", "many.ndjson", "--space", "space"],
    ] {
        let output = shell(&work, r#"ulimit -f 64; exec "$0" "$@""#, args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains("error: could not write ") && said.contains("File too large"), "{said}");
        assert!(said.contains("hint: ") && said.contains("`ulimit -f`"), "{said}");
        assert!(!work.path("space/manifest.json").exists(), "the failed run committed something");
    }
    work.program(&["ingest", "many.ndjson", "--space", "space", "-q"]).assert().success().stderr("");
    let output =
        shell(&work, r#"ulimit -f 16; exec "$0" "$@""#, &["materialize", "--space", "space", "--out", "v"]);
    assert_eq!(output.status.code(), Some(0), "small views should fit");
}

#[test]
fn a_dry_run_creates_no_folder_and_changes_none() {
    let work = Work::new();
    work.write("events.ndjson", format!("{LINE}\n"));
    work.write(
        "state/user_identifiers.ndjson",
        "{\"canonical_segment_id\":\"s\",\"type\":\"email\",\"value\":\"e\"}\n",
    );
    for table in ["id_graph_updates", "external_id_mapping_updates", "profile_traits_updates"] {
        work.write(&format!("raw/{table}.ndjson"), "");
    }
    fs::create_dir(work.path("empty")).unwrap();
    for what in [
        &["ingest", "events.ndjson"][..],
        &["backfill", "events", "events.ndjson"],
        &["backfill", "profiles", "state"],
        &["backfill", "raw", "raw"],
    ] {
        for space in ["missing", "missing/deeper", "empty"] {
            let args = [what, &["--space", space, "--dry-run", "-q"]].concat();
            let assert = work.program(&args).assert().success();
            let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
            assert!(said.is_empty(), "{args:?}: {said}");
            assert!(!work.path("missing").exists(), "{args:?}");
            assert!(names_in(&work.path("empty")).is_empty(), "{args:?}");
        }
        // A folder that is not a space is refused, as in a real run.
        work.write("foreign/pages.ndjson", "{}\n");
        work.program(&[what, &["--space", "foreign", "--dry-run"]].concat()).assert().code(2);
        assert_eq!(names_in(&work.path("foreign")), ["pages.ndjson"], "{what:?}");
    }
}
