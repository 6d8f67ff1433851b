//! Why two identifiers are not one profile: what the violations say, and the events that they name.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    answer::{Event, Identifier, Reason, ReasonKind, Violation},
    events::Events,
    profile::Profile,
};
use crate::{error::Result, time::timestamp::Micros};

/// Events that are looked up in the event tables. A shared device may have been refused a million times.
const MAX_EVENTS: usize = 500;

/// One of the two identifiers.
pub(super) struct Side<'a> {
    pub(super) identifier: &'a Identifier,
    /// Nobody has a blocked value.
    pub(super) profile: Option<&'a Profile>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Reasons that hold for the two identifiers.
    pub(super) reasons: Vec<Reason>,
    /// Reasons that hold for others of their profiles.
    pub(super) also: Vec<Reason>,
    /// Events that were not looked up because they were too many.
    pub(super) n_skipped: usize,
}

/// The violations of one event.
struct Group<'a> {
    uuid_ts: Micros,
    message_id: Option<&'a str>,
    violations: Vec<&'a Violation>,
}

/// What is known of an event of a group.
struct Seen {
    event: Event,
    /// Whether it carried each of the two.
    has: [bool; 2],
    /// Everything that it carried, as far as columns show it.
    identifiers: Vec<Identifier>,
}

/// Finds all reasons.
pub(super) fn reasons(
    sides: [&Side<'_>; 2],
    violations: &[Violation],
    events: &mut Events<'_>,
) -> Result<Found> {
    let mut found = Found::default();
    spelling(sides, &mut found);
    let mut groups: BTreeMap<(Micros, Option<&str>), Group<'_>> = BTreeMap::new();
    for violation in violations {
        let key = (violation.uuid_ts, violation.message_id.as_deref());
        let group =
            groups.entry(key).or_insert(Group { uuid_ts: key.0, message_id: key.1, violations: Vec::new() });
        group.violations.push(violation);
    }
    let is_about_them = |group: &&Group<'_>| {
        group
            .violations
            .iter()
            .any(|violation| sides.iter().any(|side| *side.identifier == violation.identifier))
    };
    // Those that are about the two themselves come first.
    let (mut ordered, others): (Vec<&Group<'_>>, Vec<&Group<'_>>) = groups.values().partition(is_about_them);
    ordered.extend(others);
    let mut blocked: BTreeMap<&Identifier, [Vec<Seen>; 2]> = BTreeMap::new();
    let mut were_together = false;
    for (number, group) in ordered.into_iter().enumerate() {
        if MAX_EVENTS <= number {
            found.n_skipped = groups.len() - MAX_EVENTS;
            break;
        }
        let seen = see(group, sides, events)?;
        were_together |= seen.has == [true, true];
        refused(group, sides, &seen, &mut found);
        between(group, sides, &seen, &mut found);
        for violation in group.violations.iter().filter(|violation| violation.rule == "blocked") {
            for side in 0..2 {
                if violation.identifier == *sides[side].identifier {
                    let values = vec![violation.identifier.clone()];
                    add(&mut found.reasons, ReasonKind::Blocked, violation, &seen.event, values);
                }
                let is_on_side =
                    owner(sides, violation.event_segment_id.as_deref()) == Some(side) || seen.has[side];
                if is_on_side {
                    let seen = Seen { event: seen.event.clone(), has: seen.has, identifiers: Vec::new() };
                    blocked.entry(&violation.identifier).or_default()[side].push(seen);
                }
            }
        }
    }
    for (identifier, by_side) in &blocked {
        let is_one_of_them = sides.iter().any(|side| side.identifier == *identifier);
        if is_one_of_them || by_side.iter().any(Vec::is_empty) {
            continue;
        }
        let were_on_both = (0..2).all(|side| by_side[side].iter().any(|seen| seen.has[side]));
        let into = if were_on_both { &mut found.reasons } else { &mut found.also };
        let of_both = violations.iter().filter(|violation| violation.rule == "blocked");
        if let Some(violation) = of_both.into_iter().find(|violation| violation.identifier == **identifier) {
            for seen in by_side.iter().flatten() {
                add(into, ReasonKind::Blocked, violation, &seen.event, vec![(*identifier).clone()]);
            }
        }
    }
    if !were_together && found.n_skipped == 0 {
        let values = sides.map(|side| side.identifier.clone()).to_vec();
        found.reasons.push(Reason { values, ..empty(ReasonKind::Never) });
    }
    for reasons in [&mut found.reasons, &mut found.also] {
        for reason in &mut *reasons {
            reason.events.sort_by(|a, b| (&a.timestamp, &a.id).cmp(&(&b.timestamp, &b.id)));
        }
        reasons.sort_by_key(|reason| reason.reason);
    }
    Ok(found)
}

/// Looks an event up.
fn see(group: &Group<'_>, sides: [&Side<'_>; 2], events: &mut Events<'_>) -> Result<Seen> {
    let refused: BTreeSet<&Identifier> =
        group.violations.iter().map(|violation| &violation.identifier).collect();
    events.find(group.uuid_ts, group.message_id)?;
    let row = events.found(group.uuid_ts);
    let has = sides.map(|side| {
        refused.contains(side.identifier) || row.is_some_and(|row| events.carries(row, side.identifier))
    });
    let event = row.map_or_else(
        || Event {
            id: group.message_id.map(str::to_owned),
            timestamp: group.violations.first().and_then(|violation| violation.timestamp.clone()),
            ..Event::default()
        },
        |row| row.event.clone(),
    );
    let mut identifiers = row.map(|row| events.identifiers(row)).unwrap_or_default();
    for identifier in refused {
        if !identifiers.contains(identifier) {
            identifiers.push(identifier.clone());
        }
    }
    Ok(Seen { event, has, identifiers })
}

/// Returns the side whose profile a segment id belongs to.
fn owner(sides: [&Side<'_>; 2], segment_id: Option<&str>) -> Option<usize> {
    let is_of = |side: &&Side<'_>| {
        side.profile
            .is_some_and(|profile| profile.segment_ids.iter().any(|id| Some(id.as_str()) == segment_id))
    };
    sides.iter().position(is_of)
}

fn is_refusal(violation: &Violation) -> bool {
    violation.rule != "blocked"
}

/// An event had both and one was not used; or it had others of the two profiles.
fn refused(group: &Group<'_>, sides: [&Side<'_>; 2], seen: &Seen, found: &mut Found) {
    let refusals = || group.violations.iter().copied().filter(|violation| is_refusal(violation));
    let of_them =
        refusals().find(|violation| sides.iter().any(|side| *side.identifier == violation.identifier));
    if let Some(violation) = of_them.filter(|_| seen.has == [true, true]) {
        let values = collided(sides, violation, seen);
        add(&mut found.reasons, ReasonKind::Refused, violation, &seen.event, values);
        return;
    }
    for violation in refusals() {
        let owners =
            [&violation.segment_id, &violation.event_segment_id].map(|id| owner(sides, id.as_deref()));
        if let [Some(one), Some(other)] = owners
            && one != other
        {
            let values = collided(sides, violation, seen);
            add(&mut found.also, ReasonKind::Refused, violation, &seen.event, values);
            return;
        }
    }
}

/// Returns the values that could not be together: of the limit's type those of both profiles by then, and of the event.
fn collided(sides: [&Side<'_>; 2], violation: &Violation, seen: &Seen) -> Vec<Identifier> {
    let Some(limit_type) = &violation.limit_type else {
        return sides.map(|side| side.identifier.clone()).to_vec();
    };
    let mut values = BTreeSet::new();
    for profile in sides.iter().filter_map(|side| side.profile) {
        let by_then = profile.rows.mappings.iter().filter(|mapping| mapping.uuid_ts <= violation.uuid_ts);
        values.extend(by_then.map(|mapping| &mapping.identifier).filter(|one| one.type_name == *limit_type));
    }
    values.extend(seen.identifiers.iter().filter(|one| one.type_name == *limit_type));
    values.into_iter().cloned().collect()
}

/// One of the two was on an event with a third, and one of these was not used there.
fn between(group: &Group<'_>, sides: [&Side<'_>; 2], seen: &Seen, found: &mut Found) {
    for (side, &Side { identifier, profile: own }) in sides.into_iter().enumerate() {
        if !seen.has[side] || seen.has[1 - side] {
            continue;
        }
        let is_own = |id: &str| own.is_some_and(|profile| profile.segment_ids.iter().any(|own| own == id));
        for violation in group.violations.iter().copied().filter(|violation| is_refusal(violation)) {
            let other_profile = if violation.identifier == *identifier {
                &violation.event_segment_id
            } else {
                &violation.segment_id
            };
            if other_profile.as_deref().is_none_or(is_own) {
                continue;
            }
            let mut values = vec![identifier.clone()];
            if violation.identifier == *identifier {
                let refused =
                    |one: &Identifier| group.violations.iter().any(|violation| violation.identifier == *one);
                let used = seen
                    .identifiers
                    .iter()
                    .filter(|one| !refused(one) && own.is_none_or(|own| !own.has(one)));
                values.extend(used.cloned());
            } else {
                values.push(violation.identifier.clone());
            }
            add(&mut found.reasons, ReasonKind::Between, violation, &seen.event, values);
        }
    }
}

/// They differ only in case and white space; or others of the two profiles do.
fn spelling(sides: [&Side<'_>; 2], found: &mut Found) {
    let [first, second] = sides.map(|side| side.identifier);
    if is_same_but_for_spelling(first, second) {
        let values = vec![first.clone(), second.clone()];
        found.reasons.push(Reason { values, ..empty(ReasonKind::Spelling) });
    }
    let mut by_spelling: BTreeMap<(&str, String), &Identifier> = BTreeMap::new();
    let of = |profile: Option<&Profile>| -> Vec<Identifier> {
        profile.map(|profile| profile.in_brief().identifiers).unwrap_or_default()
    };
    let [of_first, of_second] = sides.map(|side| of(side.profile));
    for identifier in &of_first {
        by_spelling.insert((&identifier.type_name, folded(&identifier.value)), identifier);
    }
    for identifier in &of_second {
        let same = by_spelling.get(&(identifier.type_name.as_str(), folded(&identifier.value)));
        if let Some(same) = same.filter(|same| (**same, identifier) != (first, second)) {
            let values = vec![(*same).clone(), identifier.clone()];
            found.also.push(Reason { values, ..empty(ReasonKind::Spelling) });
        }
    }
}

/// Returns whether two identifiers have the same type, and differ only in case or white space.
pub(super) fn is_same_but_for_spelling(a: &Identifier, b: &Identifier) -> bool {
    a != b && a.type_name == b.type_name && folded(&a.value) == folded(&b.value)
}

/// Returns a value without white space, in lower case.
pub(super) fn folded(value: &str) -> String {
    value.chars().filter(|character| !character.is_whitespace()).flat_map(char::to_lowercase).collect()
}

fn empty(reason: ReasonKind) -> Reason {
    Reason {
        reason,
        rule: None,
        limit: None,
        limit_type: None,
        window: None,
        events: Vec::new(),
        values: Vec::new(),
    }
}

/// Adds an event to the reason that is the same but for its events, or a new reason.
fn add(
    into: &mut Vec<Reason>,
    kind: ReasonKind,
    violation: &Violation,
    event: &Event,
    values: Vec<Identifier>,
) {
    let is_limit = violation.rule == "limit";
    let new = Reason {
        rule: Some(violation.rule.clone()),
        limit: violation.limit.filter(|_| is_limit),
        limit_type: violation.limit_type.clone(),
        window: violation.window.clone(),
        ..empty(kind)
    };
    let is_same = |reason: &Reason| {
        let of =
            |reason: &Reason| (reason.reason, reason.rule.clone(), reason.limit, reason.limit_type.clone());
        // Values that collided grow with time; what was between names each third.
        of(reason) == of(&new) && (kind == ReasonKind::Refused || reason.values == values)
    };
    let at = into.iter().position(is_same).unwrap_or_else(|| {
        into.push(new.clone());
        into.len() - 1
    });
    let reason = &mut into[at];
    if !reason.events.contains(event) {
        reason.events.push(event.clone());
    }
    for value in values {
        if !reason.values.contains(&value) {
            reason.values.push(value);
        }
    }
}
