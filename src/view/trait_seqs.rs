//! `__trait_seqs`: the `seq` of the row that last set each trait.
//!
//! It is JSON text, `{path: seq}`. The column of a path has `_` instead of dots, and a leading `_` if the name is
//! taken. A path with a dot belongs to a value in the row. A path without a dot may belong to a removed trait whose
//! column was later taken by such a path; the path with the dot then counts.

use super::snapshot::Snapshot;
use crate::{
    bytes::equal,
    identity::traits::column_of,
    json::{Document, JsonKind, Tape, unescape},
    table::{
        clock::{NO_SEQ, seq_of},
        scan::string_end,
    },
};

/// The name of the column.
pub(super) const TRAIT_SEQS: &str = "__trait_seqs";

/// Sets the `seq` of a snapshot's traits.
pub(super) struct TraitSeqSetter<'a> {
    snapshot: &'a mut Snapshot,
    /// Index of the trait that probably comes next, because both are sorted by name.
    next: usize,
}

impl<'a> TraitSeqSetter<'a> {
    /// Starts with the first trait of a snapshot.
    pub(super) fn new(snapshot: &'a mut Snapshot) -> Self {
        Self { snapshot, next: 0 }
    }

    /// Reads the raw value of the column, either text or the object itself. Ignores a value that is neither.
    pub(super) fn read(mut self, raw: &[u8], kind: JsonKind, tape: &mut Tape) {
        if kind == JsonKind::Escaped && self.read_own_form(raw).is_some() {
            return;
        }
        let decoded = unescape(raw);
        let text = if kind == JsonKind::Escaped { &*decoded } else { raw };
        if tape.read(text).is_err() {
            return;
        }
        let document = Document { text, tokens: &tape.tokens };
        for (path, seq) in document.members(0) {
            if let Some(seq) = document.scalar_text(seq).and_then(|seq| seq_of(&seq)) {
                self.set(&document.string(path).unwrap_or_default(), seq);
            }
        }
    }

    /// Reads text in the form that this program writes, with its quotes still escaped; returns `None` if it has another
    /// form.
    fn read_own_form(&mut self, raw: &[u8]) -> Option<()> {
        let mut rest = raw.strip_prefix(br#"{\""#)?;
        let mut last: (&[u8], u64) = (b"", NO_SEQ);
        loop {
            let path;
            (path, rest) = rest.split_at(memchr::memchr(b'\\', rest)?);
            rest = rest.strip_prefix(br#"\":\""#)?;
            let digits;
            (digits, rest) = rest.split_at(memchr::memchr(b'\\', rest)?);
            if digits != last.0 {
                last = (digits, seq_of(digits)?);
            }
            self.set(path, last.1);
            rest = rest.strip_prefix(br#"\""#)?;
            if rest == b"}" {
                return Some(());
            }
            rest = rest.strip_prefix(br#",\""#)?;
        }
    }

    pub(super) fn set(&mut self, path: &[u8], seq: u64) {
        let snapshot = &mut *self.snapshot;
        if let Some(next) = snapshot.traits_mut().get_mut(self.next)
            && !next.is_nested
            && next.seq < seq
        {
            // The name of a column never has a dot.
            let next = *next;
            if equal(snapshot.name(&next), path) {
                snapshot.traits_mut()[self.next].seq = seq;
                self.next += 1;
                return;
            }
        }
        let place = match snapshot.traits().get(self.next) {
            Some(next) if is_path_of(snapshot.name(next), path) => self.next,
            _ => match snapshot.find(&column_of(path)) {
                Some(place) => place,
                None => return,
            },
        };
        self.next = place + 1;
        let one = &mut snapshot.traits_mut()[place];
        let newer = (path.contains(&b'.'), seq);
        if (one.is_nested, one.seq) < newer {
            (one.is_nested, one.seq) = newer;
        }
    }
}

/// Finds the paths and their `seq` in the value of the column, which begins at `start` in a row and is text in the form
/// that this program writes. Returns the end of the value; `None` if it has another form.
pub(super) fn find_own_form(line: &[u8], start: usize, seqs: &mut Vec<(usize, usize, u64)>) -> Option<usize> {
    let behind = |at: usize, text: &[u8]| line.get(at..)?.starts_with(text).then_some(at + text.len());
    let mut at = behind(start, br#""{\""#)?;
    let mut last = (&[b' '; 19], NO_SEQ);
    seqs.clear();
    loop {
        let end_of_path = string_end(line, at)?;
        let start_of_seq = behind(end_of_path, br#"\":\""#)?;
        let digits: &[u8; 19] = line[start_of_seq..].first_chunk()?;
        if digits != last.0 {
            last = (digits, seq_of(digits).filter(|_| digits.iter().all(u8::is_ascii_digit))?);
        }
        seqs.push((at, end_of_path, last.1));
        at = behind(start_of_seq + digits.len(), br#"\""#)?;
        if let Some(end) = behind(at, br#"}""#) {
            return Some(end);
        }
        at = behind(at, br#",\""#)?;
    }
}

/// Returns whether a trait's column is a path with `_` instead of dots. A path whose name is taken never matches,
/// because no trait has such a column.
fn is_path_of(name: &[u8], path: &[u8]) -> bool {
    let same = |(&in_name, &in_path): (&u8, &u8)| in_name == if in_path == b'.' { b'_' } else { in_path };
    name.len() == path.len() && name.iter().zip(path).all(same)
}
