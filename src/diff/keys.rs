//! The key columns of tables, and the key of a row as bytes that sort like the columns.
//!
//! Keys are also needed for lines that are the same on both sides, to check whether a table is in order and whether a
//! key occurs twice. Parsing these lines would cost more than everything else. So their first members are found by the
//! shape of the previous line, and a line is parsed only if its shape is different.

use crate::{
    catalog,
    json::{
        Document, JsonKind, Tape,
        values::{Decimal, Typing, is_null, push_canonical, push_canonical_text},
    },
};

use super::columns::{IgnoredColumns, canonical};
use crate::raw::identity_links::{self, Link};

/// Returns the key columns of a table that this program writes; `None` for any other table.
#[must_use]
pub fn known(table: &str) -> Option<&'static [&'static str]> {
    // The name of a table in a nested folder is its path.
    let name = table.rsplit('/').next().unwrap_or(table);
    catalog::find(name).map(|table| table.key).filter(|key| !key.is_empty())
}

/// A column of a key that counts only in rows with a certain text in another column of the key. In other rows it is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which column of the key.
    pub column: usize,
    /// The other column of the key.
    pub other: usize,
    /// The text there.
    pub text: &'static str,
}

impl Condition {
    /// Returns the condition of a key of a table. An identifier of `identity_links` may find several profiles that are merged
    /// away, but is mapped once, to whichever profile.
    #[must_use]
    pub fn of(table: &str, columns: &[String]) -> Option<Self> {
        let is_links = table.rsplit('/').next() == Some(identity_links::TABLE);
        let place = |wanted: &str| columns.iter().position(|column| column == wanted);
        let (column, other) = (place("segment_id")?, place("link")?);
        is_links.then_some(Self { column, other, text: Link::Merged.word() })
    }
}

/// The key of a table.
#[derive(Debug, Clone)]
pub struct RowKey {
    /// The key columns, in order; empty if the whole row is the key.
    pub columns: Vec<String>,
    /// The columns to ignore in a key that is the whole row.
    pub ignored: IgnoredColumns,
    /// Whether a number and a text that reads like it are different keys. If not, such keys are only sorted together,
    /// and [`super::across_formats`] decides which are equal.
    pub typing: Typing,
    /// Whether a number is equal to its text.
    pub numbers_are_text: bool,
    /// Of a column that counts in some rows only.
    pub condition: Option<Condition>,
}

/// Why a line is not a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotARow {
    /// The message.
    pub message: &'static str,
}

/// The message for a line that is not JSON.
pub const NOT_JSON: &str = "is not JSON";

/// Parses a line as a row. Its tokens are then on the tape.
pub fn read_row(tape: &mut Tape, line: &[u8]) -> Result<(), NotARow> {
    if std::str::from_utf8(line).is_err() {
        return Err(NotARow { message: "is not UTF-8" });
    }
    match tape.read(line) {
        Err(_) => Err(NotARow { message: NOT_JSON }),
        Ok(()) if tape.tokens[0].kind != JsonKind::Object => Err(NotARow { message: "is not a JSON object" }),
        Ok(()) => Ok(()),
    }
}

impl RowKey {
    /// Appends the key of a parsed row.
    pub fn push(&self, out: &mut Vec<u8>, doc: Document<'_>) {
        if self.columns.is_empty() {
            out.extend_from_slice(&canonical(doc, self.typing, &self.ignored));
        }
        for (place, column) in self.columns.iter().enumerate() {
            match self.value(doc, place, column).filter(|value| !is_null(doc, *value, self.typing)) {
                None => out.push(1),
                Some(value) if self.typing == Typing::Csv => {
                    out.push(6);
                    let start = out.len();
                    push_canonical_text(out, doc, value);
                    // A 0 ends a column. Keys of this kind need not distinguish all texts, so it may be replaced.
                    out[start..].iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = 1);
                    out.push(0);
                }
                Some(value) => self.push_part(out, doc, value),
            }
        }
    }

    /// Whether a column of the key counts in a row.
    #[must_use]
    pub fn counts(&self, doc: Document<'_>, place: usize) -> bool {
        self.condition.filter(|condition| condition.column == place).is_none_or(|condition| {
            let other = doc.get(0, self.columns[condition.other].as_bytes());
            other.and_then(|value| doc.string(value)).is_some_and(|text| *text == *condition.text.as_bytes())
        })
    }

    /// Returns the value of a column of the key, unless it does not count.
    #[must_use]
    pub fn value(&self, doc: Document<'_>, place: usize, column: &str) -> Option<u32> {
        if self.counts(doc, place) { doc.get(0, column.as_bytes()) } else { None }
    }

    /// Appends one column. A tag distinguishes types, and a 0 ends the column. A 0 within a text is followed by 255,
    /// which is not a tag.
    pub fn push_part(&self, out: &mut Vec<u8>, doc: Document<'_>, value: u32) {
        match doc.kind(value) {
            JsonKind::Null => out.push(1),
            JsonKind::False => out.push(2),
            JsonKind::True => out.push(3),
            JsonKind::Integer | JsonKind::Number if self.numbers_are_text => push_plain(out, doc.raw(value)),
            JsonKind::Integer | JsonKind::Number => {
                out.push(4);
                Decimal::read(doc.raw(value)).push_sortable(out);
            }
            JsonKind::Plain => push_plain(out, doc.raw(value)),
            JsonKind::Escaped => push_text(out, &doc.string(value).unwrap_or_default()),
            JsonKind::Array | JsonKind::Object => {
                out.push(6);
                push_canonical(out, doc, value);
                out.push(0);
            }
        }
    }
}

/// Appends a text as a column of a key.
pub fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    for (place, part) in text.split(|byte| *byte == 0).enumerate() {
        out.extend_from_slice(if place == 0 { &[5] } else { &[0, 255] });
        out.extend_from_slice(part);
    }
    out.push(0);
}

/// Appends a text without escapes, which has no 0.
fn push_plain(out: &mut Vec<u8>, text: &[u8]) {
    out.push(5);
    out.extend_from_slice(text);
    out.push(0);
}

/// Finds the keys of lines, one after the other.
#[derive(Debug)]
pub struct KeyFinder<'a> {
    key: &'a RowKey,
    tape: Tape,
    /// The first members of the last parsed line, up to the last one of the key.
    shape: Vec<KeyMember>,
    /// The range of each key column in the current line.
    parts: Vec<(usize, usize)>,
}

#[derive(Debug)]
struct KeyMember {
    /// The quoted name, the colon, and the opening quote of a text.
    start: Vec<u8>,
    /// The index of the key column, if it is one.
    part: Option<usize>,
}

impl<'a> KeyFinder<'a> {
    /// Creates a finder that has seen no line.
    #[must_use]
    pub fn new(key: &'a RowKey) -> Self {
        Self { key, tape: Tape::default(), shape: Vec::new(), parts: vec![(0, 0); key.columns.len()] }
    }

    /// Appends the key of a line. If the line has the shape of the previous one, what follows the key is not checked.
    pub fn push_quick(&mut self, out: &mut Vec<u8>, line: &[u8]) -> Result<(), NotARow> {
        if !self.shape.is_empty() && self.walk(line).is_some() {
            for (place, (start, end)) in self.parts.iter().enumerate() {
                let condition = self.key.condition.filter(|condition| condition.column == place);
                let counts = condition.is_none_or(|condition| {
                    let (start, end) = self.parts[condition.other];
                    line[start..end] == *condition.text.as_bytes()
                });
                if counts { push_plain(out, &line[*start..*end]) } else { out.push(1) }
            }
            return Ok(());
        }
        read_row(&mut self.tape, line)?;
        let doc = Document { text: line, tokens: &self.tape.tokens };
        self.key.push(out, doc);
        self.learn(line);
        Ok(())
    }

    /// Finds the key columns by the shape of the previous line.
    fn walk(&mut self, line: &[u8]) -> Option<()> {
        let mut at = 0;
        for member in &self.shape {
            let rest = line.get(at..)?.strip_prefix(member.start.as_slice())?;
            let start = at + member.start.len();
            let end = start + memchr::memchr2(b'"', b'\\', rest)?;
            if line[end] == b'\\' {
                return None;
            }
            if let Some(part) = member.part {
                self.parts[part] = (start, end);
            }
            at = end + 1;
        }
        Some(())
    }

    /// Remembers the shape of the line that was just parsed, if its first members are texts written without spaces.
    fn learn(&mut self, line: &[u8]) {
        self.shape.clear();
        let doc = Document { text: line, tokens: &self.tape.tokens };
        let mut at = 0;
        let mut n_missing = self.key.columns.len();
        if self.key.typing == Typing::Csv {
            return;
        }
        for (name, value) in doc.members(0) {
            if n_missing == 0 {
                break;
            }
            let token = doc.tokens[value as usize];
            if token.kind != JsonKind::Plain || doc.kind(name) != JsonKind::Plain {
                break;
            }
            let part = self.key.columns.iter().position(|column| column.as_bytes() == doc.raw(name));
            if part.is_some() && self.shape.iter().any(|member| member.part == part) {
                break;
            }
            n_missing -= usize::from(part.is_some());
            self.shape.push(KeyMember { start: line[at..token.start as usize].to_vec(), part });
            at = token.end as usize + 1;
        }
        if n_missing != 0 {
            self.shape.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none_ignored() -> IgnoredColumns {
        IgnoredColumns::new(crate::glob::Globs::default(), Vec::new())
    }

    fn key(columns: &[&str], line: &str) -> Vec<u8> {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        let (ignored, typing) = (none_ignored(), Typing::Json);
        let key = RowKey { columns, ignored, typing, numbers_are_text: false, condition: None };
        let mut tape = Tape::default();
        read_row(&mut tape, line.as_bytes()).unwrap();
        let mut out = Vec::new();
        key.push(&mut out, Document { text: line.as_bytes(), tokens: &tape.tokens });
        out
    }

    #[test]
    fn keys_sort_as_their_columns_do() {
        let lines = [
            r#"{"b":"x"}"#,
            r#"{"a":-2,"b":"x"}"#,
            r#"{"a":9,"b":"x"}"#,
            r#"{"a":10,"b":"x"}"#,
            r#"{"b":"x","a":""}"#,
            r#"{"a":"a","b":"x"}"#,
            r#"{"a":"a\u0000","b":"x"}"#,
            r#"{"a":"a\u0001","b":"a"}"#,
            r#"{"a":"ab","b":"a"}"#,
            r#"{"a":"ab","b":"b"}"#,
        ];
        let keys: Vec<_> = lines.iter().map(|line| key(&["a", "b"], line)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        assert_eq!(key(&["a"], r#"{"a":1.0}"#), key(&["a"], r#"{"a":1}"#));
        assert_ne!(key(&["a"], r#"{"a":"1"}"#), key(&["a"], r#"{"a":1}"#));
        assert_eq!(key(&["a"], r#"{"a":null}"#), key(&["a"], "{}"));
    }

    #[test]
    fn the_quick_way_finds_what_parsing_finds() {
        let columns = RowKey {
            columns: vec!["c".to_owned(), "a".to_owned()],
            ignored: none_ignored(),
            typing: Typing::Json,
            numbers_are_text: false,
            condition: None,
        };
        let mut finder = KeyFinder::new(&columns);
        for line in [
            r#"{"a":"1","b":"2","c":"3","d":4}"#,
            r#"{"a":"11","b":"","c":"33","d":4}"#,
            r#"{"a":"1","b":"\"","c":"3","d":4}"#,
            r#"{"a":"1","b":"2","c":"\u00e9"}"#,
            r#"{"c":"1","a":"2"}"#,
            r#"{"c":"7","a":"8","b":1}"#,
            r#"{ "c": "7", "a": "8"}"#,
            r#"{ "c": "77", "a": "88"}"#,
            r#"{"x":{"c":"7","a":"8"},"c":1}"#,
            r#"{"c":"7"}"#,
            "{}",
        ] {
            let mut quick = Vec::new();
            finder.push_quick(&mut quick, line.as_bytes()).unwrap();
            assert_eq!(quick, key(&["c", "a"], line), "{line}");
        }
        assert!(finder.push_quick(&mut Vec::new(), b"[1]").is_err());
        assert!(finder.push_quick(&mut Vec::new(), b"{\"a\":\"1\"").is_err());
    }

    #[test]
    fn a_profile_tells_merges_apart_and_no_other_links() {
        let columns = known("identity_links").unwrap().iter().map(|column| (*column).to_owned());
        let columns: Vec<String> = columns.collect();
        let condition = Condition::of("old/identity_links", &columns);
        let (ignored, typing) = (none_ignored(), Typing::Json);
        let key = RowKey { columns, ignored, typing, numbers_are_text: false, condition };
        let row = |segment_id: &str, link: &str| {
            format!(
                r#"{{"segment_id":"{segment_id}","link":"{link}","external_id_type":"t","external_id_value":"v"}}"#
            )
        };
        let mut finder = KeyFinder::new(&key);
        let mut key_of = |line: String| {
            let (mut quick, mut parsed) = (Vec::new(), Vec::new());
            finder.push_quick(&mut quick, line.as_bytes()).unwrap();
            let mut tape = Tape::default();
            read_row(&mut tape, line.as_bytes()).unwrap();
            key.push(&mut parsed, Document { text: line.as_bytes(), tokens: &tape.tokens });
            assert_eq!(quick, parsed, "{line}");
            parsed
        };
        for link in ["mapped", "created"] {
            assert_eq!(key_of(row("p1", link)), key_of(row("p2", link)));
        }
        assert_ne!(key_of(row("p1", "merged")), key_of(row("p2", "merged")));
    }
}
