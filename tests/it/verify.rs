//! `ingest --verify` reports the damage in a space, and nothing if there is none.

mod damage;
mod identifiers;

use std::fs;

use profiles_sync::read::digest::Digest;

use crate::{
    dump::{self, Knobs},
    support::Work,
};

/// Runs `ingest --verify` and returns its exit code and the differences that it reports.
fn verify(work: &Work) -> (i32, Vec<String>) {
    let output = work.program(&["ingest", "--verify", "--space", "space", "--json"]).output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let differences = told["differences"].as_array().unwrap();
    (output.status.code().unwrap(), differences.iter().map(|one| one.as_str().unwrap().to_owned()).collect())
}

/// Replaces a plain table, makes the manifest agree with it, and drops the state cache.
fn forge(work: &Work, table: &str, bytes: &[u8]) {
    work.write(&format!("space/{table}.ndjson"), bytes);
    let mut digest = Digest::default();
    digest.update(bytes);
    let mut manifest: serde_json::Value = serde_json::from_str(&work.read("space/manifest.json")).unwrap();
    manifest["state_parts"] = serde_json::json!([]);
    let state = &mut manifest["tables"][table];
    state["rows"] = memchr::memchr_iter(b'\n', bytes).count().into();
    state["bytes"] = bytes.len().into();
    state["digest"] = digest.hex().into();
    state["link"] = format!("{:032x}", digest.link()).into();
    // The records of earlier runs do not match the new content.
    for run in manifest["runs"].as_array_mut().unwrap() {
        if let Some(tables) = run["after"]["tables"].as_object_mut() {
            tables.remove(table);
        }
    }
    work.write("space/manifest.json", manifest.to_string());
}

fn space() -> Work {
    let work = Work::new();
    let mut bytes = Vec::new();
    dump::write(Knobs { events: 300, seed: 5, days: 20, malformed: 0.02, changes: 0.0 }, &mut bytes).unwrap();
    work.write("events.ndjson", bytes);
    work.program(&["ingest", "events.ndjson", "--space", "space", "-q"]).assert().success();
    work
}

#[test]
fn an_intact_space_has_no_differences() {
    let work = space();
    let output = work.program(&["ingest", "--verify", "--space", "space", "--json"]).assert().success();
    let told: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(told["differences"], serde_json::json!([]));
    assert!(told["messages"].as_u64().unwrap() > 200, "{told}");
}

#[test]
fn changed_and_truncated_tables_and_a_damaged_cache_are_reported() {
    let work = space();
    let table = work.path("space/pages.ndjson");
    let whole = fs::read(&table).unwrap();
    let damage = |path: &str, bytes: &[u8]| work.write(path, bytes);

    let mut changed = whole.clone();
    let at = changed.iter().position(|&b| b == b'T').unwrap();
    changed[at] = b't';
    damage("space/pages.ndjson", &changed);
    let told = work.program(&["ingest", "--verify", "--space", "space"]).assert().code(1).stdout("");
    let told = String::from_utf8_lossy(&told.get_output().stderr).into_owned();
    assert!(told.contains("`space/pages.ndjson`: its bytes are not those that were committed"), "{told}");
    // `-q` does not hide differences.
    let quiet = work.program(&["ingest", "--verify", "--space", "space", "-q"]).assert().code(1).stdout("");
    assert_eq!(String::from_utf8_lossy(&quiet.get_output().stderr), told);

    damage("space/pages.ndjson", &whole[..whole.len() / 2]);
    let told = work.program(&["ingest", "--verify", "--space", "space"]).assert().code(1);
    assert!(String::from_utf8_lossy(&told.get_output().stderr).contains("are committed"));

    damage("space/pages.ndjson", &[&whole[..], b"{}\n"].concat());
    let told = work.program(&["ingest", "--verify", "--space", "space", "-q"]).assert().success();
    let told = String::from_utf8_lossy(&told.get_output().stderr).into_owned();
    assert!(told.contains("`space/pages.ndjson` has 3 bytes after its committed rows"), "{told}");

    damage("space/pages.ndjson", &whole);
    damage("space/.state/resolver-1", b"psstate\n and then something else");
    let told = work.program(&["ingest", "--verify", "--space", "space"]).assert().code(1);
    assert!(
        String::from_utf8_lossy(&told.get_output().stderr)
            .contains("the state cache is damaged: `space/.state/resolver-1`")
    );
    let mut earlier = b"psstate\n".to_vec();
    earlier.extend([2, 0, 0, 0]);
    earlier.resize(200, 0);
    damage("space/.state/resolver-1", &earlier);
    let told = work.program(&["ingest", "--verify", "--space", "space"]).assert().success();
    assert!(String::from_utf8_lossy(&told.get_output().stderr).contains("of an earlier version"));
    // The next run reports that it rebuilds the cache, and then the space is fine.
    work.write(
        "more.ndjson",
        "{\"type\":\"track\",\"event\":\"x\",\"userId\":\"u\",\"timestamp\":\"2030-01-01\"}",
    );
    let told = work.program(&["ingest", "more.ndjson", "--space", "space"]).assert().success();
    assert!(String::from_utf8_lossy(&told.get_output().stderr).contains("rebuilt from the raw tables"));
    work.program(&["ingest", "--verify", "--space", "space", "-q"]).assert().success().stderr("");
}

#[test]
fn a_changed_byte_anywhere_in_the_state_cache_is_reported() {
    let work = space();
    let whole = fs::read(work.path("space/.state/resolver-1")).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 50) {
        let mut changed = whole.clone();
        changed[at] ^= 0x40;
        work.write("space/.state/resolver-1", &changed);
        let told = work.program(&["ingest", "--verify", "--space", "space"]).assert();
        let told = String::from_utf8_lossy(&told.get_output().stderr).into_owned();
        assert!(told.contains("the state cache is damaged"), "byte {at}: {told}");
    }
}

#[test]
fn a_missing_table_and_a_changed_view_are_reported() {
    let work = space();
    work.program(&["materialize", "--space", "space", "-q"]).assert().success();
    let verify = || {
        let told = work.program(&["ingest", "--verify", "--space", "space"]).assert();
        (told.get_output().status.code(), String::from_utf8_lossy(&told.get_output().stderr).into_owned())
    };
    assert_eq!(verify().0, Some(0));
    let view = work.read("space/user_traits.ndjson");
    work.write("space/user_traits.ndjson", view.replacen("segment_id", "segment_ID", 1));
    fs::remove_file(work.path("space/id_graph.ndjson")).unwrap();
    let (code, told) = verify();
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("the view `space/user_traits.ndjson`: its bytes are not those"), "{told}");
    assert!(told.contains("the view `space/id_graph.ndjson`: is missing"), "{told}");
    work.program(&["materialize", "--space", "space", "-q"]).assert().success();
    assert_eq!(verify().0, Some(0));
    fs::remove_file(work.path("space/pages.ndjson")).unwrap();
    let (code, told) = verify();
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("`space/pages.ndjson`: is missing") && told.contains("restore it from a backup"),
        "{told}"
    );
}

#[test]
fn a_folder_that_is_not_a_space_is_an_error() {
    let work = Work::new();
    let told = work.program(&["ingest", "--verify", "--space", "nowhere"]).assert().code(2);
    assert!(String::from_utf8_lossy(&told.get_output().stderr).contains("is not a space"));
}

#[test]
fn a_space_inside_the_input_folder_is_not_ingested() {
    let work = Work::new();
    work.write(
        "dumps/a.ndjson",
        "{\"type\":\"track\",\"event\":\"x\",\"userId\":\"u\",\"timestamp\":\"2030-01-01\"}",
    );
    for expected in [1, 0] {
        let told = work.program(&["ingest", "dumps", "--space", "dumps/space", "--json"]).assert().success();
        let told: serde_json::Value = serde_json::from_slice(&told.get_output().stdout).unwrap();
        assert_eq!(told["lines"], expected, "{told}");
    }
    let told = work.program(&["ingest", "dumps/space", "--space", "dumps/space"]).assert().code(2);
    assert!(String::from_utf8_lossy(&told.get_output().stderr).contains("the space itself"));
}
