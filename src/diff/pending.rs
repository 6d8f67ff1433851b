//! Rows that have no partner on the other side yet.
//!
//! A line on one side cancels an earlier line of equal bytes on the other. Lines without a partner are kept: in memory
//! up to a budget, then in temporary files, partitioned by the hash of the key, so that the rows of a key are together.
//! At the end the rows of each key are compared.

use rayon::prelude::*;

use crate::{
    collections::{Map, key_of},
    error::Result,
};

use super::{
    key_tally::DuplicateKeys,
    keys::KeyFinder,
    meter::DiffMeter,
    outcome::RowsOutcome,
    records::ChangesRun,
    row_comparer::{KeyRepeats, RowComparer, TableLine, TableRules},
    rows::TablePosition,
    sides::{NEW, OLD},
    spill::{RowSpill, SpilledRow},
};

/// Bytes that a row takes in addition to its line.
const OVERHEAD: usize = 112;

/// Rows without a partner.
pub struct UnpairedRows<'a> {
    rules: &'a TableRules,
    /// The memory budget, in bytes.
    room: usize,
    bytes: Vec<u8>,
    rows: Vec<UnpairedRow>,
    /// The number of rows without a partner, by the hash of the line. It is negative if they are on the new side.
    balance: Map<u128, i32>,
    /// The bytes of the rows without a partner, with their overhead.
    live: usize,
    spill: Option<RowSpill>,
}

#[derive(Debug, Clone, Copy)]
struct UnpairedRow {
    hash: u128,
    key_hash: u128,
    start: usize,
    length: u32,
    side: u8,
    place: TablePosition,
}

impl<'a> UnpairedRows<'a> {
    /// Creates an empty set with a memory budget in bytes.
    #[must_use]
    pub fn new(rules: &'a TableRules, memory: u64) -> Self {
        Self {
            rules,
            room: usize::try_from(memory).unwrap_or(usize::MAX),
            bytes: Vec::new(),
            rows: Vec::new(),
            balance: Map::default(),
            live: 0,
            spill: None,
        }
    }

    /// Returns whether an equal line on the other side has no partner yet. If so, the two are paired and both are done.
    pub fn cancels(&mut self, side: usize, hash: u128, length: usize) -> bool {
        let Some(balance) = self.balance.get_mut(&hash) else { return false };
        let waits = if side == OLD { *balance < 0 } else { 0 < *balance };
        if waits {
            *balance += if side == OLD { 1 } else { -1 };
            if *balance == 0 {
                self.balance.remove(&hash);
            }
            self.live -= length + OVERHEAD;
        }
        waits
    }

    /// Adds a line without a partner.
    pub fn push(&mut self, hash: u128, row: SpilledRow<'_>) -> Result<()> {
        if let Some(spill) = &mut self.spill {
            return spill.push(row);
        }
        let SpilledRow { side, line, key_hash, place } = row;
        if self.rules.exact() {
            *self.balance.entry(hash).or_default() += if side == OLD { 1 } else { -1 };
        }
        let length = u32::try_from(line.len()).expect("a line is shorter than 4 GiB");
        let start = self.bytes.len();
        self.rows.push(UnpairedRow { hash, key_hash, start, length, side: u8::from(side == NEW), place });
        self.bytes.extend_from_slice(line);
        self.live += line.len() + OVERHEAD;
        if self.room < self.bytes.len() + self.rows.len() * OVERHEAD {
            self.make_room()?;
        }
        Ok(())
    }

    /// Removes paired rows from memory. If that frees too little, spills the others to temporary files.
    fn make_room(&mut self) -> Result<()> {
        let rows = self.waiting();
        if self.live < self.room / 2 {
            let mut bytes = Vec::with_capacity(self.live);
            self.rows = rows
                .into_iter()
                .map(|row| {
                    let start = bytes.len();
                    bytes.extend_from_slice(&self.bytes[row.start..row.start + row.length as usize]);
                    UnpairedRow { start, ..row }
                })
                .collect();
            self.bytes = bytes;
            return Ok(());
        }
        let mut spill = RowSpill::new(0)?;
        for row in rows {
            let line = &self.bytes[row.start..row.start + row.length as usize];
            let (side, key_hash, place) = (usize::from(row.side), row.key_hash, row.place);
            spill.push(SpilledRow { side, line, key_hash, place })?;
        }
        self.spill = Some(spill);
        self.bytes = Vec::new();
        self.rows = Vec::new();
        self.balance = Map::default();
        self.live = 0;
        Ok(())
    }

    /// Returns the rows without a partner.
    fn waiting(&self) -> Vec<UnpairedRow> {
        if !self.rules.exact() {
            return self.rows.clone();
        }
        let mut balance = self.balance.clone();
        let mut rows = Vec::new();
        // Of several equal lines, any may be kept.
        for row in &self.rows {
            if let Some(left) = balance.get_mut(&row.hash) {
                let waits = if row.side == 0 { 0 < *left } else { *left < 0 };
                if waits {
                    *left += if row.side == 0 { -1 } else { 1 };
                    rows.push(*row);
                }
            }
        }
        rows
    }

    /// Compares the remaining rows. Returns the result, and all changes as sorted runs.
    pub fn finish(
        self,
        twofold: &DuplicateKeys,
        meter: &DiffMeter<'_>,
    ) -> Result<(RowsOutcome, Vec<ChangesRun>)> {
        let rules = self.rules;
        let Some(spill) = self.spill else {
            let mut outcome = compare_rows(rules, &self.bytes, self.waiting(), twofold);
            let mut run = ChangesRun::default();
            run.append(&std::mem::take(&mut outcome.records))?;
            return Ok((outcome, vec![run]));
        };
        let (mut whole, mut runs) = (RowsOutcome::default(), Vec::new());
        finish_spilled(spill, self.room, rules, twofold, meter, &mut whole, &mut runs)?;
        Ok((whole, runs))
    }
}

/// Compares spilled rows, one partition after the other. A partition that is still too large is partitioned again.
fn finish_spilled(
    spill: RowSpill,
    room: usize,
    rules: &TableRules,
    twofold: &DuplicateKeys,
    meter: &DiffMeter<'_>,
    whole: &mut RowsOutcome,
    runs: &mut Vec<ChangesRun>,
) -> Result<()> {
    let level = spill.level();
    for mut part in spill.finish()? {
        meter.passed(0)?;
        if room < part.n_bytes() && level < RowSpill::LAST_LEVEL {
            let mut finer = RowSpill::new(level + 1)?;
            part.each(&mut |row| finer.push(row))?;
            drop(part);
            finish_spilled(finer, room, rules, twofold, meter, whole, runs)?;
            continue;
        }
        let mut pending = UnpairedRows::new(rules, u64::MAX);
        let mut same = 0;
        part.each(&mut |row: SpilledRow<'_>| {
            let hash = key_of(row.line);
            if pending.cancels(row.side, hash, row.line.len()) {
                same += 1;
                return Ok(());
            }
            pending.push(hash, row)
        })?;
        let mut outcome = compare_rows(rules, &pending.bytes, pending.waiting(), twofold);
        outcome.same += same;
        let mut run = ChangesRun::default();
        run.append(&std::mem::take(&mut outcome.records))?;
        runs.push(run);
        merge_examples(whole, outcome, rules.limit)?;
    }
    Ok(())
}

/// Adds a result. Of all examples, those with the smallest keys are kept.
fn merge_examples(whole: &mut RowsOutcome, mut part: RowsOutcome, limit: usize) -> Result<()> {
    let mut examples = std::mem::take(&mut whole.examples);
    examples.append(&mut part.examples);
    examples.sort_by(|a, b| (a.kind, &a.sort_key).cmp(&(b.kind, &b.sort_key)));
    whole.add(part, limit)?;
    whole.add(RowsOutcome { examples, ..RowsOutcome::default() }, limit)
}

/// Compares the rows without an equal partner, in the order of their keys.
fn compare_rows(
    rules: &TableRules,
    bytes: &[u8],
    rows: Vec<UnpairedRow>,
    twofold: &DuplicateKeys,
) -> RowsOutcome {
    let mut judge = RowComparer::new(rules);
    let mut finder = KeyFinder::new(&rules.key);
    let mut keys = Vec::new();
    let mut keyed = Vec::with_capacity(rows.len());
    for row in rows {
        let line = &bytes[row.start..row.start + row.length as usize];
        let start = keys.len();
        match finder.push_quick(&mut keys, line) {
            Ok(()) => keyed.push((start..keys.len(), row)),
            Err(no_row) => {
                let line = TableLine { bytes: line, place: row.place, unfinished: false };
                judge.malformed(usize::from(row.side), line, no_row.message);
            }
        }
    }
    keyed.par_sort_unstable_by(|(a, row_a), (b, row_b)| {
        keys[a.clone()]
            .cmp(&keys[b.clone()])
            .then(row_a.side.cmp(&row_b.side))
            .then(row_a.place.cmp(&row_b.place))
    });
    for group in keyed.chunk_by(|(a, _), (b, _)| keys[a.clone()] == keys[b.clone()]) {
        let key = &keys[group[0].0.clone()];
        let lines = |side: u8| -> Vec<TableLine<'_>> {
            let rows = group.iter().filter(|(_, row)| row.side == side);
            rows.map(|(_, row)| TableLine {
                bytes: &bytes[row.start..row.start + row.length as usize],
                place: row.place,
                unfinished: false,
            })
            .collect()
        };
        let twice = if twofold.contains(key_of(key)) { KeyRepeats::Yes } else { KeyRepeats::No };
        judge.rows(key, &lines(0), &lines(1), twice);
    }
    judge.outcome
}
