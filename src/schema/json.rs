//! The schema as JSON, with a JSON Schema for the rows of every table.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    dialect::Dialect,
    facts::{Class, JsonType},
    model::{Column, Schema, Table},
};

#[derive(Serialize)]
struct Report<'a> {
    dialect: Dialect,
    uuid_ts: &'a Option<String>,
    tables: Vec<TableReport<'a>>,
}

#[derive(Serialize)]
struct TableReport<'a> {
    #[serde(flatten)]
    table: &'a Table,
    json_schema: Value,
}

/// Returns the schema as one JSON text, which `--since` reads again.
#[must_use]
pub fn to_json(schema: &Schema) -> String {
    let tables =
        schema.tables.iter().map(|table| TableReport { table, json_schema: json_schema(table) }).collect();
    let report = Report { dialect: schema.dialect, uuid_ts: &schema.uuid_ts, tables };
    let mut text = serde_json::to_string_pretty(&report).expect("a schema is plain data");
    text.push('\n');
    text
}

/// A JSON Schema that every committed row of a table fits.
fn json_schema(table: &Table) -> Value {
    let columns = || table.columns.iter().filter(|column| column.class != Class::Row);
    let properties: Map<String, Value> =
        columns().map(|column| (column.column.clone(), property(table, column))).collect();
    let required: Vec<&str> =
        columns().filter(|column| is_required(table, column)).map(|column| column.column.as_str()).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": table.table,
        "description": table.grain,
        "type": "object",
        "properties": properties,
        "required": required,
    })
}

fn is_required(table: &Table, column: &Column) -> bool {
    0 < table.rows && column.values == table.rows
}

fn property(table: &Table, column: &Column) -> Value {
    let name = |json: &JsonType| serde_json::to_value(json).unwrap_or_default();
    let mut types: Vec<Value> = column.json_types.iter().map(name).collect();
    if !is_required(table, column) {
        types.push("null".into());
    }
    let mut property = json!({ "type": types });
    if column.class == Class::Time {
        property["format"] = "date-time".into();
    }
    property
}
