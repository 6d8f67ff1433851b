//! Raw tables read into what views are rendered from.
//!
//! The graph comes first: the other tables are parsed with its segment ids at hand.

use rayon::prelude::*;

use super::{
    View,
    graph::Graph,
    identifiers::{IdentifierRows, Identifiers},
    segments::{Segment, Segments, ranks},
    traits::{Traits, TraitsRows},
};
use crate::{
    error::Result,
    event::timestamp::Micros,
    files::Files,
    raw::{external_id_mapping_updates, id_graph_updates, profile_traits_updates},
    table::{
        blocks::{BLOCK_BYTES, Meter},
        find::RawTable,
        source::Source,
    },
};

/// Everything that views are rendered from.
#[derive(Debug)]
pub struct Folds {
    /// Who was merged into whom.
    pub graph: Graph,
    /// All segment ids.
    pub segments: Segments,
    /// All segment ids by their text.
    pub sorted: Vec<Segment>,
    /// The place of each segment id among these.
    pub ranks: Vec<u32>,
    /// Where a view needs them.
    pub identifiers: Option<Identifiers>,
    /// Where a view needs them.
    pub traits: Option<Traits>,
    /// Bytes read, after decompression.
    pub n_bytes: u64,
    n_profiles: u32,
}

impl Folds {
    /// Reads the raw tables that the views need, as they stood at a time.
    pub fn read(
        tables: &[RawTable],
        views: &[View],
        as_of: Option<Micros>,
        files: &Files,
        meter: &Meter<'_>,
    ) -> Result<Self> {
        let open = |name: &str| -> Result<Option<Vec<Source>>> {
            let needed = views.iter().any(|view| view.tables().contains(&name));
            let Some(table) = tables.iter().find(|table| needed && table.name == name) else {
                return Ok(None);
            };
            let sources: Vec<_> = table.parts.par_iter().map(|part| Source::open(part, files)).collect();
            sources.into_iter().collect::<Result<_>>().map(Some)
        };
        let of_graph = open(id_graph_updates::TABLE)?.unwrap_or_default();
        let of_identifiers = open(external_id_mapping_updates::TABLE)?;
        let of_traits = open(profile_traits_updates::TABLE)?;
        let all = of_graph.iter().chain(of_identifiers.iter().flatten()).chain(of_traits.iter().flatten());
        let n_bytes = all.map(Source::length).sum();
        meter.start("reading raw tables", Some(n_bytes));

        let (graph, mut segments) = Graph::read(&of_graph, BLOCK_BYTES, as_of, meter)?;
        let traits = of_traits.map(|sources| TraitsRows::read(sources, BLOCK_BYTES, as_of, meter, &segments));
        let identifiers = of_identifiers
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
        let ranks = ranks(&sorted);
        Ok(Self { graph, segments, sorted, ranks, identifiers, traits, n_bytes, n_profiles })
    }

    /// All profiles ever created, by the text of their `segment_id`. One that only identifiers know is none.
    #[must_use]
    pub fn profiles(&self) -> Vec<Segment> {
        self.sorted.iter().copied().filter(|&segment| segment < self.n_profiles).collect()
    }

    /// Profiles that are not merged away.
    #[must_use]
    pub fn n_survivors(&self) -> u64 {
        let known = 0..self.graph.n_segments();
        known.filter(|&segment| self.graph.canonical(segment) == segment).count() as u64
    }

    /// Rows read, by raw table.
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
