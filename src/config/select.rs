//! Selective sync: which tables and which of their columns are written.

use std::ops::Range;

use crate::{
    collections::Map,
    config::rules::{Rules, Selection},
    json::{Document, Tape},
};

/// Bounds the cache of column names: names that never repeat must not fill the memory.
const MAX_COLUMNS: usize = 1 << 14;

/// Removes columns from the rows of one table.
#[derive(Debug)]
pub struct ColumnFilter {
    /// Whether the table is written at all.
    pub writes_table: bool,
    name: String,
    columns: Option<Selection>,
    always: &'static [&'static str],
    kept: Map<Vec<u8>, bool>,
    tape: Tape,
    scratch: Vec<u8>,
}

impl ColumnFilter {
    /// Creates the filter of a table.
    #[must_use]
    pub fn new(table: &str, rules: &Rules) -> Self {
        Self::with_fixed(&[], table, rules)
    }

    /// Creates the filter of a table that keeps the columns in `always` whatever is selected.
    #[must_use]
    pub fn with_fixed(always: &'static [&'static str], table: &str, rules: &Rules) -> Self {
        Self {
            always,
            writes_table: rules.tables.has(table),
            name: table.to_owned(),
            columns: (!rules.columns.all()).then(|| rules.columns.clone()),
            kept: Map::default(),
            tape: Tape::default(),
            scratch: Vec::new(),
        }
    }

    /// Removes the columns that are not selected from the rows that start at offset `start`.
    pub fn apply(&mut self, rows: &mut Vec<u8>, start: usize) {
        if self.columns.is_none() {
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.extend_from_slice(&rows[start..]);
        rows.truncate(start);
        for line in crate::read::lines::lines(&scratch) {
            self.push_selected(rows, &scratch[line]);
        }
        self.scratch = scratch;
    }

    fn push_selected(&mut self, out: &mut Vec<u8>, row: &[u8]) {
        if self.tape.read(row).is_err() {
            debug_assert!(false, "rendered rows are valid JSON");
            return;
        }
        let doc = Document { text: row, tokens: &self.tape.tokens };
        out.push(b'{');
        let mut first = true;
        for (key, value) in doc.members(0) {
            let name = doc.raw(key);
            let kept = if let Some(&kept) = self.kept.get(name) {
                kept
            } else {
                let full = format!("{}.{}", self.name, String::from_utf8_lossy(name));
                let selected = self.columns.as_ref().is_none_or(|columns| columns.has(&full));
                let kept = selected || self.always.iter().any(|column| column.as_bytes() == name);
                if MAX_COLUMNS <= self.kept.len() {
                    self.kept.clear();
                }
                self.kept.insert(name.to_owned(), kept);
                kept
            };
            if kept {
                if !first {
                    out.push(b',');
                }
                first = false;
                out.extend_from_slice(&row[member(doc, key, value)]);
            }
        }
        out.extend_from_slice(b"}\n");
    }
}

/// Returns the byte range of a member of a compact object, from the quote of its key to the end of its value.
fn member(doc: Document<'_>, key: u32, value: u32) -> Range<usize> {
    use crate::json::JsonKind::{Escaped, Plain};
    let quote = usize::from(matches!(doc.kind(value), Plain | Escaped));
    doc.tokens[key as usize].start as usize - 1..doc.tokens[value as usize].end as usize + quote
}
