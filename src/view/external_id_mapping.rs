//! `external_id_mapping`: the current profile of each identifier, and since when.
//!
//! Grain: one mapped identifier. Key and order: `external_id_hash`, `external_id_type`, `external_id_value`. The clocks
//! are those of the later of two rows: the identifier's own, and the one that merged its profile away.

use super::folds::FoldedTables;
use crate::{
    error::Result,
    table::write::{CHUNK_ROWS, ViewStaging, ViewStats},
};

/// Writes the view.
pub fn write(folds: &FoldedTables, staging: &ViewStaging<'_>) -> Result<ViewStats> {
    let FoldedTables { graph, segments, identifiers: Some(identifiers), .. } = folds else {
        return Ok(ViewStats::default());
    };
    let sorted = identifiers.sorted_by_hash();
    staging.write_one("external_id_mapping", sorted.len(), CHUNK_ROWS, |range, page| {
        let some = &sorted[range];
        identifiers.prefetch(some, graph, segments);
        for &identifier in some {
            let own = &identifier.clock;
            let canonical = graph.canonical(identifier.segment);
            let merge = graph.mapping_clock(identifier.segment).filter(|_| canonical != identifier.segment);
            let clock = merge.filter(|merge| own.order() < merge.order()).unwrap_or(own);
            let out = &mut page.bytes;
            out.extend_from_slice(b"{\"canonical_segment_id\":");
            segments.push(out, canonical);
            out.extend_from_slice(b",\"external_id_type\":");
            identifiers.push_type(out, identifier);
            out.extend_from_slice(b",\"external_id_value\":");
            identifiers.push_value(out, identifier);
            out.extend_from_slice(b",\"external_id_hash\":");
            identifiers.push_hash(out, identifier);
            out.push(b',');
            clock.push_mapping(out);
            out.extend_from_slice(b"}\n");
            page.rows += 1;
        }
    })
}
