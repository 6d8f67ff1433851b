//! The rows of `profile_traits_updates`, by profile.
//!
//! Rows stay in their files. Only their clocks and offsets are kept in memory, and the traits of a row that may be the
//! newest of its profile (see `kept.rs`). Other rows are read again if needed. In rows that this program wrote, the
//! traits come after everything that is needed here, so they are parsed only then.

use super::{
    graph::MergeGraph,
    group::gather,
    row_cache::{CachedBlock, CachedTraits, NewestRows, RowCache, RowCacheWriter},
    segments::{InternedOrNew, NewSegments, Segment, Segments},
    snapshot_reader::is_not_trait,
    trait_seqs::TRAIT_SEQS,
    traits_row::{TraitsRow, newest_is_enough},
};
use crate::{
    error::{Error, Result},
    json::JsonError,
    table::{
        blocks::{
            LineProblem, SharedProgress, TableBlock, line_error, map_blocks_backwards, non_blank_lines,
        },
        reread::{RowPosition, RowTexts},
        row::{RowReader, not_json},
        source::TableSource,
        to_u32, to_usize,
    },
    time::timestamp::Micros,
};

/// The rows of the table as read. Segment ids that are not in the graph have no numbers yet.
#[derive(Debug)]
pub struct TraitsRows {
    sources: Vec<TableSource>,
    blocks: Vec<ParsedTraitsBlock>,
}

#[derive(Debug, Default)]
struct ParsedTraitsBlock {
    n_rows: u64,
    rows: Vec<TraitsRow>,
    /// The `segment_id` of each row.
    met: Vec<InternedOrNew>,
    new: NewSegments,
    kept: CachedBlock,
}

/// The rows of the table, by profile.
#[derive(Debug)]
pub struct TraitsByProfile {
    sources: Vec<TableSource>,
    /// The rows, grouped by profile, oldest first.
    rows: Vec<TraitsRow>,
    starts: Vec<u32>,
    kept: RowCache,
    n_rows: u64,
}

impl TraitsRows {
    /// Reads the table as of a time; `None` includes all rows.
    pub fn read(
        sources: Vec<TableSource>,
        block_bytes: u64,
        as_of: Option<Micros>,
        meter: &SharedProgress<'_>,
        (segments, graph): (&Segments, &MergeGraph),
    ) -> Result<Self> {
        let newest = NewestRows::new(graph, sources.iter().map(TableSource::length).sum());
        let blocks = map_blocks_backwards(&sources, block_bytes, meter, |block| {
            parse(block, as_of, segments, RowCacheWriter::new(&newest, graph))
        })?;
        Ok(Self { sources, blocks })
    }

    /// Assigns numbers to the segment ids that are not in the graph.
    pub fn number(&mut self, segments: &mut Segments) {
        for block in &mut self.blocks {
            let new = segments.intern_all(&block.new);
            for (row, met) in block.rows.iter_mut().zip(&block.met) {
                row.segment = met.number(&new);
            }
        }
    }

    /// Groups the rows by profile.
    #[must_use]
    pub fn fold(self, graph: &MergeGraph, n_segments: u32) -> TraitsByProfile {
        let rows = self.blocks.iter().flat_map(|block| &block.rows);
        let rows = rows.map(|row| (graph.canonical(row.segment), *row));
        let (starts, rows) = gather(n_segments, rows, |rows| rows.sort_by_key(|row| row.clock.order()));
        let n_rows = self.blocks.iter().map(|block| block.n_rows).sum();
        let kept = self.blocks.into_iter().map(|block| block.kept).collect();
        let mut traits =
            TraitsByProfile { sources: self.sources, rows, starts, kept: RowCache::default(), n_rows };
        let kept = RowCache::new(kept, graph, n_segments, |profile| traits.rows_of(profile).last());
        traits.kept = kept;
        traits
    }
}

fn parse(
    block: TableBlock<'_>,
    as_of: Option<Micros>,
    segments: &Segments,
    mut keeper: RowCacheWriter<'_>,
) -> Result<ParsedTraitsBlock, (usize, LineProblem)> {
    let mut reader = RowReader::stopping_at_last(["segment_id", TRAIT_SEQS], is_not_trait);
    let mut parsed = ParsedTraitsBlock {
        rows: Vec::with_capacity(block.estimated_rows()),
        ..ParsedTraitsBlock::default()
    };
    let mut names = Vec::with_capacity(parsed.rows.capacity());
    let mut tails = Vec::with_capacity(parsed.rows.capacity());
    for (at, line) in non_blank_lines(block.text) {
        let row = reader.read(line, block.clean).map_err(|problem| (at, problem))?;
        parsed.n_rows += 1;
        let segment = row.required_name(0).map_err(|problem| (at, problem))?;
        if !row.clock.existed_at(as_of) {
            continue;
        }
        names.push(segment);
        tails.push(row.tail());
        let row = TraitsRow {
            segment: 0,
            clock: row.clock,
            with_seqs: row.has(1),
            place: RowPosition {
                source: block.source,
                offset: block.offset + at as u64,
                length: to_u32(line.len()),
            },
        };
        parsed.rows.push(row);
    }
    parsed.met = parsed.new.look_up_all(segments, &names);
    if block.clean {
        for ((row, met), &tail) in parsed.rows.iter().zip(&parsed.met).zip(&tails).rev() {
            if let InternedOrNew::Known(segment) = *met {
                let start = to_usize(row.place.offset - block.offset);
                keeper.add(&block.text[start..start + row.place.length as usize], tail, segment, row);
            }
        }
    }
    parsed.kept = keeper.into_block();
    Ok(parsed)
}

/// The rows of at most this many profiles are read again in place, even in compressed files.
const FEW_PROFILES: usize = 64;

impl TraitsByProfile {
    /// Returns the number of rows read.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Returns the rows of a profile, oldest first.
    #[must_use]
    pub fn rows_of(&self, profile: Segment) -> &[TraitsRow] {
        match (self.starts.get(profile as usize), self.starts.get(profile as usize + 1)) {
            (Some(&start), Some(&end)) => &self.rows[start as usize..end as usize],
            _ => &[],
        }
    }

    /// Returns the cached traits of a profile's newest row.
    pub(super) fn cached(&self, profile: Segment) -> Option<CachedTraits<'_>> {
        self.kept.of(profile)
    }

    /// Decompresses the compressed files if many rows must be read again, because each read would decompress a block of
    /// its file.
    pub fn decompressed_if_needed(mut self, graph: &MergeGraph) -> Result<Self> {
        let is_read_again = |profile: &Segment| {
            let rows = self.rows_of(*profile);
            !rows.is_empty() && (self.cached(*profile).is_none() || !newest_is_enough(rows, graph, true))
        };
        let n_again = (0..to_u32(self.starts.len())).filter(is_read_again).count();
        if FEW_PROFILES < n_again {
            self.sources = self.sources.into_iter().map(TableSource::load).collect::<Result<_>>()?;
        }
        Ok(self)
    }

    /// Reads the texts of the requested rows.
    pub fn load(&self, rows: &mut RowTexts) -> Result<()> {
        rows.load(&self.sources)
    }

    /// Returns the error for a row that cannot be parsed when it is read again.
    #[must_use]
    pub fn unreadable(&self, row: &TraitsRow, error: JsonError) -> Error {
        line_error(&self.sources[row.place.source as usize], row.place.offset, &not_json(error))
    }
}
