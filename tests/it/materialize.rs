//! Folds raw tables into views: the quirks of warehouses one by one, then random exports compared with the twin.

pub(crate) mod random;
mod stripped;
pub(crate) mod twin;

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use profiles_sync::{
    error::{Error, Result},
    files::{Fault, FileChange, Files},
    jobs::materialize::{MaterializeOptions, materialize},
    progress::{Progress, Silent},
    summary::MaterializeSummary,
};

#[expect(clippy::disallowed_methods, reason = "tests may write files directly")]
fn write_file(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::write(path, bytes).unwrap();
}

/// The text of raw tables or views, by name.
type Tables = BTreeMap<String, String>;

fn options(raw: &Path, out: &Path) -> MaterializeOptions {
    MaterializeOptions::of_export(raw, out)
}

fn run(options: &MaterializeOptions) -> Result<MaterializeSummary> {
    materialize(options, &Files::real(), &Silent)
}

fn read_views(out: &Path) -> Tables {
    let mut views = Tables::new();
    for entry in fs::read_dir(out).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().strip_suffix(".ndjson").unwrap().to_owned();
        views.insert(name, fs::read_to_string(path).unwrap());
    }
    views
}

/// Writes raw tables to `raw/` in a temporary folder; tables that are not given are empty.
fn raw(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for table in ["id_graph_updates", "external_id_mapping_updates", "profile_traits_updates"] {
        fs::create_dir_all(folder.path().join("raw").join(table)).unwrap();
    }
    for (name, text) in files {
        write_file(&folder.path().join("raw").join(name), text);
    }
    folder
}

/// Folds raw tables and returns the rows of one view.
fn view(files: &[(&str, &str)], view: &str) -> String {
    let folder = raw(files);
    let out = folder.path().join("out");
    run(&options(&folder.path().join("raw"), &out)).unwrap();
    read_views(&out).remove(view).unwrap()
}

/// Returns the values of some columns of each row, joined by blanks.
fn picked(rows: &str, columns: &[&str]) -> Vec<String> {
    let pick = |row: &str| {
        let row: BTreeMap<String, serde_json::Value> = serde_json::from_str(row).unwrap();
        let texts = columns.iter().map(|&column| match row.get(column) {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => "-".to_owned(),
        });
        texts.collect::<Vec<_>>().join(" ")
    };
    rows.lines().map(pick).collect()
}

fn error(files: &[(&str, &str)]) -> (String, String) {
    let folder = raw(files);
    let error = run(&options(&folder.path().join("raw"), &folder.path().join("out"))).unwrap_err();
    assert!(!folder.path().join("out/id_graph.ndjson").exists(), "no view may be written");
    let text = error.to_string().replace(&*folder.path().to_string_lossy(), "");
    (text, error.hint_text().unwrap_or_default().to_owned())
}

#[test]
fn an_identifier_whose_newest_row_removes_it_is_left_out() {
    let row = |seq: u32, operation: &str| {
        format!(
            "{{\"external_id_type\":\"email\",\"external_id_value\":\"a@b.c\",\"segment_id\":\"s\",\
             \"seq\":{seq},\"__operation\":{operation}}}\n"
        )
    };
    let check = |rows: &[String], expected: &[&str]| {
        let table = rows.concat();
        let files = [("external_id_mapping_updates.ndjson", table.as_str())];
        let seqs = picked(&view(&files, "user_identifiers"), &["value", "seq"]);
        assert_eq!(seqs, expected, "{table}");
        assert_eq!(view(&files, "external_id_mapping").lines().count(), expected.len());
    };
    check(&[row(1, "null"), row(2, "\"Removed\"")], &[]);
    check(&[row(2, "\"REMOVED\""), row(1, "\"ADDED\"")], &[]);
    check(&[row(1, "null"), row(2, "\"REMOVED\""), row(3, "\"\"")], &["a@b.c 0000000000000000003"]);
    check(&[row(1, "null"), row(1, "\"REMOVED\"")], &[]);
    check(
        &["{\"external_id_type\":\"email\",\"external_id_value\":\"a@b.c\",\"__operation\":\"REMOVED\"}\n"
            .into()],
        &[],
    );
}

#[test]
fn a_missing_hash_is_computed_and_a_given_one_lower_cased() {
    let table = "{\"external_id_type\":\"email\",\"external_id_value\":\"jane.kim@segment.com\",\"segment_id\":\"s\"}\n\
                 {\"external_id_type\":\"x\",\"external_id_value\":7,\"external_id_hash\":\"ABC\",\"segment_id\":\"s\"}\n";
    let rows = view(&[("external_id_mapping_updates.json", table)], "external_id_mapping");
    let columns = ["external_id_hash", "external_id_value", "seq", "timestamp"];
    let expected =
        ["abc 7 null null", "bc269125e7a325f844980b80d7084928bbcaf304 jane.kim@segment.com null null"];
    assert_eq!(picked(&rows, &columns), expected);
}

#[test]
fn an_identifier_has_the_later_clocks_of_its_row_and_its_merge() {
    let graph = "{\"segment_id\":\"a\",\"canonical_segment_id\":\"a\",\"seq\":9}\n\
                 {\"segment_id\":\"b\",\"canonical_segment_id\":\"a\",\"seq\":5}\n";
    let row = |value: &str, segment: &str, seq: u32| {
        format!(
            "{{\"external_id_type\":\"t\",\"external_id_value\":\"{value}\",\"segment_id\":\"{segment}\",\"seq\":{seq}}}\n"
        )
    };
    let mappings = [row("before", "b", 3), row("after", "b", 7), row("survivor", "a", 2)].concat();
    let files = [("id_graph_updates.ndjson", graph), ("external_id_mapping_updates.ndjson", &mappings)];
    let mut rows =
        picked(&view(&files, "external_id_mapping"), &["external_id_value", "canonical_segment_id", "seq"]);
    rows.sort();
    let seq = |seq: u32| format!("{seq:019}");
    assert_eq!(
        rows,
        [format!("after a {}", seq(7)), format!("before a {}", seq(5)), format!("survivor a {}", seq(2))]
    );
    let own = picked(&view(&files, "user_identifiers"), &["value", "seq"]);
    assert_eq!(
        own,
        [format!("after {}", seq(7)), format!("before {}", seq(3)), format!("survivor {}", seq(2))]
    );
}

#[test]
fn a_segment_id_missing_from_the_graph_is_its_own_profile() {
    let graph = "{\"segment_id\":\"m\",\"canonical_segment_id\":\"only-survivor\"}\n";
    let mappings =
        "{\"external_id_type\":\"t\",\"external_id_value\":\"v\",\"segment_id\":\"only-identifier\"}\n";
    let traits = "{\"segment_id\":\"only-traits\",\"plan\":\"pro\"}\n";
    let files = [
        ("id_graph_updates.jsonl", graph),
        ("external_id_mapping_updates.jsonl", mappings),
        ("profile_traits_updates.jsonl", traits),
    ];
    assert_eq!(picked(&view(&files, "id_graph"), &["segment_id"]), ["m"]);
    assert_eq!(picked(&view(&files, "profile_merges"), &["segment_id"]), ["m"]);
    assert_eq!(picked(&view(&files, "user_identifiers"), &["canonical_segment_id"]), ["only-identifier"]);
    assert_eq!(picked(&view(&files, "user_traits"), &["canonical_segment_id", "value"]), ["only-traits pro"]);
    let profiles = picked(&view(&files, "profile_traits"), &["canonical_segment_id", "plan", "merged_to"]);
    assert_eq!(profiles, ["m - only-survivor", "only-survivor - null", "only-traits pro null"]);
}

#[test]
fn rows_are_written_column_for_column_as_documented() {
    let clocks = "\"TIMESTAMP\":\"2022-05-02 14:01:00\",\"RECEIVED_AT\":\"2022-05-02 14:01:01.5+00\",\
                  \"UUID_TS\":\"2022-05-02T14:01:02.123456Z\",\"SEQ\":42";
    let graph = format!("{{\"SEGMENT_ID\":\"s\",\"CANONICAL_SEGMENT_ID\":\"s\",{clocks}}}\n");
    let mappings = format!(
        "{{\"EXTERNAL_ID_TYPE\":\"t\",\"EXTERNAL_ID_VALUE\":\"\\u00e9\\\"\",\"EXTERNAL_ID_HASH\":\"h\",\
         \"SEGMENT_ID\":\"s\",{clocks}}}\n"
    );
    let traits = format!(
        "{{\"SEGMENT_ID\":\"s\",{clocks},\"ZIP\":\"01\",\"AGE\":7.50,\"OK\":false,\"TAGS\":[ 1 ],\"GONE\":null}}\n"
    );
    let files = [
        ("ID_GRAPH_UPDATES.JSON", graph.as_str()),
        ("External_Id_Mapping_Updates.ndjson", &mappings),
        ("profile_traits_updates.jsonl", &traits),
    ];
    let mapping = "\"timestamp\":\"2022-05-02T14:01:00.000Z\",\"seq\":\"0000000000000000042\",\
                   \"uuid_ts\":\"2022-05-02T14:01:02.123456Z\"";
    let all = "\"seq\":\"0000000000000000042\",\"received_at\":\"2022-05-02T14:01:01.500Z\",\
               \"uuid_ts\":\"2022-05-02T14:01:02.123456Z\",\"timestamp\":\"2022-05-02T14:01:00.000Z\"";
    let check = |name: &str, expected: &[String]| {
        assert_eq!(view(&files, name), expected.join("\n") + "\n", "{name}");
    };
    check("id_graph", &[format!("{{\"segment_id\":\"s\",\"canonical_segment_id\":\"s\",{mapping}}}")]);
    check("profile_merges", &[format!("{{\"canonical_segment_id\":\"s\",\"segment_id\":\"s\",{all}}}")]);
    let value = "\u{e9}\\\"";
    check(
        "external_id_mapping",
        &[format!(
            "{{\"canonical_segment_id\":\"s\",\"external_id_type\":\"t\",\"external_id_value\":\"{value}\",\
         \"external_id_hash\":\"h\",{mapping}}}"
        )],
    );
    check(
        "user_identifiers",
        &[format!("{{\"canonical_segment_id\":\"s\",\"type\":\"t\",\"value\":\"{value}\",{all}}}")],
    );
    check("profile_traits", &[
        "{\"canonical_segment_id\":\"s\",\"age\":7.50,\"ok\":false,\"tags\":[1],\"zip\":\"01\",\"merged_to\":null}".into(),
    ]);
    let row = |name: &str, value: &str| {
        format!("{{\"canonical_segment_id\":\"s\",\"name\":\"{name}\",\"value\":\"{value}\",{all}}}")
    };
    check("user_traits", &[row("age", "7.50"), row("ok", "false"), row("tags", "[1]"), row("zip", "01")]);
}

/// Folds traits rows and compares `user_traits`.
///
/// A row is given as `segment_id`, `seq` and trait columns; its `timestamp` is `seq` seconds. An expected row is given
/// as `canonical_segment_id name value seq`.
fn check_traits(graph: &str, rows: &[(&str, u32, &str)], expected: &[&str]) {
    let row = |(segment, seq, columns): &(&str, u32, &str)| {
        format!("{{\"segment_id\":\"{segment}\",\"seq\":{seq},\"timestamp\":{}{columns}}}\n", seq * 1000)
    };
    let table: String = rows.iter().map(row).collect();
    let files = [("id_graph_updates.ndjson", graph), ("profile_traits_updates.ndjson", &table)];
    let expected: Vec<_> = expected
        .iter()
        .map(|row| row.rsplit_once(' ').unwrap())
        .map(|(row, seq)| format!("{row} {:019}", seq.parse::<u64>().unwrap()))
        .collect();
    let columns = ["canonical_segment_id", "name", "value", "seq"];
    assert_eq!(picked(&view(&files, "user_traits"), &columns), expected, "{table}");
}

#[test]
fn without_trait_seqs_clocks_come_from_the_row_that_set_the_value() {
    check_traits(
        "",
        &[
            ("s", 1, r#","a":"x","b":1,"c":"old","d":1"#),
            ("s", 4, r#","a":"x","b":"1","c":null,"e":true,"d":2"#),
            ("s", 3, r#","a":"x","b":1,"c":"old","d":2"#),
            ("s", 2, r#","a":"y","b":1,"c":"old","d":2"#),
        ],
        &["s a x 3", "s b 1 4", "s d 2 2", "s e true 4"],
    );
}

#[test]
fn a_trait_that_is_set_again_has_its_new_clocks() {
    check_traits("", &[("s", 1, r#","a":1"#), ("s", 2, ""), ("s", 3, r#","a":1"#)], &["s a 1 3"]);
}

/// Graph rows that merge `b` into `a` at seq 5.
const MERGE: &str = "{\"segment_id\":\"a\",\"canonical_segment_id\":\"a\",\"seq\":1}\n\
                     {\"segment_id\":\"b\",\"canonical_segment_id\":\"b\",\"seq\":2}\n\
                     {\"segment_id\":\"b\",\"canonical_segment_id\":\"a\",\"seq\":5}\n";

#[test]
fn a_merge_without_snapshot_keeps_the_newest_value_of_each_trait() {
    check_traits(
        MERGE,
        &[
            ("a", 3, r#","x":"a","y":"a","only_a":1"#),
            ("b", 2, r#","y":"old"#),
            ("b", 2, r#","y":"old","z":1"#),
        ][..1],
        &["a only_a 1 3", "a x a 3", "a y a 3"],
    );
    check_traits(
        MERGE,
        &[
            ("b", 2, r#","x":"b","y":"b","only_b":1"#),
            ("a", 3, r#","x":"a"#),
            ("b", 4, r#","x":"b","y":"new"#),
        ][..1],
        &["a only_b 1 2", "a x b 2", "a y b 2"],
    );
    check_traits(
        MERGE,
        &[
            ("b", 2, r#","x":"b","y":"b","z":"b""#),
            ("a", 3, r#","x":"a","y":"a""#),
            ("b", 4, r#","x":"b","y":"new","z":null"#),
        ],
        &["a x a 3", "a y new 4"],
    );
}

#[test]
fn a_snapshot_after_a_merge_replaces_all_and_merged_traits_keep_clocks() {
    check_traits(
        MERGE,
        &[
            ("b", 2, r#","x":"b","y":"b","gone":1"#),
            ("a", 3, r#","x":"a""#),
            ("a", 5, r#","x":"a","y":"b""#),
            ("a", 6, r#","x":"a","y":"b","z":"late""#),
        ],
        &["a x a 3", "a y b 2", "a z late 6"],
    );
}

#[test]
fn a_value_the_survivor_already_had_keeps_its_clocks() {
    check_traits(MERGE, &[("b", 2, r#","x":1"#), ("a", 4, r#","x":1"#), ("a", 5, r#","x":1"#)], &["a x 1 4"]);
}

#[test]
fn rows_of_a_merged_profile_count_as_snapshots_of_the_survivor() {
    check_traits(MERGE, &[("a", 3, r#","x":1"#), ("b", 6, r#","y":2"#)], &["a y 2 6"]);
}

#[test]
fn a_value_set_again_after_a_merge_has_its_new_clocks() {
    check_traits(
        MERGE,
        &[("b", 3, r#","x":"b""#), ("a", 5, r#","x":"a""#), ("a", 6, r#","x":"b""#)],
        &["a x b 6"],
    );
    check_traits(
        MERGE,
        &[("b", 3, r#","x":1,"y":1"#), ("a", 5, r#","x":1,"y":1"#), ("a", 6, ""), ("a", 7, r#","x":1"#)],
        &["a x 1 7"],
    );
    // After the merge, a snapshot written for `b` is a snapshot of `a`.
    check_traits(
        MERGE,
        &[("a", 3, r#","x":1,"y":1"#), ("b", 6, r#","x":2,"y":1"#), ("a", 7, r#","x":1,"y":1"#)],
        &["a x 1 7", "a y 1 3"],
    );
}

#[test]
fn after_two_merges_a_value_has_the_clocks_of_its_last_owner() {
    // `c` is merged into `b` at seq 4, `b` into `a` at seq 8.
    let graph = "{\"segment_id\":\"c\",\"canonical_segment_id\":\"b\",\"seq\":4}\n\
                 {\"segment_id\":\"b\",\"canonical_segment_id\":\"a\",\"seq\":8}\n\
                 {\"segment_id\":\"c\",\"canonical_segment_id\":\"a\",\"seq\":8}\n";
    let rows = [
        ("c", 3, r#","x":1,"y":1"#),
        ("b", 4, r#","x":1,"y":2"#),
        ("b", 5, r#","x":2,"y":2"#),
        ("b", 6, r#","x":1,"y":2"#),
        ("a", 8, r#","x":1,"y":2"#),
        ("a", 9, r#","x":1,"y":1"#),
    ];
    check_traits(graph, &rows, &["a x 1 6", "a y 1 9"]);
}

#[test]
fn trait_seqs_can_refer_to_rows_of_merged_profiles() {
    check_traits(
        MERGE,
        &[
            ("b", 2, r#","__trait_seqs":"{\"y\":\"2\"}","y":1"#),
            ("a", 3, r#","__trait_seqs":"{\"x\":\"0000000000000000003\"}","x":1"#),
            ("a", 5, r#","__trait_seqs":"{\"x\":\"3\",\"y\":\"2\"}","x":1,"y":1"#),
            ("a", 7, r#","__trait_seqs":"{\"gone\":\"7\",\"x\":\"3\",\"y\":\"2\"}","x":1,"y":1"#),
        ],
        &["a x 1 3", "a y 1 2"],
    );
}

#[test]
fn a_missing_row_in_trait_seqs_falls_back_to_the_inferred_row() {
    check_traits(
        "",
        &[
            ("s", 3, r#","__trait_seqs":"{\"x\":\"1\",\"y\":\"3\"}","x":1,"y":1"#),
            ("s", 4, r#","__trait_seqs":"{\"x\":\"1\",\"y\":\"3\"}","x":1,"y":1"#),
        ],
        &["s x 1 3", "s y 1 3"],
    );
}

#[test]
fn a_shared_seq_resolves_to_the_profile_that_set_the_trait() {
    check_traits(
        MERGE,
        &[
            ("a", 3, r#","__trait_seqs":"{\"x\":\"3\"}","x":"a""#),
            ("b", 3, r#","uuid_ts":9,"received_at":1,"__trait_seqs":"{\"y\":\"3\"}","y":"b""#),
            ("a", 5, r#","__trait_seqs":"{\"x\":\"3\",\"y\":\"3\"}","x":"a","y":"b""#),
        ],
        &["a x a 3", "a y b 3"],
    );
    let rows = "{\"segment_id\":\"a\",\"seq\":3,\"__trait_seqs\":\"{\\\"x\\\":3}\",\"x\":1,\"received_at\":1000}\n\
                {\"segment_id\":\"b\",\"seq\":3,\"__trait_seqs\":\"{\\\"y\\\":3}\",\"y\":1,\"received_at\":2000}\n\
                {\"segment_id\":\"a\",\"seq\":5,\"__trait_seqs\":\"{\\\"x\\\":3,\\\"y\\\":3}\",\"x\":1,\"y\":1}\n";
    let files = [("id_graph_updates.ndjson", MERGE), ("profile_traits_updates.ndjson", rows)];
    let received = picked(&view(&files, "user_traits"), &["name", "received_at"]);
    assert_eq!(received, ["x 1970-01-01T00:00:01.000Z", "y 1970-01-01T00:00:02.000Z"]);
    // Rows from a warehouse may lack `__trait_seqs`; then the row that has the value counts.
    let without = |columns: &str| format!(",\"__trait_seqs\":\"{{\\\"{columns}\\\":3}}\"");
    let rows = rows.replace(&without("x"), "").replace(&without("y"), "");
    assert_eq!(rows.matches("__trait_seqs").count(), 1, "{rows}");
    let files = [("id_graph_updates.ndjson", MERGE), ("profile_traits_updates.ndjson", rows.as_str())];
    let received = picked(&view(&files, "user_traits"), &["name", "received_at"]);
    assert_eq!(received, ["x 1970-01-01T00:00:01.000Z", "y 1970-01-01T00:00:02.000Z"]);
}

#[test]
fn older_values_do_not_restore_traits_removed_by_a_snapshot() {
    let graph = format!("{MERGE}{{\"segment_id\":\"c\",\"canonical_segment_id\":\"a\",\"seq\":9}}\n");
    check_traits(
        &graph,
        &[("b", 3, r#","x":"b""#), ("c", 4, r#","x":"c","y":1"#), ("a", 6, r#","x":null,"z":1"#)],
        &["a y 1 4", "a z 1 6"],
    );
    // A removal on a profile that was merged away is older than the snapshot that follows.
    check_traits(
        &graph,
        &[("b", 2, r#","x":"b""#), ("b", 3, r#","w":1"#), ("c", 4, r#","x":"c""#), ("a", 6, r#","w":1"#)],
        &["a w 1 3", "a x c 4"],
    );
    check_traits(
        &graph,
        &[("c", 2, r#","x":"c""#), ("b", 3, r#","x":"b""#), ("b", 4, r#","w":1"#), ("a", 6, r#","w":1"#)],
        &["a w 1 4"],
    );
}

#[test]
fn as_of_leaves_out_later_rows_and_keeps_those_without_uuid_ts() {
    let graph = "{\"segment_id\":\"a\",\"canonical_segment_id\":\"a\",\"seq\":1,\"uuid_ts\":1}\n\
                 {\"segment_id\":\"b\",\"canonical_segment_id\":\"b\",\"seq\":2}\n\
                 {\"segment_id\":\"b\",\"canonical_segment_id\":\"a\",\"seq\":3,\"uuid_ts\":\"1970-01-01T00:00:00.002001Z\"}\n";
    let folder = raw(&[("id_graph_updates.ndjson", graph)]);
    let out = folder.path().join("out");
    for (as_of, expected) in [(2001, ["a a", "b a"]), (2000, ["a a", "b b"])] {
        run(&MaterializeOptions { as_of: Some(as_of), ..options(&folder.path().join("raw"), &out) }).unwrap();
        let rows = picked(&read_views(&out)["id_graph"], &["segment_id", "canonical_segment_id"]);
        assert_eq!(rows, expected);
    }
}

#[test]
fn malformed_rows_are_reported_by_file_and_line_with_a_hint() {
    let table =
        "{\"segment_id\":\"a\",\"canonical_segment_id\":\"a\"}\n\n{\"segment_id\":\"a\",\"seq\":\"x\"}\n";
    let (text, hint) = error(&[("id_graph_updates.ndjson", table)]);
    assert_eq!(text, "/raw/id_graph_updates.ndjson:3: `seq` is not a whole number");
    assert!(hint.contains("19 digits"), "{hint}");
    let (text, hint) = error(&[("profile_traits_updates/part-0.ndjson", "{\"a\":1}\n")]);
    assert_eq!(text, "/raw/profile_traits_updates/part-0.ndjson:1: the row has no `segment_id`");
    assert_eq!(hint, "check that this is the raw table that its file name says");
    let (text, _) = error(&[("external_id_mapping_updates.json", "[\n")]);
    let expected = "the line is not JSON: expected a value, but the text ends at byte 1";
    assert_eq!(text, format!("/raw/external_id_mapping_updates.json:1: {expected}"));
}

#[test]
fn a_malformed_trait_is_reported_by_line() {
    let row = |seq: u32, value: &str| {
        format!(
            "{{\"id\":\"r\",\"segment_id\":\"s\",\"seq\":{seq},\"timestamp\":null,\"received_at\":null,\
             \"uuid_ts\":null,\"__trait_seqs\":\"{{}}\",\"plan\":{value}}}\n"
        )
    };
    let table = [row(1, "\"free\""), row(2, "pro")].concat();
    let (text, _) = error(&[("profile_traits_updates.ndjson", &table)]);
    assert!(
        text.starts_with("/raw/profile_traits_updates.ndjson:2: the line is not JSON: expected a value"),
        "{text}"
    );
}

#[test]
fn a_cycle_of_merges_is_an_error() {
    let graph = "{\"segment_id\":\"a\",\"canonical_segment_id\":\"b\"}\n{\"segment_id\":\"b\",\"canonical_segment_id\":\"a\"}\n";
    let (text, _) = error(&[("id_graph_updates.ndjson", graph)]);
    assert_eq!(text, "`id_graph_updates` merges in a circle: `a` -> `b` -> `a`");
}

#[test]
fn a_missing_table_is_an_error_unless_partial() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    write_file(&folder.path().join("id_graph_updates.ndjson"), "");
    write_file(&folder.path().join("external_id_mapping_updates.ndjson"), "");
    let whole = options(folder.path(), &out);
    let error = run(&whole).unwrap_err();
    let expected =
        "`profile_traits_updates` is missing, which these views need: `profile_traits`, `user_traits`";
    assert!(error.to_string().ends_with(expected), "{error}");
    assert_eq!(error.hint_text(), Some("pass `--partial` to write the other views"));
    let summary = run(&MaterializeOptions { partial: true, ..whole.clone() }).unwrap();
    let left_out: Vec<_> = summary.views_left_out.keys().collect();
    assert_eq!(left_out, ["profile_traits", "user_traits"]);
    let written: Vec<_> = read_views(&out).into_keys().collect();
    assert_eq!(written, ["external_id_mapping", "id_graph", "profile_merges", "user_identifiers"]);
    let views = vec!["user_traits".to_owned()];
    let error = run(&MaterializeOptions { partial: true, views, ..whole.clone() }).unwrap_err();
    assert!(error.to_string().contains("is missing"), "{error}");
    let error = run(&MaterializeOptions { views: vec!["users".to_owned()], ..whole }).unwrap_err();
    assert_eq!(error.to_string(), "there is no view `users`");
}

#[test]
fn only_requested_views_are_written_and_only_their_tables_read() {
    let folder = raw(&[("profile_traits_updates.ndjson", "nonsense\n")]);
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    write_file(&out.join("user_traits.ndjson"), "as it was\n");
    let views = vec!["id_graph".to_owned(), "external_id_mapping".to_owned()];
    let summary = run(&MaterializeOptions { views, ..options(&folder.path().join("raw"), &out) }).unwrap();
    assert_eq!(
        summary.rows_read.keys().collect::<Vec<_>>(),
        ["external_id_mapping_updates", "id_graph_updates"]
    );
    let written = read_views(&out);
    assert_eq!(written.keys().collect::<Vec<_>>(), ["external_id_mapping", "id_graph", "user_traits"]);
    assert_eq!(written["user_traits"], "as it was\n");
}

#[test]
fn only_committed_bytes_of_a_space_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let row = "{\"segment_id\":\"a\",\"canonical_segment_id\":\"a\"}\n";
    write_file(&folder.path().join("id_graph_updates.ndjson"), format!("{row}{{\"torn\":"));
    let manifest = format!(
        "{{\"format\":1,\"uuid_ts\":0,\"runs\":[],\"tables\":{{\"id_graph_updates\":\
         {{\"rows\":1,\"bytes\":{},\"digest\":\"\",\"link\":\"\"}}}}}}",
        row.len()
    );
    let out = folder.path().join("out");
    let space = MaterializeOptions { space: true, ..options(folder.path(), &out) };
    let error = run(&space).unwrap_err();
    assert!(error.to_string().ends_with("is not a space: it has no `manifest.json`"), "{error}");
    write_file(&folder.path().join("manifest.json"), manifest);
    assert_eq!(run(&space).unwrap().rows_read["id_graph_updates"], 1);
    write_file(&folder.path().join("id_graph_updates.ndjson"), &row[1..]);
    assert!(matches!(run(&space), Err(Error::File { .. })));
}

#[test]
fn without_trait_seqs_the_values_are_the_same() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cases");
    let mut n_cases = 0;
    for case in fs::read_dir(cases).unwrap() {
        let out = case.unwrap().path().join("out");
        let Ok(traits) = fs::read_to_string(out.join("profile_traits_updates.ndjson")) else { continue };
        let read = |table: &str| fs::read_to_string(out.join(format!("{table}.ndjson"))).unwrap();
        let graph = read("id_graph_updates");
        let mut files =
            vec![("id_graph_updates.ndjson", graph.as_str()), ("profile_traits_updates.ndjson", &traits)];
        let with = (view(&files, "profile_traits"), picked(&view(&files, "user_traits"), &["name", "value"]));
        let without = traits.replace("__trait_seqs", "__something_else");
        files[1].1 = &without;
        assert_eq!(with.0, view(&files, "profile_traits"), "{}", out.display());
        assert_eq!(with.1, picked(&view(&files, "user_traits"), &["name", "value"]), "{}", out.display());
        n_cases += 1;
    }
    assert!(3 < n_cases, "{n_cases}");
}

#[test]
fn random_exports_give_the_views_of_the_twin_on_any_threads() {
    for seed in 0..120 {
        let mut random = random::Random::new(seed);
        let tables = random::tables(&mut random);
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("raw");
        random::write(&mut random, &tables, &raw);
        let as_of = random.one_in(3).then(|| i64::try_from(random.below(40_000)).unwrap());
        let expected = twin::views(&tables, as_of);
        for n_threads in [1, 2, 7] {
            let out = folder.path().join(format!("out-{n_threads}"));
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            // The first run writes all views, the others a random selection; the rows must not depend on it.
            let views = expected.keys().filter(|_| 1 < n_threads && random.one_in(2)).cloned().collect();
            let options = MaterializeOptions { as_of, views, ..options(&raw, &out) };
            pool.install(|| run(&options)).unwrap();
            for (view, rows) in read_views(&out) {
                let theirs: Vec<_> = rows.lines().collect();
                assert_eq!(theirs, expected[&view], "{view}, seed {seed}, {n_threads} threads");
            }
        }
    }
}

/// Fails the change to the file system that follows `left` others.
struct FailAt {
    left: AtomicUsize,
}

impl Fault for FailAt {
    fn before(&self, _: FileChange, _: &Path) -> io::Result<()> {
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            0 => Err(io::Error::other("the disk is full")),
            _ => Ok(()),
        }
    }
}

#[test]
fn after_any_failure_each_view_is_old_or_new() {
    let folder = raw(&[("id_graph_updates.ndjson", MERGE)]);
    let out = folder.path().join("out");
    let options = options(&folder.path().join("raw"), &out);
    run(&options).unwrap();
    let new = read_views(&out);
    let mut n_failures = 0;
    loop {
        for view in new.keys() {
            write_file(&out.join(format!("{view}.ndjson")), "old\n");
        }
        let files = Files::with_fault(Arc::new(FailAt { left: AtomicUsize::new(n_failures) }));
        if materialize(&options, &files, &Silent).is_ok() {
            break;
        }
        let after = read_views(&out);
        assert_eq!(after.len(), new.len(), "after {n_failures} changes");
        for (view, rows) in &after {
            assert!(rows == "old\n" || *rows == new[view], "{view} after {n_failures} changes");
        }
        n_failures += 1;
    }
    assert_eq!(read_views(&out), new);
    assert!(20 < n_failures, "{n_failures}");
}

/// Requests a stop after it was asked `left` times.
struct StopAfter {
    left: AtomicUsize,
}

impl Progress for StopAfter {
    fn start(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn notice(&self, _: &str) {}
    fn interrupted(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
    }
}

#[test]
fn an_interrupted_run_leaves_the_views_unchanged() {
    let folder = raw(&[("id_graph_updates.ndjson", MERGE)]);
    let out = folder.path().join("out");
    let options = options(&folder.path().join("raw"), &out);
    for left in 0.. {
        let progress = StopAfter { left: AtomicUsize::new(left) };
        match materialize(&options, &Files::real(), &progress) {
            Ok(_) => break,
            Err(error) => assert!(error.is_interrupted(), "{error}"),
        }
        assert!(!out.exists() || read_views(&out).is_empty(), "after {left} calls");
    }
    assert_eq!(read_views(&out).len(), 6);
}
