//! Random raw tables with few distinct values, so that rows affect each other, written as warehouses export them.

use std::{collections::BTreeMap, fs, io::Write, path::Path};

use chrono::DateTime;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::twin::{Clock, GraphRow, MappingRow, RawTables, TraitsRow};

/// A seeded random number generator (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }

    fn time(&mut self) -> Option<i64> {
        // Whole milliseconds, because a time may also be written as an integer.
        (!self.one_in(8)).then(|| i64::try_from(self.below(40)).unwrap() * 1000)
    }

    fn clock(&mut self) -> Clock {
        Clock {
            seq: (!self.one_in(8)).then(|| self.below(20)),
            uuid_ts: self.time(),
            timestamp: self.time(),
            received_at: self.time(),
        }
    }

    fn segment(&mut self) -> String {
        format!("profile-{}", self.below(7))
    }
}

/// Trait columns. From index `BOOKKEEPING` on they are traits only in rows with `__trait_seqs`, which this program
/// wrote; in other rows they are bookkeeping columns of the warehouse.
const NAMES: [&str; 6] = ["_id", "address_city", "name", "plan", "dbt_updated_at", "etl_ts"];
const BOOKKEEPING: usize = 4;

/// Generates a few rows of each table.
pub(crate) fn tables(random: &mut Random) -> RawTables {
    let mut tables = RawTables::default();
    for _ in 0..random.below(16) {
        let number = random.below(7);
        // Profiles merge only into smaller numbers, so there are no cycles.
        let canonical = if random.one_in(3) { number } else { random.below(number + 1) };
        let [segment, canonical] = [number, canonical].map(|number| format!("profile-{number}"));
        tables.graph.push(GraphRow { segment, canonical, clock: random.clock() });
    }
    for _ in 0..random.below(16) {
        let kind = random.pick(&["email", "user_id", "a"]).to_owned();
        let value = random.pick(&["x", "y", "\u{e9}\"\\\n", "bc", "c", "12"]).to_owned();
        let hash = format!("{:x}", Hex(&Sha1::digest(format!("{kind}{value}"))));
        let (segment, removed) = (random.segment(), random.one_in(4));
        tables.mappings.push(MappingRow { kind, value, hash, segment, removed, clock: random.clock() });
    }
    let with_seqs = random.one_in(2);
    for _ in 0..random.below(12) {
        let mut traits = BTreeMap::new();
        let has_seqs = with_seqs && !random.one_in(6);
        for &name in if has_seqs { &NAMES[..] } else { &NAMES[..BOOKKEEPING] } {
            let values =
                [json!("x"), json!(1), json!("1"), json!(true), json!([1, "\u{e9}"]), json!({"k": null})];
            let value = values[usize::try_from(random.below(12)).unwrap() % 6].clone();
            if !random.one_in(3) {
                traits.insert(name.to_owned(), value);
            }
        }
        let names: Vec<_> = traits.keys().cloned().collect();
        let seqs = has_seqs.then(|| names.into_iter().map(|name| (name, random.below(20))).collect());
        tables.traits.push(TraitsRow { segment: random.segment(), traits, seqs, clock: random.clock() });
    }
    tables
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::LowerHex for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Writes the tables as a warehouse might export them.
pub(crate) fn write(random: &mut Random, tables: &RawTables, folder: &Path) {
    let graph = tables.graph.iter().map(|row| {
        let columns = vec![
            ("segment_id", json!(row.segment)),
            ("canonical_segment_id", json!(row.canonical)),
            ("triggering_event_id", Value::Null),
        ];
        row_text(random, columns, row.clock)
    });
    let graph: Vec<_> = graph.collect();
    let mappings = tables.mappings.iter().map(|row| {
        let hash = match random.below(3) {
            0 => json!(row.hash),
            1 => json!(row.hash.to_uppercase()),
            _ => Value::Null,
        };
        let operation = match (row.removed, random.below(3)) {
            (true, _) => json!(random.pick(&["REMOVED", "removed"])),
            (false, 0) => Value::Null,
            (false, _) => json!(random.pick(&["", "ADDED"])),
        };
        let value = if row.value == "12" && random.one_in(2) { json!(12) } else { json!(row.value) };
        let segment = if row.removed && random.one_in(2) { Value::Null } else { json!(row.segment) };
        let columns = vec![
            ("external_id_type", json!(row.kind)),
            ("external_id_value", value),
            ("external_id_hash", hash),
            ("segment_id", segment),
            ("__operation", operation),
        ];
        row_text(random, columns, row.clock)
    });
    let mappings: Vec<_> = mappings.collect();
    let traits = tables.traits.iter().map(|row| {
        let mut columns = vec![("segment_id", json!(row.segment)), ("__profile_version", json!(3))];
        columns.push(("merged_to", Value::Null));
        columns.push(("_fivetran_synced", json!("x")));
        if let Some(seqs) = &row.seqs {
            let path = |column: &str| match column {
                "_id" => "id".to_owned(),
                "address_city" => "address.city".to_owned(),
                other => other.to_owned(),
            };
            let mut by_path: BTreeMap<String, Value> =
                seqs.iter().map(|(column, seq)| (path(column), json!(format!("{seq:019}")))).collect();
            by_path.insert("a_removed_trait".to_owned(), json!("0000000000000000003"));
            columns.push(("__trait_seqs", json!(json!(by_path).to_string())));
        }
        for (place, name) in NAMES.into_iter().enumerate() {
            let mut value = row.traits.get(name).cloned();
            if row.seqs.is_none() && BOOKKEEPING <= place && random.one_in(2) {
                value = Some(json!("2023-06-01"));
            }
            if value.is_some() || random.one_in(2) {
                columns.push((name, value.unwrap_or_default()));
            }
        }
        row_text(random, columns, row.clock)
    });
    let traits: Vec<_> = traits.collect();
    write_table(random, folder, "id_graph_updates", &graph);
    write_table(random, folder, "external_id_mapping_updates", &mappings);
    write_table(random, folder, "profile_traits_updates", &traits);
}

fn row_text(random: &mut Random, mut columns: Vec<(&str, Value)>, clock: Clock) -> String {
    let seq = clock.seq.map_or(json!(random.pick(&["", ""])), |seq| match random.below(5) {
        0 => json!(seq),
        3 => json!(format!("{seq:025}")),
        1 => json!(seq.to_string()),
        2 => json!(format!("{seq}.0")),
        _ => json!(format!("{seq:019}")),
    });
    columns.push(("seq", seq));
    for (name, time) in
        [("uuid_ts", clock.uuid_ts), ("timestamp", clock.timestamp), ("received_at", clock.received_at)]
    {
        if time.is_some() || random.one_in(2) {
            let missing = if random.one_in(2) { json!("") } else { Value::Null };
            columns.push((name, time.map_or(missing, |time| spelled(random, time))));
        }
    }
    for place in (1..columns.len()).rev() {
        columns.swap(place, usize::try_from(random.below(place as u64 + 1)).unwrap());
    }
    let upper = random.one_in(2);
    let space = random.pick(&["", " "]);
    let members = columns.into_iter().map(|(name, value)| {
        let name = if upper { name.to_uppercase() } else { name.to_owned() };
        format!("{space}{}{space}:{space}{value}{space}", json!(name))
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn spelled(random: &mut Random, time: i64) -> Value {
    let utc = DateTime::from_timestamp_micros(time).unwrap();
    match random.below(5) {
        0 => json!(time / 1000),
        1 => json!(utc.format("%Y-%m-%d %H:%M:%S%.6f").to_string()),
        2 => json!(utc.format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string()),
        3 => {
            let there = utc + chrono::TimeDelta::hours(2);
            json!(there.format("%Y-%m-%dT%H:%M:%S%.9f+02:00").to_string())
        }
        _ => json!(utc.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()),
    }
}

fn write_table(random: &mut Random, folder: &Path, table: &str, rows: &[String]) {
    fs::create_dir_all(folder).unwrap();
    let table = if random.one_in(2) { table.to_uppercase() } else { table.to_owned() };
    let end = random.pick(&["\n", "\r\n", "\n\n"]);
    if random.one_in(2) {
        return write_file(random, &folder.join(table), rows, end);
    }
    fs::create_dir(folder.join(&table)).unwrap();
    let mut rest = rows;
    for part in 0.. {
        let (now, later) = rest.split_at(usize::try_from(random.below(rest.len() as u64 + 1)).unwrap());
        write_file(random, &folder.join(&table).join(format!("part-{part:04}")), now, end);
        rest = later;
        if rest.is_empty() {
            return;
        }
    }
}

fn write_file(random: &mut Random, path: &Path, rows: &[String], end: &str) {
    let mut text = rows.join(end).into_bytes();
    if random.one_in(2) {
        text.extend_from_slice(end.as_bytes());
    }
    let extension = random.pick(&["ndjson", "json", "JSONL"]);
    let (text, packed) = match random.below(3) {
        0 => (text, ""),
        1 => {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&text).unwrap();
            (gzip.finish().unwrap(), ".gz")
        }
        _ => (zstd::encode_all(&text[..], 1).unwrap(), ".zst"),
    };
    super::write_file(Path::new(&format!("{}.{extension}{packed}", path.display())), text);
}
