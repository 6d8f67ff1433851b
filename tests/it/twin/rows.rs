//! The rows of the raw tables and of the event tables.

use std::collections::BTreeSet;

use sha1::{Digest, Sha1};

use super::event::{Event, hex};
use super::identifiers::Identifier;
use super::json::Json;
use super::names;
use super::resolver::Link;
use super::rules::Rules;
use super::time;
use super::traits::{self, Traits};

/// The name of a table, and a row for it.
pub(crate) type Row = (String, Json);

/// The clocks of the rows of one event, as written.
#[derive(Clone, Debug)]
pub(crate) struct Clocks {
    pub(crate) received_at: Json,
    pub(crate) timestamp: Json,
    pub(crate) seq: String,
    pub(crate) uuid_ts: Json,
}

impl Clocks {
    /// Formats the clocks; `uuid_ts` is in microseconds since 1970.
    pub(crate) fn new(event: &Event, seq: i128, uuid_ts: i128) -> Self {
        Self {
            received_at: millis(Some(event.received_at)),
            timestamp: millis(Some(event.timestamp)),
            seq: format!("{seq:019}"),
            uuid_ts: Json::text_or_null(time::write_micros(uuid_ts).as_deref()),
        }
    }

    fn seq(&self) -> Json {
        Json::String(self.seq.clone())
    }
}

fn millis(time: Option<i128>) -> Json {
    Json::text_or_null(time.and_then(time::write_millis).as_deref())
}

fn object(members: Vec<(&str, Json)>) -> Vec<(String, Json)> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn row_id(table: &str, event: &Event, key: &str) -> Json {
    let named_by = format!("{table}\0{}\0{key}", event.message_id);
    Json::String(hex(&Sha1::digest(named_by)[..16]))
}

/// The six `triggering_event_` columns.
struct Trigger {
    event_type: Json,
    event_id: Json,
    name: Json,
    source_id: Json,
    source_name: Json,
    source_slug: Json,
}

impl Trigger {
    fn new(event: &Event, rules: &Rules) -> Self {
        let source = event.source.as_ref().and_then(|id| rules.sources.get(id));
        let name = match event.call.as_str() {
            "track" => event.track_name.as_deref(),
            "page" | "screen" => event.name.as_deref(),
            _ => None,
        };
        Self {
            event_type: Json::String(event.call.clone()),
            event_id: Json::String(event.message_id.clone()),
            name: Json::text_or_null(name),
            source_id: Json::text_or_null(event.source.as_deref()),
            source_name: Json::text_or_null(source.map(|(name, _)| name.as_str())),
            source_slug: Json::text_or_null(source.map(|(_, slug)| slug.as_str())),
        }
    }
}

/// Returns the row for a new profile, or for a profile's new canonical profile.
pub(crate) fn id_graph_update(
    event: &Event,
    rules: &Rules,
    clocks: &Clocks,
    segment_id: &str,
    canonical_segment_id: &str,
) -> Row {
    let table = "id_graph_updates";
    let trigger = Trigger::new(event, rules);
    let row = object(vec![
        ("id", row_id(table, event, segment_id)),
        ("segment_id", Json::String(segment_id.to_owned())),
        ("canonical_segment_id", Json::String(canonical_segment_id.to_owned())),
        ("triggering_event_type", trigger.event_type),
        ("triggering_event_id", trigger.event_id),
        ("triggering_event_name", trigger.name),
        ("triggering_event_source_id", trigger.source_id),
        ("triggering_event_source_name", trigger.source_name),
        ("triggering_event_source_slug", trigger.source_slug),
        ("received_at", clocks.received_at.clone()),
        ("timestamp", clocks.timestamp.clone()),
        ("seq", clocks.seq()),
        ("uuid_ts", clocks.uuid_ts.clone()),
    ]);
    (table.to_owned(), Json::Object(row))
}

/// Returns the hash of an identifier.
pub(crate) fn external_id_hash(identifier_type: &str, value: &str) -> String {
    hex(&Sha1::digest(format!("{identifier_type}{value}")))
}

/// Returns the row that maps an identifier to a profile.
pub(crate) fn external_id_mapping_update(
    event: &Event,
    rules: &Rules,
    clocks: &Clocks,
    segment_id: &str,
    (identifier_type, value): &Identifier,
) -> Row {
    let table = "external_id_mapping_updates";
    let hash = external_id_hash(identifier_type, value);
    let trigger = Trigger::new(event, rules);
    let row = object(vec![
        ("external_id_hash", Json::String(hash.clone())),
        ("external_id_type", Json::String(identifier_type.clone())),
        ("external_id_value", Json::String(value.clone())),
        ("id", row_id(table, event, &hash)),
        ("received_at", clocks.received_at.clone()),
        ("segment_id", Json::String(segment_id.to_owned())),
        ("seq", clocks.seq()),
        ("timestamp", clocks.timestamp.clone()),
        ("triggering_event_id", trigger.event_id),
        ("triggering_event_name", trigger.name),
        ("triggering_event_source_id", trigger.source_id),
        ("triggering_event_source_name", trigger.source_name),
        ("triggering_event_source_slug", trigger.source_slug),
        ("triggering_event_type", trigger.event_type),
        ("uuid_ts", clocks.uuid_ts.clone()),
    ]);
    (table.to_owned(), Json::Object(row))
}

/// Returns the row that links an identifier to another one, for a mapping or a merge.
pub(crate) fn identity_link(
    event: &Event,
    rules: &Rules,
    clocks: &Clocks,
    (segment_id, canonical_segment_id): (&str, &str),
    link: &Link,
) -> Row {
    let table = "identity_links";
    let (identifier_type, value) = &link.identifier;
    let key = match link.word {
        "merged" => segment_id.to_owned(),
        _ => external_id_hash(identifier_type, value),
    };
    let trigger = Trigger::new(event, rules);
    let via = |part: fn(&Identifier) -> &String| {
        Json::text_or_null(link.via.as_ref().map(|via| part(via).as_str()))
    };
    let row = object(vec![
        ("id", row_id(table, event, &key)),
        ("segment_id", Json::String(segment_id.to_owned())),
        ("canonical_segment_id", Json::String(canonical_segment_id.to_owned())),
        ("link", Json::String(link.word.to_owned())),
        ("external_id_type", Json::String(identifier_type.clone())),
        ("external_id_value", Json::String(value.clone())),
        ("via_type", via(|via| &via.0)),
        ("via_value", via(|via| &via.1)),
        ("triggering_event_type", trigger.event_type),
        ("triggering_event_id", trigger.event_id),
        ("triggering_event_name", trigger.name),
        ("triggering_event_source_id", trigger.source_id),
        ("received_at", clocks.received_at.clone()),
        ("timestamp", clocks.timestamp.clone()),
        ("seq", clocks.seq()),
        ("uuid_ts", clocks.uuid_ts.clone()),
    ]);
    (table.to_owned(), Json::Object(row))
}

/// Returns a snapshot of a profile's traits, with a null in each column that only the previous snapshot had.
pub(crate) fn profile_traits_update(
    event: &Event,
    rules: &Rules,
    clocks: &Clocks,
    segment_id: &str,
    traits: &Traits,
    columns_before: &BTreeSet<String>,
) -> Row {
    let table = "profile_traits_updates";
    let trigger = Trigger::new(event, rules);
    let mut row = object(vec![
        ("id", row_id(table, event, segment_id)),
        ("segment_id", Json::String(segment_id.to_owned())),
        ("seq", clocks.seq()),
        ("timestamp", clocks.timestamp.clone()),
        ("received_at", clocks.received_at.clone()),
        ("uuid_ts", clocks.uuid_ts.clone()),
        ("triggering_event_id", trigger.event_id),
        ("triggering_event_name", trigger.name),
        ("triggering_event_type", trigger.event_type),
        ("triggering_event_source_id", trigger.source_id),
        ("triggering_event_source_name", trigger.source_name),
        ("triggering_event_source_slug", trigger.source_slug),
        ("__trait_seqs", Json::String(traits::seqs(traits))),
    ]);
    let mut columns = traits::columns(traits);
    for gone in columns_before {
        columns.entry(gone.clone()).or_insert(Json::Null);
    }
    row.extend(columns);
    (table.to_owned(), Json::Object(row))
}

/// Returns the rows of an event in the event tables.
pub(crate) fn event_rows(
    event: &Event,
    segment_id: Option<&str>,
    clocks: &Clocks,
    own_table: Option<&str>,
) -> Vec<Row> {
    let text = |text: &Option<String>| Json::text_or_null(text.as_deref());
    let nothing = Json::Null;
    let named = || object(vec![("name", text(&event.name)), ("category", text(&event.category))]);
    let (table, own, payload) = match event.call.as_str() {
        "identify" => ("identifies", Vec::new(), &event.traits),
        "page" => ("pages", named(), &event.property_columns),
        "screen" => ("screens", named(), &event.property_columns),
        "group" => ("groups", object(vec![("group_id", text(&event.group_id))]), &event.traits),
        "alias" => ("aliases", object(vec![("previous_id", text(&event.previous_id))]), &nothing),
        _ => {
            let own = object(vec![
                ("event", Json::text_or_null(own_table)),
                ("event_text", text(&event.track_name)),
            ]);
            let mut rows =
                vec![("tracks".to_owned(), event_row(event, segment_id, clocks, own.clone(), &nothing))];
            if let Some(own_table) = own_table {
                rows.push((
                    own_table.to_owned(),
                    event_row(event, segment_id, clocks, own, &event.property_columns),
                ));
            }
            return rows;
        }
    };
    vec![(table.to_owned(), event_row(event, segment_id, clocks, own, payload))]
}

fn event_row(
    event: &Event,
    segment_id: Option<&str>,
    clocks: &Clocks,
    own: Vec<(String, Json)>,
    payload: &Json,
) -> Json {
    let mut row = object(vec![
        ("segment_id", Json::text_or_null(segment_id)),
        ("id", Json::String(event.message_id.clone())),
        ("event_id", Json::String(event.message_id.clone())),
        ("anonymous_id", Json::text_or_null(event.anonymous_id.as_deref())),
        ("user_id", Json::text_or_null(event.user_id.as_deref())),
        ("event_source_id", Json::text_or_null(event.source.as_deref())),
        ("original_timestamp", millis(event.original_timestamp)),
        ("sent_at", millis(event.sent_at)),
        ("received_at", clocks.received_at.clone()),
        ("timestamp", clocks.timestamp.clone()),
        ("uuid_ts", clocks.uuid_ts.clone()),
    ]);
    row.extend(names::columns(&["context".to_owned()], &event.context));
    row.extend(own);

    let mut payload_columns = Vec::new();
    for (column, value) in names::columns(&[], payload) {
        match row.iter().find(|(name, _)| *name == column) {
            None => payload_columns.push((column, value)),
            Some((_, same)) if *same == value => {}
            Some(_) => payload_columns.push((format!("_{column}"), value)),
        }
    }
    payload_columns.sort_by(|(one, _), (other, _)| one.cmp(other));
    row.extend(payload_columns);
    Json::Object(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_covers_type_followed_by_value() {
        assert_eq!(
            external_id_hash("email", "jane.kim@segment.com"),
            "bc269125e7a325f844980b80d7084928bbcaf304"
        );
    }
}
