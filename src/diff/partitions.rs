//! Splits tables that are in the order of their key into partitions, which are joined on all cores.
//!
//! The longer file is split every few megabytes, and both files are searched for the key at that point. At this time it
//! is not known whether the files are in order. Each partition checks that its keys ascend and stay within its bounds,
//! so that all partitions together are in order too.

use std::{fs::File, ops::Range, sync::Arc};

use rayon::prelude::*;

use crate::{error::Result, files::Files};

use super::{
    keys::KeyFinder,
    merge::{KeyBounds, merge},
    meter::DiffMeter,
    outcome::RowsOutcome,
    records::ChangesRun,
    row_comparer::TableRules,
    rows::{BLOCK, TableLines},
    sides::TableFile,
};

/// Bytes to read at a time to find a single line.
const PROBE: usize = 4 << 10;

/// The number of partitions to join at a time, for each thread. Their results wait in memory for their turn.
const PARTITIONS_PER_THREAD: usize = 4;

struct TablePartition {
    old: Range<u64>,
    new: Range<u64>,
    bounds: KeyBounds,
}

/// A file that can be read at any offset.
struct OpenedTable<'a> {
    table: &'a TableFile,
    file: Arc<File>,
    rules: &'a TableRules,
    files: &'a Files,
}

/// Joins two files. Returns `None` if one is not in order.
pub fn merge_in_partitions(
    old: &TableFile,
    new: &TableFile,
    rules: &TableRules,
    piece: u64,
    files: &Files,
    meter: &DiffMeter<'_>,
) -> Result<Option<(RowsOutcome, ChangesRun)>> {
    let open = |table| OpenedTable::open(table, rules, files);
    let (old, new) = (open(old)?, open(new)?);
    let Some(pieces) = cut(&old, &new, piece)? else { return Ok(None) };
    let mut whole = RowsOutcome::default();
    let mut run = ChangesRun::default();
    for window in pieces.chunks(PARTITIONS_PER_THREAD * rayon::current_num_threads()) {
        let parts: Vec<Option<RowsOutcome>> = window
            .par_iter()
            .with_max_len(1)
            .map(|piece| {
                let old = old.rows(piece.old.clone(), BLOCK);
                let new = new.rows(piece.new.clone(), BLOCK);
                merge(old, new, rules, &piece.bounds, None, meter)
            })
            .collect::<Result<_>>()?;
        for mut part in parts {
            let Some(part) = &mut part else { return Ok(None) };
            run.append(&std::mem::take(&mut part.records))?;
            whole.add(std::mem::take(part), rules.limit)?;
        }
    }
    Ok(Some((whole, run)))
}

/// Splits both files at the same keys. Returns `None` if the keys found show that they are not in order.
fn cut(old: &OpenedTable<'_>, new: &OpenedTable<'_>, size: u64) -> Result<Option<Vec<TablePartition>>> {
    let mut pieces = Vec::new();
    let mut piece =
        TablePartition { old: old.table.start..0, new: new.table.start..0, bounds: KeyBounds::default() };
    // The longer file determines the splits, because a short one would give few large partitions.
    let longer = if old.table.bytes < new.table.bytes { new } else { old };
    let cuts: Vec<Option<(Vec<u8>, u64, u64)>> = (1..longer.table.bytes.div_ceil(size))
        .collect::<Vec<_>>()
        .into_par_iter()
        .with_max_len(1)
        .map(|n| {
            let Some((_, key)) = longer.key_at(n * size)? else { return Ok(None) };
            let (at_old, at_new) = (old.lower_bound(&key)?, new.lower_bound(&key)?);
            Ok(Some((key, at_old, at_new)))
        })
        .collect::<Result<_>>()?;
    for (key, at_old, at_new) in cuts.into_iter().flatten() {
        if key < piece.bounds.from || at_old < piece.old.start || at_new < piece.new.start {
            return Ok(None);
        }
        if key == piece.bounds.from {
            continue;
        }
        let bounds = KeyBounds { from: key.clone(), to: None };
        let next = TablePartition { old: at_old..0, new: at_new..0, bounds };
        piece.old.end = at_old;
        piece.new.end = at_new;
        piece.bounds.to = Some(key);
        pieces.push(std::mem::replace(&mut piece, next));
    }
    piece.old.end = old.table.bytes;
    piece.new.end = new.table.bytes;
    pieces.push(piece);
    Ok(Some(pieces))
}

impl<'a> OpenedTable<'a> {
    fn open(table: &'a TableFile, rules: &'a TableRules, files: &'a Files) -> Result<Self> {
        Ok(Self { table, file: table.open(files)?, rules, files })
    }

    fn rows(&self, range: Range<u64>, block: usize) -> TableLines<'a> {
        TableLines::of_range(&self.table.path, &self.file, range, block, self.files)
    }

    /// Returns the offset of the first row whose key is not smaller.
    fn lower_bound(&self, key: &[u8]) -> Result<u64> {
        // All rows that begin before `low` are smaller. The first one that begins at or after `high` is not.
        let (mut low, mut high) = (self.table.start, self.table.bytes);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.key_at(middle)? {
                Some((start, found)) if *found < *key => low = start + 1,
                _ => high = middle,
            }
        }
        Ok(self.key_at(low)?.map_or(self.table.bytes, |(start, _)| start))
    }

    /// Returns the offset and the key of the first row that begins at or after an offset.
    fn key_at(&self, offset: u64) -> Result<Option<(u64, Vec<u8>)>> {
        let from = offset.saturating_sub(1).max(self.table.start);
        let mut rows = self.rows(from..self.table.bytes, PROBE);
        if from < offset {
            // The previous byte shows whether a line begins here. If so, only that byte is skipped.
            rows.pass_to_line_end()?;
        }
        let mut key = Vec::new();
        let mut finder = KeyFinder::new(&self.rules.key);
        while rows.fill()? {
            if finder.push_quick(&mut key, rows.line()).is_ok() {
                return Ok(Some((rows.place().offset, key)));
            }
            key.clear();
            rows.advance();
        }
        Ok(None)
    }
}
