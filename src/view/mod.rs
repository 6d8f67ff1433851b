//! Views: the current profiles, folded from the raw tables. Each view is a pure function of these and sorted by its
//! key, byte by byte.
//!
//! [`folds`] reads the raw tables that the requested views need. [`graph`] resolves each `segment_id` to its profile,
//! [`identifiers`] finds the row that counts for each identifier, and [`traits`] finds the rows of each profile, from
//! which [`present`] and [`history`] compute its traits. The modules named after views render their rows. The rows of a
//! profile depend only on the raw rows of the segment ids merged into it.

pub mod components;
pub mod external_id_mapping;
pub mod folds;
pub mod graph;
pub mod group;
pub mod history;
pub mod id_graph;
pub mod identifiers;
mod keys;
pub mod present;
pub mod profile_merges;
pub mod profile_traits;
pub mod render;
mod row_cache;
pub mod row_key;
pub mod segments;
pub mod snapshot;
pub mod snapshot_reader;
pub mod trait_fold;
mod trait_seqs;
pub mod trait_views;
pub mod traits;
pub mod traits_row;
pub mod user_identifiers;
pub mod user_traits;

use crate::{
    catalog,
    raw::{external_id_mapping_updates, id_graph_updates, profile_traits_updates},
};

/// The raw tables from which views are built.
pub const RAW_TABLES: [&str; 3] =
    [id_graph_updates::TABLE, external_id_mapping_updates::TABLE, profile_traits_updates::TABLE];

/// One of the views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The current profile of each `segment_id`.
    IdGraph,
    /// The current profile of each identifier, and since when.
    ExternalIdMapping,
    /// The traits of each profile as columns.
    ProfileTraits,
    /// The traits of each profile as rows.
    UserTraits,
    /// The identifiers of each profile.
    UserIdentifiers,
    /// The segment ids of each profile.
    ProfileMerges,
}

impl View {
    /// All views.
    pub const ALL: [Self; 6] = [
        Self::IdGraph,
        Self::ExternalIdMapping,
        Self::ProfileTraits,
        Self::UserTraits,
        Self::UserIdentifiers,
        Self::ProfileMerges,
    ];

    /// Returns the name of the view's table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IdGraph => "id_graph",
            Self::ExternalIdMapping => "external_id_mapping",
            Self::ProfileTraits => "profile_traits",
            Self::UserTraits => "user_traits",
            Self::UserIdentifiers => "user_identifiers",
            Self::ProfileMerges => "profile_merges",
        }
    }

    /// Returns the columns of the view's key. Rows are sorted by these, byte by byte.
    #[must_use]
    pub fn key(self) -> &'static [&'static str] {
        catalog::find(self.name()).map_or(&[], |table| table.key)
    }

    /// Returns the raw tables from which the view is built.
    #[must_use]
    pub fn tables(self) -> &'static [&'static str] {
        match self {
            Self::IdGraph | Self::ProfileMerges => &[id_graph_updates::TABLE],
            Self::ExternalIdMapping | Self::UserIdentifiers => {
                &[id_graph_updates::TABLE, external_id_mapping_updates::TABLE]
            }
            Self::ProfileTraits | Self::UserTraits => {
                &[id_graph_updates::TABLE, profile_traits_updates::TABLE]
            }
        }
    }
}
