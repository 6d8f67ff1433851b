//! Reads the keys of view rows from the rows themselves.
//!
//! Encoded keys compare byte by byte as the lists of their texts do: each text ends with two zero bytes, and a zero
//! byte in a text is followed by 255.

use std::borrow::Cow;

use super::View;
use crate::{
    json::{Document, JsonKind, Tape, unescape},
    table::scan::{RowScanner, ValueSpan, value_from},
};

/// Limit of the columns in a key.
const MAX_KEY_COLUMNS: usize = 3;

/// Reads the keys of one view's rows. Keeps its buffers from row to row.
#[derive(Debug)]
pub struct KeyReader {
    columns: &'static [&'static str],
    /// Index in the key of the column that comes last in a row.
    last: usize,
    scanner: RowScanner<Option<usize>>,
    tape: Tape,
}

/// The texts of a key, in key order.
pub type KeyTexts<'a> = [Cow<'a, [u8]>; MAX_KEY_COLUMNS];

impl KeyReader {
    /// Returns a reader of whole keys.
    #[must_use]
    pub fn new(view: View) -> Self {
        let columns = view.key();
        // Rows have the columns of the key in key order, except in one view, where the hash comes last.
        let last = if view == View::ExternalIdMapping { 0 } else { columns.len() - 1 };
        Self { columns, last, scanner: RowScanner::default(), tape: Tape::default() }
    }

    /// Returns a reader of the key's first column only, which has to come first in a row.
    #[must_use]
    pub fn for_first_column(view: View) -> Self {
        Self { columns: &view.key()[..1], last: 0, scanner: RowScanner::default(), tape: Tape::default() }
    }

    /// Returns the texts of a row's key; `None` if the line is not a row of the view.
    pub fn texts<'a>(&mut self, line: &'a [u8]) -> Option<KeyTexts<'a>> {
        let Self { columns, last, scanner, tape } = self;
        let place_of = |name: &[u8]| columns.iter().position(|column| column.as_bytes() == name);
        let mut values: [Option<ValueSpan>; MAX_KEY_COLUMNS] = [None; MAX_KEY_COLUMNS];
        let is_last = |place: &Option<usize>| *place == Some(*last);
        let plain = scanner.scan(line, place_of, is_last, |label, value| {
            if let Some(place) = label.class {
                values[place] = if place == *last { value_from(line, value.start) } else { Some(value) };
            }
        });
        let found = |values: &[Option<ValueSpan>; MAX_KEY_COLUMNS]| {
            values.iter().filter(|value| value.is_some()).count()
        };
        if plain.is_none() || found(&values) < columns.len() {
            tape.read(line).ok()?;
            let document = Document { text: line, tokens: &tape.tokens };
            if document.kind(0) != JsonKind::Object {
                return None;
            }
            values = [None; MAX_KEY_COLUMNS];
            for (key, value) in document.members(0) {
                if let Some(place) = place_of(&document.string(key).unwrap_or_default()) {
                    values[place] = Some(document.tokens[value as usize].into());
                }
            }
        }
        let mut parts: KeyTexts<'a> = [const { Cow::Borrowed(b"".as_slice()) }; MAX_KEY_COLUMNS];
        for (part, value) in parts.iter_mut().zip(values).take(columns.len()) {
            let value = value?;
            let raw = &line[value.start..value.end];
            *part = match value.kind {
                JsonKind::Plain => Cow::Borrowed(raw),
                JsonKind::Escaped => unescape(raw),
                _ => return None,
            };
        }
        Some(parts)
    }

    /// Encodes a row's key into `key`, replacing its content; returns `None` if the line is not a row of the view.
    pub fn encode(&mut self, line: &[u8], key: &mut Vec<u8>) -> Option<()> {
        let n_columns = self.columns.len();
        let parts = self.texts(line)?;
        key.clear();
        for part in &parts[..n_columns] {
            push_key_text(key, part);
        }
        Some(())
    }
}

/// Appends the encoding of one text of a key.
pub fn push_key_text(key: &mut Vec<u8>, text: &[u8]) {
    if memchr::memchr(0, text).is_none() {
        key.extend_from_slice(text);
    } else {
        for &byte in text {
            key.push(byte);
            if byte == 0 {
                key.push(255);
            }
        }
    }
    key.extend_from_slice(&[0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_compare_as_their_texts_do() {
        let texts: [&[u8]; 7] = [b"", b"\0", b"\0\0", b"\0a", b"\x01", b"a", b"a\0"];
        for a in texts.iter().flat_map(|a| texts.map(|b| [*a, b])) {
            for b in texts.iter().flat_map(|a| texts.map(|b| [*a, b])) {
                let encode = |texts: [&[u8]; 2]| {
                    let mut key = Vec::new();
                    for text in texts {
                        push_key_text(&mut key, text);
                    }
                    key
                };
                assert_eq!(encode(a).cmp(&encode(b)), a.cmp(&b), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn keys_are_read_in_their_order_from_rows_in_any_style() {
        let mut reader = KeyReader::new(View::ExternalIdMapping);
        for row in [
            r#"{"canonical_segment_id":"s","external_id_type":"t","external_id_value":"\"v","external_id_hash":"h","timestamp":nonsense}"#,
            r#"{ "external_id_hash":"h", "external_id_value":"\u0022v", "external_id_type":"t" }"#,
        ] {
            let parts = reader.texts(row.as_bytes()).unwrap();
            assert_eq!(parts.each_ref().map(|part| &**part), [&b"h"[..], b"t", b"\"v"]);
        }
        for row in
            ["", "[]", "{}", r#"{"external_id_hash":"h","external_id_type":"t","external_id_value":7}"#]
        {
            assert!(reader.texts(row.as_bytes()).is_none(), "{row}");
        }
        let mut reader = KeyReader::new(View::ProfileMerges);
        let parts = reader.texts(br#"{"canonical_segment_id":"a","segment_id":"b","seq":null}"#).unwrap();
        assert_eq!(parts.each_ref().map(|part| &**part), [&b"a"[..], b"b", b""]);
    }
}
