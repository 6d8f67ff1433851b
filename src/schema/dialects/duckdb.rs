//! DuckDB. Its reader of JSON takes fractions for doubles, so where that would cost digits they come from the line.

use crate::schema::{
    facts::Class,
    model::{Column, Table},
    names::NameRules,
    sql::{RowFile, RowsIn, Sql, decimal_38, number_pattern, plain_columns},
};

pub(super) struct DuckDb;

/// A longer row needs `maximum_object_size`.
const OBJECT_SIZE: usize = 16 << 20;

impl Sql for DuckDb {
    fn name_rules(&self) -> NameRules {
        NameRules { max_bytes: usize::MAX, spell: str::to_owned }
    }

    fn max_columns(&self) -> usize {
        usize::MAX
    }

    fn type_of(&self, class: Class) -> String {
        match class {
            Class::Boolean => "BOOLEAN".to_owned(),
            Class::Integer { .. } => "BIGINT".to_owned(),
            Class::Decimal { before, after } => decimal_38("DECIMAL", before, after, "VARCHAR"),
            Class::Time => "TIMESTAMPTZ".to_owned(),
            Class::Null | Class::Text => "VARCHAR".to_owned(),
            Class::Row => "JSON".to_owned(),
        }
    }

    fn how_to_run(&self) -> &'static str {
        "duckdb FILE.duckdb < THIS_FILE"
    }

    fn cast(&self, value: &str, sql_type: &str) -> String {
        format!("{value}::{sql_type}")
    }

    fn set_type(&self, table: &Table, column: &Column) -> String {
        let (table, name) = (self.name(&table.name), self.name(&column.name));
        let value = self.cast(&name, &column.sql_type);
        format!("ALTER TABLE {table} ALTER COLUMN {name} SET DATA TYPE {} USING {value};\n", column.sql_type)
    }

    fn stage(&self, _file: &RowFile) -> String {
        String::new()
    }

    fn rows(&self, file: &RowFile, table: &Table) -> String {
        let (location, size) = (self.text(&without_globs(&file.location)), object_size(file));
        if table.columns.iter().any(|column| needs_line(table, column)) {
            return format!(
                "(\n    SELECT json AS line, json_transform(json, {}) AS r\n    FROM read_ndjson_objects({location}{size})\n)",
                self.text(&structure(table))
            );
        }
        let columns: Vec<String> =
            plain_columns(table).map(|column| format!("{}: 'VARCHAR'", self.text(column))).collect();
        format!("read_ndjson({location}, columns = {{{}}}{size}) AS r", columns.join(", "))
    }

    fn stage_changes(&self, file: &RowFile) -> String {
        format!(
            "CREATE OR REPLACE TEMP TABLE profiles_sync_changes AS\n\
             SELECT json AS line FROM read_ndjson_objects({}{});\n",
            self.text(&without_globs(&file.location)),
            object_size(file)
        )
    }

    fn changes(&self) -> String {
        "profiles_sync_changes".to_owned()
    }

    fn changed_rows(&self, table: &Table) -> String {
        format!(
            "(SELECT line, json_transform(line->'row', {}) AS r FROM profiles_sync_changes)",
            self.text(&structure(table))
        )
    }

    fn member(&self, path: &[&str]) -> String {
        format!("(line->>'$.{}')", path.join("."))
    }

    fn value(&self, table: &Table, column: &Column, rows_in: RowsIn) -> String {
        if column.class == Class::Row {
            return match rows_in {
                RowsIn::Table => "line".to_owned(),
                // Cut out of the line, for the function that extracts JSON writes numbers anew. The row is the last member.
                RowsIn::Changes => {
                    "(substr(line, strpos(line, ',\"row\":') + 7, length(line) - strpos(line, ',\"row\":') - 7))::JSON"
                        .to_owned()
                }
            };
        }
        let read = format!("r.{}", self.name(&column.column));
        let is_text = self.is_text(column);
        let value = if self.is_taken_from_line(table, column) {
            let number = format!(
                "nullif(regexp_extract(line, {}, 1), '')",
                self.text(&number_pattern(&column.column))
            );
            if is_text { format!("coalesce({number}, {read})") } else { number }
        } else {
            read
        };
        if is_text { value } else { self.cast(&value, &column.sql_type) }
    }
}

fn object_size(file: &RowFile) -> String {
    if OBJECT_SIZE <= file.longest_line {
        format!(", maximum_object_size = {}", file.longest_line + 1024)
    } else {
        String::new()
    }
}

fn needs_line(table: &Table, column: &Column) -> bool {
    column.class == Class::Row || DuckDb.is_taken_from_line(table, column)
}

/// The columns as texts, as `json_transform` wants them.
fn structure(table: &Table) -> String {
    let columns: Vec<String> = plain_columns(table)
        .map(|column| format!("{}:\"VARCHAR\"", serde_json::to_string(column).unwrap_or_default()))
        .collect();
    format!("{{{}}}", columns.join(","))
}

/// A path is a pattern for DuckDB.
fn without_globs(path: &str) -> String {
    let mut out = String::new();
    for character in path.chars() {
        match character {
            '*' | '?' | '[' => out.extend(['[', character, ']']),
            other => out.push(other),
        }
    }
    out
}
