//! Merges sorted runs of rows into views, each sorted by its key.

use std::{cmp::Reverse, collections::BinaryHeap};

use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    read::spill::SpilledBytes,
    table::write::{SortedRun, ViewStaging, ViewStats},
    view::{View, row_key::KeyReader},
};

/// Bytes written at a time.
const OUT_BYTES: usize = 1 << 19;

/// Merges the sorted runs of each view. No two of them may have a row with the same key.
pub(super) fn merge(
    views: &[View],
    runs: Vec<SortedRun>,
    staging: &ViewStaging<'_>,
) -> Result<Vec<(View, ViewStats)>> {
    let mut of_views: Vec<(View, Vec<RunCursor>)> = views.iter().map(|&view| (view, Vec::new())).collect();
    for run in runs {
        if let Some((_, cursors)) = of_views.iter_mut().find(|(view, _)| view.name() == run.view) {
            cursors.push(RunCursor::new(run.blocks));
        }
    }
    let merged: Vec<Result<_>> = of_views
        .into_par_iter()
        .with_max_len(1)
        .map(|(view, cursors)| Ok((view, merge_one(view, cursors, staging)?)))
        .collect();
    merged.into_iter().collect()
}

fn merge_one(view: View, mut cursors: Vec<RunCursor>, staging: &ViewStaging<'_>) -> Result<ViewStats> {
    let mut keys = KeyReader::new(view);
    let mut out = staging.open(view.name())?;
    let mut heap = BinaryHeap::with_capacity(cursors.len());
    for (number, cursor) in cursors.iter_mut().enumerate() {
        let mut key = Vec::new();
        if cursor.next(&mut keys, &mut key)? {
            heap.push(Reverse((key, number)));
        }
    }
    let mut lines = Vec::with_capacity(OUT_BYTES);
    let mut n_rows = 0;
    while let Some(mut first) = heap.peek_mut() {
        let Reverse((key, number)) = &mut *first;
        let cursor = &mut cursors[*number];
        lines.extend_from_slice(cursor.line());
        n_rows += 1;
        if OUT_BYTES <= lines.len() {
            out.write(&lines)?;
            lines.clear();
        }
        if !cursor.next(&mut keys, key)? {
            std::collections::binary_heap::PeekMut::pop(first);
        }
    }
    out.write(&lines)?;
    staging.close(out, n_rows)
}

/// Reads a sorted run line by line.
struct RunCursor {
    pieces: std::vec::IntoIter<SpilledBytes>,
    bytes: Vec<u8>,
    /// The current line, as a range of `bytes`.
    line: std::ops::Range<usize>,
}

impl RunCursor {
    fn new(pieces: Vec<SpilledBytes>) -> Self {
        Self { pieces: pieces.into_iter(), bytes: Vec::new(), line: 0..0 }
    }

    fn line(&self) -> &[u8] {
        &self.bytes[self.line.clone()]
    }

    /// Steps to the next line and reads its key. Returns `false` at the end.
    fn next(&mut self, keys: &mut KeyReader, key: &mut Vec<u8>) -> Result<bool> {
        let read_back = |e| Error::io("read back", "rows", e);
        if self.line.end == self.bytes.len() {
            let Some(piece) = self.pieces.next() else { return Ok(false) };
            piece.read(&mut self.bytes).map_err(read_back)?;
            self.line = 0..0;
        }
        let start = self.line.end;
        let rest = &self.bytes[start..];
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        self.line = start..start + length;
        let line = self.line();
        keys.encode(&line[..line.len() - 1], key).expect("a sorted run holds rows of its view");
        Ok(true)
    }
}
