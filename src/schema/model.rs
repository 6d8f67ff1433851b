//! Tables and columns as a warehouse will have them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    dialect::Dialect,
    facts::{Class, Facts, JsonType},
};
use crate::{config::rules::Compression, table::find::table_of};

/// The tables of a space in a dialect.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Schema {
    /// The dialect of the names and types.
    pub dialect: Dialect,
    /// The newest `uuid_ts` in the space; null if nothing is committed.
    pub uuid_ts: Option<String>,
    /// The tables by name.
    pub tables: Vec<Table>,
}

/// A table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Table {
    /// Its name in the space.
    pub table: String,
    /// Its name in the warehouse.
    pub name: String,
    /// `raw`, `event`, `report` or `view`.
    pub kind: String,
    /// What one row is.
    pub grain: String,
    /// The columns that tell rows apart.
    pub key: Vec<String>,
    /// The name of its file; null for a view that was not made.
    pub file: Option<String>,
    /// Committed rows.
    pub rows: u64,
    /// The columns, fixed ones first.
    pub columns: Vec<Column>,
    /// Bytes of the longest row.
    #[serde(skip)]
    pub(crate) longest_row: usize,
}

/// A column of a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Column {
    /// Its name in the rows; empty for the column that holds the whole row as JSON.
    pub column: String,
    /// Its name in the warehouse.
    pub name: String,
    /// Its type in the warehouse.
    #[serde(rename = "type")]
    pub sql_type: String,
    /// The narrowest class of values that holds all of its own.
    #[serde(flatten)]
    pub class: Class,
    /// Rows in which it is not null.
    pub values: u64,
    /// The JSON types of its values, null aside.
    pub json_types: BTreeSet<JsonType>,
    #[serde(skip)]
    pub(crate) facts: Facts,
}

impl Table {
    /// Returns the column of this name in the rows.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.column == name)
    }

    /// Returns the column by whose values new rows are found, if every row has one.
    pub(crate) fn mark(&self) -> Option<&Column> {
        let mark = self.column("uuid_ts").filter(|column| column.class == Class::Time)?;
        (mark.values == self.rows && self.kind != "view").then_some(mark)
    }

    /// Returns whether the file of the table is compressed.
    pub(crate) fn is_zstd(&self) -> bool {
        self.file.as_deref().and_then(table_of).is_some_and(|(_, stored)| stored == Compression::Zstd)
    }

    /// Returns whether an array or object is among its values, so that a name may come twice in a row.
    pub(crate) fn has_nested(&self) -> bool {
        self.columns.iter().any(|column| column.facts.has_nested())
    }

    pub(crate) fn is_view(&self) -> bool {
        self.kind == "view"
    }
}
