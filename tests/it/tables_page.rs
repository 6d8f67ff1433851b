//! `docs/tables.md` describes exactly the tables and the fixed columns that the program writes, in the same order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use profiles_sync::{
    event::reject::RejectReason,
    json::{Document, Tape},
};
use serde_json::Value;

use crate::support::{
    Work, project, project_text,
    tree::{self, Tree},
};

/// Events that give a row in every table and, except for one trait, nothing but fixed columns.
const EVENTS: &str = r#"
{"type":"page","messageId":"m1","userId":"u1","anonymousId":"null","name":"Home","category":"shop","timestamp":"2026-01-05T10:01:00Z"}
{"type":"screen","messageId":"m2","userId":"u1","name":"Home","category":"shop","timestamp":"2026-01-05T10:02:00Z"}
{"type":"identify","messageId":"m3","userId":"u1","traits":{"one_trait":7},"timestamp":"2026-01-05T10:03:00Z"}
{"type":"track","messageId":"m4","userId":"u1","event":"Order Completed","timestamp":"2026-01-05T10:04:00Z"}
{"type":"group","messageId":"m5","userId":"u1","groupId":"g1","timestamp":"2026-01-05T10:05:00Z"}
{"type":"alias","messageId":"m6","userId":"u1","previousId":"a1","timestamp":"2026-01-05T10:06:00Z"}
{"type":"identify","messageId":"m7","anonymousId":"a2","traits":{"one_trait":8},"timestamp":"2026-01-05T10:07:00Z"}
{"type":"page","messageId":"m8","userId":"u1","anonymousId":"a2","name":"Home","timestamp":"2026-01-05T10:08:00Z"}
no event
"#;
const TRAIT: &str = "one_trait";

/// Headings that describe more than one table.
const EVERY_EVENT_TABLE: &str = "Every event table";
const OWN_TABLES: &str = "One table for each track event name";
const EVENT_TABLES: [&str; 7] = ["identifies", "pages", "screens", "groups", "aliases", "tracks", OWN_TABLES];

/// The description of a table.
#[derive(Debug, Default, Clone)]
struct Section {
    text: String,
    /// Name, type and example of each column.
    columns: Vec<(String, String, String)>,
}

/// Parses the sections of the page that describe a table, by heading.
fn sections() -> BTreeMap<String, Section> {
    let page = project_text("docs/tables.md");
    let (tables, _) = page.split_once("\n## Queries\n").unwrap();
    let mut sections = BTreeMap::new();
    for text in tables.split("\n### ").skip(1) {
        let text = text.split("\n## ").next().unwrap();
        let (heading, text) = text.split_once('\n').unwrap();
        let mut section = Section { text: text.to_owned(), columns: Vec::new() };
        let rows = text.lines().skip_while(|line| *line != "| column | type | meaning | example |").skip(2);
        for row in rows.take_while(|line| line.starts_with('|')) {
            let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            assert_eq!(cells.len(), 4, "{row}");
            // A row may describe several columns, with an example of each.
            let list =
                |cell: &str| cell.split("`, `").map(|item| item.trim_matches('`').to_owned()).collect();
            let (names, examples): (Vec<String>, Vec<String>) = (list(cells[0]), list(cells[3]));
            assert_eq!(names.len(), examples.len(), "{row}");
            for (name, example) in names.into_iter().zip(examples) {
                section.columns.push((name, cells[1].to_owned(), example));
            }
        }
        assert!(!section.columns.is_empty(), "{heading}");
        // Two tables with the same columns may share a section.
        for name in heading.split("` and `") {
            let former = sections.insert(name.trim_matches('`').to_owned(), section.clone());
            assert!(former.is_none(), "{heading}");
        }
    }
    sections
}

/// Ingests `EVENTS` and returns the tables and views.
fn space() -> Tree {
    let work = Work::new();
    work.write("in/events.ndjson", EVENTS);
    work.program(&["ingest", "in", "--space", "space", "--materialize"]).assert().success();
    // The first row contradicts the space, so it goes to `backfill_conflicts`.
    let state = [("user_id", "u1"), ("email", "new@example.com")].map(|(kind, value)| {
        format!("{{\"canonical_segment_id\":\"use_other\",\"type\":\"{kind}\",\"value\":\"{value}\"}}\n")
    });
    work.write("state/user_identifiers.ndjson", state.concat());
    work.program(&["backfill", "profiles", "state", "--space", "space"]).assert().success();
    tree::read(&work.path("space"))
}

/// Returns the column names of a row, in order.
fn columns(row: &str) -> Vec<String> {
    let mut tape = Tape::default();
    tape.read(row.as_bytes()).unwrap();
    let document = Document { text: row.as_bytes(), tokens: &tape.tokens };
    let name = |key| String::from_utf8(document.string(key).unwrap().into_owned()).unwrap();
    document.members(0).map(|(key, _)| name(key)).collect()
}

/// Returns the heading under which a table is described.
fn heading(table: &str) -> &str {
    if table == "order_completed" { OWN_TABLES } else { table }
}

/// Returns the fixed columns that the page lists for a table. Columns of traits and properties contain a `*`.
fn fixed(sections: &BTreeMap<String, Section>, heading: &str) -> Vec<String> {
    let common = EVENT_TABLES.contains(&heading).then_some(EVERY_EVENT_TABLE);
    let columns = common.into_iter().chain([heading]).flat_map(|heading| &sections[heading].columns);
    columns.map(|column| column.0.clone()).filter(|name| !name.contains('*')).collect()
}

#[test]
fn the_tables_page_lists_exactly_the_columns_written() {
    let sections = sections();
    let mut headings = BTreeSet::from([EVERY_EVENT_TABLE.to_owned()]);
    for (path, bytes) in space() {
        let table = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = String::from_utf8(bytes).unwrap();
        let heading = heading(&table);
        assert!(sections.contains_key(heading), "docs/tables.md has no section `{heading}`");
        assert!(!text.is_empty(), "{table} has no row");
        for row in text.lines() {
            let mut actual = columns(row);
            actual.retain(|name| name != TRAIT);
            assert_eq!(fixed(&sections, heading), actual, "{table}");
        }
        headings.insert(heading.to_owned());
    }
    assert_eq!(headings, sections.keys().cloned().collect());
}

#[test]
fn the_tables_page_gives_grain_key_order_and_join_of_each_table() {
    let page = project_text("docs/tables.md");
    let (tables, _) = page.split_once("\n## Queries\n").unwrap();
    let mut listed = BTreeSet::new();
    for overview in tables.split("| table | one row for | key | order of rows | join |\n").skip(1) {
        for row in overview.lines().skip(1).take_while(|line| line.starts_with('|')) {
            let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let [table, grain, key, order, _join] = cells[..] else { panic!("{row}") };
            assert!(![grain, key, order].contains(&""), "{row}");
            // A link to the section, but for all event tables together.
            let name = table.split('`').nth(1).unwrap_or(EVERY_EVENT_TABLE);
            assert!(name == EVERY_EVENT_TABLE || table == format!("[`{name}`](#{name})"), "{row}");
            assert!(listed.insert(name.to_owned()), "{row}");
        }
    }
    let sections = sections().into_keys().filter(|heading| !EVENT_TABLES.contains(&heading.as_str()));
    assert_eq!(listed, sections.collect());
}

#[test]
fn the_examples_on_the_tables_page_occur_in_golden_tables() {
    let mut tables: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut add = |tree: Tree| {
        for (path, bytes) in tree {
            let table = path.file_stem().unwrap().to_str().unwrap();
            let rows = String::from_utf8(bytes).unwrap();
            let rows = rows.lines().map(|row| serde_json::from_str::<Value>(row).unwrap());
            tables.entry(heading(table).to_owned()).or_default().extend(rows);
        }
    };
    add(space());
    for case in fs::read_dir(project("fixtures/cases")).unwrap() {
        add(tree::read(&case.unwrap().path().join("out")));
    }
    for (heading, section) in sections() {
        let names = if heading == EVERY_EVENT_TABLE { EVENT_TABLES.to_vec() } else { vec![heading.as_str()] };
        let rows: Vec<&Value> = names.iter().flat_map(|name| &tables[*name]).collect();
        for (column, kind, example) in section.columns.iter().filter(|column| !column.0.contains('*')) {
            let is_example = |value: &Value| match (value, kind.as_str()) {
                (Value::String(text), "time") => text == example && text.len() == 24,
                (Value::String(text), "fine time") => text == example && text.len() == 27,
                (Value::String(text), "seq") => text == example && text.len() == 19,
                (Value::String(text), "text") => text == example,
                (Value::Number(number), "number") => number.to_string() == *example,
                _ => false,
            };
            assert!(rows.iter().any(|row| is_example(&row[column])), "{heading}: {column} {kind} {example}");
        }
    }
}

#[test]
fn the_tables_page_explains_every_reason_for_rejection() {
    let text = &sections()["rejected"].text;
    let (_, reasons) = text.split_once("| reason |").unwrap();
    let explained: Vec<_> =
        reasons.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(explained, RejectReason::ALL.map(RejectReason::word));
}
