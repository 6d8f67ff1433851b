//! Reads raw tables into the structures from which views are rendered.
//!
//! The graph comes first, because its segment ids are needed to parse the other tables.

use rayon::prelude::*;

use super::{
    View,
    graph::MergeGraph,
    identifiers::{IdentifierFold, IdentifierRows},
    segments::{Segment, Segments, ranks},
    traits::{TraitsByProfile, TraitsRows},
};
use crate::{
    error::Result,
    raw::{external_id_mapping_updates, id_graph_updates, profile_traits_updates},
    table::{
        blocks::{BLOCK_BYTES, SharedProgress},
        find::{RawTable, RawTableFile},
        source::TableSource,
    },
    time::timestamp::Micros,
};

/// Everything that views are rendered from.
#[derive(Debug)]
pub struct FoldedTables {
    /// The identity graph.
    pub graph: MergeGraph,
    /// All segment ids.
    pub segments: Segments,
    /// All segment ids, sorted by text.
    pub sorted: Vec<Segment>,
    /// The rank of each segment id in `sorted`.
    pub ranks: Vec<u32>,
    /// The mapped identifiers, if a view needs them.
    pub identifiers: Option<IdentifierFold>,
    /// The rows of traits, if a view needs them.
    pub traits: Option<TraitsByProfile>,
    /// Number of bytes read, after decompression.
    pub n_bytes: u64,
    n_profiles: u32,
}

/// The opened raw tables that the views need.
#[derive(Debug, Default)]
pub struct ViewSources {
    /// `id_graph_updates`, which all views need.
    pub graph: Vec<TableSource>,
    /// `external_id_mapping_updates`, if a view needs it.
    pub identifiers: Option<Vec<TableSource>>,
    /// `profile_traits_updates`, if a view needs it.
    pub traits: Option<Vec<TableSource>>,
}

impl ViewSources {
    /// Opens the raw tables that the views need.
    pub fn open(
        tables: &[RawTable],
        views: &[View],
        open: impl Fn(&RawTableFile) -> Result<TableSource> + Sync,
    ) -> Result<Self> {
        let open = |name: &str| -> Result<Option<Vec<TableSource>>> {
            let needed = views.iter().any(|view| view.tables().contains(&name));
            let Some(table) = tables.iter().find(|table| needed && table.name == name) else {
                return Ok(None);
            };
            let sources: Vec<_> = table.files.par_iter().map(&open).collect();
            sources.into_iter().collect::<Result<_>>().map(Some)
        };
        Ok(Self {
            graph: open(id_graph_updates::TABLE)?.unwrap_or_default(),
            identifiers: open(external_id_mapping_updates::TABLE)?,
            traits: open(profile_traits_updates::TABLE)?,
        })
    }

    /// Returns the number of bytes, after decompression.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        let all = self.graph.iter().chain(self.identifiers.iter().flatten());
        all.chain(self.traits.iter().flatten()).map(TableSource::length).sum()
    }
}

impl FoldedTables {
    /// Reads the raw tables as of a time; `None` includes all rows.
    pub fn read(sources: ViewSources, as_of: Option<Micros>, meter: &SharedProgress<'_>) -> Result<Self> {
        let n_bytes = sources.n_bytes();
        let (graph, mut segments) = MergeGraph::read(&sources.graph, BLOCK_BYTES, as_of, meter)?;
        let traits = sources
            .traits
            .map(|sources| TraitsRows::read(sources, BLOCK_BYTES, as_of, meter, (&segments, &graph)));
        let identifiers = sources
            .identifiers
            .map(|sources| IdentifierRows::read(&sources, BLOCK_BYTES, as_of, meter, &segments));
        let (mut traits, mut identifiers) = (traits.transpose()?, identifiers.transpose()?);
        if let Some(traits) = &mut traits {
            traits.number(&mut segments);
        }
        let n_profiles = segments.len();
        if let Some(identifiers) = &mut identifiers {
            identifiers.number(&mut segments);
        }
        let (identifiers, (traits, sorted)) = rayon::join(
            || identifiers.map(IdentifierRows::fold),
            || (traits.map(|rows| rows.fold(&graph, segments.len())), segments.sorted()),
        );
        let traits = traits.map(|traits| traits.decompressed_if_needed(&graph)).transpose()?;
        let ranks = ranks(&sorted);
        Ok(Self { graph, segments, sorted, ranks, identifiers, traits, n_bytes, n_profiles })
    }

    /// Returns whether every row of identifiers maps another identifier. If so, rows of one profile never affect
    /// identifiers of another.
    #[must_use]
    pub fn has_one_row_per_identifier(&self) -> bool {
        self.identifiers.as_ref().is_none_or(|identifiers| identifiers.n_mapped() == identifiers.n_rows())
    }

    /// Returns all profiles ever created, sorted by the text of their `segment_id`. A `segment_id` that only
    /// identifiers have is not a profile.
    #[must_use]
    pub fn profiles(&self) -> Vec<Segment> {
        self.sorted.iter().copied().filter(|&segment| segment < self.n_profiles).collect()
    }

    /// Returns the number of profiles that are not merged away.
    #[must_use]
    pub fn n_survivors(&self) -> u64 {
        let known = 0..self.graph.n_segments();
        known.filter(|&segment| self.graph.canonical(segment) == segment).count() as u64
    }

    /// Returns the number of rows read, by raw table.
    #[must_use]
    pub fn rows_read(&self) -> Vec<(&'static str, u64)> {
        let mut rows = vec![(id_graph_updates::TABLE, self.graph.n_rows())];
        rows.extend(
            self.identifiers.as_ref().map(|fold| (external_id_mapping_updates::TABLE, fold.n_rows())),
        );
        rows.extend(self.traits.as_ref().map(|fold| (profile_traits_updates::TABLE, fold.n_rows())));
        rows
    }
}
