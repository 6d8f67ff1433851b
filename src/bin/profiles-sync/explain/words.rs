//! Words that all formats for people share.

use profiles_sync::{
    escape::escaped,
    explain::answer::{Event, HistoryStep, Identifier, Reason, ReasonKind, Step},
};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Writes a time of the tables for people: `3 May 2024 14:22:10`. Other texts stay as they are.
pub(crate) fn time(text: Option<&str>) -> String {
    let Some(text) = text else { return "at an unknown time".to_owned() };
    let parts = || -> Option<String> {
        let month: usize = text.get(5..7)?.parse().ok()?;
        let day: u32 = text.get(8..10)?.parse().ok()?;
        Some(format!("{day} {} {} {}", MONTHS.get(month.checked_sub(1)?)?, text.get(..4)?, text.get(11..19)?))
    };
    parts().unwrap_or_else(|| escaped(text).into_owned())
}

/// Writes an identifier: `email jane@example.com`.
pub(crate) fn identifier(identifier: &Identifier) -> String {
    format!("{} {}", escaped(&identifier.type_name), escaped(&identifier.value))
}

/// Writes identifiers, one after the other, up to so many.
pub(crate) fn identifiers(all: &[Identifier], most: usize) -> String {
    let shown: Vec<String> = all.iter().take(most).map(identifier).collect();
    let more = all.len().saturating_sub(most);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

/// Writes an event: `identify m1 (Order Completed)  3 May 2024 14:22:10  web`.
pub(crate) fn event(event: &Event) -> String {
    let Some(id) = &event.id else { return "adopted, not by an event".to_owned() };
    let call = event.call.as_deref().map(|call| format!("{} ", escaped(call))).unwrap_or_default();
    let name = event.name.as_deref().map(|name| format!(" ({})", escaped(name))).unwrap_or_default();
    let source =
        event.source_id.as_deref().map(|source| format!("  {}", escaped(source))).unwrap_or_default();
    format!("{call}{}{name}  {}{source}", escaped(id), time(event.timestamp.as_deref()))
}

/// Writes what an event did, between two identifiers of a path.
pub(crate) fn link(step: &Step) -> String {
    let (segment_id, canonical) = (escaped(&step.segment_id), escaped(&step.canonical_segment_id));
    match (step.link.as_str(), &step.via) {
        ("merged", Some(_)) => format!("both were on this event: it merged {segment_id} into {canonical}"),
        ("merged", None) => format!("merged {segment_id} into {canonical}"),
        ("created", Some(_)) => "both were on this event: it created the profile".to_owned(),
        ("created", None) => "created the profile".to_owned(),
        (_, Some(_)) => "both were on this event".to_owned(),
        (_, None) => format!("mapped to {segment_id}"),
    }
}

/// Writes a step of a profile's history.
pub(crate) fn history(one: &HistoryStep) -> String {
    let (segment_id, canonical) = (escaped(&one.segment_id), escaped(&one.canonical_segment_id));
    let step = &one.step;
    let new = step.identifier.as_ref().map(identifier).unwrap_or_default();
    let old = step.via.as_ref().map(identifier);
    match (step.link.as_str(), old) {
        ("merged", Some(old)) => {
            format!(
                "merged {segment_id} into {canonical}: the event had {new} of the one, {old} of the other"
            )
        }
        ("merged", None) => format!("merged {segment_id} into {canonical}"),
        ("created", None) => format!("created {segment_id} with {new}"),
        ("created", Some(old)) => format!("created {segment_id} with {new} beside {old}"),
        (_, Some(old)) => format!("added {new}: the event had {old}, too"),
        (_, None) => format!("added {new}"),
    }
}

/// Writes the rule of a reason.
pub(crate) fn rule(reason: &Reason) -> Option<String> {
    let rule = reason.rule.as_deref()?;
    Some(match (rule, &reason.limit_type, reason.limit) {
        ("limit", Some(limit_type), Some(limit)) => {
            let window = reason.window.as_deref().unwrap_or("ever");
            let window = if window == "ever" { String::new() } else { format!(", {}", escaped(window)) };
            format!("a profile may have {limit} {}{window}", escaped(limit_type))
        }
        ("merge_cap", ..) => "too many profiles would have become one".to_owned(),
        ("mapping_cap", ..) => "the profile would have had too many identifiers".to_owned(),
        ("blocked", ..) => "the value is blocked".to_owned(),
        _ => escaped(rule).into_owned(),
    })
}

/// Writes what kind of reason it is.
pub(crate) fn reason(kind: ReasonKind) -> &'static str {
    match kind {
        ReasonKind::Refused => "An event had both, and one was not used",
        ReasonKind::Spelling => "They are spelled differently: only case or white space differs",
        ReasonKind::Blocked => "What could have joined them is blocked",
        ReasonKind::Between => "One of them was on an event with a third, and one of these was not used",
        ReasonKind::Never => "They never were on the same event",
    }
}
