//! Random tables: the comparison agrees with a plain one over maps, its changes turn the old table into the new one,
//! and swapping the sides reverses the changes. The order of rows and columns, the spelling of values, the compression,
//! the memory and the number of threads do not matter.

use std::collections::BTreeMap;

use flate2::{Compression, write::GzEncoder};
use profiles_sync::diff::IdMode;
use serde_json::{Map, Value};

use super::{Random, compare, options};
use crate::support::Work;

/// A row in canonical form: values in canonical spelling by column, without nulls.
type Row = BTreeMap<String, String>;
/// The rows of each key, sorted.
type Table = BTreeMap<String, Vec<Row>>;

/// Spellings of values in JSON. Those in a group are equal, and the first is canonical.
const VALUES: &[&[&str]] = &[
    &["1", "1.0", "1e0", "10E-1"],
    &["-2.50", "-2.5", "-25e-1"],
    &["0", "-0", "0.0", "0e7"],
    &["\"1\""],
    &["\"\""],
    &["\"a\"", "\"\\u0061\""],
    &["\"tab\\t\\\"quote\\\"\"", "\"tab\\u0009\\\"quote\\\"\""],
    &["true"],
    &["false"],
    &["[1,{\"b\":2,\"c\":null}]", "[1.0, {\"c\":null,\"b\":2}]"],
    &["[1,{\"b\":2}]"],
    &["{}"],
];

/// A value, as an index in [`VALUES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pick(usize);

/// A row before it is rendered: its key and its columns, where `None` is null.
type Plan = (String, BTreeMap<&'static str, Option<Pick>>);

const COLUMNS: [&str; 5] = ["a", "b", "long_column", "d", "e"];

fn random_row(random: &mut Random, key: String) -> Plan {
    let mut row = BTreeMap::new();
    for column in COLUMNS {
        match random.below(6) {
            0 => {}
            1 => {
                row.insert(column, None);
            }
            _ => {
                row.insert(column, Some(Pick(random.below(VALUES.len()))));
            }
        }
    }
    (key, row)
}

fn random_tables(random: &mut Random, n_rows: usize) -> [Vec<Plan>; 2] {
    let key = |random: &mut Random| format!("k{}", random.below(n_rows * 2));
    let old: Vec<Plan> = (0..n_rows)
        .map(|_| {
            let key = key(random);
            random_row(random, key)
        })
        .collect();
    let mut new = Vec::new();
    for plan in &old {
        match random.below(12) {
            0 => {}
            1 => {
                let key = key(random);
                new.push(random_row(random, key));
                new.push(plan.clone());
            }
            2 => new.extend([plan.clone(), plan.clone()]),
            3 => {
                let (key, mut row) = plan.clone();
                let column = COLUMNS[random.below(COLUMNS.len())];
                row.insert(column, Some(Pick(random.below(VALUES.len()))));
                new.push((key, row));
            }
            4 => new.push(random_row(random, plan.0.clone())),
            _ => new.push(plan.clone()),
        }
    }
    [old, new]
}

/// Renders a row as JSON, in one of many spellings unless `plainly`.
fn spell(random: &mut Random, (key, row): &Plan, plainly: bool) -> String {
    let mut members = vec![format!("\"id\":\"{key}\"")];
    for (column, pick) in row {
        match pick {
            None if !plainly && random.one_in(2) => {}
            None => members.push(format!("\"{column}\":null")),
            Some(Pick(group)) => {
                let spellings = VALUES[*group];
                let spelling = if plainly { spellings[0] } else { spellings[random.below(spellings.len())] };
                members.push(format!("\"{column}\":{spelling}"));
            }
        }
    }
    if !plainly && random.one_in(3) {
        random.shuffle(&mut members);
    }
    format!("{{{}}}", members.join(if !plainly && random.one_in(5) { " , " } else { "," }))
}

fn table_of(plans: &[Plan]) -> Table {
    let mut table = Table::new();
    for (key, row) in plans {
        let mut canonical = Row::from([("id".to_owned(), format!("\"{key}\""))]);
        for (column, pick) in row {
            if let Some(Pick(group)) = pick {
                canonical.insert((*column).to_owned(), VALUES[*group][0].to_owned());
            }
        }
        table.entry(key.clone()).or_default().push(canonical);
    }
    for rows in table.values_mut() {
        rows.sort();
    }
    table
}

/// Returns the canonical spelling of a value; `None` for null.
fn canonical(value: &Value) -> Option<String> {
    let same = |text: &&&str| serde_json::from_str::<Value>(text).unwrap() == *value;
    if value.is_null() {
        return None;
    }
    let group = VALUES.iter().find(|group| group.iter().any(|text| same(&text)));
    Some(group.map_or_else(|| value.to_string(), |group| group[0].to_owned()))
}

fn row_of(value: &Value) -> Row {
    let row: &Map<String, Value> = value.as_object().unwrap();
    row.iter().filter_map(|(name, value)| Some((name.clone(), canonical(value)?))).collect()
}

/// Returns the numbers of same, added, removed and changed rows, computed with maps.
fn plain_comparison(old: &Table, new: &Table) -> [u64; 4] {
    let mut counts = [0; 4];
    let nothing = Vec::new();
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let (old, new) = (old.get(key).unwrap_or(&nothing), new.get(key).unwrap_or(&nothing));
        let mut left = new.clone();
        let mut n_removed = 0;
        for row in old {
            match left.iter().position(|other| other == row) {
                Some(at) => {
                    left.remove(at);
                    counts[0] += 1;
                }
                None => n_removed += 1,
            }
        }
        if n_removed == 1 && left.len() == 1 && old.len() == 1 && new.len() == 1 {
            counts[3] += 1;
        } else {
            counts[1] += left.len() as u64;
            counts[2] += n_removed;
        }
    }
    counts
}

fn apply(changes: &[Value], table: &mut Table) {
    for change in changes {
        let key = || change["key"]["id"].as_str().unwrap().to_owned();
        match change["change"].as_str().unwrap() {
            "row_added" => table.entry(key()).or_default().push(row_of(&change["new"])),
            "row_removed" => {
                let rows = table.get_mut(&key()).unwrap();
                let row = row_of(&change["old"]);
                let at = rows.iter().position(|known| *known == row).unwrap();
                rows.remove(at);
            }
            "row_changed" => {
                let rows = table.get_mut(&key()).unwrap();
                assert_eq!(rows.len(), 1, "a row with a duplicate key counts as changed");
                for (column, values) in change["columns"].as_object().unwrap() {
                    assert_eq!(rows[0].get(column).cloned(), canonical(&values["old"]), "{change}");
                    match canonical(&values["new"]) {
                        Some(value) => rows[0].insert(column.clone(), value),
                        None => rows[0].remove(column),
                    };
                }
            }
            _ => {}
        }
    }
    table.retain(|_, rows| !rows.is_empty());
    for rows in table.values_mut() {
        rows.sort();
    }
}

const SIDE_OLD: &str = "\"side\":\"old\"";
const SIDE_NEW: &str = "\"side\":\"new\"";

/// Returns a change as it is reported if the sides are swapped.
fn mirrored(change: &Value) -> Value {
    let mut text = change.to_string();
    for (a, b) in [
        ("row_added", "row_removed"),
        ("column_added", "column_removed"),
        ("\"old\":", "\"new\":"),
        (SIDE_OLD, SIDE_NEW),
    ] {
        text = text.replace(a, "\0").replace(b, a).replace('\0', b);
    }
    serde_json::from_str(&text).unwrap()
}

/// Returns a change with its values in canonical spelling.
fn respelled(change: &Value) -> String {
    fn walk(value: &Value) -> Value {
        match value {
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| {
                    let plain =
                        matches!(name.as_str(), "key" | "columns" | "old" | "new") && value.is_object();
                    (name.clone(), if plain { walk(value) } else { Value::from(canonical(value)) })
                })
                .collect(),
            other => other.clone(),
        }
    }
    walk(change).to_string()
}

fn sorted(changes: impl Iterator<Item = Value>) -> Vec<String> {
    let mut changes: Vec<String> = changes.map(|change| respelled(&change)).collect();
    changes.sort();
    changes
}

fn pack(text: &str, way: usize) -> (Vec<u8>, &'static str) {
    use std::io::Write;
    match way {
        0 => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            (encoder.finish().unwrap(), ".gz")
        }
        1 => (zstd::encode_all(text.as_bytes(), 1).unwrap(), ".zst"),
        _ => (text.as_bytes().to_vec(), ""),
    }
}

#[test]
fn agrees_with_a_plain_comparison_on_200_random_pairs() {
    for seed in 0..200 {
        let random = &mut Random(seed);
        let n_rows = 1 + random.below(200);
        let mut plans = random_tables(random, n_rows);
        // The rows are sorted by key, shuffled, or left as generated; their spelling is plain or varied.
        let order = random.below(3);
        let plainly = random.one_in(2);
        for plans in &mut plans {
            match order {
                0 => plans.sort_by(|a, b| a.0.cmp(&b.0)),
                1 => random.shuffle(plans),
                _ => {}
            }
        }
        let work = Work::new();
        let mut paths = Vec::new();
        for (side, plans) in ["old", "new"].into_iter().zip(&plans) {
            let mut text = String::new();
            for plan in plans {
                text += &spell(random, plan, plainly);
                text += if random.one_in(20) { "\r\n" } else { "\n" };
                if random.one_in(30) {
                    text += "\n";
                }
            }
            if random.one_in(4) && !text.is_empty() {
                text.truncate(text.trim_end().len());
            }
            let (bytes, end) = pack(&text, random.below(6));
            paths.push(work.write(&format!("{side}/t.ndjson{end}"), bytes));
        }
        let mut options = options(&paths[0], &paths[1]);
        options.memory = random.one_in(3).then_some(30_000);
        options.sizes.large = if random.one_in(2) { 0 } else { 16 << 20 };
        options.sizes.piece = 100 + random.below(2000) as u64;
        let threads = [1, 2, 7][random.below(3)];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (comparison, changes) = pool.install(|| compare(&options));

        let [old, new] = plans.map(|plans| table_of(&plans));
        let outcome = &comparison.tables[0].outcome;
        let [gone, came, other] = outcome.counts;
        let expected = plain_comparison(&old, &new);
        assert_eq!([outcome.same, came, gone, other], expected, "seed {seed}");
        let twice = |table: &Table| table.values().filter(|rows| 1 < rows.len()).count() as u64;
        assert_eq!(outcome.duplicate_keys, [twice(&old), twice(&new)], "seed {seed}");
        let columns = |table: &Table| -> Vec<String> {
            let columns: std::collections::BTreeSet<_> =
                table.values().flatten().flat_map(BTreeMap::keys).collect();
            columns.into_iter().cloned().collect()
        };
        let (columns_old, columns_new) = (columns(&old), columns(&new));
        let only = |of: &[String], other: &[String]| -> Vec<String> {
            of.iter().filter(|column| !other.contains(column)).cloned().collect()
        };
        let one_sided = [only(&columns_old, &columns_new), only(&columns_new, &columns_old)];
        assert_eq!(comparison.tables[0].columns, one_sided, "seed {seed}");

        let mut applied = old.clone();
        apply(&changes, &mut applied);
        assert!(applied == new, "seed {seed}: the changes do not turn the old table into the new one");

        std::mem::swap(&mut options.old, &mut options.new);
        let (_, back) = pool.install(|| compare(&options));
        let (forth, back) = (sorted(changes.iter().map(mirrored)), sorted(back.into_iter()));
        assert_eq!(forth, back, "seed {seed}: swapped sides");

        options.new = options.old.clone();
        let (itself, changes) = pool.install(|| compare(&options));
        assert!(itself.tables[0].same() && changes.iter().all(|change| change["change"] == "duplicate_keys"));
    }
}

/// Returns the segment id of a profile on a side. A third of the ids are the same on both sides.
fn segment_id(side: &str, number: usize) -> String {
    if number.is_multiple_of(3) { format!("profile_{number}") } else { format!("{side}_{number}") }
}

#[test]
fn agrees_with_a_plain_comparison_under_renamed_ids() {
    const PROFILES: usize = 10;
    for seed in 0..200 {
        let random = &mut Random(1000 + seed);
        let n_rows = 1 + random.below(200);
        let mut plans = random_tables(random, n_rows);
        // The rows are shuffled or left as generated; their spelling is plain or varied.
        if random.one_in(3) {
            for plans in &mut plans {
                random.shuffle(plans);
            }
        }
        let plainly = random.one_in(2);
        let work = Work::new();
        for (side, plans) in ["old", "new"].into_iter().zip(&plans) {
            let mut profiles: Vec<usize> = (0..PROFILES).collect();
            random.shuffle(&mut profiles);
            let mapping = profiles.iter().map(|&number| {
                let id = segment_id(side, number);
                format!("{{\"canonical_segment_id\":\"{id}\",\"type\":\"email\",\"value\":\"{number}\"}}\n")
            });
            work.write(&format!("{side}/user_identifiers.ndjson"), mapping.collect::<String>());
            let rows = plans.iter().map(|plan| {
                // The columns determine the profile of a row, so equal rows belong to one profile.
                let number = plan.1.values().flatten().map(|pick| pick.0).sum::<usize>() % PROFILES;
                let id = segment_id(side, number);
                spell(random, plan, plainly).replacen('{', &format!("{{\"segment_id\":\"{id}\","), 1) + "\n"
            });
            let rows: String = rows.collect();
            work.write(&format!("{side}/t.ndjson"), rows);
        }
        let mut options = options(&work.path("old"), &work.path("new"));
        options.ids = IdMode::Renamed;
        options.memory = random.one_in(3).then_some(30_000);
        let (comparison, _) = compare(&options);

        let [old, new] = plans.map(|plans| table_of(&plans));
        let rows = comparison.tables.iter().map(|table| {
            let [gone, came, other] = table.outcome.counts;
            [table.outcome.same, came, gone, other]
        });
        let expected = [plain_comparison(&old, &new), [PROFILES as u64, 0, 0, 0]];
        assert_eq!(rows.collect::<Vec<_>>(), expected, "seed {seed}");
    }
}

#[test]
fn changes_are_in_the_order_of_keys_whatever_the_method() {
    let random = &mut Random(7);
    let plans = random_tables(random, 3000);
    let work = Work::new();
    let mut all = Vec::new();
    for shuffled in [false, true] {
        let paths: Vec<_> = ["old", "new"]
            .into_iter()
            .zip(&plans)
            .map(|(side, plans)| {
                let mut plans = plans.clone();
                plans.sort_by(|a, b| a.0.cmp(&b.0));
                if shuffled {
                    random.shuffle(&mut plans);
                }
                let text: String = plans.iter().map(|plan| spell(random, plan, true) + "\n").collect();
                work.write(&format!("{shuffled}/{side}.ndjson"), text)
            })
            .collect();
        for memory in [1 << 10, 1 << 16, 1 << 30] {
            let mut options = options(&paths[0], &paths[1]);
            options.memory = Some(memory);
            options.sizes.large = 0;
            options.sizes.piece = 10_000;
            let (_, changes) = compare(&options);
            let rows = changes.into_iter().filter(|change| change["key"].is_object());
            all.push(rows.map(|change| respelled(&change)).collect::<Vec<_>>());
        }
    }
    assert!(1000 < all[0].len());
    for changes in &all[1..] {
        assert!(*changes == all[0]);
    }
}
