//! What the program reports about views, and where changes are written.

use predicates::{
    prelude::PredicateBooleanExt,
    str::{contains, is_empty},
};

use crate::{
    dump::{self, Knobs},
    support::Work,
};

/// Creates a folder with a space without views, `out`, and a dump that is not ingested yet, `second.ndjson`.
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
fn changes_go_to_standard_output_and_messages_do_not() {
    let work = work();
    let args = ["materialize", "--space", "out", "--changes", "-"];
    let told = work.program(&args).assert().success().stderr(contains("changes written"));
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
fn changes_and_json_cannot_both_go_to_standard_output() {
    let work = work();
    let args = ["materialize", "--space", "out", "--changes", "-", "--json"];
    let refused = work.program(&args).assert().code(2).stdout(contains("\"error\":\"--changes - and"));
    refused.stderr(contains("--changes - and --json both write to the standard output"));
    assert!(!work.path("out/id_graph.ndjson").exists());
}

#[test]
fn views_older_than_the_raw_tables_are_reported() {
    let work = work();
    work.program(&["materialize", "--space", "out", "-q"]).assert().success();
    let added = work.program(&["ingest", "second.ndjson", "--space", "out"]).assert().success();
    added.stderr(contains("these views are out of date: `external_id_mapping`, `id_graph`"));
    let compared = work.program(&["diff", "out", "out"]).assert().success();
    compared.stderr(contains("`id_graph` in `out` reflects run 1, the raw tables are at run 2"));
    let one = work.program(&["materialize", "--space", "out", "--views", "id_graph"]).assert().success();
    one.stderr(contains("`user_traits` is not rebuilt: it reflects run 1, the raw tables are at run 2"));
    let all = work.program(&["materialize", "--space", "out", "--full"]).assert().success();
    all.stderr(contains("note: ").not());
    work.program(&["diff", "out", "out"]).assert().success().stderr(is_empty());
    let again = work.program(&["ingest", "second.ndjson", "--space", "out"]).assert().success();
    again.stderr(contains("reflect").not());
}

#[test]
fn the_rules_of_the_last_run_select_views_without_a_config() {
    let work = work();
    work.write("rules.toml", "[sync]\nexclude_tables = [\"profile_*\"]\n");
    let args = ["ingest", "second.ndjson", "--space", "out", "--config", "rules.toml", "--materialize"];
    let told = work.program(&args).assert().success();
    told.stderr(contains("skipped `profile_traits`: the config does not select it"));
    assert!(!work.path("out/profile_traits.ndjson").exists() && work.path("out/id_graph.ndjson").exists());
    let by_record = work.program(&["materialize", "--space", "out", "--out", "other"]).assert().success();
    by_record.stderr(contains("skipped `profile_merges`"));
    work.write("out/profiles-sync.toml", "");
    let by_file = work.program(&["materialize", "--space", "out", "--json"]).assert().success();
    by_file.stdout(contains("\"views_not_selected\":[]"));
    assert!(work.path("out/profile_traits.ndjson").exists());
}

#[test]
fn compressed_exports_can_be_folded_in_partitions() {
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

/// Ingests one event into `space` without building the views.
fn unmade(work: &Work) {
    work.write(
        "events.ndjson",
        "{\"type\":\"page\",\"messageId\":\"m1\",\"userId\":\"u\",\"timestamp\":\"2026-01-05T10:00:00Z\"}\n",
    );
    work.program(&["ingest", "events.ndjson", "--space", "space", "-q"]).assert().success();
}

#[test]
fn writing_changes_touches_no_other_file() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let work = Work::new();
    unmade(&work);
    let tell = |file: &str| {
        let args = ["materialize", "--space", "space", "--out", "views", "--changes", file, "-q"];
        work.program(&args).assert().success().stdout("").stderr("");
        std::fs::remove_dir_all(work.path("views")).unwrap();
    };
    tell("plain");
    let expected = work.read("plain");
    assert_eq!(expected.lines().count(), 5);
    // A file that is named like a temporary file is not touched.
    work.write("file.tmp", "precious");
    tell("file");
    assert_eq!(work.read("file.tmp"), "precious");
    // Permissions and symbolic links are kept.
    work.write("secret", "");
    std::fs::set_permissions(work.path("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    symlink("secret", work.path("link")).unwrap();
    tell("link");
    assert!(work.path("link").is_symlink());
    assert_eq!(work.read("secret"), expected);
    assert_eq!(work.path("secret").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // The file may be a named pipe.
    let pipe = work.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn(move || std::fs::read_to_string(pipe).unwrap());
    tell("pipe");
    assert_eq!(reader.join().unwrap(), expected);
    tell("/dev/null");
    assert!(!std::path::Path::new("/dev/null").is_file());
    for (file, said) in [("views", "is a folder"), ("space/profiles-sync.toml", "changes cannot go where")] {
        std::fs::create_dir_all(work.path("views")).unwrap();
        let args = ["materialize", "--space", "space", "--changes", file];
        work.program(&args).assert().code(2).stderr(contains(said));
    }
}

#[test]
fn raw_cannot_write_into_a_space() {
    let work = Work::new();
    unmade(&work);
    work.program(&["materialize", "--space", "space", "-q"]).assert().success();
    let args = ["materialize", "--raw", "space", "--out", "space", "--as-of", "2020-01-01"];
    work.program(&args).assert().code(2).stderr(contains("build its views with `--space space`"));
    work.program(&["ingest", "--verify", "--space", "space", "-q"]).assert().success();
}

#[test]
fn views_as_of_an_earlier_time_are_reported() {
    let work = Work::new();
    unmade(&work);
    let materialize = |flags: &[&str]| {
        let args = [&["materialize", "--space", "space"], flags].concat();
        let assert = work.program(&args).assert().success();
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    materialize(&["--as-of", "2026-01-01"]);
    let note = "note: `id_graph` in `space` is as of 2026-01-01T00:00:00.000000Z: ";
    work.program(&["diff", "space", "space"]).assert().success().stderr(contains(note));
    let said = materialize(&[]);
    assert!(said.contains("note: the views were as of 2026-01-01T00:00:00.000000Z\n"), "{said}");
    assert!(!materialize(&[]).contains("as of"));
    work.program(&["diff", "space", "space"]).assert().success().stderr("");
}
