//! What the statements of a dialect are made of.
//!
//! All dialects load in the same way: a row is read as a line of text, its values come out of the line as texts, digit for
//! digit, and are cast to the types of their columns. No reader of JSON gets to guess a type.

use super::{
    facts::Class,
    model::{Column, Table},
    names::NameRules,
};

/// A file of rows, or of changes of views.
#[derive(Debug, Clone)]
pub(crate) struct RowFile {
    /// Where the warehouse finds it: a path or a URL.
    pub(crate) location: String,
    /// Whether it is compressed with zstd.
    pub(crate) is_zstd: bool,
    /// Whether a value in it may hold U+0000.
    pub(crate) may_have_nul: bool,
    /// Bytes of a line, at most.
    pub(crate) longest_line: usize,
}

/// Where the rows are that values are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowsIn {
    /// A line is a row.
    Table,
    /// A line is a change of a view, which has the row as a member.
    Changes,
}

/// How a table is described to the people who use it.
pub(crate) enum CommentStyle {
    /// By a statement of its own: `COMMENT ON TABLE ... IS ...`.
    Statement,
    /// By a clause at the end of `CREATE TABLE`: this, and the text.
    Clause(&'static str, &'static str),
}

/// The statements of a dialect.
pub(crate) trait Sql: Sync {
    /// What becomes of names.
    fn name_rules(&self) -> NameRules;

    /// The most columns of a table.
    fn max_columns(&self) -> usize;

    /// Returns the type of columns of a class.
    fn type_of(&self, class: Class) -> String;

    /// Returns a name in quotes. All names are quoted: a word may become reserved in a later version.
    fn name(&self, name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    /// Returns a text as a literal.
    fn text(&self, text: &str) -> String {
        format!("'{}'", text.replace('\'', "''"))
    }

    /// Returns a time in our spelling as a literal.
    fn time(&self, text: &str) -> String {
        format!("TIMESTAMPTZ '{text}'")
    }

    fn comment_style(&self) -> CommentStyle {
        CommentStyle::Statement
    }

    /// How the statements are run, for the head of the script.
    fn how_to_run(&self) -> &'static str;

    /// Statements before all others, outside any transaction.
    fn prologue(&self) -> String {
        String::new()
    }

    /// Statements after all others, outside any transaction.
    fn epilogue(&self) -> &'static str {
        ""
    }

    /// Whether the whole script is one transaction; if not, each statement is one.
    fn is_one_transaction(&self) -> bool {
        true
    }

    /// What begins and ends a transaction; nothing if there is none.
    fn transaction(&self) -> Option<(&'static str, &'static str)> {
        Some(("BEGIN;", "COMMIT;"))
    }

    /// Whether a column can be added on the condition that it is not there.
    fn adds_columns_twice(&self) -> bool {
        true
    }

    /// Returns the statements that change the type of a column.
    fn set_type(&self, table: &Table, column: &Column) -> String {
        let (table, name) = (self.name(&table.name), self.name(&column.name));
        let value = self.cast(&name, &column.sql_type);
        // The dialect changes no type, or few of them: the values move to a new column.
        let new = self.name(&format!("{}_new", column.name));
        format!(
            "ALTER TABLE {table} ADD COLUMN {new} {};\nUPDATE {table} SET {new} = {value} WHERE {name} IS NOT NULL;\n\
             ALTER TABLE {table} DROP COLUMN {name};\nALTER TABLE {table} RENAME COLUMN {new} TO {name};\n",
            column.sql_type
        )
    }

    /// Returns an expression as another type.
    fn cast(&self, value: &str, sql_type: &str) -> String {
        format!("CAST({value} AS {sql_type})")
    }

    /// Returns the statements that make the lines of a file ready for [`Sql::rows`].
    fn stage(&self, file: &RowFile) -> String;

    /// Returns what stands after FROM: the rows of a file, of which [`Sql::value`] takes the values.
    fn rows(&self, file: &RowFile, table: &Table) -> String;

    /// Returns the statements that make a file of changes ready for [`Sql::changes`].
    fn stage_changes(&self, file: &RowFile) -> String;

    /// Returns what stands after FROM: the changes, of which [`Sql::member`] takes the members.
    fn changes(&self) -> String;

    /// Returns what stands after FROM: the changes with their rows, of which [`Sql::value`] takes the values.
    fn changed_rows(&self, table: &Table) -> String;

    /// Returns the text at a path in a change.
    fn member(&self, path: &[&str]) -> String;

    /// Returns whether a column has the type of texts, whatever its values are.
    fn is_text(&self, column: &Column) -> bool {
        column.class != Class::Row && column.sql_type == self.type_of(Class::Text)
    }

    /// Returns whether a reader that takes numbers for doubles would change one on its way into a column.
    fn loses_digits(&self, column: &Column) -> bool {
        column.facts.loses_digits(if self.is_text(column) { Class::Text } else { column.class })
    }

    /// Returns whether a number of a column has to be taken from the text of the line.
    ///
    /// In a row with arrays or objects a name may come twice, so there it is left to the reader of JSON.
    fn is_taken_from_line(&self, table: &Table, column: &Column) -> bool {
        self.loses_digits(column) && !table.has_nested()
    }

    /// Returns the value of a column, in its type.
    fn value(&self, table: &Table, column: &Column, rows_in: RowsIn) -> String;
}

/// Returns the type of decimals with 38 digits, of which as many stand after the point as the values need; the type of
/// texts if they need more.
pub(crate) fn decimal_38(name: &str, before: u32, after: u32, text: &str) -> String {
    if before.saturating_add(after) <= 38 { format!("{name}(38,{after})") } else { text.to_owned() }
}

/// A regular expression that finds a number in the line of a row, with its digits as they are written.
///
/// Inside a text all quotes have a backslash before them, so only the name of a column can stand like this. The rows of
/// a change have texts for keys, so a number stands in the row only.
pub(crate) fn number_pattern(column: &str) -> String {
    let name = serde_json::to_string(column).unwrap_or_default();
    format!("[{{,]{}:(-?[0-9][0-9.eE+-]*)", regex::escape(&name))
}

/// Returns the names of the columns that are read from a row as JSON.
pub(crate) fn plain_columns(table: &Table) -> impl Iterator<Item = &str> {
    table.columns.iter().filter(|column| column.class != Class::Row).map(|column| column.column.as_str())
}
