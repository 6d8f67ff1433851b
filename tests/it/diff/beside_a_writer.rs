//! Comparisons while another process writes: they read each file as it was at the start, and never half of a commit.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use profiles_sync::{
    diff::{Sameness, diff},
    files::Files,
    progress::Silent,
};

use super::options;
use crate::support::{Work, names_in};

const COMPARISONS: usize = 50;

fn event(n: usize) -> String {
    format!(
        "{{\"type\":\"identify\",\"messageId\":\"m{n}\",\"userId\":\"u{n}\",\"anonymousId\":\"a{n}\",\
         \"traits\":{{\"email\":\"{n}@example.com\",\"plan\":\"{}\"}},\
         \"timestamp\":\"2026-01-05T10:{:02}:{:02}Z\"}}\n",
        "p".repeat(n % 40),
        n / 60 % 60,
        n % 60,
    )
}

fn ingest(work: &Work, space: &str, numbers: std::ops::Range<usize>, compression: &str) {
    let events = work.write(&format!("{}.ndjson", numbers.start), numbers.map(event).collect::<String>());
    let args = ["ingest", events.to_str().unwrap(), "--space", space, "--materialize", "-q"];
    work.program(&[&args[..], &["--compress", compression]].concat()).assert().success();
}

/// Returns each view of a space with its current bytes, and with other bytes for the same rows.
fn spellings(space: &Path) -> Vec<(PathBuf, [Vec<u8>; 2])> {
    let views = ["id_graph.", "external_id_mapping.", "profile_traits.", "user_traits.", "user_identifiers."];
    let names = names_in(space).into_iter().filter(|name| views.iter().any(|view| name.starts_with(view)));
    names
        .map(|name| {
            let path = space.join(name);
            let now = std::fs::read(&path).unwrap();
            let compressed = path.extension().is_some_and(|end| end == "zst");
            let text = if compressed { zstd::decode_all(&*now).unwrap() } else { now.clone() };
            let text = String::from_utf8(text).unwrap().replace("\",\"", "\" ,  \"");
            let other =
                if compressed { zstd::encode_all(text.as_bytes(), 7).unwrap() } else { text.into_bytes() };
            assert_ne!(now.len(), other.len());
            (path, [now, other])
        })
        .collect()
}

/// Compares again and again while another thread calls `write`. Asserts that the sides never differ.
fn compare_often(old: &Path, new: &Path, mut write: impl FnMut() + Send) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let done = &done;
        let writer = scope.spawn(move || {
            let mut n = 0;
            while !done.load(Ordering::Relaxed) {
                write();
                n += 1;
            }
            n
        });
        let results: Vec<_> = (0..COMPARISONS)
            .map(|_| diff(&options(old, new), &Files::real(), &Silent, &mut std::io::sink()))
            .collect();
        done.store(true, Ordering::Relaxed);
        assert!(0 < writer.join().unwrap());
        for result in results {
            let comparison = result.unwrap();
            assert!(comparison.tables.iter().all(|table| table.malformed_lines.is_empty()));
            assert_eq!(comparison.sameness, Sameness::Same);
        }
    });
}

#[expect(clippy::disallowed_methods, reason = "a test's own files need no wrapper")]
fn replaced_views(compression: &str) {
    let work = Work::new();
    for space in ["old", "new"] {
        ingest(&work, space, 0..300, compression);
    }
    let views = spellings(&work.path("new"));
    let mut n = 0;
    compare_often(&work.path("old"), &work.path("new"), || {
        n += 1;
        for (path, contents) in &views {
            let beside = path.with_file_name(".replacement");
            std::fs::write(&beside, &contents[n % 2]).unwrap();
            std::fs::rename(&beside, path).unwrap();
        }
    });
}

#[test]
fn replaced_views_are_read_as_they_were() {
    replaced_views("none");
}

#[test]
fn replaced_compressed_views_are_read_as_they_were() {
    replaced_views("zstd");
}

#[test]
fn a_space_never_differs_from_itself_during_a_commit() {
    for compression in ["none", "zstd"] {
        let work = Work::new();
        ingest(&work, "space", 0..20, compression);
        let mut n = 20;
        compare_often(&work.path("space"), &work.path("space/../space"), || {
            ingest(&work, "space", n..n + 20, compression);
            n += 20;
        });
    }
}

#[test]
fn only_committed_bytes_of_a_given_table_file_count() {
    for (compression, name) in [("none", "identifies.ndjson"), ("zstd", "identifies.ndjson.zst")] {
        let work = Work::new();
        for space in ["old", "new"] {
            ingest(&work, space, 0..20, compression);
        }
        let path = format!("new/{name}");
        let mut bytes = std::fs::read(work.path(&path)).unwrap();
        bytes.extend_from_slice(&bytes.clone()[..10]);
        work.write(&path, bytes);
        work.program(&["diff", &format!("old/{name}"), &path]).assert().success();
    }
}

#[test]
fn more_tables_than_stay_open_are_compared() {
    let work = Work::new();
    for side in ["old", "new"] {
        for n in 0..150 {
            work.write(&format!("{side}/table_{n}.ndjson"), format!("{{\"id\":\"{n}\"}}\n"));
        }
    }
    work.program(&["diff", "old", "new"]).assert().success();
    work.write("new/table_99.ndjson", "{\"id\":\"x\"}\n");
    work.program(&["diff", "old", "new"]).assert().code(1);
}
