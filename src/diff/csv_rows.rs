//! Reads a comma-separated file as NDJSON: each cell is a text, or null if it is empty.

use std::io::{self, Read};

use csv::{ByteRecord, ErrorKind};

use crate::{collections::Set, json::push_string};

/// A reader that converts CSV rows to JSON lines.
pub struct CsvRows<R> {
    reader: csv::Reader<R>,
    record: ByteRecord,
    names: ByteRecord,
    /// The columns as they appear in a line: the quoted name and a colon.
    columns: Vec<Vec<u8>>,
    line: Vec<u8>,
    n_given: usize,
}

impl<R: Read> CsvRows<R> {
    /// Reads the header.
    pub fn new(reader: R) -> io::Result<Self> {
        let mut reader = csv::Reader::from_reader(reader);
        let mut columns = Vec::new();
        let names = reader.byte_headers()?.clone();
        for name in &names {
            let mut column = Vec::new();
            push_string(&mut column, name);
            column.push(b':');
            columns.push(column);
        }
        Ok(Self { reader, record: ByteRecord::new(), names, columns, line: Vec::new(), n_given: 0 })
    }

    /// Returns a name that two columns have, which would be ambiguous.
    pub fn repeated_column(&self) -> Option<&[u8]> {
        let mut seen = Set::default();
        self.names.iter().find(|name| !seen.insert(*name))
    }

    /// Returns the line of the file, counted from 1, for the row that begins at an offset of the converted text. A row
    /// may span several lines.
    pub fn line_number(mut self, offset: u64) -> io::Result<u64> {
        let mut n_bytes = 0;
        while self.next_row()? {
            if offset <= n_bytes {
                break;
            }
            n_bytes += self.line.len() as u64;
        }
        Ok(self.record.position().map_or(1, csv::Position::line))
    }

    /// Converts the next row. Returns `false` at the end.
    fn next_row(&mut self) -> io::Result<bool> {
        if !self.reader.read_byte_record(&mut self.record)? {
            return Ok(false);
        }
        self.n_given = 0;
        self.line.clear();
        for (column, cell) in self.columns.iter().zip(&self.record) {
            self.line.push(if self.line.is_empty() { b'{' } else { b',' });
            self.line.extend_from_slice(column);
            if cell.is_empty() {
                self.line.extend_from_slice(b"null");
            } else {
                push_string(&mut self.line, cell);
            }
        }
        self.line.extend_from_slice(b"}\n");
        Ok(true)
    }
}

/// Returns the line of a row with more or fewer cells than the header, and a message; `None` for any other error.
pub fn wrong_cells(e: &io::Error) -> Option<(u64, String)> {
    match e.get_ref()?.downcast_ref::<csv::Error>()?.kind() {
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let cells = if *len == 1 { "cell" } else { "cells" };
            let message = format!("has {len} {cells}, but the header has {expected_len}");
            Some((pos.as_ref().map_or(1, csv::Position::line), message))
        }
        _ => None,
    }
}

impl<R: Read> Read for CsvRows<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.n_given == self.line.len() && !self.next_row()? {
            return Ok(0);
        }
        let left = &self.line[self.n_given..];
        let n = left.len().min(bytes.len());
        bytes[..n].copy_from_slice(&left[..n]);
        self.n_given += n;
        Ok(n)
    }
}
