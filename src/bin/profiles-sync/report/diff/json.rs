//! The summary as one JSON object. `docs/diff.md` has the schema.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use profiles_sync::diff::{
    Comparison, Sameness,
    identity::{
        compare::{IdentityResult, MostChanged},
        events::CausingEvent,
        names::ReportedIdentifier,
    },
    ndjson::{side, told_as_json},
    outcome::{Cell, RowChange, RowKind},
    sides::{NEW, OLD},
    tables::TableResult,
};

use super::words::columns_changed;

/// Returns the summary, with examples if they are wanted.
#[must_use]
pub(crate) fn summary(comparison: &Comparison, examples: bool) -> Value {
    let [old, new] = &comparison.sides;
    let result = match comparison.sameness {
        Sameness::Same => "same",
        Sameness::Renamed(_) => "renamed",
        Sameness::Different => "different",
    };
    let renamed = match comparison.sameness {
        Sameness::Renamed(n) => n,
        _ => 0,
    };
    json!({
        "old": old,
        "new": new,
        "result": result,
        "renamed_segment_ids": renamed,
        "tables": comparison.tables.iter().map(|table| of_table(table, examples)).collect::<Vec<_>>(),
        "identity": comparison.identity.as_ref().map(|identity| of_identity(identity, examples)),
    })
}

fn of_table(table: &TableResult, examples: bool) -> Value {
    let rows = &table.outcome;
    let columns: BTreeMap<String, u64> = columns_changed(table).into_iter().collect();
    let odd_lines: Vec<Value> = table
        .malformed_lines
        .iter()
        .map(
            |odd| json!({"side": side(odd.side), "file": odd.file, "line": odd.line, "message": odd.message}),
        )
        .collect();
    let mut value = json!({
        "table": table.name,
        "in_old": table.there[OLD],
        "in_new": table.there[NEW],
        "key": table.key,
        "rows": {
            "same": rows.same,
            "added": rows.count(RowKind::Added),
            "removed": rows.count(RowKind::Removed),
            "changed": rows.count(RowKind::Changed),
        },
        "columns": {"added": table.columns[NEW], "removed": table.columns[OLD], "changed": columns},
        "duplicate_keys": {"old": rows.duplicate_keys[OLD], "new": rows.duplicate_keys[NEW]},
        "unreadable_lines": odd_lines,
    });
    if examples {
        value["examples"] = RowKind::ALL
            .into_iter()
            .flat_map(|kind| rows.examples.iter().filter(move |example| example.kind == kind))
            .map(of_row)
            .collect();
    }
    value
}

fn of_row(row: &RowChange) -> Value {
    let key: Map<String, Value> =
        row.key.iter().map(|(name, value)| (name.clone(), json_of(Some(value)))).collect();
    let cells = |value: fn(&Cell) -> Value| -> Map<String, Value> {
        row.cells.iter().map(|cell| (cell.name.clone(), value(cell))).collect()
    };
    let change = format!("row_{}", row.kind.word());
    match row.kind {
        RowKind::Removed => {
            json!({"change": change, "key": key, "old": cells(|cell| json_of(cell.old.as_deref()))})
        }
        RowKind::Added => {
            json!({"change": change, "key": key, "new": cells(|cell| json_of(cell.new.as_deref()))})
        }
        RowKind::Changed => {
            let columns = cells(
                |cell| json!({"old": json_of(cell.old.as_deref()), "new": json_of(cell.new.as_deref())}),
            );
            json!({"change": change, "key": key, "columns": columns})
        }
    }
}

/// Returns a value of a table as JSON. A number that the parser cannot represent exactly becomes a text.
fn json_of(text: Option<&str>) -> Value {
    let Some(text) = text else { return Value::Null };
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Number(number)) if number.to_string() != text => Value::String(text.to_owned()),
        Ok(value) => value,
        Err(_) => Value::String(text.to_owned()),
    }
}

fn of_identity(identity: &IdentityResult, examples: bool) -> Value {
    let pairs = &identity.pairwise;
    let mut value = json!({
        "profiles": {"old": identity.profiles[OLD], "new": identity.profiles[NEW]},
        "unchanged": identity.unchanged,
        "renamed": identity.renamed,
        "changed": identity.changed,
        "created": identity.created,
        "vanished": identity.vanished,
        "merged": {"from": identity.merged[1], "into": identity.merged[0]},
        "split": {"from": identity.split[0], "into": identity.split[1]},
        "identifiers": {
            "old": identity.identifiers[OLD],
            "new": identity.identifiers[NEW],
            "common": identity.common,
            "moved": identity.moved,
        },
        "pairs": {
            "old": pairs.old,
            "new": pairs.new,
            "both": pairs.both,
            "precision": pairs.precision(),
            "recall": pairs.recall(),
            "f1": pairs.f1(),
        },
    });
    if examples {
        value["stories"] = identity.stories.iter().map(told_as_json).collect();
        value["created_profiles"] = json!(identity.created_ids);
        value["vanished_profiles"] = json!(identity.vanished_ids);
        value["moved_identifiers"] = identity
            .moves
            .iter()
            .map(|moved| {
                let ReportedIdentifier { type_name, value } = &moved.identifier;
                json!({"type": type_name, "value": value, "old": moved.from, "new": moved.to})
            })
            .collect();
        value["most_changed"] = identity.most_changed.iter().map(of_most_changed).collect();
    }
    value
}

fn of_most_changed(changed: &MostChanged) -> Value {
    let mut value = told_as_json(&changed.told);
    value["identifiers_told"] = changed
        .identifiers
        .iter()
        .map(|identifier| json!({"type": identifier.type_name, "value": identifier.value}))
        .collect();
    value["events"] = json!({
        "old": changed.events[OLD].iter().map(of_event).collect::<Vec<_>>(),
        "new": changed.events[NEW].iter().map(of_event).collect::<Vec<_>>(),
    });
    value
}

fn of_event(event: &CausingEvent) -> Value {
    json!({
        "id": event.id,
        "type": event.type_name,
        "source": event.source,
        "timestamp": event.timestamp,
        "effects": event.effects,
    })
}
