//! Traits kept from the first reading of a row, so that it need not be read again.
//!
//! The newest row of a profile says all about its traits in tables of ours, and which row that is becomes known only when
//! all were read. Blocks are read from the end, so that the first row met of a profile is mostly its newest one: its traits
//! are kept, those of rows that are known to be older are not. This saves reading; it decides nothing. A row of which nothing
//! is kept is read again where its traits are needed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{
    graph::Graph,
    present::{Present, row_of_seq},
    segments::Segment,
    snapshot::{Snapshot, SnapshotReader},
    traits::TraitsRow,
};
use crate::table::{clock::NO_SEQ, reread::Place, small};

/// The newest row met of each profile, while blocks are read on all cores.
#[derive(Debug)]
pub(super) struct Newest {
    seqs: Vec<AtomicU64>,
    /// How many more bytes may be kept.
    room: AtomicU64,
}

/// Of the bytes of the table this part is kept at the most.
const LARGEST_SHARE: u64 = 5;
/// However large the table, no more bytes than these are kept.
const MOST_BYTES: u64 = 1 << 28;

impl Newest {
    /// Of the profiles of a graph, and a table of so many bytes.
    pub(super) fn new(graph: &Graph, n_bytes: u64) -> Self {
        let seqs = (0..graph.n_segments()).map(|_| AtomicU64::new(NO_SEQ)).collect();
        Self { seqs, room: AtomicU64::new((n_bytes / LARGEST_SHARE).min(MOST_BYTES)) }
    }

    /// Whether no newer row of the profile was met yet.
    fn may_be(&self, profile: Segment, seq: u64) -> bool {
        let Some(newest) = self.seqs.get(profile as usize) else { return false };
        seq != NO_SEQ && newest.fetch_max(seq, Relaxed) <= seq
    }
}

/// Of some rows of a block the traits.
#[derive(Debug, Default)]
pub(super) struct KeptBlock {
    rows: Vec<KeptRow>,
    /// `,"name":json` for each trait, by name.
    texts: Vec<u8>,
    traits: Vec<KeptTrait>,
}

#[derive(Debug)]
struct KeptRow {
    segment: Segment,
    place: Place,
    /// Where its texts and its traits end.
    texts: u32,
    traits: u32,
}

#[derive(Debug)]
struct KeptTrait {
    /// Where its name and its value end.
    name: u32,
    json: u32,
    seq: u64,
}

/// Keeps traits of rows of one block. They are met from the last to the first.
pub(super) struct Keeper<'a> {
    newest: &'a Newest,
    graph: &'a Graph,
    reader: SnapshotReader,
    snapshot: Snapshot,
    kept: KeptBlock,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(newest: &'a Newest, graph: &'a Graph) -> Self {
        let (reader, snapshot, kept) = Default::default();
        Self { newest, graph, reader, snapshot, kept }
    }

    /// Keeps what a row says, where it may be the newest of its profile.
    ///
    /// Of a row of ours `tail` says where the value of `__trait_seqs` begins.
    pub(super) fn meet(&mut self, line: &[u8], tail: Option<usize>, segment: Segment, row: &TraitsRow) {
        let Self { newest, graph, reader, snapshot, kept } = self;
        if !row.with_seqs || !newest.may_be(graph.canonical(segment), row.clock.seq()) {
            return;
        }
        let is_ours = tail.is_some_and(|start| reader.read_ours(line, start, snapshot).is_some());
        if !is_ours
            && (reader.read(line, true, snapshot).is_err()
                || snapshot.traits().iter().any(|one| !one.is_plain))
        {
            return;
        }
        let start = kept.texts.len();
        let verbatim = snapshot.verbatim();
        if let Some(texts) = verbatim {
            kept.texts.extend_from_slice(texts);
            let (base, traits) = (small(start), snapshot.traits().iter());
            kept.traits.extend(traits.map(|one| {
                let (name, json) = Snapshot::ends(one);
                KeptTrait { name: base + name, json: base + json, seq: one.seq }
            }));
        }
        for one in snapshot.traits().iter().filter(|_| verbatim.is_none()) {
            kept.texts.extend_from_slice(b",\"");
            kept.texts.extend_from_slice(snapshot.name(one));
            kept.texts.push(b'"');
            let name = small(kept.texts.len());
            kept.texts.push(b':');
            kept.texts.extend_from_slice(snapshot.json(one));
            kept.traits.push(KeptTrait { name, json: small(kept.texts.len()), seq: one.seq });
        }
        let size = kept.texts.len() - start + snapshot.traits().len() * size_of::<KeptTrait>();
        let size = (size + size_of::<KeptRow>()) as u64;
        if newest.room.fetch_update(Relaxed, Relaxed, |room| room.checked_sub(size)).is_err() {
            kept.texts.truncate(start);
            kept.traits.truncate(kept.traits.len() - snapshot.traits().len());
            return;
        }
        let (texts, traits) = (small(kept.texts.len()), small(kept.traits.len()));
        kept.rows.push(KeptRow { segment, place: row.place, texts, traits });
    }

    pub(super) fn into_block(self) -> KeptBlock {
        let mut kept = self.kept;
        kept.texts.shrink_to_fit();
        kept.traits.shrink_to_fit();
        kept.rows.shrink_to_fit();
        kept
    }
}

/// What was kept, by profile.
#[derive(Debug, Default)]
pub(super) struct KeptRows {
    blocks: Vec<KeptBlock>,
    /// Of each profile the block and the row in it; [`NOTHING`] where nothing was kept of its newest row.
    by_profile: Vec<(u32, u32)>,
}

const NOTHING: (u32, u32) = (u32::MAX, u32::MAX);

impl KeptRows {
    /// Finds what was kept of the newest row of each of so many profiles.
    pub(super) fn new<'r>(
        blocks: Vec<KeptBlock>,
        graph: &Graph,
        n_segments: u32,
        newest_of: impl Fn(Segment) -> Option<&'r TraitsRow>,
    ) -> Self {
        let mut by_profile = vec![NOTHING; n_segments as usize];
        for (number, block) in (0..).zip(&blocks) {
            for (place, row) in (0..).zip(&block.rows) {
                let profile = graph.canonical(row.segment);
                if newest_of(profile).is_some_and(|newest| newest.place == row.place) {
                    by_profile[profile as usize] = (number, place);
                }
            }
        }
        Self { blocks, by_profile }
    }

    /// What was kept of the newest row of a profile.
    pub(super) fn of(&self, profile: Segment) -> Option<Kept<'_>> {
        let &(number, place) = self.by_profile.get(profile as usize)?;
        let block = self.blocks.get(number as usize)?;
        let place = place as usize;
        let row = &block.rows[place];
        let (texts, traits) = place
            .checked_sub(1)
            .map_or((0, 0), |before| (block.rows[before].texts, block.rows[before].traits));
        let traits = &block.traits[traits as usize..row.traits as usize];
        Some(Kept { block_texts: &block.texts, start: texts as usize, traits })
    }
}

/// What was kept of a row.
pub(super) struct Kept<'a> {
    block_texts: &'a [u8],
    start: usize,
    traits: &'a [KeptTrait],
}

impl<'a> Kept<'a> {
    /// Touches all that is read of it later: the waits for several overlap.
    pub(super) fn touch(&self) -> u64 {
        /// Bytes that come from memory together.
        const LINE: usize = 64;
        let Some(last) = self.traits.last() else { return 0 };
        let traits = self.traits.iter().step_by(LINE / size_of::<KeptTrait>());
        let texts = self.block_texts[self.start..last.json as usize].iter().step_by(LINE);
        traits.fold(0, |touched, one| touched ^ one.seq)
            ^ texts.fold(0, |touched, &byte| touched ^ u64::from(byte))
    }

    /// The traits, where this is the newest row of these; `None` where it is not known which row set one of them.
    pub(super) fn present(&self, rows: &[TraitsRow], with_clocks: bool) -> Option<Vec<Present<'a>>> {
        let mut start = self.start;
        let present = self.traits.iter().map(|one| {
            let set_by = if with_clocks { row_of_seq(rows, one.seq)? } else { 0 };
            let (name, json) = (one.name as usize, one.json as usize);
            let (name, json) = (&self.block_texts[start + 2..name - 1], &self.block_texts[name + 1..json]);
            start = one.json as usize;
            Some(Present { name, json, is_text: json.first() == Some(&b'"'), is_plain: true, set_by })
        });
        present.collect()
    }
}
