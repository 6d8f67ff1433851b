//! Verification reports identifiers of event rows that are neither mapped nor in `identity_violations`.

use serde_json::{Value, json};

use super::{forge, verify};
use crate::{
    random::{Random, config, events},
    support::Work,
};

const CONFIG: &str = "
[identity.types.user_id]
normalize = \"both\"

[identity.types.anonymous_id]
limit = 1
";

/// Events with identifiers that are mapped, known, blocked, demoted or empty after normalisation, and one without any.
const EVENTS: &str = r#"
{"type":"page","messageId":"m1","userId":" U1 ","anonymousId":"a1","timestamp":"2026-01-05T10:01:00Z"}
{"type":"track","messageId":"m2","event":"Sale","userId":"u1","anonymousId":"null","timestamp":"2026-01-05T10:02:00Z"}
{"type":"identify","messageId":"m3","userId":"u1","anonymousId":"a2","timestamp":"2026-01-05T10:03:00Z"}
{"type":"screen","messageId":"m4","userId":"   ","anonymousId":7,"timestamp":"2026-01-05T10:04:00Z"}
{"type":"group","messageId":"m5","groupId":"g","userId":"u\"2","timestamp":"2026-01-05T10:05:00Z"}
{"type":"alias","messageId":"m6","userId":"u\"2","previousId":"nobody","timestamp":"2026-01-05T10:06:00Z"}
{"type":"track","messageId":"m7","event":"Sale","context":{"externalIds":[]},"timestamp":"2026-01-05T10:07:00Z"}
"#;

fn space(config: &str, flags: &[&str]) -> Work {
    let work = Work::new();
    work.write("events.ndjson", EVENTS);
    work.write("config.toml", config);
    let args = ["ingest", "events.ndjson", "--config", "config.toml", "--space", "space", "-q"];
    work.program(&[&args, flags].concat()).assert().success();
    work
}

/// Deletes the rows of a table that have a value in a column, and makes the manifest agree.
fn delete(work: &Work, table: &str, column: &str, value: &str) {
    let is_other = |line: &&str| serde_json::from_str::<Value>(line).unwrap()[column] != json!(value);
    let text = work.read(&format!("space/{table}.ndjson"));
    let rest: String = text.lines().filter(is_other).flat_map(|line| [line, "\n"]).collect();
    assert_ne!(rest, text, "{table} has no such row");
    forge(work, table, rest.as_bytes());
}

#[test]
fn intact_spaces_account_for_every_identifier() {
    for config in ["", CONFIG] {
        let work = space(config, &[]);
        assert_eq!(verify(&work), (0, vec![]), "{config}");
    }
}

#[test]
fn an_identifier_without_mapping_is_reported_with_its_line() {
    let work = space(CONFIG, &[]);
    delete(&work, "external_id_mapping_updates", "external_id_value", "u1");
    let lost = |table: &str, line: u64, what: &str| {
        format!(
            "`space/{table}.ndjson`, line {line}: the {what} is neither in `external_id_mapping_updates` nor in \
             `identity_violations`"
        )
    };
    let expected =
        vec![lost("identifies", 1, "user_id \"u1\""), "4 rows of events have lost an identifier".to_owned()];
    assert_eq!(verify(&work), (1, expected));

    let work = space(CONFIG, &[]);
    delete(&work, "external_id_mapping_updates", "external_id_value", "7");
    assert_eq!(verify(&work), (1, vec![lost("screens", 1, "anonymous_id \"7\"")]));
    // A value that needs escapes in JSON.
    let work = space(CONFIG, &[]);
    delete(&work, "external_id_mapping_updates", "external_id_value", "u\"2");
    let (code, said) = verify(&work);
    assert_eq!((code, said.len()), (1, 2), "{said:?}");
    assert_eq!(said[0], lost("aliases", 1, "user_id \"u\"2\""));
}

#[test]
fn an_identifier_without_violation_is_reported() {
    for (message, table, value) in [("m2", "sale", "null"), ("m3", "identifies", "a2")] {
        let work = space(CONFIG, &[]);
        delete(&work, "identity_violations", "message_id", message);
        let (code, said) = verify(&work);
        assert_eq!(code, 1, "{said:?}");
        assert!(
            said[0].contains(&format!("`space/{table}.ndjson`, line 1: the anonymous_id \"{value}\"")),
            "{said:?}"
        );
    }
}

#[test]
fn many_lost_identifiers_are_reported_as_examples_and_a_count() {
    let work = Work::new();
    let event = |n: u32| {
        format!(
            "{{\"type\":\"page\",\"messageId\":\"m{n}\",\"userId\":\"u{n}\",\"timestamp\":\"2026-01-05\"}}\n"
        )
    };
    work.write("events.ndjson", (0..50).map(event).collect::<String>());
    work.program(&["ingest", "events.ndjson", "--space", "space", "-q"]).assert().success();
    forge(&work, "external_id_mapping_updates", b"");
    let (code, said) = verify(&work);
    assert_eq!((code, said.len()), (1, 11), "{said:?}");
    assert_eq!(said[10], "50 rows of events have lost an identifier");
}

#[test]
fn rows_that_cannot_be_checked_are_skipped() {
    // The violations were not written.
    let work = space("[sync]\nexclude_tables = [\"identity_violations\"]\n", &[]);
    assert_eq!(verify(&work), (0, vec![]));
    let work = space("[sync]\nexclude_columns = [\"identity_violations.value\"]\n", &[]);
    assert_eq!(verify(&work), (0, vec![]));
    // Without message ids, violations cannot be matched with events.
    let work = space("[sync]\nexclude_columns = [\"*.id\", \"*.event_id\"]\n", &[]);
    assert_eq!(verify(&work), (0, vec![]));
    // `backfill events` maps no identifiers.
    let work = space(CONFIG, &[]);
    work.write("old.ndjson", EVENTS.replace(":\"m", ":\"o").replace("U1", "x").replace("u1", "y"));
    let backfill = ["backfill", "events", "old.ndjson", "--config", "config.toml", "--space", "space", "-q"];
    work.program(&backfill).assert().success();
    assert!(work.read("space/pages.ndjson").lines().count() == 2);
    assert_eq!(verify(&work), (0, vec![]));
    // An export has no violations.
    work.write("export/pages.ndjson", "{\"id\":\"m\",\"user_id\":\"u\",\"received_at\":\"2026-01-05\"}\n");
    for table in ["id_graph_updates", "external_id_mapping_updates", "profile_traits_updates"] {
        work.write(&format!("export/{table}.ndjson"), "");
    }
    work.program(&["backfill", "raw", "export", "--space", "adopted", "-q"]).assert().success();
    work.program(&["ingest", "events.ndjson", "--space", "adopted", "-q"]).assert().success();
    work.program(&["ingest", "--verify", "--space", "adopted", "-q"]).assert().success().stderr("");
}

#[test]
fn each_row_is_checked_under_the_rules_of_its_run() {
    let two_runs = || {
        let work = space(CONFIG, &[]);
        work.write("more.ndjson", EVENTS.replace(":\"m", ":\"n").replace("2026", "2027"));
        work.program(&["ingest", "more.ndjson", "--space", "space", "-q"]).assert().success();
        work
    };
    assert_eq!(verify(&two_runs()), (0, vec![]));
    for (value, place) in
        [("u1", "`space/identifies.ndjson`, line 1"), (" U1 ", "`space/pages.ndjson`, line 2")]
    {
        let work = two_runs();
        delete(&work, "external_id_mapping_updates", "external_id_value", value);
        let (code, said) = verify(&work);
        assert_eq!(code, 1, "{said:?}");
        assert!(said[0].starts_with(&format!("{place}: the user_id \"{value}\" is neither in ")), "{said:?}");
    }
}

#[test]
fn compressed_tables_are_checked() {
    let work = space(CONFIG, &["--compress", "zstd"]);
    assert_eq!(verify(&work), (0, vec![]));
}

#[test]
fn random_events_and_rules_lose_no_identifiers() {
    for seed in 0..12 {
        let mut random = Random(seed);
        let work = Work::new();
        for input in ["one.ndjson", "two.ndjson"] {
            let events = events::make(&mut random);
            let lines: Vec<String> = events.iter().map(|event| event.to_text() + "\n").collect();
            work.write(input, lines.concat());
            work.write("config.toml", config::make(&mut random).text);
            let args = [
                "ingest",
                input,
                "--config",
                "config.toml",
                "--space",
                "space",
                "--max-rejects",
                "100%",
                "-q",
            ];
            work.program(&args).output().unwrap();
        }
        assert_eq!(verify(&work), (0, vec![]), "seed {seed}");
    }
}
