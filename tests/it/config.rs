//! The config file: how it is read, printed, found and recorded, its errors, and its effect on the tables.

use std::{fs, path::Path};

use profiles_sync::config::{self, rules::Rules};

use crate::{
    random::{Random, config as random_config},
    support::{Work, names_in, project, project_text},
};

/// Returns the error for an invalid config, with its hint.
fn refusal(text: &str) -> String {
    let error = config::parse(text, Path::new("rules.toml")).expect_err(text);
    format!("{error}\n{}", error.hint_text().expect("the error has a hint"))
}

const SEE_PRINTED: &str = "run `profiles-sync ingest --print-config` to see every key and its default";

/// Invalid configs, each with the start of its error from the line number on, and its hint.
const REFUSALS: [(&str, &str, &str); 36] = [
    (
        "[drop]\nevent = [\"x\"]",
        "1: invalid type: map, expected a sequence",
        "write this table in two brackets, since it may be repeated: `[[drop]]`",
    ),
    (
        "[sync]\ntables = \"pages\"",
        "2: invalid type: string \"pages\", expected a sequence",
        "write a list, such as `[\"one\", \"other\"]`",
    ),
    (
        "dedupe_window_days = \"5\"",
        "1: invalid type: string \"5\", expected i64",
        "write a whole number, without quotes",
    ),
    (
        "[identity.types.email]\nproperties = \"yes\"",
        "2: invalid type: string \"yes\", expected a boolean",
        "write `true` or `false`, without quotes",
    ),
    (
        "dedupe_windows_days = 3",
        "1: unknown field `dedupe_windows_days`, expected one of `segment_ids`, `compress`, `dedupe_window_days`",
        "did you mean `dedupe_window_days`?",
    ),
    ("\n\n[indentity]\n", "3: unknown field `indentity`", "did you mean `identity`?"),
    ("[identity.types.email]\nlimits = 3", "2: unknown field `limits`", "did you mean `limit`?"),
    ("[identity.types.email]\nwindow = \"dayly\"", "2: unknown variant `dayly`", "did you mean `daily`?"),
    (
        "[identity.types.ios.push_token]\nlimit = 2",
        "1: unknown field `push_token`",
        "quote types with a dot: `[identity.types.\"android.id\"]`",
    ),
    ("[[drop]]\nevents = [\"x\"]", "2: unknown field `events`", "did you mean `event`?"),
    ("[sources.s1]\nlabel = \"x\"", "2: unknown field `label`", SEE_PRINTED),
    ("[sync]\nexclude_table = []", "2: unknown field `exclude_table`", "did you mean `exclude_tables`?"),
    ("segment_ids = \"random\"", "1: unknown variant `random`", SEE_PRINTED),
    ("[identity\n", "1: ", SEE_PRINTED),
    ("[identity.types.email]\nlimit = 1\nlimit = 2", "3: duplicate key", SEE_PRINTED),
    ("dedupe_window_days = -1", "1: -1 days are not allowed", "give a number from 0 to 36500"),
    (
        "max_batch_bytes = 0",
        "1: 0 bytes per batch are not allowed",
        "give a number from 1 to 9223372036854775807",
    ),
    ("max_tables = 0", "1: 0 event tables are not allowed", "give a number from 1 to 4294967295"),
    ("max_traits = 0", "1: 0 traits are not allowed", "give a number from 1 to 4294967295"),
    (
        "[identity]\nmax_merges = -1",
        "2: -1 merged profiles are not allowed",
        "give a number from 0 to 4294967295",
    ),
    (
        "[identity]\nmax_identifiers = 0",
        "2: 0 identifiers are not allowed",
        "give a number from 1 to 4294967295",
    ),
    (
        "[identity.types.email]\n\nlimit = 5000000000",
        "3: 5000000000 values are not allowed",
        "give a number from 0 to 4294967295",
    ),
    (
        "[identity]\norder = [\n  \"email\",\n  \"Group_ID\",\n]",
        "4: \"Group_ID\" in `order` does not identify a profile",
        "remove it",
    ),
    (
        "[identity]\norder = [\"EMAIL\", \"email\"]",
        "2: \"email\" is listed twice in `order`",
        "remove the second one",
    ),
    (
        "[identity]\norder = [\"email\", \"user_id\", \"email\"]",
        "2: \"email\" is listed twice in `order`",
        "remove the second one",
    ),
    (
        "[identity.types.Email]\n[identity.types.email]",
        "2: identifier type \"email\" is defined twice, in different case",
        "keep one of the two; types are compared in lower case",
    ),
    (
        "[identity.types.group_id]",
        "1: \"group_id\" does not identify a profile",
        "remove the type; an account's id never identifies a profile",
    ),
    (
        "[identity.types.email]\ncustom = true",
        "2: \"email\" is a built-in type and cannot be custom",
        "remove the line; set `properties = true` to search `properties` too",
    ),
    (
        "[identity]\nblocked_patterns = [\"ok\",\n\"(\"]",
        "3: the pattern `(` does not compile: unclosed group",
        "write a regular expression, or list a fixed value under `blocked`",
    ),
    (
        "[identity.types.email]\nblocked_patterns = [\"a{,}{\"]",
        "2: the pattern `a{,}{` does not compile: ",
        "write a regular expression, or list a fixed value under `blocked`",
    ),
    (
        "[[drop]]\ntype = [\"track\"]\n[[drop]]\ntype = [\"trakc\"]",
        "4: \"trakc\" is not a call",
        "did you mean \"track\"?",
    ),
    (
        "[[drop]]\ntype = [\"Click*\"]",
        "2: \"Click*\" is not a call",
        "the calls are identify, track, page, screen, group and alias",
    ),
    (
        "[identity]\n\n[[drop]]\nevent = [\"x\"]\n\n[[drop]]\n\n[sync]\n",
        "6: a `[[drop]]` rule without conditions would drop every event",
        "add `type`, `event` or `source`, or remove the rule",
    ),
    (
        "[[drop]]\ntype = [\"identify\", \"*r*\", \"*a*\"]",
        "1: this `[[drop]]` rule matches every call, so it would drop every event",
        "list fewer calls, or add `event` or `source`",
    ),
    (
        "[identity]\n\n[[drop]]\ntype = [\"page\", \"s*\"]\nevent = [\"Order *\"]",
        "3: this `[[drop]]` rule matches no event: only track calls have an `event`",
        "add \"track\" to its `type`, or remove its `event`",
    ),
    (
        "[[drop]]\nsource = [\"s1\"]\nevent = []",
        "1: `event = []` in this `[[drop]]` rule matches no event",
        "list at least one value, or remove the line",
    ),
];

#[test]
fn invalid_configs_are_reported_with_line_and_hint() {
    for (text, said, hint) in REFUSALS {
        let told = refusal(text);
        assert!(
            told.starts_with(&format!("rules.toml:{said}")) && told.ends_with(&format!("\n{hint}")),
            "{text}\n{told}"
        );
    }
}

#[test]
fn a_config_that_is_not_utf_8_is_refused_with_its_line() {
    let error = config::read(b"[identity]\nblocked = [\"caf\xe9\"]\n", Path::new("rules.toml")).unwrap_err();
    assert_eq!(error.to_string(), "rules.toml:2: the config is not UTF-8");
    assert_eq!(error.hint_text(), Some("save it as UTF-8"));
    config::read(b"\xef\xbb\xbfdedupe_window_days = 3\r\n", Path::new("rules.toml")).unwrap();
}

/// Returns the fenced blocks of a language in the page on identity.
fn shown(kind: &str) -> Vec<String> {
    let page = project_text("docs/identity.md");
    let mut blocks = Vec::new();
    for block in page.split(&format!("```{kind}\n")).skip(1) {
        blocks.push(block.split("```").next().unwrap_or_default().to_owned());
    }
    assert!(!blocks.is_empty(), "{kind}");
    blocks
}

#[test]
fn the_page_on_identity_explains_each_key_with_its_default() {
    let page = project_text("docs/identity.md");
    let row = |key: &str| {
        let is_row = |line: &&str| {
            line.split(" | ").next().is_some_and(|cell| {
                cell.starts_with("| `") && cell.split('`').any(|name| name.rsplit('.').next() == Some(key))
            })
        };
        page.lines().find(is_row).unwrap_or_else(|| panic!("`{key}` is not explained"))
    };
    let default = config::print(&Rules::default());
    for line in default.lines().filter(|line| !line.starts_with('#')) {
        let Some((key, value)) = line.split_once(" = ") else { continue };
        let defaults = row(key).split(" | ").nth(1).unwrap();
        assert!(defaults.contains(&format!("`{value}`")), "`{key}` is `{value}`, not {defaults}");
    }
    for key in ["compress", "max_rejects", "custom", "type", "event", "source", "name", "slug"] {
        row(key);
    }
}

#[test]
fn the_page_on_identity_shows_valid_rules_and_real_rows() {
    for rules in shown("toml") {
        config::parse(&rules, Path::new("docs/identity.md"))
            .unwrap_or_else(|error| panic!("{error}\n{rules}"));
    }
    let cases = project("fixtures/cases");
    let rows: Vec<String> = names_in(&cases)
        .iter()
        .filter_map(|case| fs::read_to_string(cases.join(case).join("out/identity_violations.ndjson")).ok())
        .collect();
    for row in shown("json") {
        assert!(rows.iter().any(|table| table.contains(&row)), "{row}");
    }
    let page = project_text("docs/identity.md");
    for link in page.split("](../").skip(1) {
        let path = link.split(')').next().unwrap();
        assert!(project(path).is_dir(), "{path}");
    }
}

#[test]
fn the_default_config_prints_and_reads_back_as_itself() {
    let rules = config::parse("", Path::new("empty.toml")).unwrap();
    let printed = config::print(&rules);
    assert_eq!(config::print(&config::parse(&printed, Path::new("printed.toml")).unwrap()), printed);
    let lines: Vec<_> = printed.lines().collect();
    for line in
        ["segment_ids = \"ksuid\"", "dedupe_window_days = 30", "max_merges = 100", "max_identifiers = 1000"]
    {
        assert!(lines.contains(&line), "{line}\n{printed}");
    }
}

/// A config that sets every key to something other than its default.
const RICH: &str = r#"
segment_ids = "sequential"
dedupe_window_days = 0
max_batch_bytes = 1
max_tables = 2
max_traits = 3

[identity]
order = ["loyalty \"id\"", "anonymous_id"]
suggested_blocks = false
blocked = ["N/A", "tab\there", "na\u00efve"]
blocked_patterns = ['^test\d+$', "(?i)^\""]
max_merges = 0
max_identifiers = 1

[identity.types."Loyalty \"ID\""]
limit = 0
window = "annually"
blocked = ["X"]
blocked_patterns = ['\s']
normalize = "both"
properties = true
custom = false

[identity.types.EMAIL]
limit = 4294967295
window = "weekly"
normalize = "lowercase"
properties = true

[identity.types."a.b\nc"]
normalize = "trim"

[sync]
tables = ["pages", "order_*"]
exclude_tables = ["*_test"]
columns = ["pages.*", "*.id", "*.segment_id"]
exclude_columns = ["*.context_ip"]

[sources."s 1"]
name = "The \"Shop\""
slug = "shop"

[sources.s2]
slug = "app"

[sources.s3]

[[drop]]
type = ["track", "pa*"]
event = ["Heartbeat \"x\"", "*"]

[[drop]]
source = ["s?", "[s]*"]
"#;

/// Asserts that two configs mean the same. One may list types with their defaults that the other leaves out, as printed
/// configs do.
fn assert_same(again: &Rules, rules: &Rules, text: &str) {
    assert_eq!(config::print(again), config::print(rules), "{text}");
    for name in again.types.keys().chain(rules.types.keys()) {
        assert_eq!(format!("{:?}", again.of_type(name)), format!("{:?}", rules.of_type(name)), "{text}");
    }
    let rest = |rules: &Rules| format!("{:?}", Rules { types: [].into(), ..rules.clone() });
    assert_eq!(rest(again), rest(rules), "{text}");
}

#[test]
fn a_rich_config_prints_and_reads_back_as_itself() {
    let rules = config::parse(RICH, Path::new("rich.toml")).unwrap();
    let printed = config::print(&rules);
    let again =
        config::parse(&printed, Path::new("printed.toml")).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    assert_same(&again, &rules, RICH);
    for (name, values) in [("loyalty \"id\"", 0), ("email", u32::MAX), ("phone", 5), ("user_id", 1)] {
        assert_eq!(again.limit_of(name).values, values, "{name}");
    }
}

#[test]
fn a_thousand_random_configs_print_and_read_back_as_themselves() {
    for seed in 0..1000 {
        let config = random_config::make(&mut Random(seed));
        let rules = config::parse(&config.text, Path::new("random.toml")).unwrap();
        let again = config::parse(&config::print(&rules), Path::new("printed.toml")).unwrap();
        assert_same(&again, &rules, &config.text);
    }
}

const EVENTS: &str = r#"{"type":"page","messageId":"m1","userId":"u1","name":"Home","projectId":"s1","timestamp":"2024-01-01"}
{"type":"track","messageId":"m2","userId":"u1","event":"Order Completed","projectId":"s2","properties":{"total":5,"note":"x"},"timestamp":"2024-01-02"}
{"type":"track","messageId":"m3","userId":"u1","event":"Heartbeat","projectId":"s1","timestamp":"2024-01-03"}
"#;

fn ingest(work: &Work, events: &str, config: Option<&str>) -> String {
    let config = config.map_or(Vec::new(), |file| vec!["--config", file]);
    let args =
        [&["ingest", events, "--space", "space", "--segment-ids", "sequential"], config.as_slice()].concat();
    let assert = work.program(&args).assert().success().stdout("");
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

fn refused(work: &Work, args: &[&str], said: &str) {
    let assert = work.program(args).assert().code(2).stdout("");
    let told = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(told.starts_with(said), "{told}");
    assert!(!work.path("space").exists(), "the space was created");
}

#[test]
fn a_missing_or_invalid_config_stops_the_run_before_it_starts() {
    let work = Work::new();
    work.write("events.ndjson", EVENTS);
    work.write("wrong.toml", "[identity]\nmax_merge = 5\n");
    work.write("latin.toml", b"# caf\xe9\n");
    for flag in [&["events.ndjson", "--space", "space"][..], &["--print-config"]] {
        let args = |file| [&["ingest", "--config", file], flag].concat();
        refused(
            &work,
            &args("missing.toml"),
            "error: `missing.toml`: no such config file\nhint: give one with `--config FILE`\n",
        );
        refused(&work, &args("wrong.toml"), "error: wrong.toml:2: unknown field `max_merge`");
        refused(&work, &args("latin.toml"), "error: latin.toml:1: the config is not UTF-8\nhint: ");
    }
}

#[test]
fn a_given_config_overrides_the_one_in_the_space() {
    let work = Work::new();
    work.write("events.ndjson", EVENTS);
    work.write("space/profiles-sync.toml", "[identity.types.user_id]\nlimit = 0\n");
    ingest(&work, "events.ndjson", None);
    assert!(work.rows("space/id_graph_updates.ndjson").is_empty(), "a user id was mapped");
    let print = |args: &[&str]| {
        let args = [&["ingest", "--print-config"], args].concat();
        String::from_utf8(work.program(&args).assert().success().get_output().stdout.clone()).unwrap()
    };
    assert!(print(&["--space", "space"]).contains("[identity.types.user_id]\nlimit = 0\n"));
    work.write("given.toml", "[identity.types.user_id]\nlimit = 2\n");
    assert!(
        print(&["--space", "space", "--config", "given.toml"])
            .contains("[identity.types.user_id]\nlimit = 2\n")
    );
    assert!(print(&[]).contains("[identity.types.user_id]\nlimit = 1\n"));
}

#[test]
fn the_manifest_records_the_config_and_changes_are_reported() {
    let work = Work::new();
    for (number, line) in EVENTS.lines().enumerate() {
        work.write(&format!("{number}.ndjson"), line);
    }
    let manifest =
        || -> serde_json::Value { serde_json::from_str(&work.read("space/manifest.json")).unwrap() };
    let used = |manifest: &serde_json::Value| {
        let config = manifest["config"].clone();
        (config["digest"].as_str().unwrap().to_owned(), config["text"].as_str().unwrap().to_owned())
    };
    let said = ingest(&work, "0.ndjson", None);
    assert!(!said.contains("the config"), "{said}");
    let (first, text) = used(&manifest());
    let sequential = config::parse("segment_ids = \"sequential\"", Path::new("")).unwrap();
    assert_eq!(text, config::print(&sequential), "the rules in force, including flags");

    work.write(
        "rules.toml",
        "[identity]\nmax_merges = 7\n[identity.types.crm]\nlimit = 2\n[[drop]]\nevent = [\"x\"]\n",
    );
    let said = ingest(&work, "1.ndjson", Some("rules.toml"));
    for change in [
        "`identity.max_merges` was `100`, is `7`",
        "`identity.types.crm.limit` was not set, is `2`",
        "`drop` was not set, is `[{ event = [\"x\"] }]`",
    ] {
        let sentence = format!("the config changed since the last run: {change} (for new events only)\n");
        assert!(said.contains(&sentence), "{sentence}{said}");
    }
    assert!(!said.contains("`dedupe_window_days`"), "an unchanged key was reported\n{said}");
    let (second, text) = used(&manifest());
    assert_ne!(first, second);
    assert!(text.contains("max_merges = 7\n"), "{text}");

    let said = ingest(&work, "2.ndjson", Some("rules.toml"));
    assert!(!said.contains("the config"), "{said}");
    assert_eq!(used(&manifest()).0, second);
    let runs = manifest()["runs"].clone();
    let of_runs: Vec<_> =
        runs.as_array().unwrap().iter().map(|run| run["config"].as_str().unwrap()).collect();
    assert_eq!(of_runs, [first.as_str(), &second, &second], "the config of each run");
}

/// Returns the tables of the space that have rows.
fn tables(work: &Work) -> Vec<String> {
    let names = names_in(&work.path("space")).into_iter();
    let tables = names.filter_map(|name| name.strip_suffix(".ndjson").map(str::to_owned));
    tables.filter(|table| !work.read(&format!("space/{table}.ndjson")).is_empty()).collect()
}

#[test]
fn globs_exclude_tables_and_columns_but_never_raw_tables() {
    let work = Work::new();
    work.write("events.ndjson", EVENTS);
    work.write(
        "rules.toml",
        "[sync]\ntables = [\"*s\", \"order_*\"]\nexclude_tables = [\"pag*\"]\n\
         columns = [\"order_completed.*\", \"tracks.id\", \"tracks.event\", \"*.received_at\"]\n\
         exclude_columns = [\"*_completed.note\", \"id_graph_updates.*\"]\n",
    );
    ingest(&work, "events.ndjson", Some("rules.toml"));
    assert_eq!(
        tables(&work),
        ["external_id_mapping_updates", "id_graph_updates", "identity_links", "order_completed", "tracks"]
    );
    let columns = |table: &str| -> Vec<String> {
        let rows = work.rows(&format!("space/{table}.ndjson"));
        rows[0].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(columns("identity_links"), ["received_at"]);
    assert_eq!(columns("tracks"), ["event", "id", "received_at"]);
    let of_order = columns("order_completed");
    assert!(of_order.contains(&"total".to_owned()) && !of_order.contains(&"note".to_owned()), "{of_order:?}");
    assert_eq!(columns("id_graph_updates").len(), 13, "raw tables have all columns");
}

#[test]
fn dropped_events_are_counted_and_write_nothing() {
    let work = Work::new();
    work.write("events.ndjson", EVENTS);
    work.write(
        "rules.toml",
        "[[drop]]\ntype = [\"track\"]\nevent = [\"Heart*\"]\n[[drop]]\nsource = [\"s2\"]\n",
    );
    let args = ["ingest", "events.ndjson", "--space", "space", "--config", "rules.toml", "--json"];
    let assert = work.program(&args).assert().success().stderr("");
    let summary: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!((&summary["events"], &summary["filtered"]), (&3.into(), &2.into()));
    assert_eq!(tables(&work), ["external_id_mapping_updates", "id_graph_updates", "identity_links", "pages"]);
}

#[test]
fn rows_have_the_names_of_their_sources() {
    let work = Work::new();
    work.write("events.ndjson", EVENTS.replace("\"u1\",\"event\"", "\"u2\",\"event\""));
    work.write(
        "rules.toml",
        "[sources.s1]\nname = \"Shop\"\nslug = \"shop\"\n[sources.s2]\nslug = \"app\"\n",
    );
    ingest(&work, "events.ndjson", Some("rules.toml"));
    for table in ["id_graph_updates", "external_id_mapping_updates"] {
        let rows = work.rows(&format!("space/{table}.ndjson"));
        let told: Vec<_> = rows
            .iter()
            .map(|row| (&row["triggering_event_source_name"], &row["triggering_event_source_slug"]))
            .collect();
        assert_eq!(told[..2], [(&"Shop".into(), &"shop".into()), (&serde_json::Value::Null, &"app".into())]);
    }
}

#[test]
fn likely_mistakes_are_reported_once() {
    let work = Work::new();
    let event = |n: u32| {
        format!(
            "{{\"type\":\"track\",\"event\":\"x\",\"messageId\":\"m{n}\",\"userId\":\"u\",\"timestamp\":\"2030-01-01\"}}\n"
        )
    };
    work.write("one.ndjson", event(1));
    work.write("two.ndjson", event(2));
    work.write(
        "rules.toml",
        "[identity]\norder = [\"user_ids\", \"partner\", \"loyalty_card\"]\n[identity.types.userId]\n[identity.types.emial]\n[identity.types.loyalty_card]\n\
         [sync]\ntables = [\"pagse\", \"order_completed\", \"Order Completed\", \"user_*\", \"order_{a,b}*\"]\nexclude_tables = [\"id_graph_updates\"]\n\
         exclude_columns = [\"context_ip\", \"page.context_ip\", \"tracks.context_ip\", \"*.context_locale\"]\n",
    );
    let ingest = |input| {
        let assert =
            work.program(&["ingest", input, "--space", "space", "--config", "rules.toml"]).assert().success();
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    let told = ingest("one.ndjson");
    let doubts: Vec<&str> =
        told.lines().filter(|line| line.starts_with("note: `") && !line.contains(" was ")).collect();
    assert_eq!(
        doubts,
        [
            "note: `[identity.types.emial]` is a custom type: did you mean `email`?",
            "note: `[identity.types.userid]` is a custom type: did you mean `user_id`?",
            "note: `identity.order` ranks `user_ids`, a type that only occurs in `context.externalIds`: did you mean `user_id`?",
            "note: `identity.order` ranks `partner`, a type that only occurs in `context.externalIds`",
            "note: `order_{a,b}*` in `[sync]` matches nothing: only `*` is a wildcard, so list each name",
            "note: `[sync]` lists the event table `pagse`: did you mean the built-in table `pages`?",
            "note: `[sync]` lists the table `Order Completed`, which cannot exist: did you mean `order_completed`?",
            "note: `[sync]` excludes `id_graph_updates`, but raw tables are always written",
            "note: `context_ip` in `[sync]` matches nothing, because columns are TABLE.COLUMN: did you mean `*.context_ip`?",
            "note: `[sync]` lists the column `page.context_ip`: did you mean `pages.context_ip`?",
        ],
        "{told}"
    );
    let told = ingest("two.ndjson");
    assert!(!told.contains("did you mean"), "{told}");
}
