//! What the program says and prints about views.

use predicates::{
    prelude::PredicateBooleanExt,
    str::{contains, is_empty},
};

use crate::{
    dump::{self, Knobs},
    support::Work,
};

/// A folder with a space that has no views yet, and a dump that was not ingested.
fn work() -> Work {
    let mut bytes = Vec::new();
    dump::write(Knobs { events: 300, seed: 5, days: 5, malformed: 0.0, changes: 0.0 }, &mut bytes).unwrap();
    let work = Work::new();
    let half = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(150).unwrap().0 + 1;
    work.write("first.ndjson", &bytes[..half]);
    work.write("second.ndjson", &bytes[half..]);
    work.program(&["ingest", "first.ndjson", "--space", "out", "-q"]).assert().success();
    work
}

#[test]
fn changes_go_to_the_standard_output_and_talk_does_not() {
    let work = work();
    let args = ["materialize", "--space", "out", "--changes", "-"];
    let told = work.program(&args).assert().success().stderr(contains("changes told"));
    let text = String::from_utf8(told.get_output().stdout.clone()).unwrap();
    let n_rows: usize = profiles_sync::view::View::ALL
        .map(|view| work.read(&format!("out/{}.ndjson", view.name())).lines().count())
        .iter()
        .sum();
    assert_eq!(text.lines().count(), n_rows);
    work.program(&args).assert().success().stdout(is_empty()).stderr(contains("reflect all raw rows"));
    let to_file = ["materialize", "--space", "out", "--changes", "changes", "--json"];
    work.program(&to_file).assert().success().stdout(contains("\"fold\":\"current\",\"changes\":0"));
    assert_eq!(work.read("changes"), "");
}

#[test]
fn changes_and_the_json_summary_do_not_share_the_standard_output() {
    let work = work();
    let args = ["materialize", "--space", "out", "--changes", "-", "--json"];
    let refused = work.program(&args).assert().code(2).stdout(is_empty());
    refused.stderr(contains("--changes - and --json both print on the standard output"));
    assert!(!work.path("out/id_graph.ndjson").exists());
}

#[test]
fn views_older_than_the_raw_tables_are_told() {
    let work = work();
    work.program(&["materialize", "--space", "out", "-q"]).assert().success();
    let added = work.program(&["ingest", "second.ndjson", "--space", "out"]).assert().success();
    added.stderr(contains("the views do not reflect this yet: `external_id_mapping`, `id_graph`"));
    let compared = work.program(&["diff", "out", "out"]).assert().success();
    compared.stderr(contains("`id_graph` in `out` is of run 1, the raw tables are of run 2"));
    let one = work.program(&["materialize", "--space", "out", "--views", "id_graph"]).assert().success();
    one.stderr(contains("`user_traits` is not made and stays as of run 1; the raw tables are of run 2"));
    let all = work.program(&["materialize", "--space", "out", "--full"]).assert().success();
    all.stderr(contains("the views were of run 1, the raw tables are of run 2"));
    work.program(&["diff", "out", "out"]).assert().success().stderr(is_empty());
    let again = work.program(&["ingest", "second.ndjson", "--space", "out"]).assert().success();
    again.stderr(contains("reflect").not());
}

#[test]
fn the_rules_of_the_last_run_select_views_where_no_file_does() {
    let work = work();
    work.write("rules.toml", "[sync]\nexclude_tables = [\"profile_*\"]\n");
    let args = ["ingest", "second.ndjson", "--space", "out", "--config", "rules.toml", "--materialize"];
    let told = work.program(&args).assert().success();
    told.stderr(contains("left out `profile_traits`: the config does not select it"));
    assert!(!work.path("out/profile_traits.ndjson").exists() && work.path("out/id_graph.ndjson").exists());
    let by_record = work.program(&["materialize", "--space", "out", "--out", "other"]).assert().success();
    by_record.stderr(contains("left out `profile_merges`"));
    work.write("out/profiles-sync.toml", "");
    let by_file = work.program(&["materialize", "--space", "out", "--json"]).assert().success();
    by_file.stdout(contains("\"views_not_selected\":[]"));
    assert!(work.path("out/profile_traits.ndjson").exists());
}

#[test]
fn packed_exports_are_folded_in_parts_as_well() {
    let work = work();
    work.program(&["materialize", "--space", "out", "--out", "expected", "-q"]).assert().success();
    for table in profiles_sync::view::RAW_TABLES {
        let rows = work.read(&format!("out/{table}.ndjson"));
        work.write(&format!("raw/{table}.json.zst"), zstd::encode_all(rows.as_bytes(), 1).unwrap());
    }
    let args = ["materialize", "--raw", "raw", "--out", "parts", "--memory", "1K", "--json"];
    work.program(&args).assert().success().stdout(contains("\"fold\":\"partitioned\""));
    for view in profiles_sync::view::View::ALL {
        let name = view.name();
        assert_eq!(work.read(&format!("parts/{name}.ndjson")), work.read(&format!("expected/{name}.ndjson")));
    }
}
