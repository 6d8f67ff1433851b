//! Summaries of backfills, as text for people.

use profiles_sync::{
    jobs::backfill::{ProfilesOptions, events::EventsOptions, raw::RawOptions},
    summary::{EventsSummary, ProfilesSummary, RawSummary},
};

use super::{SummaryLines, TextReport, seconds, table_file};
use crate::numbers::{bytes, count};

/// Summarizes a `backfill profiles`.
pub(crate) fn profiles(summary: &ProfilesSummary, options: &ProfilesOptions) -> TextReport {
    let mut report = TextReport::new(format!(
        "{} {} from {} into {} in {}",
        if options.dry_run { "would adopt" } else { "adopted" },
        count(summary.profiles, "profile"),
        options.state.display(),
        options.space.display(),
        seconds(summary.seconds),
    ));
    if summary.adopted_before {
        return report;
    }
    let mut lines = SummaryLines::new(&mut report);
    lines.number("merged segment ids adopted", summary.merged);
    lines.number("identifiers adopted", summary.identifiers.values().sum());
    lines.indented(&summary.identifiers);
    lines.number("traits adopted", summary.traits);
    let known = summary.profiles_known + summary.identifiers_known + summary.traits_known;
    lines.number("rows already known", known);
    lines.number("conflicts", summary.conflicts.values().sum());
    lines.indented(&summary.conflicts);
    if 0 < summary.older_rows {
        lines.number("older rows in the snapshot", summary.older_rows);
    }
    lines.number(if options.dry_run { "rows not added" } else { "rows added" }, summary.rows.values().sum());
    lines.tables(&summary.rows);
    report.line(format!("read `{}`", summary.tables_used.join("`, `")));
    for (table, cost) in &summary.tables_missing {
        report.line(format!("without `{table}`: {cost}"));
    }
    if (!summary.conflicts.is_empty() || 0 < summary.older_rows) && !options.dry_run {
        let path = table_file(&options.space, "backfill_conflicts");
        report.line(format!("rows that were not adopted, each with its reason, are in {}", path.display()));
    }
    report
}

/// Summarizes a `backfill events`.
pub(crate) fn events(summary: &EventsSummary, options: &EventsOptions) -> TextReport {
    let mut report = TextReport::new(format!(
        "{} {} of {} ({}) from {} into {} in {}",
        if options.dry_run { "would backfill" } else { "backfilled" },
        count(summary.written, "event"),
        count(summary.events, "event"),
        bytes(summary.bytes),
        count(summary.files, "file"),
        options.space.display(),
        seconds(summary.seconds),
    ));
    if let Some(since) = &summary.since {
        let until = summary.until.as_deref().unwrap_or("the end");
        report.line(format!("received from {since} to {until}"));
    }
    let mut lines = SummaryLines::new(&mut report);
    lines.number("outside the window", summary.outside_window);
    lines.number("already present", summary.known);
    lines.number("duplicates", summary.duplicates);
    if 0 < summary.not_wanted {
        lines.number("not in the selected tables", summary.not_wanted);
    }
    if 0 < summary.filtered {
        lines.number("filtered out", summary.filtered);
    }
    lines.number("rejected lines", summary.rejected.values().sum());
    lines.indented(&summary.rejected);
    lines.number("unresolved events", summary.unresolved);
    if !summary.notes.is_empty() {
        lines.number("notices about names and values", summary.notes.values().sum());
        lines.indented(&summary.notes);
    }
    lines.number(if options.dry_run { "rows not added" } else { "rows added" }, summary.rows.values().sum());
    lines.tables(&summary.rows);
    report
}

/// Summarizes a `backfill raw`.
pub(crate) fn raw(summary: &RawSummary, options: &RawOptions) -> TextReport {
    let mut report = TextReport::new(format!(
        "{} {} from {} into {} in {}",
        if options.dry_run { "would adopt" } else { "adopted" },
        count(summary.rows.values().sum(), "row"),
        options.raw.display(),
        options.space.display(),
        seconds(summary.seconds),
    ));
    if summary.adopted_before {
        return report;
    }
    let mut lines = SummaryLines::new(&mut report);
    lines.number("profiles", summary.profiles);
    lines.number("identifiers", summary.identifiers);
    lines.number("messages known", summary.messages);
    lines.number(if options.dry_run { "rows not added" } else { "rows added" }, summary.rows.values().sum());
    lines.tables(&summary.rows);
    if summary.as_views {
        report.line("profiles continue from the views of these tables".to_owned());
    }
    for (table, cost) in &summary.tables_missing {
        report.line(format!("without `{table}`: {cost}"));
    }
    if !summary.tables_passed_over.is_empty() {
        report.line(format!("not adopted: `{}`", summary.tables_passed_over.join("`, `")));
    }
    report
}
