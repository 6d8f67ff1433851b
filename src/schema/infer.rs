//! Reads the committed rows of a table and collects what each column holds, on all cores.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::facts::Facts;
use crate::{
    collections::Map,
    error::Result,
    json::{Document, JsonKind, Tape},
    table::{
        blocks::{
            BLOCK_BYTES, LineProblem, ROW_HINT, SharedProgress, TableBlock, map_blocks, non_blank_lines,
        },
        row::not_json,
        scan::{RowScanner, ValueSpan},
        source::TableSource,
    },
};

/// What the rows of a table hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TableFacts {
    /// Rows.
    pub(crate) n_rows: u64,
    /// Bytes of the longest row.
    pub(crate) longest_row: usize,
    /// The columns by name: every name that is in a row, also if it is null there.
    pub(crate) columns: BTreeMap<String, Facts>,
}

impl TableFacts {
    /// Reads all rows of a table.
    pub(crate) fn read(source: TableSource, meter: &SharedProgress<'_>) -> Result<Self> {
        let all = Mutex::new(Self::default());
        map_blocks(&[source], BLOCK_BYTES, meter, |block| {
            let mut facts = BlockFacts::default();
            facts.read(block)?;
            facts.add_to(&mut all.lock().unwrap_or_else(PoisonError::into_inner));
            Ok(())
        })?;
        Ok(all.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the rows of a block hold: columns by number.
#[derive(Debug, Default)]
struct BlockFacts {
    n_rows: u64,
    longest_row: usize,
    numbers: RefCell<Map<Vec<u8>, usize>>,
    columns: Vec<Facts>,
}

impl BlockFacts {
    fn read(&mut self, block: TableBlock<'_>) -> Result<(), (usize, LineProblem)> {
        let mut scanner = RowScanner::default();
        let mut tape = Tape::default();
        let mut values: Vec<(usize, ValueSpan)> = Vec::new();
        for (at, line) in non_blank_lines(block.text) {
            values.clear();
            let numbers = &self.numbers;
            let is_scanned = block.clean
                && scanner
                    .scan(
                        line,
                        |name| number_of(numbers, name),
                        |_| false,
                        |label, value| values.push((label.class, value)),
                    )
                    .is_some();
            if !is_scanned {
                values.clear();
                read_tokens(&mut tape, line, numbers, &mut values).map_err(|problem| (at, problem))?;
            }
            self.n_rows += 1;
            self.longest_row = self.longest_row.max(line.len());
            self.columns.resize(self.numbers.borrow().len(), Facts::default());
            for &(column, value) in &values {
                self.columns[column].add(value.kind, &line[value.start..value.end]);
            }
        }
        Ok(())
    }

    fn add_to(&self, all: &mut TableFacts) {
        all.n_rows += self.n_rows;
        all.longest_row = all.longest_row.max(self.longest_row);
        for (name, &column) in &*self.numbers.borrow() {
            let name = String::from_utf8_lossy(name);
            match all.columns.get_mut(&*name) {
                Some(facts) => facts.merge(&self.columns[column]),
                None => _ = all.columns.insert(name.into_owned(), self.columns[column]),
            }
        }
    }
}

/// Returns the number of a column, a new one if the name is new.
fn number_of(numbers: &RefCell<Map<Vec<u8>, usize>>, name: &[u8]) -> usize {
    let mut numbers = numbers.borrow_mut();
    let next = numbers.len();
    numbers.get(name).copied().unwrap_or_else(|| *numbers.entry(name.to_vec()).or_insert(next))
}

/// Reads a row of any style. Of a repeated name the last value counts.
fn read_tokens(
    tape: &mut Tape,
    line: &[u8],
    numbers: &RefCell<Map<Vec<u8>, usize>>,
    values: &mut Vec<(usize, ValueSpan)>,
) -> Result<(), LineProblem> {
    tape.read(line).map_err(not_json)?;
    let document = Document { text: line, tokens: &tape.tokens };
    if document.kind(0) != JsonKind::Object {
        return Err(LineProblem { message: "the line is not a JSON object".into(), hint: ROW_HINT });
    }
    for (key, value) in document.members(0) {
        let name = document.string(key).unwrap_or_default();
        values.push((number_of(numbers, &name), ValueSpan::from(document.tokens[value as usize])));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{progress::Silent, schema::facts::Class};

    fn read(text: &str) -> TableFacts {
        let source = TableSource::from_bytes(Path::new("test"), text.as_bytes().to_vec());
        TableFacts::read(source, &SharedProgress::new(&Silent)).unwrap()
    }

    #[test]
    fn a_column_may_come_late_and_change_its_class() {
        let rows: Vec<String> =
            (0..50_000).map(|number| format!("{{\"a\":{number},\"b\":null}}\n")).collect();
        let mut text = rows.concat();
        let facts = read(&text);
        assert_eq!(facts.columns["a"].class(false), Class::Integer { before: 5 });
        assert_eq!(facts.columns["b"].class(false), Class::Null);
        text.push_str("{\"a\":\"\\u0041\",\"b\":null,\"late\":1.5}\n");
        let facts = read(&text);
        assert_eq!((facts.n_rows, facts.columns["a"].n_values), (50_001, 50_001));
        assert_eq!(facts.columns["a"].class(false), Class::Text);
        assert_eq!(facts.columns["b"].n_values, 0);
        assert_eq!(facts.columns["late"].class(false), Class::Decimal { before: 1, after: 1 });
        assert_eq!(facts.longest_row, "{\"a\":\"\\u0041\",\"b\":null,\"late\":1.5}".len());
    }

    #[test]
    fn rows_of_any_style_say_the_same() {
        let plain = read("{\"a\":1,\"b\":\"x\"}\n{\"a\":2}\n");
        let other = read("{ \"a\" : 1 ,\t\"b\":\"\\u0078\" }\n\n{\"\\u0061\":2}");
        assert_eq!(plain.columns, other.columns);
        assert_eq!(plain.n_rows, other.n_rows);
    }

    #[test]
    fn a_line_that_is_no_row_is_an_error_with_its_number() {
        let source = TableSource::from_bytes(Path::new("test"), b"{}\n[]\n".to_vec());
        let error = TableFacts::read(source, &SharedProgress::new(&Silent)).unwrap_err().to_string();
        assert_eq!(error, "test:2: the line is not a JSON object");
    }
}
