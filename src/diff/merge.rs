//! Joins two tables in the order of their keys, or the same partition of both, in one pass and constant memory.
//!
//! Lines of equal bytes are the same row. Only their key is checked, to verify the order. If a table is not in order,
//! the join gives up, and the table is compared in another way.

use std::{cmp::Ordering, ops::Range};

use crate::error::Result;

use super::{
    identity::collector::Collector,
    keys::{KeyFinder, NOT_JSON, RowKey, read_row},
    meter::DiffMeter,
    outcome::RowsOutcome,
    records::ChangesRun,
    row_comparer::{KeyRepeats, RowComparer, TableLine, TableRules},
    rows::{TableLines, TablePosition},
    sides::{NEW, OLD},
};

/// Changes are flushed when they exceed this many bytes.
const MANY_RECORDS: usize = 1 << 20;

/// The key range of a partition: from the first key up to but excluding the second. An empty first key is the beginning
/// of the table.
#[derive(Debug, Clone, Default)]
pub struct KeyBounds {
    /// No key is smaller.
    pub from: Vec<u8>,
    /// All keys are smaller.
    pub to: Option<Vec<u8>>,
}

/// Joins two partitions. Returns `None` if one is not in order. Changes are appended to `run`, if given, when there are
/// many.
pub fn merge(
    old: TableLines<'_>,
    new: TableLines<'_>,
    rules: &TableRules,
    bounds: &KeyBounds,
    mut run: Option<&mut ChangesRun>,
    meter: &DiffMeter<'_>,
) -> Result<Option<RowsOutcome>> {
    let mut join = MergeJoin {
        judge: RowComparer::new(rules),
        watcher: rules.collect.as_ref().map(Collector::new),
        sides: [SideCursor::new(old, &rules.key), SideCursor::new(new, &rules.key)],
        last: LastKey::default(),
        key: Vec::new(),
    };
    let mut n_steps = 0_u32;
    loop {
        n_steps = n_steps.wrapping_add(1);
        if n_steps.is_multiple_of(4096) {
            meter.passed(join.take_passed())?;
            let records = &mut join.judge.outcome.records;
            if let Some(run) = &mut run
                && MANY_RECORDS < records.len()
            {
                run.append(records)?;
                records.clear();
            }
        }
        match join.step()? {
            JoinStep::On => {}
            JoinStep::OutOfOrder => return Ok(None),
            JoinStep::Done => break,
        }
    }
    meter.passed(join.take_passed())?;
    let in_bounds = join.last.seen.is_none_or(|()| {
        bounds.to.as_ref().is_none_or(|to| join.last.key < *to) && bounds.from <= join.last.first
    });
    let mut outcome = join.judge.outcome;
    outcome.collected = join.watcher.map(|watcher| watcher.watched);
    Ok(in_bounds.then_some(outcome))
}

enum JoinStep {
    On,
    OutOfOrder,
    Done,
}

struct MergeJoin<'a> {
    judge: RowComparer<'a>,
    watcher: Option<Collector<'a>>,
    sides: [SideCursor<'a>; 2],
    last: LastKey,
    /// The key that is being joined.
    key: Vec<u8>,
}

/// One side: its lines, the key of the current one if it is known, and the collected rows of one key.
struct SideCursor<'a> {
    rows: TableLines<'a>,
    /// One per side, because the sides may be written differently.
    finder: KeyFinder<'a>,
    key: Vec<u8>,
    known: bool,
    gathered: Vec<u8>,
    lines: Vec<(Range<usize>, TablePosition, bool)>,
}

/// The greatest key so far, and the number of its rows on each side.
#[derive(Default)]
struct LastKey {
    seen: Option<()>,
    first: Vec<u8>,
    key: Vec<u8>,
    n_rows: [u64; 2],
}

impl MergeJoin<'_> {
    fn step(&mut self) -> Result<JoinStep> {
        let exact = self.judge.rules.exact();
        let [old, new] = &mut self.sides;
        if exact && old.rows.fill()? {
            let line = old.rows.line();
            if new.rows.starts_with_line(line) || new.rows.fill()? && new.rows.line() == line {
                return Ok(self.same_line());
            }
        }
        let has_old = self.sides[OLD].find_key(OLD, &mut self.judge)?;
        let has_new = self.sides[NEW].find_key(NEW, &mut self.judge)?;
        let order = match (has_old, has_new) {
            (true, true) => self.sides[OLD].key.cmp(&self.sides[NEW].key),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => return Ok(JoinStep::Done),
        };
        std::mem::swap(&mut self.key, &mut self.sides[usize::from(order == Ordering::Greater)].key);
        for (side, other) in [(OLD, Ordering::Greater), (NEW, Ordering::Less)] {
            let cursor = &mut self.sides[side];
            cursor.gathered.clear();
            cursor.lines.clear();
            if order == other {
                continue;
            }
            cursor.gather();
            while cursor.find_key(side, &mut self.judge)? && cursor.key == self.key {
                cursor.gather();
            }
        }
        let [old, new] = &self.sides;
        // If keys are not exact, it is decided later which rows have the same key.
        let n_rows = [old, new].map(|side| if exact { side.lines.len() as u64 } else { 0 });
        if !self.last.see(&self.key, n_rows, &mut self.judge.outcome) {
            return Ok(JoinStep::OutOfOrder);
        }
        let twice = if self.last.n_rows.iter().any(|n| 1 < *n) { KeyRepeats::Yes } else { KeyRepeats::No };
        if let Some(watcher) = &mut self.watcher {
            if let ([a], [b]) = (&*old.lines, &*new.lines) {
                watcher.pair(old.line(a).bytes, new.line(b).bytes);
            } else {
                for (side, cursor) in [old, new].into_iter().enumerate() {
                    cursor.lines.iter().for_each(|line| watcher.one(side, cursor.line(line).bytes));
                }
            }
        }
        if old.lines.len() <= 1 && new.lines.len() <= 1 {
            self.judge.rows(&self.key, old.first().as_slice(), new.first().as_slice(), twice);
        } else {
            let (old, new) = (old.all(), new.all());
            self.judge.rows(&self.key, &old, &new, twice);
        }
        Ok(JoinStep::On)
    }

    /// Handles current lines that have the same bytes on both sides.
    fn same_line(&mut self) -> JoinStep {
        let [old, new] = &mut self.sides;
        let found = if old.known {
            Ok(())
        } else {
            old.key.clear();
            old.finder.push_quick(&mut old.key, old.rows.line())
        };
        let mut step = JoinStep::On;
        if found.is_ok() && !cut_short(&old.rows) {
            self.judge.outcome.same += 1;
            if let Some(watcher) = &mut self.watcher {
                watcher.same(old.rows.line());
            }
            if !self.last.see(&old.key, [1, 1], &mut self.judge.outcome) {
                step = JoinStep::OutOfOrder;
            }
        } else {
            let message = found.err().map_or(NOT_JSON, |no_row| no_row.message);
            self.judge.malformed(OLD, old.present(), message);
            self.judge.malformed(NEW, new.present(), message);
        }
        for cursor in [old, new] {
            cursor.known = false;
            cursor.rows.advance();
        }
        step
    }

    fn take_passed(&mut self) -> u64 {
        self.sides.iter_mut().map(|cursor| cursor.rows.take_passed()).sum()
    }
}

/// Returns whether the last line of a file ends in the middle of a row.
#[must_use]
pub fn cut_short(rows: &TableLines<'_>) -> bool {
    rows.unfinished() && read_row(&mut crate::json::Tape::default(), rows.line()).is_err()
}

impl<'a> SideCursor<'a> {
    fn new(rows: TableLines<'a>, key: &'a RowKey) -> Self {
        let finder = KeyFinder::new(key);
        Self { rows, finder, key: Vec::new(), known: false, gathered: Vec::new(), lines: Vec::new() }
    }

    /// Finds the key of the current row, if there is one. Skips malformed lines.
    fn find_key(&mut self, side: usize, judge: &mut RowComparer<'a>) -> Result<bool> {
        while !self.known && self.rows.fill()? {
            self.key.clear();
            match self.finder.push_quick(&mut self.key, self.rows.line()) {
                Ok(()) => self.known = true,
                Err(no_row) => {
                    judge.malformed(side, self.present(), no_row.message);
                    self.rows.advance();
                }
            }
        }
        Ok(self.known)
    }

    fn present(&self) -> TableLine<'_> {
        TableLine { bytes: self.rows.line(), place: self.rows.place(), unfinished: self.rows.unfinished() }
    }

    /// Collects the current line and moves to the next one.
    fn gather(&mut self) {
        let start = self.gathered.len();
        self.gathered.extend_from_slice(self.rows.line());
        self.lines.push((start..self.gathered.len(), self.rows.place(), self.rows.unfinished()));
        self.rows.advance();
        self.known = false;
    }

    fn first(&self) -> Option<TableLine<'_>> {
        self.lines.first().map(|line| self.line(line))
    }

    fn all(&self) -> Vec<TableLine<'_>> {
        self.lines.iter().map(|line| self.line(line)).collect()
    }

    fn line(&self, (range, place, unfinished): &(Range<usize>, TablePosition, bool)) -> TableLine<'_> {
        TableLine { bytes: &self.gathered[range.clone()], place: *place, unfinished: *unfinished }
    }
}

impl LastKey {
    /// Counts rows of a key. Returns `false` if a greater key came before.
    fn see(&mut self, key: &[u8], n_rows: [u64; 2], outcome: &mut RowsOutcome) -> bool {
        match self.seen {
            None => {
                self.seen = Some(());
                self.first.extend_from_slice(key);
                self.key.extend_from_slice(key);
                self.n_rows = [0; 2];
            }
            Some(()) => match key.cmp(&self.key) {
                Ordering::Less => return false,
                Ordering::Equal => {}
                Ordering::Greater => {
                    self.key.clear();
                    self.key.extend_from_slice(key);
                    self.n_rows = [0; 2];
                }
            },
        }
        for side in [OLD, NEW] {
            let before = self.n_rows[side];
            self.n_rows[side] += n_rows[side];
            outcome.duplicate_keys[side] += u64::from(before < 2 && 2 <= self.n_rows[side]);
        }
        true
    }
}
