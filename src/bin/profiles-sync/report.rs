//! Summaries of runs, as text for people and as JSON for programs.

pub(crate) mod backfill;
pub(crate) mod diff;

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
};

use profiles_sync::{
    escape::escaped,
    jobs::{ingest::IngestOptions, verify::Verified},
    summary::{Fold, IngestSummary, MaterializeSummary},
    table::find::existing_file,
};
use serde::Serialize;

use crate::numbers::{bytes, count, thousands};

/// Longer lists of tables end in `and N more tables`.
const TABLES_SHOWN: usize = 12;

/// Text for people, as lines. Each line is escaped when it is printed, so a name from an input cannot add one.
pub(crate) struct TextReport(Vec<String>);

impl TextReport {
    pub(crate) fn new(headline: String) -> Self {
        Self(vec![headline])
    }

    pub(crate) fn line(&mut self, line: String) {
        self.0.push(line);
    }

    /// Returns the lines, escaped and joined.
    pub(crate) fn text(&self) -> String {
        let lines: Vec<_> = self.0.iter().map(|line| escaped(line)).collect();
        lines.join("\n")
    }
}

/// Serializes a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = escaped(&serde_json::to_string(value)?).into_owned().into_bytes();
    line.push(b'\n');
    Ok(line)
}

/// Reports the result of `--verify`.
pub(crate) fn verified(verified: &Verified, options: &IngestOptions) -> TextReport {
    let space = options.space.display();
    let mut text = if verified.differences.is_empty() {
        format!("{space} is as it was committed: ")
    } else {
        format!("{space} is not as it was committed; checked ")
    };
    let _ = write!(
        text,
        "{} and {} ({})",
        count(verified.tables, "table"),
        count(verified.views, "view"),
        bytes(verified.bytes),
    );
    // These are not counted if tables are damaged.
    if 0 < verified.profiles {
        let _ = write!(
            text,
            ", {}, {}, {}",
            count(verified.profiles, "profile"),
            count(verified.identifiers, "identifier"),
            count(verified.messages, "message"),
        );
    }
    let mut report = TextReport::new(text);
    for difference in &verified.differences {
        report.line(format!("  {difference}"));
    }
    report
}

/// Summarizes an `ingest`.
pub(crate) fn ingested(summary: &IngestSummary, options: &IngestOptions) -> TextReport {
    let mut report = TextReport::new(format!(
        "{} {} ({}) from {} into {} in {}, {} events a second",
        if options.dry_run { "would ingest" } else { "ingested" },
        events_accepted(summary),
        bytes(summary.bytes),
        count(summary.files, "file"),
        options.space.display(),
        seconds(summary.seconds),
        thousands(whole(summary.events_per_second)),
    ));
    let rejected = summary.rejected.values().sum();
    let mut lines = SummaryLines::new(&mut report);
    if !summary.files_skipped.is_empty() {
        lines.number("files skipped", summary.files_skipped.len() as u64);
    }
    lines.number("duplicates", summary.duplicates);
    if 0 < summary.late {
        lines.number("late events", summary.late);
    }
    if 0 < summary.filtered {
        lines.number("filtered out", summary.filtered);
    }
    lines.number("rejected lines", rejected);
    lines.indented(&summary.rejected);
    lines.number("unresolved events", summary.unresolved);
    lines.number("profiles created", summary.profiles_created);
    lines.number("profiles merged away", summary.profiles_merged);
    for (what, by_type) in [
        ("identifiers mapped", &summary.identifiers_mapped),
        ("identifiers demoted", &summary.identifiers_demoted),
        ("identifiers blocked", &summary.identifiers_blocked),
        ("identifiers capped", &summary.identifiers_capped),
    ] {
        if what != "identifiers capped" || !by_type.is_empty() {
            lines.number(what, by_type.values().sum());
            lines.indented(by_type);
        }
    }
    if !summary.notes.is_empty() {
        lines.number("notices about names and values", summary.notes.values().sum());
        lines.indented(&summary.notes);
    }
    lines.number(if options.dry_run { "rows not added" } else { "rows added" }, summary.rows.values().sum());
    lines.tables(&summary.rows);
    if !options.dry_run {
        for (table, what) in [
            ("rejected", "the rejected lines, each with its reason, are in"),
            ("identity_violations", "why identifiers were demoted, blocked or capped is in"),
        ] {
            if summary.rows.get(table).is_some_and(|rows| 0 < *rows) {
                report.line(format!("{what} {}", table_file(&options.space, table).display()));
            }
        }
    }
    report
}

/// Returns the number of accepted events, and of all events if they differ. The lines below it count the others.
fn events_accepted(summary: &IngestSummary) -> String {
    let all = count(summary.events, "event");
    match summary.accepted {
        accepted if accepted == summary.events => all,
        0 => format!("none of {all}"),
        accepted => format!("{} of {all}", thousands(accepted)),
    }
}

/// Summarizes a `materialize`.
pub(crate) fn materialized(summary: &MaterializeSummary) -> TextReport {
    let read: u64 = summary.rows_read.values().sum();
    let mut report = TextReport::new(match summary.fold {
        Fold::Current => format!(
            "the views of {} reflect all raw rows, checked in {}",
            count(summary.profiles, "profile"),
            seconds(summary.seconds),
        ),
        Fold::Incremental => format!(
            "brought the views of {} up to date from {} ({}) in {}",
            count(summary.profiles, "profile"),
            count(read, "row"),
            bytes(summary.bytes),
            seconds(summary.seconds),
        ),
        _ => format!(
            "materialized {} from {} ({}) in {}",
            count(summary.profiles, "profile"),
            count(read, "row"),
            bytes(summary.bytes),
            seconds(summary.seconds),
        ),
    });
    let mut lines = SummaryLines::new(&mut report);
    let rows = if summary.fold == Fold::Current { "rows" } else { "rows written" };
    lines.number(rows, summary.rows.values().sum());
    lines.tables(&summary.rows);
    if let Some(changes) = summary.changes {
        lines.number("changes written", changes);
    }
    for view in &summary.views_not_selected {
        report.line(format!("skipped `{view}`: the config does not select it"));
    }
    for (view, table) in &summary.views_left_out {
        report.line(format!("skipped `{view}`: it needs the raw table `{table}`"));
    }
    report
}

/// Lists the views that do not reflect all committed runs, with the command that updates them.
pub(crate) fn stale(views: &[(String, u64)], space: &Path) -> TextReport {
    let names: Vec<_> = views.iter().map(|(view, _)| view.as_str()).collect();
    TextReport::new(format!(
        "these views are out of date: `{}`; run `profiles-sync materialize --space {}`",
        names.join("`, `"),
        space.display()
    ))
}

/// Lines of a name and a number below the headline.
struct SummaryLines<'a>(&'a mut TextReport);

impl<'a> SummaryLines<'a> {
    fn new(report: &'a mut TextReport) -> Self {
        Self(report)
    }

    fn number(&mut self, name: &str, number: u64) {
        self.0.line(format!("  {name:<36}{:>15}", thousands(number)));
    }

    fn indented(&mut self, numbers: &BTreeMap<String, u64>) {
        for (name, number) in largest_first(numbers) {
            self.number(&format!("  {name}"), number);
        }
    }

    fn tables(&mut self, rows: &BTreeMap<String, u64>) {
        let tables = largest_first(rows);
        let shown = if tables.len() <= TABLES_SHOWN { tables.len() } else { TABLES_SHOWN - 1 };
        for (table, rows) in &tables[..shown] {
            self.number(&format!("  {table}"), *rows);
        }
        if shown < tables.len() {
            let rows = tables[shown..].iter().map(|(_, rows)| rows).sum();
            self.number(&format!("  and {} more tables", tables.len() - shown), rows);
        }
    }
}

/// Returns the entries that are not 0, largest first.
fn largest_first(numbers: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let mut largest: Vec<_> = numbers
        .iter()
        .map(|(name, number)| (name.as_str(), *number))
        .filter(|(_, number)| 0 < *number)
        .collect();
    largest.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    largest
}

fn seconds(number: f64) -> String {
    if number < 60.0 {
        return format!("{number:.1} s");
    }
    let whole = whole(number);
    if whole < 3600 {
        format!("{} min {} s", whole / 60, whole % 60)
    } else {
        format!("{} h {} min", whole / 3600, whole % 3600 / 60)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a speed or a duration is never negative"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

/// Returns the path of a table's file.
fn table_file(space: &Path, table: &str) -> PathBuf {
    existing_file(space, table).unwrap_or_else(|| space.join(table).with_extension("ndjson"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_easy_to_read() {
        for (number, expected) in
            [(0.04, "0.0 s"), (9.87, "9.9 s"), (75.0, "1 min 15 s"), (7260.0, "2 h 1 min")]
        {
            assert_eq!(seconds(number), expected);
        }
    }

    #[test]
    fn a_long_list_of_tables_is_cut() {
        let rows = (1..=20).map(|at| (format!("table_{at:02}"), at)).collect();
        let mut report = TextReport::new(String::new());
        SummaryLines::new(&mut report).tables(&rows);
        let text = report.text();
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(lines.len(), TABLES_SHOWN);
        assert!(lines[0].trim_start().starts_with("table_20 "));
        assert!(lines[11].trim_start().starts_with("and 9 more tables"));
        assert!(lines[11].ends_with(" 45"));
    }
}
