//! Words and numbers that several reports share.

use profiles_sync::{
    diff::{
        Comparison, Sameness,
        identity::{
            compare::{MovedIdentifier, ProfileChangeSummary},
            events::CausingEvent,
            profile_changes::ProfileChangeKind,
        },
        ndjson::side,
        sides::{NEW, OLD},
        tables::TableResult,
    },
    escape::escaped,
    json::Tape,
};

use crate::numbers::{count, thousands};

/// Returns the headline.
#[must_use]
pub(crate) fn headline(comparison: &Comparison) -> String {
    let [old, new] = comparison.sides.each_ref().map(|side| escaped(side));
    match comparison.sameness {
        Sameness::Same => format!("{old} and {new} are the same"),
        Sameness::Renamed(n) => {
            format!("{old} and {new} are the same but for {}", count(n, "generated segment id"))
        }
        Sameness::Different => format!("{old} and {new} differ"),
    }
}

/// Returns the old profiles, an arrow, and the new profiles.
#[must_use]
pub(crate) fn arrow(told: &ProfileChangeSummary) -> String {
    match told.kind {
        ProfileChangeKind::Changed if told.old == told.new => some(&told.old),
        _ => format!("{} -> {}", some(&told.old), some(&told.new)),
    }
}

/// Returns a list of names, shortened if it is long.
#[must_use]
pub(crate) fn some(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = escaped(&names[..SHOWN.min(names.len())].join(", ")).into_owned();
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

/// Returns an identifier with its old and new profile.
#[must_use]
pub(crate) fn moved(moved: &MovedIdentifier) -> String {
    let MovedIdentifier { identifier, from, to } = moved;
    escaped(&format!("{} {}: {from} -> {to}", identifier.type_name, identifier.value)).into_owned()
}

/// Returns an event: its id, type, source and time, and what it did.
#[must_use]
pub(crate) fn event(event: &CausingEvent) -> String {
    let mut text = event.id.clone();
    let about: Vec<&str> = [&event.type_name, &event.source, &event.timestamp]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    if !about.is_empty() {
        text = format!("{text} ({})", about.join(", "));
    }
    escaped(&format!("{text}: {}", event.effects.join(", "))).into_owned()
}

/// At most this many malformed lines of a table are listed.
const NAMED: usize = 3;

/// Returns remarks on a table, apart from its counts.
#[must_use]
pub(crate) fn remarks(table: &TableResult) -> Vec<String> {
    let mut remarks = Vec::new();
    match table.there {
        [true, false] => remarks.push("only on the old side".to_owned()),
        [false, true] => remarks.push("only on the new side".to_owned()),
        _ => {}
    }
    for (side_at, what) in [(OLD, "column only on the old side"), (NEW, "column only on the new side")] {
        if !table.columns[side_at].is_empty() {
            remarks.push(format!("{what}: {}", some(&table.columns[side_at])));
        }
    }
    for side_at in [OLD, NEW] {
        let n = table.outcome.duplicate_keys[side_at];
        if 0 < n {
            remarks.push(format!("{} more than once on the {} side", keys_occur(n), side(side_at)));
        }
    }
    for odd in table.malformed_lines.iter().take(NAMED) {
        remarks.push(format!("{}:{} {}", escaped(&odd.file), odd.line, odd.message));
    }
    if NAMED < table.malformed_lines.len() {
        remarks
            .push(format!("and {} more such lines", thousands((table.malformed_lines.len() - NAMED) as u64)));
    }
    remarks
}

fn keys_occur(n: u64) -> String {
    if n == 1 { "1 key occurs".to_owned() } else { format!("{} keys occur", thousands(n)) }
}

/// Returns the columns by the number of changes, largest first.
#[must_use]
pub(crate) fn columns_changed(table: &TableResult) -> Vec<(String, u64)> {
    let columns = table.outcome.columns.iter();
    let mut columns: Vec<(String, u64)> =
        columns.map(|(column, n)| (String::from_utf8_lossy(column).into_owned(), *n)).collect();
    columns.sort_by(|(a, n_a), (b, n_b)| (n_b, a).cmp(&(n_a, b)));
    columns
}

/// Returns a JSON value for reading: a text without its quotes if that is unambiguous, shortened if it is long, and
/// without control characters.
#[must_use]
pub(crate) fn value(json: Option<&str>) -> String {
    const SHOWN: usize = 72;
    let Some(json) = json else { return "null".to_owned() };
    let inside = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    // Without quotes, a text must not look like another value.
    let plain = inside.filter(|text| {
        *text == text.trim()
            && !text.contains('\\')
            && !text.is_empty()
            && Tape::default().read(text.as_bytes()).is_err()
    });
    let text = plain.unwrap_or(json);
    match text.char_indices().nth(SHOWN) {
        None => escaped(text).into_owned(),
        Some((at, _)) => format!("{}...", escaped(&text[..at])),
    }
}
