//! `explain`: why identifiers are one profile, or not.
//!
//! `BLESS=1 cargo test explain` rewrites the expected answers in `fixtures/explain`.

mod pictures;

use std::{
    collections::{BTreeMap, VecDeque},
    env, fs,
};

use profiles_sync::{
    explain::{ExplainOptions, explain},
    files::Files,
    progress::Silent,
};
use serde_json::{Value, json};

use crate::{
    dump::{self, Knobs},
    random::Random,
    support::{Work, project, project_text},
};

/// One event a minute: the call, and what it carries.
fn event(minute: usize, call: &str, members: &Value) -> String {
    let mut event = json!({
        "type": call, "messageId": format!("m{minute}"), "projectId": "web",
        "timestamp": format!("2026-01-05T10:{minute:02}:00Z"),
    });
    event.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    format!("{event}\n")
}

fn identify(minute: usize, user: &str, email: &str) -> String {
    event(minute, "identify", &json!({"userId": user, "traits": {"email": email}}))
}

/// A space in which identifiers are one profile, or are not, for each reason.
fn space() -> Work {
    let work = Work::new();
    for name in ["rules.toml", "events.ndjson"] {
        work.write(name, project_text(&format!("fixtures/explain/{name}")));
    }
    work.program(&["ingest", "events.ndjson", "--space", "space", "--config", "rules.toml", "-q"])
        .assert()
        .success();
    work
}

/// The cases: the name of the files, the identifiers, the exit code.
const CASES: [(&str, &[&str], i32); 12] = [
    ("one-profile", &["email:first@example.com", "email:second@example.com"], 0),
    ("refused", &["user_id:u3", "email:shared@example.com"], 0),
    ("spelling", &["email:Jane@Example.com", "email:jane@example.com"], 0),
    ("blocked", &["user_id:u6", "user_id:u7"], 0),
    ("blocked-value", &["email:info@shop.example", "user_id:u6"], 0),
    ("between", &["anonymous_id:tablet", "email:nine@example.com"], 0),
    ("never", &["user_id:u2", "user_id:u4"], 0),
    ("nobody", &["email:frist@example.com"], 1),
    ("profile", &["profile_1"], 0),
    ("hostile", &["user_id:<script>alert(1)</script>"], 0),
    ("hostile-path", &["user_id:<script>alert(1)</script>", "anonymous_id:a\u{1b}[2J"], 0),
    ("health", &[], 0),
];

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own files need no wrapper")]
fn answers_are_as_written_down() {
    let work = space();
    let mut differences = Vec::new();
    for (name, ids, code) in CASES {
        for (format, end) in [("text", "txt"), ("json", "json")] {
            let args = [&["explain"], ids, &["--space", "space", "--format", format]].concat();
            let assert = work.program(&args).assert().code(code).stderr("");
            let mut actual = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
            if format == "json" {
                let value: Value = serde_json::from_str(&actual).unwrap();
                actual = serde_json::to_string_pretty(&value).unwrap() + "\n";
            }
            let path = project("fixtures/explain").join(format!("{name}.{end}"));
            if env::var_os("BLESS").is_some() {
                assert!(env::var_os("CI").is_none(), "BLESS is for people: CI compares");
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, &actual).unwrap();
            }
            if actual != fs::read_to_string(&path).unwrap_or_default() {
                differences.push(format!("{}\n{actual}", path.display()));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_page_on_explain_shows_what_it_prints() {
    let page = project_text("docs/explain.md");
    for name in ["one-profile", "refused"] {
        let text = project_text(&format!("fixtures/explain/{name}.txt"));
        assert!(page.contains(&format!("```text\n{text}```\n")), "{name}");
    }
}

#[test]
fn text_has_nothing_that_a_terminal_obeys_and_fits_80_columns() {
    for (name, ..) in CASES {
        let text = fs::read_to_string(project("fixtures/explain").join(format!("{name}.txt"))).unwrap();
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\r', '\t']), "{name}");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
    }
}

fn answer(work: &Work, ids: &[String], as_of: Option<i64>) -> Value {
    let options = ExplainOptions { space: work.path("space"), ids: ids.to_vec(), as_of };
    serde_json::to_value(explain(&options, &Files::real(), &Silent).unwrap()).unwrap()
}

/// A space of generated events, made in two runs.
fn generated(seed: u64, compress: &[&str]) -> Work {
    let mut bytes = Vec::new();
    dump::write(Knobs { events: 600, seed, days: 40, malformed: 0.0, changes: 5.0 }, &mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let work = Work::new();
    for (name, half) in [("first.ndjson", &lines[..300]), ("second.ndjson", &lines[300..])] {
        work.write(name, half.join("\n"));
        let args = [&["ingest", name, "--space", "space", "-q"], compress].concat();
        work.program(&args).assert().success();
    }
    work
}

/// Type and value.
type Identifier = (String, String);

fn identifier(row: &Value, prefix: &str) -> Option<Identifier> {
    let text = |end: &str| row[format!("{prefix}_{end}")].as_str().map(str::to_owned);
    Some((text("type")?, text("value")?))
}

/// The rows of a shortest path over the links, found the plain way.
fn path(rows: &[Value], from: &Identifier, to: &Identifier) -> Option<Vec<Value>> {
    let mut came_by: BTreeMap<Identifier, (Identifier, usize)> = BTreeMap::new();
    let mut queue = VecDeque::from([from.clone()]);
    while let Some(at) = queue.pop_front() {
        for (number, row) in rows.iter().enumerate() {
            let (Some(one), Some(other)) = (identifier(row, "external_id"), identifier(row, "via")) else {
                continue;
            };
            for (end, next) in [(&one, &other), (&other, &one)] {
                if *end == at && next != from && !came_by.contains_key(next) {
                    came_by.insert(next.clone(), (at.clone(), number));
                    queue.push_back(next.clone());
                }
            }
        }
    }
    let mut steps = Vec::new();
    let mut at = to.clone();
    while at != *from {
        let (before, number) = came_by.get(&at)?.clone();
        steps.push(rows[number].clone());
        at = before;
    }
    steps.reverse();
    Some(steps)
}

/// What an answer says of a row of links.
fn step(row: &Value) -> Value {
    let one = |prefix: &str| match identifier(row, prefix) {
        Some((type_name, value)) => json!({"type": type_name, "value": value}),
        None => Value::Null,
    };
    json!({
        "event": {
            "id": row["triggering_event_id"], "type": row["triggering_event_type"], "name": row["triggering_event_name"],
            "timestamp": row["timestamp"], "source_id": row["triggering_event_source_id"],
        },
        "identifier": one("external_id"), "via": one("via"), "link": row["link"],
    })
}

#[test]
fn a_path_is_the_shortest_over_the_links_and_a_history_has_all_of_them() {
    for (seed, compress) in [(900, &[][..]), (901, &["--compress", "zstd"]), (902, &[])] {
        let work = generated(seed, compress);
        work.program(&["materialize", "--space", "space", "-q"]).assert().success();
        let table = |name: &str| -> Vec<Value> {
            let plain = work.path("space").join(format!("{name}.ndjson"));
            let bytes = fs::read(&plain).unwrap_or_else(|_| {
                zstd::decode_all(&*fs::read(plain.with_extension("ndjson.zst")).unwrap()).unwrap()
            });
            String::from_utf8(bytes).unwrap().lines().map(|row| serde_json::from_str(row).unwrap()).collect()
        };
        let links = table("identity_links");
        let mut profiles: BTreeMap<String, Vec<Identifier>> = BTreeMap::new();
        for row in table("user_identifiers") {
            let text = |column: &str| row[column].as_str().unwrap().to_owned();
            profiles.entry(text("canonical_segment_id")).or_default().push((text("type"), text("value")));
        }
        let canonical: BTreeMap<String, String> = table("id_graph")
            .iter()
            .map(|row| {
                let text = |column: &str| row[column].as_str().unwrap().to_owned();
                (text("segment_id"), text("canonical_segment_id"))
            })
            .collect();
        let argument = |(type_name, value): &Identifier| format!("{type_name}:{value}");
        let mut random = Random(seed);
        let large: Vec<_> = profiles.iter().filter(|(_, identifiers)| 1 < identifiers.len()).collect();
        let ask = |work: &Work| {
            let mut random = Random(seed);
            let mut answers = Vec::new();
            for _ in 0..25 {
                let (_, identifiers) = large[random.below(large.len())];
                let [a, b] = [0, 1].map(|_| &identifiers[random.below(identifiers.len())]);
                answers
                    .push((vec![argument(a), argument(b)], answer(work, &[argument(a), argument(b)], None)));
                answers.push((vec![argument(a)], answer(work, &[argument(a)], None)));
                let other = large[random.below(large.len())].1;
                let pair = [argument(a), argument(&other[random.below(other.len())])];
                answers.push((pair.to_vec(), answer(work, &pair, None)));
            }
            answers
        };
        let answers = ask(&work);
        for _ in 0..25 {
            let (profile, identifiers) = large[random.below(large.len())];
            let [a, b] = [0, 1].map(|_| &identifiers[random.below(identifiers.len())]);
            let of_pair = answer(&work, &[argument(a), argument(b)], None);
            let expected: Vec<Value> = path(&links, a, b).unwrap().iter().map(step).collect();
            assert_eq!(of_pair["path"], Value::Array(expected), "{a:?} {b:?}");
            let of_one = answer(&work, &[argument(a)], None);
            assert_eq!(of_one["segment_id"], **profile);
            let own: Vec<Value> = links
                .iter()
                .filter(|row| canonical[row["segment_id"].as_str().unwrap()] == **profile)
                .map(|row| {
                    let mut one = step(row);
                    for column in ["segment_id", "canonical_segment_id"] {
                        one[column] = row[column].clone();
                    }
                    one
                })
                .collect();
            assert_eq!(of_one["history"], Value::Array(own), "{a:?}");
            assert_eq!(of_one["identifiers"].as_array().unwrap().len(), identifiers.len());
            assert_eq!(of_one["notices"], json!([]));
            // Of other profiles there are reasons.
            let other = large[random.below(large.len())];
            let of_two = answer(&work, &[argument(a), argument(&other.1[0])], None);
            assert_eq!(of_two["path"].is_null(), other.0 != profile);
            assert_eq!(of_two["reasons"].is_null(), other.0 == profile);
        }
        // Without the state the tables are read, with the same answers.
        fs::remove_dir_all(work.path("space/.state")).unwrap();
        for ((ids, with), (_, without)) in answers.iter().zip(ask(&work)) {
            assert_eq!(*with, without, "{ids:?}");
        }
    }
}

#[test]
fn the_state_and_the_tables_not_fitting_together_is_noticed() {
    let work = space();
    let table = work.read("space/external_id_mapping_updates.ndjson");
    work.write("space/external_id_mapping_updates.ndjson", table.replace("second@", "s3cond@"));
    let ids = ["email:first@example.com", "email:s3cond@example.com"];
    let assert = work.program(&[&["explain"], &ids[..], &["--space", "space"]].concat()).assert().success();
    let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(said.contains("note: the state and the tables do not fit together"), "{said}");
}

#[test]
fn as_of_shows_the_profiles_of_that_time() {
    let work = space();
    let at = |minute: i64| Some(1_767_607_200_000_000 + minute * 60_000_000);
    let ids = ["email:first@example.com", "email:second@example.com"].map(str::to_owned);
    let before = answer(&work, &ids, at(3));
    assert!(before["path"].is_null(), "{before}");
    assert_eq!(before["reasons"][0]["reason"], "never");
    assert_eq!(answer(&work, &ids, at(4))["path"].as_array().unwrap().len(), 3);
    let unknown = answer(&work, &ids, at(2));
    assert_eq!(unknown["unknown"][0]["argument"], ids[1]);
    for (minute, n_traits) in [(0, 0), (1, 2), (4, 2)] {
        let one = answer(&work, &ids[..1], at(minute));
        assert_eq!(one["traits"].as_array().map_or(0, Vec::len), n_traits, "{minute}");
    }
}

#[test]
fn arguments_are_segment_ids_then_types_then_values() {
    let work = space();
    let segment = |id: &str| answer(&work, &[id.to_owned()], None)["segment_id"].clone();
    assert_eq!(segment("profile_1"), "profile_1");
    assert_eq!(segment("email:first@example.com"), "profile_1");
    assert_eq!(segment("EMAIL:first@example.com"), "profile_1");
    assert_eq!(segment("second@example.com"), "profile_1");
    assert_eq!(segment("profile_2"), "profile_1", "the profile that it was merged into");
    work.write("more.ndjson", event(20, "page", &json!({"anonymousId": "u9"})));
    work.program(&["ingest", "more.ndjson", "--space", "space", "--config", "rules.toml", "-q"])
        .assert()
        .success();
    let assert = work.program(&["explain", "u9", "--space", "space"]).assert().code(2);
    let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(said.contains("`anonymous_id:u9`, `user_id:u9`"), "{said}");
    work.program(&["explain", "u9", "--space", "nowhere"]).assert().code(2);
    work.program(&["explain", "a", "b", "c", "--space", "space"]).assert().code(2);
}

#[test]
fn an_explanation_goes_to_a_file_but_not_over_a_table() {
    let work = space();
    let args = ["explain", "profile_1", "--space", "space", "-o"];
    work.program(&[&args[..], &["story.txt"]].concat()).assert().success().stdout("");
    assert!(work.read("story.txt").starts_with("Profile profile_1\n"));
    let before = work.read("space/pages.ndjson");
    work.program(&[&args[..], &["space/pages.ndjson"]].concat()).assert().code(2);
    assert_eq!(work.read("space/pages.ndjson"), before);
}

#[test]
fn identifiers_without_links_are_explained_by_the_raw_tables() {
    let work = Work::new();
    work.write("rules.toml", "[sync]\nexclude_tables = [\"identity_links\", \"identity_violations\"]\n");
    work.write(
        "events.ndjson",
        [identify(1, "u1", "a@example.com"), identify(2, "u2", "b@example.com")].concat(),
    );
    work.program(&["ingest", "events.ndjson", "--space", "space", "--config", "rules.toml", "-q"])
        .assert()
        .success();
    let ids = ["user_id:u1", "email:a@example.com", "user_id:u2"].map(str::to_owned);
    let one = answer(&work, &ids[..2], None);
    assert_eq!(one["path"].as_array().unwrap().len(), 2);
    assert!(one["path"][0]["via"].is_null() && one["path"][0]["event"]["id"] == "m1", "{one}");
    assert!(one["notices"][0].as_str().unwrap().contains("the space has no `identity_links`"), "{one}");
    let two = answer(&work, &[ids[0].clone(), ids[2].clone()], None);
    assert!(
        two["notices"][0].as_str().unwrap().contains("some runs left out `identity_violations`"),
        "{two}"
    );
}
