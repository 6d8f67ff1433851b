//! What a backfill did, for people.

use std::fmt::Write;

use profiles_sync::{backfill::ProfilesOptions, summary::ProfilesSummary};

use super::{Lines, count, seconds};

/// The summary of a backfill of profiles.
pub(crate) fn profiles(summary: &ProfilesSummary, options: &ProfilesOptions) -> String {
    let mut text = format!(
        "{} {} from {} into {} in {}",
        if options.dry_run { "would adopt" } else { "adopted" },
        count(summary.profiles, "profile"),
        options.state.display(),
        options.space.display(),
        seconds(summary.seconds),
    );
    if summary.adopted_before {
        return text;
    }
    let mut lines = Lines::new(&mut text);
    lines.number("merged segment ids adopted", summary.merged);
    lines.number("identifiers adopted", summary.identifiers.values().sum());
    lines.indented(&summary.identifiers);
    lines.number("traits adopted", summary.traits);
    let known = summary.profiles_known + summary.identifiers_known + summary.traits_known;
    lines.number("rows known already", known);
    lines.number("conflicts", summary.conflicts.values().sum());
    lines.indented(&summary.conflicts);
    lines.number(if options.dry_run { "rows not added" } else { "rows added" }, summary.rows.values().sum());
    lines.tables(&summary.rows);
    let _ = write!(text, "\nread `{}`", summary.tables_used.join("`, `"));
    for (table, cost) in &summary.tables_missing {
        let _ = write!(text, "\nwithout `{table}`: {cost}");
    }
    if !summary.conflicts.is_empty() && !options.dry_run {
        let path = options.space.join("backfill_conflicts.ndjson");
        let _ = write!(text, "\nrows set aside, each with its reason, are in {}", path.display());
    }
    text
}
