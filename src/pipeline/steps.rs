//! Runs the three stages at the same time, one step apart.
//!
//! A step takes a few chunks. While they are parsed, the events released by the previous step are resolved, and those
//! resolved before are written to their tables. All of it runs on one work-stealing pool, and nothing waits for a lock.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::{
    assemble::assemble,
    prepare::{ChunkPreparer, PreparedChunk},
    refusal::FirstRejects,
    rejects::RejectStore,
    resolve::{ResolveStage, ResolvedEvents},
};
use crate::{
    config::rules::Rules,
    error::{Error, Result},
    event::{
        block::EventBlock,
        order::{EventQueue, ReleasedEvents},
        reject::RejectReason,
    },
    files::Files,
    identity::types::IdentifierTypes,
    progress::Progress,
    raw::{RowMode, event_row::RowNotices},
    read::{chunk::Chunk, inputs::Input, spill::SpillStore},
    space::{commit::Space, event_rows::BackfilledRows},
    summary::IngestSummary,
};

/// The maximum total length of the chunks of one step, in bytes.
const STEP_BYTES: u64 = 4 << 20;

/// The chunks of a run in the order of reading, and the inputs that they were cut from.
pub(crate) struct PlannedChunks<'a> {
    pub inputs: &'a [Input],
    pub chunks: &'a [Chunk],
    /// Stores rejects that exceed the memory limit.
    pub spill: &'a SpillStore,
}

/// The rejects of a run: the first of them, and all.
pub(crate) struct RunRejects {
    pub first: FirstRejects,
    pub all: RejectStore,
}

/// Passes all chunks through the stages. `memory` is the run's limit in bytes; `is_listed` collects the rejects of a
/// dry run too. Returns `None` if a chunk has an event that is earlier than its scan found: then the chunks are in the
/// wrong order.
#[expect(clippy::too_many_arguments, reason = "it connects the stages to the state of a run")]
pub(crate) fn run(
    space: &mut Space,
    planned: &PlannedChunks<'_>,
    backfilled: &BackfilledRows,
    rules: &Arc<Rules>,
    types: &Arc<IdentifierTypes>,
    stage: &mut ResolveStage,
    is_listed: bool,
    memory: u64,
    files: &Files,
    progress: &dyn Progress,
    summary: &mut IngestSummary,
) -> Result<Option<RunRejects>> {
    let rows = stage.rows();
    let workers = Pool::default();
    let blocks = Pool::default();
    let prepare = |chunk: &Chunk| -> Result<PreparedChunk> {
        let mut block: EventBlock = blocks.take().unwrap_or_default();
        let at = chunk.read(&mut block.lines, files)?;
        let mut worker = workers.take().unwrap_or_else(|| ChunkPreparer::new(rules, types, rows));
        let prepared = worker.prepare(chunk, &at, planned.inputs, block);
        workers.give(worker);
        Ok(prepared)
    };
    let mut waiting = EventQueue::default();
    let (mut released, mut later) = (ReleasedEvents::default(), ReleasedEvents::default());
    let mut resolved = ResolvedEvents::default();
    let mut used_up = ResolvedEvents::default();
    let mut rejected = RunRejects { first: FirstRejects::default(), all: RejectStore::new(memory) };
    let mut notes = RowNotices::default();
    let mut filters = Vec::new();
    let mut rest = planned.chunks;
    loop {
        // If the last events left some unresolved because of their many rows, resolve the rest before reading more.
        let (n_chunks, now) = if later.places.is_empty() {
            (step_length(rest, memory), &mut released)
        } else {
            (0, &mut later)
        };
        let now = std::mem::take(now);
        let (chunks, behind) = rest.split_at(n_chunks);
        let mut before = std::mem::take(&mut resolved);
        let over = std::mem::take(&mut used_up);
        let done = chunks.is_empty() && now.places.is_empty() && before.outcomes.is_empty();
        let (prepared, (next, assembled)) = rayon::join(
            || chunks.par_iter().with_max_len(1).map(prepare).collect::<Result<Vec<PreparedChunk>>>(),
            || {
                rayon::join(
                    || stage.resolve(now, over),
                    || assemble(space, &before, backfilled, &mut filters, rules, rows, files),
                )
            },
        );
        assembled?;
        for block in before.released.blocks.drain(..) {
            // Reuse the block unless unreleased events still refer to it.
            if let Ok(mut block) = Arc::try_unwrap(block)
                && !block.is_oversized()
            {
                block.clear();
                blocks.give(block);
            }
        }
        used_up = before;
        (resolved, later) = next?;
        for (chunk, prepared) in chunks.iter().zip(prepared?) {
            if prepared.earliest.is_some_and(|earliest| earliest < chunk.earliest) {
                return Ok(None);
            }
            add_counts(&prepared, summary);
            notes.add(prepared.notes);
            rejected.first.add(&prepared.rejects, prepared.is_cut_off, planned.inputs);
            if rows == RowMode::Count {
                let number = space.table("rejected");
                space.tables()[number].count_only(prepared.n_rejects.iter().sum());
            }
            if rows == RowMode::Write || is_listed {
                rejected.all.add(prepared.rejects, planned.spill)?;
            }
            waiting.add(prepared.block);
            progress.advance(chunk.length);
        }
        rest = behind;
        if later.places.is_empty() && released.places.is_empty() {
            released = waiting.release(rest.first().map(Chunk::smallest_key).as_ref());
        }
        if progress.interrupted() {
            return Err(Error::Interrupted);
        }
        if done {
            break;
        }
    }
    add_notices(notes, summary);
    Ok(Some(rejected))
}

/// Returns the error for chunks whose order is wrong although every line was parsed.
pub(crate) fn input_changed() -> Error {
    Error::Refused("an input changed while it was read".into())
        .hint("run again when nothing writes to the inputs")
}

/// Objects that are expensive to create, kept for reuse. The lock is held only briefly, once per chunk.
pub(crate) struct Pool<T>(Mutex<Vec<T>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T> Pool<T> {
    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(crate) fn give(&self, thing: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(thing);
    }
}

/// Returns how many of the given chunks make a step, within the memory limit.
pub(crate) fn step_length(chunks: &[Chunk], memory: u64) -> usize {
    let most = (memory / 32).clamp(1 << 20, STEP_BYTES);
    let mut bytes = 0;
    let full = chunks.iter().position(|chunk| {
        bytes += chunk.length;
        most <= bytes
    });
    full.map_or(chunks.len(), |last| last + 1)
}

pub(crate) fn add_counts(prepared: &PreparedChunk, summary: &mut IngestSummary) {
    summary.lines += prepared.n_lines;
    summary.events += prepared.n_events;
    summary.filtered += prepared.n_filtered;
    for (reason, n) in RejectReason::ALL.into_iter().zip(prepared.n_rejects).filter(|(_, n)| 0 < *n) {
        *summary.rejected.entry(reason.word().to_owned()).or_default() += n;
    }
}

pub(crate) fn add_notices(notes: RowNotices, summary: &mut IngestSummary) {
    for (name, n) in [
        ("columns_without_name", notes.columns_without_name),
        ("columns_given_twice", notes.columns_given_twice),
        ("events_without_table", notes.events_without_table),
        ("traits_without_name", notes.traits_without_name),
        ("times_unreadable", notes.times_unreadable),
    ] {
        if 0 < n {
            summary.notes.insert(name.to_owned(), n);
        }
    }
}
