//! The first row of a table, which shows what kind of table it is.

use super::{blocks::non_blank_lines, find::RawTableFile, row::RowReader, source::TableSource, to_usize};
use crate::{error::Result, files::Files, read::lines::BOM};

/// A first row is looked for in this many bytes.
const HEAD: u64 = 1 << 20;

/// Returns the first row of a table; `None` if it has no row.
pub fn first_row(parts: &[RawTableFile], files: &Files) -> Result<Option<Vec<u8>>> {
    for part in parts {
        let source = TableSource::open(part, files)?;
        let mut head = vec![0; to_usize(source.length().min(HEAD))];
        source.read_at(&mut head, 0)?;
        if let Some((_, line)) = non_blank_lines(&head).next() {
            return Ok(Some(line.strip_prefix(BOM).unwrap_or(line).to_vec()));
        }
    }
    Ok(None)
}

/// Returns whether a table has rows of track events, by its first row. Earlier versions of the program knew fewer built-in
/// names, so a table with such a name may be one of an event.
pub fn holds_events(parts: &[RawTableFile], files: &Files) -> Result<bool> {
    let columns = ["event", "event_text", "event_id"];
    let mut reader = RowReader::for_events(columns);
    let line = first_row(parts, files)?.unwrap_or_default();
    let row = reader.read(&line, false);
    Ok(row.is_ok_and(|row| (0..columns.len()).any(|column| row.has(column))))
}
