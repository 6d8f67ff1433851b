//! The worked examples of the documentation, each as a small dump, and properties that hold for every dump.

use std::collections::BTreeMap;

use super::json::{self, Json};
use super::rules::{Blocked, BlockedValues, DropRule, Normalize, Rules, SegmentIds, Window};
use super::{Input, Space};

fn sequential() -> Rules {
    Rules { segment_ids: SegmentIds::Sequential, ..Rules::default() }
}

/// Ingests lines in one run and returns the space.
fn space_of(lines: &[&str], rules: &Rules) -> Space {
    let mut space = Space::new();
    run(&mut space, lines, rules);
    space
}

fn run(space: &mut Space, lines: &[&str], rules: &Rules) {
    let text = lines.join("\n");
    space.ingest(&[Input { name: "events.ndjson", source: None, bytes: text.as_bytes() }], rules);
}

/// Returns an event that happened at second `number`, with further members.
fn event(number: usize, event_type: &str, members: &str) -> String {
    format!(
        "{{\"type\":\"{event_type}\",\"messageId\":\"m{number:04}\",\
         \"timestamp\":\"2024-01-01T{:02}:{:02}:{:02}Z\",{members}}}",
        number / 3600,
        number / 60 % 60,
        number % 60
    )
}

/// Returns the values of some columns of each row, joined by blanks.
fn picked(tables: &BTreeMap<String, String>, table: &str, columns: &[&str]) -> Vec<String> {
    let text = tables.get(table).map_or("", String::as_str);
    let pick = |row: &Json| columns.iter().map(|column| plain(row.get(column))).collect::<Vec<_>>().join(" ");
    text.lines().map(|line| pick(&json::parse(line).expect("a table is JSON"))).collect()
}

fn plain(value: &Json) -> String {
    value.usable_text().unwrap_or_else(|| value.to_text())
}

fn identifiers(space: &Space) -> Vec<String> {
    picked(
        space.tables(),
        "external_id_mapping_updates",
        &["segment_id", "external_id_type", "external_id_value"],
    )
}

const CASE_STUDY: [&str; 4] = [
    r#"{"type":"page","messageId":"event_1","projectId":"source_1","anonymousId":"5285bc35-05ef-4d21","context":{"url":"twilio.com"},"timestamp":"2022-05-02T14:01:00Z"}"#,
    r#"{"type":"identify","messageId":"event_2","projectId":"source_1","anonymousId":"5285bc35-05ef-4d21","context":{"url":"twilio.com/try-twilio"},"traits":{"email":"jane.kim@segment.com"},"timestamp":"2022-05-02T14:01:47Z"}"#,
    r#"{"type":"page","messageId":"event_3","projectId":"source_1","anonymousId":"b50e18a5-1b8d-451c","context":{"url":"twilio.com/education"},"timestamp":"2022-06-22T10:47:15Z"}"#,
    r#"{"type":"identify","messageId":"event_4","projectId":"source_2","anonymousId":"b50e18a5-1b8d-451c","context":{"url":"twilio.com/events/webinars"},"traits":{"email":"jane.kim@segment.com"},"timestamp":"2022-06-22T10:48:00Z"}"#,
];

#[test]
fn the_case_study_gives_the_documented_raw_tables() {
    let space = space_of(&CASE_STUDY, &sequential());
    let graph =
        ["segment_id", "canonical_segment_id", "triggering_event_type", "triggering_event_id", "timestamp"];
    assert_eq!(
        picked(space.tables(), "id_graph_updates", &graph),
        [
            "profile_1 profile_1 page event_1 2022-05-02T14:01:00.000Z",
            "profile_2 profile_2 page event_3 2022-06-22T10:47:15.000Z",
            "profile_2 profile_1 identify event_4 2022-06-22T10:48:00.000Z",
        ]
    );
    let mapping =
        ["segment_id", "external_id_type", "external_id_value", "triggering_event_id", "timestamp", "seq"];
    assert_eq!(
        picked(space.tables(), "external_id_mapping_updates", &mapping),
        [
            "profile_1 anonymous_id 5285bc35-05ef-4d21 event_1 2022-05-02T14:01:00.000Z 1651500060000000000",
            "profile_1 email jane.kim@segment.com event_2 2022-05-02T14:01:47.000Z 1651500107000000000",
            "profile_2 anonymous_id b50e18a5-1b8d-451c event_3 2022-06-22T10:47:15.000Z 1655894835000000000",
        ]
    );
    assert_eq!(
        picked(space.tables(), "profile_traits_updates", &["segment_id", "email", "triggering_event_id"]),
        ["profile_1 jane.kim@segment.com event_2", "profile_1 jane.kim@segment.com event_4"]
    );
    let pages = ["segment_id", "context_url", "anonymous_id", "event_source_id", "event_id"];
    assert_eq!(
        picked(space.tables(), "pages", &pages),
        [
            "profile_1 twilio.com 5285bc35-05ef-4d21 source_1 event_1",
            "profile_2 twilio.com/education b50e18a5-1b8d-451c source_1 event_3",
        ]
    );
    let identifies = ["segment_id", "context_url", "email", "event_source_id", "event_id"];
    assert_eq!(
        picked(space.tables(), "identifies", &identifies),
        [
            "profile_1 twilio.com/try-twilio jane.kim@segment.com source_1 event_2",
            "profile_2 twilio.com/events/webinars jane.kim@segment.com source_2 event_4",
        ]
    );
}

#[test]
fn the_case_study_gives_the_documented_views() {
    let space = space_of(&CASE_STUDY, &sequential());
    let views = space.views(None);
    assert_eq!(
        picked(&views, "id_graph", &["segment_id", "canonical_segment_id", "timestamp"]),
        ["profile_1 profile_1 2022-05-02T14:01:00.000Z", "profile_2 profile_1 2022-06-22T10:48:00.000Z"]
    );
    let mut mapping =
        picked(&views, "external_id_mapping", &["canonical_segment_id", "external_id_value", "timestamp"]);
    mapping.sort();
    assert_eq!(
        mapping,
        [
            "profile_1 5285bc35-05ef-4d21 2022-05-02T14:01:00.000Z",
            "profile_1 b50e18a5-1b8d-451c 2022-06-22T10:48:00.000Z",
            "profile_1 jane.kim@segment.com 2022-05-02T14:01:47.000Z",
        ]
    );
    assert_eq!(
        views["profile_traits"],
        "{\"canonical_segment_id\":\"profile_1\",\"email\":\"jane.kim@segment.com\",\"merged_to\":null}\n\
         {\"canonical_segment_id\":\"profile_2\",\"merged_to\":\"profile_1\"}\n"
    );
    assert_eq!(
        picked(&views, "user_traits", &["canonical_segment_id", "name", "value", "timestamp"]),
        ["profile_1 email jane.kim@segment.com 2022-06-22T10:48:00.000Z"]
    );
    assert_eq!(
        picked(&views, "user_identifiers", &["canonical_segment_id", "value", "timestamp"]),
        [
            "profile_1 5285bc35-05ef-4d21 2022-05-02T14:01:00.000Z",
            "profile_1 b50e18a5-1b8d-451c 2022-06-22T10:47:15.000Z",
            "profile_1 jane.kim@segment.com 2022-05-02T14:01:47.000Z",
        ]
    );
    assert_eq!(
        picked(&views, "profile_merges", &["canonical_segment_id", "segment_id", "timestamp"]),
        ["profile_1 profile_1 2022-05-02T14:01:00.000Z", "profile_1 profile_2 2022-06-22T10:48:00.000Z"]
    );

    let before = space.views(Some("2022-06-22T10:47:59.999999Z"));
    assert_eq!(
        picked(&before, "id_graph", &["segment_id", "canonical_segment_id"]),
        ["profile_1 profile_1", "profile_2 profile_2"]
    );
}

#[test]
fn a_second_user_id_demotes_the_email() {
    let first = event(1, "identify", "\"userId\":\"abc123\",\"traits\":{\"email\":\"jane\"}");
    let second = event(2, "identify", "\"userId\":\"abc456\",\"traits\":{\"email\":\"jane\"}");
    let space = space_of(&[&first, &second], &sequential());
    assert_eq!(
        identifiers(&space),
        ["profile_1 user_id abc123", "profile_1 email jane", "profile_2 user_id abc456"]
    );
    assert_eq!(space.violations().len(), 1);
    assert_eq!(space.violations()[0].rule, "limit");
}

#[test]
fn a_shared_browser_stays_with_the_first_user() {
    let first = event(1, "page", "\"userId\":\"u1\",\"anonymousId\":\"a1\"");
    let second = event(2, "page", "\"userId\":\"u2\",\"anonymousId\":\"a1\"");
    let space = space_of(&[&first, &second], &sequential());
    assert_eq!(
        identifiers(&space),
        ["profile_1 user_id u1", "profile_1 anonymous_id a1", "profile_2 user_id u2"]
    );
    assert_eq!(picked(space.tables(), "pages", &["segment_id"]), ["profile_1", "profile_2"]);
}

#[test]
fn a_full_email_limit_does_not_keep_a_new_device_out() {
    let mut events = Vec::new();
    for number in 1..=5 {
        let members = format!("\"userId\":\"u1\",\"traits\":{{\"email\":\"e{number}\"}}");
        events.push(event(number, "identify", &members));
    }
    events.push(event(
        6,
        "identify",
        "\"userId\":\"u1\",\"anonymousId\":\"a9\",\"traits\":{\"email\":\"e6\"}",
    ));
    let lines: Vec<&str> = events.iter().map(String::as_str).collect();
    let space = space_of(&lines, &sequential());
    assert_eq!(identifiers(&space).len(), 7);
    assert_eq!(identifiers(&space)[6], "profile_1 anonymous_id a9");
    let steps: Vec<_> = space.violations().iter().map(|one| (one.value.as_str(), one.step)).collect();
    assert_eq!(steps, [("e6", "second chance"), ("a9", "mapped by second chance")]);
}

#[test]
fn recursive_entries_are_written_oldest_first() {
    let events = [
        event(1, "page", "\"anonymousId\":\"a1\""),
        event(2, "page", "\"anonymousId\":\"a2\""),
        event(3, "page", "\"anonymousId\":\"a3\""),
        event(4, "page", "\"anonymousId\":\"a4\""),
        event(5, "identify", "\"anonymousId\":\"a3\",\"traits\":{\"email\":\"e\"}"),
        event(6, "identify", "\"anonymousId\":\"a4\",\"traits\":{\"email\":\"e\"}"),
        event(7, "identify", "\"anonymousId\":\"a2\",\"userId\":\"u\""),
        event(
            8,
            "track",
            "\"userId\":\"u\",\"anonymousId\":\"a1\",\"event\":\"x\",\"context\":{\"traits\":{\"email\":\"e\"}}",
        ),
    ];
    let lines: Vec<&str> = events.iter().map(String::as_str).collect();
    let space = space_of(&lines, &sequential());
    let graph = picked(space.tables(), "id_graph_updates", &["segment_id", "canonical_segment_id"]);
    assert_eq!(graph[4], "profile_4 profile_3");
    assert_eq!(graph[5..], ["profile_2 profile_1", "profile_3 profile_1", "profile_4 profile_1"]);
    assert_eq!(picked(space.tables(), "x", &["segment_id", "event", "event_text"]), ["profile_3 x x"]);
    assert_eq!(
        picked(&space.views(None), "user_traits", &["canonical_segment_id", "name"]),
        ["profile_1 email"]
    );
}

#[test]
fn late_traits_and_removals_keep_their_times() {
    let at = |number: usize, second: usize, traits: &str| {
        let members = format!(
            "\"userId\":\"u\",\"traits\":{traits},\"receivedAt\":\"2024-01-02T00:00:{number:02}Z\",\
             \"timestamp\":\"2024-01-01T00:00:{second:02}Z\""
        );
        format!("{{\"type\":\"identify\",\"messageId\":\"m{number}\",{members}}}")
    };
    let events = [
        at(1, 10, r#"{"plan":"gold","address":{"city":"Bonn","postalCode":53111}}"#),
        at(2, 5, r#"{"plan":"silver","age":4}"#),
        at(3, 20, r#"{"address":null}"#),
        at(4, 15, r#"{"address":{"city":"Ulm"},"address_city":"Trier"}"#),
    ];
    let lines: Vec<&str> = events.iter().map(String::as_str).collect();
    let space = space_of(&lines, &sequential());
    let columns = ["plan", "age", "address_city", "address_postal_code", "__trait_seqs"];
    assert_eq!(
        picked(space.tables(), "profile_traits_updates", &columns),
        [
            "gold null Bonn 53111 {\"address.city\":\"1704067210000000000\",\
             \"address.postal_code\":\"1704067210000000000\",\"plan\":\"1704067210000000000\"}",
            "gold 4 Bonn 53111 {\"address.city\":\"1704067210000000000\",\
             \"address.postal_code\":\"1704067210000000000\",\"age\":\"1704067210000000001\",\
             \"plan\":\"1704067210000000000\"}",
            "gold 4 null null {\"address\":\"1704067220000000000\",\"age\":\"1704067210000000001\",\
             \"plan\":\"1704067210000000000\"}",
            "gold 4 Trier null {\"address\":\"1704067220000000000\",\"address_city\":\"1704067220000000001\",\
             \"age\":\"1704067210000000001\",\"plan\":\"1704067210000000000\"}",
        ]
    );
    let third =
        space.tables()["profile_traits_updates"].lines().nth(2).expect("the table has four rows").to_owned();
    assert!(third.contains("\"address_city\":null,\"address_postal_code\":null,\"age\":4"), "{third}");
    let views = space.views(None);
    assert_eq!(
        picked(&views, "user_traits", &["name", "value", "timestamp", "received_at"]),
        [
            "address_city Trier 2024-01-01T00:00:15.000Z 2024-01-02T00:00:04.000Z",
            "age 4 2024-01-01T00:00:05.000Z 2024-01-02T00:00:02.000Z",
            "plan gold 2024-01-01T00:00:10.000Z 2024-01-02T00:00:01.000Z",
        ]
    );
}

#[test]
fn a_merge_writes_a_traits_row_only_if_it_adds_traits() {
    let events = [
        event(1, "identify", "\"userId\":\"u\",\"traits\":{\"a\":1}"),
        event(2, "page", "\"anonymousId\":\"a1\""),
        event(3, "page", "\"anonymousId\":\"a1\",\"userId\":\"u\""),
        event(4, "identify", "\"anonymousId\":\"a2\",\"traits\":{\"a\":2,\"b\":[1, 2]}"),
        event(5, "page", "\"anonymousId\":\"a2\",\"userId\":\"u\",\"name\":\"Home\""),
    ];
    let lines: Vec<&str> = events.iter().map(String::as_str).collect();
    let space = space_of(&lines, &sequential());
    let columns = ["segment_id", "a", "b", "triggering_event_id", "triggering_event_name"];
    assert_eq!(
        picked(space.tables(), "profile_traits_updates", &columns),
        ["profile_1 1 null m0001 null", "profile_3 2 [1,2] m0004 null", "profile_1 2 [1,2] m0005 Home"]
    );
    assert_eq!(picked(space.tables(), "pages", &["segment_id"]), ["profile_2", "profile_2", "profile_3"]);
    assert_eq!(
        picked(&space.views(None), "user_traits", &["canonical_segment_id", "name", "value", "timestamp"]),
        ["profile_1 a 2 2024-01-01T00:00:04.000Z", "profile_1 b [1,2] 2024-01-01T00:00:04.000Z"]
    );
}

#[test]
fn rejected_lines_have_their_reasons() {
    let keys: Vec<String> = (0..301).map(|number| format!("\"k{number}\":1")).collect();
    let too_many = format!("{{{}}}", keys.join(","));
    let ok = "\"messageId\":\"m\",\"timestamp\":\"2024-01-01\"";
    let lines = [
        "\u{feff}{\"type\":\"page\",\"anonymousId\":\"a\",\"timestamp\":\"2024-01-01\"}\r".to_owned(),
        "  ".to_owned(),
        "{\"type\":".to_owned(),
        "[]".to_owned(),
        "{\"type\":\"Page\"}".to_owned(),
        format!("{{\"type\":\"page\",\"messageId\":\"{}\"}}", "\u{e9}".repeat(101)),
        format!("{{\"type\":\"identify\",\"traits\":{too_many}}}"),
        format!("{{\"type\":\"track\",\"properties\":{too_many}}}"),
        format!("{{\"type\":\"group\",\"groupId\":\"\",{ok}}}"),
        format!("{{\"type\":\"group\",\"groupId\":\"{}\",{ok}}}", "g".repeat(501)),
        "{\"type\":\"page\",\"timestamp\":\"soon\"}".to_owned(),
        "{\"type\":\"page\",\"timestamp\":-1}".to_owned(),
        "{\"type\":\"page\",\"timestamp\":\"2286-01-01\"}".to_owned(),
        "{\"batch\":[7,{\"type\":\"page\"}],\"sentAt\":\"2024-01-01\",\"type\":null}".to_owned(),
    ];
    let mut bytes = lines.join("\n").into_bytes();
    bytes.extend_from_slice(b"\n\"\xff\"\n");
    let mut space = Space::new();
    space.ingest(&[Input { name: "in", source: Some("s"), bytes: &bytes }], &sequential());
    assert_eq!(
        picked(space.tables(), "rejected", &["line", "byte_offset", "reason"])
            .iter()
            .map(|row| row.split(' ').collect::<Vec<_>>())
            .map(|parts| format!("{} {}", parts[0], parts[2]))
            .collect::<Vec<_>>(),
        [
            "3 not_json",
            "4 not_an_object",
            "5 unknown_type",
            "6 message_id_too_long",
            "7 too_many_traits",
            "8 too_many_properties",
            "9 empty_group_id",
            "10 group_id_too_long",
            "11 no_usable_time",
            "12 time_before_1970",
            "13 time_after_2285",
            "14 not_an_object",
            "15 invalid_utf8",
        ]
    );
    let first = "{\"type\":\"page\",\"anonymousId\":\"a\",\"timestamp\":\"2024-01-01\"}";
    let offset = first.len() + 3 + 2 + 3;
    let third = format!(
        "{{\"file\":\"in\",\"line\":3,\"byte_offset\":{offset},\"reason\":\"not_json\",\"detail\":null,\
         \"text\":\"{{\\\"type\\\":\"}}"
    );
    assert_eq!(space.tables()["rejected"].lines().next(), Some(third.as_str()));
    assert_eq!(picked(space.tables(), "pages", &["event_source_id"]), ["s", "s"]);
}

#[test]
fn a_run_without_events_writes_nothing() {
    assert!(!space_of(&["no", "events"], &sequential()).tables().contains_key("rejected"));
}

#[test]
fn duplicates_are_dropped_only_within_thirty_days() {
    let at = |day: &str| {
        format!("{{\"type\":\"page\",\"messageId\":\"m\",\"userId\":\"u\",\"timestamp\":\"{day}\"}}")
    };
    let lines = [at("2024-01-31"), at("2024-01-01"), at("2024-01-31T00:00:00.001Z"), at("2024-03-02")];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let space = space_of(&lines, &sequential());
    assert_eq!(
        picked(space.tables(), "pages", &["timestamp"]),
        ["2024-01-01T00:00:00.000Z", "2024-01-31T00:00:00.001Z", "2024-03-02T00:00:00.000Z"]
    );
}

#[test]
fn the_settings_of_the_config_are_applied() {
    let rules = Rules {
        limits: BTreeMap::from([("device".to_owned(), (1, Window::Daily))]),
        order: vec!["device".to_owned()],
        blocked: vec![
            Blocked {
                identifier_type: Some("email".to_owned()),
                values: BlockedValues::Exact("X@Y".to_owned()),
            },
            Blocked { identifier_type: None, values: BlockedValues::Pattern("^test".to_owned()) },
        ],
        normalize: BTreeMap::from([("email".to_owned(), Normalize { lowercase: true, trim: true })]),
        custom: vec!["loyalty_card".to_owned()],
        in_properties: ["email".to_owned()].into(),
        drop: vec![DropRule {
            event_type: Some(vec!["track".to_owned()]),
            event_name: Some(vec!["no*".to_owned()]),
            source: None,
        }],
        sources: BTreeMap::from([("s".to_owned(), ("Shop".to_owned(), "shop".to_owned()))]),
        ..sequential()
    };
    let device = "\"context\":{\"externalIds\":[{\"type\":\"Device\",\"id\":1.0},{\"type\":\"x\",\"id\":\"y\",\"collection\":\"accounts\"}]}";
    let device_2 =
        "\"context\":{\"externalIds\":[{\"type\":\"device\",\"id\":\"2\",\"collection\":\"users\"}]}";
    let events = [
        event(1, "track", &format!("\"event\":\"noise\",\"userId\":\"n\",{device}")),
        event(2, "page", "\"userId\":\"tester\",\"properties\":{\"email\":\" x@Y \"}"),
        event(
            3,
            "page",
            &format!("\"userId\":\"u\",\"properties\":{{\"email\":\"A@b\",\"loyaltyCard\":7}},{device}"),
        ),
        event(4, "page", &format!("\"userId\":\"u\",\"projectId\":\"s\",{device_2}")),
        event(4 + 86_400 - 1, "page", "\"userId\":\"v\",\"timestamp\":\"2024-01-02T00:00:03Z\"")
            .replace("\"userId\":\"v\"", &format!("\"userId\":\"u\",{device_2}")),
    ];
    let lines: Vec<&str> = events.iter().map(String::as_str).collect();
    let space = space_of(&lines, &rules);
    assert_eq!(
        identifiers(&space),
        [
            "profile_1 device 1.0",
            "profile_1 user_id u",
            "profile_1 email a@b",
            "profile_1 loyalty_card 7",
            "profile_2 device 2",
        ]
    );
    let violations: Vec<_> =
        space.violations().iter().map(|one| (one.value.as_str(), one.rule, one.step)).collect();
    assert_eq!(
        violations,
        [("x@y", "blocked", "blocking"), ("tester", "blocked", "blocking"), ("u", "limit", "demoted")]
    );
    assert_eq!(
        picked(
            space.tables(),
            "id_graph_updates",
            &["triggering_event_source_id", "triggering_event_source_slug"]
        ),
        ["null null", "s shop", "null null"]
    );
    assert_eq!(
        picked(space.tables(), "pages", &["segment_id"]),
        ["null", "profile_1", "profile_2", "profile_2"]
    );
}

#[test]
fn a_window_ends_just_after_its_length() {
    for (window, days) in [
        (Window::Daily, 1),
        (Window::Weekly, 7),
        (Window::Monthly, 30),
        (Window::Annually, 365),
        (Window::Ever, 9999),
    ] {
        let rules =
            Rules { limits: BTreeMap::from([("anonymous_id".to_owned(), (1, window))]), ..sequential() };
        let start = 1_704_067_200_000_i64;
        let at = |millis: i64, device: usize| {
            format!(
                "{{\"type\":\"page\",\"userId\":\"u\",\"anonymousId\":\"a{device}\",\"timestamp\":{millis}}}"
            )
        };
        let end = start + days * 86_400_000;
        let space = space_of(&[&at(start, 1), &at(end - 1, 2), &at(end, 3)], &rules);
        let mapped = if window == Window::Ever { 2 } else { 3 };
        assert_eq!(identifiers(&space).len(), mapped, "{window:?}");
        assert_eq!(space.violations()[0].value, "a2");
    }
}

#[test]
fn caps_prevent_merges_and_mappings() {
    let rules = Rules { merge_cap: 1, mapping_cap: 4, ..sequential() };
    let events = [
        event(1, "page", "\"anonymousId\":\"a1\""),
        event(2, "page", "\"anonymousId\":\"a2\""),
        event(3, "page", "\"anonymousId\":\"a3\""),
        event(
            4,
            "page",
            "\"anonymousId\":\"a1\",\"context\":{\"externalIds\":[{\"type\":\"anonymous_id\",\"id\":\"a2\"}]}",
        ),
        event(
            5,
            "page",
            "\"anonymousId\":\"a1\",\"context\":{\"externalIds\":[{\"type\":\"anonymous_id\",\"id\":\"a3\"}]}",
        ),
        event(
            6,
            "page",
            "\"anonymousId\":\"a1\",\"userId\":\"u\",\"context\":{\"traits\":{\"email\":\"e\"},\"Braze\":{\"braze_id\":\"b\"}}",
        ),
    ];
    let lines: Vec<&str> = events.iter().map(String::as_str).collect();
    let space = space_of(&lines, &rules);
    let violations: Vec<_> =
        space.violations().iter().map(|one| (one.value.as_str(), one.rule, one.step)).collect();
    assert_eq!(violations, [("a3", "merge_cap", "demoted"), ("b", "mapping_cap", "profile full")]);
    assert_eq!(identifiers(&space)[3..], ["profile_1 user_id u", "profile_1 email e"]);

    let rules = Rules { mapping_cap: 1, ..sequential() };
    let space = space_of(&lines[..5], &rules);
    let violations: Vec<_> =
        space.violations().iter().map(|one| (one.value.as_str(), one.rule, one.step)).collect();
    assert_eq!(violations, [("a2", "mapping_cap", "demoted"), ("a3", "mapping_cap", "demoted")]);
    assert_eq!(picked(space.tables(), "pages", &["segment_id"])[3..], ["profile_1", "profile_1"]);
}

#[test]
fn payload_columns_are_renamed_if_the_row_has_the_column() {
    let members = "\"userId\":5,\"name\":\"Home\",\"properties\":{\"name\":\"Home\",\"Category\":\"c\",\"id\":1,\
                   \"contextIp\":2,\"user_id\":5},\"context\":{\"ip\":\"1\",\"page\":{\"URL\":\"u\"},\"x\":{}}";
    let space = space_of(&[&event(1, "page", members)], &sequential());
    let row = &space.tables()["pages"];
    let tail = "\"uuid_ts\":\"2024-01-01T00:00:01.000000Z\",\"context_ip\":\"1\",\"context_page_url\":\"u\",\
                \"name\":\"Home\",\"category\":null,\"_category\":\"c\",\"_context_ip\":2,\"_id\":1,\"_user_id\":5}\n";
    assert!(row.ends_with(tail), "{row}");
}

/// Generates random events with few identifiers and traits, so that they affect each other.
fn random_events(seed: u64, count: usize) -> Vec<String> {
    let mut state = seed * 2 + 1;
    let mut below = move |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let mut events = Vec::new();
    for number in 0..count {
        let mut members = Vec::new();
        if below(2) == 0 {
            members.push(format!("\"userId\":\"u{}\"", below(6)));
        }
        if below(3) < 2 {
            members.push(format!("\"anonymousId\":\"a{}\"", below(12)));
        }
        let mut traits = Vec::new();
        for key in ["email", "plan", "address", "address_city"] {
            match below(7) {
                0 => traits.push(format!("\"{key}\":null")),
                1 | 2 => traits.push(format!("\"{key}\":\"{}{}\"", &key[..1], below(8))),
                3 if key != "email" => traits.push(format!("\"{key}\":{{\"city\":\"c{}\"}}", below(3))),
                _ => {}
            }
        }
        members.push(format!("\"traits\":{{{}}}", traits.join(",")));
        members.push("\"event\":\"Thing Done\"".to_owned());
        let event_type = ["identify", "identify", "track", "page", "alias"]
            [usize::try_from(below(5)).expect("the number is below five")];
        members.push(format!("\"receivedAt\":\"2024-01-01T{:02}:{:02}:00Z\"", number / 60, number % 60));
        events.push(event(
            usize::try_from(below(4000)).expect("the number is below 4000"),
            event_type,
            &members.join(","),
        ));
    }
    events
}

#[test]
fn slices_shuffles_and_repetitions_give_the_same_tables() {
    for seed in 0..40 {
        let events = random_events(seed, 120);
        let lines: Vec<&str> = events.iter().map(String::as_str).collect();
        let rules = sequential();
        let whole = space_of(&lines, &rules);

        let mut sliced = Space::new();
        for slice in lines.chunks(37) {
            run(&mut sliced, slice, &rules);
        }
        assert_eq!(whole.tables(), sliced.tables(), "seed {seed}");

        let reversed: Vec<&str> = lines.iter().rev().copied().collect();
        assert_eq!(whole.tables(), space_of(&reversed, &rules).tables(), "seed {seed}");

        run(&mut sliced, &reversed, &rules);
        assert_eq!(whole.tables(), sliced.tables(), "seed {seed}");
    }
}

#[test]
fn views_agree_with_the_state_of_the_resolver() {
    for seed in 100..140 {
        let events = random_events(seed, 120);
        let lines: Vec<&str> = events.iter().map(String::as_str).collect();
        let mut space = Space::new();
        let mut as_they_stood = Vec::new();
        for slice in lines.chunks(25) {
            run(&mut space, slice, &sequential());
            let views = space.views(None);
            as_they_stood.push((
                super::time::write_micros(space.last_uuid_ts).expect("the time is in range"),
                views.clone(),
            ));
            let mut remembered: Vec<String> = Vec::new();
            for profile in &space.graph.profiles {
                let canonical = &space.graph.profiles[profile.canonical].segment_id;
                remembered.push(format!("{} {canonical}", profile.segment_id));
            }
            remembered.sort();
            assert_eq!(picked(&views, "id_graph", &["segment_id", "canonical_segment_id"]), remembered);

            let mut traits: Vec<String> = Vec::new();
            for (index, of_profile) in &space.traits {
                for one in of_profile.values() {
                    for leaf in &one.leaves {
                        let segment_id = &space.graph.profiles[*index].segment_id;
                        let seconds = super::time::write_millis(one.when.0).expect("the time is in range");
                        let value = plain(&leaf.value);
                        traits.push(format!("{segment_id} {} {value} {} {seconds}", leaf.column, one.seq));
                    }
                }
            }
            traits.sort();
            let mut in_view =
                picked(&views, "user_traits", &["canonical_segment_id", "name", "value", "seq", "timestamp"]);
            in_view.sort();
            assert_eq!(in_view, traits, "seed {seed}");
        }
        for (uuid_ts, views) in as_they_stood {
            assert_eq!(space.views(Some(&uuid_ts)), views, "seed {seed}");
        }
    }
}
