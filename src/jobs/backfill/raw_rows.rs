//! Converts raw rows of other programs to the notation of this one: column names in lower case, compact JSON, numbers
//! in clocks as text. Values stay the same, and a row that this program wrote stays the same byte for byte.

use std::borrow::Cow;

use crate::{
    json::{Document, JsonKind, Tape, push_string},
    table::{
        blocks::LineProblem,
        clock::{Clock, NO_SEQ, seq_of},
        row::{RowReader, not_json},
    },
    time::{
        seq::push_seq,
        timestamp::{Micros, push_micros, push_millis},
    },
};

/// Rewrites rows. Each thread has its own.
#[derive(Debug)]
pub struct Rewriter {
    tape: Tape,
    reader: RowReader<2>,
    /// Whether rows are identified by `id`. A row that only has an `event_id` then gets it as its `id`.
    of_events: bool,
}

/// Columns that hold times. The first three exist in all tables, the others only in event tables; in a row of traits
/// they may be traits.
const TIMES: [&[u8]; 5] = [b"timestamp", b"received_at", b"uuid_ts", b"sent_at", b"original_timestamp"];

impl Rewriter {
    /// Returns a rewriter for event rows or for other rows.
    #[must_use]
    pub fn new(of_events: bool) -> Self {
        let columns = ["id", "event_id"];
        let reader = if of_events { RowReader::for_events(columns) } else { RowReader::new(columns) };
        Self { tape: Tape::default(), reader, of_events }
    }

    /// Appends a rewritten row and returns its clocks.
    pub fn push(&mut self, out: &mut Vec<u8>, line: &[u8]) -> Result<Clock, LineProblem> {
        let row = self.reader.read(line, false)?;
        let clock = row.clock;
        let event_id = if self.of_events && !row.has(0) { row.text(1)? } else { None };
        self.tape.read(line).map_err(not_json)?;
        let doc = Document { text: line, tokens: &self.tape.tokens };
        let mut columns: Vec<(Vec<u8>, u32)> = doc
            .members(0)
            .map(|(key, value)| (doc.string(key).unwrap_or_default().to_ascii_lowercase(), value))
            .collect();
        drop_repeated(&mut columns);
        out.push(b'{');
        if let Some(event_id) = event_id {
            columns.retain(|(name, _)| name != b"id");
            out.extend_from_slice(b"\"id\":");
            push_string(out, &event_id);
            out.push(b',');
        }
        for (place, (name, value)) in columns.iter().enumerate() {
            if 0 < place {
                out.push(b',');
            }
            push_string(out, name);
            out.push(b':');
            push_value(out, doc, name, *value, self.of_events);
        }
        out.extend_from_slice(b"}\n");
        Ok(clock)
    }
}

/// Keeps the last value of each name. Names that differ only in case have become equal.
fn drop_repeated(columns: &mut Vec<(Vec<u8>, u32)>) {
    let is_last = |at: usize| !columns[at + 1..].iter().any(|later| later.0 == columns[at].0);
    let last: Vec<bool> = (0..columns.len()).map(is_last).collect();
    let mut last = last.into_iter();
    columns.retain(|_| last.next().unwrap_or(true));
}

fn push_value(out: &mut Vec<u8>, doc: Document<'_>, name: &[u8], value: u32, of_events: bool) {
    let number = matches!(doc.kind(value), JsonKind::Integer | JsonKind::Number);
    let times = if of_events { &TIMES[..] } else { &TIMES[..3] };
    if number && times.contains(&name) {
        if let Some(millis) = std::str::from_utf8(doc.raw(value)).ok().and_then(|text| text.parse().ok()) {
            push_time(out, name, millis);
            return;
        }
    } else if name == b"seq" && !of_events {
        let text = doc.scalar_text(value).unwrap_or(Cow::Borrowed(b""));
        match seq_of(&text) {
            Some(NO_SEQ) | None => out.extend_from_slice(b"null"),
            Some(seq) => {
                out.push(b'"');
                push_seq(out, seq - 1);
                out.push(b'"');
            }
        }
        return;
    }
    doc.push_compact(out, value);
}

fn push_time(out: &mut Vec<u8>, name: &[u8], millis: Micros) {
    out.push(b'"');
    match name {
        b"uuid_ts" => push_micros(out, millis.saturating_mul(1000)),
        _ => push_millis(out, millis),
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(of_events: bool, row: &str, expected: &str) {
        let mut out = Vec::new();
        Rewriter::new(of_events).push(&mut out, row.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\n"), "{row}");
    }

    #[test]
    fn names_are_in_lower_case_and_clocks_are_text() {
        check(
            false,
            r#"{ "SEGMENT_ID" : "s", "Seq": 7, "UUID_TS": 1651500060123, "RECEIVED_AT": 1651500060123, "X": [ 1.50 ] }"#,
            concat!(
                r#"{"segment_id":"s","seq":"0000000000000000007","uuid_ts":"2022-05-02T14:01:00.123000Z","#,
                r#""received_at":"2022-05-02T14:01:00.123Z","x":[1.50]}"#
            ),
        );
        check(
            false,
            r#"{"seq":"","a":1,"A":null,"uuid_ts":null}"#,
            r#"{"seq":null,"a":null,"uuid_ts":null}"#,
        );
    }

    #[test]
    fn rows_of_ours_stay_as_they_are() {
        for row in [
            r#"{"id":"m","seq":"0000000000000000007","uuid_ts":"2022-05-02T14:01:00.123000Z","t":"\"\u0001\\"}"#,
            r#"{"id":"m","event_id":"m","received_at":"2022-05-02T14:01:00.123Z","n":1e3,"x":null}"#,
        ] {
            check(true, row, row);
        }
        let property = r#"{"id":"m","received_at":"2022-05-02T14:01:00.123Z","seq":"first"}"#;
        check(true, property, property);
        let trait_of_a_name = r#"{"id":"m","sent_at":5,"original_timestamp":7}"#;
        check(false, trait_of_a_name, trait_of_a_name);
    }

    #[test]
    fn an_event_without_id_gets_its_event_id() {
        check(true, r#"{"EVENT_ID":"m","a":1}"#, r#"{"id":"m","event_id":"m","a":1}"#);
        check(true, r#"{"ID":null,"EVENT_ID":7}"#, r#"{"id":"7","event_id":7}"#);
    }

    #[test]
    fn what_is_no_row_is_a_problem() {
        for row in ["[]", "{", r#"{"seq":"x"}"#, r#"{"uuid_ts":"yesterday"}"#] {
            assert!(Rewriter::new(false).push(&mut Vec::new(), row.as_bytes()).is_err(), "{row}");
        }
    }
}
