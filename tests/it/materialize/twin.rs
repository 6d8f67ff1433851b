//! A plain reference implementation of the six views: every question scans all rows.

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use serde_json::{Value, json};

/// The clocks of a row; times in microseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    pub(crate) seq: Option<u64>,
    pub(crate) uuid_ts: Option<i64>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) received_at: Option<i64>,
}

impl Clock {
    fn order(self) -> (Option<u64>, Option<i64>) {
        (self.seq, self.uuid_ts)
    }

    fn recency(self) -> (Option<i64>, Option<u64>, Option<i64>) {
        (self.timestamp, self.seq, self.uuid_ts)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct GraphRow {
    pub(crate) segment: String,
    pub(crate) canonical: String,
    pub(crate) clock: Clock,
}

#[derive(Debug, Clone)]
pub(crate) struct MappingRow {
    pub(crate) kind: String,
    pub(crate) value: String,
    pub(crate) hash: String,
    pub(crate) segment: String,
    pub(crate) removed: bool,
    pub(crate) clock: Clock,
}

#[derive(Debug, Clone)]
pub(crate) struct TraitsRow {
    pub(crate) segment: String,
    pub(crate) traits: BTreeMap<String, Value>,
    /// `__trait_seqs`, by column.
    pub(crate) seqs: Option<BTreeMap<String, u64>>,
    pub(crate) clock: Clock,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct RawTables {
    pub(crate) graph: Vec<GraphRow>,
    pub(crate) mappings: Vec<MappingRow>,
    pub(crate) traits: Vec<TraitsRow>,
}

/// Returns the rows of each view, as of a time in microseconds or with all rows.
pub(crate) fn views(tables: &RawTables, as_of: Option<i64>) -> BTreeMap<String, Vec<String>> {
    let there = |clock: &Clock| clock.uuid_ts.is_none() || as_of.is_none() || clock.uuid_ts <= as_of;
    let mut tables = tables.clone();
    tables.graph.retain(|row| there(&row.clock));
    tables.mappings.retain(|row| there(&row.clock));
    tables.traits.retain(|row| there(&row.clock));
    // The sort is stable: of two rows with equal clocks, the later one in the file is the newer one.
    tables.graph.sort_by_key(|row| row.clock.order());
    tables.mappings.sort_by_key(|row| row.clock.order());
    tables.traits.sort_by_key(|row| row.clock.order());
    let views = [
        ("id_graph", id_graph(&tables)),
        ("external_id_mapping", external_id_mapping(&tables)),
        ("profile_traits", profile_traits(&tables)),
        ("user_traits", user_traits(&tables)),
        ("user_identifiers", user_identifiers(&tables)),
        ("profile_merges", profile_merges(&tables)),
    ];
    views.map(|(name, rows)| (name.to_owned(), rows.into_values().collect())).into()
}

type View = BTreeMap<Vec<String>, String>;

/// Returns the canonical profile of a segment id as of the clocks `until`, and the clocks of the newest graph row on
/// the way to it.
fn follow(tables: &RawTables, segment: &str, until: Option<Clock>) -> (String, Option<Clock>) {
    let is_there = |row: &&GraphRow| until.is_none_or(|until| row.clock.order() <= until.order());
    let newest = tables.graph.iter().filter(is_there).rfind(|row| row.segment == segment);
    let Some(row) = newest else { return (segment.to_owned(), None) };
    if row.canonical == segment {
        return (segment.to_owned(), Some(row.clock));
    }
    let (canonical, clock) = follow(tables, &row.canonical, until);
    let of_chain = clock.filter(|clock| canonical != row.canonical && row.clock.order() < clock.order());
    (canonical, Some(of_chain.unwrap_or(row.clock)))
}

fn canonical(tables: &RawTables, segment: &str) -> String {
    follow(tables, segment, None).0
}

fn id_graph(tables: &RawTables) -> View {
    let mut view = View::new();
    for row in &tables.graph {
        let (canonical, clock) = follow(tables, &row.segment, None);
        let columns = [("segment_id", json!(row.segment)), ("canonical_segment_id", json!(canonical))];
        view.insert(vec![row.segment.clone()], text(&columns, &mapping_clocks(clock.unwrap())));
    }
    view
}

fn profile_merges(tables: &RawTables) -> View {
    let mut view = View::new();
    for row in &tables.graph {
        let (canonical, clock) = follow(tables, &row.segment, None);
        let columns = [("canonical_segment_id", json!(canonical)), ("segment_id", json!(row.segment))];
        view.insert(vec![canonical, row.segment.clone()], text(&columns, &all_clocks(clock.unwrap())));
    }
    view
}

fn identifiers(tables: &RawTables) -> Vec<&MappingRow> {
    let mut newest = BTreeMap::new();
    for row in &tables.mappings {
        newest.insert((&row.kind, &row.value), row);
    }
    newest.into_values().filter(|row| !row.removed).collect()
}

fn external_id_mapping(tables: &RawTables) -> View {
    let mut view = View::new();
    for row in identifiers(tables) {
        let (canonical, merged_at) = follow(tables, &row.segment, None);
        let merged_at =
            merged_at.filter(|merge| canonical != row.segment && row.clock.order() < merge.order());
        let columns = [
            ("canonical_segment_id", json!(canonical)),
            ("external_id_type", json!(row.kind)),
            ("external_id_value", json!(row.value)),
            ("external_id_hash", json!(row.hash)),
        ];
        let key = vec![row.hash.clone(), row.kind.clone(), row.value.clone()];
        view.insert(key, text(&columns, &mapping_clocks(merged_at.unwrap_or(row.clock))));
    }
    view
}

fn user_identifiers(tables: &RawTables) -> View {
    let mut view = View::new();
    for row in identifiers(tables) {
        let canonical = canonical(tables, &row.segment);
        let columns = [
            ("canonical_segment_id", json!(canonical)),
            ("type", json!(row.kind)),
            ("value", json!(row.value)),
        ];
        view.insert(
            vec![canonical, row.kind.clone(), row.value.clone()],
            text(&columns, &all_clocks(row.clock)),
        );
    }
    view
}

fn profiles(tables: &RawTables) -> BTreeSet<&String> {
    let graph = tables.graph.iter().flat_map(|row| [&row.segment, &row.canonical]);
    graph.chain(tables.traits.iter().map(|row| &row.segment)).collect()
}

fn profile_traits(tables: &RawTables) -> View {
    let mut view = View::new();
    for profile in profiles(tables) {
        let survivor = canonical(tables, profile);
        let merged_to = if survivor == *profile { Value::Null } else { json!(survivor) };
        let mut columns = vec![("canonical_segment_id".to_owned(), json!(profile))];
        if merged_to.is_null() {
            columns.extend(present(tables, profile).into_iter().map(|(name, (value, _))| (name, value)));
        }
        columns.push(("merged_to".to_owned(), merged_to));
        let columns: Vec<_> = columns.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        view.insert(vec![profile.clone()], text(&columns, &[]));
    }
    view
}

fn user_traits(tables: &RawTables) -> View {
    let mut view = View::new();
    for profile in profiles(tables).into_iter().filter(|profile| canonical(tables, profile) == **profile) {
        for (name, (value, clock)) in present(tables, profile) {
            let value = if value.is_string() { value } else { json!(value.to_string()) };
            let columns = [("canonical_segment_id", json!(profile)), ("name", json!(name)), ("value", value)];
            view.insert(vec![profile.clone(), name], text(&columns, &all_clocks(clock)));
        }
    }
    view
}

/// Traits by name: the value, or `None` if it was removed, and the index of the row that set or removed it.
type State = BTreeMap<String, (Option<Value>, usize)>;

/// Returns the traits of a canonical profile and the clocks of the rows that set them.
fn present(tables: &RawTables, profile: &str) -> BTreeMap<String, (Value, Clock)> {
    let rows: Vec<&TraitsRow> =
        tables.traits.iter().filter(|row| canonical(tables, &row.segment) == profile).collect();
    let together = |segment: &str, row: &TraitsRow| {
        follow(tables, segment, Some(row.clock)).0 == follow(tables, &row.segment, Some(row.clock)).0
    };
    let mut states: BTreeMap<&String, State> = BTreeMap::new();
    let mut newest: BTreeMap<&String, usize> = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        // A later snapshot of the same profile replaces what the last row of a segment id said.
        let counts = |segment: &String| {
            let later = &rows[newest[segment] + 1..place];
            !later.iter().any(|other| other.segment != *segment && together(segment, other))
        };
        let mut state = states.remove(&row.segment).unwrap_or_default();
        for (name, entry) in &mut state {
            if entry.0.is_some() && !row.traits.contains_key(name) {
                *entry = (None, place);
            }
        }
        for (name, value) in &row.traits {
            let same = |entry: &&(Option<Value>, usize)| entry.0.as_ref() == Some(value);
            let kept = state.get(name).filter(same).filter(|_| counts(&row.segment)).map(|entry| entry.1);
            let brought_in = || {
                let merged = states.iter().filter(|(segment, _)| together(segment, row) && counts(segment));
                let entries = merged.filter_map(|(_, state)| state.get(name));
                let same = entries.filter(same);
                same.map(|entry| entry.1).max_by_key(|&place| (rows[place].clock.recency(), place))
            };
            let set_by = named_by_seq(&rows, row, name).or(kept).or_else(brought_in).unwrap_or(place);
            state.insert(name.clone(), (Some(value.clone()), set_by));
        }
        if row.seqs.is_none() {
            let merged: Vec<&State> = (states.iter())
                .filter(|(segment, _)| together(segment, row) && counts(segment))
                .map(|(_, state)| state)
                .collect();
            for (name, (value, set_by)) in merged.into_iter().flatten() {
                let removed = if value.is_some() { place } else { *set_by };
                let entry = state.entry(name.clone()).or_insert((None, removed));
                if entry.0.is_none() {
                    let age = |place: usize| (rows[place].clock.recency(), place);
                    entry.1 = if age(entry.1) < age(removed) { removed } else { entry.1 };
                }
            }
        }
        states.insert(&row.segment, state);
        newest.insert(&row.segment, place);
    }
    let mut candidates = Vec::new();
    for (segment, state) in &states {
        let own = newest[segment];
        let absorbed = newest.values().any(|&other| own < other && together(segment, rows[other]));
        let says_nothing = rows[own].seqs.is_some() && state.values().all(|entry| entry.0.is_none());
        if absorbed || says_nothing {
            continue;
        }
        let entries = state.iter().map(|(name, (value, place))| {
            (rows[*place].clock.recency(), *place, own, name.clone(), value.clone())
        });
        candidates.extend(entries);
    }
    candidates.sort_by_key(|(recency, place, own, ..)| (*recency, *place, *own));
    let by_name: BTreeMap<_, _> =
        candidates.into_iter().map(|(_, place, _, name, value)| (name, (value, place))).collect();
    let live =
        by_name.into_iter().filter_map(|(name, (value, place))| Some((name, (value?, rows[place].clock))));
    live.collect()
}

fn named_by_seq(rows: &[&TraitsRow], row: &TraitsRow, name: &str) -> Option<usize> {
    let seq = *row.seqs.as_ref()?.get(name)?;
    let sets = |other: &TraitsRow| {
        let says_so = other.seqs.as_ref().is_some_and(|seqs| seqs.get(name) == Some(&seq));
        let value = other.traits.get(name);
        (value.is_some() && says_so, value.is_some() && value == row.traits.get(name))
    };
    let with_seq = (0..rows.len()).filter(|&place| rows[place].clock.seq == Some(seq));
    with_seq.max_by_key(|&place| (sets(rows[place]), rows[place].clock.recency(), place))
}

fn mapping_clocks(clock: Clock) -> [(&'static str, Value); 3] {
    [("timestamp", millis(clock.timestamp)), ("seq", seq(clock)), ("uuid_ts", micros(clock.uuid_ts))]
}

fn all_clocks(clock: Clock) -> [(&'static str, Value); 4] {
    [
        ("seq", seq(clock)),
        ("received_at", millis(clock.received_at)),
        ("uuid_ts", micros(clock.uuid_ts)),
        ("timestamp", millis(clock.timestamp)),
    ]
}

fn seq(clock: Clock) -> Value {
    clock.seq.map_or(Value::Null, |seq| json!(format!("{seq:019}")))
}

fn millis(time: Option<i64>) -> Value {
    time.map_or(Value::Null, |time| json!(formatted(time, "%Y-%m-%dT%H:%M:%S%.3fZ")))
}

fn micros(time: Option<i64>) -> Value {
    time.map_or(Value::Null, |time| json!(formatted(time, "%Y-%m-%dT%H:%M:%S%.6fZ")))
}

fn formatted(time: i64, format: &str) -> String {
    DateTime::from_timestamp_micros(time).unwrap().format(format).to_string()
}

fn text(columns: &[(&str, Value)], clocks: &[(&str, Value)]) -> String {
    let members = columns.iter().chain(clocks).map(|(name, value)| format!("{}:{value}", json!(name)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}
