//! The rows of `profile_traits_updates`, by profile.
//!
//! Rows stay in their files. Only their clocks and offsets are kept in memory, and the traits of a row that may be the
//! newest of its profile (see `kept.rs`). Other rows are read again if needed. In rows that this program wrote, the
//! traits come after everything that is needed here, so they are parsed only then.

use super::{
    graph::Graph,
    group::gather,
    kept::{Keeper, Kept, KeptBlock, KeptRows, Newest},
    segments::{Met, NewSegments, Segment, Segments},
    snapshot_reader::is_no_trait,
    trait_seqs::TRAIT_SEQS,
    traits_row::{TraitsRow, newest_is_all},
};
use crate::{
    error::{Error, Result},
    json::JsonError,
    table::{
        as_size,
        blocks::{Block, Meter, Problem, line_error, map_blocks_backwards, rows},
        reread::{Place, RowTexts},
        row::{RowReader, not_json},
        small,
        source::Source,
    },
    time::timestamp::Micros,
};

/// The rows of the table as read. Segment ids that are not in the graph have no numbers yet.
#[derive(Debug)]
pub struct TraitsRows {
    sources: Vec<Source>,
    blocks: Vec<ParsedBlock>,
}

#[derive(Debug, Default)]
struct ParsedBlock {
    n_rows: u64,
    rows: Vec<TraitsRow>,
    /// The `segment_id` of each row.
    met: Vec<Met>,
    new: NewSegments,
    kept: KeptBlock,
}

/// The rows of the table, by profile.
#[derive(Debug)]
pub struct Traits {
    sources: Vec<Source>,
    /// The rows, grouped by profile, oldest first.
    rows: Vec<TraitsRow>,
    starts: Vec<u32>,
    kept: KeptRows,
    n_rows: u64,
}

impl TraitsRows {
    /// Reads the table as of a time; `None` includes all rows.
    pub fn read(
        sources: Vec<Source>,
        block_bytes: u64,
        as_of: Option<Micros>,
        meter: &Meter<'_>,
        (segments, graph): (&Segments, &Graph),
    ) -> Result<Self> {
        let newest = Newest::new(graph, sources.iter().map(Source::length).sum());
        let blocks = map_blocks_backwards(&sources, block_bytes, meter, |block| {
            parse(block, as_of, segments, Keeper::new(&newest, graph))
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
    pub fn fold(self, graph: &Graph, n_segments: u32) -> Traits {
        let rows = self.blocks.iter().flat_map(|block| &block.rows);
        let rows = rows.map(|row| (graph.canonical(row.segment), *row));
        let (starts, rows) = gather(n_segments, rows, |rows| rows.sort_by_key(|row| row.clock.order()));
        let n_rows = self.blocks.iter().map(|block| block.n_rows).sum();
        let kept = self.blocks.into_iter().map(|block| block.kept).collect();
        let mut traits = Traits { sources: self.sources, rows, starts, kept: KeptRows::default(), n_rows };
        let kept = KeptRows::new(kept, graph, n_segments, |profile| traits.rows_of(profile).last());
        traits.kept = kept;
        traits
    }
}

fn parse(
    block: Block<'_>,
    as_of: Option<Micros>,
    segments: &Segments,
    mut keeper: Keeper<'_>,
) -> Result<ParsedBlock, (usize, Problem)> {
    let mut reader = RowReader::until_last(["segment_id", TRAIT_SEQS], is_no_trait);
    let mut parsed = ParsedBlock { rows: Vec::with_capacity(block.n_rows_about()), ..ParsedBlock::default() };
    let mut names = Vec::with_capacity(parsed.rows.capacity());
    let mut tails = Vec::with_capacity(parsed.rows.capacity());
    for (at, line) in rows(block.text) {
        let row = reader.read(line, block.clean).map_err(|problem| (at, problem))?;
        parsed.n_rows += 1;
        let segment = row.name(0).map_err(|problem| (at, problem))?;
        if !row.clock.was_there(as_of) {
            continue;
        }
        names.push(segment);
        tails.push(row.tail());
        let row = TraitsRow {
            segment: 0,
            clock: row.clock,
            with_seqs: row.has(1),
            place: Place {
                source: block.source,
                offset: block.offset + at as u64,
                length: small(line.len()),
            },
        };
        parsed.rows.push(row);
    }
    parsed.met = parsed.new.meet_all(segments, &names);
    if block.clean {
        for ((row, met), &tail) in parsed.rows.iter().zip(&parsed.met).zip(&tails).rev() {
            if let Met::Known(segment) = *met {
                let start = as_size(row.place.offset - block.offset);
                keeper.meet(&block.text[start..start + row.place.length as usize], tail, segment, row);
            }
        }
    }
    parsed.kept = keeper.into_block();
    Ok(parsed)
}

/// The rows of at most this many profiles are read again in place, even in compressed files.
const FEW: usize = 64;

impl Traits {
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
    pub(super) fn kept(&self, profile: Segment) -> Option<Kept<'_>> {
        self.kept.of(profile)
    }

    /// Decompresses the compressed files if many rows must be read again, because each read would decompress a block of
    /// its file.
    pub fn unpacked(mut self, graph: &Graph) -> Result<Self> {
        let is_read_again = |profile: &Segment| {
            let rows = self.rows_of(*profile);
            !rows.is_empty() && (self.kept(*profile).is_none() || !newest_is_all(rows, graph, true))
        };
        let n_again = (0..small(self.starts.len())).filter(is_read_again).count();
        if FEW < n_again {
            self.sources = self.sources.into_iter().map(Source::into_unpacked).collect::<Result<_>>()?;
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
