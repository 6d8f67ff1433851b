//! `id_graph`: the current profile of each `segment_id`.
//!
//! Grain: one `segment_id` of `id_graph_updates`. Key and order: `segment_id`. The clocks are those of the row that set
//! the mapping.

use super::folds::FoldedTables;
use crate::{
    error::Result,
    table::write::{CHUNK_ROWS, ViewStaging, ViewStats},
};

/// Writes the view.
pub fn write(folds: &FoldedTables, staging: &ViewStaging<'_>) -> Result<ViewStats> {
    let FoldedTables { graph, segments, sorted, .. } = folds;
    staging.write_one("id_graph", sorted.len(), CHUNK_ROWS, |range, page| {
        for &segment in &sorted[range] {
            let Some(clock) = graph.mapping_clock(segment) else { continue };
            let out = &mut page.bytes;
            out.extend_from_slice(b"{\"segment_id\":");
            segments.push(out, segment);
            out.extend_from_slice(b",\"canonical_segment_id\":");
            segments.push(out, graph.canonical(segment));
            out.push(b',');
            clock.push_mapping(out);
            out.extend_from_slice(b"}\n");
            page.rows += 1;
        }
    })
}
