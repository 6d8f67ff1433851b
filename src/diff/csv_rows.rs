//! A comma-separated file as NDJSON: a text a cell, null where it is empty.

use std::io::{self, Read};

use csv::{ByteRecord, ErrorKind};

use crate::{collections::Set, json::push_string};

/// Reads the one and gives the other.
pub struct CsvRows<R> {
    reader: csv::Reader<R>,
    record: ByteRecord,
    names: ByteRecord,
    /// The columns as they stand in a line: quoted, with the colon.
    columns: Vec<Vec<u8>>,
    line: Vec<u8>,
    n_given: usize,
}

impl<R: Read> CsvRows<R> {
    /// Reads the names of the columns.
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

    /// A name that two columns have: nobody could say which of them is meant.
    pub fn repeated_column(&self) -> Option<&[u8]> {
        let mut seen = Set::default();
        self.names.iter().find(|name| !seen.insert(*name))
    }

    /// The line of the file in which the row stands that begins at a byte of what this gives. Counted from 1; a row may
    /// take several lines.
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

    /// Makes the next row the present line; false if there is none.
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

/// The line of a row with more or fewer cells than the header, and what is wrong with it; `None` for any other error.
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
