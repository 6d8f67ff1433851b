//! How well the clocks of traits can be inferred if the raw table has no `__trait_seqs`.
//!
//! Not fully: an identify call that repeats a known value sets the trait again, and no snapshot shows that. But if a
//! snapshot shows that a value changed, at an event that merged nothing, the clocks are the same with the column and
//! without it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::random::Random;
use crate::support::Work;

/// Generates identify calls with few users and values, so that profiles merge and values repeat; some arrive late.
fn events(random: &mut Random, n_events: u64) -> String {
    let event = |number: u64| {
        let mut traits = BTreeMap::new();
        for name in ["plan", "tier", "city"] {
            if !random.one_in(3) {
                let values = [json!("x"), json!("y"), Value::Null];
                traits.insert(name, values[usize::try_from(random.below(3)).unwrap()].clone());
            }
        }
        let late = if random.one_in(4) { random.below(50) } else { 0 };
        let time = |number: u64| 1_640_995_200_000 + number * 60_000;
        let user = if random.one_in(3) { json!(format!("u{}", random.below(6))) } else { Value::Null };
        let event = json!({
            "type": "identify", "messageId": format!("m{number}"), "userId": user,
            "anonymousId": format!("a{}", random.below(12)), "traits": traits,
            "timestamp": time(50 + number - late), "receivedAt": time(50 + number),
        });
        event.to_string() + "\n"
    };
    (0..n_events).map(event).collect()
}

/// Indexes the rows of `user_traits` by profile and name.
fn by_trait(rows: Vec<Value>) -> BTreeMap<(String, String), Value> {
    let key = |row: &Value| (text(row, "canonical_segment_id"), text(row, "name"));
    rows.into_iter().map(|row| (key(&row), row)).collect()
}

fn text(row: &Value, column: &str) -> String {
    row[column].as_str().unwrap().to_owned()
}

#[test]
fn without_trait_seqs_visible_changes_keep_their_clocks() {
    let mut n_shown = 0;
    for seed in 0..40 {
        let work = Work::new();
        work.write("events.ndjson", events(&mut Random::new(seed), 120));
        work.program(&["ingest", "events.ndjson", "--space", "space", "--materialize"]).assert().success();
        let updates = work.rows("space/profile_traits_updates.ndjson");
        let without_seqs = |row: &Value| {
            let mut row = row.clone();
            row.as_object_mut().unwrap().remove("__trait_seqs");
            row.to_string() + "\n"
        };
        let stripped: String = updates.iter().map(without_seqs).collect();
        work.write("raw/profile_traits_updates.ndjson", stripped);
        for table in ["id_graph_updates", "external_id_mapping_updates"] {
            work.write(&format!("raw/{table}.ndjson"), work.read(&format!("space/{table}.ndjson")));
        }
        work.program(&["materialize", "--raw", "raw", "--out", "stripped"]).assert().success();
        assert_eq!(work.read("stripped/profile_traits.ndjson"), work.read("space/profile_traits.ndjson"));

        let graph = work.rows("space/id_graph_updates.ndjson");
        let merges: BTreeSet<String> = graph
            .iter()
            .filter(|row| row["segment_id"] != row["canonical_segment_id"])
            .map(|row| text(row, "seq"))
            .collect();
        let stripped = by_trait(work.rows("stripped/user_traits.ndjson"));
        for ((profile, name), row) in by_trait(work.rows("space/user_traits.ndjson")) {
            let seq = text(&row, "seq");
            let own: Vec<&Value> = updates.iter().filter(|row| row["segment_id"] == *profile).collect();
            let set_by = own.iter().position(|row| row["seq"] == *seq);
            let shows = set_by.is_some_and(|at| at == 0 || own[at - 1].get(&name) != own[at].get(&name));
            if shows && !merges.contains(&seq) {
                n_shown += 1;
                assert_eq!(stripped[&(profile, name)], row, "seed {seed}");
            }
        }
    }
    assert!(200 < n_shown, "{n_shown}");
}
