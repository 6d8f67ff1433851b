//! Compares rows whose keys read alike, if a table is CSV on one side and JSON on the other.
//!
//! Equality is then not transitive: the CSV texts `1` and `1.0` differ, but each equals the JSON number 1. So rows are
//! first joined by how their keys read, which puts too many rows together. This module decides which rows of such a
//! group have the same key, and which are equal.

use crate::json::{Document, JsonKind, Tape, values::is_null};

use super::{
    columns::{canonical, compare, exact, same_column},
    keys::{push_text, read_row},
    outcome::RowKind,
    row_comparer::{RowComparer, TableLine},
    sides::{NEW, OLD},
};

/// A row of a group.
#[derive(Clone, Copy)]
struct GroupRow<'a> {
    line: TableLine<'a>,
    /// The key. It is equal for rows of one side with the same key, and for keys of equal texts on both sides.
    key: &'a [u8],
}

impl RowComparer<'_> {
    /// Compares the rows of a group.
    pub(super) fn rows_across_formats(&mut self, key: &[u8], old: &[TableLine<'_>], new: &[TableLine<'_>]) {
        let mut keys: [Vec<Vec<u8>>; 2] = Default::default();
        let mut lines: [Vec<TableLine<'_>>; 2] = Default::default();
        let mut all_texts = true;
        let mut tape = Tape::default();
        for (side, all) in [(OLD, old), (NEW, new)] {
            for line in all {
                if let Some(doc) = self.read(side, *line, &mut tape) {
                    let (key, texts) = self.own_key(doc);
                    all_texts &= texts;
                    keys[side].push(key);
                    lines[side].push(*line);
                }
            }
        }
        let [old, new] = [OLD, NEW].map(|side| {
            let rows = lines[side].iter().zip(&keys[side]);
            let mut rows: Vec<GroupRow<'_>> = rows.map(|(line, key)| GroupRow { line: *line, key }).collect();
            rows.sort_by_key(|row| row.key);
            let n_twice = rows.chunk_by(|a, b| a.key == b.key).filter(|rows| 1 < rows.len()).count();
            self.outcome.duplicate_keys[side] += n_twice as u64;
            rows
        });
        if !all_texts {
            // A key of another type may equal several texts, so all rows are treated as one key.
            self.rows_of_key(key, &old, &new);
            return;
        }
        let (mut old, mut new) = (&*old, &*new);
        while let Some(least) = old.iter().chain(new).map(|row| row.key).min() {
            let (of_old, rest_old) = old.split_at(old.partition_point(|row| row.key == least));
            let (of_new, rest_new) = new.split_at(new.partition_point(|row| row.key == least));
            self.rows_of_key(key, of_old, of_new);
            (old, new) = (rest_old, rest_new);
        }
    }

    /// Returns the key of a row, and whether it consists of texts and nulls only.
    fn own_key(&self, doc: Document<'_>) -> (Vec<u8>, bool) {
        let rules = self.rules;
        if rules.key.columns.is_empty() {
            return (exact(doc, rules.typing, &rules.ignored), false);
        }
        let mut key = Vec::new();
        let mut all_texts = true;
        for (place, column) in rules.key.columns.iter().enumerate() {
            match rules.key.value(doc, place, column).filter(|value| !is_null(doc, *value, rules.typing)) {
                None => key.push(1),
                Some(value) if matches!(doc.kind(value), JsonKind::Plain | JsonKind::Escaped) => {
                    push_text(&mut key, &doc.string(value).unwrap_or_default());
                }
                Some(value) => {
                    all_texts = false;
                    rules.key.push_part(&mut key, doc, value);
                }
            }
        }
        (key, all_texts)
    }

    fn rows_of_key(&mut self, key: &[u8], old: &[GroupRow<'_>], new: &[GroupRow<'_>]) {
        let mut tapes: [Tape; 2] = Default::default();
        match (old, new) {
            ([old], [new]) => {
                let [tape_old, tape_new] = &mut tapes;
                let (old, new) = (reread(old.line, tape_old), reread(new.line, tape_new));
                let (key_rules, typing) = (&self.rules.key, self.rules.typing);
                let is_same = |(place, column): (usize, &String)| {
                    !key_rules.counts(new, place) || same_column(old, new, column.as_bytes(), typing)
                };
                if key_rules.columns.iter().enumerate().all(is_same) {
                    self.pair(key, old, new);
                } else {
                    self.one_sided(key, RowKind::Removed, old);
                    self.one_sided(key, RowKind::Added, new);
                }
            }
            _ => self.multisets_across_formats(key, old, new),
        }
    }

    /// Compares several rows of one key. Pairs as many equal rows as possible; the rest were removed and added.
    fn multisets_across_formats(&mut self, key: &[u8], old: &[GroupRow<'_>], new: &[GroupRow<'_>]) {
        let old = self.equal_rows(old);
        let new = self.equal_rows(new);
        let mut left = [Vec::new(), Vec::new()];
        let (mut old, mut new) = (&*old, &*new);
        while let Some(least) = old.first().into_iter().chain(new.first()).map(|rows| &rows.reads_like).min()
        {
            let (of_old, rest_old) = old.split_at(old.partition_point(|rows| rows.reads_like == *least));
            let (of_new, rest_new) = new.split_at(new.partition_point(|rows| rows.reads_like == *least));
            let n_left = self.pair_off(of_old, of_new);
            for (left, (rows, n_left)) in left.iter_mut().zip([of_old, of_new].into_iter().zip(n_left)) {
                for (rows, n) in rows.iter().zip(n_left) {
                    left.extend(&rows.lines[rows.lines.len() - n..]);
                }
            }
            (old, new) = (rest_old, rest_new);
        }
        let mut tape = Tape::default();
        for (kind, lines) in [RowKind::Removed, RowKind::Added].into_iter().zip(left) {
            for line in lines {
                self.one_sided(key, kind, reread(line, &mut tape));
            }
        }
    }

    /// Groups equal rows of one side, sorted by how they read.
    fn equal_rows<'l>(&self, rows: &[GroupRow<'l>]) -> Vec<EqualRows<'l>> {
        let (typing, ignored) = (self.rules.typing, &self.rules.ignored);
        let mut tape = Tape::default();
        let mut spelled: Vec<_> = rows
            .iter()
            .map(|row| {
                let doc = reread(row.line, &mut tape);
                (canonical(doc, typing, ignored), exact(doc, typing, ignored), row.line)
            })
            .collect();
        spelled.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        let groups = spelled.chunk_by(|a, b| a.1 == b.1);
        groups
            .map(|rows| EqualRows {
                reads_like: rows[0].0.clone(),
                lines: rows.iter().map(|row| row.2).collect(),
            })
            .collect()
    }

    /// Pairs equal rows among those that read alike. Returns how many rows of each group are left.
    fn pair_off(&mut self, old: &[EqualRows<'_>], new: &[EqualRows<'_>]) -> [Vec<usize>; 2] {
        let (typing, mut ignored) = (self.rules.typing, self.rules.ignored.clone());
        let mut tapes: [Tape; 2] = Default::default();
        let mut same = |old: &EqualRows<'_>, new: &EqualRows<'_>| {
            let [tape_old, tape_new] = &mut tapes;
            let (old, new) = (reread(old.lines[0], tape_old), reread(new.lines[0], tape_new));
            compare(old, new, typing, &mut ignored).is_empty()
        };
        let mut pairing = Pairing {
            same: old.iter().map(|old| new.iter().map(|new| same(old, new)).collect()).collect(),
            pairs: vec![vec![0; new.len()]; old.len()],
            left: [old, new].map(|side| side.iter().map(|rows| rows.lines.len()).collect()),
        };
        let n_old: usize = pairing.left[OLD].iter().sum();
        pairing.fill();
        self.outcome.same += (n_old - pairing.left[OLD].iter().sum::<usize>()) as u64;
        pairing.left
    }
}

/// Equal rows of one side.
struct EqualRows<'a> {
    reads_like: Vec<u8>,
    lines: Vec<TableLine<'a>>,
}

/// A matching of old and new rows, by their index: which ones are equal, how many pairs there are, and how many rows
/// are left.
struct Pairing {
    same: Vec<Vec<bool>>,
    pairs: Vec<Vec<usize>>,
    left: [Vec<usize>; 2],
}

impl Pairing {
    /// Makes as many pairs as possible.
    fn fill(&mut self) {
        for old in 0..self.pairs.len() {
            for new in 0..self.pairs[old].len() {
                if self.same[old][new] {
                    let n = self.left[OLD][old].min(self.left[NEW][new]);
                    self.pairs[old][new] += n;
                    self.left[OLD][old] -= n;
                    self.left[NEW][new] -= n;
                }
            }
        }
        for old in 0..self.pairs.len() {
            while 0 < self.left[OLD][old] && self.pair_one_more(old, &mut vec![false; self.left[NEW].len()]) {
                self.left[OLD][old] -= 1;
            }
        }
    }

    /// Finds a partner for one more copy of an old row, if necessary by giving another old row a different partner.
    fn pair_one_more(&mut self, old: usize, tried: &mut [bool]) -> bool {
        for new in 0..tried.len() {
            if !self.same[old][new] || std::mem::replace(&mut tried[new], true) {
                continue;
            }
            if 0 < self.left[NEW][new] {
                self.left[NEW][new] -= 1;
            } else {
                let paired = |other: &usize| *other != old && 0 < self.pairs[*other][new];
                let others: Vec<usize> = (0..self.pairs.len()).filter(paired).collect();
                let Some(other) = others.into_iter().find(|other| self.pair_one_more(*other, tried)) else {
                    continue;
                };
                self.pairs[other][new] -= 1;
            }
            self.pairs[old][new] += 1;
            return true;
        }
        false
    }
}

/// Parses a line that was parsed before.
fn reread<'a>(line: TableLine<'a>, tape: &'a mut Tape) -> Document<'a> {
    read_row(tape, line.bytes).expect("this line was parsed before");
    Document { text: line.bytes, tokens: &tape.tokens }
}
