//! Line ends, blanks and byte order marks give the same tables however the input is read: from a file, a pipe or gzip,
//! streamed or sorted on disk, with any number of threads.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use crate::{
    agreement::assert_twin_agrees,
    random::Random,
    support::{
        Work,
        tree::{self, Tree},
    },
};

/// Returns a line that is an event, a batch, or neither. Most have no `messageId`, so their ids come from their bytes.
fn text(random: &mut Random) -> String {
    let time = format!("2026-01-{:02}T10:00:00.000Z", random.from(1, 28));
    let id = random.pick(&["", "", "\"messageId\":\"m1\",", "\"messageId\":\"\","]);
    let event = |call: &str| {
        format!(
            "{{\"type\":\"{call}\",{id}\"userId\":\"u1\",\"timestamp\":\"{time}\",\"receivedAt\":\"{time}\"}}"
        )
    };
    match random.below(10) {
        0 => "{\"type\":\"page\"".to_owned(),
        1 => event("pages"),
        2 => format!("{{\"batch\":[{},{},5]}}", event("page"), event("screen")),
        3 => format!("{{\"batch\":[{}]}}", event("page")),
        4 => random.pick(&["", " ", "\t", "\0", "\u{c}", "\u{85}", "[]"]).to_owned(),
        _ => event("page"),
    }
}

fn dump(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    let n_lines = random.from(1, 12);
    for number in 1..=n_lines {
        let before = if number == 1 { 30 } else { 5 };
        if random.chance(before) {
            bytes.extend_from_slice("\u{feff}".as_bytes());
        }
        bytes.extend_from_slice(random.pick(&["", "", "", " ", "\t", "\r", "\u{feff}"]).as_bytes());
        bytes.extend_from_slice(text(random).as_bytes());
        let behind = ["", "", "", " ", "\t", "\r", "\r\r", " \r", "\r ", "\0", "\0\r", "\u{feff}", "\u{85}"];
        bytes.extend_from_slice(random.pick(&behind).as_bytes());
        if number < n_lines || random.chance(50) {
            bytes.extend_from_slice(random.pick(&["\n", "\r\n"]).as_bytes());
        }
    }
    bytes
}

/// Ingests an input and returns the tables, with `file` of rejected lines made equal for all inputs, and the exit code.
fn ingest(work: &Work, space: &str, input: &str, flags: &[&str], stdin: &[u8]) -> Tree {
    let args =
        [&["ingest", input, "--space", space, "-q", "--materialize", "--segment-ids", "sequential"], flags]
            .concat();
    let output = work.program(&args).write_stdin(stdin).output().unwrap();
    let mut tables = tree::read(&work.path(space));
    for rows in tables.values_mut() {
        let text = String::from_utf8_lossy(rows);
        *rows =
            text.replace(&format!("{{\"file\":\"{input}\","), "{\"file\":\"events.ndjson\",").into_bytes();
    }
    tables.insert("status".into(), format!("{:?}", output.status.code()).into_bytes());
    tables
}

#[test]
fn lines_give_the_same_tables_however_they_are_read() {
    for seed in 0..60 {
        let bytes = dump(&mut Random(seed));
        let work = Work::new();
        work.write("events.ndjson", &bytes);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&bytes).unwrap();
        work.write("events.gz", gzip.finish().unwrap());
        let expected = ingest(&work, "one", "events.ndjson", &["--threads", "1"], b"");
        let little: &[&str] = &["--memory", "1"];
        let threads: &[&str] = &["--threads", "3"];
        let none: &[u8] = b"";
        for (number, (input, flags, stdin)) in [
            ("events.ndjson", little, none),
            ("-", threads, &bytes[..]),
            ("-", little, &bytes[..]),
            ("events.gz", threads, none),
            ("events.gz", little, none),
        ]
        .into_iter()
        .enumerate()
        {
            let actual = ingest(&work, &format!("space{number}"), input, flags, stdin);
            let differences = tree::differences(&expected, &actual);
            let told = String::from_utf8_lossy(&bytes);
            assert!(differences.is_empty(), "seed {seed}: {input} {flags:?}\n{told:?}\n{differences}");
        }
        if expected["status".as_ref() as &std::path::Path] == b"Some(0)" {
            assert_twin_agrees(&format!("seed {seed}"), &work, "one", &bytes);
        }
    }
}
