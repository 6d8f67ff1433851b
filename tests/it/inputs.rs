//! Which files a run reads, and what it reports about the files that it skips.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

use crate::support::Work;

fn line(message_id: &str) -> String {
    format!(
        "{{\"type\":\"page\",\"messageId\":\"{message_id}\",\"userId\":\"u1\",\"timestamp\":\"2026-01-05T10:00:00Z\"}}\n"
    )
}

fn gz(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

/// Runs `ingest` in the subfolder `from` and returns what it printed to standard error.
fn ingest(work: &Work, from: &str, args: &[&str]) -> String {
    let mut command = work.program(&[&["ingest"], args].concat());
    let assert = command.current_dir(work.path(from)).assert().success().stdout("");
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

/// Returns a column of a table: one value per row.
fn column(work: &Work, table: &str, name: &str) -> Vec<Value> {
    work.rows(table).iter().map(|row| row[name].clone()).collect()
}

#[test]
fn an_archive_gives_the_same_sources_from_any_working_folder() {
    let work = Work::new();
    work.write("q/segment-logs/top.gz", gz(&line("m1")));
    work.write("q/segment-logs/A/2026/b.gz", gz(&format!("{}no event\n", line("m2"))));
    work.write("q/other.gz", gz("not read\n"));
    for (number, (from, input, file)) in [
        ("", "q", "q/segment-logs/A/2026/b.gz"),
        ("", "q/segment-logs", "q/segment-logs/A/2026/b.gz"),
        ("q/segment-logs", ".", "./A/2026/b.gz"),
        ("q/segment-logs/A", "../../segment-logs", "../../segment-logs/A/2026/b.gz"),
    ]
    .into_iter()
    .enumerate()
    {
        let space = work.path(&format!("space{number}"));
        ingest(&work, from, &[input, "--space", space.to_str().unwrap(), "-q"]);
        let sources = column(&work, &format!("space{number}/pages.ndjson"), "event_source_id");
        assert_eq!(sources, [Value::Null, "A".into()], "{from} {input}");
        let rejected = column(&work, &format!("space{number}/rejected.ndjson"), "file");
        assert_eq!(rejected, [file], "the path must be reported as it was given");
    }
    // Inputs below the archive: the given paths do not contain `segment-logs`.
    for (number, (from, input)) in
        [("q/segment-logs", "A"), ("q/segment-logs/A/2026", "."), ("q/segment-logs/A/2026", "b.gz")]
            .into_iter()
            .enumerate()
    {
        let space = work.path(&format!("below{number}"));
        ingest(&work, from, &[input, "--space", space.to_str().unwrap(), "-q"]);
        let sources = column(&work, &format!("below{number}/pages.ndjson"), "event_source_id");
        assert_eq!(sources, ["A"], "{from} {input}");
    }
}

#[test]
fn skipped_files_are_summarised_in_a_note() {
    let work = Work::new();
    let notes = |inputs: &[&str]| -> Vec<String> {
        let said = ingest(&work, "", &[inputs, &["--space", "space"]].concat());
        said.lines().filter(|line| line.starts_with("note: ")).map(str::to_owned).collect()
    };
    let name = |number: usize| format!("night/{number}.ndjson");
    for number in 1..=3 {
        work.write(&name(number), line(&format!("m{number}")));
    }
    assert_eq!(notes(&["night"]), [""; 0]);
    assert_eq!(
        notes(&["night/2.ndjson"]),
        ["note: skipped `night/2.ndjson`: the same content was ingested before"]
    );
    let three = "`night/1.ndjson`, `night/2.ndjson`, `night/3.ndjson`";
    assert_eq!(notes(&["night"]), [format!("note: skipped 3 files that were ingested before: {three}")]);
    for number in 4..=9 {
        work.write(&name(number), line(&format!("m{number}")));
    }
    work.write("twin.ndjson", line("m9"));
    work.write("known.ndjson", line("m1"));
    assert_eq!(
        notes(&["night", "known.ndjson", "twin.ndjson"]),
        [
            format!("note: skipped 4 files that were ingested before: {three} and 1 more"),
            "note: skipped `twin.ndjson`: it is the same as another input of this run".to_owned(),
        ]
    );
    // The JSON summary lists every skipped file.
    let args = ["ingest", "night", "twin.ndjson", "--space", "space", "--json"];
    let assert = work.program(&args).assert().success();
    let summary: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!(summary["files"], 0);
    assert_eq!(summary["files_skipped"].as_array().unwrap().len(), 10);
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    let skipped = format!("note: skipped 10 files that were ingested before: {three} and 7 more\n");
    assert_eq!(said, format!("{skipped}warning: nothing was ingested: every input was ingested before\n"));
}

#[test]
fn again_reads_known_inputs_and_adds_events_dropped_before() {
    let work = Work::new();
    work.write("events.ndjson", format!("{}{}oops\n", line("m1"), line("m2").replace("page", "screen")));
    work.write("rules.toml", "[[drop]]\ntype = [\"screen\"]\n");
    let run = |args: &[&str]| ingest(&work, "", &[&["events.ndjson", "--space", "space"], args].concat());
    run(&["--config", "rules.toml"]);
    assert!(!work.path("space/screens.ndjson").exists());
    // The drop rule was a mistake: ingest again without it.
    let said = run(&[]);
    assert!(said.contains("note: skipped `events.ndjson`: "), "{said}");
    assert!(!work.path("space/screens.ndjson").exists());
    let said = run(&["--again"]);
    assert!(said.contains("\ningested 1 of 2 events "), "{said}");
    assert_eq!(column(&work, "space/pages.ndjson", "id"), ["m1"]);
    assert_eq!(column(&work, "space/screens.ndjson", "id"), ["m2"]);
    assert_eq!(work.rows("space/rejected.ndjson").len(), 2);
    let args = ["ingest", "--verify", "--space", "space"];
    work.program(&args).assert().success();
}

#[test]
fn a_run_without_new_inputs_does_not_rebuild_the_state() {
    let work = Work::new();
    work.write("events.ndjson", line("m1"));
    ingest(&work, "", &["events.ndjson", "--space", "space"]);
    std::fs::remove_file(work.path("space/.state/resolver-1")).unwrap();
    let before = work.read("space/manifest.json");
    let said = ingest(&work, "", &["events.ndjson", "--space", "space"]);
    assert!(!said.contains("state cache"), "{said}");
    assert_eq!(work.read("space/manifest.json"), before);
    let said = ingest(&work, "", &["events.ndjson", "--space", "space", "--again"]);
    assert!(said.contains("note: the state cache is missing or damaged: it is rebuilt"), "{said}");
    work.program(&["ingest", "--verify", "--space", "space"]).assert().success();
}

#[test]
fn json_arrays_over_many_lines_are_rejected_with_a_hint() {
    let work = Work::new();
    let items = [line("m1"), line("m2"), line("m3")].concat();
    let items = items.trim_end().replace('\n', ",\n");
    work.write("array.json", format!("[\n{items}\n]\n"));
    work.write("commas.json", &items);
    for (file, hint) in
        [("array.json", "`jq -c '.[]' FILE`"), ("commas.json", "`sed 's/,[[:space:]]*$//' FILE`")]
    {
        let said = ingest(&work, "", &[file, "--space", file.trim_end_matches(".json"), "-q"]);
        assert!(said.starts_with(&format!("warning: {file}:1: not_json (")) && said.contains(hint), "{said}");
    }
}

#[test]
fn a_byte_order_mark_in_the_middle_is_reported() {
    let work = Work::new();
    let text = format!("\u{feff}{}\u{feff}{}", line("m1"), line("m2"));
    work.write("events.ndjson", &text);
    ingest(&work, "", &["events.ndjson", "--space", "space", "-q"]);
    ingest(&work, "", &["events.ndjson", "--space", "sorted", "-q", "--memory", "1"]);
    for space in ["space", "sorted"] {
        assert_eq!(column(&work, &format!("{space}/pages.ndjson"), "id"), ["m1"]);
        let detail = column(&work, &format!("{space}/rejected.ndjson"), "detail");
        assert_eq!(detail, ["a byte order mark in the middle of the input"]);
    }
}

#[test]
fn unreadable_times_are_counted() {
    let work = Work::new();
    let event = line("m1").replace(
        "\"userId\"",
        "\"sentAt\":\"\",\"receivedAt\":null,\"originalTimestamp\":\"1571043797000\",\"userId\"",
    );
    work.write("events.ndjson", event + &line("m2"));
    let assert = work.program(&["ingest", "events.ndjson", "--space", "space", "--json"]).assert().success();
    let summary: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!(summary["notes"], serde_json::json!({"times_unreadable": 1}));
}

/// Ingests a text from a pipe and returns the JSON summary.
fn ingest_stream(work: &Work, space: &str, text: &str) -> Value {
    let args = ["ingest", "-", "--space", space, "--json"];
    let assert = work.program(&args).write_stdin(text.to_owned()).assert().success();
    serde_json::from_slice(&assert.get_output().stdout).unwrap()
}

#[test]
fn a_pipe_is_read_once_even_if_the_scan_misjudges_the_order() {
    let work = Work::new();
    // The scan mistakes the `receivedAt` property for the time of arrival, which is really earlier.
    let event = |name: &str, time: u32| {
        format!(
            "{{\"type\":\"track\",\"event\":\"Read\",\"messageId\":\"{name}\",\"userId\":\"u1\",\
             \"timestamp\":\"2026-01-05T10:00:{time:02}Z\",\"properties\":{{\"receivedAt\":\"2026-01-05T10:00:59Z\"}}}}\n"
        )
    };
    let text = event("m2", 2) + &event("m1", 1) + "oops\n" + &event("m3", 3);
    let summary = ingest_stream(&work, "stream", &text);
    assert_eq!(summary["events"], 3, "{summary}");
    assert_eq!(summary["bytes"], text.len());
    assert_eq!(summary["rejected"]["not_json"], 1);
    work.write("events.ndjson", &text);
    ingest(&work, "", &["events.ndjson", "--space", "file"]);
    assert_eq!(column(&work, "stream/read.ndjson", "id"), ["m1", "m2", "m3"]);
    assert_eq!(work.read("stream/tracks.ndjson"), work.read("file/tracks.ndjson"));
    // The same with so little memory that the input is spilled.
    let args = ["ingest", "-", "--space", "spilled", "--memory", "1K", "-q"];
    work.program(&args).write_stdin(text).assert().success();
    assert_eq!(work.read("spilled/tracks.ndjson"), work.read("file/tracks.ndjson"));
}

#[test]
fn a_pipe_is_read_once_even_if_the_state_is_damaged() {
    let work = Work::new();
    let people: String =
        (0..3000).map(|number| line(&format!("m{number}")).replace("u1", &format!("u{number}"))).collect();
    work.write("people.ndjson", people);
    ingest(&work, "", &["people.ndjson", "--space", "space"]);
    let state = work.path("space/.state/resolver-1");
    let mut bytes = std::fs::read(&state).unwrap();
    for at in (64..bytes.len() * 3 / 4).step_by(500) {
        bytes[at] ^= 1;
    }
    work.write("space/.state/resolver-1", bytes);
    let text = line("new").replace("u1", "u77") + &line("m5").replace("u1", "u5");
    let summary = ingest_stream(&work, "space", &text);
    assert_eq!((&summary["events"], &summary["accepted"]), (&Value::from(2), &Value::from(1)), "{summary}");
    assert_eq!(work.rows("space/id_graph_updates.ndjson").len(), 3000);
    assert_eq!(work.rows("space/pages.ndjson").len(), 3001);
}

#[test]
fn tar_archives_are_rejected_with_a_hint() {
    let work = Work::new();
    let mut tar = b"events.ndjson".to_vec();
    tar.resize(257, 0);
    tar.extend_from_slice(b"ustar\x0000");
    tar.resize(512, 0);
    tar.extend_from_slice((line("m1") + &line("m2")).as_bytes());
    work.write("one.tar", &tar);
    work.write("two.tar.gz", gz(&String::from_utf8(tar).unwrap()));
    for name in ["one.tar", "two.tar.gz"] {
        let assert = work.program(&["ingest", name, "--space", "space"]).assert().code(2);
        let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert_eq!(
            said,
            format!("error: `{name}`: is a tar archive\nhint: extract it first, with `tar -x`\n")
        );
        assert!(!work.path("space/manifest.json").exists());
    }
}

#[test]
fn a_walk_skips_files_that_are_not_dumps_and_reports_them() {
    let work = Work::new();
    for (number, name) in
        ["a.ndjson", "B.NDJSON", "c.JSON.GZ", "deep/d.JsonL", "segment-logs/s/e.GZ"].iter().enumerate()
    {
        let text = line(&format!("m{number}"));
        let packed = name.to_ascii_lowercase().ends_with("gz");
        work.write(&format!("night/{name}"), if packed { gz(&text) } else { text.into_bytes() });
    }
    let hidden =
        ["._a.ndjson", ".b.ndjson.part.json", ".git/c.json", "deep/.d/e.ndjson", "segment-logs/.f.gz"];
    for (number, name) in hidden.iter().enumerate() {
        work.write(&format!("night/{name}"), line(&format!("hidden{number}")));
    }
    // A space of an earlier run, inside the input folder.
    ingest(&work, "", &["night/a.ndjson", "--space", "night/old", "-q"]);
    let said = ingest(&work, "", &["night", "--space", "space"]);
    assert_eq!(work.rows("space/pages.ndjson").len(), 5);
    assert_eq!(work.rows("space/rejected.ndjson").len(), 0);
    let notes: Vec<_> = said.lines().filter(|line| line.starts_with("note: ")).collect();
    assert_eq!(notes, ["note: skipped `night/old`: it is a space, and its tables are not events"]);
    // Hidden files are read if they are given by name.
    let inputs = ["night/._a.ndjson", "night/.git", "night/.b.ndjson.part.json"];
    ingest(&work, "", &[&inputs[..], &["--space", "space", "-q"]].concat());
    assert_eq!(work.rows("space/pages.ndjson").len(), 8);
    // Files whose names are not those of event files.
    work.write("other/x.csv", "a,b\n");
    work.write("other/.DS_Store", "");
    let said = ingest(&work, "", &["other", "night/a.ndjson", "--space", "space"]);
    assert!(said.contains("note: skipped 1 file that is not an event file: `other/x.csv`\n"), "{said}");
    work.write("other/below/y.csv", "a,b\n");
    work.write("other/z.xz", "");
    let said = ingest(&work, "", &["other", "night/a.ndjson", "--space", "space"]);
    let note = "note: skipped 3 files that are not event files, such as `other/below/y.csv`\n";
    assert!(said.contains(note), "{said}");
}

#[test]
fn a_zstd_window_that_is_too_large_gets_a_hint() {
    let work = Work::new();
    let mut compressed = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    compressed.window_log(28).unwrap();
    compressed.write_all(b"{\"id\":\"1\"}\n").unwrap();
    work.write("large.ndjson.zst", compressed.finish().unwrap());
    work.write("small.ndjson", "{\"id\":\"1\"}\n");
    for args in [
        &["ingest", "large.ndjson.zst", "--space", "space"][..],
        &["diff", "small.ndjson", "large.ndjson.zst"],
    ] {
        let assert = work.program(args).assert().code(2);
        let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(stderr.contains("hint: decompress it first, with `zstd -d --long=31`"), "{stderr}");
    }
}
