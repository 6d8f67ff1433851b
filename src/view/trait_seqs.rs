//! `__trait_seqs`: when each trait of a row was last set.
//!
//! It is JSON text, `{path: seq}`; a path's column has `_` for its dots, and one in front where the name is taken. A path
//! with a dot is that of a value that is there; one without may be that of a trait that was removed, and whose column
//! another has taken since: then the former counts.

use super::snapshot::Snapshot;
use crate::{
    bytes::same,
    identity::traits::column_of,
    json::{Document, Kind, Tape, unescape},
    table::{
        clock::{NO_SEQ, seq_of},
        scan::string_end,
    },
};

/// The column.
pub(super) const TRAIT_SEQS: &str = "__trait_seqs";

/// Says of a snapshot's traits when they were set.
pub(super) struct TraitSeqs<'a> {
    snapshot: &'a mut Snapshot,
    /// The trait that comes next, probably: both come by name.
    next: usize,
}

impl<'a> TraitSeqs<'a> {
    /// Of this snapshot.
    pub(super) fn new(snapshot: &'a mut Snapshot) -> Self {
        Self { snapshot, next: 0 }
    }

    /// Reads the column's value, as it stands in the row: text, or the object itself. What is no such thing says nothing.
    pub(super) fn read(mut self, raw: &[u8], kind: Kind, tape: &mut Tape) {
        if kind == Kind::Escaped && self.read_ours(raw).is_some() {
            return;
        }
        let decoded = unescape(raw);
        let text = if kind == Kind::Escaped { &*decoded } else { raw };
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

    /// The same for text as this program writes it, its quotes still escaped; `None` where it is not.
    fn read_ours(&mut self, raw: &[u8]) -> Option<()> {
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
            // No column has a dot in its name.
            let next = *next;
            if same(snapshot.name(&next), path) {
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

/// Finds paths and their `seq` in the value of the column that begins at a byte of a row, text as this program writes it;
/// says where the value ends. `None` where it is not.
pub(super) fn find_ours(line: &[u8], start: usize, seqs: &mut Vec<(usize, usize, u64)>) -> Option<usize> {
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

/// Whether a trait's column is a path with `_` for its dots. No trait has a name that is taken.
fn is_path_of(name: &[u8], path: &[u8]) -> bool {
    let same = |(&in_name, &in_path): (&u8, &u8)| in_name == if in_path == b'.' { b'_' } else { in_path };
    name.len() == path.len() && name.iter().zip(path).all(same)
}
