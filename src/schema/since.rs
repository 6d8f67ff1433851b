//! What has changed in the columns since an earlier look.

use std::collections::BTreeMap;

use super::{
    dialect::Dialect,
    dialects::sql,
    facts::Class,
    model::{Column, Schema, Table},
    names::NameGiver,
};
use crate::error::{Error, Result};

/// How the tables of a warehouse have to change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// The tables, by their names in the space.
    pub tables: BTreeMap<String, TableChange>,
}

/// How a table has to change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableChange {
    /// The table is new.
    pub is_new: bool,
    /// Columns that are new, by their names in the rows.
    pub added: Vec<String>,
    /// Columns whose type changes, by their names in the rows, with their old types.
    pub retyped: BTreeMap<String, String>,
    /// Whether a cast would not give the values as they are in the rows, so that they are loaded again.
    pub is_reloaded: bool,
}

/// Widens a schema by what an earlier one had, as tables of a warehouse never lose a column nor a value, and returns what
/// has to change there.
pub fn add_since(schema: &mut Schema, earlier: &Schema) -> Result<Changed> {
    if schema.dialect != earlier.dialect {
        return Err(Error::Refused(format!(
            "the earlier schema is for {}, not for {}",
            earlier.dialect.title(),
            schema.dialect.title()
        ))
        .hint("give `--since` a file that was written with the same `--dialect`"));
    }
    let dialect = schema.dialect;
    let mut changed = Changed::default();
    keep_table_names(schema, earlier);
    for table in &mut schema.tables {
        let old = earlier.tables.iter().find(|old| old.table == table.table);
        let change = match old {
            Some(old) => add_table(table, old, dialect)?,
            None => TableChange { is_new: true, ..TableChange::default() },
        };
        if change != TableChange::default() {
            changed.tables.insert(table.table.clone(), change);
        }
    }
    // Tables that have no row any more are still in the warehouse.
    let gone = |old: &&Table| !schema.tables.iter().any(|table| table.table == old.table);
    let gone: Vec<Table> =
        earlier.tables.iter().filter(gone).map(|old| Table { file: None, rows: 0, ..old.clone() }).collect();
    schema.tables.extend(gone);
    schema.tables.sort_by(|one, other| one.table.cmp(&other.table));
    Ok(changed)
}

/// Gives tables the names that they have in the warehouse, and new ones names beside these.
fn keep_table_names(schema: &mut Schema, earlier: &Schema) {
    let mut names = NameGiver::new(sql(schema.dialect).name_rules());
    earlier.tables.iter().for_each(|old| names.keep(&old.name));
    for table in &mut schema.tables {
        let old = earlier.tables.iter().find(|old| old.table == table.table);
        table.name = old.map_or_else(|| names.give(&table.table), |old| old.name.clone());
    }
}

fn add_table(table: &mut Table, old: &Table, dialect: Dialect) -> Result<TableChange> {
    let has_row = |table: &Table| table.columns.iter().any(|column| column.class == Class::Row);
    if has_row(table) != has_row(old) {
        let (was, flag) = if has_row(old) { ("with", "give") } else { ("without", "leave out") };
        return Err(Error::Refused(format!("`{}` was loaded {was} `--columns-as-json`", table.table))
            .hint(format!("{flag} `--columns-as-json`, or load the table anew")));
    }
    let mut change = TableChange::default();
    let mut names = NameGiver::new(sql(dialect).name_rules());
    old.columns.iter().for_each(|column| names.keep(&column.name));
    for column in &mut table.columns {
        let Some(known) = old.column(&column.column) else {
            column.name = names.give(&column.column);
            change.added.push(column.column.clone());
            continue;
        };
        column.name.clone_from(&known.name);
        column.class = widened(column.class, known, dialect);
        column.sql_type = sql(dialect).type_of(column.class);
        column.json_types.extend(&known.json_types);
        if column.sql_type != known.sql_type {
            change.retyped.insert(column.column.clone(), known.sql_type.clone());
            change.is_reloaded |= is_respelled(known, column, dialect);
        }
    }
    let gone = old.columns.iter().filter(|known| table.column(&known.column).is_none());
    let gone: Vec<Column> = gone.map(|column| Column { values: 0, ..column.clone() }).collect();
    table.columns.extend(gone);
    Ok(change)
}

/// A column that is of texts in the warehouse stays so, unless it holds nothing.
fn widened(class: Class, known: &Column, dialect: Dialect) -> Class {
    let is_text = known.class != Class::Null && sql(dialect).is_text(known);
    if is_text { Class::Text } else { class.join(known.class) }
}

/// Whether a value would be another text after a cast than it is in the rows: `1.50` may have become `1.5000`.
fn is_respelled(known: &Column, column: &Column, dialect: Dialect) -> bool {
    sql(dialect).is_text(column)
        && (matches!(known.class, Class::Decimal { .. } | Class::Time) || sql(dialect).loses_digits(column))
}
