//! One row of `profile_traits_updates`: its traits, by name.
//!
//! A column is a trait unless it is a fixed column of the table, one that `profile_traits` needs for itself, or a
//! warehouse's bookkeeping. Names are compared in lower case; a null is no trait.

use crate::{
    event::json::{Document, JsonError, Kind, Tape},
    table::{
        clock::{NO_SEQ, seq_of},
        small,
    },
};

/// The traits of a row. Reused from row to row.
#[derive(Debug, Default)]
pub struct Snapshot {
    texts: Vec<u8>,
    traits: Vec<Trait>,
    seqs: Vec<PathSeq>,
    tape: Tape,
    paths: Tape,
}

/// A trait as a row has it.
#[derive(Debug, Clone, Copy)]
pub struct Trait {
    name: (u32, u32),
    json: (u32, u32),
    /// Whether it is a string.
    pub is_text: bool,
    /// When it was last set, as `__trait_seqs` says; [`NO_SEQ`] where it does not.
    pub seq: u64,
}

#[derive(Debug, Clone, Copy)]
struct PathSeq {
    column: (u32, u32),
    /// A path with a dot is that of a value that is there; one without may be that of a trait that was removed.
    nested: bool,
    seq: u64,
}

/// The column that says when each trait was last set.
pub(super) const TRAIT_SEQS: &str = "__trait_seqs";

impl Snapshot {
    /// Reads a row; of `__trait_seqs` only where `with_seqs`.
    pub fn read(&mut self, line: &[u8], with_seqs: bool) -> Result<(), JsonError> {
        let Self { texts, traits, seqs, tape, paths } = self;
        texts.clear();
        traits.clear();
        seqs.clear();
        tape.read(line)?;
        let document = Document { text: line, tokens: &tape.tokens };
        for (key, value) in document.members(0) {
            let start = small(texts.len());
            texts.extend_from_slice(&document.string(key).unwrap_or_default());
            let name = (start, small(texts.len()));
            let written = &mut texts[start as usize..];
            written.make_ascii_lowercase();
            if written == TRAIT_SEQS.as_bytes() && with_seqs {
                read_seqs(document, value, paths, texts, seqs);
            } else if is_trait(written) {
                document.push_compact(texts, value);
                let is_text = matches!(document.kind(value), Kind::Plain | Kind::Escaped);
                // A null is kept until repeated names are folded: it takes away what stood before it.
                traits.push(Trait { name, json: (name.1, small(texts.len())), is_text, seq: NO_SEQ });
            }
        }
        let name = |one: &Trait| &texts[one.name.0 as usize..one.name.1 as usize];
        if !traits.is_sorted_by(|a, b| name(a) < name(b)) {
            traits.sort_by(|a, b| name(a).cmp(name(b)));
            keep_last_of_each(traits, |a, b| name(a) == name(b));
        }
        traits.retain(|one| &texts[one.json.0 as usize..one.json.1 as usize] != b"null");
        let mut rest = &seqs[..];
        for one in traits {
            let name = &texts[one.name.0 as usize..one.name.1 as usize];
            while let Some((first, behind)) = rest.split_first() {
                match texts[first.column.0 as usize..first.column.1 as usize].cmp(name) {
                    std::cmp::Ordering::Less => rest = behind,
                    std::cmp::Ordering::Equal => {
                        one.seq = first.seq;
                        break;
                    }
                    std::cmp::Ordering::Greater => break,
                }
            }
        }
        Ok(())
    }

    /// Its traits, by name.
    #[must_use]
    pub fn traits(&self) -> &[Trait] {
        &self.traits
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

    /// The trait of a name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&Trait> {
        let place = self.traits.binary_search_by(|one| self.name(one).cmp(name)).ok()?;
        Some(&self.traits[place])
    }
}

/// Whether a column of this name, in lower case, is a trait.
fn is_trait(name: &[u8]) -> bool {
    !name.starts_with(b"__") && !is_taken(name) && !BOOKKEEPING.iter().any(|prefix| name.starts_with(prefix))
}

/// Columns that loaders add to tables they copy.
const BOOKKEEPING: [&[u8]; 4] = [b"_airbyte_", b"_dlt_", b"_fivetran_", b"_sdc_"];

/// Whether a trait of this name has a `_` in front: the table or its view has a column of its own there.
fn is_taken(name: &[u8]) -> bool {
    matches!(
        name,
        b"id"
            | b"segment_id"
            | b"seq"
            | b"timestamp"
            | b"received_at"
            | b"uuid_ts"
            | b"triggering_event_id"
            | b"triggering_event_name"
            | b"triggering_event_type"
            | b"triggering_event_source_id"
            | b"triggering_event_source_name"
            | b"triggering_event_source_slug"
            | b"canonical_segment_id"
            | b"merged_to"
    )
}

/// Reads `{path: seq}`, as text or as it is. What is no such thing says nothing.
fn read_seqs(
    document: Document<'_>,
    value: u32,
    paths: &mut Tape,
    texts: &mut Vec<u8>,
    seqs: &mut Vec<PathSeq>,
) {
    let decoded = document.string(value);
    let text = decoded.as_deref().unwrap_or_else(|| document.raw(value));
    if paths.read(text).is_err() {
        return;
    }
    let document = Document { text, tokens: &paths.tokens };
    for (key, value) in document.members(0) {
        let path = document.string(key).unwrap_or_default();
        let Some(seq) = document.scalar_text(value).and_then(|seq| seq_of(&seq)) else { continue };
        let start = small(texts.len());
        texts.extend(path.iter().map(|&byte| if byte == b'.' { b'_' } else { byte }));
        if is_taken(&texts[start as usize..]) {
            texts.insert(start as usize, b'_');
        }
        let nested = path.contains(&b'.');
        seqs.push(PathSeq { column: (start, small(texts.len())), nested, seq });
    }
    let column = |one: &PathSeq| &texts[one.column.0 as usize..one.column.1 as usize];
    if !seqs.is_sorted_by(|a, b| column(a) < column(b)) {
        seqs.sort_by(|a, b| (column(a), a.nested, a.seq).cmp(&(column(b), b.nested, b.seq)));
        keep_last_of_each(seqs, |a, b| column(a) == column(b));
    }
}

/// Of neighbours that are the same keeps the last.
fn keep_last_of_each<T: Copy>(list: &mut Vec<T>, same: impl Fn(&T, &T) -> bool) {
    list.dedup_by(|later, kept| {
        let doubled = same(later, kept);
        if doubled {
            *kept = *later;
        }
        doubled
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &[(&str, &str, u64)]) {
        let mut snapshot = Snapshot::default();
        snapshot.read(line.as_bytes(), true).unwrap();
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
