//! Messages, summaries and reports escape control characters from inputs, so that no input can act on the terminal.

use crate::support::Work;

/// Clears the screen, fakes an error on its own line, and reverses the text direction.
const HOSTILE: &str = "x\\u001b[2J\\u001b[31m\\nerror: fake\\u202e\\u009b";

/// Returns whether a text would act on a terminal. Line ends are allowed, since the program prints them too.
fn acts(text: &str) -> bool {
    text.chars().any(|c| c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)))
}

/// Runs the program and returns both streams and the exit code.
fn said(work: &Work, args: &[&str]) -> (String, Option<i32>) {
    let output = work.program(args).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).unwrap(), output.status.code())
}

/// Asserts that the output does not act on a terminal and has no fake error. If `shows`, the hostile text must be in it
/// in escaped form.
fn check(said: &str, shows: bool, what: &[&str]) {
    assert!(!acts(said), "{what:?}: {said:?}");
    assert!(!said.lines().any(|line| line.starts_with("error: fake")), "{what:?}: {said:?}");
    if shows {
        assert!(said.contains("\\u001b") && said.contains("\\u202e"), "{what:?}: {said:?}");
    }
}

#[test]
fn types_and_rejects_of_an_input_are_escaped() {
    let work = Work::new();
    let event = |id: &str, external: &str| {
        format!(
            "{{\"type\":\"page\",\"messageId\":\"{id}\",\"userId\":\"u\",\"timestamp\":\"2024-01-01T00:00:00Z\",\
             \"context\":{{\"externalIds\":[{{\"type\":\"{external}\",\"id\":\"1\"}}]}}}}\n"
        )
    };
    work.write("events.ndjson", event("m", HOSTILE));
    for args in [
        &["ingest", "events.ndjson", "--space", "space", "--dry-run"][..],
        &["ingest", "events.ndjson", "--space", "space", "--json"],
    ] {
        let (said, code) = said(&work, args);
        assert_eq!(code, Some(0), "{said}");
        check(&said, true, args);
    }
    // The detail of a reject includes the unknown type.
    work.write("calls.ndjson", format!("{}{{\"type\":\"{HOSTILE}\"}}\n", event("n", "y")));
    for (space, flags) in [("other", &[][..]), ("another", &["--max-rejects", "0"])] {
        let args = [&["ingest", "calls.ndjson", "--space", space], flags].concat();
        let (said, code) = said(&work, &args);
        assert_eq!(code, Some(if flags.is_empty() { 0 } else { 2 }), "{said}");
        check(&said, true, &args);
    }
    work.write("none.ndjson", format!("{{\"type\":\"{HOSTILE}\"}}\n"));
    let args = ["ingest", "none.ndjson", "--space", "third", "--json"];
    let (said, code) = said(&work, &args);
    assert_eq!(code, Some(2));
    check(&said, true, &args);
}

#[test]
fn names_of_files_columns_and_arguments_are_escaped() {
    let work = Work::new();
    let name = "x\u{1b}[2J\nerror: fake\u{202e}\u{9b}.ndjson";
    work.write(name, "not json\n");
    let missing = "y\u{1b}[2J\nerror: fake\u{202e}\u{9b}";
    work.write(
        "state/user_identifiers.ndjson",
        format!("{{\"canonical_segment_id\":\"s\",\"type\":\"{HOSTILE}\",\"value\":\"v\"}}\n"),
    );
    work.write(
        "raw/id_graph_updates.ndjson",
        format!("{{\"segment_id\":\"a\",\"canonical_segment_id\":\"b\",\"uuid_ts\":\"{HOSTILE}\"}}\n"),
    );
    work.write("rules.toml", format!("[identity]\norder = [\"{HOSTILE}\"]\n"));
    work.write("config.toml", format!("[sync]\nexclude_tables = [\"{HOSTILE}\"]\n"));
    for (args, shows) in [
        (&["ingest", name, "--space", "s"][..], true),
        (&["ingest", missing, "--space", "s"], true),
        (&["ingest", missing, "--space", "s", "--json"], true),
        (&["ingest", "--space", missing, "--verify"], true),
        (&["ingest", "state", "--space", "s", "--config", "rules.toml"], true),
        (&["ingest", "-", "--space", "t", "--config", "config.toml"], true),
        (&["materialize", "--space", missing], true),
        (&["materialize", "--raw", "raw", "--out", missing, "--partial"], false),
        (&["backfill", "profiles", "state", "--space", "u"], true),
        (&["backfill", "raw", missing, "--space", "v"], true),
        (&["backfill", "events", missing, "--space", "w"], true),
        (&["ingest", "--json", missing, "--what"], false),
        (&["ingest", "-", "--space", "x", "--threads", missing], true),
        (&["ingest", "-", "--space", "x", "--threads", missing, "--json"], true),
        (&[missing], true),
    ] {
        let (said, _) = said(&work, args);
        check(&said, shows, args);
    }
}
