//! Reads a line of a raw table: finds the requested columns by name, in any case and any order.

use std::{borrow::Cow, cell::Cell};

use super::{
    blocks::{LineProblem, ROW_HINT},
    clock::{Clock, ClockReader, RawValue},
    scan::{RowScanner, ValueSpan},
};
use crate::json::{Document, JsonError, JsonKind, Tape, unescape};

/// The columns of a [`Clock`], which a [`RowReader`] finds in addition to the requested ones. `seq` is first, so that
/// readers of events can skip it: events have no clock of that name.
const CLOCK_COLUMNS: [&str; 4] = ["seq", "uuid_ts", "timestamp", "received_at"];

const TABLE_HINT: &str = "check that this is the raw table that its file name says";

/// Reads lines as rows. Reuse it for all lines of a table.
#[derive(Debug)]
pub struct RowReader<const N: usize> {
    columns: [&'static str; N],
    /// Index of the first of the [`CLOCK_COLUMNS`] that the table has.
    first_clock: usize,
    /// Set if reading may stop at the last column. Tells whether a column that was not requested is of no interest.
    last_ends: Option<fn(&[u8]) -> bool>,
    scanner: RowScanner<ColumnRole>,
    tape: Tape,
    clocks: ClockReader,
}

/// A row: its clocks and the requested columns.
#[derive(Debug)]
pub struct TableRow<'a, const N: usize> {
    /// Its clocks.
    pub clock: Clock,
    line: &'a [u8],
    columns: [&'static str; N],
    values: [Option<ValueSpan>; N],
    /// Offset of the value of the last column, if reading stopped there and no column of interest precedes it.
    tail: Option<usize>,
}

/// What a column name refers to.
#[derive(Debug, Clone, Copy)]
enum ColumnRole {
    Clock(usize),
    Asked(usize),
    Other,
    /// A column that was not requested but may be of interest to the caller.
    Unknown,
}

impl<const N: usize> RowReader<N> {
    /// Creates a reader for these columns, named in lower case.
    #[must_use]
    pub fn new(columns: [&'static str; N]) -> Self {
        let (scanner, tape, clocks) = (RowScanner::default(), Tape::default(), ClockReader::default());
        Self { columns, first_clock: 0, last_ends: None, scanner, tape, clocks }
    }

    /// Creates a reader for rows of events, in which a column `seq` is an ordinary property.
    #[must_use]
    pub fn for_events(columns: [&'static str; N]) -> Self {
        Self { first_clock: 1, ..Self::new(columns) }
    }

    /// Creates a reader that stops at the last column if all others were found before it. Use it for rows that are read
    /// a second time if they matter. The value of the last column is not parsed; only whether it is null is known.
    /// `is_other` returns whether a column that was not requested is of no interest; see [`TableRow::tail`].
    #[must_use]
    pub fn stopping_at_last(columns: [&'static str; N], is_other: fn(&[u8]) -> bool) -> Self {
        Self { last_ends: Some(is_other), ..Self::new(columns) }
    }

    /// Reads a line. `clean` means that it contains no control characters.
    pub fn read<'a>(&mut self, line: &'a [u8], clean: bool) -> Result<TableRow<'a, N>, LineProblem> {
        let Self { columns, first_clock, last_ends, scanner, tape, clocks } = self;
        let mut clock = [None; 4];
        let mut values = [None; N];
        // One bit for each column that was not found yet, except the last.
        let (mut is_known, mut tail) = (true, None);
        let missing = Cell::new((1_u32 << (CLOCK_COLUMNS.len() + N - 1)) - 1);
        // The last value of a repeated name counts, so a second pass can overwrite what the first one found.
        let mut put = |column: ColumnRole, value: ValueSpan| {
            let is_there = value.kind != JsonKind::Null;
            let place = match column {
                ColumnRole::Clock(place) => {
                    clock[place] = if is_there { Some(value) } else { None };
                    place
                }
                ColumnRole::Asked(place) => {
                    values[place] = if is_there { Some(value) } else { None };
                    CLOCK_COLUMNS.len() + place
                }
                ColumnRole::Other => return,
                ColumnRole::Unknown => {
                    is_known = false;
                    return;
                }
            };
            tail = (is_there && place + 1 == N + CLOCK_COLUMNS.len()).then_some(value.start);
            missing.set(missing.get() & !(1 << place));
        };
        let is_last = |column: &ColumnRole| match column {
            ColumnRole::Asked(place) => last_ends.is_some() && *place + 1 == N && missing.get() == 0,
            _ => false,
        };
        let classify = |name: &[u8]| {
            let is_name = |column: &str| column.as_bytes().eq_ignore_ascii_case(name);
            let asked = columns.iter().position(|column| is_name(column)).map(ColumnRole::Asked);
            let clock = CLOCK_COLUMNS.iter().position(|column| is_name(column));
            asked.or(clock.filter(|place| *first_clock <= *place).map(ColumnRole::Clock))
        };
        let classify = |name: &[u8]| {
            let is_other = last_ends.is_none_or(|is_other| is_other(name));
            classify(name).unwrap_or(if is_other { ColumnRole::Other } else { ColumnRole::Unknown })
        };
        let plain = if clean {
            scanner.scan(line, classify, is_last, |label, value| put(label.class, value))
        } else {
            None
        };
        if plain.is_none() {
            let document = read_tokens(tape, line)?;
            for (key, value) in document.members(0) {
                let value = ValueSpan::from(document.tokens[value as usize]);
                put(classify(&document.string(key).unwrap_or_default()), value);
            }
        }
        let clock = clocks.read(clock.map(|value| value.map(|value| (value.kind, raw(line, value)))))?;
        let tail = tail.filter(|_| plain.is_some() && is_known && last_ends.is_some() && missing.get() == 0);
        Ok(TableRow { clock, line, columns: *columns, values, tail })
    }
}

/// Converts a JSON error into a [`LineProblem`] with the line.
#[must_use]
pub fn not_json(error: JsonError) -> LineProblem {
    LineProblem {
        message: format!("the line is not JSON: {} at byte {}", error.message, error.at).into(),
        hint: ROW_HINT,
    }
}

fn read_tokens<'a>(tape: &'a mut Tape, line: &'a [u8]) -> Result<Document<'a>, LineProblem> {
    tape.read(line).map_err(not_json)?;
    let document = Document { text: line, tokens: &tape.tokens };
    match document.kind(0) {
        JsonKind::Object => Ok(document),
        _ => Err(LineProblem { message: "the line is not a JSON object".into(), hint: ROW_HINT }),
    }
}

fn raw(line: &[u8], value: ValueSpan) -> &[u8] {
    &line[value.start..value.end]
}

impl<'a, const N: usize> TableRow<'a, N> {
    /// Returns whether a column is present and not null.
    #[must_use]
    pub fn has(&self, column: usize) -> bool {
        self.values[column].is_some()
    }

    /// Returns the offset of the value of the last column, if reading stopped there and no column of interest precedes
    /// it.
    #[must_use]
    pub fn tail(&self) -> Option<usize> {
        self.tail
    }

    /// Returns whether the text of a column is written without escapes. True if the column is missing or null.
    #[must_use]
    pub fn is_plain(&self, column: usize) -> bool {
        self.values[column].is_none_or(|value| value.kind != JsonKind::Escaped)
    }

    /// Returns the text of a column, or a number as written. `None` if it is missing or null, an error for other types.
    pub fn text(&self, column: usize) -> Result<Option<Cow<'a, [u8]>>, LineProblem> {
        let Some(value) = self.values[column] else { return Ok(None) };
        let raw = raw(self.line, value);
        match value.kind {
            JsonKind::Plain | JsonKind::Integer | JsonKind::Number => Ok(Some(Cow::Borrowed(raw))),
            JsonKind::Escaped => Ok(Some(unescape(raw))),
            _ => Err(LineProblem {
                message: format!("`{}` is neither a string nor a number", self.columns[column]).into(),
                hint: TABLE_HINT,
            }),
        }
    }

    /// Returns the value of a column, whatever its type. `None` if it is missing or null.
    #[must_use]
    pub fn value(&self, column: usize) -> Option<RawValue<'a>> {
        self.values[column].map(|value| (value.kind, raw(self.line, value)))
    }

    /// Returns the text of a required column, which may be empty.
    pub fn required(&self, column: usize) -> Result<Cow<'a, [u8]>, LineProblem> {
        self.text(column)?.ok_or_else(|| self.missing(column))
    }

    /// Returns the text of a required column that must not be empty.
    pub fn required_name(&self, column: usize) -> Result<Cow<'a, [u8]>, LineProblem> {
        self.required(column)
            .and_then(|name| if name.is_empty() { Err(self.missing(column)) } else { Ok(name) })
    }

    fn missing(&self, column: usize) -> LineProblem {
        LineProblem { message: format!("the row has no `{}`", self.columns[column]).into(), hint: TABLE_HINT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_in_any_case_order_and_spelling() {
        let mut reader = RowReader::new(["segment_id", "external_id_value"]);
        for line in [
            r#"{"segment_id":"s","seq":"7","external_id_value":"v"}"#,
            r#"{"SEGMENT_ID":"s","EXTERNAL_ID_VALUE":"v","SEQ":7,"other":null}"#,
            r#"{"EXTERNAL_ID_VALUE":"v","SEQ":7,"SEGMENT_ID":"s","OTHER":{}}"#,
            r#"{"Segment_\u0069d":"x","external_id_value":"v","seq":"","seq":"0007","segment_id":"s"}"#,
        ] {
            for clean in [true, false] {
                let row = reader.read(line.as_bytes(), clean).unwrap();
                let texts = [row.required(0).unwrap(), row.required(1).unwrap()];
                assert_eq!(texts, [&b"s"[..], b"v"], "{line}");
                assert_eq!(row.clock.seq(), 8, "{line}");
            }
        }
    }

    #[test]
    fn behind_the_last_column_nothing_is_read_once_all_others_were_found() {
        let mut reader = RowReader::stopping_at_last(["segment_id", "__trait_seqs"], |name| name == b"id");
        let clocks = r#""seq":"1","timestamp":null,"received_at":null,"uuid_ts":null"#;
        for (line, has_seqs) in [
            (format!(r#"{{"segment_id":"s",{clocks},"__trait_seqs":"x","a":nonsense}}"#), true),
            (format!(r#"{{"segment_id":"s",{clocks},"__trait_seqs":null,"a":1}}"#), false),
            (format!(r#"{{"segment_id":"x",{clocks},"segment_id":"s"}}"#), false),
            (format!(r#"{{"__trait_seqs":"x",{clocks},"segment_id":"s"}}"#), true),
            (format!(r#"{{"seq":"1",{clocks},"__trait_seqs":"x","segment_id":"s"}}"#), true),
        ] {
            let row = reader.read(line.as_bytes(), true).unwrap();
            assert_eq!((&*row.required_name(0).unwrap(), row.has(1)), (&b"s"[..], has_seqs), "{line}");
        }
        for (line, has_tail) in [
            (format!(r#"{{"id":1,"segment_id":"s",{clocks},"__trait_seqs":"x","a":nonsense}}"#), true),
            (format!(r#"{{"a":1,"segment_id":"s",{clocks},"__trait_seqs":"x","a":nonsense}}"#), false),
            (format!(r#"{{"segment_id":"s","__trait_seqs":"x",{clocks}}}"#), false),
            (format!(r#"{{"segment_id":"s",{clocks},"__trait_seqs":null}}"#), false),
            (format!(r#"{{"segment_id":"s",{clocks}}}"#), false),
            (format!(r#"{{"segment_id" :"s",{clocks},"__trait_seqs":"x"}}"#), false),
        ] {
            let tail = reader.read(line.as_bytes(), true).unwrap().tail();
            assert_eq!(tail, has_tail.then(|| line.find("\"x\"").unwrap()), "{line}");
        }
        let line = format!(r#"{{{clocks},"__trait_seqs":"x","segment_id":nonsense}}"#);
        assert!(reader.read(line.as_bytes(), true).is_err());
    }

    #[test]
    fn a_seq_of_an_event_is_no_clock() {
        let mut reader = RowReader::for_events(["id"]);
        for seq in ["\"first\"", "{}", "7", "null"] {
            let line = format!(r#"{{"seq":{seq},"id":"m","received_at":"2026-01-01T00:00:00.000Z"}}"#);
            for clean in [true, false] {
                let row = reader.read(line.as_bytes(), clean).unwrap();
                assert_eq!(row.clock.seq(), 0, "{line}");
                assert!(row.clock.received_at().is_some() && row.has(0), "{line}");
            }
        }
    }

    #[test]
    fn missing_and_null_are_the_same() {
        let mut reader = RowReader::new(["segment_id"]);
        for line in ["{}", r#"{"segment_id":null}"#, r#"{"segment_id":"s","segment_id":null}"#] {
            let row = reader.read(line.as_bytes(), true).unwrap();
            assert_eq!(row.text(0).unwrap(), None);
            assert_eq!(row.required(0).unwrap_err().message, "the row has no `segment_id`");
        }
        let row = reader.read(br#"{"segment_id":""}"#, true).unwrap();
        assert_eq!(&*row.required(0).unwrap(), b"");
        assert!(row.required_name(0).is_err());
    }

    #[test]
    fn what_is_no_row_is_a_problem() {
        let mut reader = RowReader::new(["segment_id"]);
        for line in ["[]", "{", r#"{"seq":[]}"#, r#"{"segment_id":"s""#] {
            assert!(reader.read(line.as_bytes(), true).is_err(), "{line}");
        }
        assert!(reader.read(br#"{"segment_id":true}"#, true).unwrap().required_name(0).is_err());
    }
}
