//! Selection of views and columns by the config.

use std::collections::BTreeSet;

use profiles_sync::{jobs::materialize::MaterializeOptions, summary::Fold, view::View};
use serde_json::{Map, Value};

use super::{add, assert_same, folder, outdated, run, views, write};

fn columns(rows: &str) -> BTreeSet<String> {
    let rows = rows.lines().map(|row| serde_json::from_str::<Map<String, Value>>(row).unwrap());
    rows.flat_map(|row| row.keys().cloned().collect::<Vec<_>>()).collect()
}

#[test]
fn a_view_excluded_by_the_config_is_written_only_on_request() {
    let work = folder();
    let space = outdated(work.path());
    let config = work.path().join("rules.toml");
    write(
        &config,
        b"[sync]\ntables = [\"*_traits\", \"*_updates\", \"id_graph\"]\nexclude_tables = [\"user_*\"]\n",
    );
    let out = work.path().join("out");
    let options = MaterializeOptions {
        out: out.clone(),
        config: Some(config.clone()),
        ..MaterializeOptions::of_space(&space)
    };
    let summary = run(&options);
    assert_eq!(views(&out).into_keys().collect::<Vec<_>>(), ["id_graph", "profile_traits"]);
    assert_eq!(
        summary.views_not_selected,
        ["external_id_mapping", "user_traits", "user_identifiers", "profile_merges"]
    );
    let named = MaterializeOptions { views: vec!["user_traits".to_owned()], ..options.clone() };
    assert_eq!(run(&named).views_not_selected, [""; 0]);
    assert!(views(&out).contains_key("user_traits"));
    write(&config, b"[sync]\ntables = []\n");
    let error = profiles_sync::jobs::materialize::materialize(
        &options,
        &profiles_sync::files::Files::real(),
        &profiles_sync::progress::Silent,
    );
    assert_eq!(error.unwrap_err().to_string(), "the config selects none of the views");
}

#[test]
fn excluded_columns_are_left_out_except_key_columns() {
    let work = folder();
    let space = outdated(work.path());
    let config = space.join("profiles-sync.toml");
    write(
        &config,
        b"[sync]\nexclude_columns = [\"*.uuid_ts\", \"user_identifiers.*\", \"*.canonical_segment_id\", \"profile_traits.email\"]\n",
    );
    let all = work.path().join("all");
    let plain = work.path().join("plain.toml");
    write(&plain, b"");
    let options = MaterializeOptions::of_space(&space);
    run(&MaterializeOptions { config: Some(plain), out: all.clone(), ..options.clone() });
    assert_eq!(run(&options).fold, Fold::Full, "the existing views have other columns");
    let (all, some) = (views(&all), views(&space));
    let expected = |view: View, left_out: &[&str]| -> BTreeSet<String> {
        let mut columns = columns(&all[view.name()]);
        columns.retain(|column| !left_out.contains(&column.as_str()));
        columns
    };
    for view in View::ALL {
        let left_out: &[&str] = match view {
            View::IdGraph | View::ExternalIdMapping => &["uuid_ts", "canonical_segment_id"],
            View::UserIdentifiers => &["seq", "received_at", "uuid_ts", "timestamp"],
            View::ProfileTraits => &["email"],
            View::UserTraits | View::ProfileMerges => &["uuid_ts"],
        };
        assert_eq!(columns(&some[view.name()]), expected(view, left_out), "{view:?}");
        assert_eq!(some[view.name()].lines().count(), all[view.name()].lines().count(), "{view:?}");
    }
    // Incremental and partitioned folds and changes work with selected columns as well.
    let line = "{\"type\":\"identify\",\"messageId\":\"x\",\"userId\":\"x\",\"traits\":{\"email\":\"x@y.z\",\"plan\":\"x\"},\
                \"receivedAt\":\"2030-01-01T00:00:00Z\"}";
    add(&space, &[line.to_owned()], None);
    let changes = work.path().join("changes");
    assert_eq!(
        run(&MaterializeOptions { changes: Some(changes.clone()), ..options.clone() }).fold,
        Fold::Incremental
    );
    let new = views(&space);
    let told = std::fs::read_to_string(changes).unwrap();
    assert_same(&new, &super::applied(&some, &told), "changes applied");
    for memory in [None, Some(1)] {
        let out = work.path().join("out");
        run(&MaterializeOptions { memory, full: true, out: out.clone(), ..options.clone() });
        assert_same(&views(&out), &new, "full and partitioned folds");
    }
}
