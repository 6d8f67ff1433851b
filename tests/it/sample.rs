//! The sample dump in `fixtures/sample`, and the generator that wrote it.

use std::collections::BTreeSet;

use crate::{
    dump::{self, Knobs},
    support::{Work, project, project_text},
};

const SHIPPED: Knobs = Knobs { events: 300, seed: 52, days: 3, malformed: 0.0, changes: 0.0 };

/// Generates a dump as text.
fn text(knobs: Knobs) -> String {
    let mut bytes = Vec::new();
    dump::write(knobs, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_sample_dump_is_what_the_generator_writes() {
    let shipped = project_text("fixtures/sample/events.ndjson");
    assert!(shipped == text(SHIPPED), "run the command in fixtures/sample/README.md");
    let readme = project_text("fixtures/sample/README.md");
    let Knobs { events, seed, days, .. } = SHIPPED;
    let command = format!("--example generate -- --events {events} --seed {seed} --days {days} ");
    assert!(readme.contains(&command), "{command}");
}

#[test]
fn another_seed_gives_another_dump() {
    assert_ne!(text(SHIPPED), text(Knobs { seed: SHIPPED.seed + 1, ..SHIPPED }));
}

#[test]
fn the_sample_dump_covers_every_situation_without_rejects() {
    let work = Work::new();
    let events = project("fixtures/sample/events.ndjson");
    let output = work
        .program(&["ingest", events.to_str().unwrap(), "--space", "space", "--materialize", "--json"])
        .assert()
        .success()
        .stderr("")
        .get_output()
        .stdout
        .clone();
    let summary: serde_json::Value = serde_json::from_slice(&output).unwrap();
    let ingest = &summary["ingest"];
    assert_eq!(ingest["rejected"], serde_json::json!({}));
    for what in ["duplicates", "profiles_created", "profiles_merged"] {
        assert!(0 < ingest[what].as_u64().unwrap(), "{what}");
    }
    for what in ["identifiers_mapped", "identifiers_demoted", "identifiers_blocked"] {
        assert!(!ingest[what].as_object().unwrap().is_empty(), "{what}");
    }
    let types: BTreeSet<_> = ingest["identifiers_mapped"].as_object().unwrap().keys().cloned().collect();
    for kind in ["user_id", "anonymous_id", "email", "ios.id", "android.id", "ga_client_id", "crm_id"] {
        assert!(types.contains(kind), "{kind} in {types:?}");
    }
    for table in
        ["identifies", "pages", "screens", "groups", "aliases", "tracks", "order_completed", "user_traits"]
    {
        assert!(!work.rows(&format!("space/{table}.ndjson")).is_empty(), "{table}");
    }
}
