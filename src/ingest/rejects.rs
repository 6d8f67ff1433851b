//! Rejected lines, in the order of the inputs however units are read: gathered, spilled where they are many, merged at the
//! end.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{
    error::{Error, Result},
    event::reject::Position,
    read::spill::{Spill, Spilled},
};

/// So many bytes of rows wait in memory.
const IN_MEMORY: usize = 32 << 20;
/// Bytes of rows that are spilled together.
const PIECE: usize = 1 << 20;

type Row = (Position, Vec<u8>);

/// Rows of rejects.
#[derive(Debug, Default)]
pub struct Rejects {
    rows: Vec<Row>,
    bytes: usize,
    runs: Vec<Vec<Spilled>>,
}

impl Rejects {
    /// Takes rows in.
    pub fn add(&mut self, rows: Vec<Row>, spill: &Spill) -> Result<()> {
        self.bytes += rows.iter().map(|(_, row)| row.len() + 64).sum::<usize>();
        self.rows.extend(rows);
        if IN_MEMORY < self.bytes {
            self.rows.sort_unstable();
            let mut run = Vec::new();
            let mut piece = Vec::new();
            for (position, row) in self.rows.drain(..) {
                encode(&mut piece, position, &row);
                if PIECE < piece.len() {
                    run.push(spill.put(&piece)?);
                    piece.clear();
                }
            }
            if !piece.is_empty() {
                run.push(spill.put(&piece)?);
            }
            self.runs.push(run);
            self.bytes = 0;
        }
        Ok(())
    }

    /// Gives all rows out in order.
    pub fn drain(mut self, mut give: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.rows.sort_unstable();
        let mut runs: Vec<Run> = self.runs.into_iter().map(Run::of).collect();
        let rows = self.rows.into_iter().rev().collect();
        runs.push(Run { rows, pieces: Vec::new() });
        let mut next: BinaryHeap<Reverse<(Row, usize)>> = BinaryHeap::new();
        for (number, run) in runs.iter_mut().enumerate() {
            next.extend(run.next()?.map(|row| Reverse((row, number))));
        }
        while let Some(Reverse(((_, row), number))) = next.pop() {
            give(&row)?;
            next.extend(runs[number].next()?.map(|row| Reverse((row, number))));
        }
        Ok(())
    }
}

/// A sorted run: the rows at hand and the pieces to come, each with the next at its end.
struct Run {
    rows: Vec<Row>,
    pieces: Vec<Spilled>,
}

impl Run {
    fn of(mut pieces: Vec<Spilled>) -> Self {
        pieces.reverse();
        Self { rows: Vec::new(), pieces }
    }

    fn next(&mut self) -> Result<Option<Row>> {
        if self.rows.is_empty()
            && let Some(piece) = self.pieces.pop()
        {
            let mut bytes = Vec::new();
            piece.take(&mut bytes).map_err(|e| Error::io("read what was spilled of", "rejected", e))?;
            let mut rest = bytes.as_slice();
            while let Some(row) = decode(&mut rest) {
                self.rows.push(row);
            }
            self.rows.reverse();
        }
        Ok(self.rows.pop())
    }
}

fn encode(out: &mut Vec<u8>, position: Position, row: &[u8]) {
    out.extend_from_slice(&position.input.to_le_bytes());
    out.extend_from_slice(&position.line.to_le_bytes());
    out.extend_from_slice(&position.item.to_le_bytes());
    out.extend_from_slice(&position.byte_offset.to_le_bytes());
    out.extend_from_slice(&(row.len() as u64).to_le_bytes());
    out.extend_from_slice(row);
}

fn decode(rest: &mut &[u8]) -> Option<Row> {
    let input = u32::from_le_bytes(take(rest)?);
    let line = u64::from_le_bytes(take(rest)?);
    let item = u32::from_le_bytes(take(rest)?);
    let byte_offset = u64::from_le_bytes(take(rest)?);
    let length = usize::try_from(u64::from_le_bytes(take(rest)?)).ok()?;
    let (row, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some((Position { input, line, item, byte_offset }, row.to_vec()))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (now, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*now)
}
