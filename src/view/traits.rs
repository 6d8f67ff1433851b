//! The fold of `profile_traits_updates` that `profile_traits` and `user_traits` share.
//!
//! Every row is a full snapshot, and a merge that brings traits in writes one for the survivor. So the newest row of a
//! profile, over all segment ids merged into it, is its present state, and `__trait_seqs` in it says which row set each
//! trait: the one of that profile or of one merged into it that has this `seq`. That is the road of nearly every profile
//! in tables of ours: one row is read, whatever stands before it.
//!
//! A warehouse's export may lack both. Where `__trait_seqs` is missing, or a merge wrote no snapshot, all rows of the
//! profile are read and [`super::history`] says what became of them. Both roads give the same values where both can be
//! taken.
//!
//! Rows stay in their files: of each only clocks and place are kept in memory, and the text is read again when its profile
//! is rendered.

use super::{
    graph::Graph,
    group::group,
    history,
    segments::{Met, NewSegments, Segment, Segments},
    snapshot::{Snapshot, TRAIT_SEQS},
};
use crate::{
    error::{Error, Result},
    event::timestamp::Micros,
    table::{
        blocks::{Block, Meter, Problem, map_blocks, rows},
        clock::{Clock, NO_SEQ},
        reread::{Place, RowTexts},
        row::RowReader,
        small,
        source::Source,
    },
};

/// A row of the table: when it came to be, and where it is.
#[derive(Debug, Clone, Copy)]
pub struct TraitsRow {
    /// The `segment_id` it was written for.
    pub segment: Segment,
    /// Its clocks.
    pub clock: Clock,
    /// Whether it has `__trait_seqs`.
    pub with_seqs: bool,
    place: Place,
}

/// The rows of the table as read; segment ids that the graph does not know have no numbers yet.
#[derive(Debug)]
pub struct TraitsRows {
    sources: Vec<Source>,
    blocks: Vec<ParsedBlock>,
}

#[derive(Debug, Default)]
struct ParsedBlock {
    n_rows: u64,
    rows: Vec<(Met, TraitsRow)>,
    new: NewSegments,
}

/// The rows of the table by profile.
#[derive(Debug)]
pub struct Traits {
    sources: Vec<Source>,
    /// Rows of one profile together, oldest first.
    rows: Vec<TraitsRow>,
    starts: Vec<u32>,
    n_rows: u64,
}

/// A trait that a profile has now.
#[derive(Debug, Clone, Copy)]
pub struct Present<'a> {
    /// Its column.
    pub name: &'a [u8],
    /// Its value as compact JSON.
    pub json: &'a [u8],
    /// Whether the value is a string.
    pub is_text: bool,
    /// The row that set it, as an index into those of the profile.
    pub set_by: usize,
}

impl TraitsRows {
    /// Reads the table.
    pub fn read(
        sources: Vec<Source>,
        block_bytes: u64,
        as_of: Option<Micros>,
        meter: &Meter<'_>,
        segments: &Segments,
    ) -> Result<Self> {
        let blocks = map_blocks(&sources, block_bytes, meter, |block| parse(block, as_of, segments))?;
        Ok(Self { sources, blocks })
    }

    /// Puts the rows of each profile together, and numbers the segment ids that the graph does not know.
    #[must_use]
    pub fn fold(self, graph: &Graph, segments: &mut Segments) -> Traits {
        let mut rows = Vec::with_capacity(self.blocks.iter().map(|block| block.rows.len()).sum());
        let mut n_rows = 0;
        for block in self.blocks {
            n_rows += block.n_rows;
            let new = segments.intern_all(&block.new);
            rows.extend(
                block.rows.into_iter().map(|(met, row)| TraitsRow { segment: met.number(&new), ..row }),
            );
        }
        let (starts, mut places) = group(segments.len(), rows.iter().map(|row| graph.canonical(row.segment)));
        for bounds in starts.windows(2) {
            let places = &mut places[bounds[0] as usize..bounds[1] as usize];
            places.sort_by_key(|&place| rows[place as usize].clock.order());
        }
        let rows = places.into_iter().map(|place| rows[place as usize]).collect();
        Traits { sources: self.sources, rows, starts, n_rows }
    }
}

fn parse(
    block: Block<'_>,
    as_of: Option<Micros>,
    segments: &Segments,
) -> Result<ParsedBlock, (usize, Problem)> {
    let mut reader = RowReader::new(["segment_id", TRAIT_SEQS]);
    let mut parsed = ParsedBlock::default();
    for (at, line) in rows(block.text) {
        let row = reader.read(line).map_err(|problem| (at, problem))?;
        parsed.n_rows += 1;
        let segment = row.name(0).map_err(|problem| (at, problem))?;
        if !row.clock.was_there(as_of) {
            continue;
        }
        let met = parsed.new.meet(segments, &segment);
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
        parsed.rows.push((met, row));
    }
    Ok(parsed)
}

impl Traits {
    /// Rows read.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// The rows of a profile, oldest first.
    #[must_use]
    pub fn rows_of(&self, profile: Segment) -> &[TraitsRow] {
        match (self.starts.get(profile as usize), self.starts.get(profile as usize + 1)) {
            (Some(&start), Some(&end)) => &self.rows[start as usize..end as usize],
            _ => &[],
        }
    }
}

/// Folds profiles, a few hundred at a time. Reused.
#[derive(Debug, Default)]
pub struct Folder {
    rows: RowTexts,
    snapshots: Vec<Snapshot>,
}

impl Folder {
    /// Calls `each` for every profile with the traits it has now, by name, and its rows.
    ///
    /// Which row set a trait is found out only `with_clocks`.
    pub fn fold(
        &mut self,
        traits: &Traits,
        graph: &Graph,
        profiles: &[Segment],
        with_clocks: bool,
        mut each: impl FnMut(Segment, &[TraitsRow], &[Present<'_>]),
    ) -> Result<()> {
        self.rows.clear();
        for &profile in profiles {
            let rows = traits.rows_of(profile);
            let first = if newest_is_all(rows, graph, with_clocks) { rows.len() - 1 } else { 0 };
            for row in &rows[first..] {
                self.rows.want(row.place);
            }
        }
        self.rows.load(&traits.sources)?;
        let mut slot = 0;
        for &profile in profiles {
            let rows = traits.rows_of(profile);
            if rows.is_empty() {
                each(profile, rows, &[]);
                continue;
            }
            let newest_only = newest_is_all(rows, graph, with_clocks);
            let n_read = if newest_only { 1 } else { rows.len() };
            if self.snapshots.len() < rows.len() {
                self.snapshots.resize_with(rows.len(), Snapshot::default);
            }
            for (row, snapshot) in rows[rows.len() - n_read..].iter().zip(&mut self.snapshots) {
                let text = self.rows.text(slot);
                snapshot
                    .read(text, row.with_seqs && (with_clocks || !newest_only))
                    .map_err(|_| changed(traits, row))?;
                slot += 1;
            }
            if newest_only {
                let snapshot = &self.snapshots[0];
                let present: Option<Vec<Present<'_>>> = snapshot
                    .traits()
                    .iter()
                    .map(|one| {
                        let set_by = if with_clocks { row_of_seq(rows, one.seq)? } else { 0 };
                        let (name, json) = (snapshot.name(one), snapshot.json(one));
                        Some(Present { name, json, is_text: one.is_text, set_by })
                    })
                    .collect();
                if let Some(present) = present {
                    each(profile, rows, &present);
                    continue;
                }
                // A row that set a trait is not in the table.
                let mut rest = RowTexts::default();
                for row in rows {
                    rest.want(row.place);
                }
                rest.load(&traits.sources)?;
                for (place, (row, snapshot)) in rows.iter().zip(&mut self.snapshots).enumerate() {
                    snapshot.read(rest.text(place), row.with_seqs).map_err(|_| changed(traits, row))?;
                }
            }
            let snapshots = &self.snapshots[..rows.len()];
            each(profile, rows, &history::present(rows, snapshots, graph));
        }
        Ok(())
    }
}

/// Whether the newest row of a profile says everything that is asked.
fn newest_is_all(rows: &[TraitsRow], graph: &Graph, with_clocks: bool) -> bool {
    let Some((newest, before)) = rows.split_last() else { return false };
    let other_segments = || before.iter().filter(|row| row.segment != newest.segment);
    let clocks_known = !with_clocks
        || before.is_empty()
        || newest.with_seqs && (other_segments().next().is_none() || !seq_repeats(rows));
    clocks_known && other_segments().all(|row| history::is_absorbed(row.segment, newest, graph))
}

/// Two profiles may have a `seq` in common; which row set a trait is then not a matter of `seq` alone.
fn seq_repeats(rows: &[TraitsRow]) -> bool {
    rows.windows(2).any(|pair| pair[0].clock.seq() == pair[1].clock.seq())
}

/// The row with a `seq`.
fn row_of_seq(rows: &[TraitsRow], seq: u64) -> Option<usize> {
    if rows.len() == 1 {
        return Some(0);
    }
    if seq == NO_SEQ {
        return None;
    }
    rows.binary_search_by_key(&seq, |row| row.clock.seq()).ok()
}

fn changed(traits: &Traits, row: &TraitsRow) -> Error {
    Error::file(traits.sources[row.place.source as usize].path(), "the file changed while it was read")
}
