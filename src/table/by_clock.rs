//! Rows found by their `uuid_ts` in a table whose rows are in its order: a few reads, however large the table is.

use std::path::Path;

use super::{blocks::line_error, row::RowReader, source::TableSource, to_usize};
use crate::{error::Result, time::timestamp::Micros};

/// Bytes that are read at a time. Most rows are shorter.
const READ: u64 = 2048;

/// A span of this many bytes is read row by row.
const FEW: u64 = 4096;

/// A table in the order of `uuid_ts`.
#[derive(Debug)]
pub struct ByClock {
    source: TableSource,
    reader: RowReader<0>,
    buffer: Vec<u8>,
}

/// Where a row is in the buffer and in the table, and its clock.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// In the buffer.
    from: usize,
    to: usize,
    /// In the table.
    start: u64,
    /// Behind its line end.
    end: u64,
    clock: Option<Micros>,
}

impl ByClock {
    /// Reads from a table.
    #[must_use]
    pub fn new(source: TableSource) -> Self {
        Self { source, reader: RowReader::for_events([]), buffer: Vec::new() }
    }

    /// Returns the file of the table.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// Returns the rows with this clock, in their order. Rows without clock count as older.
    pub fn rows_at(&mut self, uuid_ts: Micros) -> Result<Vec<Vec<u8>>> {
        let (mut low, mut high) = (0, self.source.length());
        while low + FEW < high {
            let middle = low + (high - low) / 2;
            match self.row_from(middle)? {
                Some(row) if row.start < high && row.clock < Some(uuid_ts) => low = row.end,
                _ => high = middle,
            }
        }
        let mut rows = Vec::new();
        while let Some(row) = self.row_from(low)?.filter(|row| row.clock <= Some(uuid_ts)) {
            if row.clock == Some(uuid_ts) {
                rows.push(self.buffer[row.from..row.to].to_vec());
            }
            low = row.end;
        }
        Ok(rows)
    }

    /// Reads the first row that begins at a place or after it.
    fn row_from(&mut self, at: u64) -> Result<Option<Found>> {
        let length = self.source.length();
        let first = at.saturating_sub(1);
        let mut n_bytes = READ;
        loop {
            let end = (first + n_bytes).min(length);
            let is_all = end == length;
            self.buffer.resize(to_usize(end.saturating_sub(first)), 0);
            self.source.read_at(&mut self.buffer, first.min(length))?;
            let from = if at == 0 { Some(0) } else { memchr::memchr(b'\n', &self.buffer).map(|at| at + 1) };
            let line_end =
                from.and_then(|from| memchr::memchr(b'\n', &self.buffer[from..]).map(|to| from + to));
            match (from, line_end) {
                (Some(from), to) if to.is_some() || is_all => {
                    let to = to.unwrap_or(self.buffer.len());
                    if from == to {
                        return Ok(None);
                    }
                    let start = first + from as u64;
                    let row = self.reader.read(&self.buffer[from..to], false);
                    let clock = match row {
                        Ok(row) => row.clock.uuid_ts(),
                        Err(problem) => return Err(line_error(&self.source, start, &problem)),
                    };
                    return Ok(Some(Found { from, to, start, end: first + to as u64 + 1, clock }));
                }
                (None, _) if is_all => return Ok(None),
                _ => n_bytes *= 8,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(clock: u32, filler: usize) -> String {
        format!("{{\"uuid_ts\":\"2024-01-01T00:00:00.{clock:06}Z\",\"x\":\"{}\"}}\n", "x".repeat(filler))
    }

    fn micros(clock: u32) -> Micros {
        1_704_067_200_000_000 + Micros::from(clock)
    }

    #[test]
    fn rows_are_found_by_their_clock_whatever_their_length() {
        for filler in [0, 3, 900, 20_000] {
            // Some clocks are missing, some have three rows.
            let mut text = String::new();
            let n_rows = |clock: u32| [0, 1, 1, 3, 0, 1][clock as usize % 6];
            for clock in 0..120 {
                text.push_str(&row(clock, filler).repeat(n_rows(clock)));
            }
            let source = TableSource::from_bytes(Path::new("table"), text.into_bytes());
            let mut by_clock = ByClock::new(source);
            for clock in 0..125 {
                let rows = by_clock.rows_at(micros(clock)).unwrap();
                let expected = if clock < 120 { n_rows(clock) } else { 0 };
                assert_eq!(rows.len(), expected, "{filler} {clock}");
                assert!(rows.iter().all(|found| *found == row(clock, filler).trim_end().as_bytes()));
            }
        }
    }

    #[test]
    fn a_table_without_rows_has_none_at_any_time() {
        let mut by_clock = ByClock::new(TableSource::from_bytes(Path::new("table"), Vec::new()));
        assert!(by_clock.rows_at(micros(1)).unwrap().is_empty());
    }
}
