//! What must hold for `identity_links`: a row for each identifier mapped and for each direct merge, and no two rows lead from
//! one identifier to another, so that the rows of a profile are a tree over its identifiers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::text;

/// Type and value.
type Identifier = (String, String);

/// Which identifiers the rows so far connect.
#[derive(Default)]
pub(super) struct Links {
    parents: BTreeMap<Identifier, Identifier>,
    /// Identifiers whose own row is there.
    with_row: BTreeSet<Identifier>,
}

/// What the other tables say that an event did.
pub(super) struct Expected<'a> {
    /// The rows of the identifiers that it mapped.
    pub(super) mapping: &'a [&'a Value],
    /// The profiles that it merged away.
    pub(super) merged: &'a BTreeSet<String>,
    /// Whether it created a profile.
    pub(super) is_created: bool,
    /// What each segment id is after it.
    pub(super) canonical: &'a BTreeMap<String, String>,
}

impl Links {
    /// Adds the rows of one event. They are to be complete if it is known what is expected.
    pub(super) fn add(&mut self, rows: &[&Value], expected: Option<&Expected<'_>>) {
        for row in rows {
            let identifier =
                (text(row, "external_id_type").to_owned(), text(row, "external_id_value").to_owned());
            let via =
                row["via_value"].as_str().map(|value| (text(row, "via_type").to_owned(), value.to_owned()));
            assert!(["merged", "created", "mapped"].contains(&text(row, "link")), "{row}");
            if text(row, "link") != "merged" {
                assert!(self.with_row.insert(identifier.clone()), "a second row of an identifier: {row}");
            }
            let Some(via) = via else {
                assert_eq!(
                    text(row, "link"),
                    "created",
                    "only the first identifier of a profile has no other: {row}"
                );
                continue;
            };
            let (root, root_of_via) = (self.root(&identifier), self.root(&via));
            assert_ne!(root, root_of_via, "a way round: {row}");
            self.parents.insert(root, root_of_via);
        }
        if let Some(expected) = expected {
            expected.check(rows);
        }
    }

    /// Whether these identifiers are one tree, as far as each of them has a row.
    pub(super) fn check_profile<'a>(
        &self,
        profile: &str,
        identifiers: impl Iterator<Item = &'a Identifier> + Clone,
    ) {
        if identifiers.clone().all(|identifier| self.with_row.contains(identifier)) {
            let roots: BTreeSet<_> = identifiers.map(|identifier| self.root(identifier)).collect();
            assert!(roots.len() <= 1, "{profile} falls apart: {roots:?}");
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
        assert_eq!(&merged.into_iter().collect::<BTreeSet<_>>(), self.merged, "a row for each direct merge");
        let columns =
            ["external_id_type", "external_id_value", "segment_id", "seq", "uuid_ts", "triggering_event_id"];
        let of = |row: &&Value| columns.map(|column| row[column].clone());
        let mapped: Vec<_> = self.mapping.iter().map(of).collect();
        assert_eq!(others.iter().map(of).collect::<Vec<_>>(), mapped, "a row for each identifier mapped");
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
