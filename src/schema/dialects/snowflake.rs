//! Snowflake, with the files in a stage. Names are in capitals, so that they are the same without quotes.

use crate::schema::{
    facts::Class,
    model::{Column, Table},
    names::NameRules,
    sql::{RowFile, RowsIn, Sql, decimal_38, number_pattern},
};

pub(super) struct Snowflake;

impl Sql for Snowflake {
    fn name_rules(&self) -> NameRules {
        NameRules { max_bytes: 255, spell: str::to_uppercase }
    }

    fn max_columns(&self) -> usize {
        2000
    }

    fn type_of(&self, class: Class) -> String {
        match class {
            Class::Boolean => "BOOLEAN".to_owned(),
            Class::Integer { .. } => "NUMBER(19,0)".to_owned(),
            // At most 37 digits may stand after the point.
            Class::Decimal { after: 38.., .. } | Class::Null | Class::Text => "VARCHAR".to_owned(),
            Class::Decimal { before, after } => decimal_38("NUMBER", before, after, "VARCHAR"),
            Class::Time => "TIMESTAMP_TZ(6)".to_owned(),
            Class::Row => "VARIANT".to_owned(),
        }
    }

    fn text(&self, text: &str) -> String {
        format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    }

    fn time(&self, text: &str) -> String {
        format!("TO_TIMESTAMP_TZ('{text}')")
    }

    fn how_to_run(&self) -> &'static str {
        "snowsql --filename THIS_FILE"
    }

    fn prologue(&self) -> String {
        "CREATE OR REPLACE TEMPORARY FILE FORMAT profiles_sync_lines\n    \
         TYPE = CSV FIELD_DELIMITER = NONE ESCAPE_UNENCLOSED_FIELD = NONE COMPRESSION = AUTO;\n"
            .to_owned()
    }

    fn is_one_transaction(&self) -> bool {
        false
    }

    fn stage(&self, _file: &RowFile) -> String {
        String::new()
    }

    fn rows(&self, file: &RowFile, _table: &Table) -> String {
        format!("(SELECT $1 AS line, PARSE_JSON($1) AS r FROM {}) AS lines", self.lines(file))
    }

    fn stage_changes(&self, file: &RowFile) -> String {
        format!(
            "CREATE OR REPLACE TEMPORARY TABLE profiles_sync_changes AS\n\
             SELECT $1 AS line, PARSE_JSON($1) AS change FROM {};\n",
            self.lines(file)
        )
    }

    fn changes(&self) -> String {
        "profiles_sync_changes".to_owned()
    }

    fn changed_rows(&self, _table: &Table) -> String {
        "(SELECT line, change, change:\"row\" AS r FROM profiles_sync_changes) AS changes".to_owned()
    }

    fn member(&self, path: &[&str]) -> String {
        let path: Vec<String> = path.iter().map(|name| format!("\"{name}\"")).collect();
        format!("change:{}::VARCHAR", path.join("."))
    }

    fn value(&self, table: &Table, column: &Column, _rows_in: RowsIn) -> String {
        if column.class == Class::Row {
            return "r".to_owned();
        }
        let key = column.column.replace('"', "\"\"");
        if self.is_taken_from_line(table, column) {
            let pattern = self.text(&number_pattern(&column.column));
            let number = format!("REGEXP_SUBSTR(line, {pattern}, 1, 1, 'e', 1)");
            return if self.is_text(column) {
                format!("COALESCE({number}, r:\"{key}\"::VARCHAR)")
            } else {
                self.cast(&number, &column.sql_type)
            };
        }
        format!("r:\"{key}\"::{}", column.sql_type)
    }
}

impl Snowflake {
    fn lines(&self, file: &RowFile) -> String {
        format!("{} (FILE_FORMAT => 'profiles_sync_lines')", self.text(&file.location))
    }
}
