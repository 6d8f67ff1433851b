//! The statements, as one script that runs from the working folder.

use std::path::{Path, PathBuf};

use super::{
    dialect::Dialect,
    dialects,
    model::{Column, Schema, Table},
    since::{Changed, TableChange},
    sql::{CommentStyle, RowFile, RowsIn, Sql},
};
use crate::{
    error::{Error, Result},
    escape::escaped,
};

/// What the script is to do.
#[derive(Debug, Clone, Default)]
pub struct ScriptOptions {
    /// The space, as it was given.
    pub space: PathBuf,
    /// The folder or bucket of the files, if it is not the space.
    pub files_at: Option<String>,
    /// Load the rows that are new; otherwise tables are made and loaded.
    pub night: bool,
    /// Bring the views up to date from this file of changes.
    pub upsert: Option<PathBuf>,
}

/// Writes the script. With `changed` it brings the tables to their new columns instead of making them.
pub fn script(schema: &Schema, changed: Option<&Changed>, options: &ScriptOptions) -> Result<String> {
    let mut script =
        Script { schema, changed, options, sql: dialects::sql(schema.dialect), out: String::new() };
    script.write()?;
    Ok(script.out)
}

/// Before every time of ours: new rows are all rows if a table is empty.
const BEFORE_ALL: &str = "0001-01-01T00:00:00.000000Z";

struct Script<'a> {
    schema: &'a Schema,
    changed: Option<&'a Changed>,
    options: &'a ScriptOptions,
    sql: &'static dyn Sql,
    out: String,
}

/// Which rows of a file are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// All, into an empty table.
    First,
    /// All, in place of those that are there.
    Again,
    /// Those that are newer than the ones that are there.
    New,
}

impl<'a> Script<'a> {
    fn write(&mut self) -> Result<()> {
        let schema = self.schema;
        let dialect = schema.dialect;
        self.refuse_wide_tables()?;
        let as_of = schema.uuid_ts.as_deref().unwrap_or("its beginning");
        self.comment(&format!(
            "The tables of `{}` for {}, as of {as_of}.",
            self.options.space.display(),
            dialect.title()
        ));
        self.comment(&format!("Run it with: {}", self.sql.how_to_run()));
        let prologue = self.sql.prologue();
        self.push(&prologue);
        let (is_one, transaction) = (self.sql.is_one_transaction(), self.sql.transaction());
        if let Some((begin, _)) = transaction.filter(|_| is_one) {
            self.push(&format!("{begin}\n"));
        }
        for table in &schema.tables {
            self.define(table);
            if let Some(rows) = self.rows_to_load(table) {
                self.load(table, rows)?;
            }
        }
        if let Some(changes) = &self.options.upsert {
            self.upsert(changes)?;
        }
        if let Some((_, commit)) = transaction.filter(|_| is_one) {
            self.push(&format!("\n{commit}\n"));
        }
        self.push(self.sql.epilogue());
        Ok(())
    }

    fn refuse_wide_tables(&self) -> Result<()> {
        let max = self.sql.max_columns();
        let Some(wide) = self.schema.tables.iter().find(|table| max < table.columns.len()) else {
            return Ok(());
        };
        Err(Error::Refused(format!(
            "`{}` has {} columns, and a table of {} has at most {max}",
            wide.table,
            wide.columns.len(),
            self.schema.dialect.title()
        ))
        .hint("give `--columns-as-json`, which makes one column of traits, properties and context"))
    }

    /// Makes a table, or brings it to its new columns.
    fn define(&mut self, table: &Table) {
        let change = self.change(table);
        let is_new = match self.changed {
            None => !self.options.night && self.options.upsert.is_none(),
            Some(_) => change.is_some_and(|change| change.is_new),
        };
        if is_new {
            self.create(table);
        } else if let Some(change) = change {
            self.alter(table, change);
        }
    }

    fn change(&self, table: &Table) -> Option<&'a TableChange> {
        self.changed.and_then(|changed| changed.tables.get(&table.table))
    }

    /// Returns which rows of a table are loaded; `None` if none are, or if it has no file.
    fn rows_to_load(&self, table: &Table) -> Option<Rows> {
        table.file.as_ref()?;
        let change = self.change(table).cloned().unwrap_or_default();
        let ScriptOptions { night, upsert, .. } = self.options;
        match self.changed {
            None if !night && upsert.is_none() => Some(Rows::First),
            _ if change.is_reloaded => Some(Rows::Again),
            // Changes tell what is new in views that are there already.
            _ if change.is_new && table.is_view() && (*night || upsert.is_some()) => Some(Rows::Again),
            _ if !night || table.is_view() && upsert.is_some() => None,
            _ if table.mark().is_some() => Some(Rows::New),
            _ => Some(Rows::Again),
        }
    }

    fn create(&mut self, table: &Table) {
        self.push("\n");
        self.comment(&format!("{}: {}", table.table, table.grain));
        self.tell_names(table);
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|column| format!("    {} {}", self.sql.name(&column.name), column.sql_type))
            .collect();
        let name = self.sql.name(&table.name);
        let comment = self.sql.text(&table.grain);
        // Statements that bring a warehouse up to date may be run twice.
        let if_new = if self.changed.is_some() { "IF NOT EXISTS " } else { "" };
        let create = format!("CREATE TABLE {if_new}{name} (\n{}\n)", columns.join(",\n"));
        match self.sql.comment_style() {
            CommentStyle::Statement => {
                self.push(&format!("{create};\nCOMMENT ON TABLE {name} IS {comment};\n"));
            }
            CommentStyle::Clause(before, after) => self.push(&format!("{create}{before}{comment}{after};\n")),
        }
    }

    fn alter(&mut self, table: &Table, change: &TableChange) {
        self.push("\n");
        self.comment(&format!("{}: its columns changed", table.table));
        let name = self.sql.name(&table.name);
        for column in change.added.iter().filter_map(|name| table.column(name)) {
            self.tell_name("column", &column.column, &column.name);
            let added = self.sql.name(&column.name);
            let if_new = if self.sql.adds_columns_twice() { "IF NOT EXISTS " } else { "" };
            self.push(&format!("ALTER TABLE {name} ADD COLUMN {if_new}{added} {};\n", column.sql_type));
        }
        for (column, old_type) in &change.retyped {
            let Some(column) = table.column(column) else { continue };
            self.comment(&format!("`{}` was {old_type}", column.column));
            let statements = self.sql.set_type(table, column);
            self.push(&statements);
        }
    }

    /// Says which names are others in the warehouse.
    fn tell_names(&mut self, table: &Table) {
        self.tell_name("table", &table.table, &table.name);
        for column in &table.columns {
            self.tell_name("column", &column.column, &column.name);
        }
    }

    fn tell_name(&mut self, what: &str, ours: &str, given: &str) {
        if !ours.is_empty() && !ours.eq_ignore_ascii_case(given) {
            self.comment(&format!("the {what} `{ours}` is `{given}`"));
        }
    }

    fn load(&mut self, table: &Table, rows: Rows) -> Result<()> {
        let file = self.file_of(table)?;
        self.push("\n");
        self.comment(&format!(
            "{}: {}",
            table.table,
            match rows {
                Rows::First => format!("{} rows", table.rows),
                Rows::Again => format!("{} rows, in place of those that are there", table.rows),
                Rows::New => "the rows that are new".to_owned(),
            }
        ));
        for loss in losses_of(table, self.schema.dialect) {
            self.comment(&loss);
        }
        let stage = self.sql.stage(&file);
        self.push(&stage);
        let name = self.sql.name(&table.name);
        let select = self.select(table, RowsIn::Table, &self.sql.rows(&file, table));
        let condition = self.condition(table, rows);
        let insert = format!("{select}{condition};\n");
        if rows == Rows::Again {
            self.replace(&[format!("DELETE FROM {name} WHERE TRUE;\n"), insert]);
        } else {
            self.push(&insert);
        }
        Ok(())
    }

    /// Statements that must not be seen one without the other.
    fn replace(&mut self, statements: &[String]) {
        let transaction = self.sql.transaction().filter(|_| !self.sql.is_one_transaction());
        if let Some((begin, _)) = transaction {
            self.push(&format!("{begin}\n"));
        }
        for statement in statements {
            self.push(statement);
        }
        if let Some((_, commit)) = transaction {
            self.push(&format!("{commit}\n"));
        }
    }

    /// `INSERT INTO ... SELECT ... FROM ...`.
    fn select(&self, table: &Table, rows_in: RowsIn, from: &str) -> String {
        let columns: Vec<&Column> = table.columns.iter().collect();
        let names: Vec<String> = columns.iter().map(|column| self.sql.name(&column.name)).collect();
        let values: Vec<String> =
            columns.iter().map(|column| self.sql.value(table, column, rows_in)).collect();
        format!(
            "INSERT INTO {} ({})\nSELECT\n    {}\nFROM {from}",
            self.sql.name(&table.name),
            names.join(", "),
            values.join(",\n    ")
        )
    }

    /// Which rows count: none that were committed after the columns were looked at, for they may have others.
    fn condition(&self, table: &Table, rows: Rows) -> String {
        let (Some(mark), Some(newest)) = (table.mark(), &self.schema.uuid_ts) else { return String::new() };
        let value = self.sql.value(table, mark, RowsIn::Table);
        let committed = format!("\nWHERE {value} <= {}", self.sql.time(newest));
        if rows != Rows::New {
            return committed;
        }
        let (mark, table) = (self.sql.name(&mark.name), self.sql.name(&table.name));
        let before = self.sql.time(BEFORE_ALL);
        format!("{committed}\n    AND {value} > (SELECT coalesce(max({mark}), {before}) FROM {table})")
    }

    /// Takes the rows of all changes out of the views, and puts those that are there now into them.
    fn upsert(&mut self, changes: &Path) -> Result<()> {
        let views: Vec<&Table> = self.schema.tables.iter().filter(|table| table.is_view()).collect();
        // Those that are loaded whole have all changes already.
        let views: Vec<&Table> = views.into_iter().filter(|view| self.rows_to_load(view).is_none()).collect();
        let longest = views.iter().map(|view| view.longest_row).max().unwrap_or_default();
        let file = RowFile {
            location: self.location_of_changes(changes)?,
            is_zstd: changes.extension().is_some_and(|extension| extension == "zst"),
            may_have_nul: true,
            // The row once, its key, and names around them.
            longest_line: 2 * longest + 1024,
        };
        self.push("\n");
        self.comment("the changes of all views");
        let stage = self.sql.stage_changes(&file);
        self.push(&stage);
        for view in views {
            self.push("\n");
            self.comment(&view.table);
            let name = self.sql.name(&view.name);
            let is_of_view = format!("{} = {}", self.sql.member(&["view"]), self.sql.text(&view.table));
            let key: Vec<String> = view
                .key
                .iter()
                .filter_map(|column| view.column(column))
                .map(|column| {
                    let value = self.sql.member(&["key", &column.column]);
                    format!("{value} = {name}.{}", self.sql.name(&column.name))
                })
                .collect();
            let delete = format!(
                "DELETE FROM {name}\nWHERE EXISTS (\n    SELECT 1 FROM {}\n    WHERE {is_of_view} AND {}\n);\n",
                self.sql.changes(),
                key.join("\n        AND ")
            );
            let select = self.select(view, RowsIn::Changes, &self.sql.changed_rows(view));
            let is_upsert = format!("{} = 'upsert'", self.sql.member(&["change"]));
            self.replace(&[delete, format!("{select}\nWHERE {is_of_view} AND {is_upsert};\n")]);
        }
        Ok(())
    }

    fn file_of(&self, table: &Table) -> Result<RowFile> {
        let name = table.file.as_deref().unwrap_or_default();
        let location = match &self.options.files_at {
            Some(prefix) => format!("{}/{name}", prefix.trim_end_matches('/')),
            None if self.schema.dialect.reads_local_files() => as_text(&self.options.space.join(name))?,
            None => return Err(self.needs_bucket()),
        };
        Ok(RowFile {
            location,
            is_zstd: table.is_zstd(),
            may_have_nul: table.columns.iter().any(|column| 0 < column.facts.n_with_nul),
            longest_line: table.longest_row,
        })
    }

    fn location_of_changes(&self, changes: &Path) -> Result<String> {
        let given = as_text(changes)?;
        let is_url = given.contains("://") || given.starts_with('@');
        if self.schema.dialect.reads_local_files() || is_url {
            return Ok(given);
        }
        let name = changes.file_name().unwrap_or_default().to_string_lossy();
        let prefix = self.options.files_at.as_ref().ok_or_else(|| self.needs_bucket())?;
        Ok(format!("{}/{name}", prefix.trim_end_matches('/')))
    }

    fn needs_bucket(&self) -> Error {
        let (title, example) = match self.schema.dialect {
            Dialect::Snowflake => ("Snowflake", "@STAGE/PATH"),
            Dialect::BigQuery => ("BigQuery", "gs://BUCKET/PATH"),
            Dialect::Databricks => ("Databricks", "/Volumes/CATALOG/SCHEMA/VOLUME"),
            other => (other.title(), "s3://BUCKET/PATH"),
        };
        Error::Refused(format!("{title} reads no files of this machine")).hint(format!(
            "copy the files of the space to it, and say where they are: `--files-at {example}`"
        ))
    }

    /// A comment on one line, whatever is in it.
    fn comment(&mut self, text: &str) {
        self.push(&format!("-- {}\n", escaped(text)));
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }
}

/// A path as it stands in a statement.
fn as_text(path: &Path) -> Result<String> {
    let text = path.to_str().filter(|text| !text.contains(['\n', '\r', '\0']));
    text.map(ToOwned::to_owned).ok_or_else(|| {
        Error::file(path, "no statement can name this path")
            .hint("give a path in UTF-8 without line ends, such as a link to it")
    })
}

/// Returns what a dialect cannot hold of a table as it is, a sentence each.
pub(crate) fn losses_of(table: &Table, dialect: Dialect) -> Vec<String> {
    let mut losses = Vec::new();
    for column in &table.columns {
        let name = if column.column.is_empty() { &column.name } else { &column.column };
        let place = format!("`{}`.`{name}`", table.table);
        let counted =
            |number: u64| if number == 1 { "1 value".to_owned() } else { format!("{number} values") };
        let (with_nul, long) = (column.facts.n_with_nul, column.facts.n_long);
        if 0 < with_nul && dialect.refuses_nul() {
            losses.push(format!(
                "{place}: {} with U+0000, which {} cannot store; loaded with U+FFFD in its place",
                counted(with_nul),
                dialect.title()
            ));
        }
        if 0 < long && dialect == Dialect::Redshift && dialects::sql(dialect).is_text(column) {
            losses.push(format!(
                "{place}: {} of more than 65,535 bytes, which Redshift cannot store as text; the load fails",
                counted(long)
            ));
        }
    }
    losses
}

/// Returns what the dialect cannot hold of all tables as it is, a sentence each.
#[must_use]
pub fn losses(schema: &Schema) -> Vec<String> {
    schema.tables.iter().flat_map(|table| losses_of(table, schema.dialect)).collect()
}
