//! Parses inputs into events and rejected lines.

use sha1::{Digest, Sha1};

use super::Input;
use super::json::{self, Json};
use super::rules::Rules;
use super::time;

const LONGEST_LINE: usize = 16 * 1024 * 1024;
const LONGEST_REJECTED_TEXT: usize = 64 * 1024;

/// An event, that is one call.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// `identify`, `track` and so on.
    pub(crate) call: String,
    pub(crate) message_id: String,
    pub(crate) source: Option<String>,
    /// The times are in milliseconds since 1970.
    pub(crate) timestamp: i128,
    pub(crate) received_at: i128,
    pub(crate) original_timestamp: Option<i128>,
    pub(crate) sent_at: Option<i128>,
    pub(crate) user_id: Option<String>,
    pub(crate) anonymous_id: Option<String>,
    pub(crate) context: Json,
    pub(crate) traits: Json,
    pub(crate) properties: Json,
    /// The properties that become columns: without `name` and `category` if the event takes them from there.
    pub(crate) property_columns: Json,
    /// The `event` member, which names a track event.
    pub(crate) track_name: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) category: Option<String>,
    pub(crate) group_id: Option<String>,
    pub(crate) previous_id: Option<String>,
    /// The line and the index in its batch; they only break ties in the order.
    line: Vec<u8>,
    index: usize,
}

impl Event {
    /// Returns the sort key: events are resolved in this order.
    pub(crate) fn order(&self) -> (i128, i128, &[u8], &[u8], usize, Option<&str>) {
        let message_id = self.message_id.as_bytes();
        (self.received_at, self.timestamp, message_id, &self.line, self.index, self.source.as_deref())
    }
}

/// The events and rejected lines of one input.
#[derive(Default)]
pub(crate) struct Lines {
    /// Whether there is any non-blank line.
    pub(crate) any: bool,
    pub(crate) events: Vec<Event>,
    /// Rows of the `rejected` table.
    pub(crate) rejected: Vec<Json>,
}

/// Reads all lines of one input.
pub(crate) fn read(input: &Input, rules: &Rules) -> Lines {
    let mut lines = Lines::default();
    let mut offset = 0;
    for (number, whole) in input.bytes.split(|byte| *byte == b'\n').enumerate() {
        let mut line = whole;
        let mut start = offset;
        offset += whole.len() + 1;
        if number == 0 && line.starts_with(b"\xef\xbb\xbf") {
            line = &line[3..];
            start += 3;
        }
        line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.iter().all(|byte| b" \t\r".contains(byte)) {
            continue;
        }
        lines.any = true;
        for result in read_line(line, input.source, rules) {
            match result {
                Ok(event) => lines.events.push(event),
                Err(reason) => lines.rejected.push(Json::Object(vec![
                    ("file".to_owned(), Json::String(input.name.to_owned())),
                    ("line".to_owned(), Json::Number((number + 1).to_string())),
                    ("byte_offset".to_owned(), Json::Number(start.to_string())),
                    ("reason".to_owned(), Json::String(reason.to_owned())),
                    ("detail".to_owned(), Json::Null),
                    ("text".to_owned(), Json::String(cut(line))),
                ])),
            }
        }
    }
    lines
}

/// Returns a line as `rejected` shows it: at most 64 KiB, cut between characters.
fn cut(line: &[u8]) -> String {
    let mut text = String::new();
    for character in String::from_utf8_lossy(line).chars() {
        if LONGEST_REJECTED_TEXT < text.len() + character.len_utf8() {
            break;
        }
        text.push(character);
    }
    text
}

/// Parses the events of one line; an error is the reason for `rejected`.
fn read_line(line: &[u8], path_source: Option<&str>, rules: &Rules) -> Vec<Result<Event, &'static str>> {
    if LONGEST_LINE < line.len() {
        return vec![Err("line_too_long")];
    }
    let Ok(text) = std::str::from_utf8(line) else {
        return vec![Err("invalid_utf8")];
    };
    let Some(json) = json::parse(text) else {
        return vec![Err("not_json")];
    };
    if !matches!(json, Json::Object(_)) {
        return vec![Err("not_an_object")];
    }
    if let Json::Array(items) = json.get("batch")
        && !matches!(json.get("type"), Json::String(_))
    {
        if rules.max_batch_bytes < batch_bytes(text) {
            return vec![Err("batch_too_large")];
        }
        let read_item = |(index, item): (usize, &Json)| {
            if !matches!(item, Json::Object(_)) {
                return Err("not_an_object");
            }
            let item = fill(item, &json);
            let named_by = [line, b"\n", index.to_string().as_bytes()].concat();
            read_event(&item, line, index, &named_by, path_source)
        };
        return items.iter().enumerate().map(read_item).collect();
    }
    vec![read_event(&json, line, 0, line, path_source)]
}

/// Returns the size of a batch in bytes: its items as written, each with the members that it takes from the envelope.
fn batch_bytes(envelope: &str) -> usize {
    let given = |key: &str| -> usize {
        let value = json::raw_member(envelope, key).unwrap_or("null");
        let usable = match json::parse(value) {
            None | Some(Json::Null) => false,
            Some(value) => key != "context" || matches!(value, Json::Object(_)),
        };
        if usable { value.len() } else { 0 }
    };
    let mut bytes = 0;
    for raw in json::raw_items(json::raw_member(envelope, "batch").unwrap_or("[]")) {
        bytes += raw.len();
        if let Some(item @ Json::Object(_)) = json::parse(raw) {
            for key in ["sentAt", "receivedAt", "context"] {
                if *item.get(key) == Json::Null {
                    bytes += given(key);
                }
            }
        }
    }
    bytes
}

/// Returns an item with its missing members filled from the envelope.
fn fill(item: &Json, envelope: &Json) -> Json {
    let mut members = item.members().to_vec();
    for key in ["sentAt", "receivedAt", "context"] {
        if *item.get(key) == Json::Null {
            members.retain(|(name, _)| name != key);
            members.push((key.to_owned(), envelope.get(key).clone()));
        }
    }
    Json::Object(members)
}

/// Parses one event. If several reasons apply, the first check wins.
fn read_event(
    json: &Json,
    line: &[u8],
    index: usize,
    named_by: &[u8],
    path_source: Option<&str>,
) -> Result<Event, &'static str> {
    let call = match json.get("type") {
        Json::String(text) => text.clone(),
        _ => return Err("unknown_type"),
    };
    if !["identify", "track", "page", "screen", "group", "alias"].contains(&call.as_str()) {
        return Err("unknown_type");
    }

    let message_id = json.get("messageId").usable_text().unwrap_or_else(|| hex(&Sha1::digest(named_by)));
    if 100 < message_id.chars().count() {
        return Err("message_id_too_long");
    }

    if 300 < json.get("traits").members().len() {
        return Err("too_many_traits");
    }
    if 300 < json.get("properties").members().len() {
        return Err("too_many_properties");
    }

    let group_id = json.get("groupId").usable_text();
    if call == "group" {
        match &group_id {
            None => return Err("empty_group_id"),
            Some(text) if 500 < text.chars().count() => return Err("group_id_too_long"),
            Some(_) => {}
        }
    }

    // Fractions of a millisecond are cut off.
    let time_of = |key: &str| time::read(json.get(key)).map(|micros| micros.div_euclid(1000));
    let original_timestamp = time_of("originalTimestamp");
    let sent_at = time_of("sentAt");
    let received_as_sent = time_of("receivedAt");
    let skew_corrected = match (received_as_sent, sent_at, original_timestamp) {
        (Some(received), Some(sent), Some(original)) => Some(received - (sent - original)),
        _ => None,
    };
    let timestamp = time_of("timestamp")
        .or(skew_corrected)
        .or(original_timestamp)
        .or(sent_at)
        .or(received_as_sent)
        .ok_or("no_usable_time")?;
    let received_at = received_as_sent.or(sent_at).unwrap_or(timestamp);
    let first_of_2286 = time::read_text("2286-01-01").expect("the text is a date") / 1000;
    if timestamp < 0 || received_at < 0 {
        return Err("time_before_1970");
    }
    if first_of_2286 <= timestamp || first_of_2286 <= received_at {
        return Err("time_after_2285");
    }

    let source = json
        .get("projectId")
        .usable_text()
        .or_else(|| json.get("sourceId").usable_text())
        .or_else(|| path_source.map(str::to_owned));
    let object = |key: &str| match json.get(key) {
        Json::Object(members) => Json::Object(members.clone()),
        _ => Json::Object(Vec::new()),
    };
    let text = |key: &str| json.get(key).usable_text();
    let properties = object("properties");
    let (mut name, mut category) = (text("name"), text("category"));
    let mut property_columns = properties.members().to_vec();
    if call == "page" || call == "screen" {
        for (own, key) in [(&mut name, "name"), (&mut category, "category")] {
            if own.is_none() {
                *own = properties.get(key).usable_text();
                if own.is_some() {
                    property_columns.retain(|(other, _)| other != key);
                }
            }
        }
    }
    Ok(Event {
        call,
        message_id,
        source,
        timestamp,
        received_at,
        original_timestamp,
        sent_at,
        user_id: text("userId"),
        anonymous_id: text("anonymousId"),
        context: object("context"),
        traits: object("traits"),
        properties,
        property_columns: Json::Object(property_columns),
        track_name: text("event"),
        name,
        category,
        group_id,
        previous_id: text("previousId"),
        line: line.to_vec(),
        index,
    })
}

/// Formats bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}
