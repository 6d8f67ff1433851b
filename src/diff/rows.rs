//! Reads the lines of a table, one after the other, through one buffer: decompressed, up to the committed bytes, across
//! all files of the table.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::{Error, Result, decompression_hint},
    escape::escaped,
    files::Files,
    read::{
        inputs::{CompressionFormat, decompress, first_bytes},
        lines::{BOM, is_blank},
    },
};

use super::{
    csv_rows::{CsvRows, wrong_cells},
    sides::{TableFile, TableFiles, TableFormat},
};

/// Bytes read at a time, few enough to stay in the CPU caches.
pub const BLOCK: usize = 256 << 10;

/// The maximum length of a line, in bytes.
const MAX_LINE: usize = 256 << 20;

/// The position of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TablePosition {
    /// The index of the file in its table.
    pub file: u32,
    /// The offset in the decompressed file.
    pub offset: u64,
}

/// Reads the lines of a table.
pub struct TableLines<'a> {
    files: &'a Files,
    remaining_files: Vec<TableFile>,
    path: PathBuf,
    packed: bool,
    reader: Option<Box<dyn Read + Send>>,
    buffer: Vec<u8>,
    /// The range of the buffer that is read but not consumed.
    unread: Range<usize>,
    /// The current line without its end; the next line starts at `next`.
    line: Range<usize>,
    next: usize,
    filled: bool,
    place: TablePosition,
    n_passed: u64,
}

impl<'a> TableLines<'a> {
    /// Reads all lines of a table.
    #[must_use]
    pub fn of_table(table: &TableFiles, files: &'a Files) -> Self {
        let mut rows = Self::empty(BLOCK, files);
        rows.remaining_files = table.iter().rev().cloned().collect();
        rows
    }

    /// Reads a range of an uncompressed file, in blocks of this size.
    #[must_use]
    pub fn of_range(
        path: &Path,
        file: &Arc<File>,
        range: Range<u64>,
        block: usize,
        files: &'a Files,
    ) -> Self {
        let mut rows = Self::empty(block, files);
        path.clone_into(&mut rows.path);
        rows.place = TablePosition { file: 0, offset: range.start };
        rows.reader = Some(Box::new(FileRange { file: Arc::clone(file), range }));
        rows
    }

    fn empty(block: usize, files: &'a Files) -> Self {
        Self {
            files,
            remaining_files: Vec::new(),
            path: PathBuf::new(),
            packed: false,
            reader: None,
            buffer: vec![0; block],
            unread: 0..0,
            line: 0..0,
            next: 0,
            filled: false,
            place: TablePosition { file: u32::MAX, offset: 0 },
            n_passed: 0,
        }
    }

    /// Reads the next line if there is no current one. Skips blank lines. Returns `false` at the end.
    pub fn fill(&mut self) -> Result<bool> {
        while !self.filled {
            match memchr::memchr(b'\n', &self.buffer[self.unread.clone()]) {
                Some(found) => self.found(self.unread.start + found, 1),
                None if self.read_more()? => {}
                None if self.unread.is_empty() => {
                    if !self.next_file()? {
                        return Ok(false);
                    }
                }
                None => self.found(self.unread.end, 0),
            }
            if self.filled && is_blank(self.line()) {
                self.advance();
            }
        }
        Ok(true)
    }

    /// Sets the end of the current line, which may be known from the other side's line.
    fn found(&mut self, end: usize, n_end: usize) {
        let start = self.unread.start;
        let cut = usize::from(start < end && self.buffer[end - 1] == b'\r');
        self.line = start..end - cut;
        self.next = end + n_end;
        self.filled = true;
    }

    /// Returns whether the next line equals `line`, without searching for its end. Returns `false` if the line is not
    /// in the buffer as a whole.
    pub fn starts_with_line(&mut self, line: &[u8]) -> bool {
        if self.filled {
            return self.line() == line;
        }
        let rest = &self.buffer[self.unread.clone()];
        let same = rest.len() > line.len() && rest[line.len()] == b'\n' && rest[..line.len()] == *line;
        if same {
            self.found(self.unread.start + line.len(), 1);
        }
        same
    }

    /// Returns the current line.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        &self.buffer[self.line.clone()]
    }

    /// Returns whether the current line has no line end, so it may be cut short.
    #[must_use]
    pub fn unfinished(&self) -> bool {
        self.filled && self.next == self.line.end
    }

    /// Returns the position of the current line.
    #[must_use]
    pub fn place(&self) -> TablePosition {
        self.place
    }

    /// Skips all bytes up to and including the next line end.
    pub fn pass_to_line_end(&mut self) -> Result<()> {
        loop {
            if let Some(found) = memchr::memchr(b'\n', &self.buffer[self.unread.clone()]) {
                self.found(self.unread.start + found, 1);
                self.advance();
                return Ok(());
            }
            if !self.read_more()? {
                self.found(self.unread.end, 0);
                self.advance();
                return Ok(());
            }
        }
    }

    /// Moves past the current line.
    pub fn advance(&mut self) {
        let length = (self.next - self.unread.start) as u64;
        self.n_passed += length;
        self.place.offset += length;
        self.unread.start = self.next;
        self.filled = false;
    }

    /// Returns the number of bytes passed since the last call.
    pub fn take_passed(&mut self) -> u64 {
        std::mem::take(&mut self.n_passed)
    }

    /// Reads another block after the unread bytes. Returns `false` at the end of the file.
    fn read_more(&mut self) -> Result<bool> {
        let Some(reader) = &mut self.reader else { return Ok(false) };
        if 0 < self.unread.start {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        if self.unread.end == self.buffer.len() {
            if MAX_LINE <= self.buffer.len() {
                return Err(
                    Error::file(&self.path, "a line is longer than 256 MiB").hint("give NDJSON tables")
                );
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let n_read = loop {
            match reader.read(&mut self.buffer[self.unread.end..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|e| unreadable(&self.path, self.packed, e))?,
            }
        };
        if n_read == 0 {
            self.reader = None;
        }
        self.unread.end += n_read;
        Ok(0 < n_read)
    }

    fn next_file(&mut self) -> Result<bool> {
        let Some(file) = self.remaining_files.pop() else { return Ok(false) };
        let mut reader = open(&file, self.files)?;
        let packed = file.packing != CompressionFormat::Plain;
        // A byte order mark is not part of the first line.
        let mut first = vec![0; 3];
        let mut n_first = 0;
        while n_first < first.len() {
            match reader.read(&mut first[n_first..]).map_err(|e| unreadable(&file.path, packed, e))? {
                0 => break,
                n_read => n_first += n_read,
            }
        }
        first.truncate(n_first);
        let marked = first == BOM;
        let first = if marked { Vec::new() } else { first };
        let offset = if marked { BOM.len() as u64 } else { file.start };
        self.buffer[..first.len()].copy_from_slice(&first);
        self.unread = 0..first.len();
        self.place = TablePosition { file: self.place.file.wrapping_add(1), offset };
        self.reader = Some(reader);
        self.packed = packed;
        self.path = file.path;
        Ok(true)
    }
}

fn unreadable(path: &Path, packed: bool, e: io::Error) -> Error {
    if let Some((line, message)) = wrong_cells(&e) {
        return Error::line(path, line, message).hint("fix the line, or export the table again");
    }
    let hint = decompression_hint(&e);
    let error = Error::io("read", path, e);
    if packed { error.hint(hint) } else { error }
}

/// Opens the committed bytes of a table file, decompressed, as NDJSON.
fn open(file: &TableFile, files: &Files) -> Result<Box<dyn Read + Send>> {
    Ok(match file.format {
        TableFormat::Json => open_content(file, files)?,
        TableFormat::Csv => Box::new(open_csv(file, files)?),
    })
}

fn open_csv(file: &TableFile, files: &Files) -> Result<CsvRows<Box<dyn Read + Send>>> {
    let rows = CsvRows::new(open_content(file, files)?);
    let rows = rows.map_err(|e| unreadable(&file.path, file.packing != CompressionFormat::Plain, e))?;
    match rows.repeated_column() {
        None => Ok(rows),
        Some(column) => {
            let message = if column.is_empty() {
                "has two columns without a name".to_owned()
            } else {
                format!("has the column `{}` twice", escaped(&String::from_utf8_lossy(column)))
            };
            Err(Error::line(&file.path, 1, message)
                .hint("give each column its own name in the header, or leave one out"))
        }
    }
}

/// Opens the committed bytes of a table file, decompressed.
fn open_content(file: &TableFile, files: &Files) -> Result<Box<dyn Read + Send>> {
    let io = |e| Error::io("read", &file.path, e);
    let mut bytes = FileRange { file: file.open(files)?, range: file.start..file.bytes };
    if file.packing == CompressionFormat::Plain {
        return Ok(Box::new(bytes));
    }
    let first = first_bytes(&mut bytes).map_err(io)?;
    decompress(first, bytes).map_err(io)
}

/// A range of a file. It does not use the file's own position, because several readers share the file.
struct FileRange {
    file: Arc<File>,
    range: Range<u64>,
}

impl Read for FileRange {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = self.range.end - self.range.start;
        let wanted = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n_read = self.file.read_at(&mut bytes[..wanted], self.range.start)?;
        self.range.start += n_read as u64;
        Ok(n_read)
    }
}

/// Returns the file and the number of the line at a position, counted from 1.
pub fn line_number(table: &TableFiles, place: TablePosition, files: &Files) -> Result<(PathBuf, u64)> {
    let file = &table[place.file as usize];
    let io = |e| Error::io("read", &file.path, e);
    let offset = place.offset - file.start;
    if file.format == TableFormat::Csv {
        let line = open_csv(file, files)?.line_number(offset).map_err(io)?;
        return Ok((file.path.clone(), line));
    }
    let mut reader = open_content(file, files)?.take(offset);
    let mut block = vec![0; BLOCK];
    let mut n_ends = 0;
    loop {
        match reader.read(&mut block).map_err(io)? {
            0 => return Ok((file.path.clone(), n_ends + 1)),
            n_read => n_ends += memchr::memchr_iter(b'\n', &block[..n_read]).count() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_through_any_buffer() {
        let files = Files::real();
        for (text, unfinished) in [
            ("", false),
            ("\n\n", false),
            ("a\nbb\r\n\n  \nccc", true),
            ("a\n\nlonger than a block of the buffer\nb\n", false),
            ("{\"a\":1}\r", false),
        ] {
            let mut folder = tempfile::NamedTempFile::new().unwrap();
            std::io::Write::write_all(&mut folder, text.as_bytes()).unwrap();
            let expected: Vec<&str> = text
                .lines()
                .map(|line| line.trim_end_matches('\r'))
                .filter(|line| !line.trim().is_empty())
                .collect();
            let file = Arc::new(files.open(folder.path()).unwrap());
            for block in 1..12 {
                let mut rows =
                    TableLines::of_range(folder.path(), &file, 0..text.len() as u64, block, &files);
                let (mut found, mut last) = (Vec::new(), false);
                while rows.fill().unwrap() {
                    let line = String::from_utf8(rows.line().to_vec()).unwrap();
                    let offset = usize::try_from(rows.place().offset).unwrap();
                    assert!(text[offset..].starts_with(&line));
                    last = rows.unfinished();
                    found.push(line);
                    rows.advance();
                }
                assert_eq!(found, expected);
                assert_eq!(last, unfinished, "{text:?}");
                assert_eq!(rows.take_passed(), text.len() as u64);
            }
        }
    }
}
