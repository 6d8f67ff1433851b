//! The rows of `identity_violations` about profiles and identifiers: one pass that looks at few rows.

use std::collections::BTreeSet;

use regex::bytes::Regex;

use super::{
    answer::{Identifier, Violation},
    rows::Row,
    whole::Tables,
};
use crate::{
    error::Result,
    json::push_string,
    raw::identity_violations,
    table::blocks::{BLOCK_BYTES, map_unchecked_blocks},
};

/// About whom violations are wanted.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    /// Segment ids of the profiles.
    pub(super) segment_ids: BTreeSet<&'a str>,
    /// Identifiers, whoever they belong to.
    pub(super) identifiers: Vec<&'a Identifier>,
}

impl Wanted<'_> {
    /// Matches the texts that a row has which is wanted.
    fn pattern(&self) -> Option<Regex> {
        let values = self.identifiers.iter().map(|identifier| identifier.value.as_str());
        let texts: Vec<String> = (self.segment_ids.iter().copied().chain(values))
            .map(|text| {
                let mut json = Vec::new();
                push_string(&mut json, text.as_bytes());
                regex::escape(&String::from_utf8_lossy(&json))
            })
            .collect();
        // Too many texts for a pattern: then every row is looked at.
        let every_row = |_| Regex::new("(?m)^.");
        if texts.is_empty() { None } else { Regex::new(&texts.join("|")).or_else(every_row).ok() }
    }

    fn has(&self, violation: &Violation) -> bool {
        let is_of = |id: &Option<String>| id.as_deref().is_some_and(|id| self.segment_ids.contains(id));
        is_of(&violation.segment_id)
            || is_of(&violation.event_segment_id)
            || self.identifiers.iter().any(|identifier| **identifier == violation.identifier)
    }
}

/// Reads the violations that are wanted, oldest first.
pub(super) fn read(tables: &Tables<'_>, wanted: &Wanted<'_>) -> Result<Vec<Violation>> {
    let source = tables.open(identity_violations::TABLE)?;
    let (Some(source), Some(pattern)) = (source, wanted.pattern()) else { return Ok(Vec::new()) };
    tables.meter.start("reading violations", Some(source.length()));
    let found = map_unchecked_blocks(&[source], BLOCK_BYTES, tables.meter, |block| {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(hit) = pattern.find_at(block.text, at) {
            let start = memchr::memrchr(b'\n', &block.text[..hit.start()]).map_or(0, |end| end + 1);
            let end = memchr::memchr(b'\n', &block.text[hit.end()..])
                .map_or(block.text.len(), |end| hit.end() + end);
            found.extend(Row::read(&block.text[start..end]).as_ref().and_then(Row::violation));
            at = end;
        }
        found
    })?;
    let was_there = |violation: &Violation| tables.as_of.is_none_or(|as_of| violation.uuid_ts <= as_of);
    Ok(found
        .into_iter()
        .flatten()
        .filter(|violation| was_there(violation) && wanted.has(violation))
        .collect())
}
