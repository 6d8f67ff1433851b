//! Finds columns that only one side has. Null and absent are the same, so a column exists if it is not null in some
//! row.
//!
//! Rows that are the same have the same columns on both sides. So only a column of a differing row can be one-sided,
//! and the other side is searched for it.

use memchr::memmem::Finder;

use crate::{
    error::Result,
    files::Files,
    json::{
        Document, Tape, push_string,
        values::{Typing, is_null},
    },
};

use super::{
    keys::read_row,
    outcome::RowsOutcome,
    pair::TablePair,
    rows::TableLines,
    sides::{NEW, OLD, TableFiles},
};

/// Returns the columns of each side that the other side does not have, sorted by name.
pub fn one_sided_columns(
    outcome: &RowsOutcome,
    pair: &TablePair<'_>,
    typing: Typing,
    files: &Files,
) -> Result<[Vec<String>; 2]> {
    let [Some(old), Some(new)] = pair.sides else { return Ok(Default::default()) };
    let one_sided = |side: usize, other: &TableFiles| -> Result<Vec<String>> {
        let seen = outcome.seen[side].iter().filter(|column| !outcome.seen[1 - side].contains(*column));
        let mut columns: Vec<Box<[u8]>> = seen.cloned().collect();
        take_out_found(&mut columns, other, typing, files)?;
        columns.sort();
        Ok(columns.iter().map(|column| String::from_utf8_lossy(column).into_owned()).collect())
    };
    Ok([one_sided(OLD, new)?, one_sided(NEW, old)?])
}

/// Removes the columns that are not null in some row of a table.
fn take_out_found(
    columns: &mut Vec<Box<[u8]>>,
    table: &TableFiles,
    typing: Typing,
    files: &Files,
) -> Result<()> {
    let mut rows = TableLines::of_table(table, files);
    let mut tape = Tape::default();
    let quoted = |column: &[u8]| {
        let mut text = Vec::new();
        push_string(&mut text, column);
        text
    };
    // A line whose keys have escapes is not found. This program never writes such lines.
    let mut finders: Vec<Finder<'static>> =
        columns.iter().map(|column| Finder::new(&quoted(column)).into_owned()).collect();
    while !columns.is_empty() && rows.fill()? {
        let line = rows.line();
        if finders.iter().any(|finder| finder.find(line).is_some()) && read_row(&mut tape, line).is_ok() {
            let doc = Document { text: line, tokens: &tape.tokens };
            let found = |column: &[u8]| doc.get(0, column).is_some_and(|value| !is_null(doc, value, typing));
            let before = columns.len();
            columns.retain(|column| !found(column));
            if columns.len() < before {
                finders = columns.iter().map(|column| Finder::new(&quoted(column)).into_owned()).collect();
            }
        }
        rows.advance();
    }
    Ok(())
}
