//! Cases that a comparison must get right, each with its exit code.

use serde_json::Value;

use crate::support::{Work, project_text};

/// Runs `diff` with arguments and returns its exit code, standard output and standard error.
fn run(work: &Work, args: &[&str]) -> (i32, String, String) {
    let args = [&["diff"], args].concat();
    let output = work.program(&args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Returns the exit code, and the numbers of same, added, removed and changed rows of the first table.
fn counts(work: &Work, args: &[&str]) -> (i32, [u64; 4]) {
    let (code, out, said) = run(work, &[args, &["--format", "json"]].concat());
    let summary: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{said}"));
    let rows = &summary["tables"][0]["rows"];
    (code, ["same", "added", "removed", "changed"].map(|name| rows[name].as_u64().unwrap()))
}

fn check(old: &str, new: &str, args: &[&str], code: i32, rows: [u64; 4]) {
    let work = Work::new();
    work.write("old.ndjson", old);
    work.write("new.ndjson", new);
    assert_eq!(
        counts(&work, &[&["old.ndjson", "new.ndjson"], args].concat()),
        (code, rows),
        "{old:?} {new:?}"
    );
}

const A: &str = "{\"id\":\"a\",\"x\":1}\n";
const B: &str = "{\"id\":\"b\",\"x\":2}\n";

#[test]
fn the_order_of_rows_does_not_matter() {
    check(&format!("{A}{B}"), &format!("{B}{A}"), &[], 0, [2, 0, 0, 0]);
}

#[test]
fn the_order_of_columns_does_not_matter() {
    check(A, "{\"x\":1,\"id\":\"a\"}\n", &[], 0, [1, 0, 0, 0]);
}

#[test]
fn the_type_of_numbers_matters_but_not_their_spelling() {
    check(A, "{\"id\":\"a\",\"x\":1.0}\n", &[], 0, [1, 0, 0, 0]);
    check(A, "{\"id\":\"a\",\"x\":1e0}\n", &[], 0, [1, 0, 0, 0]);
    check(A, "{\"id\":\"a\",\"x\":\"1\"}\n", &[], 1, [0, 0, 0, 1]);
    let big = |digits: &str| format!("{{\"id\":\"a\",\"x\":{digits}}}\n");
    check(&big("9007199254740993"), &big("9007199254740992"), &[], 1, [0, 0, 0, 1]);
    check(&big("9007199254740993"), &big("9007199254740993.0"), &[], 0, [1, 0, 0, 0]);
}

#[test]
fn null_and_absent_are_the_same() {
    check(A, "{\"id\":\"a\",\"x\":1,\"y\":null}\n", &[], 0, [1, 0, 0, 0]);
    check(A, "{\"id\":\"a\",\"x\":null}\n", &[], 1, [0, 0, 0, 1]);
}

#[test]
fn duplicate_keys_are_multisets_and_are_reported() {
    let twice = "{\"id\":\"a\",\"x\":2}\n";
    check(&format!("{A}{twice}"), &format!("{twice}{A}"), &[], 0, [2, 0, 0, 0]);
    check(&format!("{A}{A}"), A, &[], 1, [1, 0, 1, 0]);
    check(&format!("{A}{twice}"), &format!("{A}{B}"), &[], 1, [1, 1, 1, 0]);
    let work = Work::new();
    work.write("old.ndjson", format!("{A}{A}{B}"));
    work.write("new.ndjson", format!("{A}{B}"));
    let (_, out, _) = run(&work, &["old.ndjson", "new.ndjson"]);
    assert!(out.contains("1 key occurs more than once on the old side"), "{out}");
}

#[test]
fn an_empty_file_is_a_table_without_rows() {
    check("", "", &[], 0, [0, 0, 0, 0]);
    check("", A, &[], 1, [0, 1, 0, 0]);
    check(&format!("{A}{B}"), "\n\n", &[], 1, [0, 0, 2, 0]);
}

#[test]
fn line_ends_and_a_byte_order_mark_do_not_matter() {
    check(
        &format!("{A}{B}"),
        &format!("\u{feff}{}", format!("{A}{B}").replace('\n', "\r\n")),
        &[],
        0,
        [2, 0, 0, 0],
    );
    check(&format!("{A}{B}"), format!("{A}{B}").trim_end(), &[], 0, [2, 0, 0, 0]);
}

#[test]
fn an_incomplete_last_line_is_reported() {
    let work = Work::new();
    work.write("old.ndjson", format!("{A}{B}"));
    work.write("new.ndjson", format!("{A}{{\"id\":\"b\",\"x\""));
    let (code, out, said) = run(&work, &["old.ndjson", "new.ndjson"]);
    assert_eq!(code, 2);
    assert!(out.contains("new.ndjson:2 is not JSON and has no line end: it is incomplete"), "{out}");
    assert!(said.contains("error: new.ndjson:2: the line is not JSON"), "{said}");
    // The same bad line on both sides is not a difference, but worth a notice.
    let (code, _, said) = run(&work, &["new.ndjson", "new.ndjson"]);
    assert_eq!(code, 0);
    assert!(said.starts_with("note: new.ndjson:2 is not JSON and has no line end"), "{said}");
}

#[test]
fn a_complete_last_line_is_not_called_incomplete() {
    let work = Work::new();
    work.write("old.json", "[{\"id\":\"a\"}]");
    work.write("new.json", A);
    let (code, out, said) = run(&work, &["old.json", "new.json"]);
    assert_eq!(code, 2);
    assert!(out.contains("old.json:1 is not a JSON object\n"), "{out}");
    assert!(!said.contains("it is incomplete"), "{said}");
}

#[test]
fn the_standard_input_and_pipes_are_refused_with_a_hint() {
    let work = Work::new();
    work.write("old.ndjson", A);
    for path in ["-", "/dev/stdin"] {
        let output =
            work.program(&["diff", "old.ndjson", path]).write_stdin(A.repeat(1000)).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]), "{said}");
        assert!(said.contains("to a file first"), "{said}");
    }
}

#[test]
fn a_malformed_line_is_reported_wherever_it_is() {
    let work = Work::new();
    for (line, message) in [("[1]", "is not a JSON object"), ("{\"id\":", "is not JSON")] {
        work.write("old.ndjson", format!("{A}{B}"));
        work.write("new.ndjson", format!("{A}\n{line}\n{B}"));
        let (code, rows) = counts(&work, &["old.ndjson", "new.ndjson"]);
        assert_eq!((code, rows), (2, [2, 0, 0, 0]));
        let (_, out, _) = run(&work, &["old.ndjson", "new.ndjson"]);
        assert!(out.contains(&format!("new.ndjson:3 {message}")), "{out}");
    }
    let (code, _, said) = run(&work, &["new.ndjson", "new.ndjson"]);
    assert_eq!((code, said.as_str()), (0, ""));
}

#[test]
fn a_table_on_one_side_is_added_or_removed() {
    let work = Work::new();
    work.write("old/pages.ndjson", A);
    work.write("new/pages.ndjson", A);
    work.write("new/screens.ndjson", B);
    work.write("new/aliases.ndjson", "");
    let (code, out, _) = run(&work, &["old", "new"]);
    assert_eq!(code, 1);
    assert!(out.contains("only on the new side"), "{out}");
    let (code, out, _) = run(&work, &["old", "new", "--format", "ndjson"]);
    assert_eq!(code, 1);
    let expected = r#"{"change":"table_added","table":"aliases"}
{"change":"row_added","table":"screens","key":{"id":"b"},"new":{"id":"b","x":2}}
{"change":"table_added","table":"screens"}
"#;
    assert_eq!(out, expected);
    // An empty table is not a difference.
    assert_eq!(run(&work, &["old", "new", "--tables", "pages,aliases"]).0, 0);
}

#[test]
fn mixed_and_missing_sides_are_errors() {
    let work = Work::new();
    work.write("old/pages.ndjson", A);
    work.write("empty/notes.txt", "");
    for (args, hint) in [
        (["old", "old/pages.ndjson"], "compare two table files, or two folders of tables"),
        (["old", "gone"], "give two table files, or two folders of tables"),
        (["old", "empty"], "a table is a file such as pages.ndjson"),
    ] {
        let (code, out, said) = run(&work, &args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        assert!(said.contains(hint), "{said}");
    }
    work.write("twice/pages.ndjson", A);
    work.write("twice/pages.ndjson.gz", "");
    assert!(run(&work, &["old", "twice"]).2.contains("holds the table `pages`, as"), "two files");
}

#[test]
fn only_committed_bytes_of_a_space_count() {
    let work = Work::new();
    work.write(
        "events.ndjson",
        r#"{"type":"page","messageId":"m1","userId":"u1","timestamp":"2026-01-05T10:00:00Z"}"#,
    );
    work.program(&["ingest", "events.ndjson", "--space", "one", "-q"]).assert().success();
    work.program(&["ingest", "events.ndjson", "--space", "two", "-q"]).assert().success();
    let pages = work.read("two/pages.ndjson");
    work.write("two/pages.ndjson", format!("{pages}{{\"half"));
    work.write("two/screens.ndjson", B);
    work.write("two/tracks.ndjson.tmp", B);
    assert_eq!(run(&work, &["one", "two"]).0, 0);
    work.write("two/pages.ndjson", "");
    let (code, _, said) = run(&work, &["one", "two"]);
    assert_eq!(code, 2);
    assert!(said.contains("bytes are committed") || said.contains("are committed"), "{said}");
}

#[test]
fn a_folder_of_files_is_one_table() {
    let work = Work::new();
    work.write("old/pages.ndjson", format!("{A}{B}"));
    work.write("new/pages/part-2.json", A);
    work.write("new/pages/part-1.jsonl", B);
    assert_eq!(run(&work, &["old", "new"]).0, 0);
    work.write("old/later/id_graph.ndjson", "{\"segment_id\":\"s\"}\n");
    let (code, out, _) = run(&work, &["old", "new"]);
    assert_eq!(code, 1);
    assert!(out.contains("later/id_graph: 1 removed"), "{out}");
}

#[test]
fn the_key_is_known_or_given_or_the_whole_row() {
    let rows = |x: u32| format!("{{\"p\":1,\"q\":\"b\",\"x\":{x}}}\n");
    check(&rows(1), &rows(2), &["--key", "p,q"], 1, [0, 0, 0, 1]);
    check(&rows(1), &rows(2), &[], 1, [0, 1, 1, 0]);
    check(&rows(1), &rows(2), &["--ignore-columns", "x"], 0, [1, 0, 0, 0]);
    let work = Work::new();
    work.write("old.ndjson", rows(1));
    let (code, _, said) = run(&work, &["old.ndjson", "old.ndjson", "--key", "z"]);
    assert_eq!(code, 2);
    assert!(said.contains("has no column `z`"), "{said}");
    // Only `*` is a wildcard.
    check(&rows(1), &rows(2), &["--ignore-columns", "[x]"], 1, [0, 1, 1, 0]);
    check(&rows(1), &rows(2).replace('x', "x[1]"), &["--ignore-columns", "x[1],x"], 0, [1, 0, 0, 0]);
}

#[test]
fn a_key_in_capitals_is_reported() {
    let work = Work::new();
    work.write("old/id_graph.ndjson", "{\"segment_id\":\"s\",\"canonical_segment_id\":\"s\"}\n");
    work.write("new/id_graph.ndjson", "{\"SEGMENT_ID\":\"s\",\"CANONICAL_SEGMENT_ID\":\"s\"}\n");
    let (code, _, said) = run(&work, &["old", "new"]);
    let note = "note: no row of `id_graph` can be matched: the new side has no column `segment_id` but `SEGMENT_ID`, \
        and column names are case-sensitive\n";
    assert_eq!((code, said.as_str()), (1, note));
    assert!(!run(&work, &["old", "old"]).2.contains("can be matched"));
}

#[test]
fn a_malformed_csv_is_an_error() {
    let work = Work::new();
    work.write("bad.csv", "id,n\n1,5\n2\n");
    let (code, _, said) = run(&work, &["bad.csv", "bad.csv"]);
    assert_eq!(code, 2);
    assert!(
        said.contains("bad.csv:3: has 1 cell, but the header has 2") && !said.contains("packed"),
        "{said}"
    );
}

#[test]
fn ignored_columns_do_not_count() {
    check(A, "{\"id\":\"a\",\"x\":9}\n", &["--ignore-columns", "x*"], 0, [1, 0, 0, 0]);
    check(A, "{\"id\":\"a\",\"x\":9,\"y\":1}\n", &["--ignore-columns", "x"], 1, [0, 0, 0, 1]);
}

#[test]
fn csv_is_compared_as_text_and_with_ndjson_by_value() {
    let work = Work::new();
    work.write("old.csv", "id,x,y\na,1,\"one, two\"\nb,2,\n");
    work.write("new.csv", "y,id,x\n,b,2\n\"one, two\",a,1\n");
    work.write(
        "new.ndjson",
        "{\"id\":\"a\",\"x\":1.0,\"y\":\"one, two\"}\n{\"id\":\"b\",\"x\":\"2\",\"y\":null}\n",
    );
    assert_eq!(counts(&work, &["old.csv", "new.csv"]), (0, [2, 0, 0, 0]));
    assert_eq!(counts(&work, &["old.csv", "new.ndjson"]), (0, [2, 0, 0, 0]));
    work.write("new.csv", "y,id,x\n,b,2.0\n\"one, two\",a,1\n");
    assert_eq!(counts(&work, &["old.csv", "new.csv"]), (1, [1, 0, 0, 1]));
    work.write("new.csv", "y,id,x\n,b,3\n\"one, two\",a,1\n");
    assert_eq!(counts(&work, &["old.csv", "new.csv"]), (1, [1, 0, 0, 1]));
    work.write("new.csv", "y,id,x\n,b,3\n\"one, two\",a\n");
    let (code, _, said) = run(&work, &["old.csv", "new.csv"]);
    assert_eq!(code, 2);
    assert!(said.contains("new.csv:3: has 2 cells, but the header has 3"), "{said}");
}

#[test]
fn fail_on_selects_which_changes_count() {
    let work = Work::new();
    work.write("old.ndjson", A);
    work.write("new.ndjson", format!("{A}{B}"));
    for (kinds, code) in [("added", 1), ("removed,changed", 0), ("merged,split", 0), ("changed,added", 1)] {
        assert_eq!(run(&work, &["old.ndjson", "new.ndjson", "--fail-on", kinds]).0, code, "{kinds}");
    }
    let (code, _, said) = run(&work, &["old.ndjson", "new.ndjson", "--fail-on", "broken"]);
    assert_eq!(code, 2);
    assert!(said.contains("added, removed, changed"), "{said}");
}

#[test]
fn a_truncated_compressed_file_is_an_error() {
    let work = Work::new();
    let packed = zstd::encode_all(format!("{A}{B}").as_bytes(), 1).unwrap();
    work.write("old.ndjson.zst", &packed);
    work.write("new.ndjson.zst", &packed[..packed.len() - 3]);
    let (code, _, said) = run(&work, &["old.ndjson.zst", "new.ndjson.zst"]);
    assert_eq!(code, 2);
    assert!(said.contains("hint: check the file"), "{said}");
}

#[test]
fn a_duplicate_name_in_a_csv_header_is_an_error() {
    let work = Work::new();
    work.write("good.csv", "id,name,name2\n1,ann,x\n");
    for (header, message) in [
        ("id,name,name", "has the column `name` twice"),
        ("id,name,id", "has the column `id` twice"),
        ("id,,", "has two columns without a name"),
    ] {
        work.write("bad.csv", format!("{header}\n1,ann,x\n"));
        for sides in [["bad.csv", "good.csv"], ["good.csv", "bad.csv"], ["bad.csv", "bad.csv"]] {
            let (code, out, said) = run(&work, &sides);
            assert_eq!((code, &*out), (2, ""));
            assert!(
                said.contains("bad.csv:1: ") && said.contains(message) && said.contains("hint: "),
                "{said}"
            );
        }
    }
}

#[test]
fn a_csv_from_a_spreadsheet_is_read() {
    let work = Work::new();
    work.write("old.csv", "\u{feff}\"id\",\"n\"\r\n\"1\",\"a, b\"\r\n");
    work.write("new.csv", "id,n\n1,\"a, b\"\n");
    assert_eq!(counts(&work, &["old.csv", "new.csv"]), (0, [1, 0, 0, 0]));
}

#[test]
fn csv_errors_count_lines_as_an_editor_does() {
    let work = Work::new();
    work.write("old.csv", "id,n\n1,\"two\nlines\"\n2,b\n");
    let mut bytes = work.read("old.csv").into_bytes();
    let at = bytes.len() - 2;
    bytes[at] = 0xff;
    work.write("new.csv", bytes);
    let (code, _, said) = run(&work, &["old.csv", "new.csv"]);
    assert_eq!(code, 2);
    assert!(said.contains("new.csv:4: the line is not UTF-8"), "{said}");
}

#[test]
fn values_with_the_same_fast_hash_differ() {
    let work = Work::new();
    work.write("old.ndjson", project_text("fixtures/diff/collisions/old.ndjson"));
    work.write("new.ndjson", project_text("fixtures/diff/collisions/new.ndjson"));
    assert_eq!(counts(&work, &["old.ndjson", "new.ndjson"]).0, 1);
    assert_eq!(counts(&work, &["old.ndjson", "new.ndjson", "--key", "v"]).0, 1);
}

#[test]
fn event_data_cannot_act_on_a_terminal() {
    let work = Work::new();
    let nasty = "\u{1b}[2J\u{9b}31m\u{202e}\u{2066}\u{200f}\u{61c}\u{7f}\r\n|`x";
    let row = |value: &str| serde_json::json!({"id": nasty, nasty: value, "n": [nasty]}).to_string() + "\n";
    for (side, value) in [("old", nasty), ("new", "\u{8}")] {
        work.write(&format!("{side}/\u{1b}[31m`t\u{202e}.ndjson"), row(value));
        let id = format!("{side}{nasty}");
        let view = serde_json::json!({"canonical_segment_id": id, "type": nasty, "value": nasty});
        let other = serde_json::json!({"canonical_segment_id": id, "type": "email", "value": side});
        work.write(&format!("{side}/user_identifiers.ndjson"), format!("{view}\n{other}\n"));
        let event = serde_json::json!({"id": side, "segment_id": id, "external_id_type": nasty,
            "external_id_value": nasty, "triggering_event_id": id, "triggering_event_type": nasty,
            "triggering_event_source_name": nasty, "timestamp": nasty});
        work.write(&format!("{side}/external_id_mapping_updates.ndjson"), format!("{event}\n"));
    }
    for format in ["people", "markdown"] {
        let (code, out, said) = run(&work, &["old", "new", "--format", format]);
        assert_eq!(code, 1, "{said}");
        let acts = |character: &char| {
            (character.is_control() && *character != '\n')
                || "\u{202e}\u{2066}\u{200f}\u{61c}".contains(*character)
        };
        assert_eq!(out.chars().find(acts), None, "{out}");
        assert!(out.contains("u001b") && out.contains("u202e"), "{out}");
    }
}
