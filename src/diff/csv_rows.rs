//! A comma-separated file as NDJSON: a text a cell, null where it is empty.

use std::io::{self, Read};

use csv::ByteRecord;

use crate::{event::json::push_string, read::lines::BOM};

/// Reads the one and gives the other.
pub struct CsvRows<R> {
    reader: csv::Reader<R>,
    record: ByteRecord,
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
        for name in reader.byte_headers()? {
            let mut column = Vec::new();
            push_string(&mut column, name.strip_prefix(BOM).unwrap_or(name));
            column.push(b':');
            columns.push(column);
        }
        Ok(Self { reader, record: ByteRecord::new(), columns, line: Vec::new(), n_given: 0 })
    }
}

impl<R: Read> Read for CsvRows<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.n_given == self.line.len() {
            if !self.reader.read_byte_record(&mut self.record)? {
                return Ok(0);
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
        }
        let left = &self.line[self.n_given..];
        let n = left.len().min(bytes.len());
        bytes[..n].copy_from_slice(&left[..n]);
        self.n_given += n;
        Ok(n)
    }
}
