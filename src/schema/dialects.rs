//! The SQL of each warehouse: names, types, and how a file of rows becomes rows of a table.

mod bigquery;
mod databricks;
mod duckdb;
mod postgres;
mod redshift;
mod snowflake;

use super::{dialect::Dialect, sql::Sql};

/// Returns the SQL of a dialect.
pub(crate) fn sql(dialect: Dialect) -> &'static dyn Sql {
    match dialect {
        Dialect::DuckDb => &duckdb::DuckDb,
        Dialect::Postgres => &postgres::Postgres,
        Dialect::Snowflake => &snowflake::Snowflake,
        Dialect::BigQuery => &bigquery::BigQuery,
        Dialect::Redshift => &redshift::Redshift,
        Dialect::Databricks => &databricks::Databricks,
    }
}
