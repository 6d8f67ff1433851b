//! Sorts lines by their events with bounded memory: sorts what fits, spills it as a sorted run, and merges the runs.
//!
//! A line is placed at the position of its first event. The order is total, down to the bytes of the line, because any
//! number of events may arrive at the same time. Each line carries its origin, so that rejects can report it.
//!
//! A spilled block has three parts: its lines, each with a line end; one record per line; and the offset of the
//! records.

use std::{cmp::Ordering, collections::BinaryHeap, ops::Range, rc::Rc, sync::Arc};

use rayon::prelude::*;
use sha1::{Digest, Sha1};

use super::{
    chunk::{Chunk, ChunkSource, spill_error},
    inputs::Input,
    line_records::{KeyRange, LineOrigin, LineRecordReader, SortLine, records_at},
    lines::{BOM, lines, push_line},
    scan::each_event,
    spill::{SpillStore, SpilledBytes},
};
use crate::{
    error::{Error, Result},
    event::{
        order::ArrivalKey,
        parse::{ParsedEvent, derived_message_id},
    },
    files::Files,
    json::Tape,
    progress::Progress,
    time::timestamp::Millis,
};

/// Minimum size of a spilled block in bytes. Smaller ones cost more than they save.
const MIN_BLOCK_BYTES: u64 = 1 << 16;
/// Maximum size of a spilled block in bytes.
const MAX_BLOCK_BYTES: u64 = 1 << 20;
/// Approximate number of sorted runs that are merged at a time.
const MERGE_WIDTH: u64 = 128;
/// Number of blocks that are compressed in parallel.
const BLOCKS_PER_SPILL: usize = 8;

/// Sorts the lines of chunks.
pub(super) struct LineSorter<'a> {
    pub inputs: &'a [Input],
    /// Maximum number of bytes of lines in memory.
    pub budget: u64,
    pub spill: &'a SpillStore,
    pub files: &'a Files,
    pub progress: &'a dyn Progress,
}

/// Some lines, and the buffer that their ranges point into.
#[derive(Debug, Default)]
struct SortBlock {
    bytes: Vec<u8>,
    lines: Vec<SortLine>,
}

impl LineSorter<'_> {
    /// Returns the size in bytes of a block of a sorted run.
    fn block_bytes(&self) -> u64 {
        (self.budget / MERGE_WIDTH).clamp(MIN_BLOCK_BYTES, MAX_BLOCK_BYTES)
    }

    /// Sorts chunks that fit in memory and spills them as a sorted run of new chunks.
    pub(super) fn sort(&self, chunks: &[Chunk]) -> Result<Vec<Chunk>> {
        if self.progress.interrupted() {
            return Err(Error::Interrupted);
        }
        let read = |chunk: &Chunk| {
            let mut bytes = Vec::new();
            let at = chunk.read(&mut bytes, self.files)?;
            Ok(SortBlock::parse(chunk, &at, bytes))
        };
        let pieces: Vec<SortBlock> = chunks.par_iter().with_max_len(1).map(read).collect::<Result<_>>()?;
        let mut all: Vec<(&SortBlock, &SortLine)> =
            pieces.iter().flat_map(|piece| piece.lines.iter().map(move |line| (piece, line))).collect();
        all.par_sort_unstable_by(|a, b| compare(self.inputs, *a, *b));
        let mut groups: Vec<&[(&SortBlock, &SortLine)]> = Vec::new();
        let mut rest = all.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let n = rest.iter().position(|(_, line)| {
                bytes += line.text.len() as u64 + 1;
                self.block_bytes() < bytes
            });
            let (group, behind) = rest.split_at(n.unwrap_or(rest.len()).max(1));
            groups.push(group);
            rest = behind;
        }
        let put = |group: &[(&SortBlock, &SortLine)]| {
            let mut out = SortBlock::default();
            for (piece, line) in group {
                out.push(piece, line);
            }
            out.spill(self.spill)
        };
        let sorted = groups.into_par_iter().with_max_len(1).map(put).collect::<Result<_>>()?;
        self.progress.advance(chunks.iter().map(|chunk| chunk.length).sum());
        Ok(sorted)
    }

    /// Merges sorted runs into one.
    pub(super) fn merge(&self, mut runs: Vec<Vec<Chunk>>) -> Result<Vec<Chunk>> {
        let side_by_side = usize::try_from(self.budget / self.block_bytes()).unwrap_or(usize::MAX).max(8);
        while 1 < runs.len() {
            let mut merged = Vec::new();
            let mut rest = runs.into_iter().peekable();
            while rest.peek().is_some() {
                merged.push(self.merge_few(rest.by_ref().take(side_by_side).collect())?);
            }
            runs = merged;
        }
        Ok(runs.pop().unwrap_or_default())
    }

    fn merge_few(&self, runs: Vec<Vec<Chunk>>) -> Result<Vec<Chunk>> {
        let mut runs: Vec<_> = runs.into_iter().map(Vec::into_iter).collect();
        let mut heads = BinaryHeap::new();
        for (number, run) in runs.iter_mut().enumerate() {
            heads.extend(self.next_head(run, number)?);
        }
        let (mut out, mut full, mut merged) = (SortBlock::default(), Vec::new(), Vec::new());
        while let Some(mut head) = heads.pop() {
            let line = &head.piece.lines[head.line];
            if !out.bytes.is_empty() && self.block_bytes() < (out.bytes.len() + line.text.len()) as u64 {
                full.push(std::mem::take(&mut out));
            }
            if full.len() == BLOCKS_PER_SPILL {
                if self.progress.interrupted() {
                    return Err(Error::Interrupted);
                }
                merged.extend(self.spill_blocks(&mut full)?);
            }
            out.push(&head.piece, line);
            head.line += 1;
            if head.line < head.piece.lines.len() {
                heads.push(head);
            } else {
                heads.extend(self.next_head(&mut runs[head.run], head.run)?);
            }
        }
        full.push(out);
        merged.extend(self.spill_blocks(&mut full)?);
        Ok(merged)
    }

    fn spill_blocks(&self, full: &mut Vec<SortBlock>) -> Result<Vec<Chunk>> {
        let pieces = std::mem::take(full).into_par_iter().with_max_len(1);
        pieces.filter(|piece| !piece.lines.is_empty()).map(|piece| piece.spill(self.spill)).collect()
    }

    fn next_head(&self, run: &mut std::vec::IntoIter<Chunk>, number: usize) -> Result<Option<RunHead<'_>>> {
        let Some(chunk) = run.next() else { return Ok(None) };
        let ChunkSource::Sorted(spilled) = &chunk.source else { return Ok(None) };
        let piece = Rc::new(SortBlock::read(spilled)?);
        Ok(Some(RunHead { piece, line: 0, run: number, inputs: self.inputs }))
    }
}

/// The next line of a sorted run. Ordered in reverse, because [`BinaryHeap`] returns the greatest first.
struct RunHead<'a> {
    piece: Rc<SortBlock>,
    line: usize,
    run: usize,
    inputs: &'a [Input],
}

impl Ord for RunHead<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let [a, b] = [self, other].map(|head| (&*head.piece, &head.piece.lines[head.line]));
        compare(self.inputs, b, a)
    }
}

impl PartialOrd for RunHead<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for RunHead<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for RunHead<'_> {}

/// Compares two lines by their first events.
fn compare(
    inputs: &[Input],
    (a_piece, a): (&SortBlock, &SortLine),
    (b_piece, b): (&SortBlock, &SortLine),
) -> Ordering {
    let source = |line: &SortLine| inputs[line.at.input as usize].source.as_deref();
    (a.first.received_at, a.first.timestamp)
        .cmp(&(b.first.received_at, b.first.timestamp))
        .then_with(|| {
            a_piece.bytes[a.first.message_id.clone()].cmp(&b_piece.bytes[b.first.message_id.clone()])
        })
        .then_with(|| a_piece.bytes[a.text.clone()].cmp(&b_piece.bytes[b.text.clone()]))
        .then_with(|| source(a).cmp(&source(b)))
        .then_with(|| a.at.cmp(&b.at))
}

impl SortBlock {
    /// Parses the lines of a chunk, without blank ones. `at` holds the origin of each line if the chunk is sorted
    /// already.
    fn parse(chunk: &Chunk, at: &[LineOrigin], bytes: Vec<u8>) -> Self {
        let mut piece = Self { bytes, lines: Vec::new() };
        let mut tape = Tape::default();
        let ranges: Vec<Range<usize>> = lines(&piece.bytes).collect();
        for (place, range) in ranges.into_iter().enumerate() {
            let bom = chunk.offset == 0 && range.start == 0 && piece.bytes.starts_with(BOM);
            let text = if bom { BOM.len().min(range.end)..range.end } else { range };
            let at = at.get(place).copied().unwrap_or(LineOrigin {
                input: chunk.input,
                number: chunk.first_line + place as u64,
                offset: chunk.offset + text.start as u64,
            });
            piece.add(text, at, &mut tape);
        }
        piece
    }

    fn add(&mut self, text: Range<usize>, at: LineOrigin, tape: &mut Tape) {
        let line = &self.bytes[text.clone()];
        let mut ends: Option<(ArrivalKey, ArrivalKey)> = None;
        let mut sha1 = None;
        let is_line = each_event(line, tape, &mut |item, parsed: &ParsedEvent<'_>| {
            let message_id = if let Some(id) = &parsed.message_id {
                id.as_ref().into()
            } else {
                let sha1 = sha1.get_or_insert_with(|| Sha1::new_with_prefix(line)).clone();
                derived_message_id(sha1, item).into()
            };
            let key = ArrivalKey { received_at: parsed.received_at, timestamp: parsed.timestamp, message_id };
            match &mut ends {
                None => ends = Some((key.clone(), key)),
                Some((first, _)) if key < *first => *first = key,
                Some((_, last)) if *last < key => *last = key,
                Some(_) => {}
            }
        });
        if !is_line {
            return;
        }
        // Rejected lines come last: their order does not matter.
        let (first, last) = ends
            .unwrap_or_else(|| (ArrivalKey::smallest_at(Millis::MAX), ArrivalKey::smallest_at(Millis::MIN)));
        let (first, last) = (self.keep(&first), self.keep(&last));
        self.lines.push(SortLine { first, last, at, text });
    }

    /// Appends the `messageId` of a key to the buffer.
    fn keep(&mut self, key: &ArrivalKey) -> KeyRange {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&key.message_id);
        let message_id = start..self.bytes.len();
        KeyRange { received_at: key.received_at, timestamp: key.timestamp, message_id }
    }

    /// Appends a line and its keys from another block.
    fn push(&mut self, from: &Self, line: &SortLine) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&from.bytes[line.text.clone()]);
        let text = start..self.bytes.len();
        let (first, last) = (self.keep(&line.first.key(&from.bytes)), self.keep(&line.last.key(&from.bytes)));
        self.lines.push(SortLine { first, last, at: line.at, text });
    }

    /// Spills the lines, which must be sorted.
    fn spill(&self, spill: &SpillStore) -> Result<Chunk> {
        let mut out = Vec::with_capacity(self.bytes.len() + 64 * self.lines.len());
        for line in &self.lines {
            push_line(&mut out, &self.bytes[line.text.clone()]);
        }
        let length = out.len() as u64;
        for line in &self.lines {
            self.push_record(&mut out, line);
        }
        out.extend_from_slice(&length.to_le_bytes());
        let key = |key: &KeyRange| key.key(&self.bytes);
        let first =
            self.lines.first().map_or_else(|| ArrivalKey::smallest_at(Millis::MAX), |line| key(&line.first));
        let last = self.lines.iter().map(|line| key(&line.last)).max();
        let last = last.unwrap_or_else(|| ArrivalKey::smallest_at(Millis::MIN));
        Ok(Chunk {
            input: self.lines.first().map_or(0, |line| line.at.input),
            source: ChunkSource::Sorted(spill.write(&out)?),
            // Not 0, so that a line is never checked for a byte order mark.
            offset: 1,
            length,
            first_line: 1,
            n_lines: self.lines.len() as u64,
            earliest: first.received_at,
            latest: last.received_at,
            keys: Some(Arc::new((first, last))),
            in_order: false,
            too_long: None,
        })
    }

    fn push_record(&self, out: &mut Vec<u8>, line: &SortLine) {
        let LineOrigin { input, number, offset } = line.at;
        out.extend_from_slice(&input.to_le_bytes());
        for number in [number, offset, line.text.len() as u64] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for key in [&line.first, &line.last] {
            out.extend_from_slice(&key.received_at.to_le_bytes());
            out.extend_from_slice(&key.timestamp.to_le_bytes());
            out.extend_from_slice(&(key.message_id.len() as u64).to_le_bytes());
            out.extend_from_slice(&self.bytes[key.message_id.clone()]);
        }
    }

    /// Reads a spilled block back.
    fn read(spilled: &SpilledBytes) -> Result<Self> {
        let mut bytes = Vec::new();
        spilled.read(&mut bytes).map_err(spill_error)?;
        let mut reader = LineRecordReader { bytes: &bytes, at: records_at(&bytes) };
        let mut lines = Vec::new();
        let mut start = 0;
        while let Some(line) = reader.line(start) {
            // A text that ends in CR has a line end of two bytes.
            start = line.text.end + if bytes[line.text.clone()].ends_with(b"\r") { 2 } else { 1 };
            lines.push(line);
        }
        Ok(Self { bytes, lines })
    }
}
