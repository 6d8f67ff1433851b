//! Random messy dumps: any JSON anywhere, colliding keys, unusual escapes, malformed lines, and batches.

use std::fmt::Write;

use super::{
    Random,
    events::identifier,
    value::{Value, quoted},
};

/// Generates a dump; each line is an event, a batch or malformed.
pub(crate) fn make(random: &mut Random) -> Vec<Value> {
    let n_lines = random.from(1, 15);
    (0..n_lines)
        .map(|number| match random.below(20) {
            0 => accident(random),
            1 | 2 => batch(random, number),
            _ => event(random, number),
        })
        .collect()
}

fn accident(random: &mut Random) -> Value {
    let deep = random.from(126, 129);
    let nested = "[".repeat(deep) + &"]".repeat(deep);
    let texts = [
        "",
        "  ",
        "[]",
        "null",
        "5",
        "\"page\"",
        "{\"type\":\"page\",}",
        "{\"type\":\"page\",\"timestamp\":1,\"userId\":\"\\ud800\"}",
        "{\"type\":\"page\",\"timestamp\":1,\"properties\":{\"a\":NaN}}",
        "{\"type\":\"page\",\"timestamp\":1,\"properties\":{\"a\":01}}",
        "{\"type\":\"page\",\"timestamp\":1} x",
        "{\"type\":\"page\",\"timestamp\":1,\"userId\":\"a\tb\"}",
        "{\"type\":\"page\",\"timestamp\":1,\"context\":",
        "{\"batch\":[]}",
        "{\"batch\":{}}",
        "{\"type\":\"Page\",\"timestamp\":1}",
    ];
    if random.chance(20) {
        return Value::Scalar(format!(
            "{{\"type\":\"page\",\"timestamp\":1,\"properties\":{{\"a\":{nested}}}}}"
        ));
    }
    Value::Scalar(random.pick(&texts).to_owned())
}

fn batch(random: &mut Random, number: usize) -> Value {
    let n_items = random.below(4);
    let items = (0..n_items)
        .map(|at| if random.chance(10) { value(random, 1) } else { event(random, 100 * number + at) })
        .collect();
    let mut members = vec![(key(random, "batch"), Value::Array(items))];
    for name in ["sentAt", "receivedAt"] {
        if random.chance(60) {
            members.push((key(random, name), time(random)));
        }
    }
    if random.chance(40) {
        members.push((key(random, "context"), object(random, 2)));
    }
    if random.chance(20) {
        members.push((key(random, "type"), value(random, 0)));
    }
    Value::Object(members)
}

fn event(random: &mut Random, number: usize) -> Value {
    let call = random.pick(&["identify", "identify", "track", "track", "page", "screen", "group", "alias"]);
    let mut members = vec![("type", Value::Scalar(written(random, call)))];
    if random.chance(90) {
        let id = match random.below(20) {
            0 => value(random, 1),
            1 => Value::Scalar(format!("{number}")),
            2 => Value::Scalar(quoted(&"x".repeat(random.from(99, 101)))),
            _ => Value::Scalar(written(random, &format!("m{number}"))),
        };
        members.push(("messageId", id));
    }
    for (name, percent) in [("timestamp", 85), ("receivedAt", 80), ("sentAt", 40), ("originalTimestamp", 40)]
    {
        if random.chance(percent) {
            members.push((name, time(random)));
        }
    }
    for (name, percent) in [("userId", 50), ("anonymousId", 60)] {
        if random.chance(percent) {
            let prefix = &name[..1];
            members.push((
                name,
                if random.chance(80) { identifier(random, 4, prefix) } else { value(random, 1) },
            ));
        }
    }
    for (name, percent) in [("context", 60), ("traits", 50), ("properties", 60)] {
        if random.chance(percent) {
            members.push((name, if random.chance(95) { object(random, 3) } else { value(random, 1) }));
        }
    }
    for name in ["event", "name", "category", "groupId", "previousId", "projectId", "sourceId"] {
        if random.chance(if name == "event" || name == "groupId" { 70 } else { 25 }) {
            members.push((name, text_or_value(random)));
        }
    }
    if random.chance(10) {
        members.push(("anything", value(random, 2)));
    }
    if random.chance(8) {
        let again = random.below(members.len());
        members.push((members[again].0, value(random, 2)));
    }
    Value::Object(members.into_iter().map(|(name, value)| (key(random, name), value)).collect())
}

fn text_or_value(random: &mut Random) -> Value {
    let texts = [
        "Order Completed",
        "order_completed",
        "Pages",
        "tracks",
        "identity_violations",
        "identity_links",
        "Caf\u{e9} Visited",
        "\u{65e5}\u{672c}",
        "2FA",
        "rejected",
        "a",
        "Home",
        "s1",
        "",
        "!!",
    ];
    if random.chance(10) {
        return Value::Scalar(quoted(&"Wide ".repeat(random.from(39, 42))));
    }
    if random.chance(75) {
        let text = random.pick(&texts);
        Value::Scalar(written(random, text))
    } else {
        value(random, 1)
    }
}

fn time(random: &mut Random) -> Value {
    const TIMES: [&str; 41] = [
        "\"2024-03-01T10:00:00.000Z\"",
        "\"2024-03-01T10:00:00.999999Z\"",
        "\"2024-03-01T10:00:00Z\"",
        "\"2024-03-01 12:00:00.5+02\"",
        "\"2024-3-1 10:00:00\"",
        "\"2024-03-01T10:00:00 z\"",
        "\"2024-03-01T12:00:00+02:\"",
        "\"2024-03-01T10:00:00 \"",
        "\"2024-03-01\"",
        "\"2024-03-01T23:59:60Z\"",
        "\"2024-03-01 10:00:00 UTC\"",
        "\"2024-03-01T04:30:00-0530\"",
        "\"2024-03-01t10:00:00z\"",
        "\"2024-02-30T00:00:00Z\"",
        "\"1970-01-01T00:00:00.001Z\"",
        "\"1970-01-01T00:30:00+01:00\"",
        "\"1969-12-31T23:59:59.999Z\"",
        "\"2285-12-31T23:59:59.999Z\"",
        "\"2286-01-01\"",
        "\"yesterday\"",
        "\"\"",
        "null",
        "1709287200",
        "1709287200.0",
        "0",
        "99999999999",
        "100000000000",
        "-99999999999",
        "-100000000000",
        "9972028800",
        "1709287200000",
        "1709287200001",
        "1709287260000",
        "1",
        "-1",
        "1.5",
        "1709287200000.0",
        "99999999999999999999",
        "9972028799999",
        "true",
        "\"1709287200000\"",
    ];
    if random.chance(60) {
        return Value::Scalar((1_709_287_200_000 + 60_000 * random.below(5)).to_string());
    }
    Value::Scalar(TIMES[random.below(TIMES.len())].to_owned())
}

const KEYS: [&str; 58] = [
    "a",
    "A",
    "a_b",
    "aB",
    "a b",
    "a.b",
    "ab",
    "b",
    "c",
    "id",
    "ID",
    "_id",
    "segment_id",
    "segmentId",
    "event_id",
    "timestamp",
    "received_at",
    "receivedAt",
    "user_id",
    "userId",
    "anonymous_id",
    "event",
    "event_text",
    "name",
    "Name",
    "category",
    "context_a",
    "contextA",
    "context a b",
    "context",
    "uuid_ts",
    "canonical_segment_id",
    "merged_to",
    "triggering_event_id",
    "__trait_seqs",
    "seq",
    "group_id",
    "previous_id",
    "original_timestamp",
    "sent_at",
    "event_source_id",
    "email",
    "traits",
    "type",
    "externalIds",
    "device",
    "ip",
    "page",
    "url",
    "Caf\u{e9}",
    "\u{65e5}\u{672c}",
    "",
    "!!",
    "HTMLParser",
    "2FA",
    "\u{1f600} smile",
    "tab\there",
    "quote\"d",
];

/// Returns a random object, possibly with duplicate keys.
fn object(random: &mut Random, deeper: usize) -> Value {
    let n_members = random.below(7);
    let members = (0..n_members)
        .map(|_| {
            let name = random.pick(&KEYS);
            (key(random, name), value(random, deeper))
        })
        .collect();
    Value::Object(members)
}

/// Returns a random value, nested at most `deeper` levels.
fn value(random: &mut Random, deeper: usize) -> Value {
    const NUMBERS: [&str; 12] = [
        "0",
        "-0",
        "0.0",
        "1",
        "1.0",
        "1.50",
        "1e5",
        "1E+05",
        "-1.5e-3",
        "12345678901234567890123",
        "0e0",
        "3.14159265358979323846",
    ];
    const TEXTS: [&str; 16] = [
        "",
        " ",
        "a",
        "A",
        "e1",
        "u1",
        "null",
        "true",
        "1",
        "\u{e9}",
        "\u{1f600}",
        "line\nbreak",
        "tab\t",
        "back\\slash",
        "\u{1}\u{7f}\u{2028}",
        "quote\"d / slash",
    ];
    match random.below(14) {
        0 => Value::Scalar("null".to_owned()),
        1 => Value::Scalar(random.pick(&["true", "false"]).to_owned()),
        2 | 3 => Value::Scalar(random.pick(&NUMBERS).to_owned()),
        4..=6 if 0 < deeper => object(random, deeper - 1),
        7 | 8 if 0 < deeper => {
            let n_items = random.below(4);
            Value::Array((0..n_items).map(|_| value(random, deeper - 1)).collect())
        }
        4 => Value::Object(Vec::new()),
        7 => Value::Array(Vec::new()),
        _ => {
            let text = random.pick(&TEXTS);
            Value::Scalar(written(random, text))
        }
    }
}

fn key(random: &mut Random, name: &str) -> String {
    if random.chance(95) { escaped(random, name, 0) } else { escaped(random, name, 30) }
}

/// Returns a text as a JSON string, sometimes with needless escapes.
fn written(random: &mut Random, text: &str) -> String {
    let percent = if random.chance(80) { 0 } else { 40 };
    escaped(random, text, percent)
}

/// Returns a text as a JSON string; `percent` of the characters that need no escape are escaped.
fn escaped(random: &mut Random, text: &str, percent: usize) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        let short = match character {
            '"' => Some("\\\""),
            '\\' => Some("\\\\"),
            '\n' => Some("\\n"),
            '\t' => Some("\\t"),
            '/' if random.chance(percent) => Some("\\/"),
            _ => None,
        };
        match short {
            Some(short) if random.chance(70) => out.push_str(short),
            None if ' ' <= character && !random.chance(percent) => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let upper = random.chance(50);
                    if upper { write!(out, "\\u{unit:04X}") } else { write!(out, "\\u{unit:04x}") }.unwrap();
                }
            }
        }
    }
    out.push('"');
    out
}
