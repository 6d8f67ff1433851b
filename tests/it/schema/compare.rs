//! Are the rows of a database those of the files, value by value and digit by digit?

use std::{collections::BTreeMap, fmt::Write};

use serde_json::{Value, value::RawValue};

use crate::support::Work;

/// What `schema --format json` says of a column.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    /// Its name in the rows of the file; empty for the column with the whole row.
    pub(crate) ours: String,
    /// Its name in the database.
    pub(crate) name: String,
    /// Its type there.
    pub(crate) sql_type: String,
}

/// What `schema --format json` says of a table.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) ours: String,
    pub(crate) name: String,
    pub(crate) file: Option<String>,
    pub(crate) columns: Vec<Column>,
}

/// Reads the tables from the output of `schema --format json`.
pub(crate) fn tables(schema: &str) -> Vec<Table> {
    let schema: Value = serde_json::from_str(schema).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let column = |column: &Value| Column {
        ours: text(&column["column"]),
        name: text(&column["name"]),
        sql_type: text(&column["type"]),
    };
    let table = |table: &Value| Table {
        ours: text(&table["table"]),
        name: text(&table["name"]),
        file: table["file"].as_str().map(str::to_owned),
        columns: table["columns"].as_array().unwrap().iter().map(column).collect(),
    };
    schema["tables"].as_array().unwrap().iter().map(table).collect()
}

/// A row: the columns that are not null, with their values in one spelling.
type Row = BTreeMap<String, String>;

/// A database that has tables.
pub(crate) trait Database {
    /// Runs a script in the folder of the test.
    fn run(&self, script: &str);
    /// Returns all rows of a table: one JSON object a line, every value as text.
    fn dump(&self, table: &Table) -> String;
    /// Whether it stores U+0000.
    const STORES_NUL: bool;
}

/// Compares the tables of a database with the files of a space.
pub(crate) fn assert_same<D: Database>(database: &D, work: &Work, space: &str, tables: &[Table]) {
    for table in tables {
        let Some(file) = &table.file else { continue };
        let stored = decompressed(&work.path(&format!("{space}/{file}")));
        let mut expected: Vec<Row> = stored.lines().map(|line| of_file(line, table, D::STORES_NUL)).collect();
        let dump = database.dump(table);
        let mut actual: Vec<Row> = dump.lines().map(|line| of_database(line, table)).collect();
        expected.sort_unstable();
        actual.sort_unstable();
        assert_eq!(expected.len(), actual.len(), "rows of {}", table.ours);
        let mut differences = String::new();
        for (expected, actual) in expected.iter().zip(&actual).filter(|(one, other)| one != other).take(3) {
            writeln!(differences, "file      {expected:?}\ndatabase  {actual:?}").unwrap();
        }
        assert!(differences.is_empty(), "{}:\n{differences}", table.ours);
    }
}

fn decompressed(path: &std::path::Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let bytes = if path.extension().is_some_and(|end| end == "zst") {
        zstd::decode_all(&bytes[..]).unwrap()
    } else {
        bytes
    };
    String::from_utf8(bytes).unwrap()
}

/// A row of a file, with the names of the database.
fn of_file(line: &str, table: &Table, stores_nul: bool) -> Row {
    let values: BTreeMap<String, Box<RawValue>> = serde_json::from_str(line).unwrap();
    let mut row = Row::new();
    let has_row = table.columns.iter().any(|column| column.ours.is_empty());
    for (name, value) in &values {
        let Some(column) = table.columns.iter().find(|column| column.ours == *name) else {
            assert!(has_row, "{}.{name} has no column", table.ours);
            continue;
        };
        let raw = value.get();
        if raw == "null" {
            continue;
        }
        let text = if raw.starts_with('"') { serde_json::from_str(raw).unwrap() } else { raw.to_owned() };
        let text = if stores_nul { text } else { text.replace('\0', "\u{fffd}") };
        row.insert(column.name.clone(), spelled(&text, &column.sql_type));
    }
    if let Some(column) = table.columns.iter().find(|column| column.ours.is_empty()) {
        let members = members(line);
        row.insert(column.name.clone(), if stores_nul { members } else { members.replace('\0', "\u{fffd}") });
    }
    row
}

fn of_database(line: &str, table: &Table) -> Row {
    let values: BTreeMap<String, Option<String>> = serde_json::from_str(line).unwrap();
    let type_of = |name: &str| {
        &table.columns.iter().find(|column| column.name == name).unwrap_or_else(|| panic!("{name}")).sql_type
    };
    let values = values.into_iter().filter_map(|(name, value)| Some((name, value?)));
    values
        .map(|(name, value)| {
            let value = spelled(&value, type_of(&name));
            (name, value)
        })
        .collect()
}

/// A value in one spelling of its type. Texts are as they are, also those of numbers.
fn spelled(text: &str, sql_type: &str) -> String {
    let sql_type = sql_type.to_ascii_lowercase();
    if sql_type.starts_with("decimal") || sql_type == "numeric" || sql_type == "bigint" {
        number(text)
    } else if sql_type == "timestamptz" {
        // Ours, PostgreSQL's and DuckDB's spelling.
        let text = text.replace(' ', "T");
        let text = text.trim_end_matches('Z').trim_end_matches("+00");
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        format!("{seconds}.{fraction:0<6}")
    } else if sql_type == "json" {
        members(text)
    } else {
        text.to_owned()
    }
}

/// The members of a row in one spelling: texts without escapes, all else as it is.
fn members(row: &str) -> String {
    let values: BTreeMap<String, Box<RawValue>> = serde_json::from_str(row).unwrap();
    let mut out = String::new();
    for (name, value) in values {
        let raw = value.get();
        let text =
            serde_json::from_str::<String>(raw).map_or_else(|_| raw.to_owned(), |text| format!("'{text}'"));
        writeln!(out, "{name}={text}").unwrap();
    }
    out
}

/// A number as sign, digits without zeros around them, and the power of ten of the last digit.
fn number(text: &str) -> String {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let mut exponent: i64 = exponent.parse().unwrap();
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    exponent -= i64::try_from(fraction.len()).unwrap();
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return "0".to_owned();
    }
    exponent += i64::try_from(digits.len() - digits.trim_end_matches('0').len()).unwrap();
    format!("{sign}{significant}e{exponent}")
}

#[test]
fn numbers_are_compared_digit_by_digit() {
    for (one, other) in [("1.50", "1.5"), ("1e3", "1000.00"), ("-0", "0.0"), ("0.05", "5e-2"), ("100", "1E2")]
    {
        assert_eq!(number(one), number(other));
    }
    for (one, other) in [("1.5", "1.6"), ("1", "-1"), ("1.2345678901234567890", "1.2345678901234567891")] {
        assert_ne!(number(one), number(other));
    }
}
