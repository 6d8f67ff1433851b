//! From a space to its tables in a dialect.

use std::{collections::BTreeMap, path::PathBuf};

use rayon::prelude::*;

use super::{
    dialect::Dialect,
    dialects::sql,
    facts::{Class, Facts},
    fixed::{fixed_columns, is_clock, is_wide, kind_of},
    infer::TableFacts,
    model::{Column, Schema, Table},
    names::NameGiver,
};
use crate::{
    catalog::{self, TableKind},
    error::{Error, Result},
    files::Files,
    glob::Globs,
    progress::Progress,
    space::{
        manifest::{CommittedView, Manifest},
        table_state::CommittedTable,
        tables::committed_file,
    },
    table::{blocks::SharedProgress, source::TableSource},
    time::timestamp::push_micros,
};

/// What to read, and for whom.
#[derive(Debug, Clone)]
pub struct SchemaOptions {
    /// The space.
    pub space: PathBuf,
    /// The dialect of names and types.
    pub dialect: Dialect,
    /// The tables; none are all.
    pub tables: Vec<String>,
    /// Whether event tables and tables of traits have their fixed columns only, and one with the row as JSON.
    pub columns_as_json: bool,
}

/// The column that holds the whole row as JSON.
const ROW_COLUMN: &str = "row_json";

/// Reads all committed rows of the tables and views, and returns what a warehouse needs to hold them.
pub fn read(options: &SchemaOptions, files: &Files, progress: &dyn Progress) -> Result<Schema> {
    loop {
        let Some(manifest) = Manifest::read(&options.space, files)? else {
            return Err(Error::file(&options.space, "is not a space: it has no manifest")
                .hint("give the folder of a space with `--space DIR`"));
        };
        let schema = read_as(options, &manifest, files, progress);
        if schema.as_ref().is_err_and(Error::is_interrupted) {
            return schema;
        }
        // Views that another run replaced meanwhile are not those of this manifest.
        if Manifest::read(&options.space, files)?.is_some_and(|now| now.views == manifest.views) {
            return schema;
        }
    }
}

/// A table to be read.
struct Wanted<'a> {
    name: &'a str,
    /// What is committed; `None` for a view that was not made.
    committed: Option<CommittedTable>,
}

fn read_as(
    options: &SchemaOptions,
    manifest: &Manifest,
    files: &Files,
    progress: &dyn Progress,
) -> Result<Schema> {
    let globs = Globs::new(options.tables.clone());
    let wanted = wanted(manifest, &globs);
    if wanted.is_empty() {
        return Err(no_tables(options, manifest));
    }
    let bytes = wanted.iter().filter_map(|table| table.committed.as_ref()).map(|state| state.bytes).sum();
    progress.start("reading tables", Some(bytes));
    let meter = SharedProgress::new(progress);
    let read = |name: &str, state: &CommittedTable| {
        TableFacts::read(TableSource::open(&committed_file(&options.space, name, state), files)?, &meter)
    };
    let mut facts: Vec<TableFacts> = wanted
        .par_iter()
        .with_max_len(1)
        .map(|table| {
            table.committed.as_ref().map_or(Ok(TableFacts::default()), |state| read(table.name, state))
        })
        .collect::<Result<_>>()?;
    // The traits that a view will have once it is made.
    if let Some(place) =
        wanted.iter().position(|table| table.name == "profile_traits" && table.committed.is_none())
        && let Some(state) = manifest.tables.get(catalog::PROFILE_TRAITS_UPDATES)
    {
        let updates = wanted.iter().position(|table| table.name == catalog::PROFILE_TRAITS_UPDATES);
        let of_updates = match updates {
            Some(updates) => traits_of(&facts[updates]),
            None => traits_of(&read(catalog::PROFILE_TRAITS_UPDATES, state)?),
        };
        facts[place].columns = of_updates;
    }
    let mut names = NameGiver::new(sql(options.dialect).name_rules());
    let tables = wanted.iter().zip(&facts).map(|(table, facts)| {
        let file = table.committed.as_ref().and_then(|state| {
            let path = committed_file(&options.space, table.name, state).path;
            path.file_name().map(|name| name.to_string_lossy().into_owned())
        });
        describe(table.name, names.give(table.name), file, facts, options)
    });
    let tables: Vec<Table> = tables.collect();
    Ok(Schema {
        dialect: options.dialect,
        uuid_ts: (0 <= manifest.uuid_ts).then(|| {
            let mut text = Vec::new();
            push_micros(&mut text, manifest.uuid_ts);
            String::from_utf8_lossy(&text).into_owned()
        }),
        tables,
    })
}

/// The tables with a row and all views, by name.
fn wanted<'a>(manifest: &'a Manifest, globs: &Globs) -> Vec<Wanted<'a>> {
    let is_wanted = |name: &str| globs.is_empty() || globs.is_match(name);
    let tables = manifest.tables.iter().filter(|(_, state)| 0 < state.rows);
    let tables = tables.map(|(name, state)| Wanted { name, committed: Some(state.clone()) });
    let views = catalog::names_of(TableKind::View).map(|name| {
        let committed = manifest.views.get(name).map(CommittedView::as_table);
        Wanted { name, committed }
    });
    let mut wanted: Vec<_> = tables.chain(views).filter(|table| is_wanted(table.name)).collect();
    wanted.sort_by_key(|table| table.name);
    wanted
}

fn no_tables(options: &SchemaOptions, manifest: &Manifest) -> Error {
    let known: Vec<&str> =
        wanted(manifest, &Globs::default()).iter().map(|table| table.name).take(5).collect();
    Error::Refused(format!("no table is called like `{}`", options.tables.join(",")))
        .hint(format!("the space has `{}` and others; see its folder", known.join("`, `")))
}

/// The columns of `profile_traits_updates` that are traits.
fn traits_of(updates: &TableFacts) -> BTreeMap<String, Facts> {
    let fixed = fixed_columns(catalog::PROFILE_TRAITS_UPDATES);
    let traits = updates.columns.iter().filter(|(name, _)| !fixed.contains(&name.as_str()));
    traits.map(|(name, facts)| (name.clone(), *facts)).collect()
}

fn describe(
    table: &str,
    name: String,
    file: Option<String>,
    facts: &TableFacts,
    options: &SchemaOptions,
) -> Table {
    let dialect = options.dialect;
    let fixed = fixed_columns(table);
    // A view that was not made has the columns that it will have.
    let is_there = |column: &str| file.is_none() || facts.columns.contains_key(column);
    let others = facts.columns.keys().map(String::as_str).filter(|column| !fixed.contains(column));
    let as_json = options.columns_as_json && is_wide(table);
    let others: Vec<&str> = if as_json { Vec::new() } else { others.collect() };
    let mut names = NameGiver::new(sql(dialect).name_rules());
    let column = |column: &str| {
        let facts = facts.columns.get(column).copied().unwrap_or_default();
        let class = match facts.class(is_clock(table, column)) {
            // The fixed columns of a view that was not made.
            Class::Null if file.is_none() => Class::Text,
            class => class,
        };
        Column {
            name: names.give(column),
            column: column.to_owned(),
            sql_type: sql(dialect).type_of(class),
            class,
            values: facts.n_values,
            json_types: facts.json_types(),
            facts,
        }
    };
    let mut columns: Vec<Column> =
        fixed.iter().copied().filter(|name| is_there(name)).chain(others).map(column).collect();
    if as_json {
        columns.push(row_column(dialect, facts));
    }
    let info = catalog::find(table);
    Table {
        table: table.to_owned(),
        name,
        kind: match kind_of(table) {
            TableKind::Raw => "raw",
            TableKind::Event => "event",
            TableKind::Report => "report",
            TableKind::View => "view",
        }
        .to_owned(),
        grain: info.map_or_else(|| "one event of this name".to_owned(), |info| info.grain.to_owned()),
        key: info.map_or(&["id"][..], |info| info.key).iter().map(|&column| column.to_owned()).collect(),
        file,
        rows: facts.n_rows,
        columns,
        longest_row: facts.longest_row,
    }
}

/// The column that holds the row as JSON. It is named like no column of ours.
fn row_column(dialect: Dialect, facts: &TableFacts) -> Column {
    let mut of_row = Facts::default();
    of_row.n_with_nul = facts.columns.values().map(|column| column.n_with_nul).sum();
    Column {
        column: String::new(),
        name: (sql(dialect).name_rules().spell)(ROW_COLUMN),
        sql_type: sql(dialect).type_of(Class::Row),
        class: Class::Row,
        values: facts.n_rows,
        json_types: [super::facts::JsonType::Object].into(),
        facts: of_row,
    }
}
