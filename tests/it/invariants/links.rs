//! Invariants of `identity_links`: every mapped identifier and every direct merge has a row, and the rows of a profile
//! are a tree over its identifiers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::text;

/// The type and the value of an identifier.
type Identifier = (String, String);

/// The forest of identifiers that the rows so far connect.
#[derive(Default)]
pub(super) struct Links {
    parents: BTreeMap<Identifier, Identifier>,
    /// The identifiers that have a `created` or `mapped` row.
    with_row: BTreeSet<Identifier>,
}

/// The changes that an event made, according to the other tables.
pub(super) struct Expected<'a> {
    /// The mapping rows that it wrote.
    pub(super) mapping: &'a [&'a Value],
    /// The profiles that it merged away.
    pub(super) merged: &'a BTreeSet<String>,
    /// Whether the event created a profile.
    pub(super) is_created: bool,
    /// The canonical profile of each segment id after the event.
    pub(super) canonical: &'a BTreeMap<String, String>,
}

impl Links {
    /// Adds the rows of one event, and panics if they close a cycle or do not match the expected changes, if given.
    pub(super) fn add(&mut self, rows: &[&Value], expected: Option<&Expected<'_>>) {
        for row in rows {
            let identifier =
                (text(row, "external_id_type").to_owned(), text(row, "external_id_value").to_owned());
            let via =
                row["via_value"].as_str().map(|value| (text(row, "via_type").to_owned(), value.to_owned()));
            assert!(["merged", "created", "mapped"].contains(&text(row, "link")), "{row}");
            if text(row, "link") != "merged" {
                assert!(self.with_row.insert(identifier.clone()), "a second row for an identifier: {row}");
            }
            let Some(via) = via else {
                assert_eq!(
                    text(row, "link"),
                    "created",
                    "only the first identifier of a new profile has no `via`: {row}"
                );
                continue;
            };
            let (root, root_of_via) = (self.root(&identifier), self.root(&via));
            assert_ne!(root, root_of_via, "a cycle of links: {row}");
            self.parents.insert(root, root_of_via);
        }
        if let Some(expected) = expected {
            expected.check(rows);
        }
    }

    /// Panics if the identifiers of a profile all have rows but are not connected.
    pub(super) fn check_profile<'a>(
        &self,
        profile: &str,
        identifiers: impl Iterator<Item = &'a Identifier> + Clone,
    ) {
        if identifiers.clone().all(|identifier| self.with_row.contains(identifier)) {
            let roots: BTreeSet<_> = identifiers.map(|identifier| self.root(identifier)).collect();
            assert!(roots.len() <= 1, "{profile} is not connected: {roots:?}");
        }
    }

    fn root(&self, identifier: &Identifier) -> Identifier {
        let mut root = identifier;
        while let Some(parent) = self.parents.get(root) {
            root = parent;
        }
        root.clone()
    }
}

impl Expected<'_> {
    fn check(&self, rows: &[&Value]) {
        let (of_merges, others): (Vec<&Value>, Vec<&Value>) =
            rows.iter().partition(|row| text(row, "link") == "merged");
        let merged: Vec<String> = of_merges.iter().map(|row| text(row, "segment_id").to_owned()).collect();
        assert_eq!(merged.len(), self.merged.len(), "{rows:?}");
        assert_eq!(
            &merged.into_iter().collect::<BTreeSet<_>>(),
            self.merged,
            "every direct merge must have a row"
        );
        let columns =
            ["external_id_type", "external_id_value", "segment_id", "seq", "uuid_ts", "triggering_event_id"];
        let of = |row: &&Value| columns.map(|column| row[column].clone());
        let mapped: Vec<_> = self.mapping.iter().map(of).collect();
        assert_eq!(
            others.iter().map(of).collect::<Vec<_>>(),
            mapped,
            "every mapped identifier must have a row"
        );
        for row in rows {
            assert_eq!(
                self.canonical.get(text(row, "segment_id")).map(String::as_str),
                row["canonical_segment_id"].as_str()
            );
        }
        let word = if self.is_created { "created" } else { "mapped" };
        assert!(others.iter().all(|row| text(row, "link") == word), "{rows:?}");
    }
}
