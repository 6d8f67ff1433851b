//! The rows of events, found by their clock, and the identifiers that they carried.

use std::{collections::BTreeMap, path::Path};

use super::{
    answer::{Event, Identifier},
    lookup::by_clock,
    rows::Row,
};
use crate::{
    config::rules::Rules,
    error::Result,
    event::Call,
    files::Files,
    identity::extract::normalize,
    names::snake_case,
    space::manifest::{Manifest, RunKind},
    table::by_clock::ByClock,
    time::timestamp::Micros,
};

/// The event tables of a space.
pub(super) struct Events<'a> {
    space: &'a Path,
    manifest: &'a Manifest,
    files: &'a Files,
    rules: &'a Rules,
    /// Opened when they are needed; `None` for tables without rows.
    tables: BTreeMap<String, Option<ByClock>>,
    /// Events that were looked up, by clock.
    known: BTreeMap<Micros, Option<EventRow>>,
}

/// The rows of one event: that of its call, and of its own table if it has one.
#[derive(Debug, Clone)]
pub(super) struct EventRow {
    pub(super) event: Event,
    rows: Vec<Row>,
}

/// The columns that hold identifiers, by type.
const COLUMNS: [(&str, &[&str]); 12] = [
    ("user_id", &["user_id"]),
    ("anonymous_id", &["anonymous_id"]),
    ("email", &["email", "context_traits_email"]),
    ("android.id", &["context_device_id"]),
    ("ios.id", &["context_device_id"]),
    ("android.idfa", &["context_device_advertising_id"]),
    ("ios.idfa", &["context_device_advertising_id"]),
    ("android.push_token", &["context_device_token"]),
    ("ios.push_token", &["context_device_token"]),
    ("ga_client_id", &["context_integrations_google_analytics_client_id"]),
    ("cross_domain_id", &["context_traits_cross_domain_id"]),
    ("braze_id", &["context_braze_braze_id"]),
];

impl<'a> Events<'a> {
    /// Looks nothing up yet.
    pub(super) fn new(space: &'a Path, manifest: &'a Manifest, files: &'a Files, rules: &'a Rules) -> Self {
        Self { space, manifest, files, rules, tables: BTreeMap::new(), known: BTreeMap::new() }
    }

    /// Returns whether events can be looked up: adopted tables need not be in the order of their clocks.
    pub(super) fn can_be_found(&self) -> bool {
        self.manifest.runs.iter().all(|run| run.job != RunKind::BackfillRaw)
    }

    /// Looks an event up by its clock and its `messageId`, for [`Self::found`].
    pub(super) fn find(&mut self, uuid_ts: Micros, message_id: Option<&str>) -> Result<()> {
        if !self.known.contains_key(&uuid_ts) {
            let row = if self.can_be_found() { self.read(uuid_ts, message_id)? } else { None };
            self.known.insert(uuid_ts, row);
        }
        Ok(())
    }

    /// Returns an event that was looked up; `None` if no table has it.
    pub(super) fn found(&self, uuid_ts: Micros) -> Option<&EventRow> {
        self.known.get(&uuid_ts).and_then(Option::as_ref)
    }

    fn read(&mut self, uuid_ts: Micros, message_id: Option<&str>) -> Result<Option<EventRow>> {
        for call in Call::ALL {
            let Some(row) = self.row(call.table(), uuid_ts, message_id)? else { continue };
            let name = if call == Call::Track { "event_text" } else { "name" };
            let event = Event {
                id: message_id.map(str::to_owned),
                call: Some(call.name().to_owned()),
                name: row.owned(name).filter(|_| matches!(call, Call::Track | Call::Page | Call::Screen)),
                timestamp: row.owned("timestamp"),
                source_id: row.owned("event_source_id"),
            };
            let own = row.owned("event").filter(|_| call == Call::Track);
            let mut rows = vec![row];
            if let Some(own) = own {
                rows.extend(self.row(&own, uuid_ts, message_id)?);
            }
            return Ok(Some(EventRow { event, rows }));
        }
        Ok(None)
    }

    fn row(&mut self, table: &str, uuid_ts: Micros, message_id: Option<&str>) -> Result<Option<Row>> {
        if !self.tables.contains_key(table) {
            let opened = by_clock(self.space, self.manifest, table, self.files)?;
            self.tables.insert(table.to_owned(), opened);
        }
        let Some(Some(table)) = self.tables.get_mut(table) else { return Ok(None) };
        let rows = table.rows_at(uuid_ts)?;
        let is_it = |row: &Row| {
            let id = row.text("id").or_else(|| row.text("event_id"));
            id.is_none() || message_id.is_none() || id == message_id
        };
        Ok(rows.iter().filter_map(|line| Row::read(line)).find(is_it))
    }

    /// Returns whether an event carried an identifier, as far as its columns show it.
    pub(super) fn carries(&self, event: &EventRow, identifier: &Identifier) -> bool {
        self.values(event, &identifier.type_name).contains(&identifier.value)
    }

    /// Returns the values of a type that an event carried, as far as its columns show them.
    pub(super) fn values(&self, event: &EventRow, type_name: &str) -> Vec<String> {
        let known = COLUMNS.iter().find(|(name, _)| *name == type_name);
        let own = String::from_utf8_lossy(&snake_case(type_name.as_bytes())).into_owned();
        let columns: Vec<String> = match known {
            Some((_, columns)) => columns.iter().map(|column| (*column).to_owned()).collect(),
            None => vec![format!("context_traits_{own}"), own],
        };
        let how = self.rules.of_type(type_name).normalize;
        let mut values = Vec::new();
        for row in &event.rows {
            let of_columns = columns.iter().filter_map(|column| row.owned(column));
            for value in of_columns.chain(external_ids(row, type_name)) {
                let value = normalize(value.as_bytes().into(), how);
                let value = String::from_utf8_lossy(&value).into_owned();
                if !values.contains(&value) {
                    values.push(value);
                }
            }
        }
        values
    }

    /// Returns all identifiers of the known types and of the config's that an event carried.
    pub(super) fn identifiers(&self, event: &EventRow) -> Vec<Identifier> {
        let known = COLUMNS.iter().map(|(name, _)| *name);
        let device = event.rows.first().and_then(|row| row.owned("context_device_type")).unwrap_or_default();
        let is_of_device = |name: &&str| match name.split_once('.') {
            Some((system, _)) if ["android", "ios"].contains(&system) => device.eq_ignore_ascii_case(system),
            _ => true,
        };
        let others =
            self.rules.types.keys().map(String::as_str).filter(|name| !known.clone().any(|one| one == *name));
        let types = known.clone().filter(is_of_device).chain(others);
        let of_type = |type_name: &str| {
            let identifier = |value| Identifier { type_name: type_name.to_owned(), value };
            self.values(event, type_name).into_iter().map(identifier).collect::<Vec<_>>()
        };
        types.flat_map(of_type).collect()
    }
}

/// Returns the values of a type in `context.externalIds`, whose column holds JSON.
fn external_ids(row: &Row, type_name: &str) -> Vec<String> {
    let Some(text) = row.text("context_external_ids") else { return Vec::new() };
    let Ok(serde_json::Value::Array(entries)) = serde_json::from_str(text) else { return Vec::new() };
    let of_type = entries.iter().filter(|entry| {
        let is_type = |name: &str| name.eq_ignore_ascii_case(type_name);
        let is_of_users = |collection: &str| collection.is_empty() || collection == "users";
        entry["type"].as_str().is_some_and(is_type) && entry["collection"].as_str().is_none_or(is_of_users)
    });
    let value = |entry: &serde_json::Value| match &entry["id"] {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    of_type.filter_map(value).collect()
}
