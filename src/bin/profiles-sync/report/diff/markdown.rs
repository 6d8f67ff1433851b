//! The report as a comment for a pull request.

use std::fmt::Write;

use profiles_sync::{
    diff::{
        Comparison, Sameness,
        identity::compare::IdentityResult,
        ndjson::{side, story},
        outcome::{RowChange, RowKind},
        sides::{NEW, OLD},
        tables::TableResult,
    },
    escape::escaped,
};

use super::words::{arrow, columns_changed, event, headline, moved, remarks, some, value};
use crate::numbers::{count, thousands};

/// The number of events of a side to show for a profile.
const EVENTS_SHOWN: usize = 3;

/// Returns the report, with examples if they are wanted.
#[must_use]
pub(crate) fn write(comparison: &Comparison, examples: bool) -> String {
    let mut out = format!("### {}\n", cell(&headline(comparison)));
    let (same, others): (Vec<_>, Vec<_>) =
        comparison.tables.iter().partition(|table| table.same() && remarks(table).is_empty());
    if !others.is_empty() {
        out.push_str("\n| table | same | added | removed | changed | remarks |\n");
        out.push_str("| --- | ---: | ---: | ---: | ---: | --- |\n");
        for table in &others {
            let rows = &table.outcome;
            let [added, removed, changed] = RowKind::ALL.map(|kind| thousands(rows.count(kind)));
            let same = thousands(rows.same);
            let _ = writeln!(
                out,
                "| {} | {same} | {added} | {removed} | {changed} | {} |",
                code(&table.name),
                cell(&remarks(table).join("; "))
            );
        }
    }
    if !same.is_empty() {
        let names: Vec<String> = same.iter().map(|table| code(&table.name)).collect();
        let _ = writeln!(out, "\nThe same: {}.", names.join(", "));
    }
    if examples && comparison.sameness == Sameness::Different {
        for table in &others {
            details(&mut out, table);
        }
    }
    if let Some(identity) = &comparison.identity {
        profiles(&mut out, identity, examples);
    }
    out
}

fn details(out: &mut String, table: &TableResult) {
    if table.outcome.examples.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n<details><summary><code>{}</code></summary>\n", html(&table.name));
    let changed: Vec<String> = columns_changed(table)
        .iter()
        .take(10)
        .map(|(name, n)| format!("{} {}", code(name), thousands(*n)))
        .collect();
    if !changed.is_empty() {
        let _ = writeln!(out, "Columns changed: {}.\n", changed.join(", "));
    }
    out.push_str("| | key | column | old | new |\n| --- | --- | --- | --- | --- |\n");
    for kind in RowKind::ALL {
        for example in table.outcome.examples.iter().filter(|example| example.kind == kind) {
            row(out, example);
        }
    }
    out.push_str("\n</details>\n");
}

fn row(out: &mut String, change: &RowChange) {
    let key: Vec<String> = change.key.iter().map(|(_, json)| value(Some(json))).collect();
    let mut key = cell(&key.join(", "));
    let mut word = change.kind.word();
    if change.kind != RowKind::Changed {
        let columns: Vec<String> = change
            .cells
            .iter()
            .filter(|of_row| change.key.iter().all(|(name, _)| *name != of_row.name))
            .take(6)
            .map(|of_row| {
                format!("{}: {}", of_row.name, value(of_row.old.as_deref().or(of_row.new.as_deref())))
            })
            .collect();
        let columns = cell(&columns.join(", "));
        let (old, new) = if change.kind == RowKind::Removed { (&*columns, "") } else { ("", &*columns) };
        let _ = writeln!(out, "| {word} | {key} | | {old} | {new} |");
        return;
    }
    for of_row in &change.cells {
        let [old, new] = [&of_row.old, &of_row.new].map(|json| cell(&value(json.as_deref())));
        let _ = writeln!(out, "| {word} | {key} | {} | {old} | {new} |", code(&of_row.name));
        // The row's other columns follow below it without key and kind.
        word = "";
        key.clear();
    }
}

fn profiles(out: &mut String, identity: &IdentityResult, examples: bool) {
    let [old, new] = identity.profiles;
    let _ = writeln!(
        out,
        "\n#### Profiles: {} before, {} now\n\n\
         | unchanged | changed | created | vanished | merged | split | identifiers moved |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n\
         | {} | {} | {} | {} | {} | {} | {} |",
        thousands(old),
        thousands(new),
        thousands(identity.unchanged),
        thousands(identity.changed),
        thousands(identity.created),
        thousands(identity.vanished),
        into(identity.merged[1], identity.merged[0]),
        into(identity.split[0], identity.split[1]),
        thousands(identity.moved),
    );
    let pairs = &identity.pairwise;
    let _ = writeln!(
        out,
        "\nPairs of identifiers kept together: precision {:.6}, recall {:.6}, F1 {:.6}.",
        pairs.precision(),
        pairs.recall(),
        pairs.f1()
    );
    if examples {
        what_happened(out, identity);
    }
}

fn into(from: u64, into: u64) -> String {
    if from == 0 { "0".to_owned() } else { format!("{} into {}", thousands(from), thousands(into)) }
}

fn what_happened(out: &mut String, identity: &IdentityResult) {
    let mut lines = Vec::new();
    for told in &identity.stories {
        let n = count(told.identifiers, "identifier");
        lines.push(format!("{} {} ({n})", story(told.kind), cell(&arrow(told))));
    }
    for (word, ids) in [("created", &identity.created_ids), ("vanished", &identity.vanished_ids)] {
        if !ids.is_empty() {
            lines.push(format!("{word} {}", cell(&some(ids))));
        }
    }
    lines.extend(identity.moves.iter().map(|identifier| format!("moved {}", cell(&moved(identifier)))));
    if !lines.is_empty() {
        let _ = writeln!(out, "\n- {}", lines.join("\n- "));
    }
    let explained = |at: usize| !identity.most_changed[at].events.iter().all(Vec::is_empty);
    if !(0..identity.most_changed.len()).any(explained) {
        return;
    }
    out.push_str(
        "\n<details><summary>The profiles that changed most, and the events that changed them</summary>\n\n",
    );
    for changed in &identity.most_changed {
        let _ = writeln!(out, "- {} {}", story(changed.told.kind), cell(&arrow(&changed.told)));
        for at in [OLD, NEW] {
            for told in changed.events[at].iter().take(EVENTS_SHOWN) {
                let _ = writeln!(out, "  - {} only: {}", side(at), cell(&event(told)));
            }
        }
    }
    out.push_str("\n</details>\n");
}

/// Returns a name as code, or as text if it contains characters that would end the code or the cell.
fn code(name: &str) -> String {
    if name.contains(['`', '|']) { cell(name) } else { format!("`{}`", escaped(name)) }
}

/// Escapes a text between HTML tags.
fn html(text: &str) -> String {
    escaped(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Escapes a text for a table cell, so that nothing in it is markup.
fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in escaped(text).chars() {
        match character {
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' | '~' => {
                out.push('\\');
                out.push(character);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '@' => out.push_str("&#64;"),
            other => out.push(other),
        }
    }
    out
}
