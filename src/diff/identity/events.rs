//! Finds the events that caused a difference: those with an effect in the raw tables of one side only.

use std::collections::BTreeMap;

use crate::{
    collections::{Map, Set, key_of},
    error::Result,
    files::Files,
};

use crate::diff::sides::DiffSide;

use super::load::{RawRow, each_row, key};

/// An event that had an effect on one side only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CausingEvent {
    /// The message id.
    pub id: String,
    /// The event type, if the table has it.
    pub type_name: Option<String>,
    /// The source, if the table has it.
    pub source: Option<String>,
    /// When the event happened.
    pub timestamp: Option<String>,
    /// What the event did.
    pub effects: Vec<String>,
}

/// Profiles and identifiers to look for, each with the indexes of the profile changes that it concerns.
#[derive(Debug, Default)]
pub struct EventSearch {
    /// By the hash of a segment id.
    pub segment_ids: Map<u128, Vec<usize>>,
    /// By the hash of type and value.
    pub identifiers: Map<u128, Vec<usize>>,
}

/// An effect of an event. The order of the fields is the order of the report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Effect {
    clock: String,
    event: String,
    text: String,
    type_name: Option<String>,
    source: Option<String>,
    timestamp: Option<String>,
}

/// Returns, for each profile change, the events of each side that had an effect on that side only.
pub fn explain(
    sides: &[DiffSide; 2],
    n_stories: usize,
    interest: &EventSearch,
    files: &Files,
) -> Result<Vec<[Vec<CausingEvent>; 2]>> {
    let mut effects: Vec<[Vec<Effect>; 2]> = (0..n_stories).map(|_| Default::default()).collect();
    for (at, side) in sides.iter().enumerate() {
        let mut take = |stories: Vec<usize>, effect: Effect| {
            for story in stories {
                effects[story][at].push(effect.clone());
            }
        };
        read_graph(side, interest, files, &mut take)?;
        read_mappings(side, interest, files, &mut take)?;
        read_violations(side, interest, files, &mut take)?;
    }
    Ok(effects
        .into_iter()
        .map(|[old, new]| {
            let known = |effects: &[Effect]| -> Set<(String, String)> {
                effects.iter().map(|effect| (effect.event.clone(), effect.text.clone())).collect()
            };
            let (of_old, of_new) = (known(&old), known(&new));
            [events(old, &of_new), events(new, &of_old)]
        })
        .collect())
}

/// Groups the effects that the other side does not have by event.
fn events(mut effects: Vec<Effect>, other: &Set<(String, String)>) -> Vec<CausingEvent> {
    effects.retain(|effect| !other.contains(&(effect.event.clone(), effect.text.clone())));
    effects.sort();
    effects.dedup();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut events: Vec<CausingEvent> = Vec::new();
    for effect in effects {
        let at = *places.entry(effect.event.clone()).or_insert(events.len());
        if at == events.len() {
            events.push(CausingEvent {
                id: effect.event,
                type_name: effect.type_name,
                source: effect.source,
                timestamp: effect.timestamp,
                effects: vec![effect.text],
            });
        } else {
            let event = &mut events[at];
            event.type_name = event.type_name.take().or(effect.type_name);
            event.source = event.source.take().or(effect.source);
            event.effects.push(effect.text);
        }
    }
    events
}

fn read_graph(
    side: &DiffSide,
    interest: &EventSearch,
    files: &Files,
    take: &mut dyn FnMut(Vec<usize>, Effect),
) -> Result<()> {
    let Some(graph) = side.tables.get("id_graph_updates") else { return Ok(()) };
    each_row(graph, files, &mut |row| {
        let (Some(from), Some(into)) = (row.text("segment_id"), row.text("canonical_segment_id")) else {
            return;
        };
        let mut stories: Vec<usize> = Vec::new();
        for id in [&from, &into] {
            stories.extend(interest.segment_ids.get(&key_of(id)).into_iter().flatten());
        }
        if stories.is_empty() {
            return;
        }
        stories.sort_unstable();
        stories.dedup();
        let (from, into) = (String::from_utf8_lossy(&from), String::from_utf8_lossy(&into));
        let text =
            if from == into { format!("created {from}") } else { format!("merged {from} into {into}") };
        take(stories, effect(&row, "triggering_event_id", text));
    })
}

fn read_mappings(
    side: &DiffSide,
    interest: &EventSearch,
    files: &Files,
    take: &mut dyn FnMut(Vec<usize>, Effect),
) -> Result<()> {
    let Some(mappings) = side.tables.get("external_id_mapping_updates") else { return Ok(()) };
    let key = key(&["external_id_type", "external_id_value"]);
    let mut parts = Vec::new();
    each_row(mappings, files, &mut |row| {
        parts.clear();
        key.push(&mut parts, row.doc);
        if let Some(stories) = interest.identifiers.get(&key_of(&parts)) {
            let column = |name| shown(&row, name).unwrap_or_default();
            let [type_name, value] = ["external_id_type", "external_id_value"].map(column);
            let text = format!("mapped {type_name} {value} to {}", column("segment_id"));
            take(stories.clone(), effect(&row, "triggering_event_id", text));
        }
    })
}

/// Reads violations. Why an identifier was not used may explain a change even if the identifier itself is not part of
/// it, so the violations of the change's profiles are included.
fn read_violations(
    side: &DiffSide,
    interest: &EventSearch,
    files: &Files,
    take: &mut dyn FnMut(Vec<usize>, Effect),
) -> Result<()> {
    let Some(violations) = side.tables.get("identity_violations") else { return Ok(()) };
    let key = key(&["type", "value"]);
    let mut parts = Vec::new();
    each_row(violations, files, &mut |row| {
        parts.clear();
        key.push(&mut parts, row.doc);
        let mut stories: Vec<usize> =
            interest.identifiers.get(&key_of(&parts)).into_iter().flatten().copied().collect();
        if let Some(id) = row.text("segment_id") {
            stories.extend(interest.segment_ids.get(&key_of(&id)).into_iter().flatten());
        }
        if stories.is_empty() {
            return;
        }
        stories.sort_unstable();
        stories.dedup();
        let column = |name| shown(&row, name).unwrap_or_default();
        let why = match shown(&row, "rule").as_deref() {
            Some("limit") => {
                format!("limit of {}: {} {}", column("limit_type"), column("limit"), column("window"))
            }
            Some("blocked") => format!("blocked by {}", column("blocked_by")),
            other => other.unwrap_or("a rule").replace('_', " "),
        };
        let text = format!("left out {} {} ({why})", column("type"), column("value"));
        take(stories, effect(&row, "message_id", text));
    })
}

fn effect(row: &RawRow<'_>, event: &str, text: String) -> Effect {
    let timestamp = shown(row, "timestamp");
    Effect {
        clock: shown(row, "uuid_ts").or_else(|| timestamp.clone()).unwrap_or_default(),
        event: shown(row, event).unwrap_or_else(|| "no event".to_owned()),
        text,
        type_name: shown(row, "triggering_event_type"),
        source: shown(row, "triggering_event_source_name")
            .or_else(|| shown(row, "triggering_event_source_id")),
        timestamp,
    }
}

fn shown(row: &RawRow<'_>, column: &str) -> Option<String> {
    row.text(column).map(|text| String::from_utf8_lossy(&text).into_owned())
}
