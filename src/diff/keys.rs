//! Which columns find a row again, and the key of a row as bytes that sort as the columns do.
//!
//! In: a table's name, a line. Out: one byte string a row. Keys of lines that are the same on both sides are wanted too
//! (they tell whether a table is in order and whether a key stands twice), and parsing those lines would cost more than
//! everything else: their first members are walked by the shape of the line before, and only a line of another shape is
//! parsed.

use crate::{
    catalog,
    json::{
        Document, Kind, Tape,
        values::{Decimal, Typing, is_null, push_canonical, push_canonical_text},
    },
};

use super::columns::{Ignored, canonical};

/// The key of a table that this project writes; `None` for any other.
#[must_use]
pub fn known(table: &str) -> Option<&'static [&'static str]> {
    // A table of a folder in a folder is called by its path.
    let name = table.rsplit('/').next().unwrap_or(table);
    catalog::find(name).map(|table| table.key).filter(|key| !key.is_empty())
}

/// What of a row is its key.
#[derive(Debug, Clone)]
pub struct Key {
    /// The columns, in the order of the key; none where the whole row is its own key.
    pub columns: Vec<String>,
    /// What of a whole row does not count.
    pub ignored: Ignored,
    /// Whether a number and a text that reads like it are two keys. If not, keys are only sorted together: which are the
    /// same, [`super::across_formats`] decides.
    pub typing: Typing,
    /// Whether a number is the text that it is written as.
    pub numbers_are_text: bool,
}

/// A line that is no row: not JSON, not an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRow {
    /// What is wrong with it.
    pub message: &'static str,
}

/// What is wrong with a line that is no JSON.
pub const NOT_JSON: &str = "is not JSON";

/// Checks that a line is a row and leaves its tokens on the tape.
pub fn read_row(tape: &mut Tape, line: &[u8]) -> Result<(), NoRow> {
    if std::str::from_utf8(line).is_err() {
        return Err(NoRow { message: "is not UTF-8" });
    }
    match tape.read(line) {
        Err(_) => Err(NoRow { message: NOT_JSON }),
        Ok(()) if tape.tokens[0].kind != Kind::Object => Err(NoRow { message: "is no JSON object" }),
        Ok(()) => Ok(()),
    }
}

impl Key {
    /// Appends the key of a row that was read.
    pub fn push(&self, out: &mut Vec<u8>, doc: Document<'_>) {
        if self.columns.is_empty() {
            out.extend_from_slice(&canonical(doc, self.typing, &self.ignored));
        }
        for column in &self.columns {
            match doc.get(0, column.as_bytes()).filter(|value| !is_null(doc, *value, self.typing)) {
                None => out.push(1),
                Some(value) if self.typing == Typing::Csv => {
                    out.push(6);
                    let start = out.len();
                    push_canonical_text(out, doc, value);
                    // These keys need not tell texts apart, and 0 ends a column.
                    out[start..].iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = 1);
                    out.push(0);
                }
                Some(value) => self.push_part(out, doc, value),
            }
        }
    }

    /// Appends one column. The tag keeps types apart, the 0 at the end keeps columns apart; a 0 in a text is followed by
    /// 255, which is no tag.
    pub fn push_part(&self, out: &mut Vec<u8>, doc: Document<'_>, value: u32) {
        match doc.kind(value) {
            Kind::Null => out.push(1),
            Kind::False => out.push(2),
            Kind::True => out.push(3),
            Kind::Integer | Kind::Number if self.numbers_are_text => push_plain(out, doc.raw(value)),
            Kind::Integer | Kind::Number => {
                out.push(4);
                Decimal::read(doc.raw(value)).push_sortable(out);
            }
            Kind::Plain => push_plain(out, doc.raw(value)),
            Kind::Escaped => push_text(out, &doc.string(value).unwrap_or_default()),
            Kind::Array | Kind::Object => {
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

/// A text without escapes, so without a 0.
fn push_plain(out: &mut Vec<u8>, text: &[u8]) {
    out.push(5);
    out.extend_from_slice(text);
    out.push(0);
}

/// Finds the keys of lines one after the other.
#[derive(Debug)]
pub struct KeyFinder<'a> {
    key: &'a Key,
    tape: Tape,
    /// The first members of the last line that was parsed, up to the last one of the key.
    shape: Vec<Member>,
    /// The text of each column of the key in the present line.
    parts: Vec<(usize, usize)>,
}

#[derive(Debug)]
struct Member {
    /// The name with its quotes, the colon and the opening quote of a text.
    start: Vec<u8>,
    /// Which column of the key it is.
    part: Option<usize>,
}

impl<'a> KeyFinder<'a> {
    /// A finder that has seen no line yet.
    #[must_use]
    pub fn new(key: &'a Key) -> Self {
        Self { key, tape: Tape::default(), shape: Vec::new(), parts: vec![(0, 0); key.columns.len()] }
    }

    /// Appends the key of a line that is the same on both sides: where it has the shape of the line before, what stands
    /// behind the key is not looked at.
    pub fn push_quick(&mut self, out: &mut Vec<u8>, line: &[u8]) -> Result<(), NoRow> {
        if !self.shape.is_empty() && self.walk(line).is_some() {
            for (start, end) in &self.parts {
                push_plain(out, &line[*start..*end]);
            }
            return Ok(());
        }
        read_row(&mut self.tape, line)?;
        let doc = Document { text: line, tokens: &self.tape.tokens };
        self.key.push(out, doc);
        self.learn(line);
        Ok(())
    }

    /// Where each column of the key stands, by the shape of the line before.
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

    /// Notes the shape of the line that was just parsed, where its first members are texts written without spaces.
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
            if token.kind != Kind::Plain || doc.kind(name) != Kind::Plain {
                break;
            }
            let part = self.key.columns.iter().position(|column| column.as_bytes() == doc.raw(name));
            if part.is_some() && self.shape.iter().any(|member| member.part == part) {
                break;
            }
            n_missing -= usize::from(part.is_some());
            self.shape.push(Member { start: line[at..token.start as usize].to_vec(), part });
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

    fn none_ignored() -> Ignored {
        Ignored::new(crate::glob::Globs::default(), Vec::new())
    }

    fn key(columns: &[&str], line: &str) -> Vec<u8> {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        let key = Key { columns, ignored: none_ignored(), typing: Typing::Json, numbers_are_text: false };
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
        let columns = Key {
            columns: vec!["c".to_owned(), "a".to_owned()],
            ignored: none_ignored(),
            typing: Typing::Json,
            numbers_are_text: false,
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
}
