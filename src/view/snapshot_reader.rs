//! Reads rows of `profile_traits_updates` as snapshots.
//!
//! A column is a trait unless it is a fixed column of the table, a column that `profile_traits` needs for itself, or a
//! warehouse's bookkeeping. Rows with `__trait_seqs` were written by this program, so in them even a column with a name
//! like the bookkeeping of an SQL model is a trait. Names are compared in lower case; a null is not a trait.

use super::{
    snapshot::{Snapshot, Trait},
    trait_seqs::{self, TRAIT_SEQS, TraitSeqSetter},
};
use crate::{
    identity::traits::column_of,
    json::{Document, JsonError, JsonKind, Tape, push_string, unescape},
    table::{
        clock::NO_SEQ,
        scan::{ColumnLabel, RowScanner, ValueSpan},
        to_u32,
    },
};

/// Reads rows as snapshots. Keeps its buffers from row to row.
#[derive(Debug, Default)]
pub struct SnapshotReader {
    scanner: RowScanner<TraitColumn>,
    tape: Tape,
    /// For each path in `__trait_seqs`, its start and end in the row, and its `seq`.
    seqs: Vec<(usize, usize, u64)>,
}

/// What a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TraitColumn {
    Trait { is_lower: bool, is_bookkeeping: bool },
    Seqs,
    Other,
}

impl SnapshotReader {
    /// Reads a row that was parsed before, so that it is valid. Uses `__trait_seqs` only if `with_seqs` is true.
    pub fn read(&mut self, line: &[u8], with_seqs: bool, into: &mut Snapshot) -> Result<(), JsonError> {
        let seqs = self.read_columns(line, into)?;
        match seqs {
            Some(value) if with_seqs => {
                TraitSeqSetter::new(into).read(&line[value.start..value.end], value.kind, &mut self.tape);
            }
            Some(_) => {}
            None => into.traits.retain(|one| !one.is_bookkeeping),
        }
        Ok(())
    }

    /// Reads a row of `profile_traits`, which does not show who wrote it, including columns that may be bookkeeping.
    pub fn read_all(&mut self, line: &[u8], into: &mut Snapshot) -> Result<(), JsonError> {
        self.read_columns(line, into).map(|_| ())
    }

    /// Reads the traits of a row. Returns the value of `__trait_seqs` if it is not null.
    fn read_columns(&mut self, line: &[u8], into: &mut Snapshot) -> Result<Option<ValueSpan>, JsonError> {
        let Self { scanner, tape, .. } = self;
        let Snapshot { texts, traits, .. } = into;
        texts.clear();
        traits.clear();
        let mut seqs = None;
        let plain = scanner.scan(
            line,
            column_of_name,
            |_| false,
            |label, value| match label.class {
                TraitColumn::Trait { is_lower, is_bookkeeping } => {
                    let name = push_name(texts, label.name(), is_lower);
                    push_value(texts, line, value);
                    let one = Trait::new(name, true, texts, value.kind);
                    traits.push(Trait { is_bookkeeping, ..one });
                }
                TraitColumn::Seqs => seqs = Some(value),
                TraitColumn::Other => {}
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
                    TraitColumn::Trait { is_lower, is_bookkeeping } => {
                        let name = push_name(texts, &written, is_lower);
                        document.push_compact(texts, value);
                        let is_plain = document.kind(key) == JsonKind::Plain;
                        let one = Trait::new(name, is_plain, texts, document.kind(value));
                        traits.push(Trait { is_bookkeeping, ..one });
                    }
                    TraitColumn::Seqs => seqs = Some(document.tokens[value as usize].into()),
                    TraitColumn::Other => {}
                }
            }
        }
        into.is_verbatim = false;
        into.put_in_order();
        Ok(seqs.filter(|value| value.kind != JsonKind::Null))
    }

    /// Reads a row in the form that this program writes. Everything before `__trait_seqs` is known already; the value
    /// of this column begins at `start`. Returns `None` if the row has another form.
    pub(super) fn read_ours(&mut self, line: &[u8], start: usize, into: &mut Snapshot) -> Option<()> {
        let Self { scanner, seqs, .. } = self;
        let Snapshot { texts, traits, is_verbatim } = into;
        let end = trait_seqs::find_own_form(line, start, seqs)?;
        texts.clear();
        traits.clear();
        texts.extend_from_slice(line.get(end..line.len() - 1)?);
        *is_verbatim = true;
        let mut is_ours = true;
        let mut before = (0, 0);
        let each = |label: &ColumnLabel<TraitColumn>, value: ValueSpan| {
            let quote = usize::from(matches!(value.kind, JsonKind::Plain | JsonKind::Escaped));
            let json = (value.start - quote, value.end + quote);
            // A quote and a colon separate name and value.
            let name = (json.0 - 2 - label.name().len(), json.0 - 2);
            is_ours &= matches!(label.class, TraitColumn::Trait { is_lower: true, .. })
                && line[before.0..before.1] < line[name.0..name.1];
            before = name;
            let in_texts = |(from, to): (usize, usize)| (to_u32(from - end), to_u32(to - end));
            let json = match value.kind {
                JsonKind::Null => {
                    *is_verbatim = false;
                    return;
                }
                JsonKind::Escaped => {
                    *is_verbatim = false;
                    let start = texts.len();
                    push_value(texts, line, value);
                    (to_u32(start), to_u32(texts.len()))
                }
                _ => in_texts(json),
            };
            let name = in_texts(name);
            traits.push(Trait {
                name,
                json,
                kind: value.kind,
                is_plain: true,
                seq: NO_SEQ,
                is_nested: false,
                is_bookkeeping: false,
            });
        };
        if end + 1 < line.len() {
            scanner.scan_from(line, end, column_of_name, |_| false, each)?;
        }
        if !is_ours || line.last() != Some(&b'}') {
            return None;
        }
        let mut of_traits = TraitSeqSetter::new(into);
        for &(start, end, seq) in &*seqs {
            of_traits.set(&line[start..end], seq);
        }
        Some(())
    }
}

fn column_of_name(name: &[u8]) -> TraitColumn {
    // A column name that no trait can have is that of a fixed column.
    let is_lower = !name.iter().any(u8::is_ascii_uppercase);
    let name = name.to_ascii_lowercase();
    let is_of_loader = || LOADER_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if name == TRAIT_SEQS.as_bytes() {
        TraitColumn::Seqs
    } else if name.starts_with(b"__") || column_of(&name) != name || is_of_loader() {
        TraitColumn::Other
    } else {
        TraitColumn::Trait { is_lower, is_bookkeeping: name == b"etl_ts" || name.starts_with(b"dbt_") }
    }
}

/// Returns whether a column is not a trait.
pub(super) fn is_not_trait(name: &[u8]) -> bool {
    !matches!(column_of_name(name), TraitColumn::Trait { .. })
}

/// Prefixes of columns that loaders add to the tables they copy. No trait has such a column, because a trait's column
/// begins with `_` only if its name is taken.
const LOADER_PREFIXES: [&[u8]; 4] = [b"_airbyte_", b"_dlt_", b"_fivetran_", b"_sdc_"];

fn push_name(texts: &mut Vec<u8>, name: &[u8], is_lower: bool) -> (u32, u32) {
    let start = texts.len();
    texts.extend_from_slice(name);
    if !is_lower {
        texts[start..].make_ascii_lowercase();
    }
    (to_u32(start), to_u32(texts.len()))
}

fn push_value(texts: &mut Vec<u8>, line: &[u8], value: ValueSpan) {
    let ValueSpan { start, end, kind } = value;
    match kind {
        JsonKind::Plain => texts.extend_from_slice(&line[start - 1..=end]),
        JsonKind::Escaped => push_string(texts, &unescape(&line[start..end])),
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
    fn rows_of_ours_are_read_from_the_tail_as_they_are_from_the_start() {
        let seq = |number: u64| format!(r#"\"{number:019}\""#);
        let seqs = |paths: &[(&str, u64)]| {
            let members: Vec<_> =
                paths.iter().map(|(path, at)| format!(r#"\"{path}\":{}"#, seq(*at))).collect();
            format!(r#""{{{}}}""#, members.join(","))
        };
        let three = seqs(&[("address.city", 5), ("gone", 8), ("plan", 6), ("visits", 5)]);
        let mut reader = SnapshotReader::default();
        for (seqs, traits, is_ours) in [
            (&*three, r#","address_city":"Bonn","plan":"pro","visits":7"#, Some(true)),
            (&three, r#","plan":"\"pro\"","visits":[1]"#, None),
            (&three, r#","plan":"\"pro\"","visits":-1.50"#, Some(false)),
            (&three, r#","address_city":null,"plan":true"#, Some(false)),
            (&three, r#","plan":1,"address_city":2"#, None),
            (&three, r#","plan":1,"plan":2"#, None),
            (&three, r#","Plan":1"#, None),
            (&three, r#","_fivetran_id":1,"plan":1"#, None),
            (&three, "", Some(true)),
            (&three, r#","x":1"#, Some(true)),
            (&three, r#","x" :1"#, None),
            (&seqs(&[("address.city", 5), ("address_city", 7)]), r#","address_city":1"#, Some(true)),
            (r#""{}""#, r#","x":1"#, None),
            (r#""{\"x\":\"5\"}""#, r#","x":1"#, None),
            (r#""{\"x\":5}""#, r#","x":1"#, None),
            (r#"{"x":5}"#, r#","x":1"#, None),
        ] {
            let head = r#"{"id":"r","__trait_seqs":"#;
            let line = format!("{head}{seqs}{traits}}}");
            let (mut whole, mut ours) = (Snapshot::default(), Snapshot::default());
            reader.read(line.as_bytes(), true, &mut whole).unwrap();
            let read = reader.read_ours(line.as_bytes(), head.len(), &mut ours);
            assert_eq!(read.map(|()| ours.verbatim().is_some()), is_ours, "{line}");
            if read.is_some() {
                let all = |snapshot: &Snapshot| -> Vec<_> {
                    let traits = snapshot.traits().iter();
                    traits
                        .map(|one| {
                            (
                                snapshot.name(one).to_vec(),
                                snapshot.json(one).to_vec(),
                                one.seq,
                                one.kind,
                                one.is_plain,
                            )
                        })
                        .collect()
                };
                assert_eq!(all(&ours), all(&whole), "{line}");
            }
            for cut in head.len() + 1..line.len() {
                assert_eq!(
                    reader.read_ours(&line.as_bytes()[..cut], head.len(), &mut ours),
                    None,
                    "{line} {cut}"
                );
            }
        }
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
