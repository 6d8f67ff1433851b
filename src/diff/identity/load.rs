//! Reads the identifiers of a side and the profile of each, from the views or else from the raw tables.
//!
//! Identifiers and profiles are represented by 128 bits of the hash of their text. The texts of the few that are
//! reported are read in a second pass.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::{
    collections::{Map, key_of},
    error::{Error, Result},
    files::Files,
    glob::Globs,
    json::{Document, Tape, values::Typing},
};

use crate::diff::{
    columns::IgnoredColumns,
    keys::{KeyFinder, RowKey, read_row},
    parts::read_in_ranges,
    rows::TableLines,
    sides::{DiffSide, TableFiles},
};

/// The identifiers and profiles of a side.
#[derive(Debug, Default)]
pub struct SideProfiles {
    /// The hash of each identifier and that of its profile, sorted.
    pub identifiers: Vec<(u128, u128)>,
    /// The profiles that exist, with or without identifiers.
    pub canonical: Vec<u128>,
}

/// The tables that have the identifiers of a side.
#[derive(Debug, Clone, Copy)]
pub enum IdentitySource<'a> {
    /// A view, with its columns for profile, type and value.
    View(&'a TableFiles, [&'static str; 3]),
    /// The raw tables of mappings and of the graph.
    Raw(&'a TableFiles, &'a TableFiles),
}

/// Returns the tables that have the identifiers of a side; `None` if there are none.
#[must_use]
pub fn source(side: &DiffSide) -> Option<IdentitySource<'_>> {
    let table = |name: &str| side.tables.get(name);
    if let Some(view) = table("external_id_mapping") {
        return Some(IdentitySource::View(
            view,
            ["canonical_segment_id", "external_id_type", "external_id_value"],
        ));
    }
    if let Some(view) = table("user_identifiers") {
        return Some(IdentitySource::View(view, ["canonical_segment_id", "type", "value"]));
    }
    Some(IdentitySource::Raw(table("external_id_mapping_updates")?, table("id_graph_updates")?))
}

/// Reads the profiles of a side.
pub fn load(side: &DiffSide, source: IdentitySource<'_>, files: &Files) -> Result<SideProfiles> {
    let mut profiles = match source {
        IdentitySource::View(view, columns) => {
            let columns = key(&columns);
            let parts = read_in_ranges(view, files, |rows| {
                let mut pairs = Vec::new();
                each_key(rows, &columns, &mut |found| {
                    let (profile, identifier) = split_part(found);
                    if let Some(profile) = segment_id_of(profile)
                        && !has_null(identifier)
                    {
                        pairs.push((key_of(identifier), key_of(&profile)));
                    }
                })?;
                Ok(pairs)
            })?;
            SideProfiles { identifiers: parts.concat(), canonical: Vec::new() }
        }
        IdentitySource::Raw(mappings, graph) => fold(mappings, graph, files)?,
    };
    if let (IdentitySource::View(..), Some(graph)) = (source, side.tables.get("id_graph")) {
        profiles.canonical = canonical_ids(graph, files)?;
    }
    profiles.identifiers.par_sort_unstable();
    Ok(profiles)
}

/// Calls `take` with the key of each row. Malformed lines are skipped; the comparison of the table reports them.
pub fn each_key(rows: &mut TableLines<'_>, key: &RowKey, take: &mut dyn FnMut(&[u8])) -> Result<()> {
    let mut finder = KeyFinder::new(key);
    let mut found = Vec::new();
    while rows.fill()? {
        found.clear();
        if finder.push_quick(&mut found, rows.line()).is_ok() {
            take(&found);
        }
        rows.advance();
    }
    Ok(())
}

/// Returns a key of these columns in which numbers count as text, because an identifier's JSON type does not matter.
#[must_use]
pub fn key(columns: &[&str]) -> RowKey {
    let ignored = IgnoredColumns::new(Globs::default(), Vec::new());
    RowKey {
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        ignored,
        typing: Typing::Json,
        numbers_are_text: true,
        condition: None,
    }
}

/// Splits the first part off a key.
#[must_use]
pub fn split_part(key: &[u8]) -> (&[u8], &[u8]) {
    if matches!(key.first(), Some(1..=3)) {
        return key.split_at(1);
    }
    for at in memchr::memchr_iter(0, key) {
        // A 0 within the text is followed by 255.
        if key.get(at + 1) != Some(&255) {
            return key.split_at(at + 1);
        }
    }
    (key, &[])
}

/// Returns whether a part of a key is null or empty. CSV does not distinguish the two, and neither is an identifier.
#[must_use]
pub fn has_null(mut key: &[u8]) -> bool {
    while !key.is_empty() {
        let (part, rest) = split_part(key);
        if part == [1] || part == [5, 0] {
            return true;
        }
        key = rest;
    }
    false
}

/// Returns the segment id in a part of a key; `None` if it is null or empty.
#[must_use]
pub fn segment_id_of(part: &[u8]) -> Option<Cow<'_, [u8]>> {
    text_of(part).filter(|id| !id.is_empty())
}

/// Returns the text in a part of a key; `None` if it has another type.
#[must_use]
pub fn text_of(part: &[u8]) -> Option<Cow<'_, [u8]>> {
    let text = part.strip_prefix(&[5])?.strip_suffix(&[0])?;
    if !text.contains(&0) {
        return Some(Cow::Borrowed(text));
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        plain.push(*byte);
        if *byte == 0 {
            bytes.next();
        }
    }
    Some(Cow::Owned(plain))
}

/// Returns the parts of a key as texts for people.
#[must_use]
pub fn text_parts(mut key: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while !key.is_empty() {
        let (part, rest) = split_part(key);
        let text = match part {
            [2] => Cow::Borrowed(&b"false"[..]),
            [3] => Cow::Borrowed(&b"true"[..]),
            [6, json @ .., 0] => Cow::Borrowed(json),
            _ => text_of(part).unwrap_or_default(),
        };
        texts.push(String::from_utf8_lossy(&text).into_owned());
        key = rest;
    }
    texts
}

/// Returns the segment ids that are their own canonical ones.
fn canonical_ids(graph: &TableFiles, files: &Files) -> Result<Vec<u128>> {
    let columns = key(&["segment_id", "canonical_segment_id"]);
    let parts = read_in_ranges(graph, files, |rows| {
        let mut ids = Vec::new();
        each_key(rows, &columns, &mut |found| {
            let (segment_id, canonical) = split_part(found);
            if segment_id == canonical
                && let Some(id) = segment_id_of(segment_id)
            {
                ids.push(key_of(&id));
            }
        })?;
        Ok(ids)
    })?;
    Ok(parts.concat())
}

/// Computes profiles from the raw tables: the newest row for a key counts, and chains of merges are followed.
fn fold(mappings: &TableFiles, graph: &TableFiles, files: &Files) -> Result<SideProfiles> {
    let mut parents: Map<u128, (u128, RawRowClock)> = Map::default();
    each_row(graph, files, &mut |row| {
        if let (Some(segment_id), Some(canonical)) =
            (row.text("segment_id"), row.text("canonical_segment_id"))
        {
            keep_newest(&mut parents, key_of(&segment_id), key_of(&canonical), row.clock());
        }
    })?;
    let mut mapped: Map<u128, (u128, RawRowClock)> = Map::default();
    let columns = key(&["external_id_type", "external_id_value"]);
    let mut parts = Vec::new();
    each_row(mappings, files, &mut |row| {
        let Some(segment_id) = row.text("segment_id") else { return };
        parts.clear();
        columns.push(&mut parts, row.doc);
        if has_null(&parts) {
            return;
        }
        let removed =
            row.text("__operation").is_some_and(|operation| operation.eq_ignore_ascii_case(b"removed"));
        let profile = if removed { REMOVED } else { key_of(&segment_id) };
        keep_newest(&mut mapped, key_of(&parts), profile, row.clock());
    })?;
    let canonical = |mut id: u128| -> Result<u128> {
        for _ in 0..=parents.len() {
            match parents.get(&id) {
                Some((parent, _)) if *parent != id => id = *parent,
                _ => return Ok(id),
            }
        }
        let path = graph.first().map(|file| file.path.clone()).unwrap_or_default();
        Err(Error::file(path, "the merges of a profile form a cycle")
            .hint("export the whole table again; each merge must lead to an older profile"))
    };
    let mut profiles = SideProfiles::default();
    for (identifier, (segment_id, _)) in &mapped {
        if *segment_id != REMOVED {
            profiles.identifiers.push((*identifier, canonical(*segment_id)?));
        }
    }
    profiles.canonical =
        parents.iter().filter(|(id, (parent, _))| *id == parent).map(|(id, _)| *id).collect();
    Ok(profiles)
}

/// The profile of an identifier that was removed.
const REMOVED: u128 = 0;

/// The clock of a row: its `seq` as a number, then its `uuid_ts`.
type RawRowClock = (u64, Vec<u8>);

fn keep_newest(map: &mut Map<u128, (u128, RawRowClock)>, key: u128, value: u128, clock: RawRowClock) {
    match map.get_mut(&key) {
        Some(known) if clock < known.1 => {}
        Some(known) => *known = (value, clock),
        None => {
            map.insert(key, (value, clock));
        }
    }
}

/// A row of a raw table.
#[derive(Debug, Clone, Copy)]
pub struct RawRow<'a> {
    /// The parsed row.
    pub doc: Document<'a>,
}

impl<'a> RawRow<'a> {
    /// Returns the text in a column; numbers as written.
    #[must_use]
    pub fn text(&self, column: &str) -> Option<Cow<'a, [u8]>> {
        self.doc.scalar_text(self.doc.get(0, column.as_bytes())?)
    }

    fn clock(&self) -> RawRowClock {
        let seq = self.text("seq").and_then(|seq| std::str::from_utf8(&seq).ok()?.parse().ok()).unwrap_or(0);
        (seq, self.text("uuid_ts").unwrap_or_default().into_owned())
    }
}

/// Calls `take` with each row of a table. Malformed lines are skipped.
pub fn each_row(table: &TableFiles, files: &Files, take: &mut dyn FnMut(RawRow<'_>)) -> Result<()> {
    let mut rows = TableLines::of_table(table, files);
    let mut tokens = Tape::default();
    while rows.fill()? {
        if read_row(&mut tokens, rows.line()).is_ok() {
            take(RawRow { doc: Document { text: rows.line(), tokens: &tokens.tokens } });
        }
        rows.advance();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_key_are_told_apart() {
        let line = br#"{"a":"x\u0000y","b":"","c":null}"#;
        let mut tape = Tape::default();
        tape.read(line).unwrap();
        let mut found = Vec::new();
        key(&["a", "b", "c"]).push(&mut found, Document { text: line, tokens: &tape.tokens });
        assert_eq!(text_parts(&found), ["x\0y", "", ""]);
    }
}
