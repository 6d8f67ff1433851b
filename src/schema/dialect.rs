//! The warehouses whose SQL can be written.

use serde::{Deserialize, Serialize};

/// A warehouse whose SQL can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// DuckDB.
    DuckDb,
    /// PostgreSQL, run by `psql`.
    Postgres,
    /// Snowflake.
    Snowflake,
    /// BigQuery.
    BigQuery,
    /// Redshift.
    Redshift,
    /// Databricks.
    Databricks,
}

impl Dialect {
    /// All dialects.
    pub const ALL: [Self; 6] =
        [Self::DuckDb, Self::Postgres, Self::Snowflake, Self::BigQuery, Self::Redshift, Self::Databricks];

    /// Returns its name for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::DuckDb => "DuckDB",
            Self::Postgres => "PostgreSQL",
            Self::Snowflake => "Snowflake",
            Self::BigQuery => "BigQuery",
            Self::Redshift => "Redshift",
            Self::Databricks => "Databricks",
        }
    }

    /// Returns whether it reads files of the machine that runs the statements; the others read from a bucket.
    #[must_use]
    pub fn reads_local_files(self) -> bool {
        matches!(self, Self::DuckDb | Self::Postgres)
    }

    /// Returns whether it cannot store U+0000 in a text.
    #[must_use]
    pub fn refuses_nul(self) -> bool {
        self == Self::Postgres
    }
}
