//! Finds out which new segment id corresponds to which old one, if two results differ in generated ids.
//!
//! Two segment ids are the same profile if the same identifier was first mapped to both, or if the same event created
//! both. A merged profile that only the views show is paired by the merge that it was part of. Each id gets one
//! partner: itself if possible, else the first one found. Comparing the tables then shows whether the results are the
//! same under these pairs.

use std::borrow::Cow;

use crate::{
    collections::{Map, key_of},
    error::Result,
    files::Files,
    json::{Document, JsonKind, Tape, push_string},
};

use super::{
    identity::load::{RawRow, each_row, key},
    sides::DiffSide,
};

/// The columns that hold segment ids, in all tables.
pub const SEGMENT_ID_COLUMNS: [&str; 3] = ["segment_id", "canonical_segment_id", "merged_to"];

/// The suffix of an old id without a partner, if an unrelated new profile has the same id.
const ONLY_OLD: &[u8] = b" (old)";

/// A mapping between old and new segment ids.
#[derive(Debug, Default)]
pub struct Renaming {
    new_of: Map<Box<[u8]>, Box<[u8]>>,
    old_of: Map<Box<[u8]>, Box<[u8]>>,
}

/// A segment id, and the key that identifies it.
type IdWithParts = (Box<[u8]>, Box<[u8]>);

impl Renaming {
    /// Finds the pairs.
    pub fn infer(sides: &[DiffSide; 2], files: &Files) -> Result<Self> {
        let mut renaming = Self::default();
        let identifier = ["external_id_type", "external_id_value"];
        renaming.pair_rows(sides, "external_id_mapping_updates", &identifier, "segment_id", files)?;
        renaming.pair_rows(sides, "external_id_mapping", &identifier, "canonical_segment_id", files)?;
        renaming.pair_rows(sides, "user_identifiers", &["type", "value"], "canonical_segment_id", files)?;
        for (table, columns) in [
            ("id_graph_updates", ["triggering_event_id", "seq"]),
            ("id_graph", ["uuid_ts", "seq"]),
            ("profile_merges", ["uuid_ts", "seq"]),
        ] {
            // A merged profile is identified by the profile that it was merged into.
            for merged in [false, true] {
                renaming.pair_graph_rows(sides, table, &columns, merged, files)?;
            }
        }
        Ok(renaming)
    }

    /// Returns the number of ids whose partner is a different id.
    #[must_use]
    pub fn n_renamed(&self) -> u64 {
        self.new_of.iter().filter(|(old, new)| old != new).count() as u64
    }

    /// Returns a row with new ids.
    #[must_use]
    pub fn apply<'a>(&self, line: &'a [u8]) -> Cow<'a, [u8]> {
        let mut tape = Tape::default();
        if tape.read(line).is_err() {
            return Cow::Borrowed(line);
        }
        let doc = Document { text: line, tokens: &tape.tokens };
        let mut out = Vec::new();
        let mut copied = 0;
        for (name, value) in doc.members(0) {
            let holds_id = SEGMENT_ID_COLUMNS.iter().any(|column| doc.key_is(name, column.as_bytes()));
            if !holds_id || doc.kind(value) != JsonKind::Plain {
                continue;
            }
            let token = doc.tokens[value as usize];
            let old = doc.raw(value);
            let new = match self.new_of.get(old) {
                Some(new) => Cow::Borrowed(&**new),
                // A new profile has this id, but it is another one.
                None if self.old_of.contains_key(old) => Cow::Owned([old, ONLY_OLD].concat()),
                None => continue,
            };
            if *new != *old {
                out.extend_from_slice(&line[copied..token.start as usize - 1]);
                push_string(&mut out, &new);
                copied = token.end as usize + 1;
            }
        }
        if copied == 0 {
            return Cow::Borrowed(line);
        }
        out.extend_from_slice(&line[copied..]);
        Cow::Owned(out)
    }

    fn pair(&mut self, old: &[u8], new: &[u8]) {
        if !self.new_of.contains_key(old) && !self.old_of.contains_key(new) {
            self.new_of.insert(old.into(), new.into());
            self.old_of.insert(new.into(), old.into());
        }
    }

    /// Pairs the ids of rows that have the same key.
    fn pair_rows(
        &mut self,
        sides: &[DiffSide; 2],
        table: &str,
        columns: &[&str],
        id: &str,
        files: &Files,
    ) -> Result<()> {
        let [Some(old), Some(new)] = [0, 1].map(|side: usize| sides[side].tables.get(table)) else {
            return Ok(());
        };
        let key = key(columns);
        let mut parts = Vec::new();
        let mut hash = |row: &RawRow<'_>| {
            parts.clear();
            key.push(&mut parts, row.doc);
            key_of(&parts)
        };
        let mut ids: Map<u128, Box<[u8]>> = Map::default();
        each_row(old, files, &mut |row| {
            if let Some(id) = row.text(id) {
                ids.entry(hash(&row)).or_insert_with(|| id.as_ref().into());
            }
        })?;
        // If profiles merged, the one whose id stayed is the one that continues.
        for same_id in [true, false] {
            each_row(new, files, &mut |row| {
                if let (Some(old), Some(new)) = (ids.get(&hash(&row)), row.text(id))
                    && (**old == *new) == same_id
                {
                    self.pair(old, &new);
                }
            })?;
        }
        Ok(())
    }

    /// Pairs the ids that the same event created, or merged into the same profile, in the order of the ids.
    fn pair_graph_rows(
        &mut self,
        sides: &[DiffSide; 2],
        table: &str,
        columns: &[&str],
        merged: bool,
        files: &Files,
    ) -> Result<()> {
        let [Some(old), Some(new)] = [0, 1].map(|side: usize| sides[side].tables.get(table)) else {
            return Ok(());
        };
        let key = key(columns);
        // Sorted by id, because only the ids and what happened to them should decide which are paired first.
        let mut groups: [Vec<IdWithParts>; 2] = Default::default();
        for (side, table) in [old, new].into_iter().enumerate() {
            let mut parts = Vec::new();
            each_row(table, files, &mut |row| {
                let (Some(id), Some(into)) = (row.text("segment_id"), row.text("canonical_segment_id"))
                else {
                    return;
                };
                let partners = [&self.new_of, &self.old_of][side];
                if (id != into) != merged || partners.contains_key(&*id) {
                    return;
                }
                parts.clear();
                key.push(&mut parts, row.doc);
                // At this point, the profile that it was merged into has a partner or will not get one.
                if let Some(partner) = partners.get(&*into).filter(|_| merged) {
                    parts.extend_from_slice(if side == 0 { partner } else { &into });
                }
                groups[side].push((id.as_ref().into(), parts.as_slice().into()));
            })?;
            groups[side].sort();
        }
        let [old, new] = groups;
        let mut of_new: Map<Box<[u8]>, Vec<Box<[u8]>>> = Map::default();
        for (id, group) in new.into_iter().rev() {
            of_new.entry(group).or_default().push(id);
        }
        for (old, group) in old {
            if let Some(new) = of_new.get_mut(&group).and_then(Vec::pop) {
                self.pair(&old, &new);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_exchanged_where_they_stand() {
        let mut renaming = Renaming::default();
        renaming.pair(b"profile_1", b"use_a");
        renaming.pair(b"profile_2", b"use_b");
        renaming.pair(b"profile_3", b"use_b");
        let line = br#"{"segment_id":"profile_1", "x":"profile_1","canonical_segment_id":"profile_2","merged_to":null}"#;
        let expected =
            r#"{"segment_id":"use_a", "x":"profile_1","canonical_segment_id":"use_b","merged_to":null}"#;
        assert_eq!(String::from_utf8(renaming.apply(line).into_owned()).unwrap(), expected);
        let line = br#"{"segment_id":"profile_3"}"#;
        assert_eq!(&*renaming.apply(line), line);
        // A new profile that another old one became has this id.
        let line = br#"{"segment_id":"use_b"}"#;
        assert_eq!(&*renaming.apply(line), br#"{"segment_id":"use_b (old)"}"#);
    }
}
