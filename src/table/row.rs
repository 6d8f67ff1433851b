//! One line of a raw table: the columns asked for, found by name in any case and in any order.

use std::{borrow::Cow, cell::Cell};

use super::{
    blocks::{Problem, ROW_HINT},
    clock::{Clock, ClockReader, RawValue},
    scan::{Scanner, Value},
};
use crate::json::{Document, JsonError, Kind, Tape, unescape};

/// The columns of a [`Clock`]; a [`RowReader`] finds them besides those it is asked for. `seq` comes first: rows of events
/// have no clock of that name.
const CLOCK_COLUMNS: [&str; 4] = ["seq", "uuid_ts", "timestamp", "received_at"];

const TABLE_HINT: &str = "is this the raw table that its file name says?";

/// Reads lines as rows. Reused from line to line.
#[derive(Debug)]
pub struct RowReader<const N: usize> {
    columns: [&'static str; N],
    /// Which of the [`CLOCK_COLUMNS`] the table has, as a place to begin from.
    first_clock: usize,
    /// Where the last column ends a row, once all others were found: what columns beside those asked for are of no interest.
    last_ends: Option<fn(&[u8]) -> bool>,
    scanner: Scanner<Column>,
    tape: Tape,
    clocks: ClockReader,
}

/// A row: its clocks and the columns asked for.
#[derive(Debug)]
pub struct Row<'a, const N: usize> {
    /// When it came to be.
    pub clock: Clock,
    line: &'a [u8],
    columns: [&'static str; N],
    values: [Option<Value>; N],
    /// Where the value of the last column begins, where it ended the row and nothing of interest stands before it.
    tail: Option<usize>,
}

/// Which column a name is.
#[derive(Debug, Clone, Copy)]
enum Column {
    Clock(usize),
    Asked(usize),
    Other,
    /// Another one, which may be of interest to the caller.
    Unknown,
}

impl<const N: usize> RowReader<N> {
    /// A reader for these columns, named in lower case.
    #[must_use]
    pub fn new(columns: [&'static str; N]) -> Self {
        let (scanner, tape, clocks) = (Scanner::default(), Tape::default(), ClockReader::default());
        Self { columns, first_clock: 0, last_ends: None, scanner, tape, clocks }
    }

    /// The same for rows of events: a column `seq` of theirs is a property like any other.
    #[must_use]
    pub fn of_events(columns: [&'static str; N]) -> Self {
        Self { first_clock: 1, ..Self::new(columns) }
    }

    /// The same, for rows that are read a second time if they matter: once the last column is met and all others were, the
    /// rest of the row is not looked at. The value of that column is not read either, only whether it is null. Columns of
    /// which `is_other` says so are of no interest in front of it.
    #[must_use]
    pub fn until_last(columns: [&'static str; N], is_other: fn(&[u8]) -> bool) -> Self {
        Self { last_ends: Some(is_other), ..Self::new(columns) }
    }

    /// Reads a line. `clean` says that there is no control character in it.
    pub fn read<'a>(&mut self, line: &'a [u8], clean: bool) -> Result<Row<'a, N>, Problem> {
        let Self { columns, first_clock, last_ends, scanner, tape, clocks } = self;
        let mut clock = [None; 4];
        let mut values = [None; N];
        // A bit for every column that is still to be found, but for the last.
        let (mut is_known, mut tail) = (true, None);
        let missing = Cell::new((1_u32 << (CLOCK_COLUMNS.len() + N - 1)) - 1);
        // Of a repeated name the last value counts, so that a second walk needs no clean start.
        let mut put = |column: Column, value: Value| {
            let is_there = value.kind != Kind::Null;
            let place = match column {
                Column::Clock(place) => {
                    clock[place] = if is_there { Some(value) } else { None };
                    place
                }
                Column::Asked(place) => {
                    values[place] = if is_there { Some(value) } else { None };
                    CLOCK_COLUMNS.len() + place
                }
                Column::Other => return,
                Column::Unknown => {
                    is_known = false;
                    return;
                }
            };
            tail = (is_there && place + 1 == N + CLOCK_COLUMNS.len()).then_some(value.start);
            missing.set(missing.get() & !(1 << place));
        };
        let is_last = |column: &Column| match column {
            Column::Asked(place) => last_ends.is_some() && *place + 1 == N && missing.get() == 0,
            _ => false,
        };
        let classify = |name: &[u8]| {
            let is_name = |column: &str| column.as_bytes().eq_ignore_ascii_case(name);
            let asked = columns.iter().position(|column| is_name(column)).map(Column::Asked);
            let clock = CLOCK_COLUMNS.iter().position(|column| is_name(column));
            asked.or(clock.filter(|place| *first_clock <= *place).map(Column::Clock))
        };
        let classify = |name: &[u8]| {
            let is_other = last_ends.is_none_or(|is_other| is_other(name));
            classify(name).unwrap_or(if is_other { Column::Other } else { Column::Unknown })
        };
        let plain = if clean {
            scanner.scan(line, classify, is_last, |label, value| put(label.class, value))
        } else {
            None
        };
        if plain.is_none() {
            let document = read_tokens(tape, line)?;
            for (key, value) in document.members(0) {
                let value = Value::from(document.tokens[value as usize]);
                put(classify(&document.string(key).unwrap_or_default()), value);
            }
        }
        let clock = clocks.read(clock.map(|value| value.map(|value| (value.kind, raw(line, value)))))?;
        let tail = tail.filter(|_| plain.is_some() && is_known && last_ends.is_some() && missing.get() == 0);
        Ok(Row { clock, line, columns: *columns, values, tail })
    }
}

/// What is wrong with a line that is not JSON.
#[must_use]
pub fn not_json(error: JsonError) -> Problem {
    Problem {
        message: format!("the line is not JSON: {} at byte {}", error.message, error.at).into(),
        hint: ROW_HINT,
    }
}

fn read_tokens<'a>(tape: &'a mut Tape, line: &'a [u8]) -> Result<Document<'a>, Problem> {
    tape.read(line).map_err(not_json)?;
    let document = Document { text: line, tokens: &tape.tokens };
    match document.kind(0) {
        Kind::Object => Ok(document),
        _ => Err(Problem { message: "the line is not a JSON object".into(), hint: ROW_HINT }),
    }
}

fn raw(line: &[u8], value: Value) -> &[u8] {
    &line[value.start..value.end]
}

impl<'a, const N: usize> Row<'a, N> {
    /// Whether a column is there and not null.
    #[must_use]
    pub fn has(&self, column: usize) -> bool {
        self.values[column].is_some()
    }

    /// Where the value of the last column begins, where it ended the row and nothing of interest stands before it.
    #[must_use]
    pub fn tail(&self) -> Option<usize> {
        self.tail
    }

    /// Whether the text of a column has no character that JSON escapes.
    #[must_use]
    pub fn is_plain(&self, column: usize) -> bool {
        self.values[column].is_none_or(|value| value.kind != Kind::Escaped)
    }

    /// The text of a column, numbers as written; `None` where it is missing or null.
    pub fn text(&self, column: usize) -> Result<Option<Cow<'a, [u8]>>, Problem> {
        let Some(value) = self.values[column] else { return Ok(None) };
        let raw = raw(self.line, value);
        match value.kind {
            Kind::Plain | Kind::Integer | Kind::Number => Ok(Some(Cow::Borrowed(raw))),
            Kind::Escaped => Ok(Some(unescape(raw))),
            _ => Err(Problem {
                message: format!("`{}` is neither text nor a number", self.columns[column]).into(),
                hint: TABLE_HINT,
            }),
        }
    }

    /// What stands in a column, whatever it is; `None` for null.
    #[must_use]
    pub fn value(&self, column: usize) -> Option<RawValue<'a>> {
        self.values[column].map(|value| (value.kind, raw(self.line, value)))
    }

    /// The text of a column without which the row says nothing; it may be empty.
    pub fn needed(&self, column: usize) -> Result<Cow<'a, [u8]>, Problem> {
        self.text(column)?.ok_or_else(|| self.missing(column))
    }

    /// The text of a column that names something and so cannot be empty.
    pub fn name(&self, column: usize) -> Result<Cow<'a, [u8]>, Problem> {
        self.needed(column)
            .and_then(|name| if name.is_empty() { Err(self.missing(column)) } else { Ok(name) })
    }

    fn missing(&self, column: usize) -> Problem {
        Problem { message: format!("the row has no `{}`", self.columns[column]).into(), hint: TABLE_HINT }
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
                let texts = [row.needed(0).unwrap(), row.needed(1).unwrap()];
                assert_eq!(texts, [&b"s"[..], b"v"], "{line}");
                assert_eq!(row.clock.seq(), 8, "{line}");
            }
        }
    }

    #[test]
    fn behind_the_last_column_nothing_is_read_once_all_others_were_found() {
        let mut reader = RowReader::until_last(["segment_id", "__trait_seqs"], |name| name == b"id");
        let clocks = r#""seq":"1","timestamp":null,"received_at":null,"uuid_ts":null"#;
        for (line, has_seqs) in [
            (format!(r#"{{"segment_id":"s",{clocks},"__trait_seqs":"x","a":nonsense}}"#), true),
            (format!(r#"{{"segment_id":"s",{clocks},"__trait_seqs":null,"a":1}}"#), false),
            (format!(r#"{{"segment_id":"x",{clocks},"segment_id":"s"}}"#), false),
            (format!(r#"{{"__trait_seqs":"x",{clocks},"segment_id":"s"}}"#), true),
            (format!(r#"{{"seq":"1",{clocks},"__trait_seqs":"x","segment_id":"s"}}"#), true),
        ] {
            let row = reader.read(line.as_bytes(), true).unwrap();
            assert_eq!((&*row.name(0).unwrap(), row.has(1)), (&b"s"[..], has_seqs), "{line}");
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
        let mut reader = RowReader::of_events(["id"]);
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
            assert_eq!(row.needed(0).unwrap_err().message, "the row has no `segment_id`");
        }
        let row = reader.read(br#"{"segment_id":""}"#, true).unwrap();
        assert_eq!(&*row.needed(0).unwrap(), b"");
        assert!(row.name(0).is_err());
    }

    #[test]
    fn what_is_no_row_is_a_problem() {
        let mut reader = RowReader::new(["segment_id"]);
        for line in ["[]", "{", r#"{"seq":[]}"#, r#"{"segment_id":"s""#] {
            assert!(reader.read(line.as_bytes(), true).is_err(), "{line}");
        }
        assert!(reader.read(br#"{"segment_id":true}"#, true).unwrap().name(0).is_err());
    }
}
