//! Redshift, with the files in a bucket. Rows come as values of type SUPER.

use crate::schema::{
    facts::Class,
    model::{Column, Table},
    names::NameRules,
    sql::{RowFile, RowsIn, Sql, decimal_38},
};

pub(super) struct Redshift;

impl Sql for Redshift {
    fn name_rules(&self) -> NameRules {
        NameRules { max_bytes: 127, spell: |name| name.to_lowercase() }
    }

    fn max_columns(&self) -> usize {
        1600
    }

    fn type_of(&self, class: Class) -> String {
        match class {
            Class::Boolean => "BOOLEAN".to_owned(),
            Class::Integer { .. } => "BIGINT".to_owned(),
            // At most 37 digits may stand after the point.
            Class::Decimal { after: 38.., .. } | Class::Null | Class::Text => "VARCHAR(65535)".to_owned(),
            Class::Decimal { before, after } => decimal_38("DECIMAL", before, after, "VARCHAR(65535)"),
            Class::Time => "TIMESTAMPTZ".to_owned(),
            Class::Row => "SUPER".to_owned(),
        }
    }

    fn text(&self, text: &str) -> String {
        format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    }

    fn adds_columns_twice(&self) -> bool {
        false
    }

    fn how_to_run(&self) -> &'static str {
        "psql --no-psqlrc --set ON_ERROR_STOP=on --file THIS_FILE"
    }

    fn prologue(&self) -> String {
        "CREATE TEMP TABLE profiles_sync_rows (r SUPER);\n".to_owned()
    }

    fn cast(&self, value: &str, sql_type: &str) -> String {
        format!("{value}::{sql_type}")
    }

    fn set_type(&self, table: &Table, column: &Column) -> String {
        let (table, name) = (self.name(&table.name), self.name(&column.name));
        let new = self.name(&format!("{}_new", column.name));
        // No cast leads from BOOLEAN to VARCHAR. A JSON text has its values as they are written.
        let value = if column.sql_type.starts_with("VARCHAR") {
            format!("JSON_SERIALIZE({name}::SUPER)")
        } else {
            self.cast(&name, &column.sql_type)
        };
        format!(
            "ALTER TABLE {table} ADD COLUMN {new} {};\nUPDATE {table} SET {new} = {value} WHERE {name} IS NOT NULL;\n\
             ALTER TABLE {table} DROP COLUMN {name};\nALTER TABLE {table} RENAME COLUMN {new} TO {name};\n",
            column.sql_type
        )
    }

    fn stage(&self, file: &RowFile) -> String {
        format!(
            "DELETE FROM profiles_sync_rows;\n\
             COPY profiles_sync_rows FROM {} IAM_ROLE DEFAULT FORMAT JSON 'noshred'{};\n",
            self.text(&file.location),
            if file.is_zstd { " ZSTD" } else { "" }
        )
    }

    fn rows(&self, _file: &RowFile, _table: &Table) -> String {
        "profiles_sync_rows".to_owned()
    }

    fn stage_changes(&self, file: &RowFile) -> String {
        self.stage(file)
    }

    fn changes(&self) -> String {
        "profiles_sync_rows".to_owned()
    }

    fn changed_rows(&self, _table: &Table) -> String {
        "profiles_sync_rows".to_owned()
    }

    fn member(&self, path: &[&str]) -> String {
        format!("r.\"{}\"::VARCHAR(65535)", path.join("\".\""))
    }

    fn value(&self, _table: &Table, column: &Column, rows_in: RowsIn) -> String {
        let row = match rows_in {
            RowsIn::Table => "r",
            RowsIn::Changes => "r.\"row\"",
        };
        if column.class == Class::Row {
            return row.to_owned();
        }
        self.cast(&format!("{row}.{}", self.name(&column.column)), &column.sql_type)
    }
}
