//! PostgreSQL, run by `psql`, which reads the files. `json` keeps the text of numbers, `jsonb` would not keep all of it.

use crate::schema::{
    facts::Class,
    model::{Column, Table},
    names::NameRules,
    sql::{RowFile, RowsIn, Sql},
};

pub(super) struct Postgres;

const MAX_NAME: usize = 63;

/// Digits that `numeric` holds before and after the point.
const NUMERIC: (u32, u32) = (131_072, 16_383);

/// A line is one value: quotes and delimiters of CSV are control characters, which stand in no line of JSON.
const COPY_OPTIONS: &str = "WITH (FORMAT csv, DELIMITER E'\\x02', QUOTE E'\\x01')";

impl Sql for Postgres {
    fn name_rules(&self) -> NameRules {
        NameRules { max_bytes: MAX_NAME, spell: |name| name.replace('\0', "") }
    }

    fn max_columns(&self) -> usize {
        1600
    }

    fn type_of(&self, class: Class) -> String {
        match class {
            Class::Boolean => "boolean",
            Class::Integer { .. } => "bigint",
            Class::Decimal { before, after } if before <= NUMERIC.0 && after <= NUMERIC.1 => "numeric",
            Class::Decimal { .. } | Class::Null | Class::Text => "text",
            Class::Time => "timestamptz",
            Class::Row => "json",
        }
        .to_owned()
    }

    fn how_to_run(&self) -> &'static str {
        "psql --no-psqlrc --quiet --file THIS_FILE"
    }

    fn prologue(&self) -> String {
        "\\set ON_ERROR_STOP on\nSET client_encoding = 'UTF8';\nSET TimeZone = 'UTC';\n\
         CREATE TEMP TABLE profiles_sync_lines (line text);\n"
            .to_owned()
    }

    fn set_type(&self, table: &Table, column: &Column) -> String {
        let (table, name) = (self.name(&table.name), self.name(&column.name));
        format!("ALTER TABLE {table} ALTER COLUMN {name} TYPE {0} USING {name}::{0};\n", column.sql_type)
    }

    fn stage(&self, file: &RowFile) -> String {
        let copy = if file.is_zstd {
            let path = format!("'{}'", file.location.replace('\'', "'\\''"));
            format!("FROM PROGRAM {}", self.text(&format!("zstd -dcq -- {path}")))
        } else {
            format!("FROM {}", self.text(&file.location))
        };
        let mut out = format!(
            "TRUNCATE profiles_sync_lines;\n\\copy profiles_sync_lines (line) {copy} {COPY_OPTIONS}\n"
        );
        if file.may_have_nul {
            // The escape, where the backslashes before it are pairs.
            out.push_str(
                "UPDATE profiles_sync_lines\n\
                 SET line = regexp_replace(line, '(?<!\\\\)((?:\\\\\\\\)*)\\\\u0000', '\\1\\\\ufffd', 'g')\n\
                 WHERE strpos(line, '\\u0000') > 0;\n",
            );
        }
        out
    }

    fn rows(&self, _file: &RowFile, table: &Table) -> String {
        format!("profiles_sync_lines, json_to_record(line::json) AS r({})", self.record(table))
    }

    fn stage_changes(&self, file: &RowFile) -> String {
        self.stage(&RowFile { may_have_nul: true, ..file.clone() })
    }

    fn changes(&self) -> String {
        "profiles_sync_lines".to_owned()
    }

    fn changed_rows(&self, table: &Table) -> String {
        format!(
            "profiles_sync_lines,\n    json_to_record(CASE WHEN line::json->>'change' = 'upsert' THEN line::json->'row' END) AS r({})",
            self.record(table)
        )
    }

    fn member(&self, path: &[&str]) -> String {
        let (last, before) = path.split_last().unwrap_or((&"", &[]));
        let mut value = "line::json".to_owned();
        for name in before {
            value = format!("{value}->{}", self.text(name));
        }
        format!("({value}->>{})", self.text(last))
    }

    fn value(&self, _table: &Table, column: &Column, rows_in: RowsIn) -> String {
        let row = match rows_in {
            RowsIn::Table => "line::json",
            RowsIn::Changes => "(line::json->'row')",
        };
        if column.class == Class::Row {
            row.to_owned()
        } else if is_in_record(column) {
            format!("r.{}", self.name(&column.column))
        } else {
            format!("({row}->>{})::{}", self.text(&column.column), column.sql_type)
        }
    }
}

impl Postgres {
    /// The columns of a row with their types.
    fn record(&self, table: &Table) -> String {
        let columns = table.columns.iter().filter(|column| is_in_record(column));
        let columns: Vec<String> =
            columns.map(|column| format!("{} {}", self.name(&column.column), column.sql_type)).collect();
        columns.join(", ")
    }
}

/// A longer name would be cut, and find nothing in the row.
fn is_in_record(column: &Column) -> bool {
    column.class != Class::Row && column.column.len() <= MAX_NAME && !column.column.contains('\0')
}
