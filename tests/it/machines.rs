//! Output for machines: the object that `--json` prints, and the run log.

use std::fs;

use serde_json::Value;

use crate::support::{Work, names_in};

const LINE: &str = r#"{"type":"page","messageId":"m1","userId":"u1","timestamp":"2026-01-05T10:00:00Z"}"#;
const LOG: &str = "space/.run/runs.ndjson";

fn with_events() -> Work {
    let work = Work::new();
    work.write("events.ndjson", format!("{LINE}\n"));
    work.write("broken.ndjson", "{}\n");
    work
}

/// Runs a command with `--json` and returns the object that it prints and the exit code.
fn object(work: &Work, args: &[&str]) -> (Value, Option<i32>) {
    let output = work.program(&[args, &["--json"]].concat()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "{args:?}: {text}");
    let object: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(object["program"], "profiles-sync", "{args:?}");
    assert_eq!(object["version"], env!("CARGO_PKG_VERSION"), "{args:?}");
    for member in ["space", "run", "command"] {
        assert!(object.get(member).is_some(), "{args:?}: {member}");
    }
    for time in ["started_at", "ended_at"] {
        let time = object[time].as_str().unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z') && time.len() == 24, "{args:?}: {time}");
    }
    assert!(object["warnings"].is_array(), "{args:?}");
    assert_eq!(object.get("error").is_some(), output.status.code() == Some(2), "{args:?}: {object}");
    assert_eq!(object.get("hint").is_some(), object.get("error").is_some(), "{args:?}");
    (object, output.status.code())
}

#[test]
fn every_json_summary_contains_command_space_run_and_counts() {
    let work = with_events();
    work.write(
        "state/user_identifiers.ndjson",
        "{\"canonical_segment_id\":\"s\",\"type\":\"email\",\"value\":\"e\"}\n",
    );
    for table in ["id_graph_updates", "external_id_mapping_updates", "profile_traits_updates"] {
        work.write(&format!("raw/{table}.ndjson"), "");
    }
    for (args, command, run, count) in [
        (&["ingest", "events.ndjson", "--space", "space", "--dry-run"][..], "ingest", None, "accepted"),
        (&["ingest", "events.ndjson", "--space", "space"], "ingest", Some(1), "accepted"),
        // The input was ingested before, so there is nothing to commit.
        (&["ingest", "events.ndjson", "--space", "space"], "ingest", None, "accepted"),
        (&["ingest", "--verify", "--space", "space"], "ingest", None, "tables"),
        (&["materialize", "--space", "space"], "materialize", Some(1), "profiles"),
        (&["materialize", "--space", "space"], "materialize", None, "profiles"),
        (&["materialize", "--space", "space", "--out", "views"], "materialize", None, "profiles"),
        (&["backfill", "events", "events.ndjson", "--space", "space"], "backfill events", None, "written"),
        (&["backfill", "profiles", "state", "--space", "space"], "backfill profiles", Some(2), "profiles"),
        (&["backfill", "raw", "raw", "--space", "other"], "backfill raw", Some(1), "messages"),
    ] {
        let (object, code) = object(&work, args);
        assert_eq!(code, Some(0), "{args:?}: {object}");
        assert_eq!(object["command"], command, "{args:?}");
        assert_eq!(object["run"].as_u64(), run, "{args:?}: {object}");
        assert_eq!(object["space"], args[args.iter().position(|arg| *arg == "--space").unwrap() + 1]);
        assert!(object[count].is_u64(), "{args:?}: {object}");
    }
    let (both, _) = object(&work, &["ingest", "events.ndjson", "--space", "new", "--materialize"]);
    assert_eq!((&both["run"], &both["ingest"]["accepted"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(both["materialize"]["profiles"], 1);
}

#[test]
fn a_failed_run_prints_a_json_summary_too() {
    let work = with_events();
    work.write("many.ndjson", format!("{LINE}\n{}", "oops\n".repeat(3)));
    let (failed, code) = object(&work, &["ingest", "many.ndjson", "--space", "space", "--max-rejects", "1"]);
    assert_eq!(code, Some(2));
    assert_eq!((failed["lines"].as_u64(), failed["rejected"]["not_json"].as_u64()), (Some(4), Some(3)));
    assert!(failed["error"].as_str().unwrap().starts_with("3 of 4 "), "{failed}");
    assert!(failed["run"].is_null() && failed["seconds"].is_f64(), "{failed}");
    for (args, count) in [
        (&["ingest", "missing", "--space", "space"][..], "accepted"),
        (&["ingest", "--verify", "--space", "nowhere"], "tables"),
        (&["materialize", "--space", "nowhere"], "profiles"),
        (&["backfill", "profiles", "missing", "--space", "space"], "profiles"),
        (&["backfill", "raw", "missing", "--space", "space"], "profiles"),
        (&["backfill", "events", "missing", "--space", "space"], "written"),
        (&["diff", "missing", "other"], ""),
        // Invalid arguments.
        (&["ingest"], "accepted"),
        (&["ingest", "x", "--space", "s", "--threads", "none"], "accepted"),
        (&["materialize"], "profiles"),
        (&["materialize", "--space", "s", "--changes", "-"], "profiles"),
        (&["backfill", "events"], "written"),
        (&["resolve"], ""),
    ] {
        let (failed, code) = object(&work, args);
        assert_eq!(code, Some(2), "{args:?}");
        assert!(!failed["error"].as_str().unwrap().is_empty(), "{args:?}");
        assert!(count.is_empty() || failed[count] == 0, "{args:?}: {failed}");
    }
    // The events may be committed although the views fail.
    work.write("space2/rules.toml", "");
    fs::create_dir_all(work.path("space2/id_graph.ndjson/x")).unwrap();
    let (half, code) = object(&work, &["ingest", "events.ndjson", "--space", "space2", "--materialize"]);
    assert_eq!(code, Some(2), "{half}");
    if !half["run"].is_null() {
        assert_eq!(half["ingest"]["accepted"], 1);
        assert!(half["materialize"].is_null());
    }
}

#[test]
fn warnings_are_in_the_json_summary_even_if_quiet() {
    let work = with_events();
    let lines: String = (0..2000)
        .map(|at| LINE.replace("m1", &format!("m{at}")) + "\n")
        .chain(["oops\n".to_owned()])
        .collect();
    work.write("events.ndjson", lines);
    let args = ["ingest", "events.ndjson", "--space", "space", "--json", "--quiet"];
    let assert = work.program(&args).assert().success().stderr("");
    let object: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    let warnings = object["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{object}");
    assert!(warnings[0].as_str().unwrap().starts_with("1 of 2001 "), "{object}");
}

#[test]
fn every_run_that_writes_to_the_space_is_logged() {
    let work = with_events();
    let run = |args: &[&str]| work.program(&[args, &["-q"]].concat()).output().unwrap().status.code();
    // Neither of these runs is logged.
    run(&["ingest", "events.ndjson", "--space", "space", "--dry-run"]);
    run(&["ingest", "missing", "--space", "space"]);
    assert!(!work.path("space").exists());
    assert_eq!(run(&["ingest", "broken.ndjson", "--space", "space"]), Some(2));
    assert_eq!(run(&["ingest", "events.ndjson", "--space", "space", "--materialize"]), Some(0));
    run(&["ingest", "events.ndjson", "--space", "space", "--dry-run"]);
    run(&["ingest", "--verify", "--space", "space"]);
    run(&["materialize", "--space", "space", "--out", "views"]);
    run(&["materialize", "--space", "space", "--dry"]);
    assert_eq!(run(&["materialize", "--space", "space"]), Some(0));
    assert_eq!(run(&["ingest", "missing", "--space", "space"]), Some(2));
    let lock = fs::OpenOptions::new().write(true).open(work.path("space/.state/lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(run(&["ingest", "events.ndjson", "--space", "space"]), Some(2));
    drop(lock);
    let log = work.rows(LOG);
    let told: Vec<(&str, Option<u64>, bool)> = log
        .iter()
        .map(|line| {
            let command = line["command"].as_str().unwrap();
            (command, line["run"].as_u64(), line.get("error").is_some())
        })
        .collect();
    let expected = [
        ("ingest", None, true),
        ("ingest", Some(1), false),
        ("materialize", None, false),
        ("ingest", None, true),
        ("ingest", None, true),
    ];
    assert_eq!(told, expected, "{}", work.read(LOG));
    assert!(log[4]["error"].as_str().unwrap().contains("is being written by"), "{}", log[4]);
    assert!(log.iter().all(|line| line["started_at"].is_string() && line["program"] == "profiles-sync"));
}

#[test]
fn a_truncated_run_log_line_does_not_damage_the_next() {
    let work = with_events();
    work.program(&["ingest", "events.ndjson", "--space", "space", "-q"]).assert().success();
    let whole = work.read(LOG);
    work.write(LOG, &whole[..whole.len() / 2]);
    work.program(&["materialize", "--space", "space", "-q"]).assert().success();
    let log = work.read(LOG);
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(last["command"], "materialize");
}

#[test]
fn the_run_log_is_never_written_outside_the_space() {
    let work = with_events();
    work.program(&["ingest", "events.ndjson", "--space", "space", "-q"]).assert().success();
    work.write("precious", "as it was\n");
    fs::remove_file(work.path(LOG)).unwrap();
    std::os::unix::fs::symlink(work.path("precious"), work.path(LOG)).unwrap();
    let assert = work.program(&["materialize", "--space", "space", "-q"]).assert().success();
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("warning: the run succeeded, but could not be added to the run log: "), "{said}");
    assert_eq!(work.read("precious"), "as it was\n");
    // No log is written into a folder that is not a space.
    work.write("mine/notes.txt", "x");
    work.program(&["materialize", "--space", "mine"]).assert().code(2);
    assert_eq!(names_in(&work.path("mine")), ["notes.txt"]);
}
