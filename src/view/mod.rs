//! Views: the present state, folded from raw tables. Each is a pure function of them and sorted by its key, byte-wise.
//!
//! [`folds`] reads the raw tables that the views asked for need: [`graph`] says which profile a `segment_id` belongs to,
//! [`identifiers`] which row of an identifier counts, [`traits`] which rows a profile has; [`present`] and [`history`] make
//! its traits of them. The files named like views render their rows. A profile's rows depend on the raw rows of the
//! segment ids merged into it and on nothing else.

pub mod components;
pub mod external_id_mapping;
pub mod folds;
pub mod graph;
pub mod group;
pub mod history;
pub mod id_graph;
pub mod identifiers;
mod kept;
mod keys;
pub mod present;
pub mod profile_merges;
pub mod profile_traits;
pub mod row_key;
pub mod segments;
pub mod snapshot;
mod trait_seqs;
pub mod trait_views;
pub mod traits;
pub mod user_identifiers;
pub mod user_traits;

use crate::{
    catalog,
    raw::{external_id_mapping_updates, id_graph_updates, profile_traits_updates},
};

/// The raw tables that views are made of.
pub const RAW_TABLES: [&str; 3] =
    [id_graph_updates::TABLE, external_id_mapping_updates::TABLE, profile_traits_updates::TABLE];

/// A view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Which profile a `segment_id` is now.
    IdGraph,
    /// Which profile an identifier maps to now, and since when.
    ExternalIdMapping,
    /// The traits of a profile as columns.
    ProfileTraits,
    /// The traits of a profile as rows.
    UserTraits,
    /// The identifiers of a profile.
    UserIdentifiers,
    /// The segment ids of a profile.
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

    /// The name of its table.
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

    /// The columns of its key: its rows stand in their order, byte-wise.
    #[must_use]
    pub fn key(self) -> &'static [&'static str] {
        catalog::find(self.name()).map_or(&[], |table| table.key)
    }

    /// The raw tables it is made of.
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
