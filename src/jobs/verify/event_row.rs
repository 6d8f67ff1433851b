//! Reads the message and the identifiers from rows of event tables that this program wrote.

use std::borrow::Cow;

use crate::{
    json::{Document, JsonKind, Tape, unescape},
    table::{
        blocks::{LineProblem, ROW_HINT},
        row::not_json,
        scan::{RowScanner, ValueSpan},
    },
};

/// Reads lines as rows of events. Reuse it from line to line.
#[derive(Debug, Default)]
pub(super) struct EventRowReader {
    scanner: RowScanner<EventColumn>,
    tape: Tape,
}

/// The columns read from a row.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct EventRow<'a> {
    /// The event's `messageId`; `None` if selective sync excluded `id` and `event_id`.
    pub(super) message_id: Option<Cow<'a, [u8]>>,
    /// `user_id` and `anonymous_id`.
    pub(super) identifiers: [Option<Cow<'a, [u8]>>; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EventColumn {
    /// A column to read, by its index in [`NAMES`].
    Read(usize),
    /// The last fixed column. No column to read comes after it.
    UuidTs,
    Other,
}

const NAMES: [&[u8]; 4] = [b"id", b"event_id", b"user_id", b"anonymous_id"];

fn column_of(name: &[u8]) -> EventColumn {
    match NAMES.iter().position(|&column| column == name) {
        Some(number) => EventColumn::Read(number),
        None if name == b"uuid_ts" => EventColumn::UuidTs,
        None => EventColumn::Other,
    }
}

impl EventRowReader {
    /// Reads a line. `clean` promises that it has no control characters.
    pub(super) fn read<'a>(&mut self, line: &'a [u8], clean: bool) -> Result<EventRow<'a>, LineProblem> {
        let mut values = [None; NAMES.len()];
        let mut put = |column: EventColumn, value: ValueSpan| {
            if let EventColumn::Read(number) = column {
                values[number] = Some(value);
            }
        };
        let is_last = |column: &EventColumn| *column == EventColumn::UuidTs;
        let scanned = if clean {
            self.scanner.scan(line, column_of, is_last, |label, value| put(label.class, value))
        } else {
            None
        };
        if scanned.is_none() {
            self.tape.read(line).map_err(not_json)?;
            let document = Document { text: line, tokens: &self.tape.tokens };
            if document.kind(0) != JsonKind::Object {
                return Err(LineProblem { message: "the line is not a JSON object".into(), hint: ROW_HINT });
            }
            for (key, value) in document.members(0) {
                let column = column_of(&document.string(key).unwrap_or_default());
                put(column, ValueSpan::from(document.tokens[value as usize]));
            }
        }
        let [id, event_id, user_id, anonymous_id] = values.map(|value| text(line, value?));
        Ok(EventRow { message_id: id.or(event_id), identifiers: [user_id, anonymous_id] })
    }
}

fn text(line: &[u8], value: ValueSpan) -> Option<Cow<'_, [u8]>> {
    let raw = &line[value.start..value.end];
    match value.kind {
        JsonKind::Plain => Some(Cow::Borrowed(raw)),
        JsonKind::Escaped => Some(unescape(raw)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_in_every_style() {
        let row = |id: &'static str, user: Option<&'static str>, anonymous: Option<&'static str>| EventRow {
            message_id: Some(Cow::Borrowed(id.as_bytes())),
            identifiers: [user, anonymous].map(|text| text.map(|text| Cow::Borrowed(text.as_bytes()))),
        };
        let mut reader = EventRowReader::default();
        for (line, expected) in [
            (
                r#"{"segment_id":null,"id":"m","event_id":"m","anonymous_id":"a","user_id":null,"uuid_ts":"","seq":"x"}"#,
                row("m", None, Some("a")),
            ),
            (
                r#"{"id":"m","user_id":"u","anonymous_id":null,"list":"[1]","uuid_ts":"","user_id":{}}"#,
                row("m", Some("u"), None),
            ),
            (
                r#"{ "event_id": "n", "user_id": "\u00e9", "x": {"user_id": 1} }"#,
                row("n", Some("\u{e9}"), None),
            ),
        ] {
            assert_eq!(reader.read(line.as_bytes(), true).unwrap(), expected, "{line}");
        }
        assert_eq!(reader.read(b"{}", true).unwrap(), EventRow::default());
        assert!(reader.read(b"[]", true).is_err() && reader.read(b"{", true).is_err());
    }
}
