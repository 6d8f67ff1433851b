//! The arguments of `schema`.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use profiles_sync::schema::Dialect;

use super::shared::{MessageFlags, ThreadsFlag};

const SCHEMA_HELP: &str = "\
Memory:
  A few megabytes for each thread, and what is known of each column. No row is
  kept.

Exit codes:
  0    did it
  2    failed; the error says why
  129  interrupted by SIGHUP
  130  interrupted by Ctrl-C
  143  interrupted by SIGTERM

Examples:
  Make and load all tables in PostgreSQL:
    profiles-sync schema --space out --dialect postgres | psql
  Remember what the warehouse has, and bring it up to date the next night:
    profiles-sync schema --space out --dialect postgres --format json > was.json
    profiles-sync schema --space out --dialect postgres --since was.json \\
      --night --upsert changes.ndjson | psql
  Load event tables from a bucket:
    profiles-sync schema --space out --dialect snowflake \\
      --files-at @stage/out --tables 'order_*,pages'";

/// Print the statements that load the tables into a warehouse
///
/// Reads all committed rows of a space, finds the narrowest type that holds every value of each column, and prints the
/// statements that make the tables in a warehouse and load them: all tables with a row, and the six views. Numbers keep
/// every digit. Nothing in the space is changed.
///
/// Paths in the statements are those of the working folder.
#[derive(Debug, Args)]
#[command(after_long_help = SCHEMA_HELP, args_override_self = true)]
pub(crate) struct SchemaArgs {
    /// The space to read
    ///
    /// The folder that `profiles-sync ingest` wrote. Only committed rows count. The statements name its files as this path
    /// is given.
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    pub(crate) space: PathBuf,
    /// Only these tables, separated by commas; globs work
    ///
    /// Only tables and views whose name is one of these, separated by commas. `*` stands for anything, as in `order_*`.
    #[arg(long, value_name = "TABLES", value_delimiter = ',', action = ArgAction::Set, num_args = 1)]
    #[arg(help_heading = "Input")]
    pub(crate) tables: Vec<String>,
    /// What the warehouse has: an earlier --format json
    ///
    /// A file that `--format json` wrote for the same dialect. The tables are changed to hold the new columns and values
    /// (`ALTER TABLE`) instead of being made. With --format json the result tells what the warehouse has after that.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) since: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: ThreadsFlag,
    /// duckdb, postgres, snowflake, bigquery, ...
    ///
    /// Whose SQL to write: duckdb, postgres, snowflake, bigquery, redshift or databricks.
    #[arg(long, value_enum, value_name = "DIALECT", hide_possible_values = true, help_heading = "Output")]
    dialect: DialectName,
    /// Print the statements, or what is known as JSON
    ///
    /// `sql` is the statements. `json` is one object with the columns and types of every table and a JSON Schema of its
    /// rows; `--since` reads it the next time.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = SchemaFormat::Sql)]
    #[arg(hide_possible_values = true, hide_default_value = true, help_heading = "Output")]
    format: SchemaFormat,
    /// Keep traits and properties in one JSON column
    ///
    /// Makes event tables and tables of traits of their fixed columns and one column, `row_json`, that holds the whole row
    /// as JSON: for warehouses that limit the number of columns.
    #[arg(long, help_heading = "Output")]
    pub(crate) columns_as_json: bool,
    /// Load only rows newer than those that are there
    ///
    /// Prints statements that add the rows whose `uuid_ts` is newer than the newest one in the warehouse. Tables without
    /// `uuid_ts`, and views unless --upsert is given, are loaded as a whole in place of their old rows.
    #[arg(long, help_heading = "Output")]
    pub(crate) night: bool,
    /// Bring the views up to date from this file of changes
    ///
    /// Prints statements that apply a file of `materialize --changes` to the six views.
    #[arg(long, value_name = "CHANGES", help_heading = "Output")]
    pub(crate) upsert: Option<PathBuf>,
    /// Where the warehouse finds the files: a bucket
    ///
    /// A bucket, stage or folder that holds copies of the files of the space: it stands in the statements in place of the
    /// space. All dialects but duckdb and postgres need it.
    #[arg(long, value_name = "PREFIX", help_heading = "Output")]
    pub(crate) files_at: Option<String>,
    #[command(flatten)]
    pub(crate) messages: MessageFlags,
}

impl SchemaArgs {
    /// The format, by either flag.
    pub(crate) fn format(&self) -> SchemaFormat {
        if self.messages.json { SchemaFormat::Json } else { self.format }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect.into()
    }
}

/// How a schema is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaFormat {
    Sql,
    Json,
}

/// A dialect, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DialectName {
    #[value(name = "duckdb")]
    DuckDb,
    Postgres,
    Snowflake,
    #[value(name = "bigquery")]
    BigQuery,
    Redshift,
    Databricks,
}

impl From<DialectName> for Dialect {
    fn from(typed: DialectName) -> Self {
        match typed {
            DialectName::DuckDb => Self::DuckDb,
            DialectName::Postgres => Self::Postgres,
            DialectName::Snowflake => Self::Snowflake,
            DialectName::BigQuery => Self::BigQuery,
            DialectName::Redshift => Self::Redshift,
            DialectName::Databricks => Self::Databricks,
        }
    }
}
