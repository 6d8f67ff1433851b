//! Lines that are not events: one fixture per reason.

use std::fs;

use profiles_sync::event::reject::RejectReason;
use serde_json::{Value, json};

use crate::support::{Work, names_in, project};

const GOOD: &str = r#"{"type":"page","messageId":"good","userId":"u1","timestamp":"2026-01-05T10:00:00Z"}"#;

/// Ingests a line between two good ones and returns its row in `rejected`.
fn rejected(line: &[u8]) -> Value {
    let work = Work::new();
    let mut bytes = format!("{GOOD}\n").into_bytes();
    let offset = bytes.len();
    bytes.extend_from_slice(line);
    bytes.extend_from_slice(format!("\n{}\n", GOOD.replace("good", "fine")).as_bytes());
    work.write("events.ndjson", bytes);
    let assert = work.program(&["ingest", "events.ndjson", "--space", "space", "--quiet"]).assert().success();
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("warning: 1 of 3 events and lines rejected: events.ndjson:2: "), "{said}");
    assert_eq!(work.rows("space/pages.ndjson").len(), 2, "a rejected line must not affect the others");
    let mut rows = work.rows("space/rejected.ndjson");
    assert_eq!(rows.len(), 1);
    let row = rows.remove(0);
    assert_eq!(row["file"], "events.ndjson");
    assert_eq!(row["line"], 2);
    assert_eq!(row["byte_offset"], offset);
    assert!(!row["detail"].as_str().unwrap().is_empty());
    row
}

#[test]
fn every_reason_has_a_fixture() {
    let mut reasons: Vec<_> =
        RejectReason::ALL.iter().map(|reason| format!("{}.ndjson", reason.word())).collect();
    let large = ["line_too_long.ndjson", "batch_too_large.ndjson", "columns_too_long.ndjson"];
    reasons.retain(|name| !large.contains(&name.as_str()));
    reasons.push("README.md".to_owned());
    reasons.sort();
    assert_eq!(names_in(&project("fixtures/bad")), reasons);
}

#[test]
fn every_malformed_line_is_rejected_with_its_reason() {
    for name in names_in(&project("fixtures/bad")) {
        let Some(reason) = name.strip_suffix(".ndjson") else { continue };
        let bytes = fs::read(project("fixtures/bad").join(&name)).unwrap();
        let line = bytes.strip_suffix(b"\n").unwrap();
        let row = rejected(line);
        assert_eq!(row["reason"], reason, "{row}");
        assert_eq!(row["text"], String::from_utf8_lossy(line).as_ref(), "{name}");
    }
}

#[test]
fn a_line_over_16_mib_is_rejected_and_its_text_is_cut() {
    const LIMIT: usize = 16 << 20;
    let frame = |length: usize| {
        let start =
            r#"{"type":"page","messageId":"long","userId":"u1","timestamp":"2026-01-05T10:00:00Z","x":""#;
        format!("{start}{}\"}}", "x".repeat(length - start.len() - 2)).into_bytes()
    };
    let row = rejected(&frame(LIMIT + 1));
    assert_eq!(row["reason"], "line_too_long");
    assert_eq!(row["text"].as_str().unwrap().len(), 64 << 10);
    // A line of exactly the limit is accepted.
    let work = Work::new();
    work.write("events.ndjson", frame(LIMIT));
    work.program(&["ingest", "events.ndjson", "--space", "space", "-q"]).assert().success().stderr("");
    assert_eq!(work.rows("space/rejected.ndjson").len(), 0);
    assert_eq!(work.rows("space/pages.ndjson").len(), 1);
}

#[test]
fn the_length_of_a_line_excludes_line_end_and_byte_order_mark() {
    const LIMIT: usize = 16 << 20;
    let event = |name: &str, length: usize| {
        let start = format!(
            "{{\"type\":\"page\",\"messageId\":\"{name}\",\"userId\":\"u1\",\"timestamp\":\"2026-01-05\",\"x\":\""
        );
        format!("{start}{}\"}}", "x".repeat(length - start.len() - 2))
    };
    let (most, more, far_more) =
        (event("most", LIMIT), event("more", LIMIT + 1), event("far more", LIMIT + (2 << 20)));
    let short = event("short", 100);
    for (bom, end) in [("", "\n"), ("", "\r\n"), ("\u{feff}", "\n"), ("\u{feff}", "\r\n")] {
        for lines in [
            [&most, &short, "oops"],
            [&more, &short, "oops"],
            [&far_more, &short, "oops"],
            [&short, "oops", &most],
            [&short, "oops", &more],
            [&short, "oops", &far_more],
        ] {
            let work = Work::new();
            let text = format!("{bom}{}", lines.join(end));
            let mut expected: Vec<Value> = Vec::new();
            let mut offset = bom.len();
            for (number, line) in (1..).zip(lines) {
                let detail = format!("{} bytes, more than {LIMIT}", line.len());
                if LIMIT < line.len() {
                    expected.push(json!([number, offset, "line_too_long", detail]));
                } else if line == "oops" {
                    expected.push(json!([
                        number,
                        offset,
                        "not_json",
                        "expected a value at byte 1 of the line"
                    ]));
                }
                offset += line.len() + end.len();
            }
            work.write("events.ndjson", &text);
            work.program(&["ingest", "events.ndjson", "--space", "file", "-q"]).assert().success();
            work.program(&["ingest", "-", "--space", "stream", "-q"]).write_stdin(text).assert().success();
            for space in ["file", "stream"] {
                let rows = work.rows(&format!("{space}/rejected.ndjson"));
                let found: Vec<Value> = rows
                    .iter()
                    .map(|row| json!([row["line"], row["byte_offset"], row["reason"], row["detail"]]))
                    .collect();
                assert_eq!(found, expected, "{space}, {bom:?}, {end:?}, {:?}", lines.map(str::len));
                assert_eq!(work.rows(&format!("{space}/pages.ndjson")).len(), 3 - expected.len());
            }
        }
    }
}

#[test]
fn the_text_of_a_reject_is_cut_at_64_kib_between_characters() {
    let text = |line: &[u8]| rejected(line)["text"].as_str().unwrap().to_owned();
    // Each invalid byte becomes a character of three bytes.
    assert_eq!(text(&b"\xff".repeat(70_000)), "\u{fffd}".repeat((64 << 10) / 3));
    // The limit falls between two characters, inside one of two bytes, and inside one of four.
    assert_eq!(text("\u{e9}".repeat(40_000).as_bytes()), "\u{e9}".repeat(32 << 10));
    assert_eq!(text(format!("x{}", "\u{e9}".repeat(40_000)).as_bytes()).len(), (64 << 10) - 1);
    let four = format!("xx{}", "\u{1f600}".repeat(20_000));
    assert_eq!(text(four.as_bytes()), four[..(64 << 10) - 2]);
    // The beginning of a line that is too long is kept.
    let mut long = "\u{e9}".repeat(8 << 20).into_bytes();
    long.push(b'x');
    assert_eq!(text(&long), "\u{e9}".repeat(32 << 10));
}

#[test]
fn max_rejects_is_a_count_or_a_percentage() {
    let work = Work::new();
    let mut lines = vec!["not json".to_owned(); 3];
    lines.extend((0..7).map(|at| GOOD.replace("good", &format!("m{at}"))));
    work.write("events.ndjson", lines.join("\n"));
    for (limit, passes) in [("3", true), ("2", false), ("30%", true), ("29.9%", false), ("0", false)] {
        let space = format!("space{}", limit.replace('%', "p"));
        let args = ["ingest", "events.ndjson", "--space", &space, "--max-rejects", limit, "-q"];
        let assert = work.program(&args).assert();
        if passes {
            assert.success();
        } else {
            let assert = assert.code(2).stdout("");
            let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
            assert!(stderr.starts_with("error: ") && stderr.contains("hint: "), "{stderr}");
            assert!(
                !work.path(&space).join("pages.ndjson").exists()
                    || work.rows(&format!("{space}/pages.ndjson")).is_empty()
            );
        }
    }
}

#[test]
fn too_many_rejects_are_listed_with_a_hint_to_count_them() {
    let work = Work::new();
    work.write("b.ndjson", format!("{GOOD}\nnot json\n"));
    let bad = GOOD.replace("timestamp", "time");
    work.write("a.ndjson", format!("{GOOD}\n{bad}\n\nnot json\n{bad}\n"));
    let inputs = ["a.ndjson", "b.ndjson", "--space", "space"];
    let said = |args: &[&str], code: i32| {
        let assert = work.program(&[args, &inputs].concat()).assert().code(code).stdout("");
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    for command in [&["ingest"][..], &["backfill", "events"]] {
        let said = said(&[command, &["--max-rejects", "1"]].concat(), 2);
        let start = "error: 4 of 6 events and lines rejected, more than the 1 allowed: a.ndjson:2: no_usable_time (no time in it \
            can be read); a.ndjson:4: not_json (";
        assert!(said.contains(start), "{said}");
        assert!(
            said.contains("; a.ndjson:5: no_usable_time (no time in it can be read); and 1 more\n"),
            "{said}"
        );
        assert!(said.contains("hint: run with `--dry-run --max-rejects 100%`"), "{said}");
        assert!(!work.path("space/manifest.json").exists());
    }
    // Follow the hint.
    let counted = said(&["ingest", "--dry-run", "--max-rejects", "100%"], 0);
    assert!(counted.contains("\n    no_usable_time ") && counted.contains("\n    not_json "), "{counted}");
    assert!(!work.path("space/manifest.json").exists());
    // A dry run applies the limit too.
    let dry = said(&["ingest", "--dry-run", "--max-rejects", "1"], 2);
    assert!(dry.contains("a.ndjson:2: no_usable_time"), "{dry}");
}
