//! The fold of `id_graph_updates`: which profile a `segment_id` belongs to, now and at any time before.
//!
//! The newest row of a `segment_id` counts. It may map to a `segment_id` that is merged itself, as in tables without
//! recursive entries. The chain is then followed to its end, and the mapping gets the clocks of the newest row in the
//! chain, except for the creation row at its end. A segment id without rows is its own profile.

use super::{
    group::gather,
    segments::{Segment, Segments},
};
use crate::{
    collections::local_key_of,
    error::{Error, Result},
    raw::id_graph_updates::TABLE,
    table::{
        blocks::{LineProblem, SharedProgress, TableBlock, map_blocks, non_blank_lines},
        clock::Clock,
        row::RowReader,
        source::TableSource,
        to_u32,
    },
    time::timestamp::Micros,
};

/// One row, without its `segment_id`.
#[derive(Debug, Clone, Copy)]
struct Mapping {
    canonical: Segment,
    clock: Clock,
}

/// The identity graph: which segment ids were merged into which.
#[derive(Debug)]
pub struct MergeGraph {
    /// The rows, grouped by segment id, oldest first.
    mappings: Vec<Mapping>,
    /// The index of each segment id's first row, and the end of the last group.
    starts: Vec<u32>,
    present: Vec<CurrentProfile>,
    n_rows: u64,
}

/// The current profile of a `segment_id`.
#[derive(Debug, Clone, Copy)]
struct CurrentProfile {
    canonical: Segment,
    /// The row that set it, as an index into `mappings`.
    set_by: Option<u32>,
}

impl MergeGraph {
    /// Reads the table and assigns numbers to its segment ids. Fails if it merges in a circle.
    pub fn read(
        sources: &[TableSource],
        block_bytes: u64,
        as_of: Option<Micros>,
        meter: &SharedProgress<'_>,
    ) -> Result<(Self, Segments)> {
        let blocks = map_blocks(sources, block_bytes, meter, |block| parse(block, as_of))?;
        let mut rows = Vec::with_capacity(blocks.iter().map(|block| block.rows.len()).sum());
        let mut segments = Segments::with_capacity(rows.capacity());
        let mut n_rows = 0;
        for block in &blocks {
            n_rows += block.n_rows;
            let mut start = 0;
            for row in &block.rows {
                let middle = start + row.segment_length as usize;
                let end = middle + row.canonical_length as usize;
                let segment = segments.intern_key(row.segment_key, &block.texts[start..middle]);
                let canonical =
                    if middle == end { segment } else { segments.intern(&block.texts[middle..end]) };
                rows.push((segment, Mapping { canonical, clock: row.clock }));
                start = end;
            }
        }
        let (starts, mappings) =
            gather(segments.len(), rows.iter().copied(), |rows| rows.sort_by_key(|row| row.clock.order()));
        let mut graph = Self { mappings, starts, present: Vec::new(), n_rows };
        graph.present = graph.resolve().map_err(|circle| {
            let names: Vec<_> =
                circle.iter().map(|&segment| String::from_utf8_lossy(segments.text(segment))).collect();
            let message = format!("`{TABLE}` merges in a circle: `{}`", names.join("` -> `"));
            Error::Refused(message).hint("correct the newest row of one of these segment ids")
        })?;
        Ok((graph, segments))
    }

    /// Returns the number of rows read.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Returns the number of segment ids in the table. Their numbers are all smaller.
    #[must_use]
    pub fn n_segments(&self) -> u32 {
        to_u32(self.present.len())
    }

    /// Returns the current profile of a `segment_id`.
    #[must_use]
    pub fn canonical(&self, segment: Segment) -> Segment {
        self.present.get(segment as usize).map_or(segment, |present| present.canonical)
    }

    /// Returns the clocks of the row that set the current profile; `None` for a segment id without rows.
    #[must_use]
    pub fn mapping_clock(&self, segment: Segment) -> Option<&Clock> {
        let set_by = self.present.get(segment as usize)?.set_by?;
        Some(&self.mappings[set_by as usize].clock)
    }

    /// Returns the profile that a `segment_id` had when the row with these clocks was written.
    #[must_use]
    pub fn canonical_at(&self, segment: Segment, clock: &Clock) -> Segment {
        let mut met = vec![segment];
        let mut at = segment;
        while let Some(mapping) = self.rows_of(at).iter().rev().find(|row| row.clock.order() <= clock.order())
            // If a later row broke a circle, any segment id of it will do, as long as it is always the same one.
            && !met.contains(&mapping.canonical)
        {
            at = mapping.canonical;
            met.push(at);
        }
        at
    }

    fn rows_of(&self, segment: Segment) -> &[Mapping] {
        match (self.starts.get(segment as usize), self.starts.get(segment as usize + 1)) {
            (Some(&start), Some(&end)) => &self.mappings[start as usize..end as usize],
            _ => &[],
        }
    }

    /// Follows every chain to its end. If there is a circle, returns its segment ids as the error.
    fn resolve(&self) -> Result<Vec<CurrentProfile>, Vec<Segment>> {
        let n_segments = self.starts.len() - 1;
        let mut present: Vec<Option<CurrentProfile>> = vec![None; n_segments];
        let mut on_path = vec![false; n_segments];
        let mut path: Vec<(Segment, u32)> = Vec::new();
        for first in 0..to_u32(n_segments) {
            let mut at = first;
            let mut end = loop {
                if let Some(known) = present[at as usize] {
                    break known;
                }
                if on_path[at as usize] {
                    let circle =
                        path.iter().map(|&(segment, _)| segment).skip_while(|&segment| segment != at);
                    return Err(circle.chain([at]).collect());
                }
                let newest = self.starts[at as usize + 1];
                if self.starts[at as usize] == newest {
                    break *present[at as usize].insert(CurrentProfile { canonical: at, set_by: None });
                }
                let newest = newest - 1;
                let next = self.mappings[newest as usize].canonical;
                if next == at {
                    break *present[at as usize]
                        .insert(CurrentProfile { canonical: at, set_by: Some(newest) });
                }
                on_path[at as usize] = true;
                path.push((at, newest));
                at = next;
            };
            if end.canonical == at {
                // The creation row of the survivor did not merge anything.
                end.set_by = None;
            }
            while let Some((segment, row)) = path.pop() {
                let order = |row: u32| self.mappings[row as usize].clock.order();
                let newest = end.set_by.filter(|&later| order(row) < order(later)).unwrap_or(row);
                end.set_by = Some(newest);
                present[segment as usize] = Some(end);
                on_path[segment as usize] = false;
            }
        }
        Ok(present.into_iter().flatten().collect())
    }
}

/// The rows of a block. Their texts are concatenated; the canonical id is omitted if it equals the segment id.
struct ParsedGraphBlock {
    n_rows: u64,
    rows: Vec<ParsedGraphRow>,
    texts: Vec<u8>,
}

struct ParsedGraphRow {
    segment_key: u128,
    segment_length: u32,
    canonical_length: u32,
    clock: Clock,
}

fn parse(block: TableBlock<'_>, as_of: Option<Micros>) -> Result<ParsedGraphBlock, (usize, LineProblem)> {
    let mut reader = RowReader::new(["segment_id", "canonical_segment_id"]);
    let n_rows = block.estimated_rows();
    let (rows_room, texts_room) = (Vec::with_capacity(n_rows), Vec::with_capacity(32 * n_rows));
    let mut parsed = ParsedGraphBlock { n_rows: 0, rows: rows_room, texts: texts_room };
    for (at, line) in non_blank_lines(block.text) {
        let mut add = || -> Result<(), LineProblem> {
            let row = reader.read(line, block.clean)?;
            let (segment, canonical) = (row.required_name(0)?, row.required_name(1)?);
            parsed.n_rows += 1;
            if !row.clock.existed_at(as_of) {
                return Ok(());
            }
            let canonical = if segment == canonical { &b""[..] } else { &canonical };
            parsed.texts.extend_from_slice(&segment);
            parsed.texts.extend_from_slice(canonical);
            parsed.rows.push(ParsedGraphRow {
                segment_key: local_key_of(&segment),
                segment_length: to_u32(segment.len()),
                canonical_length: to_u32(canonical.len()),
                clock: row.clock,
            });
            Ok(())
        };
        add().map_err(|problem| (at, problem))?;
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{files::Files, progress::Silent, table::find::RawTableFile};

    /// Reads rows given as `segment_id canonical_segment_id seq`.
    fn read(rows: &[(&str, &str, u64)]) -> Result<(Segments, MergeGraph)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id_graph_updates.ndjson");
        let mut out = Files::real().create(&path).unwrap();
        for (segment, canonical, seq) in rows {
            let row = format!(
                "{{\"segment_id\":\"{segment}\",\"canonical_segment_id\":\"{canonical}\",\"seq\":{seq}}}\n"
            );
            out.write_all(row.as_bytes()).unwrap();
        }
        let source = TableSource::open(&RawTableFile { path, committed: None }, &Files::real()).unwrap();
        let (graph, segments) = MergeGraph::read(&[source], 64, None, &SharedProgress::new(&Silent))?;
        Ok((segments, graph))
    }

    /// Checks the `segment_id`, `canonical_segment_id` and `seq` of all segment ids in the order of first occurrence; a
    /// segment id without rows has no `seq`.
    fn check(rows: &[(&str, &str, u64)], expected: &[(&str, &str, Option<u64>)]) {
        let (segments, graph) = read(rows).unwrap();
        assert_eq!(segments.len() as usize, expected.len());
        for (number, (segment, canonical, seq)) in (0..).zip(expected) {
            assert_eq!(segments.text(number), segment.as_bytes());
            assert_eq!(segments.text(graph.canonical(number)), canonical.as_bytes(), "{segment}");
            let clock = graph.mapping_clock(number);
            assert_eq!(clock.map(Clock::seq), seq.map(|seq| seq + 1), "{segment}");
        }
    }

    #[test]
    fn the_newest_row_counts_in_any_order() {
        check(&[("a", "a", 1), ("b", "a", 3), ("b", "b", 2)], &[("a", "a", Some(1)), ("b", "a", Some(3))]);
    }

    #[test]
    fn chains_are_followed_and_have_the_clock_of_their_newest_row() {
        check(
            &[("a", "b", 5), ("b", "c", 7), ("c", "d", 6), ("d", "d", 9)],
            &[("a", "d", Some(7)), ("b", "d", Some(7)), ("c", "d", Some(6)), ("d", "d", Some(9))],
        );
        check(
            &[("c", "d", 6), ("b", "c", 7), ("a", "b", 5)],
            &[("c", "d", Some(6)), ("d", "d", None), ("b", "d", Some(7)), ("a", "d", Some(7))],
        );
    }

    #[test]
    fn a_circle_is_an_error_that_names_it() {
        let error = read(&[("x", "a", 9), ("a", "b", 1), ("b", "c", 2), ("c", "a", 3)]).unwrap_err();
        assert_eq!(error.to_string(), "`id_graph_updates` merges in a circle: `a` -> `b` -> `c` -> `a`");
    }

    #[test]
    fn the_graph_remembers_how_it_was() {
        let (segments, graph) =
            read(&[("a", "a", 1), ("b", "b", 2), ("c", "c", 3), ("c", "b", 4), ("b", "a", 5), ("c", "a", 5)])
                .unwrap();
        for (seq, canonical) in [(2, "c"), (3, "c"), (4, "b"), (5, "a")] {
            let row = format!("{{\"seq\":{seq}}}");
            let clock = RowReader::new([]).read(row.as_bytes(), true).unwrap().clock;
            assert_eq!(segments.text(graph.canonical_at(2, &clock)), canonical.as_bytes(), "{seq}");
        }
    }
}
