//! The command line: help, streams, exit codes and signals.

use std::{
    fs,
    io::{Read, Write},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::support::{Work, names_in, program};

const LINE: &str = r#"{"type":"page","messageId":"m1","userId":"u1","timestamp":"2026-01-05T10:00:00Z"}"#;
const COMMANDS: [&[&str]; 9] = [
    &[],
    &["ingest"],
    &["materialize"],
    &["backfill", "profiles"],
    &["backfill", "events"],
    &["backfill", "raw"],
    &["diff"],
    &["explain"],
    &["schema"],
];

fn with_events() -> Work {
    let work = Work::new();
    work.write("events.ndjson", format!("{LINE}\n"));
    work
}

/// Runs the program, which must succeed, and returns its standard output.
fn stdout(args: &[&str]) -> String {
    let assert = program().args(args).assert().success().stderr("");
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

#[test]
fn help_fits_80_columns() {
    for command in COMMANDS {
        for flag in ["-h", "--help"] {
            let help = stdout(&[command, &[flag]].concat());
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{command:?} {flag}: {line}");
            }
            assert!(!help.contains('\u{1b}'));
        }
    }
}

#[test]
fn short_help_has_one_line_per_flag() {
    for command in COMMANDS {
        let help = stdout(&[command, &["-h"]].concat());
        // A description that does not fit would continue on an indented line.
        for line in help.lines() {
            assert!(!line.starts_with("             "), "{command:?}: {line}");
        }
    }
}

#[test]
fn long_help_has_every_section() {
    for command in COMMANDS {
        let help = stdout(&[command, &["--help"]].concat());
        assert!(help.contains("Exit codes:\n  0 "), "{command:?}");
        assert!(2 <= help.matches("  profiles-sync ").count(), "{command:?}: fewer than two examples");
        if !command.is_empty() {
            for heading in ["Input:", "Output:", "Messages:", "Memory:", "Examples:"] {
                assert!(help.contains(&format!("\n{heading}\n")), "{command:?} {heading}");
            }
        }
    }
    assert!(stdout(&["ingest", "--help"]).contains("\nIdentity:\n"));
}

#[test]
fn completions_and_the_man_page_list_every_flag() {
    for kind in ["man", "bash", "zsh", "fish"] {
        let text = stdout(&["--generate", kind]).replace('\\', "");
        for flag in ["max-rejects", "segment-ids", "as-of", "partial", "strict", "quiet"] {
            assert!(text.contains(flag), "{kind}: {flag}");
        }
    }
    let man = stdout(&["--generate", "man"]);
    assert_eq!(man.matches(".TH ").count(), 1);
}

#[test]
fn usage_errors_exit_with_2_and_leave_stdout_empty() {
    for args in [
        &[][..],
        &["ingest"],
        &["ingest", "events.ndjson"],
        &["ingest", "events.ndjson", "--space", "s", "--max-rejects", "many"],
        &["ingest", "events.ndjson", "--space", "s", "--memory", "0"],
        &["ingest", "events.ndjson", "--space", "s", "--threads", "0"],
        &["ingest", "events.ndjson", "--space", "s", "--dry-run", "--materialize"],
        &["materialize"],
        &["materialize", "--raw", "r"],
        &["materialize", "--raw", "r", "--space", "s", "--out", "o"],
        &["materialize", "--space", "s", "--views", "id_graf"],
        &["materialize", "--space", "s", "--as-of", "yesterday"],
        &["--generate", "man", "ingest", "events.ndjson", "--space", "s"],
        &["resolve"],
    ] {
        let assert = program().args(args).assert().code(2).stdout("");
        assert!(!assert.get_output().stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn an_invalid_number_is_reported_with_the_expected_form() {
    let ingest = &["ingest", "events.ndjson", "--space", "s"][..];
    let raw = &["backfill", "raw", "r", "--space", "s"];
    for (args, flag, expected) in [
        (ingest, "--wait", "a whole number of seconds such as 60"),
        (ingest, "--threads", "a number of threads from 1 to 1024"),
        (ingest, "--memory", "a size is a whole number with K, M, G or T, such as 512M or 4G"),
        (ingest, "--max-rejects", "give a number of lines such as 100, or a percentage such as 1%"),
        (raw, "--wait", "a whole number of seconds such as 60"),
        (&["materialize", "--space", "s"], "--wait", "a whole number of seconds such as 60"),
        (&["diff", "old", "new"], "--limit", "a whole number of examples such as 3"),
    ] {
        for value in ["-1", "5s"] {
            let assert = program().args([args, &[flag, value]].concat()).assert().code(2);
            let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
            assert!(said.starts_with(&format!("error: invalid value '{value}' for '{flag} <")), "{said}");
            assert!(said.contains(&format!(">': {expected}\n")) && !said.contains("tip:"), "{said}");
        }
    }
}

#[test]
fn a_run_prints_its_summary_on_stderr() {
    let work = with_events();
    let assert = work.program(&["ingest", "events.ndjson", "--space", "space"]).assert().success().stdout("");
    let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(said.starts_with("ingested 1 event ("), "{said}");
    for line in ["  profiles created ", "  identifiers mapped ", "    user_id ", "    pages "] {
        assert!(said.contains(&format!("\n{line}")), "{line} in {said}");
    }
    assert!(!said.contains('\u{1b}') && !said.contains('\r'), "{said}");
    let assert = work.program(&["materialize", "--space", "space"]).assert().success().stdout("");
    let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(said.starts_with("materialized 1 profile from "), "{said}");
}

/// Returns whether a summary has a line with this name and number.
fn counts(said: &str, name: &str, number: &str) -> bool {
    said.lines().any(|line| line.trim_start().strip_prefix(name).is_some_and(|rest| rest.trim() == number))
}

#[test]
fn the_headline_counts_accepted_events() {
    let work = with_events();
    let lines: String = (1..=4).map(|at| LINE.replace("m1", &format!("m{at}")) + "\n").collect();
    let headline = |input: &str, flags: &[&str]| {
        let args = [&["ingest", input, "--space", "space"], flags].concat();
        let assert = work.program(&args).assert().success().stdout("");
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    assert!(headline("events.ndjson", &[]).starts_with("ingested 1 event ("));
    work.write("more.ndjson", lines);
    assert!(headline("more.ndjson", &["--dry-run"]).starts_with("would ingest 3 of 4 events ("));
    let said = headline("more.ndjson", &[]);
    assert!(said.starts_with("ingested 3 of 4 events ("), "{said}");
    assert!(!said.contains("files skipped"), "{said}");
    // A new file without new events.
    work.write("again.ndjson", format!("{LINE}\n\n"));
    let said = headline("again.ndjson", &[]);
    assert!(said.contains("\ningested none of 1 event ("), "{said}");
    assert!(counts(&said, "duplicates", "1"), "{said}");
    work.write("drop.toml", "[[drop]]\ntype = [\"page\"]\n");
    work.write("dropped.ndjson", LINE.replace("m1", "m5") + "\n" + &LINE.replace("m1", "m6"));
    let said = headline("dropped.ndjson", &["--config", "drop.toml"]);
    assert!(said.contains("\ningested none of 2 events ("), "{said}");
    assert!(counts(&said, "filtered out", "2"), "{said}");
    let said = headline("events.ndjson", &[]);
    assert!(said.contains("ingested 0 events (0 B) from 0 files"), "{said}");
    assert!(counts(&said, "files skipped", "1"), "{said}");
}

#[test]
fn quiet_prints_only_warnings() {
    let work = with_events();
    let args = ["ingest", "events.ndjson", "--space", "space", "--materialize", "--quiet"];
    work.program(&args).assert().success().stdout("").stderr("");
    // Skipping a known file is only a notice, but ingesting nothing is a warning.
    let nothing = "warning: nothing was ingested: every input was ingested before\n";
    work.program(&args).assert().success().stdout("").stderr(nothing);
    let args = ["ingest", "events.ndjson", "--space", "space", "-q", "--no-quiet"];
    let assert = work.program(&args).assert().success();
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("note: ") && said.contains("events.ndjson"), "{said}");
}

#[test]
fn json_is_one_object_and_nothing_else() {
    let work = with_events();
    let summary = |args: &[&str]| -> Value {
        let assert = work.program(args).assert().success().stderr("");
        let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        serde_json::from_str(&text).unwrap()
    };
    let one = summary(&["ingest", "events.ndjson", "--space", "one", "--json"]);
    assert_eq!(one["events"], 1);
    assert_eq!(one["identifiers_mapped"]["user_id"], 1);
    let both = summary(&["ingest", "events.ndjson", "--space", "two", "--json", "--materialize", "--quiet"]);
    assert_eq!(both["ingest"]["events"], 1);
    assert_eq!(both["materialize"]["profiles"], 1);
    let views = summary(&["materialize", "--space", "two", "--json"]);
    assert_eq!(views["rows"]["id_graph"], 1);
}

#[test]
fn a_dry_run_writes_nothing() {
    let work = with_events();
    let assert =
        work.program(&["ingest", "events.ndjson", "--space", "space", "--dry-run"]).assert().success();
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.starts_with("would ingest 1 event "), "{said}");
    assert!(!work.path("space").exists());
    work.program(&["ingest", "events.ndjson", "--space", "space", "-q"]).assert().success();
    assert_eq!(work.rows("space/pages.ndjson").len(), 1);
}

#[test]
fn the_printed_config_can_be_read_back() {
    let work = with_events();
    let printed = |args: &[&str]| {
        let assert =
            work.program(&[&["ingest", "--print-config"], args].concat()).assert().success().stderr("");
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    let rules = printed(&[]);
    work.write("rules.toml", &rules);
    assert_eq!(printed(&["--config", "rules.toml"]), rules);
    assert_ne!(printed(&["--segment-ids", "sequential"]), rules);
    let args = ["ingest", "events.ndjson", "--space", "space", "--config", "rules.toml", "-q"];
    work.program(&args).assert().success().stdout("").stderr("");
}

#[test]
fn events_can_come_from_stdin() {
    let work = Work::new();
    work.program(&["ingest", "-", "--space", "space", "-q"]).write_stdin(LINE).assert().success().stderr("");
    assert_eq!(work.rows("space/pages.ndjson").len(), 1);
}

#[test]
fn paths_are_relative_to_the_working_folder() {
    let work = with_events();
    work.write("elsewhere/deep/x", "");
    let mut command = work.program(&["ingest", "../../events.ndjson", "--space", "../space", "-q"]);
    command.current_dir(work.path("elsewhere/deep")).assert().success().stderr("");
    assert_eq!(work.rows("elsewhere/space/pages.ndjson").len(), 1);
}

#[test]
fn colour_appears_only_if_requested() {
    let work = Work::new();
    let escapes = |flags: &[&str]| {
        let args = [&["ingest", "missing", "--space", "space"], flags].concat();
        let assert = work.program(&args).env("NO_COLOR", "1").assert().code(2);
        assert.get_output().stderr.contains(&0x1b)
    };
    assert!(!escapes(&[]));
    assert!(!escapes(&["--color", "never"]));
    assert!(escapes(&["--color", "always"]));
    assert!(!escapes(&["--color", "always", "--color=auto"]));
}

#[test]
fn a_closed_stdout_is_not_a_failure() {
    let work = with_events();
    for args in [
        &["--generate", "man"][..],
        &["--help"],
        &["ingest", "events.ndjson", "--space", "space", "--json"],
        &["materialize", "--space", "space", "--json"],
    ] {
        let output = work.without_reader(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(output.stderr.is_empty(), "{args:?}");
    }
    // The exit code still reports what `--verify` found.
    work.write("space/pages.ndjson", "");
    let output = work.without_reader(&["ingest", "--verify", "--space", "space", "--json"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn changes_that_nobody_reads_leave_the_views_unchanged() {
    let work = with_events();
    work.program(&["ingest", "events.ndjson", "--space", "space", "-q"]).assert().success();
    let args = ["materialize", "--space", "space", "--changes", "-", "-q"];
    let output = work.without_reader(&args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("the views are unchanged; run it again to get the same changes"), "{said}");
    assert!(!work.path("space/id_graph.ndjson").exists());
    let told = work.program(&args).assert().success();
    assert!(told.get_output().stdout.starts_with(b"{\"view\":\"id_graph\",\"change\":\"upsert\""));
}

#[test]
fn an_interrupted_run_commits_nothing() {
    // Under `nohup` the program ignores SIGHUP, so there is nothing to test.
    let hangup = Some(("HUP", 129)).filter(|_| hangup_counts());
    for (signal, code) in [("INT", 130), ("TERM", 143)].into_iter().chain(hangup) {
        let work = Work::new();
        let mut child = spawn(&work, &["ingest", "-", "--space", "space"], Stdio::piped());
        let mut stdin = child.stdin.take().unwrap();
        // The input is endless, so the run does not end by itself.
        let feeder = thread::spawn(move || while stdin.write_all(format!("{LINE}\n").as_bytes()).is_ok() {});
        thread::sleep(Duration::from_millis(300));
        kill(&child, signal);
        let status = child.wait().unwrap();
        feeder.join().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(status.code(), Some(code), "{said}");
        assert_eq!(said, "error: interrupted, nothing was committed\n");
        assert!(!work.path("space/manifest.json").exists());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_under_nohup_survives_a_hangup() {
    let work = Work::new();
    let mut child = Command::new("nohup")
        .arg(assert_cmd::cargo::cargo_bin!("profiles-sync"))
        .current_dir(work.path(""))
        .args(["ingest", "-", "--space", "space", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    thread::sleep(Duration::from_millis(300));
    kill(&child, "HUP");
    thread::sleep(Duration::from_millis(300));
    stdin.write_all(LINE.as_bytes()).unwrap();
    drop(stdin);
    assert_eq!(ends(&mut child), Some(0));
    assert_eq!(work.rows("space/pages.ndjson").len(), 1);
}

#[test]
fn a_run_waiting_for_input_ends_at_the_first_signal() {
    // The standard input with nothing, with a line and with the start of a gzip file; then a pipe without a writer.
    for (input, sent) in [("-", &b""[..]), ("-", LINE.as_bytes()), ("-", &[0x1f, 0x8b, 8, 0]), ("pipe", b"")]
    {
        for (signal, code) in [("INT", 130), ("TERM", 143)] {
            let work = Work::new();
            assert!(Command::new("mkfifo").arg(work.path("pipe")).status().unwrap().success());
            let mut child = spawn(&work, &["ingest", input, "--space", "space"], Stdio::piped());
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(sent).unwrap();
            thread::sleep(Duration::from_millis(300));
            kill(&child, signal);
            assert_eq!(ends(&mut child), Some(code), "{input} {signal}");
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            assert_eq!(said, "error: interrupted, nothing was committed\n");
            assert_eq!(names_in(&work.path("space")), [".run", ".state"]);
            assert_eq!(names_in(&work.path("space/.state")), ["lock"]);
        }
    }
}

#[test]
fn an_interrupted_run_reports_correctly_what_was_committed() {
    let work = with_events();
    work.program(&["ingest", "events.ndjson", "--space", "space", "-q"]).assert().success();
    work.write("more.ndjson", LINE.replace("m1", "m2"));
    work.write("sides/x.ndjson", "{\"id\":\"a\"}\n");
    let views = "interrupted; the views are unchanged";
    let both = "interrupted; the events are committed, the views are unchanged";
    // Each command is waiting for a pipe when the signal comes. Then the pipe turns out to be empty.
    for (args, pipe, said_expected) in [
        (&["diff", "sides", "sides"][..], "sides/manifest.json", "interrupted"),
        (&["materialize", "--space", "space", "--config", "rules"], "rules", views),
        (&["ingest", "more.ndjson", "--space", "space", "--materialize", "--config", "rules"], "rules", both),
    ] {
        let pipe = work.path(pipe);
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let mut child = spawn(&work, &[args, &["-q"]].concat(), Stdio::null());
        let open = || fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        if args[0] == "ingest" {
            drop(open());
            while work.rows("space/pages.ndjson").len() < 2 {
                thread::sleep(Duration::from_millis(20));
            }
        }
        thread::sleep(Duration::from_millis(300));
        kill(&child, "INT");
        thread::sleep(Duration::from_millis(100));
        let writer = open();
        fs::remove_file(&pipe).unwrap();
        drop(writer);
        assert_eq!(ends(&mut child), Some(130), "{args:?}");
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said.lines().next(), Some(&*format!("error: {said_expected}")), "{args:?}");
        assert!(!work.path("space/id_graph.ndjson").exists(), "{args:?}");
    }
}

#[test]
fn a_pipe_is_not_read_as_a_table() {
    let work = Work::new();
    work.write("old/pages.ndjson", "{\"id\":\"a\"}\n");
    for folder in ["raw", "new"] {
        let pipe = work
            .write(&format!("{folder}/id_graph_updates.ndjson"), "")
            .with_file_name("external_id_mapping_updates.ndjson");
        assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    }
    for args in [
        &["materialize", "--raw", "raw", "--out", "views", "--partial"][..],
        &["backfill", "raw", "raw", "--space", "space"],
        &["diff", "old", "new"],
    ] {
        let mut child = spawn(&work, args, Stdio::null());
        assert_eq!(ends(&mut child), Some(2), "{args:?}");
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains("external_id_mapping_updates.ndjson`: is a pipe"), "{args:?}: {said}");
    }
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let work = with_events();
    // The run waits for a config that nobody writes, and the first signal does not end the wait.
    assert!(Command::new("mkfifo").arg(work.path("rules.toml")).status().unwrap().success());
    let args = ["ingest", "events.ndjson", "--space", "space", "--config", "rules.toml"];
    let mut child = spawn(&work, &args, Stdio::null());
    thread::sleep(Duration::from_millis(300));
    kill(&child, "INT");
    thread::sleep(Duration::from_millis(100));
    kill(&child, "INT");
    assert_eq!(ends(&mut child), Some(130));
}

/// Returns whether SIGHUP ends the tests, and so the programs that they start.
fn hangup_counts() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
    ignored.is_some_and(|signals| u64::from_str_radix(signals, 16).unwrap() % 2 == 0)
}

/// Waits up to ten seconds for a program to end and returns its exit code.
fn ends(child: &mut Child) -> Option<i32> {
    for _ in 0..200 {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    panic!("the program did not end within ten seconds");
}

fn spawn(work: &Work, args: &[&str], stdin: Stdio) -> Child {
    Command::new(assert_cmd::cargo::cargo_bin!("profiles-sync"))
        .env_clear()
        .current_dir(work.path(""))
        .args(args)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn kill(child: &Child, signal: &str) {
    // The process may already be gone, which is fine.
    let _ = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status();
}
