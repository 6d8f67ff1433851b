//! Runs the three stages at the same time, one step apart.
//!
//! A step takes a few chunks. While they are parsed, the events released by the previous step are resolved, and those
//! resolved before are written to their tables. All of it runs on one work-stealing pool, and nothing waits for a lock.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::{
    assemble::assemble,
    prepare::{Prepared, Preparer},
    refusal::FirstRejects,
    rejects::Rejects,
    resolve::{Resolved, Stage},
};
use crate::{
    config::rules::Rules,
    error::{Error, Result},
    event::{
        block::Block,
        order::{Released, Waiting},
        reject::Reason,
    },
    files::Files,
    identity::types::Types,
    progress::Progress,
    raw::{Rows, event_row::Notes},
    read::{inputs::Input, spill::Spill, unit::Unit},
    space::{commit::Space, event_rows::Backfilled},
    summary::IngestSummary,
};

/// The maximum total length of the chunks of one step, in bytes.
const STEP: u64 = 4 << 20;

/// The chunks of a run in the order of reading, and the inputs that they were cut from.
pub(crate) struct PlannedUnits<'a> {
    pub inputs: &'a [Input],
    pub units: &'a [Unit],
    /// Stores rejects that exceed the memory limit.
    pub spill: &'a Spill,
}

/// The rejects of a run: the first of them, and all.
pub(crate) struct Rejected {
    pub first: FirstRejects,
    pub all: Rejects,
}

/// Passes all chunks through the stages. `memory` is the run's limit in bytes; `is_listed` collects the rejects of a
/// dry run too.
#[expect(clippy::too_many_arguments, reason = "it connects the stages to the state of a run")]
pub(crate) fn run(
    space: &mut Space,
    planned: &PlannedUnits<'_>,
    backfilled: &Backfilled,
    rules: &Arc<Rules>,
    types: &Arc<Types>,
    stage: &mut Stage,
    is_listed: bool,
    memory: u64,
    files: &Files,
    progress: &dyn Progress,
    summary: &mut IngestSummary,
) -> Result<Rejected> {
    let rows = stage.rows();
    let workers = Spare::default();
    let blocks = Spare::default();
    let prepare = |unit: &Unit| -> Result<Prepared> {
        let mut block: Block = blocks.take().unwrap_or_default();
        let at = unit.read(&mut block.lines, files)?;
        let mut worker = workers.take().unwrap_or_else(|| Preparer::new(rules, types, rows));
        let prepared = worker.prepare(unit, &at, planned.inputs, block);
        workers.give(worker);
        Ok(prepared)
    };
    let mut waiting = Waiting::default();
    let (mut released, mut later) = (Released::default(), Released::default());
    let mut resolved = Resolved::default();
    let mut used_up = Resolved::default();
    let mut rejected = Rejected { first: FirstRejects::default(), all: Rejects::new(memory) };
    let mut notes = Notes::default();
    let mut filters = Vec::new();
    let mut rest = planned.units;
    loop {
        // If the last events left some unresolved because of their many rows, resolve the rest before reading more.
        let (n_units, now) = if later.places.is_empty() {
            (step_length(rest, memory), &mut released)
        } else {
            (0, &mut later)
        };
        let now = std::mem::take(now);
        let (units, behind) = rest.split_at(n_units);
        let mut before = std::mem::take(&mut resolved);
        let over = std::mem::take(&mut used_up);
        let done = units.is_empty() && now.places.is_empty() && before.outcomes.is_empty();
        let (prepared, (next, assembled)) = rayon::join(
            || units.par_iter().with_max_len(1).map(prepare).collect::<Result<Vec<Prepared>>>(),
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
                && !block.is_blown_up()
            {
                block.clear();
                blocks.give(block);
            }
        }
        used_up = before;
        (resolved, later) = next?;
        for (unit, prepared) in units.iter().zip(prepared?) {
            if prepared.earliest.is_some_and(|earliest| earliest < unit.earliest) {
                return Err(Error::Misjudged);
            }
            count(&prepared, summary);
            notes.add(prepared.notes);
            rejected.first.see(&prepared.rejects, prepared.is_cut_off, planned.inputs);
            if rows == Rows::Counted {
                let number = space.table("rejected");
                space.tables()[number].count(prepared.n_rejects.iter().sum());
            }
            if rows == Rows::Written || is_listed {
                rejected.all.add(prepared.rejects, planned.spill)?;
            }
            waiting.add(prepared.block);
            progress.advance(unit.length);
        }
        rest = behind;
        if later.places.is_empty() && released.places.is_empty() {
            released = waiting.release(rest.first().map(Unit::least_key).as_ref());
        }
        if progress.interrupted() {
            return Err(Error::Interrupted);
        }
        if done {
            break;
        }
    }
    note(notes, summary);
    Ok(rejected)
}

/// Objects that are expensive to create, kept for reuse. The lock is held only briefly, once per chunk.
pub(crate) struct Spare<T>(Mutex<Vec<T>>);

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T> Spare<T> {
    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(crate) fn give(&self, thing: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(thing);
    }
}

/// Returns how many of the given chunks make a step, within the memory limit.
pub(crate) fn step_length(units: &[Unit], memory: u64) -> usize {
    let most = (memory / 32).clamp(1 << 20, STEP);
    let mut bytes = 0;
    let full = units.iter().position(|unit| {
        bytes += unit.length;
        most <= bytes
    });
    full.map_or(units.len(), |last| last + 1)
}

pub(crate) fn count(prepared: &Prepared, summary: &mut IngestSummary) {
    summary.lines += prepared.n_lines;
    summary.events += prepared.n_events;
    summary.filtered += prepared.n_filtered;
    for (reason, n) in Reason::ALL.into_iter().zip(prepared.n_rejects).filter(|(_, n)| 0 < *n) {
        *summary.rejected.entry(reason.word().to_owned()).or_default() += n;
    }
}

pub(crate) fn note(notes: Notes, summary: &mut IngestSummary) {
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
