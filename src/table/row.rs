//! One line of a raw table: the columns asked for, found by name in any case and in any order.

use std::borrow::Cow;

use super::{
    blocks::{Problem, ROW_HINT},
    clock::Clock,
};
use crate::event::json::{Document, Kind, Tape};

/// The columns of a [`Clock`]; a [`RowReader`] finds them besides those it is asked for.
const CLOCK_COLUMNS: [&[u8]; 4] = [b"seq", b"uuid_ts", b"timestamp", b"received_at"];

const TABLE_HINT: &str = "is this the raw table that its file name says?";

/// Reads lines as rows. Reused from line to line.
#[derive(Debug)]
pub struct RowReader<const N: usize> {
    columns: [&'static str; N],
    tape: Tape,
}

/// A row: its clocks and the columns asked for.
#[derive(Debug)]
pub struct Row<'a, const N: usize> {
    /// The line.
    pub document: Document<'a>,
    /// When it came to be.
    pub clock: Clock,
    columns: [&'static str; N],
    values: [Option<u32>; N],
}

impl<const N: usize> RowReader<N> {
    /// A reader for these columns, named in lower case.
    #[must_use]
    pub fn new(columns: [&'static str; N]) -> Self {
        Self { columns, tape: Tape::default() }
    }

    /// Reads a line.
    pub fn read<'a>(&'a mut self, line: &'a [u8]) -> Result<Row<'a, N>, Problem> {
        self.tape.read(line).map_err(|error| Problem {
            message: format!("the line is not JSON: {} at byte {}", error.message, error.at).into(),
            hint: ROW_HINT,
        })?;
        let document = Document { text: line, tokens: &self.tape.tokens };
        if document.kind(0) != Kind::Object {
            return Err(Problem { message: "the line is not a JSON object".into(), hint: ROW_HINT });
        }
        let mut clock = [None; 4];
        let mut values = [None; N];
        for (key, value) in document.members(0) {
            let value = Some(value).filter(|&value| document.kind(value) != Kind::Null);
            let name = document.string(key).unwrap_or_default();
            if let Some(place) = self.columns.iter().position(|column| same_name(column.as_bytes(), &name)) {
                values[place] = value;
            } else if let Some(place) = CLOCK_COLUMNS.iter().position(|column| same_name(column, &name)) {
                clock[place] = value;
            }
        }
        Ok(Row { document, clock: Clock::read(document, clock)?, columns: self.columns, values })
    }
}

fn same_name(column: &[u8], name: &[u8]) -> bool {
    column.len() == name.len() && (column == name || column.eq_ignore_ascii_case(name))
}

impl<'a, const N: usize> Row<'a, N> {
    /// Whether a column is there and not null.
    #[must_use]
    pub fn has(&self, column: usize) -> bool {
        self.values[column].is_some()
    }

    /// The text of a column, numbers as written; `None` where it is missing or null.
    pub fn text(&self, column: usize) -> Result<Option<Cow<'a, [u8]>>, Problem> {
        let Some(value) = self.values[column] else { return Ok(None) };
        match self.document.scalar_text(value) {
            Some(text) => Ok(Some(text)),
            None => Err(Problem {
                message: format!("`{}` is neither text nor a number", self.columns[column]).into(),
                hint: TABLE_HINT,
            }),
        }
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
            r#"{"EXTERNAL_ID_VALUE":"v","SEQ":7,"SEGMENT_ID":"s","OTHER":{}}"#,
            r#"{"Segment_\u0069d":"x","external_id_value":"v","seq":"","seq":"0007","segment_id":"s"}"#,
        ] {
            let row = reader.read(line.as_bytes()).unwrap();
            assert_eq!(
                (&*row.needed(0).unwrap(), &*row.needed(1).unwrap()),
                (&b"s"[..], &b"v"[..]),
                "{line}"
            );
            assert_eq!(row.clock.seq(), 8, "{line}");
        }
    }

    #[test]
    fn missing_and_null_are_the_same() {
        let mut reader = RowReader::new(["segment_id"]);
        for line in ["{}", r#"{"segment_id":null}"#] {
            let row = reader.read(line.as_bytes()).unwrap();
            assert_eq!(row.text(0).unwrap(), None);
            assert_eq!(row.needed(0).unwrap_err().message, "the row has no `segment_id`");
        }
        let row = reader.read(br#"{"segment_id":""}"#).unwrap();
        assert_eq!(&*row.needed(0).unwrap(), b"");
        assert!(row.name(0).is_err());
    }

    #[test]
    fn what_is_no_row_is_a_problem() {
        let mut reader = RowReader::new(["segment_id"]);
        for line in ["[]", "{", r#"{"seq":[]}"#] {
            assert!(reader.read(line.as_bytes()).is_err(), "{line}");
        }
        assert!(reader.read(br#"{"segment_id":true}"#).unwrap().name(0).is_err());
    }
}
