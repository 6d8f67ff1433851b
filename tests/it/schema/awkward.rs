//! Events whose tables are hard to load: reserved words, long names, mixed types, huge numbers, characters of all kinds,
//! wide tables.

use std::fmt::Write;

use serde_json::{Value, json};

/// Columns of the wide table.
pub(crate) const N_WIDE: usize = 400;

/// Two names of 90 letters that have 80 in common.
pub(crate) fn long_names() -> [String; 2] {
    let common = "a_trait_with_a_very_long_name".repeat(3)[..80].to_owned();
    ["first", "other"].map(|end| format!("{common}_{end}_end"))
}

/// A person's traits of the first day. Numbers stand in the text as they are here.
const TRAITS: &[&str] = &[
    r#"{"limit":1,"window":"daily","order":true,"select":"x","mixed":59,"flag":true,"amount":1.10,"count":5,"code":7.50}"#,
    r#"{"limit":2,"window":"ever","order":false,"user":"y","mixed":"sixty","flag":false,"amount":2,"count":6,"code":8}"#,
    r#"{"note":"zero \u0000 and \\u0000 and \u0000\u0000","mixed":1.50,"amount":0.05,"count":-7,"unset":null}"#,
    r#"{"note":"quotes \" ' \\ back\\slash, tab\t, line\nend, \\N \\. $1 ${x} {\"amount\":9,\"a\":[1]}","mixed":1e3}"#,
    r#"{"note":"\ud83d\ude00 caf\u00e9 \u2028 \u0001 \u007f","mixed":-0,"amount":1e-7,"count":9223372036854775807}"#,
    r#"{"huge":123456789012345678901234567890,"huger":1234567890123456789012345678901234567890123,"amount":1.234567890123456789012}"#,
    r#"{"huge":18446744073709551615,"huger":2,"address":{"city":"Oslo","zip":"0150"},"tags":["a",1.50,{"b":null}]}"#,
    r#"{"amount":12345678901234.5,"nothing":"","empty":{},"day":"2026-01-05","looks_like_a_time":"2026-01-05T10:00:00.000Z"}"#,
];

/// The events of the first day.
pub(crate) fn first_day() -> String {
    let mut out = String::new();
    let [first, other] = long_names();
    for (number, traits) in TRAITS.iter().enumerate() {
        push(
            &mut out,
            "identify",
            &format!("i{number}"),
            &format!("u{number}"),
            5,
            &format!(r#""traits":{traits}"#),
        );
    }
    let long = json!({ first: 1, other: "two" });
    push(&mut out, "identify", "long", "u0", 5, &format!(r#""traits":{long}"#));
    for number in 0..N_WIDE {
        let properties =
            format!(r#""name":"Wide","properties":{{"p_{number}":{number},"shared":"s{number}"}}"#);
        push(&mut out, "page", &format!("w{number}"), &format!("u{}", number % 5), 5, &properties);
    }
    // Names of events are names of tables.
    let long_event = "An event with a very long name ".repeat(6);
    for (number, event) in
        ["Order", "Select", "2FA Enabled", &format!("{long_event}one"), &format!("{long_event}two")]
            .iter()
            .enumerate()
    {
        let properties = json!({ "event": event, "properties": { "limit": number, "2nd": "x" } });
        let members = properties.to_string();
        push(&mut out, "track", &format!("t{number}"), "u1", 5, &members[1..members.len() - 1]);
    }
    // Two profiles that will merge, each with traits.
    push(&mut out, "identify", "m1", "", 5, r#""anonymousId":"a1","traits":{"plan":"one","code":1}"#);
    push(&mut out, "identify", "m2", "merging", 5, r#""traits":{"plan":"two","count":1}"#);
    out.push_str("not json \u{0}\n");
    out
}

/// The events of the next day: new traits, changed types, a merge, a removal, a new table.
pub(crate) fn next_day() -> String {
    let mut out = String::new();
    push(
        &mut out,
        "identify",
        "n1",
        "u0",
        6,
        r#""traits":{"late":true,"count":5.25,"limit":"none","code":"text now"}"#,
    );
    push(
        &mut out,
        "identify",
        "n2",
        "u1",
        6,
        r#""traits":{"flag":"maybe","amount":0.1234567890123456789012345678901,"unset":5}"#,
    );
    push(&mut out, "identify", "n3", "u2", 6, r#""traits":{"note":null,"mixed":12345678901234567890.50}"#);
    push(&mut out, "identify", "n4", "merging", 6, r#""anonymousId":"a1","traits":{"plan":"merged \u0000"}"#);
    push(&mut out, "track", "n5", "u3", 6, r#""event":"Added Later","properties":{"first":1}"#);
    push(&mut out, "page", "n6", "u3", 6, r#""name":"Wide","properties":{"p_0":"text","p_1":1.5,"p_new":1}"#);
    out
}

fn push(out: &mut String, call: &str, id: &str, user: &str, day: u32, members: &str) {
    let number = out.lines().count();
    let user: Value = if user.is_empty() { Value::Null } else { user.into() };
    writeln!(
        out,
        r#"{{"type":"{call}","messageId":"{id}","userId":{user},"receivedAt":"2026-01-{day:02}T10:{:02}:{:02}.{:03}Z",{members}}}"#,
        number / 60 % 60,
        number % 60,
        number % 1000,
    )
    .unwrap();
}
