//! Rows of the tables about identity, as far as an explanation needs them.

use crate::{
    explain::answer::{Event, Identifier, Step, Violation},
    json::{Document, Tape},
    time::timestamp::{Micros, parse_micros},
};

/// A row of any table: its columns that are texts or numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    columns: Vec<(String, String)>,
    pub(super) uuid_ts: Micros,
}

/// Stands for a missing `uuid_ts`: older than all others.
const UNKNOWN_CLOCK: Micros = Micros::MIN;

impl Row {
    /// Reads a line; `None` if it is no row.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let mut tape = Tape::default();
        tape.read(line).ok()?;
        let doc = Document { text: line, tokens: &tape.tokens };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let column = |(key, value): (u32, u32)| {
            Some((text(&doc.string(key)?).to_ascii_lowercase(), text(&doc.scalar_text(value)?)))
        };
        let columns = doc.members(0).filter_map(column).collect();
        let mut row = Self { columns, uuid_ts: UNKNOWN_CLOCK };
        row.uuid_ts =
            row.text("uuid_ts").and_then(|text| parse_micros(text.as_bytes())).unwrap_or(UNKNOWN_CLOCK);
        Some(row)
    }

    /// Returns the text of a column; of a repeated one the last.
    pub(super) fn text(&self, column: &str) -> Option<&str> {
        self.columns.iter().rev().find(|(name, _)| name == column).map(|(_, value)| value.as_str())
    }

    pub(super) fn owned(&self, column: &str) -> Option<String> {
        self.text(column).map(str::to_owned)
    }

    /// Returns an identifier in two columns.
    pub(super) fn identifier(&self, type_column: &str, value_column: &str) -> Option<Identifier> {
        Some(Identifier { type_name: self.owned(type_column)?, value: self.owned(value_column)? })
    }

    /// Returns what decides which of two rows is later.
    pub(super) fn order(&self) -> (u64, Micros) {
        (self.text("seq").and_then(|seq| seq.parse().ok()).unwrap_or_default(), self.uuid_ts)
    }

    /// Returns the event that triggered a row of the raw tables.
    pub(super) fn trigger(&self) -> Event {
        Event {
            id: self.owned("triggering_event_id"),
            call: self.owned("triggering_event_type"),
            name: self.owned("triggering_event_name"),
            timestamp: self.owned("timestamp"),
            source_id: self.owned("triggering_event_source_id"),
        }
    }

    /// Returns a row of `identity_links`; `None` without the columns that say what it joins.
    pub(super) fn link(&self) -> Option<Step> {
        Some(Step {
            event: self.trigger(),
            identifier: Some(self.identifier("external_id_type", "external_id_value")?),
            via: self.identifier("via_type", "via_value"),
            link: self.owned("link")?,
            segment_id: self.owned("segment_id")?,
            canonical_segment_id: self.owned("canonical_segment_id")?,
            uuid_ts: self.uuid_ts,
        })
    }

    /// Returns a row of `identity_violations`; `None` without the columns that say what it is about.
    pub(super) fn violation(&self) -> Option<Violation> {
        Some(Violation {
            message_id: self.owned("message_id"),
            timestamp: self.owned("timestamp"),
            identifier: self.identifier("type", "value")?,
            rule: self.owned("rule")?,
            limit_type: self.owned("limit_type"),
            limit: self.text("limit").and_then(|limit| limit.parse().ok()),
            window: self.owned("window"),
            blocked_by: self.owned("blocked_by"),
            segment_id: self.owned("segment_id"),
            event_segment_id: self.owned("event_segment_id"),
            uuid_ts: self.uuid_ts,
        })
    }
}

/// A row of `external_id_mapping_updates`.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    pub(super) identifier: Identifier,
    pub(super) segment_id: String,
    pub(super) is_removed: bool,
    pub(super) event: Event,
    pub(super) order: (u64, Micros),
    pub(super) uuid_ts: Micros,
}

impl Mapping {
    pub(super) fn of(row: &Row) -> Option<Self> {
        Some(Self {
            identifier: row.identifier("external_id_type", "external_id_value")?,
            segment_id: row.owned("segment_id")?,
            is_removed: row
                .text("__operation")
                .is_some_and(|operation| operation.eq_ignore_ascii_case("removed")),
            event: row.trigger(),
            order: row.order(),
            uuid_ts: row.uuid_ts,
        })
    }
}

/// A row of `id_graph_updates`.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) segment_id: String,
    pub(super) canonical_segment_id: String,
    pub(super) event: Event,
    pub(super) order: (u64, Micros),
    pub(super) uuid_ts: Micros,
}

impl Change {
    pub(super) fn of(row: &Row) -> Option<Self> {
        Some(Self {
            segment_id: row.owned("segment_id")?,
            canonical_segment_id: row.owned("canonical_segment_id")?,
            event: row.trigger(),
            order: row.order(),
            uuid_ts: row.uuid_ts,
        })
    }
}
