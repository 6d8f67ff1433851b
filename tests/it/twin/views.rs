//! Folds the raw tables, given as text, into the six views.

use std::collections::BTreeMap;

use super::json::{self, Json};
use super::time;
use super::traits;

/// Folds raw tables, as this program writes them, into the views, each as NDJSON.
///
/// With `as_of`, rows with a later `uuid_ts` are ignored.
pub(crate) fn fold(tables: &BTreeMap<String, String>, as_of: Option<&str>) -> BTreeMap<String, String> {
    let until = as_of.map(|text| time::read_text(text).expect("the test gives a valid time"));
    let mapping_rows = rows(tables, "external_id_mapping_updates", until);
    let raw = Raw {
        graph: newest_by(&rows(tables, "id_graph_updates", until), |row| text(row, "segment_id")),
        mappings: newest_by(&mapping_rows, |row| {
            (text(row, "external_id_type"), text(row, "external_id_value"))
        }),
        trait_rows: rows(tables, "profile_traits_updates", until),
    };
    let views = [
        ("id_graph", raw.id_graph()),
        ("external_id_mapping", raw.external_id_mapping()),
        ("profile_traits", raw.profile_traits()),
        ("user_traits", raw.user_traits()),
        ("user_identifiers", raw.user_identifiers()),
        ("profile_merges", raw.profile_merges()),
    ];
    views.into_iter().map(|(name, view)| (name.to_owned(), sorted(view))).collect()
}

/// Rows with their sort keys.
type View = Vec<(Vec<String>, Json)>;

fn sorted(mut view: View) -> String {
    view.sort_by(|(one, _), (other, _)| one.cmp(other));
    view.iter().map(|(_, row)| row.to_text() + "\n").collect::<Vec<_>>().concat()
}

struct Raw {
    /// The newest row of each segment id.
    graph: BTreeMap<String, Json>,
    /// The newest row of each identifier.
    mappings: BTreeMap<(String, String), Json>,
    trait_rows: Vec<Json>,
}

impl Raw {
    fn canonical_of(&self, segment_id: &str) -> String {
        let row = self.graph.get(segment_id);
        row.map_or_else(|| segment_id.to_owned(), |row| text(row, "canonical_segment_id"))
    }

    fn id_graph(&self) -> View {
        let columns = ["segment_id", "canonical_segment_id", "timestamp", "seq", "uuid_ts"];
        self.graph.iter().map(|(segment_id, row)| (vec![segment_id.clone()], picked(row, &columns))).collect()
    }

    fn profile_merges(&self) -> View {
        let columns = ["canonical_segment_id", "segment_id", "seq", "received_at", "uuid_ts", "timestamp"];
        let keyed = self.graph.iter().map(|(segment_id, row)| {
            (vec![self.canonical_of(segment_id), segment_id.clone()], picked(row, &columns))
        });
        keyed.collect()
    }

    fn external_id_mapping(&self) -> View {
        let mut view = View::new();
        for ((identifier_type, value), row) in &self.mappings {
            let segment_id = text(row, "segment_id");
            // The clocks are those of the merge that moved the identifier to its profile, else those of its own row.
            let moved = match self.graph.get(&segment_id) {
                Some(graph_row) if age(row) < age(graph_row) => graph_row,
                _ => row,
            };
            view.push((
                vec![text(row, "external_id_hash"), identifier_type.clone(), value.clone()],
                object(vec![
                    ("canonical_segment_id", Json::String(self.canonical_of(&segment_id))),
                    ("external_id_type", row.get("external_id_type").clone()),
                    ("external_id_value", row.get("external_id_value").clone()),
                    ("external_id_hash", row.get("external_id_hash").clone()),
                    ("timestamp", moved.get("timestamp").clone()),
                    ("seq", moved.get("seq").clone()),
                    ("uuid_ts", moved.get("uuid_ts").clone()),
                ]),
            ));
        }
        view
    }

    fn user_identifiers(&self) -> View {
        let mut view = View::new();
        for ((identifier_type, value), row) in &self.mappings {
            let canonical = self.canonical_of(&text(row, "segment_id"));
            view.push((
                vec![canonical.clone(), identifier_type.clone(), value.clone()],
                object(vec![
                    ("canonical_segment_id", Json::String(canonical)),
                    ("type", row.get("external_id_type").clone()),
                    ("value", row.get("external_id_value").clone()),
                    ("seq", row.get("seq").clone()),
                    ("received_at", row.get("received_at").clone()),
                    ("uuid_ts", row.get("uuid_ts").clone()),
                    ("timestamp", row.get("timestamp").clone()),
                ]),
            ));
        }
        view
    }

    fn profile_traits(&self) -> View {
        let snapshots = self.snapshots();
        let mut view = View::new();
        for segment_id in self.graph.keys() {
            let canonical = self.canonical_of(segment_id);
            let mut row = object(vec![("canonical_segment_id", Json::String(segment_id.clone()))]);
            let mut columns = Vec::new();
            let mut merged_to = Json::String(canonical.clone());
            if canonical == *segment_id {
                columns = snapshots.get(segment_id).map(trait_columns).unwrap_or_default();
                merged_to = Json::Null;
            }
            if let Json::Object(members) = &mut row {
                members.extend(columns);
                members.push(("merged_to".to_owned(), merged_to));
            }
            view.push((vec![segment_id.clone()], row));
        }
        view
    }

    fn user_traits(&self) -> View {
        let mut of_profile: BTreeMap<String, Vec<&Json>> = BTreeMap::new();
        for row in &self.trait_rows {
            of_profile.entry(self.canonical_of(&text(row, "segment_id"))).or_default().push(row);
        }
        let mut view = View::new();
        for (canonical, snapshot) in self.snapshots() {
            if self.canonical_of(&canonical) != canonical {
                continue;
            }
            for (column, value) in trait_columns(&snapshot) {
                let set_by = set_by(&column, &snapshot, &of_profile[&canonical]);
                view.push((
                    vec![canonical.clone(), column.clone()],
                    object(vec![
                        ("canonical_segment_id", Json::String(canonical.clone())),
                        ("name", Json::String(column)),
                        ("value", Json::String(value_text(&value))),
                        ("seq", set_by.get("seq").clone()),
                        ("received_at", set_by.get("received_at").clone()),
                        ("uuid_ts", set_by.get("uuid_ts").clone()),
                        ("timestamp", set_by.get("timestamp").clone()),
                    ]),
                ));
            }
        }
        view
    }

    /// Returns the last snapshot of each segment id.
    fn snapshots(&self) -> BTreeMap<String, Json> {
        newest_by(&self.trait_rows, |row| text(row, "segment_id"))
    }
}

/// Returns the trait columns of a snapshot: those after the fixed ones that are not null.
fn trait_columns(snapshot: &Json) -> Vec<(String, Json)> {
    let after = snapshot.members().iter().skip_while(|(name, _)| name != "__trait_seqs").skip(1);
    after.filter(|(_, value)| *value != Json::Null).cloned().collect()
}

/// Returns the row that set the value of a column, among the rows of a profile and of those merged into it.
fn set_by<'a>(column: &str, snapshot: &Json, of_profile: &[&'a Json]) -> &'a Json {
    let seqs = trait_seqs(snapshot);
    let mut paths: Vec<&(String, Json)> =
        seqs.members().iter().filter(|(path, _)| traits::column(path) == column).collect();
    // The name of a removed trait, which has no dot, may equal a column that another trait has taken since.
    paths.sort_by_key(|(path, _)| !path.contains('.'));
    let (path, seq) = paths.first().expect("every column has a path in `__trait_seqs`");
    let candidates =
        of_profile.iter().filter(|row| row.get("seq") == seq && trait_seqs(row).get(path) == seq);
    // Profiles merged since may have used the same `seq`; the newest value won.
    candidates.max_by_key(|row| (text(row, "timestamp"), text(row, "uuid_ts"))).expect("a row set it")
}

fn trait_seqs(row: &Json) -> Json {
    json::parse(&text(row, "__trait_seqs")).expect("`__trait_seqs` is JSON")
}

/// Returns a string as it is, and any other value as JSON.
fn value_text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_text(),
    }
}

/// Returns the rows of a table that existed at a time.
fn rows(tables: &BTreeMap<String, String>, table: &str, until: Option<i128>) -> Vec<Json> {
    let lines = tables.get(table).map_or("", String::as_str).lines();
    lines
        .map(|line| json::parse(line).expect("a table is JSON"))
        .filter(|row| match (until, time::read(row.get("uuid_ts"))) {
            (Some(until), Some(uuid_ts)) => uuid_ts <= until,
            _ => true,
        })
        .collect()
}

/// Returns the newest row of each key.
fn newest_by<K: Ord>(rows: &[Json], key: impl Fn(&Json) -> K) -> BTreeMap<K, Json> {
    let mut newest: BTreeMap<K, Json> = BTreeMap::new();
    for row in rows {
        let older = newest.get(&key(row)).is_none_or(|other| age(other) <= age(row));
        if older {
            newest.insert(key(row), row.clone());
        }
    }
    newest
}

/// Returns a key that orders rows by age: `seq`, then `uuid_ts`.
fn age(row: &Json) -> (String, String) {
    (text(row, "seq"), text(row, "uuid_ts"))
}

fn text(row: &Json, column: &str) -> String {
    row.get(column).usable_text().unwrap_or_default()
}

fn object(members: Vec<(&str, Json)>) -> Json {
    Json::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn picked(row: &Json, columns: &[&str]) -> Json {
    object(columns.iter().map(|column| (*column, row.get(column).clone())).collect())
}
