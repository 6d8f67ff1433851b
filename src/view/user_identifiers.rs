//! `user_identifiers`: the identifiers of each profile.
//!
//! Grain: one mapped identifier. Key and order: `canonical_segment_id`, `type`, `value`. The clocks are those of the
//! identifier's own row, regardless of later merges.

use super::folds::FoldedTables;
use crate::{
    error::Result,
    table::write::{CHUNK_ROWS, ViewStaging, ViewStats},
};

/// Writes the view.
pub fn write(folds: &FoldedTables, staging: &ViewStaging<'_>) -> Result<ViewStats> {
    let FoldedTables { graph, segments, ranks, identifiers: Some(identifiers), .. } = folds else {
        return Ok(ViewStats::default());
    };
    let sorted = identifiers.sorted_by_profile(graph, ranks);
    staging.write_one("user_identifiers", sorted.len(), CHUNK_ROWS, |range, page| {
        for &identifier in &sorted[range] {
            let out = &mut page.bytes;
            out.extend_from_slice(b"{\"canonical_segment_id\":");
            segments.push(out, graph.canonical(identifier.segment));
            out.extend_from_slice(b",\"type\":");
            identifiers.push_type(out, identifier);
            out.extend_from_slice(b",\"value\":");
            identifiers.push_value(out, identifier);
            out.push(b',');
            identifier.clock.push_all(out);
            out.extend_from_slice(b"}\n");
            page.rows += 1;
        }
    })
}
