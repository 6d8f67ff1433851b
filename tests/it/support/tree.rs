//! Compares two folders of tables and reports missing, unexpected and different files.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

/// The bytes of every file below a folder, by relative path.
pub(crate) type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// Reads the files below a folder, except hidden ones and `manifest.json`. A missing folder gives an empty tree.
pub(crate) fn read(folder: &Path) -> Tree {
    let mut tree = Tree::new();
    if folder.is_dir() {
        walk(folder, Path::new(""), &mut tree);
    }
    tree
}

fn walk(folder: &Path, inside: &Path, tree: &mut Tree) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let path = inside.join(&name);
        if name.to_string_lossy().starts_with('.') || path == Path::new("manifest.json") {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), &path, tree);
        } else {
            tree.insert(path, fs::read(entry.path()).unwrap());
        }
    }
}

/// Describes the differences file by file, with the first differing row of each file; empty if there are none.
pub(crate) fn differences(expected: &Tree, actual: &Tree) -> String {
    let mut report = String::new();
    for (path, expected) in expected {
        match actual.get(path) {
            None => writeln!(report, "{}: missing", path.display()).unwrap(),
            Some(actual) if actual == expected => {}
            Some(actual) => {
                writeln!(report, "{}: {}", path.display(), first_difference(expected, actual)).unwrap();
            }
        }
    }
    for (path, actual) in actual {
        if !expected.contains_key(path) {
            let rows = String::from_utf8_lossy(actual);
            writeln!(report, "{}: not expected\n{}", path.display(), indented(&rows)).unwrap();
        }
    }
    report
}

fn first_difference(expected: &[u8], actual: &[u8]) -> String {
    let (expected, actual) = (String::from_utf8_lossy(expected), String::from_utf8_lossy(actual));
    let (mut left, mut right) = (expected.lines(), actual.lines());
    for at in 1.. {
        match (left.next(), right.next()) {
            (None, None) => break,
            (left, right) if left == right => {}
            (Some(left), Some(right)) => return format!("row {at}{}", columns(left, right)),
            (Some(left), None) => return format!("row {at} is missing\n{}", indented(left)),
            (None, Some(right)) => return format!("row {at} is not expected\n{}", indented(right)),
        }
    }
    "only the line ends differ".to_owned()
}

/// Describes the columns in which two rows differ, after the key of the row.
fn columns(left: &str, right: &str) -> String {
    let rows = || -> Option<_> {
        let left: Map<String, Value> = serde_json::from_str(left).ok()?;
        let right: Map<String, Value> = serde_json::from_str(right).ok()?;
        Some((left, right))
    };
    let Some((from, to)) = rows() else {
        return format!("\n  expected {left}\n  but got  {right}");
    };
    let mut report = key(&from);
    let mut names: Vec<_> = from.keys().chain(to.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let show = |row: &Map<String, Value>| row.get(name).map_or("no column".to_owned(), Value::to_string);
        if from.get(name) != to.get(name) {
            write!(report, "\n  {name}: expected {}, but got {}", show(&from), show(&to)).unwrap();
        }
    }
    if !report.contains('\n') {
        write!(report, "\n  expected {left}\n  but got  {right}").unwrap();
    }
    report
}

const KEYS: [&str; 8] = [
    "id",
    "segment_id",
    "canonical_segment_id",
    "external_id_type",
    "external_id_value",
    "type",
    "name",
    "triggering_event_id",
];

fn key(row: &Map<String, Value>) -> String {
    let mut key = String::new();
    for name in KEYS {
        if let Some(value) = row.get(name) {
            write!(key, " {name}={value}").unwrap();
        }
    }
    key
}

fn indented(rows: &str) -> String {
    rows.lines().take(3).map(|row| format!("  {row}")).collect::<Vec<_>>().join("\n")
}

#[test]
fn differences_on_both_sides_are_reported() {
    let tree = |files: &[(&str, &str)]| -> Tree {
        files.iter().map(|(path, rows)| (PathBuf::from(path), rows.as_bytes().to_vec())).collect()
    };
    let one = tree(&[("a.ndjson", "{\"id\":\"1\",\"x\":1}\n"), ("b.ndjson", "")]);
    let two = tree(&[("a.ndjson", "{\"id\":\"1\",\"x\":2}\n"), ("c.ndjson", "")]);
    assert_eq!(differences(&one, &one), "");
    let report = differences(&one, &two);
    assert!(report.contains("a.ndjson: row 1 id=\"1\"\n  x: expected 1, but got 2"), "{report}");
    assert!(report.contains("b.ndjson: missing"), "{report}");
    assert!(report.contains("c.ndjson: not expected"), "{report}");
}

#[test]
fn a_different_order_of_columns_is_a_difference() {
    assert!(columns("{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}").contains("expected {\"a\""));
}
