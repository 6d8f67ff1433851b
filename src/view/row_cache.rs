//! The row cache: traits from the first read of a row, so that the row need not be read again.
//!
//! In rows that this program wrote, the newest row of a profile has everything about its traits. Which row that is
//! becomes known only after all rows were read. Blocks are read from the end, so the first row read of a profile is
//! usually its newest: its traits are cached, and those of rows known to be older are not. The cache only saves reads
//! and never affects the result. If a row is not cached, it is read again when its traits are needed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{
    graph::MergeGraph,
    present::CurrentTrait,
    segments::Segment,
    snapshot::Snapshot,
    snapshot_reader::SnapshotReader,
    traits_row::{TraitsRow, row_of_seq},
};
use crate::table::{clock::NO_SEQ, reread::RowPosition, to_u32};

/// The newest row of each profile so far, while all cores read blocks.
#[derive(Debug)]
pub(super) struct NewestRows {
    seqs: Vec<AtomicU64>,
    /// How many more bytes may be cached.
    room: AtomicU64,
}

/// At most one byte is cached for this many bytes of the table.
const TABLE_BYTES_PER_CACHED_BYTE: u64 = 5;
/// At most this many bytes are cached, however large the table is.
const MAX_CACHE_BYTES: u64 = 1 << 28;

impl NewestRows {
    /// Prepares for the profiles of a graph and a table of `n_bytes`.
    pub(super) fn new(graph: &MergeGraph, n_bytes: u64) -> Self {
        let seqs = (0..graph.n_segments()).map(|_| AtomicU64::new(NO_SEQ)).collect();
        Self { seqs, room: AtomicU64::new((n_bytes / TABLE_BYTES_PER_CACHED_BYTE).min(MAX_CACHE_BYTES)) }
    }

    /// Records a row of a profile. Returns whether no newer row was read before it.
    fn is_newest_so_far(&self, profile: Segment, seq: u64) -> bool {
        let Some(newest) = self.seqs.get(profile as usize) else { return false };
        seq != NO_SEQ && newest.fetch_max(seq, Relaxed) <= seq
    }
}

/// The cached traits of some rows of a block.
#[derive(Debug, Default)]
pub(super) struct CachedBlock {
    rows: Vec<CachedRow>,
    /// `,"name":json` for each trait, sorted by name.
    texts: Vec<u8>,
    traits: Vec<CachedTrait>,
}

#[derive(Debug)]
struct CachedRow {
    segment: Segment,
    place: RowPosition,
    /// The ends of its texts and its traits.
    texts: u32,
    traits: u32,
}

#[derive(Debug)]
struct CachedTrait {
    /// The ends of its name and its value in the texts.
    name: u32,
    json: u32,
    seq: u64,
}

/// Caches the traits of rows of one block, which come from the last to the first.
pub(super) struct RowCacheWriter<'a> {
    newest: &'a NewestRows,
    graph: &'a MergeGraph,
    reader: SnapshotReader,
    snapshot: Snapshot,
    kept: CachedBlock,
}

impl<'a> RowCacheWriter<'a> {
    pub(super) fn new(newest: &'a NewestRows, graph: &'a MergeGraph) -> Self {
        let (reader, snapshot, kept) = Default::default();
        Self { newest, graph, reader, snapshot, kept }
    }

    /// Caches the traits of a row if it may be the newest of its profile.
    ///
    /// If this program wrote the row, `tail` is the offset of the value of `__trait_seqs`.
    pub(super) fn add(&mut self, line: &[u8], tail: Option<usize>, segment: Segment, row: &TraitsRow) {
        let Self { newest, graph, reader, snapshot, kept } = self;
        if !row.with_seqs || !newest.is_newest_so_far(graph.canonical(segment), row.clock.seq()) {
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
            let (base, traits) = (to_u32(start), snapshot.traits().iter());
            kept.traits.extend(traits.map(|one| {
                let (name, json) = Snapshot::ends(one);
                CachedTrait { name: base + name, json: base + json, seq: one.seq }
            }));
        }
        for one in snapshot.traits().iter().filter(|_| verbatim.is_none()) {
            kept.texts.extend_from_slice(b",\"");
            kept.texts.extend_from_slice(snapshot.name(one));
            kept.texts.push(b'"');
            let name = to_u32(kept.texts.len());
            kept.texts.push(b':');
            kept.texts.extend_from_slice(snapshot.json(one));
            kept.traits.push(CachedTrait { name, json: to_u32(kept.texts.len()), seq: one.seq });
        }
        let size = kept.texts.len() - start + snapshot.traits().len() * size_of::<CachedTrait>();
        let size = (size + size_of::<CachedRow>()) as u64;
        if newest.room.fetch_update(Relaxed, Relaxed, |room| room.checked_sub(size)).is_err() {
            kept.texts.truncate(start);
            kept.traits.truncate(kept.traits.len() - snapshot.traits().len());
            return;
        }
        let (texts, traits) = (to_u32(kept.texts.len()), to_u32(kept.traits.len()));
        kept.rows.push(CachedRow { segment, place: row.place, texts, traits });
    }

    pub(super) fn into_block(self) -> CachedBlock {
        let mut kept = self.kept;
        kept.texts.shrink_to_fit();
        kept.traits.shrink_to_fit();
        kept.rows.shrink_to_fit();
        kept
    }
}

/// The cached rows, by profile.
#[derive(Debug, Default)]
pub(super) struct RowCache {
    blocks: Vec<CachedBlock>,
    /// For each profile, the block and the index in it of its newest row; [`NOT_CACHED`] if that row is not cached.
    by_profile: Vec<(u32, u32)>,
}

const NOT_CACHED: (u32, u32) = (u32::MAX, u32::MAX);

impl RowCache {
    /// Finds the cached newest row of each profile.
    pub(super) fn new<'r>(
        blocks: Vec<CachedBlock>,
        graph: &MergeGraph,
        n_segments: u32,
        newest_of: impl Fn(Segment) -> Option<&'r TraitsRow>,
    ) -> Self {
        let mut by_profile = vec![NOT_CACHED; n_segments as usize];
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

    /// Returns the cached traits of a profile's newest row.
    pub(super) fn of(&self, profile: Segment) -> Option<CachedTraits<'_>> {
        let &(number, place) = self.by_profile.get(profile as usize)?;
        let block = self.blocks.get(number as usize)?;
        let place = place as usize;
        let row = &block.rows[place];
        let (texts, traits) = place
            .checked_sub(1)
            .map_or((0, 0), |before| (block.rows[before].texts, block.rows[before].traits));
        let traits = &block.traits[traits as usize..row.traits as usize];
        Some(CachedTraits { block_texts: &block.texts, start: texts as usize, traits })
    }
}

/// The cached traits of a row.
pub(super) struct CachedTraits<'a> {
    block_texts: &'a [u8],
    start: usize,
    traits: &'a [CachedTrait],
}

impl<'a> CachedTraits<'a> {
    /// Reads a byte of everything that is needed later, so that the cache misses of several rows overlap. The result
    /// only keeps the compiler from removing the reads.
    pub(super) fn prefetch(&self) -> u64 {
        /// Size of a CPU cache line in bytes.
        const LINE: usize = 64;
        let Some(last) = self.traits.last() else { return 0 };
        let traits = self.traits.iter().step_by(LINE / size_of::<CachedTrait>());
        let texts = self.block_texts[self.start..last.json as usize].iter().step_by(LINE);
        traits.fold(0, |touched, one| touched ^ one.seq)
            ^ texts.fold(0, |touched, &byte| touched ^ u64::from(byte))
    }

    /// Returns the traits if this is the newest of `rows`; `None` if it is unknown which row set one of them.
    pub(super) fn present(&self, rows: &[TraitsRow], with_clocks: bool) -> Option<Vec<CurrentTrait<'a>>> {
        let mut start = self.start;
        let present = self.traits.iter().map(|one| {
            let set_by = if with_clocks { row_of_seq(rows, one.seq)? } else { 0 };
            let (name, json) = (one.name as usize, one.json as usize);
            let (name, json) = (&self.block_texts[start + 2..name - 1], &self.block_texts[name + 1..json]);
            start = one.json as usize;
            Some(CurrentTrait { name, json, is_text: json.first() == Some(&b'"'), is_plain: true, set_by })
        });
        present.collect()
    }
}
