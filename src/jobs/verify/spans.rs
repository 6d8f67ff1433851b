//! Records which bytes of a table were written under which rules.

use std::{collections::BTreeMap, path::Path};

use crate::{
    config::{self, rules::Normalize},
    raw::identity_violations,
    space::manifest::{Manifest, RunKind, RunRecord},
};

/// The identifier types that have their own column in event tables.
pub(super) const TYPES: [&str; 2] = ["user_id", "anonymous_id"];

/// The columns of `identity_violations` that identify the event and the identifier.
pub(super) const VIOLATION_COLUMNS: [&str; 3] = ["message_id", "type", "value"];

/// The rules of a run for identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunRules {
    /// How to normalize each of [`TYPES`].
    pub(super) normalize: [Normalize; 2],
}

impl RunRules {
    /// Parses the rules. Returns `None` if they exclude violations or the needed columns of them.
    fn of(text: &str) -> Option<Self> {
        let rules = config::parse(text, Path::new("the config in the manifest")).ok()?;
        let table = identity_violations::TABLE;
        let has_violations = rules.tables.has(table)
            && VIOLATION_COLUMNS.iter().all(|column| rules.columns.has(&format!("{table}.{column}")));
        has_violations.then(|| Self { normalize: TYPES.map(|name| rules.of_type(name).normalize) })
    }
}

/// The byte ranges of a table by rules. Each entry has the end of a range, and its rules if they are known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(Vec<(u64, Option<RunRules>)>);

impl Spans {
    /// Returns the spans of all tables.
    pub(super) fn of(manifest: &Manifest) -> BTreeMap<&str, Self> {
        let mut spans: BTreeMap<&str, Self> = BTreeMap::new();
        let mut known = BTreeMap::new();
        let mut runs: Vec<&RunRecord> = Vec::new();
        for run in &manifest.runs {
            runs.push(run);
            if let Some(after) = &run.after {
                let rules = rules_of(&runs, manifest, &mut known);
                for (name, state) in &after.tables {
                    spans.entry(name).or_default().add(state.bytes, rules);
                }
                runs.clear();
            }
        }
        // Earlier versions of the program did not record the state after each run.
        let rules = rules_of(&runs, manifest, &mut known);
        for (name, state) in &manifest.tables {
            spans.entry(name).or_default().add(state.bytes, rules);
        }
        spans
    }

    fn add(&mut self, end: u64, rules: Option<RunRules>) {
        if self.0.last().map_or(0, |last| last.0) < end {
            self.0.push((end, rules));
        }
    }

    /// Returns the rules under which the row at an offset was written.
    pub(super) fn rules_at(&self, offset: u64) -> Option<RunRules> {
        let number = self.0.partition_point(|span| span.0 <= offset);
        self.0.get(number)?.1
    }

    /// Returns whether the rules of any row are known.
    pub(super) fn any(&self) -> bool {
        self.0.iter().any(|span| span.1.is_some())
    }
}

/// Returns the rules of runs if they are known and all the same. Adopted rows were written under unknown rules.
fn rules_of<'a>(
    runs: &[&'a RunRecord],
    manifest: &Manifest,
    known: &mut BTreeMap<&'a str, Option<RunRules>>,
) -> Option<RunRules> {
    let mut digests = runs.iter().filter(|run| run.job == RunKind::Ingest).map(|run| run.config.as_str());
    let digest = digests.next()?;
    if digests.any(|other| other != digest) || runs.iter().any(|run| run.job == RunKind::BackfillRaw) {
        return None;
    }
    *known.entry(digest).or_insert_with(|| RunRules::of(manifest.rules_text(digest)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::rules::Rules,
        space::{after::SpaceRecord, manifest::ConfigUsed, table_state::CommittedTable},
    };

    fn rules(normalize: &str) -> ConfigUsed {
        let text = format!("[identity.types.user_id]\nnormalize = \"{normalize}\"\n");
        ConfigUsed::of(&config::parse(&text, Path::new("test")).unwrap())
    }

    fn run(job: RunKind, config: &ConfigUsed, bytes: Option<u64>) -> RunRecord {
        let table = |bytes| CommittedTable { bytes, ..CommittedTable::default() };
        let after = bytes.map(|bytes| SpaceRecord {
            tables: BTreeMap::from([("pages".to_owned(), table(bytes))]),
            ..SpaceRecord::default()
        });
        RunRecord { job, config: config.digest.clone(), after, ..RunRecord::default() }
    }

    #[test]
    fn runs_that_are_not_recorded_one_by_one_share_their_rules_or_have_none() {
        let (old, new) = (rules("lowercase"), rules("trim"));
        let mut manifest = Manifest { config: Some(new.clone()), ..Manifest::default() };
        manifest.rules.insert(old.digest.clone(), old.text.clone());
        manifest.runs = vec![
            run(RunKind::BackfillRaw, &ConfigUsed::of(&Rules::default()), Some(10)),
            run(RunKind::Ingest, &old, None),
            run(RunKind::Ingest, &old, Some(20)),
            run(RunKind::Ingest, &old, None),
            run(RunKind::Ingest, &new, Some(30)),
            run(RunKind::BackfillEvents, &old, None),
            run(RunKind::Ingest, &new, Some(40)),
        ];
        let bytes = |bytes| CommittedTable { bytes, ..CommittedTable::default() };
        manifest.tables.insert("pages".to_owned(), bytes(50));
        let (old, new) = (RunRules::of(&old.text), RunRules::of(&new.text));
        assert!(old.is_some() && new.is_some() && old != new);
        let spans = Spans::of(&manifest);
        assert_eq!(spans["pages"], Spans(vec![(10, None), (20, old), (30, None), (40, new), (50, None)]));
        for (offset, expected) in
            [(0, None), (9, None), (10, old), (19, old), (20, None), (39, new), (60, None)]
        {
            assert_eq!(spans["pages"].rules_at(offset), expected, "{offset}");
        }
    }
}
