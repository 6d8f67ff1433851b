//! Compares two tables that are not in the order of their keys, by walking through both.
//!
//! Raw tables are in the order of processing, and two versions of one mostly agree for long stretches, in which lines
//! of equal bytes are skipped. If the current lines differ, both are kept until an equal line appears on the other
//! side. A line whose partner was seen before lets its own side advance alone, so that the two sides are in step again
//! after rows that only one of them has.

use std::borrow::Cow;

use crate::{collections::key_of, error::Result};

use super::{
    key_tally::{FoundOn, KeyTally},
    keys::{KeyFinder, NOT_JSON},
    merge::cut_short,
    meter::DiffMeter,
    outcome::RowsOutcome,
    pending::UnpairedRows,
    records::ChangesRun,
    renaming::Renaming,
    row_comparer::{RowComparer, TableLine, TableRules},
    rows::TableLines,
    sides::{NEW, OLD},
    spill::SpilledRow,
};

/// Compares two tables in any order. If `renaming` is given, it is applied to old rows first.
pub fn walk(
    old: TableLines<'_>,
    new: TableLines<'_>,
    rules: &TableRules,
    renaming: Option<&Renaming>,
    memory: u64,
    meter: &DiffMeter<'_>,
) -> Result<(RowsOutcome, Vec<ChangesRun>)> {
    let mut walk = Walk {
        sides: [old, new],
        renaming,
        judge: RowComparer::new(rules),
        finders: [OLD, NEW].map(|_| KeyFinder::new(&rules.key)),
        tally: KeyTally::new(memory / 4),
        pending: UnpairedRows::new(rules, memory / 2),
        key: Vec::new(),
    };
    let mut n_steps = 0_u32;
    while walk.step()? {
        n_steps = n_steps.wrapping_add(1);
        if n_steps.is_multiple_of(4096) {
            meter.passed(walk.take_passed())?;
        }
    }
    meter.passed(walk.take_passed())?;
    let Walk { judge, tally, pending, .. } = walk;
    let mut outcome = judge.outcome;
    let twofold = tally.finish()?;
    let (rest, runs) = pending.finish(&twofold, meter)?;
    outcome.duplicate_keys = twofold.counts;
    outcome.add(rest, rules.limit)?;
    Ok((outcome, runs))
}

struct Walk<'a> {
    sides: [TableLines<'a>; 2],
    renaming: Option<&'a Renaming>,
    judge: RowComparer<'a>,
    /// One per side, because the sides may be written differently.
    finders: [KeyFinder<'a>; 2],
    tally: KeyTally,
    pending: UnpairedRows<'a>,
    key: Vec<u8>,
}

/// What happened to the current line of a side.
enum Lookup {
    /// It was paired with an equal line.
    Paired,
    /// It has no partner yet, or is malformed.
    Waits,
}

impl Walk<'_> {
    fn step(&mut self) -> Result<bool> {
        let [old, new] = &mut self.sides;
        let has_old = old.fill()?;
        let exact = self.judge.rules.exact();
        if exact && has_old {
            let line = renamed(old, OLD, self.renaming);
            if new.starts_with_line(&line) || new.fill()? && new.line() == &*line {
                drop(line);
                self.same_line()?;
                return Ok(true);
            }
        }
        let has_new = new.fill()?;
        if exact
            && has_old
            && let Lookup::Paired = self.look_up(OLD)?
        {
            return Ok(true);
        }
        if exact
            && has_new
            && let Lookup::Paired = self.look_up(NEW)?
        {
            return Ok(true);
        }
        if has_old {
            self.wait(OLD)?;
        }
        if has_new {
            self.wait(NEW)?;
        }
        Ok(has_old || has_new)
    }

    /// Handles current lines that have the same bytes on both sides, after renaming.
    fn same_line(&mut self) -> Result<()> {
        self.key.clear();
        let [old, new] = &mut self.sides;
        let found = self.finders[NEW].push_quick(&mut self.key, new.line());
        if found.is_ok() && !cut_short(old) {
            self.judge.outcome.same += 1;
            self.tally.push(key_of(&self.key), FoundOn::Both)?;
        } else {
            let message = found.err().map_or(NOT_JSON, |no_row| no_row.message);
            for (side, rows) in [(OLD, &*old), (NEW, &*new)] {
                let (place, unfinished) = (rows.place(), rows.unfinished());
                self.judge.malformed(side, TableLine { bytes: rows.line(), place, unfinished }, message);
            }
        }
        old.advance();
        new.advance();
        Ok(())
    }

    /// Moves past the current line of a side if an equal line of the other side has no partner yet.
    fn look_up(&mut self, side: usize) -> Result<Lookup> {
        let line = renamed(&self.sides[side], side, self.renaming);
        if !self.pending.cancels(side, key_of(&line), line.len()) {
            return Ok(Lookup::Waits);
        }
        self.key.clear();
        // The line's partner was parsed before, so it has a key.
        if self.finders[side].push_quick(&mut self.key, &line).is_ok() {
            self.tally.push(key_of(&self.key), if side == OLD { FoundOn::Old } else { FoundOn::New })?;
        }
        drop(line);
        self.judge.outcome.same += 1;
        self.sides[side].advance();
        Ok(Lookup::Paired)
    }

    /// Keeps the current line of a side until a partner appears.
    fn wait(&mut self, side: usize) -> Result<()> {
        let rows = &self.sides[side];
        let line = renamed(rows, side, self.renaming);
        self.key.clear();
        let found = if cut_short(rows) {
            Err(NOT_JSON)
        } else {
            self.finders[side].push_quick(&mut self.key, &line).map_err(|no_row| no_row.message)
        };
        match found {
            Ok(()) => {
                let key_hash = key_of(&self.key);
                if self.judge.rules.exact() {
                    self.tally.push(key_hash, if side == OLD { FoundOn::Old } else { FoundOn::New })?;
                }
                let row = SpilledRow { side, line: &line, key_hash, place: rows.place() };
                self.pending.push(key_of(&line), row)?;
            }
            Err(message) => {
                let (place, unfinished) = (rows.place(), rows.unfinished());
                self.judge.malformed(side, TableLine { bytes: rows.line(), place, unfinished }, message);
            }
        }
        drop(line);
        self.sides[side].advance();
        Ok(())
    }

    fn take_passed(&mut self) -> u64 {
        self.sides.iter_mut().map(TableLines::take_passed).sum()
    }
}

/// Returns the current line, with new ids if it is on the old side.
fn renamed<'r>(rows: &'r TableLines<'_>, side: usize, renaming: Option<&Renaming>) -> Cow<'r, [u8]> {
    match renaming {
        Some(renaming) if side == OLD => renaming.apply(rows.line()),
        _ => Cow::Borrowed(rows.line()),
    }
}
