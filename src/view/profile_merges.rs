//! `profile_merges`: the segment ids of each profile, including its own.
//!
//! Grain: one `segment_id` of `id_graph_updates`. Key and order: `canonical_segment_id`, `segment_id`. The clocks are
//! those of the row that set the mapping.

use super::{folds::FoldedTables, group::group, segments::Segment};
use crate::{
    error::Result,
    table::write::{CHUNK_ROWS, ViewStaging, ViewStats},
};

/// Writes the view.
pub fn write(folds: &FoldedTables, staging: &ViewStaging<'_>) -> Result<ViewStats> {
    let FoldedTables { graph, segments, .. } = folds;
    let sorted = sorted(folds);
    staging.write_one("profile_merges", sorted.len(), CHUNK_ROWS, |range, page| {
        for &segment in &sorted[range] {
            let Some(clock) = graph.mapping_clock(segment) else { continue };
            let out = &mut page.bytes;
            out.extend_from_slice(b"{\"canonical_segment_id\":");
            segments.push(out, graph.canonical(segment));
            out.extend_from_slice(b",\"segment_id\":");
            segments.push(out, segment);
            out.push(b',');
            clock.push_all(out);
            out.extend_from_slice(b"}\n");
            page.rows += 1;
        }
    })
}

/// Returns the segment ids in the order of the view.
fn sorted(folds: &FoldedTables) -> Vec<Segment> {
    let FoldedTables { graph, ranks, segments, .. } = folds;
    let known: Vec<Segment> =
        folds.sorted.iter().copied().filter(|&segment| segment < graph.n_segments()).collect();
    // Within each profile, the segment ids stay sorted by text.
    let profiles = known.iter().map(|&segment| ranks[graph.canonical(segment) as usize]);
    let (_, places) = group(segments.len(), profiles);
    places.into_iter().map(|place| known[place as usize]).collect()
}
