//! One row of `profile_traits_updates`: its traits, by name.
//!
//! A column is a trait unless it is a fixed column of the table, one that `profile_traits` needs for itself, or a
//! warehouse's bookkeeping. Names are compared in lower case; a null is no trait.

use super::trait_seqs::{TRAIT_SEQS, TraitSeqs};
use crate::{
    event::json::{Document, JsonError, Kind, Tape, push_string, unescape},
    identity::traits::column_of,
    table::{
        clock::NO_SEQ,
        scan::{Scanner, Value},
        small,
    },
};

/// The traits of a row. Reused from row to row.
#[derive(Debug, Default)]
pub struct Snapshot {
    texts: Vec<u8>,
    traits: Vec<Trait>,
}

/// A trait as a row has it.
#[derive(Debug, Clone, Copy)]
pub struct Trait {
    name: (u32, u32),
    json: (u32, u32),
    kind: Kind,
    /// Whether its name has no character that JSON escapes.
    pub is_plain: bool,
    /// When it was last set, as `__trait_seqs` says; [`NO_SEQ`] where it does not.
    pub seq: u64,
    /// Whether it says so of a path with a dot.
    pub(super) is_nested: bool,
}

/// Reads rows as snapshots. Reused.
#[derive(Debug, Default)]
pub struct SnapshotReader {
    scanner: Scanner<Column>,
    tape: Tape,
}

/// What a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Trait,
    Seqs,
    Other,
}

impl SnapshotReader {
    /// Reads a row that was found to be one before; of `__trait_seqs` only where `with_seqs`.
    pub fn read(&mut self, line: &[u8], with_seqs: bool, into: &mut Snapshot) -> Result<(), JsonError> {
        let Self { scanner, tape } = self;
        let Snapshot { texts, traits } = into;
        texts.clear();
        traits.clear();
        let mut seqs = None;
        let plain = scanner.scan(
            line,
            column_of_name,
            |_| false,
            |label, value| match label.class {
                Column::Trait => {
                    let name = push_name(texts, label.name());
                    push_value(texts, line, value);
                    traits.push(Trait::new(name, true, texts, value.kind));
                }
                Column::Seqs => seqs = Some(value),
                Column::Other => {}
            },
        );
        if plain.is_none() {
            texts.clear();
            traits.clear();
            tape.read(line)?;
            let document = Document { text: line, tokens: &tape.tokens };
            for (key, value) in document.members(0) {
                let written = document.string(key).unwrap_or_default();
                match column_of_name(&written) {
                    Column::Trait => {
                        let name = push_name(texts, &written);
                        document.push_compact(texts, value);
                        let is_plain = document.kind(key) == Kind::Plain;
                        traits.push(Trait::new(name, is_plain, texts, document.kind(value)));
                    }
                    Column::Seqs => seqs = Some(document.tokens[value as usize].into()),
                    Column::Other => {}
                }
            }
        }
        into.put_in_order();
        if let Some(value) = seqs.filter(|_| with_seqs) {
            TraitSeqs::new(into).read(&line[value.start..value.end], value.kind, tape);
        }
        Ok(())
    }
}

impl Snapshot {
    fn put_in_order(&mut self) {
        let Self { texts, traits } = self;
        let name = |one: &Trait| &texts[one.name.0 as usize..one.name.1 as usize];
        if !traits.is_sorted_by(|a, b| name(a) < name(b)) {
            traits.sort_by(|a, b| name(a).cmp(name(b)));
            // Of a repeated name the last value counts.
            traits.dedup_by(|later, kept| {
                let is_repeated = name(later) == name(kept);
                if is_repeated {
                    *kept = *later;
                }
                is_repeated
            });
        }
        // A null is kept until here: it takes away what stood before it under the same name.
        traits.retain(|one| one.kind != Kind::Null);
    }

    /// Its traits, by name.
    #[must_use]
    pub fn traits(&self) -> &[Trait] {
        &self.traits
    }

    /// The same, to say when they were set.
    pub(super) fn traits_mut(&mut self) -> &mut [Trait] {
        &mut self.traits
    }

    /// The column of a trait.
    #[must_use]
    pub fn name(&self, one: &Trait) -> &[u8] {
        &self.texts[one.name.0 as usize..one.name.1 as usize]
    }

    /// The value of a trait as compact JSON.
    #[must_use]
    pub fn json(&self, one: &Trait) -> &[u8] {
        &self.texts[one.json.0 as usize..one.json.1 as usize]
    }

    /// The place of the trait of a name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.traits.binary_search_by(|one| self.name(one).cmp(name)).ok()
    }
}

fn column_of_name(name: &[u8]) -> Column {
    // A name that a trait cannot have is that of a fixed column.
    let name = name.to_ascii_lowercase();
    let is_bookkeeping = || BOOKKEEPING.iter().any(|prefix| name.starts_with(prefix));
    if name == TRAIT_SEQS.as_bytes() {
        Column::Seqs
    } else if name.starts_with(b"__") || column_of(&name) != name || is_bookkeeping() {
        Column::Other
    } else {
        Column::Trait
    }
}

/// Columns that loaders add to tables they copy.
const BOOKKEEPING: [&[u8]; 4] = [b"_airbyte_", b"_dlt_", b"_fivetran_", b"_sdc_"];

impl Trait {
    /// A trait whose value was appended last.
    fn new(name: (u32, u32), is_plain: bool, texts: &[u8], kind: Kind) -> Self {
        Self { name, json: (name.1, small(texts.len())), kind, is_plain, seq: NO_SEQ, is_nested: false }
    }

    /// Whether it is a string.
    #[must_use]
    pub fn is_text(&self) -> bool {
        matches!(self.kind, Kind::Plain | Kind::Escaped)
    }
}

fn push_name(texts: &mut Vec<u8>, name: &[u8]) -> (u32, u32) {
    let start = texts.len();
    texts.extend_from_slice(name);
    texts[start..].make_ascii_lowercase();
    (small(start), small(texts.len()))
}

fn push_value(texts: &mut Vec<u8>, line: &[u8], value: Value) {
    let Value { start, end, kind } = value;
    match kind {
        Kind::Plain => texts.extend_from_slice(&line[start - 1..=end]),
        Kind::Escaped => push_string(texts, &unescape(&line[start..end])),
        _ => texts.extend_from_slice(&line[start..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &[(&str, &str, u64)]) {
        let mut snapshot = Snapshot::default();
        SnapshotReader::default().read(line.as_bytes(), true, &mut snapshot).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let traits: Vec<_> = snapshot
            .traits()
            .iter()
            .map(|one| (text(snapshot.name(one)), text(snapshot.json(one)), one.seq))
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|&(name, json, seq)| (name.to_owned(), json.to_owned(), seq)).collect();
        assert_eq!(traits, expected, "{line}");
    }

    #[test]
    fn fixed_columns_and_bookkeeping_are_no_traits() {
        check(
            r#"{"id":"r","SEGMENT_ID":"s","seq":"1","__profile_version":3,"_fivetran_synced":"x","merged_to":null,
                "Triggering_Event_Name":"x","canonical_segment_id":"s","Plan":"pro","_id":7}"#,
            &[("_id", "7", 0), ("plan", "\"pro\"", 0)],
        );
    }

    #[test]
    fn values_are_compact_and_canonical_in_the_order_of_names() {
        check(
            r#"{"b":"\u00e9\/","a":[ 1.50, {"x" : null} ],"d":null,"c":true,"b2":1e3}"#,
            &[("a", "[1.50,{\"x\":null}]", 0), ("b", "\"\u{e9}/\"", 0), ("b2", "1e3", 0), ("c", "true", 0)],
        );
    }

    #[test]
    fn the_last_of_a_repeated_name_counts() {
        check(r#"{"a":1,"A":null,"b":null,"B":2}"#, &[("b", "2", 0)]);
    }

    #[test]
    fn paths_are_columns() {
        let seqs =
            r#"{\"address.postal_code\":\"5\",\"id\":6,\"plan\":\"0007\",\"segment.id\":8,\"gone\":9}"#;
        let row = r#""_id":1,"_segment_id":2,"address_postal_code":3,"other":4,"plan":5"#;
        let expected = [
            ("_id", "1", 7),
            ("_segment_id", "2", 9),
            ("address_postal_code", "3", 6),
            ("other", "4", 0),
            ("plan", "5", 8),
        ];
        check(&format!(r#"{{"__trait_seqs":"{seqs}",{row}}}"#), &expected);
        check(&format!(r#"{{{row},"__TRAIT_SEQS":{}}}"#, seqs.replace('\\', "")), &expected);
    }

    #[test]
    fn a_removed_trait_gives_way_to_the_value_that_has_its_column() {
        let seqs = r#"{"address.city":3,"address_city":9}"#;
        check(&format!(r#"{{"__trait_seqs":{seqs},"address_city":"x"}}"#), &[("address_city", "\"x\"", 4)]);
    }

    #[test]
    fn seqs_that_cannot_be_read_say_nothing() {
        for seqs in ["\"\"", "\"nonsense\"", "[]", "{\"plan\":true}", "{\"plan\":\"x\"}", "null"] {
            check(&format!(r#"{{"plan":1,"__trait_seqs":{seqs}}}"#), &[("plan", "1", 0)]);
        }
    }
}
