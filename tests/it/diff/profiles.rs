//! Changes of profiles: planted merges, splits and moves are found, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::PathBuf,
};

use profiles_sync::diff::{IdMode, Sameness, identity::compare::IdentityResult, tables::TableResult};
use serde_json::{Value, json};

use super::{Random, compare, options};
use crate::support::Work;

/// Profiles by id, with the values of their identifiers.
type Side = BTreeMap<String, BTreeSet<String>>;

/// Writes a side as views and returns its path. The rows of the mapping are sorted by identifier.
fn write_views(work: &Work, name: &str, side: &Side) -> PathBuf {
    let (mut mapping, mut graph) = (Vec::new(), Vec::new());
    for (id, identifiers) in side {
        graph.push(json!({"segment_id": id, "canonical_segment_id": id}).to_string());
        for value in identifiers {
            let row = json!({
                "canonical_segment_id": id,
                "external_id_type": "email",
                "external_id_value": value,
                "external_id_hash": format!("hash of {value}"),
            });
            mapping.push((value, row.to_string()));
        }
    }
    mapping.sort();
    let text = |rows: Vec<String>| rows.into_iter().map(|row| row + "\n").collect::<String>();
    work.write(&format!("{name}/id_graph.ndjson"), text(graph));
    let mapping = mapping.into_iter().map(|(_, row)| row).collect();
    work.write(&format!("{name}/external_id_mapping.ndjson"), text(mapping));
    work.path(name)
}

/// Writes a side as raw tables and returns its path. Each profile has grown by merges, in a chain or in a star.
fn write_raw(work: &Work, name: &str, side: &Side, random: &mut Random) -> PathBuf {
    let (mut mapping, mut graph) = (String::new(), String::new());
    let mut seq = 0;
    let mut row = |mut row: Value, out: &mut String| {
        seq += 1;
        row["seq"] = json!(format!("{seq:019}"));
        row["triggering_event_id"] = json!(format!("event_{seq}"));
        writeln!(out, "{row}").unwrap();
    };
    for (id, identifiers) in side {
        row(json!({"segment_id": id, "canonical_segment_id": id}), &mut graph);
        let mut last = id.clone();
        for (n, value) in identifiers.iter().enumerate() {
            let segment_id = if random.one_in(2) {
                id.clone()
            } else {
                let part = format!("{id}/{n}");
                row(json!({"segment_id": part, "canonical_segment_id": part}), &mut graph);
                let into = if random.one_in(2) { id.clone() } else { last.clone() };
                row(json!({"segment_id": part, "canonical_segment_id": into}), &mut graph);
                last.clone_from(&part);
                part
            };
            let identifier =
                json!({"segment_id": segment_id, "external_id_type": "email", "external_id_value": value});
            row(identifier, &mut mapping);
        }
    }
    work.write(&format!("{name}/id_graph_updates.ndjson"), graph);
    work.write(&format!("{name}/external_id_mapping_updates.ndjson"), mapping);
    work.path(name)
}

/// Returns the reported changes as texts that can be compared.
fn told(identity: &IdentityResult) -> BTreeSet<String> {
    let set = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>();
    let mut words = BTreeSet::new();
    for story in &identity.stories {
        words.insert(format!("{:?} {:?} {:?}", story.kind, set(&story.old), set(&story.new)));
    }
    words.extend(identity.created_ids.iter().map(|id| format!("created {id}")));
    words.extend(identity.vanished_ids.iter().map(|id| format!("vanished {id}")));
    for moved in &identity.moves {
        words.insert(format!("moved {} {} {}", moved.identifier.value, moved.from, moved.to));
    }
    words
}

/// Returns a random side, the same side with planted changes, the texts that [`told`] must give, and the number of
/// unchanged profiles.
fn plant(random: &mut Random) -> (Side, Side, BTreeSet<String>, u64) {
    let mut old = Side::new();
    for profile in 0..30 + random.below(40) {
        let identifiers = (0..4 + random.below(4)).map(|n| format!("p{profile}.{n}@example.com")).collect();
        old.insert(format!("profile_{profile}"), identifiers);
    }
    let mut new = old.clone();
    let mut ids: Vec<String> = old.keys().cloned().collect();
    random.shuffle(&mut ids);
    let mut expected = BTreeSet::new();
    let mut n_touched = 0;
    for n in 0..5 {
        let mut next = || ids.pop().unwrap();
        let set = |ids: &[&String]| ids.iter().map(|id| (*id).clone()).collect::<BTreeSet<_>>();
        match random.below(6) {
            0 => {
                let (a, b) = (next(), next());
                let gone = new.remove(&b).unwrap();
                new.get_mut(&a).unwrap().extend(gone);
                expected.insert(format!("Merged {:?} {:?}", set(&[&a, &b]), set(&[&a])));
                n_touched += 2;
            }
            1 => {
                let (a, b) = (next(), format!("split_{n}"));
                let from = new.get_mut(&a).unwrap();
                let part: BTreeSet<String> = from.iter().take(1).cloned().collect();
                from.retain(|value| !part.contains(value));
                new.insert(b.clone(), part);
                expected.insert(format!("Split {:?} {:?}", set(&[&a]), set(&[&a, &b])));
                n_touched += 1;
            }
            2 => {
                let (a, b) = (next(), next());
                let value = new.get_mut(&a).unwrap().pop_first().unwrap();
                new.get_mut(&b).unwrap().insert(value.clone());
                expected.insert(format!("moved {value} {a} {b}"));
                expected.insert(format!("Changed {:?} {:?}", set(&[&a]), set(&[&a])));
                expected.insert(format!("Changed {:?} {:?}", set(&[&b]), set(&[&b])));
                n_touched += 2;
            }
            3 => {
                let a = next();
                new.remove(&a);
                expected.insert(format!("vanished {a}"));
                n_touched += 1;
            }
            4 => {
                let a = format!("created_{n}");
                new.insert(a.clone(), BTreeSet::from([format!("{a}@example.com")]));
                expected.insert(format!("created {a}"));
            }
            _ => {
                let a = next();
                new.get_mut(&a).unwrap().insert(format!("more_{n}@example.com"));
                expected.insert(format!("Changed {:?} {:?}", set(&[&a]), set(&[&a])));
                n_touched += 1;
            }
        }
    }
    let n_unchanged = old.len() as u64 - n_touched;
    (old, new, expected, n_unchanged)
}

/// Counts the pairs of common identifiers in one profile: on the old side, on the new side, on both. Tries every pair.
fn plain_pairs(old: &Side, new: &Side) -> [u64; 3] {
    let profiles = |side: &Side| -> BTreeMap<String, String> {
        side.iter().flat_map(|(id, values)| values.iter().map(|value| (value.clone(), id.clone()))).collect()
    };
    let (old, new) = (profiles(old), profiles(new));
    let common: Vec<&String> = old.keys().filter(|value| new.contains_key(*value)).collect();
    let mut counts = [0; 3];
    for (at, a) in common.iter().enumerate() {
        for b in &common[..at] {
            let together = [old[*a] == old[*b], new[*a] == new[*b]];
            counts[0] += u64::from(together[0]);
            counts[1] += u64::from(together[1]);
            counts[2] += u64::from(together == [true, true]);
        }
    }
    counts
}

#[test]
fn planted_merges_splits_and_moves_are_found_and_nothing_else() {
    for seed in 0..200 {
        let random = &mut Random(seed);
        let (old, new, expected, n_unchanged) = plant(random);
        let work = Work::new();
        let mut write = |name: &str, side: &Side| {
            if random.one_in(2) {
                write_views(&work, name, side)
            } else {
                write_raw(&work, name, side, random)
            }
        };
        let (path_old, path_new) = (write("old", &old), write("new", &new));
        let mut options = options(&path_old, &path_new);
        let (comparison, _) = compare(&options);
        let identity = comparison.identity.unwrap();
        assert_eq!(told(&identity), expected, "seed {seed}");
        assert_eq!((identity.unchanged, identity.renamed), (n_unchanged, 0), "seed {seed}");
        assert_eq!(identity.profiles, [old.len() as u64, new.len() as u64]);
        let pairs = &identity.pairwise;
        assert_eq!([pairs.old, pairs.new, pairs.both], plain_pairs(&old, &new), "seed {seed}");

        std::mem::swap(&mut options.old, &mut options.new);
        let (back, _) = compare(&options);
        let back = told(&back.identity.unwrap());
        let mirrored: BTreeSet<String> = expected
            .iter()
            .map(|word| {
                let (kind, rest) = word.split_once(' ').unwrap();
                match kind {
                    "Merged" | "Split" => {
                        let (a, b) = rest.split_once("} {").unwrap();
                        let kind = if kind == "Merged" { "Split" } else { "Merged" };
                        format!("{kind} {{{b} {a}}}")
                    }
                    "moved" => {
                        let parts: Vec<&str> = rest.split(' ').collect();
                        format!("moved {} {} {}", parts[0], parts[2], parts[1])
                    }
                    "created" => format!("vanished {rest}"),
                    "vanished" => format!("created {rest}"),
                    _ => word.clone(),
                }
            })
            .collect();
        assert_eq!(back, mirrored, "seed {seed}");
    }
}

const EVENTS: [(&str, &str); 7] = [
    ("m1", r#""type":"page","anonymousId":"a1""#),
    ("m2", r#""type":"identify","anonymousId":"a1","traits":{"email":"jane@example.com"}"#),
    ("m3", r#""type":"page","anonymousId":"a2""#),
    ("m4", r#""type":"identify","anonymousId":"a2","traits":{"email":"jane@example.com"}"#),
    ("m5", r#""type":"page","anonymousId":"a3""#),
    ("m6", r#""type":"page","anonymousId":"a4""#),
    ("m7", r#""type":"identify","anonymousId":"a5","userId":"u5","traits":{"plan":"free"}"#),
];

/// Ingests events into a space, with views, and returns its path.
fn space(work: &Work, name: &str, events: &[(&str, &str)], flags: &[&str]) -> PathBuf {
    let mut lines = String::new();
    for (id, rest) in events {
        let timestamp = format!("2026-01-05T10:0{}:00Z", &id[1..]);
        writeln!(lines, "{{\"messageId\":\"{id}\",\"timestamp\":\"{timestamp}\",{rest}}}").unwrap();
    }
    work.write(&format!("{name}.ndjson"), lines);
    let file = format!("{name}.ndjson");
    let args = [&["ingest", &file, "--space", name, "--materialize", "-q"], flags].concat();
    work.program(&args).assert().success();
    work.path(name)
}

#[test]
fn differences_in_generated_ids_only_are_reported_as_such() {
    let work = Work::new();
    let old = space(&work, "old", &EVENTS, &["--segment-ids", "sequential"]);
    let new = space(&work, "new", &EVENTS, &["--segment-ids", "ksuid"]);
    let mut options = options(&old, &new);
    let (comparison, _) = compare(&options);
    assert_eq!(comparison.sameness, Sameness::Renamed(5));
    let identity = comparison.identity.unwrap();
    assert_eq!((identity.unchanged, identity.renamed), (4, 4));
    assert!(told(&identity).is_empty());
    options.ids = IdMode::Renamed;
    let (comparison, changes) = compare(&options);
    assert_eq!(comparison.sameness, Sameness::Renamed(5));
    assert!(comparison.tables.iter().all(TableResult::same), "{changes:?}");
    assert_eq!(changes, Vec::<Value>::new());
    for table in &comparison.tables {
        let n_rows = work.rows(&format!("new/{}.ndjson", table.name)).len();
        assert_eq!(table.outcome.same, n_rows as u64, "{}", table.name);
    }
    for (args, code) in [(&["diff", "old", "new"][..], 1), (&["diff", "old", "new", "--ids", "renamed"], 0)] {
        let output = work.program(args).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code));
        assert!(said.starts_with("old and new are the same but for 5 generated segment ids\n"), "{said}");
    }
}

#[test]
fn a_real_difference_is_found_under_renamed_ids() {
    let work = Work::new();
    let old = space(&work, "old", &EVENTS, &["--segment-ids", "sequential"]);
    let mut events = EVENTS;
    events[6].1 = r#""type":"identify","anonymousId":"a5","userId":"u5","traits":{"plan":"paid"}"#;
    let new = space(&work, "new", &events, &["--segment-ids", "ksuid"]);
    let mut options = options(&old, &new);
    let (comparison, _) = compare(&options);
    assert_eq!(comparison.sameness, Sameness::Different);
    options.ids = IdMode::Renamed;
    let (comparison, changes) = compare(&options);
    assert_eq!(comparison.sameness, Sameness::Different);
    let tables: BTreeSet<&str> = changes.iter().map(|change| change["table"].as_str().unwrap()).collect();
    let expected = ["identifies", "profile_traits", "profile_traits_updates", "user_traits"];
    assert_eq!(tables, BTreeSet::from(expected));
    for change in &changes {
        assert_eq!(change["change"], "row_changed");
        let columns: Vec<&String> = change["columns"].as_object().unwrap().keys().collect();
        assert!(columns == ["plan"] || columns == ["value"], "{change}");
    }
}

/// Copies tables into another folder, with other segment ids.
fn renamed(work: &Work, from: &str, into: &str, tables: &[&str]) {
    for table in tables {
        let text = work.read(&format!("{from}/{table}.ndjson")).replace("\"profile_", "\"other_");
        work.write(&format!("{into}/{table}.ndjson"), text);
    }
}

#[test]
fn exports_and_lone_graphs_are_equal_under_renamed_ids() {
    for tables in [
        &["user_identifiers", "user_traits", "profile_merges"][..],
        &["external_id_mapping", "id_graph"],
        &["id_graph"],
        &["profile_merges"],
        &["id_graph_updates"],
    ] {
        let work = Work::new();
        space(&work, "space", &EVENTS, &["--segment-ids", "sequential"]);
        renamed(&work, "space", "new", tables);
        for table in tables {
            work.write(&format!("old/{table}.ndjson"), work.read(&format!("space/{table}.ndjson")));
        }
        work.program(&["diff", "old", "new"]).assert().code(1);
        let output = work.program(&["diff", "old", "new", "--ids", "renamed"]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{tables:?} {said}");
        assert!(said.starts_with("old and new are the same but for "), "{tables:?} {said}");
    }
}

#[test]
fn a_merge_is_a_difference_even_under_renamed_ids() {
    let work = Work::new();
    let line = |id: &str, identifiers: &str, minute: u32| {
        format!(
            "{{\"type\":\"page\",\"messageId\":\"{id}\",{identifiers},\"timestamp\":\"2026-01-01T00:0{minute}:00Z\"}}\n"
        )
    };
    let mut events = line("m1", "\"anonymousId\":\"b\"", 0) + &line("m2", "\"anonymousId\":\"a\"", 1);
    events += &line("m3", "\"anonymousId\":\"b\",\"userId\":\"u\"", 2);
    work.write("one.ndjson", events);
    work.write("two.ndjson", line("m4", "\"anonymousId\":\"a\",\"userId\":\"u\"", 3));
    let ingest = |inputs: &[&str], space: &str| {
        let args = [&["ingest"], inputs, &["--space", space, "--materialize", "-q"]].concat();
        work.program(&args).assert().success();
    };
    ingest(&["one.ndjson"], "before");
    ingest(&["one.ndjson", "two.ndjson"], "after");
    for (table, ids) in
        [("user_identifiers", "renamed"), ("external_id_mapping", "renamed"), ("id_graph", "exact")]
    {
        let sides = ["before", "after"].map(|side| format!("{side}/{table}.ndjson"));
        for [old, new] in [[0, 1], [1, 0]] {
            let args = ["diff", &sides[old], &sides[new], "--ids", ids];
            let output = work.program(&args).output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert_eq!(output.status.code(), Some(1), "{args:?} {said}");
        }
    }
}

#[test]
fn the_events_that_caused_the_difference_are_reported() {
    let work = Work::new();
    let old = space(&work, "old", &EVENTS, &[]);
    // The event that identifies the second device is missing.
    let mut events = EVENTS.to_vec();
    events.remove(3);
    let new = space(&work, "new", &events, &[]);
    let (comparison, changes) = compare(&options(&old, &new));
    let identity = comparison.identity.unwrap();
    assert_eq!((identity.split, identity.merged), ([1, 2], [0, 0]));
    assert!(changes.iter().any(|change| change["change"] == "profile_split"));
    let most = &identity.most_changed[0];
    assert_eq!(most.identifiers.len(), 1);
    assert_eq!(most.identifiers[0].value, "a2");
    let [of_old, of_new] = &most.events;
    assert_eq!(of_old.len(), 1);
    assert_eq!((of_old[0].id.as_str(), of_old[0].type_name.as_deref()), ("m4", Some("identify")));
    assert!(of_old[0].effects[0].starts_with("merged use_"), "{of_old:?}");
    assert!(of_new.is_empty());
}

#[test]
fn the_reason_for_an_unused_identifier_is_reported() {
    let work = Work::new();
    let events = [
        ("m1", r#""type":"identify","anonymousId":"a1","traits":{"email":"jane@example.com"}"#),
        ("m2", r#""type":"identify","anonymousId":"a1","traits":{"email":"kim@example.com"}"#),
    ];
    let old = space(&work, "old", &events, &["--segment-ids", "sequential"]);
    work.write("limit.toml", "[identity.types.email]\nlimit = 1\n");
    let new = space(&work, "new", &events, &["--segment-ids", "sequential", "--config", "limit.toml"]);
    let (comparison, _) = compare(&options(&old, &new));
    let most = &comparison.identity.unwrap().most_changed[0];
    // The second address moved. The browser was left out, so it stayed.
    assert_eq!(most.identifiers.len(), 1);
    assert_eq!(most.identifiers[0].value, "kim@example.com");
    let [of_old, of_new] = &most.events;
    assert_eq!(of_old[0].effects, ["mapped email kim@example.com to profile_1"]);
    let expected = [
        "created profile_2",
        "left out anonymous_id a1 (limit of email: 1 ever)",
        "mapped email kim@example.com to profile_2",
    ];
    assert_eq!(of_new[0].effects, expected);
}
