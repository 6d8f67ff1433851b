//! Rows of `profile_traits_updates` by their clocks: which counts, and which others it makes superfluous.

use super::{graph::MergeGraph, segments::Segment};
use crate::table::{
    clock::{Clock, NO_SEQ},
    reread::RowPosition,
};

/// A row of the table: its clocks and where to find it.
#[derive(Debug, Clone, Copy)]
pub struct TraitsRow {
    /// The `segment_id` for which it was written.
    pub segment: Segment,
    /// Clocks of the row.
    pub clock: Clock,
    /// Whether it has `__trait_seqs`.
    pub with_seqs: bool,
    /// Where the row is.
    pub place: RowPosition,
}

/// Returns whether a `segment_id` already belonged to the profile of a row when the row was written.
#[must_use]
pub fn is_absorbed(segment: Segment, row: &TraitsRow, graph: &MergeGraph) -> bool {
    graph.canonical_at(segment, &row.clock) == graph.canonical_at(row.segment, &row.clock)
}

/// Returns whether the newest row of a profile is enough.
pub(super) fn newest_is_enough(rows: &[TraitsRow], graph: &MergeGraph, with_clocks: bool) -> bool {
    let Some((newest, before)) = rows.split_last() else { return false };
    let mut other_segments = before.iter().filter(|row| row.segment != newest.segment);
    // If two profiles share a `seq`, it does not identify the row that set a trait.
    let shares_seq = |pair: &[TraitsRow]| pair[0].clock.seq() == pair[1].clock.seq();
    let clocks_known = !with_clocks
        || before.is_empty()
        || newest.with_seqs && (other_segments.clone().next().is_none() || !rows.windows(2).any(shares_seq));
    clocks_known && other_segments.all(|row| is_absorbed(row.segment, newest, graph))
}

/// Returns the index of the row with a `seq`. If there is only one row, it set everything.
pub(super) fn row_of_seq(rows: &[TraitsRow], seq: u64) -> Option<usize> {
    match (rows.len(), seq) {
        (1, _) => Some(0),
        (_, NO_SEQ) => None,
        _ => rows.binary_search_by_key(&seq, |row| row.clock.seq()).ok(),
    }
}
