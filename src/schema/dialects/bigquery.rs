//! BigQuery, with the files in a bucket. It decompresses no zstd.

use crate::schema::{
    facts::Class,
    model::{Column, Table},
    names::NameRules,
    sql::{CommentStyle, RowFile, RowsIn, Sql, number_pattern},
};

pub(super) struct BigQuery;

/// What no column may be called like, at its beginning and in any case.
const TAKEN: [&str; 6] = ["_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier"];

impl Sql for BigQuery {
    fn name_rules(&self) -> NameRules {
        NameRules { max_bytes: 300, spell }
    }

    fn max_columns(&self) -> usize {
        10_000
    }

    fn type_of(&self, class: Class) -> String {
        match class {
            Class::Boolean => "BOOL".to_owned(),
            Class::Integer { .. } => "INT64".to_owned(),
            Class::Decimal { before: ..=29, after: ..=9 } => "NUMERIC".to_owned(),
            Class::Decimal { before: ..=38, after: ..=38 } => "BIGNUMERIC".to_owned(),
            Class::Decimal { .. } | Class::Null | Class::Text => "STRING".to_owned(),
            Class::Time => "TIMESTAMP".to_owned(),
            Class::Row => "JSON".to_owned(),
        }
    }

    fn name(&self, name: &str) -> String {
        format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
    }

    fn text(&self, text: &str) -> String {
        format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n"))
    }

    fn time(&self, text: &str) -> String {
        format!("TIMESTAMP '{text}'")
    }

    fn comment_style(&self) -> CommentStyle {
        CommentStyle::Clause("\nOPTIONS (description = ", ")")
    }

    fn how_to_run(&self) -> &'static str {
        "bq query --use_legacy_sql=false --dataset_id=DATASET < THIS_FILE"
    }

    fn epilogue(&self) -> &'static str {
        "DROP EXTERNAL TABLE IF EXISTS profiles_sync_lines;\nDROP EXTERNAL TABLE IF EXISTS profiles_sync_changes;\n"
    }

    fn is_one_transaction(&self) -> bool {
        false
    }

    fn transaction(&self) -> Option<(&'static str, &'static str)> {
        Some(("BEGIN TRANSACTION;", "COMMIT TRANSACTION;"))
    }

    fn stage(&self, file: &RowFile) -> String {
        self.lines("profiles_sync_lines", file)
    }

    fn rows(&self, _file: &RowFile, _table: &Table) -> String {
        "profiles_sync_lines".to_owned()
    }

    fn stage_changes(&self, file: &RowFile) -> String {
        self.lines("profiles_sync_changes", file)
    }

    fn changes(&self) -> String {
        "profiles_sync_changes".to_owned()
    }

    fn changed_rows(&self, _table: &Table) -> String {
        "profiles_sync_changes".to_owned()
    }

    fn member(&self, path: &[&str]) -> String {
        format!("JSON_VALUE(line, {})", self.path(path))
    }

    fn value(&self, table: &Table, column: &Column, rows_in: RowsIn) -> String {
        let within: &[&str] = match rows_in {
            RowsIn::Table => &[],
            RowsIn::Changes => &["row"],
        };
        if column.class == Class::Row {
            let row = match rows_in {
                RowsIn::Table => "line".to_owned(),
                RowsIn::Changes => "JSON_QUERY(line, '$.row')".to_owned(),
            };
            // Numbers that a double cannot hold are rounded rather than refused.
            return format!("PARSE_JSON({row}, wide_number_mode => 'round')");
        }
        let path = self.path(&[within, &[&column.column]].concat());
        let is_text = self.is_text(column);
        let value = format!("JSON_VALUE(line, {path})");
        let value = if self.is_taken_from_line(table, column) {
            let number = format!("REGEXP_EXTRACT(line, {})", self.text(&number_pattern(&column.column)));
            if is_text { format!("COALESCE({number}, {value})") } else { number }
        } else if column.facts.has_nested() {
            format!("COALESCE({value}, JSON_QUERY(line, {path}))")
        } else {
            value
        };
        if is_text { value } else { self.cast(&value, &column.sql_type) }
    }
}

impl BigQuery {
    /// The lines of a file as rows of a table. Delimiters and quotes of CSV stand in no line of JSON.
    fn lines(&self, table: &str, file: &RowFile) -> String {
        format!(
            "CREATE OR REPLACE EXTERNAL TABLE {table} (line STRING)\n\
             OPTIONS (format = 'CSV', uris = [{}], field_delimiter = '\\x02', quote = '');\n",
            self.text(&file.location)
        )
    }

    fn path(&self, names: &[&str]) -> String {
        let names: Vec<String> =
            names.iter().map(|name| format!("\"{}\"", name.replace('"', "\\\""))).collect();
        self.text(&format!("$.{}", names.join(".")))
    }
}

/// A name begins with a letter or an underscore, and with none of the prefixes that are taken.
fn spell(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let mut out: String =
        name.chars().map(|one| if one.is_alphanumeric() || one == '_' { one } else { '_' }).collect();
    if out.starts_with(|first: char| first.is_numeric()) {
        out.insert(0, '_');
    } else if TAKEN.iter().any(|prefix| lower.starts_with(prefix)) {
        out.insert(0, 'x');
    }
    out
}
