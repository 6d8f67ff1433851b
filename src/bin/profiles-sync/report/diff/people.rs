//! The report for people: a line per table, then the changes with examples, then what happened to profiles.

use std::fmt::Write;

use profiles_sync::{
    diff::{
        Comparison,
        identity::compare::{IdentityResult, MostChanged},
        ndjson::{side, story},
        outcome::{RowChange, RowKind},
        sides::{NEW, OLD},
        tables::TableResult,
    },
    escape::escaped,
};

use super::words::{arrow, columns_changed, event, headline, moved, remarks, some, value};
use crate::numbers::{count, thousands};

/// How to write the report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Whether to use colour.
    pub(crate) colour: bool,
    /// Whether to include examples.
    pub(crate) examples: bool,
}

const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
const BOLD: &str = "1";

/// The number of changed columns to list.
const COLUMNS_SHOWN: usize = 10;

/// The number of events of a side to show for a profile.
const EVENTS_SHOWN: usize = 5;

impl Style {
    fn paint(self, text: &str, code: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Returns a word at the beginning of a line, padded so that the rest of the line is aligned.
    fn word(self, text: &str, code: &str) -> String {
        self.paint(&format!("{text:<9}"), code)
    }

    fn number(self, number: u64, width: usize, code: &str) -> String {
        let text = format!("{:>width$}", thousands(number));
        if number == 0 { text } else { self.paint(&text, code) }
    }
}

/// Returns the report.
#[must_use]
pub(crate) fn write(comparison: &Comparison, style: Style) -> String {
    let mut out = style.paint(&headline(comparison), BOLD);
    out.push('\n');
    tables(&mut out, comparison, style);
    if style.examples {
        for table in comparison.tables.iter().filter(|table| !table.same()) {
            details(&mut out, table, style);
        }
    }
    if let Some(identity) = &comparison.identity {
        profiles(&mut out, identity, style);
    }
    out
}

fn tables(out: &mut String, comparison: &Comparison, style: Style) {
    let names: Vec<_> = comparison.tables.iter().map(|table| escaped(&table.name)).collect();
    let width = names.iter().map(|name| name.len()).max().unwrap_or(0).max(5);
    let _ = writeln!(
        out,
        "\n{:<width$} {:>12} {:>11} {:>11} {:>11}",
        "table", "same", "added", "removed", "changed"
    );
    for (name, table) in names.iter().zip(&comparison.tables) {
        let rows = &table.outcome;
        let _ = write!(
            out,
            "{name:<width$} {:>12} {} {} {}",
            thousands(rows.same),
            style.number(rows.count(RowKind::Added), 11, GREEN),
            style.number(rows.count(RowKind::Removed), 11, RED),
            style.number(rows.count(RowKind::Changed), 11, YELLOW),
        );
        for (at, remark) in remarks(table).iter().enumerate() {
            let _ = write!(out, "{} {remark}", if at == 0 { " " } else { ";" });
        }
        out.push('\n');
    }
}

fn details(out: &mut String, table: &TableResult, style: Style) {
    let rows = &table.outcome;
    let told: Vec<String> = RowKind::ALL
        .into_iter()
        .filter(|kind| 0 < rows.count(*kind))
        .map(|kind| format!("{} {}", thousands(rows.count(kind)), kind.word()))
        .collect();
    if told.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}: {}", style.paint(&escaped(&table.name), BOLD), told.join(", "));
    let changed = columns_changed(table);
    if !changed.is_empty() {
        let shown = changed.iter().take(COLUMNS_SHOWN);
        let shown: Vec<String> =
            shown.map(|(name, n)| format!("{} {}", escaped(name), thousands(*n))).collect();
        let more = changed.len().saturating_sub(COLUMNS_SHOWN);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let _ = writeln!(out, "  columns changed: {}{more}", shown.join(", "));
    }
    for kind in RowKind::ALL {
        let examples: Vec<&RowChange> = rows.examples.iter().filter(|example| example.kind == kind).collect();
        for example in &examples {
            row(out, example, style);
        }
        let more = rows.count(kind) - examples.len() as u64;
        if 0 < more && !examples.is_empty() {
            let _ = writeln!(out, "  and {} more {}", thousands(more), kind.word());
        }
    }
}

fn row(out: &mut String, change: &RowChange, style: Style) {
    let (sign, code) = match change.kind {
        RowKind::Added => ("+", GREEN),
        RowKind::Removed => ("-", RED),
        RowKind::Changed => ("~", YELLOW),
    };
    let key: Vec<String> =
        change.key.iter().map(|(name, json)| format!("{} {}", escaped(name), value(Some(json)))).collect();
    let head = format!("{sign} {}", if key.is_empty() { "row".to_owned() } else { key.join(", ") });
    let _ = writeln!(out, "  {}", style.paint(&head, code));
    let cells: Vec<_> = change
        .cells
        .iter()
        .filter(|cell| {
            change.kind == RowKind::Changed || change.key.iter().all(|(name, _)| *name != cell.name)
        })
        .collect();
    let width = cells.iter().map(|cell| escaped(&cell.name).len()).max().unwrap_or(0);
    for cell in cells {
        let _ = write!(out, "      {:<width$}  ", escaped(&cell.name));
        let (old, new) = (value(cell.old.as_deref()), value(cell.new.as_deref()));
        let _ = match change.kind {
            RowKind::Added => writeln!(out, "{}", style.paint(&new, GREEN)),
            RowKind::Removed => writeln!(out, "{}", style.paint(&old, RED)),
            RowKind::Changed => writeln!(out, "{} -> {}", style.paint(&old, RED), style.paint(&new, GREEN)),
        };
    }
}

fn profiles(out: &mut String, identity: &IdentityResult, style: Style) {
    let [old, new] = identity.profiles;
    let head = format!("profiles: {} before, {} now", thousands(old), thousands(new));
    let _ = writeln!(out, "\n{}", style.paint(&head, BOLD));
    let mut line = |name: &str, number: u64, rest: &str| {
        let _ = writeln!(out, "  {name:<18}{:>13}{rest}", thousands(number));
    };
    let renamed = match identity.renamed {
        0 => String::new(),
        n => format!("  ({} under another id)", thousands(n)),
    };
    line("unchanged", identity.unchanged, &renamed);
    line("changed", identity.changed, "");
    line("created", identity.created, "");
    line("vanished", identity.vanished, "");
    let [into, merged] = identity.merged;
    line("merged", merged, &if into == 0 { String::new() } else { format!(" into {}", thousands(into)) });
    let [split, parts] = identity.split;
    line("split", split, &if split == 0 { String::new() } else { format!(" into {}", thousands(parts)) });
    line(
        "identifiers",
        identity.identifiers[NEW],
        &format!("  ({} before)", thousands(identity.identifiers[OLD])),
    );
    line("identifiers moved", identity.moved, "");
    let pairs = &identity.pairwise;
    let _ = writeln!(
        out,
        "  pairs of identifiers kept together: precision {:.6}, recall {:.6}, F1 {:.6}",
        pairs.precision(),
        pairs.recall(),
        pairs.f1()
    );
    if style.examples {
        what_happened(out, identity, style);
        most_changed(out, &identity.most_changed, style);
    }
}

fn what_happened(out: &mut String, identity: &IdentityResult, style: Style) {
    let IdentityResult { stories, created_ids, vanished_ids, moves, .. } = identity;
    if stories.is_empty() && created_ids.is_empty() && vanished_ids.is_empty() && moves.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", style.paint("what happened to profiles", BOLD));
    for told in stories {
        let n = count(told.identifiers, "identifier");
        let _ = writeln!(out, "  {} {}  ({n})", style.word(story(told.kind), YELLOW), arrow(told));
    }
    for (word, code, ids) in [("created", GREEN, created_ids), ("vanished", RED, vanished_ids)] {
        if !ids.is_empty() {
            let _ = writeln!(out, "  {} {}", style.word(word, code), some(ids));
        }
    }
    for identifier in moves {
        let _ = writeln!(out, "  {} {}", style.word("moved", YELLOW), moved(identifier));
    }
}

fn most_changed(out: &mut String, most: &[MostChanged], style: Style) {
    if most.iter().all(|changed| changed.events.iter().all(Vec::is_empty)) {
        return;
    }
    let _ = writeln!(
        out,
        "\n{}",
        style.paint("the profiles that changed most, and the events that changed them", BOLD)
    );
    for changed in most {
        let _ = writeln!(out, "  {} {}", style.paint(story(changed.told.kind), YELLOW), arrow(&changed.told));
        let identifiers: Vec<String> = changed
            .identifiers
            .iter()
            .map(|identifier| format!("{} {}", identifier.type_name, identifier.value))
            .collect();
        if !identifiers.is_empty() {
            let _ = writeln!(out, "      identifiers: {}", some(&identifiers));
        }
        for (at, code) in [(OLD, RED), (NEW, GREEN)] {
            let events = &changed.events[at];
            for told in events.iter().take(EVENTS_SHOWN) {
                let word = style.paint(&format!("{} only", side(at)), code);
                let _ = writeln!(out, "      {word}: {}", event(told));
            }
            let more = events.len().saturating_sub(EVENTS_SHOWN);
            if 0 < more {
                let _ = writeln!(out, "      {} only: {} more events", side(at), thousands(more as u64));
            }
        }
    }
}
