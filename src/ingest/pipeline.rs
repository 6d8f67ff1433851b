//! The three stages at work at the same time, a step apart.
//!
//! A step takes a few units. While they are parsed, the events released by the step before are resolved, and those
//! resolved before that go to their tables. All of it runs on one pool that shares out the work, and nothing waits on a
//! lock.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::{
    Looked,
    assemble::assemble,
    prepare::{Prepared, Preparer},
    refusal::FirstRejects,
    rejects::Rejects,
    resolve::{Resolved, Stage},
};
use crate::{
    error::{Error, Result},
    event::{
        block::Block,
        order::{Released, Waiting},
        reject::Reason,
    },
    files::Files,
    identity::{rules::Rules, types::Types},
    progress::Progress,
    raw::{Rows, event_row::Notes},
    read::unit::Unit,
    space::{commit::Space, event_rows::Backfilled},
    summary::IngestSummary,
};

/// Bytes of the units of one step.
const STEP: u64 = 4 << 20;

/// Runs all units through the stages; the first rejects.
#[expect(clippy::too_many_arguments, reason = "wiring")]
pub(super) fn run(
    space: &mut Space,
    looked: &Looked<'_>,
    backfilled: &Backfilled,
    rules: &Arc<Rules>,
    types: &Arc<Types>,
    stage: &mut Stage,
    files: &Files,
    progress: &dyn Progress,
    summary: &mut IngestSummary,
) -> Result<FirstRejects> {
    let rows = stage.rows();
    let workers = Spare::default();
    let blocks = Spare::default();
    let prepare = |unit: &Unit| -> Result<Prepared> {
        let mut block: Block = blocks.take().unwrap_or_default();
        unit.read(&mut block.lines, files)?;
        let mut worker = workers.take().unwrap_or_else(|| Preparer::new(rules, types, rows));
        let prepared = worker.prepare(unit, &looked.inputs[unit.input as usize], block);
        workers.give(worker);
        Ok(prepared)
    };
    let mut waiting = Waiting::default();
    let mut released = Released::default();
    let mut resolved = Resolved::default();
    let mut used_up = Resolved::default();
    let mut rejects = Rejects::default();
    let mut first_rejects = FirstRejects::default();
    let mut n_rejects = 0;
    let mut notes = Notes::default();
    let mut rest = looked.units.as_slice();
    loop {
        let (units, behind) = rest.split_at(step_length(rest));
        let now = std::mem::take(&mut released);
        let mut before = std::mem::take(&mut resolved);
        let over = std::mem::take(&mut used_up);
        let done = units.is_empty() && now.places.is_empty() && before.outcomes.is_empty();
        let (prepared, (next, assembled)) = rayon::join(
            || units.par_iter().with_max_len(1).map(prepare).collect::<Result<Vec<Prepared>>>(),
            || {
                rayon::join(
                    || stage.resolve(now, over),
                    || assemble(space, &before, backfilled, rules, rows, files),
                )
            },
        );
        assembled?;
        for block in before.released.blocks.drain(..) {
            // The last of those who hold a block hands it back.
            if let Ok(mut block) = Arc::try_unwrap(block) {
                block.clear();
                blocks.give(block);
            }
        }
        used_up = before;
        resolved = next?;
        for (unit, prepared) in units.iter().zip(prepared?) {
            if prepared.earliest.is_some_and(|earliest| earliest < unit.earliest) {
                return Err(Error::Misjudged);
            }
            count(&prepared, summary);
            notes.add(prepared.notes);
            first_rejects.see(&prepared.rejects);
            match rows {
                Rows::Written => rejects.add(prepared.rejects, looked.spill)?,
                Rows::Counted => n_rejects += prepared.rejects.len() as u64,
            }
            waiting.add(prepared.block);
            progress.advance(unit.length);
        }
        rest = behind;
        released = waiting.release(rest.first().map(|unit| unit.earliest));
        if progress.interrupted() {
            return Err(Error::Interrupted);
        }
        if done {
            break;
        }
    }
    note(notes, summary);
    let rejected = space.table("rejected");
    space.tables()[rejected].count(n_rejects);
    rejects.drain(|row| {
        let table = &mut space.tables()[rejected];
        table.pending().extend_from_slice(row);
        table.added(1, files)
    })?;
    Ok(first_rejects)
}

/// Things that are dear to make and can be used again. Locked for a moment, once a unit.
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

/// How many of the units to come make a step.
pub(crate) fn step_length(units: &[Unit]) -> usize {
    let mut bytes = 0;
    let full = units.iter().position(|unit| {
        bytes += unit.length;
        STEP <= bytes
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
