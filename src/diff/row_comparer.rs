//! Compares the rows of one key on both sides: the same, changed, added or removed.
//!
//! Equal rows are taken out first, as many as both sides have. If the key occurs once on each side, the remaining row
//! changed. If it occurs more than once, nothing shows which row became which, so the remaining rows were removed and
//! added.

use crate::json::{Document, Tape, push_string, values::Typing};

use super::{
    columns::{ChangedColumn, IgnoredColumns, canonical, compare, note_columns},
    identity::collector::CollectorColumns,
    keys::{RowKey, read_row},
    outcome::{Cell, MalformedLine, RowChange, RowKind, RowsOutcome},
    records::push_record,
    rows::TablePosition,
    sides::{NEW, OLD},
};

/// The rules for comparing a table.
#[derive(Debug, Clone)]
pub struct TableRules {
    /// The name of the table.
    pub table: String,
    /// The key of its rows.
    pub key: RowKey,
    /// Whether values have types.
    pub typing: Typing,
    /// The columns to ignore.
    pub ignored: IgnoredColumns,
    /// The number of examples of each kind to keep.
    pub limit: usize,
    /// The number of changes of each kind to write; 0 for none.
    pub max_changes: u64,
    /// What to collect for the comparison of profiles.
    pub collect: Option<CollectorColumns>,
}

impl TableRules {
    /// Returns whether equal keys are encoded as equal bytes, so that rows of equal bytes need not be compared.
    #[must_use]
    pub fn exact(&self) -> bool {
        self.typing == Typing::Json
    }
}

/// A line and its position.
#[derive(Debug, Clone, Copy)]
pub struct TableLine<'a> {
    /// The bytes of the line.
    pub bytes: &'a [u8],
    /// The position of the line.
    pub place: TablePosition,
    /// Whether the line end is missing.
    pub unfinished: bool,
}

/// Compares the rows of one key after the other.
pub struct RowComparer<'a> {
    pub(super) rules: &'a TableRules,
    ignored: IgnoredColumns,
    tapes: [Tape; 2],
    /// The result so far.
    pub outcome: RowsOutcome,
}

impl<'a> RowComparer<'a> {
    /// Creates a comparer without a result.
    #[must_use]
    pub fn new(rules: &'a TableRules) -> Self {
        let ignored = rules.ignored.clone();
        Self { rules, ignored, tapes: Default::default(), outcome: RowsOutcome::default() }
    }

    /// Records a malformed line.
    pub fn malformed(&mut self, side: usize, line: TableLine<'_>, message: &'static str) {
        let TableLine { bytes, place, unfinished } = line;
        let hash = crate::collections::key_of(bytes);
        self.outcome.malformed_lines.push(MalformedLine { side, hash, place, message, unfinished });
    }

    /// Compares all rows of a key that are not known to be the same. `twice` tells whether the key occurs more than
    /// once on a side.
    pub fn rows(&mut self, key: &[u8], old: &[TableLine<'_>], new: &[TableLine<'_>], twice: KeyRepeats) {
        if !self.rules.exact() {
            self.rows_across_formats(key, old, new);
            return;
        }
        let mut tapes = std::mem::take(&mut self.tapes);
        match (old, new, twice) {
            ([old], [new], KeyRepeats::No) => {
                let [tape_old, tape_new] = &mut tapes;
                match (self.read(OLD, *old, tape_old), self.read(NEW, *new, tape_new)) {
                    (Some(old), Some(new)) => self.pair(key, old, new),
                    (Some(old), None) => self.one_sided(key, RowKind::Removed, old),
                    (None, Some(new)) => self.one_sided(key, RowKind::Added, new),
                    (None, None) => {}
                }
            }
            ([old], [], _) => {
                if let Some(old) = self.read(OLD, *old, &mut tapes[OLD]) {
                    self.one_sided(key, RowKind::Removed, old);
                }
            }
            ([], [new], _) => {
                if let Some(new) = self.read(NEW, *new, &mut tapes[NEW]) {
                    self.one_sided(key, RowKind::Added, new);
                }
            }
            _ => self.multisets(key, old, new, &mut tapes[OLD]),
        }
        self.tapes = tapes;
    }

    pub(super) fn read<'t>(
        &mut self,
        side: usize,
        line: TableLine<'t>,
        tape: &'t mut Tape,
    ) -> Option<Document<'t>> {
        match read_row(tape, line.bytes) {
            Ok(()) => Some(Document { text: line.bytes, tokens: &tape.tokens }),
            Err(no_row) => {
                self.malformed(side, line, no_row.message);
                None
            }
        }
    }

    pub(super) fn pair(&mut self, key: &[u8], old: Document<'_>, new: Document<'_>) {
        let typing = self.rules.typing;
        let changed = compare(old, new, typing, &mut self.ignored);
        if changed.is_empty() {
            self.outcome.same += 1;
            return;
        }
        for column in &changed {
            match self.outcome.columns.get_mut(&*column.name) {
                Some(count) => *count += 1,
                None => {
                    self.outcome.columns.insert((*column.name).into(), 1);
                }
            }
            let missing = match (column.old, column.new) {
                (Some(_), None) => OLD,
                (None, Some(_)) => NEW,
                _ => continue,
            };
            if !self.outcome.seen[missing].contains(&*column.name) {
                self.outcome.seen[missing].insert((*column.name).into());
            }
        }
        let n = self.count(RowKind::Changed);
        if n <= self.rules.limit as u64 {
            let value = |doc, value: Option<u32>| value.map(|value| compact(doc, value));
            let cells = changed
                .iter()
                .map(|column| Cell {
                    name: lossy(&column.name),
                    old: value(old, column.old),
                    new: value(new, column.new),
                })
                .collect();
            let (sort_key, key) = (key.to_vec(), self.key_cells(new));
            self.outcome.examples.push(RowChange { kind: RowKind::Changed, sort_key, key, cells });
        }
        if n <= self.rules.max_changes {
            self.record(key, RowKind::Changed, new, |out| push_changed(out, old, new, &changed));
        }
    }

    pub(super) fn one_sided(&mut self, key: &[u8], kind: RowKind, doc: Document<'_>) {
        let (typing, side) = (self.rules.typing, if kind == RowKind::Removed { OLD } else { NEW });
        note_columns(doc, typing, &mut self.ignored, &mut self.outcome.seen[side]);
        let n = self.count(kind);
        if n <= self.rules.limit as u64 {
            let mut cells = Vec::new();
            for (name, value) in doc.distinct_members(0) {
                if doc.raw(value) != b"null" {
                    let (name, value) = (lossy(&doc.string(name).unwrap_or_default()), compact(doc, value));
                    cells.push(match kind {
                        RowKind::Removed => Cell { name, old: Some(value), new: None },
                        _ => Cell { name, old: None, new: Some(value) },
                    });
                }
            }
            let (sort_key, key) = (key.to_vec(), self.key_cells(doc));
            self.outcome.examples.push(RowChange { kind, sort_key, key, cells });
        }
        if n <= self.rules.max_changes {
            self.record(key, kind, doc, |out| {
                out.extend_from_slice(if side == OLD { b",\"old\":" } else { b",\"new\":" });
                doc.push_compact(out, 0);
            });
        }
    }

    /// Compares several rows of one key. Equal ones cancel out; the others were removed and added.
    fn multisets(&mut self, key: &[u8], old: &[TableLine<'_>], new: &[TableLine<'_>], tape: &mut Tape) {
        let mut sides: [Vec<(Vec<u8>, &[u8])>; 2] = Default::default();
        for (side, lines) in [(OLD, old), (NEW, new)] {
            for line in lines {
                if let Some(doc) = self.read(side, *line, tape) {
                    sides[side].push((canonical(doc, self.rules.typing, &self.rules.ignored), line.bytes));
                }
            }
            sides[side].sort_unstable();
        }
        let [old, new] = sides;
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
        loop {
            match (old.peek(), new.peek()) {
                (Some((a, _)), Some((b, _))) if a == b => {
                    self.outcome.same += 1;
                    old.next();
                    new.next();
                }
                (Some((a, _)), Some((b, _))) if a < b => removed.extend(old.next()),
                (Some(_), None) => removed.extend(old.next()),
                (_, Some(_)) => added.extend(new.next()),
                (None, None) => break,
            }
        }
        for (kind, rows) in [(RowKind::Removed, removed), (RowKind::Added, added)] {
            for (_, line) in rows {
                // It was parsed before, so this does not fail.
                if read_row(tape, line).is_ok() {
                    self.one_sided(key, kind, Document { text: line, tokens: &tape.tokens });
                }
            }
        }
    }

    fn count(&mut self, kind: RowKind) -> u64 {
        self.outcome.counts[kind as usize] += 1;
        self.outcome.counts[kind as usize]
    }

    fn key_cells(&self, doc: Document<'_>) -> Vec<(String, String)> {
        let key = &self.rules.key;
        let cell = |(place, column): (usize, &String)| {
            let value = key.value(doc, place, column);
            (column.clone(), value.map_or_else(|| "null".to_owned(), |value| compact(doc, value)))
        };
        let columns = key.columns.iter().enumerate();
        columns.filter(|(place, _)| key.counts(doc, *place)).map(cell).collect()
    }

    /// Writes a change as a line; `rest` appends the members after table and key.
    fn record(&mut self, key: &[u8], kind: RowKind, doc: Document<'_>, rest: impl FnOnce(&mut Vec<u8>)) {
        let rules = self.rules;
        push_record(&mut self.outcome.records, key, |out| {
            out.extend_from_slice(b"{\"change\":\"row_");
            out.extend_from_slice(kind.word().as_bytes());
            out.extend_from_slice(b"\",\"table\":");
            push_string(out, rules.table.as_bytes());
            out.extend_from_slice(b",\"key\":{");
            let columns = rules.key.columns.iter().enumerate();
            for (number, (place, column)) in
                columns.filter(|(place, _)| rules.key.counts(doc, *place)).enumerate()
            {
                if 0 < number {
                    out.push(b',');
                }
                push_string(out, column.as_bytes());
                out.push(b':');
                push_value(out, doc, rules.key.value(doc, place, column));
            }
            out.push(b'}');
            rest(out);
            out.extend_from_slice(b"}\n");
        });
    }
}

/// Whether a key occurs more than once on a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRepeats {
    /// It does.
    Yes,
    /// It does not.
    No,
}

fn push_changed(out: &mut Vec<u8>, old: Document<'_>, new: Document<'_>, changed: &[ChangedColumn<'_>]) {
    out.extend_from_slice(b",\"columns\":{");
    for (place, column) in changed.iter().enumerate() {
        if 0 < place {
            out.push(b',');
        }
        push_string(out, &column.name);
        out.extend_from_slice(b":{\"old\":");
        push_value(out, old, column.old);
        out.extend_from_slice(b",\"new\":");
        push_value(out, new, column.new);
        out.push(b'}');
    }
    out.push(b'}');
}

fn push_value(out: &mut Vec<u8>, doc: Document<'_>, value: Option<u32>) {
    match value {
        Some(value) => doc.push_compact(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

fn compact(doc: Document<'_>, value: u32) -> String {
    let mut out = Vec::new();
    doc.push_compact(&mut out, value);
    lossy(&out)
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}
