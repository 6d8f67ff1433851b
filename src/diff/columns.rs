//! Finds the columns in which two rows differ, except ignored ones.

use std::borrow::Cow;

use crate::{
    collections::{Map, Set},
    glob::Globs,
    json::{
        Document,
        values::{Typing, is_null, push_canonical, push_canonical_text, same},
    },
};

/// Up to this many columns, a linear search is faster than a map.
const FEW_COLUMNS: usize = 48;

/// The ignored columns of a table. Caches its answers.
#[derive(Debug, Clone)]
pub struct IgnoredColumns {
    globs: Globs,
    always: Vec<String>,
    known: Map<Box<[u8]>, bool>,
}

impl IgnoredColumns {
    /// Creates a set of columns that match a glob or have one of these names.
    #[must_use]
    pub fn new(globs: Globs, always: Vec<String>) -> Self {
        Self { globs, always, known: Map::default() }
    }

    /// Returns whether a column is ignored.
    #[must_use]
    pub fn matches(&self, column: &[u8]) -> bool {
        let name = String::from_utf8_lossy(column);
        self.always.iter().any(|always| *always == name) || self.globs.is_match(&name)
    }

    fn contains(&mut self, column: &[u8]) -> bool {
        if self.globs.is_empty() && self.always.is_empty() {
            return false;
        }
        if let Some(known) = self.known.get(column) {
            return *known;
        }
        let ignored = self.matches(column);
        self.known.insert(column.into(), ignored);
        ignored
    }
}

/// A column in which two rows differ. Its values are token indexes; null and absent are `None`.
#[derive(Debug, Clone)]
pub struct ChangedColumn<'a> {
    /// The name of the column.
    pub name: Cow<'a, [u8]>,
    /// The value in the old row.
    pub old: Option<u32>,
    /// The value in the new row.
    pub new: Option<u32>,
}

/// Compares two rows column by column. Returns the columns that differ, sorted by name.
pub fn compare<'a>(
    old: Document<'a>,
    new: Document<'a>,
    typing: Typing,
    ignored: &mut IgnoredColumns,
) -> Vec<ChangedColumn<'a>> {
    let mut changed: Vec<ChangedColumn<'a>> = Vec::new();
    let (mut old_members, mut new_members) = (old.members(0), new.members(0));
    // Rows of a table usually have the same columns in the same order.
    let (rest_old, rest_new) = loop {
        match (old_members.next(), new_members.next()) {
            (None, None) => break (Vec::new(), Vec::new()),
            (Some((name, a)), Some((name_new, b))) if old.raw(name) == new.raw(name_new) => {
                if !same(old, a, new, b, typing) {
                    changed.push(ChangedColumn {
                        name: old.string(name).unwrap_or_default(),
                        old: Some(a),
                        new: Some(b),
                    });
                }
            }
            (a, b) => {
                break (
                    a.into_iter().chain(old_members).collect(),
                    b.into_iter().chain(new_members).collect(),
                );
            }
        }
    };
    // For few columns, a linear search is faster than a map.
    let few = rest_old.len().max(rest_new.len()) <= FEW_COLUMNS;
    let maps = (!few).then(|| (by_name(old, typing), by_name(new, typing)));
    for (name, a) in rest_old {
        let name = old.string(name).unwrap_or_default();
        let a = Some(a).filter(|a| !is_null(old, *a, typing));
        let b = match &maps {
            Some((_, of_new)) => of_new.get(&name).copied(),
            None => present(new, &name, typing),
        };
        if differs(old, a, new, b, typing) {
            changed.push(ChangedColumn { name, old: a, new: b });
        }
    }
    for (name, b) in rest_new {
        let name = new.string(name).unwrap_or_default();
        let a = match &maps {
            Some((of_old, _)) => of_old.get(&name).copied(),
            None => present(old, &name, typing),
        };
        let b = Some(b).filter(|b| !is_null(new, *b, typing));
        if differs(old, a, new, b, typing) {
            changed.push(ChangedColumn { name, old: a, new: b });
        }
    }
    changed.retain_mut(|column| {
        // The last value of a repeated key counts. Repeated keys are so rare that only differing rows are checked for
        // them.
        column.old = present(old, &column.name, typing);
        column.new = present(new, &column.name, typing);
        differs(old, column.old, new, column.new, typing)
    });
    changed.retain(|column| !ignored.contains(&column.name));
    changed.sort_by(|a, b| a.name.cmp(&b.name));
    changed.dedup_by(|a, b| a.name == b.name);
    changed
}

fn differs(old: Document<'_>, a: Option<u32>, new: Document<'_>, b: Option<u32>, typing: Typing) -> bool {
    match (a, b) {
        (None, None) => false,
        (Some(a), Some(b)) => !same(old, a, new, b, typing),
        _ => true,
    }
}

/// Returns the columns that are not null.
fn by_name(doc: Document<'_>, typing: Typing) -> Map<Cow<'_, [u8]>, u32> {
    let mut by_name: Map<Cow<'_, [u8]>, u32> =
        doc.members(0).map(|(name, value)| (doc.string(name).unwrap_or_default(), value)).collect();
    by_name.retain(|_, value| !is_null(doc, *value, typing));
    by_name
}

/// Returns the value of a column; `None` if it is null or absent.
fn present(doc: Document<'_>, name: &[u8], typing: Typing) -> Option<u32> {
    doc.get(0, name).filter(|value| !is_null(doc, *value, typing))
}

/// Returns whether two rows have the same value in a column.
#[must_use]
pub fn same_column(old: Document<'_>, new: Document<'_>, name: &[u8], typing: Typing) -> bool {
    !differs(old, present(old, name, typing), new, present(new, name, typing), typing)
}

/// Returns a text that equal rows share, whatever the order of their columns. If values are typed, only equal rows
/// share it.
#[must_use]
pub fn canonical(doc: Document<'_>, typing: Typing, ignored: &IgnoredColumns) -> Vec<u8> {
    spelled(doc, typing, ignored, typing)
}

/// Returns a text that is the same for equal rows of one side, and for no others.
#[must_use]
pub fn exact(doc: Document<'_>, typing: Typing, ignored: &IgnoredColumns) -> Vec<u8> {
    spelled(doc, typing, ignored, Typing::Json)
}

/// Returns the columns that are not null under one typing, written under another.
fn spelled(doc: Document<'_>, nulls: Typing, ignored: &IgnoredColumns, values: Typing) -> Vec<u8> {
    let mut columns: Vec<(Cow<'_, [u8]>, u32)> =
        by_name(doc, nulls).into_iter().filter(|(name, _)| !ignored.matches(name)).collect();
    columns.sort_unstable();
    let mut out = Vec::new();
    for (name, value) in columns {
        out.extend_from_slice(&(name.len() as u64).to_be_bytes());
        out.extend_from_slice(&name);
        match values {
            Typing::Json => push_canonical(&mut out, doc, value),
            Typing::Csv | Typing::Text => push_canonical_text(&mut out, doc, value),
        }
        out.push(0);
    }
    out
}

/// Adds the names of the columns that are not null.
pub fn note_columns(
    doc: Document<'_>,
    typing: Typing,
    ignored: &mut IgnoredColumns,
    into: &mut Set<Box<[u8]>>,
) {
    for (name, value) in doc.members(0) {
        let name = doc.string(name).unwrap_or_default();
        if !is_null(doc, value, typing) && !into.contains(&*name) && !ignored.contains(&name) {
            into.insert((*name).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Tape;

    fn check(old: &str, new: &str, expected: &[&str]) {
        let (mut tape_old, mut tape_new) = (Tape::default(), Tape::default());
        tape_old.read(old.as_bytes()).unwrap();
        tape_new.read(new.as_bytes()).unwrap();
        let old = Document { text: old.as_bytes(), tokens: &tape_old.tokens };
        let new = Document { text: new.as_bytes(), tokens: &tape_new.tokens };
        let mut ignored = IgnoredColumns::new(Globs::new(vec!["skip_*".to_owned()]), Vec::new());
        for (old, new) in [(old, new), (new, old)] {
            let names: Vec<String> = compare(old, new, Typing::Json, &mut ignored)
                .into_iter()
                .map(|column| String::from_utf8(column.name.into_owned()).unwrap())
                .collect();
            assert_eq!(names, expected);
        }
        let same = canonical(old, Typing::Json, &ignored) == canonical(new, Typing::Json, &ignored);
        assert_eq!(same, expected.is_empty());
    }

    #[test]
    fn columns_are_compared_by_name() {
        check(r#"{"a":1,"b":2}"#, r#"{"b":2.0,"a":1}"#, &[]);
        check(r#"{"a":1,"b":2}"#, r#"{"a":1,"b":3}"#, &["b"]);
        check(r#"{"a":1,"b":null}"#, r#"{"a":1}"#, &[]);
        check(r#"{"a":1,"b":null,"c":1}"#, r#"{"a":1,"c":2}"#, &["c"]);
        check(r#"{"x":1,"a":1}"#, r#"{"a":1,"y":1}"#, &["x", "y"]);
        check(r#"{"a":1,"skip_it":1}"#, r#"{"a":1,"skip_it":2}"#, &[]);
        check(r#"{"a":3,"a":1}"#, r#"{"a":1}"#, &[]);
        check(r#"{"a":3,"a":1}"#, r#"{"a":2,"a":1}"#, &[]);
        check(r#"{"a":1,"b":1,"a":2}"#, r#"{"a":1,"b":1}"#, &["a"]);
        check(r#"{"\u0061":1}"#, r#"{"a":1}"#, &[]);
    }
}
