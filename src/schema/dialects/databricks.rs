//! Databricks, with the files in a volume or a bucket.

use crate::schema::{
    facts::Class,
    model::{Column, Table},
    names::NameRules,
    sql::{CommentStyle, RowFile, RowsIn, Sql, decimal_38, number_pattern, plain_columns},
};

pub(super) struct Databricks;

impl Sql for Databricks {
    fn name_rules(&self) -> NameRules {
        NameRules { max_bytes: 255, spell: str::to_lowercase }
    }

    fn max_columns(&self) -> usize {
        10_000
    }

    fn type_of(&self, class: Class) -> String {
        match class {
            Class::Boolean => "BOOLEAN".to_owned(),
            Class::Integer { .. } => "BIGINT".to_owned(),
            Class::Decimal { before, after } => decimal_38("DECIMAL", before, after, "STRING"),
            Class::Time => "TIMESTAMP".to_owned(),
            // The text of a row keeps every digit.
            Class::Null | Class::Text | Class::Row => "STRING".to_owned(),
        }
    }

    fn name(&self, name: &str) -> String {
        format!("`{}`", name.replace('`', "``"))
    }

    fn text(&self, text: &str) -> String {
        format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n"))
    }

    fn time(&self, text: &str) -> String {
        format!("TIMESTAMP '{text}'")
    }

    /// Columns can be dropped and renamed once they are mapped by name.
    fn comment_style(&self) -> CommentStyle {
        CommentStyle::Clause("\nTBLPROPERTIES ('delta.columnMapping.mode' = 'name')\nCOMMENT ", "")
    }

    fn adds_columns_twice(&self) -> bool {
        false
    }

    fn how_to_run(&self) -> &'static str {
        "dbsqlcli --execute THIS_FILE"
    }

    fn is_one_transaction(&self) -> bool {
        false
    }

    fn transaction(&self) -> Option<(&'static str, &'static str)> {
        None
    }

    fn stage(&self, _file: &RowFile) -> String {
        String::new()
    }

    fn rows(&self, file: &RowFile, table: &Table) -> String {
        format!(
            "(\n    SELECT value AS line, from_json(value, {}) AS r\n    FROM {}\n) AS lines",
            self.structure(table),
            self.lines(file)
        )
    }

    fn stage_changes(&self, file: &RowFile) -> String {
        format!(
            "CREATE OR REPLACE TEMPORARY VIEW profiles_sync_changes AS\nSELECT value AS line FROM {};\n",
            self.lines(file)
        )
    }

    fn changes(&self) -> String {
        "profiles_sync_changes".to_owned()
    }

    fn changed_rows(&self, table: &Table) -> String {
        format!(
            "(\n    SELECT line, from_json(get_json_object(line, '$.row'), {}) AS r\n    FROM profiles_sync_changes\n) AS changes",
            self.structure(table)
        )
    }

    fn member(&self, path: &[&str]) -> String {
        format!("get_json_object(line, '$.{}')", path.join("."))
    }

    fn value(&self, table: &Table, column: &Column, rows_in: RowsIn) -> String {
        if column.class == Class::Row {
            return match rows_in {
                RowsIn::Table => "line".to_owned(),
                RowsIn::Changes => "get_json_object(line, '$.row')".to_owned(),
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

impl Databricks {
    fn lines(&self, file: &RowFile) -> String {
        format!("read_files({}, format => 'text')", self.text(&file.location))
    }

    /// The columns as texts.
    fn structure(&self, table: &Table) -> String {
        let columns: Vec<String> =
            plain_columns(table).map(|column| format!("{} STRING", self.name(column))).collect();
        self.text(&columns.join(", "))
    }
}
