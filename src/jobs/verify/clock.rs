//! Checks that the clock in the manifest is not behind the tables. If it were, the next run would use the same times
//! again.

use std::path::Path;

use rayon::prelude::*;

use crate::{
    error::Result,
    files::Files,
    json::{Document, Tape},
    space::{layout::MANIFEST, manifest::Manifest, tables::committed_file},
    table::{source::TableSource, to_usize},
    time::timestamp::{Micros, parse_micros},
};

/// Returns a sentence if the clock is behind.
pub(super) fn check(space: &Path, manifest: &Manifest, files: &Files) -> Result<Option<String>> {
    let tables: Vec<_> = manifest.tables.iter().filter(|(_, state)| 0 < state.bytes).collect();
    let newest = tables
        .par_iter()
        .with_max_len(1)
        .map(|&(name, state)| {
            let source = TableSource::open(&committed_file(space, name, state), files)?;
            Ok(uuid_ts(&last_row(&source)?).map(|uuid_ts| (uuid_ts, name)))
        })
        .collect::<Result<Vec<_>>>()?;
    let newest = newest.into_iter().flatten().max();
    Ok(newest.filter(|&(uuid_ts, _)| manifest.uuid_ts < uuid_ts).map(|(_, table)| {
        let path = space.join(MANIFEST);
        format!(
            "`{}`: its `uuid_ts` is before that of the last row of `{table}`; restore it from a backup",
            path.display()
        )
    }))
}

/// Reads the last line of a table.
fn last_row(source: &TableSource) -> Result<Vec<u8>> {
    let mut length = source.length().min(1 << 16);
    loop {
        let mut end = vec![0; to_usize(length)];
        source.read_at(&mut end, source.length() - length)?;
        let rows = end.strip_suffix(b"\n").unwrap_or(&end);
        match memchr::memrchr(b'\n', rows) {
            Some(line_end) => return Ok(rows[line_end + 1..].to_vec()),
            None if length == source.length() => return Ok(rows.to_vec()),
            None => length = (length * 16).min(source.length()),
        }
    }
}

/// Returns the `uuid_ts` of a row; `None` if it has none.
fn uuid_ts(row: &[u8]) -> Option<Micros> {
    let mut tape = Tape::default();
    std::str::from_utf8(row).ok()?;
    tape.read(row).ok()?;
    let document = Document { text: row, tokens: &tape.tokens };
    parse_micros(&document.string(document.get(0, b"uuid_ts")?)?)
}
