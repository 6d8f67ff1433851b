//! Which files a run reads, and what it says of those that it does not read.

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

/// Ingests from a folder of the work folder into a space there; what it said.
fn ingest(work: &Work, from: &str, args: &[&str]) -> String {
    let mut command = work.program(&[&["ingest"], args].concat());
    let assert = command.current_dir(work.path(from)).assert().success().stdout("");
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

/// A column of a table, a value for each row.
fn column(work: &Work, table: &str, name: &str) -> Vec<Value> {
    work.rows(table).iter().map(|row| row[name].clone()).collect()
}

#[test]
fn an_archive_is_read_alike_from_whatever_folder() {
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
        assert_eq!(rejected, [file], "the path as given");
    }
    // Below the archive, where no part of what is given names it.
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
