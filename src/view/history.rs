//! Computes the traits of a profile from all its rows, for profiles whose newest row alone is not enough.
//!
//! Each segment id of the profile has a state, which its rows update, oldest first. A row is a full snapshot: it sets
//! the values that are new to the state, removes the values that it does not have, and leaves equal values alone. If
//! the row has `__trait_seqs`, this column decides which row set a value. If a value appears on a segment id after
//! others were merged into it, and one of these had the same value, then the merge brought it in: the value keeps the
//! row that first set it.
//!
//! A state is absorbed if a newer row was written for a segment id that belonged to the same profile by then. That
//! snapshot has everything worth keeping: what it lacks was removed by then, and what a later row has again was set by
//! that row. Usually one state remains. If several do, a merge wrote no snapshot. Of each trait, the newest value or
//! removal then counts: by `timestamp`, then by `seq`, then by `uuid_ts`.

use std::cmp::Ordering;

use super::{
    graph::MergeGraph,
    present::CurrentTrait,
    segments::Segment,
    snapshot::{Snapshot, Trait},
    traits_row::{TraitsRow, is_absorbed},
};
use crate::table::clock::NO_SEQ;

/// Returns the current traits of a profile, sorted by name. `rows` are sorted oldest first; `snapshots` has one for
/// each.
#[must_use]
pub fn current_traits<'a>(
    rows: &[TraitsRow],
    snapshots: &'a [Snapshot],
    graph: &MergeGraph,
) -> Vec<CurrentTrait<'a>> {
    let mut states: Vec<SegmentState<'a>> = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        let own = states.iter().position(|state| state.segment == row.segment);
        let own = own.map(|own| states.swap_remove(own));
        let own_counts = own.as_ref().is_some_and(|own| own.absorbed_by.is_none());
        for state in states.iter_mut().filter(|state| state.absorbed_by.is_none()) {
            state.absorbed_by = is_absorbed(state.segment, row, graph).then_some(place);
        }
        let merged: Vec<_> = states.iter().filter(|state| state.absorbed_by == Some(place)).collect();
        let set_by = |one: &Trait, kept: Option<usize>| {
            let snapshot = &snapshots[place];
            row_that_set(rows, snapshots, snapshot, one)
                .or(kept.filter(|_| own_counts))
                .or_else(|| brought_in(&merged, rows, snapshot, one))
                .unwrap_or(place)
        };
        let before = own.map(|own| own.entries).unwrap_or_default();
        let mut entries = apply_row(before, &snapshots[place], place, set_by);
        if !row.with_seqs {
            for state in merged {
                remove_absorbed(&mut entries, &state.entries, place, rows);
            }
        }
        states.push(SegmentState { segment: row.segment, newest: place, absorbed_by: None, entries });
    }
    let remaining = states.iter().filter(|state| {
        let newest = &rows[state.newest];
        // Rows that record when each trait was set were written by a resolver, which has already applied removals.
        let says_nothing = newest.with_seqs && state.entries.iter().all(|entry| entry.value.is_none());
        let absorbed = states.iter().any(|other| {
            state.newest < other.newest && is_absorbed(state.segment, &rows[other.newest], graph)
        });
        !says_nothing && !absorbed
    });
    let mut entries: Vec<(usize, &TraitEntry<'a>)> =
        remaining.flat_map(|state| state.entries.iter().map(|entry| (state.newest, entry))).collect();
    let age = |(newest, entry): &(usize, &TraitEntry<'a>)| {
        (rows[entry.set_by].clock.recency(), entry.set_by, *newest)
    };
    entries.sort_by(|a, b| a.1.name.cmp(b.1.name).then_with(|| age(b).cmp(&age(a))));
    entries.dedup_by(|older, newer| older.1.name == newer.1.name);
    let live = entries.into_iter().filter_map(|(_, entry)| {
        let value = entry.value.as_ref()?;
        Some(CurrentTrait {
            name: entry.name,
            json: value.json,
            is_text: value.is_text,
            is_plain: value.is_plain,
            set_by: entry.set_by,
        })
    });
    live.collect()
}

/// The traits of one segment id after its rows so far.
struct SegmentState<'a> {
    segment: Segment,
    /// Index of its newest row.
    newest: usize,
    /// Index of the first row that absorbed it.
    absorbed_by: Option<usize>,
    /// The traits, sorted by name.
    entries: Vec<TraitEntry<'a>>,
}

struct TraitEntry<'a> {
    name: &'a [u8],
    /// `None` if the trait was removed.
    value: Option<HistoryValue<'a>>,
    /// Index of the row that set or removed it.
    set_by: usize,
}

struct HistoryValue<'a> {
    json: &'a [u8],
    is_text: bool,
    is_plain: bool,
}

/// Returns the entries after one more row.
fn apply_row<'a>(
    before: Vec<TraitEntry<'a>>,
    snapshot: &'a Snapshot,
    place: usize,
    set_by: impl Fn(&Trait, Option<usize>) -> usize,
) -> Vec<TraitEntry<'a>> {
    let mut entries = Vec::with_capacity(before.len().max(snapshot.traits().len()));
    let mut before = before.into_iter().peekable();
    let mut now = snapshot.traits().iter().peekable();
    loop {
        let order = match (before.peek(), now.peek()) {
            (Some(entry), Some(one)) => entry.name.cmp(snapshot.name(one)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return entries,
        };
        let old = if order == Ordering::Greater { None } else { before.next() };
        let new = if order == Ordering::Less { None } else { now.next() };
        entries.extend(match (old, new) {
            (Some(TraitEntry { name, value: Some(_), .. }), None) => {
                Some(TraitEntry { name, value: None, set_by: place })
            }
            (old, None) => old,
            (old, Some(one)) => {
                let json = snapshot.json(one);
                let kept = old.filter(|old| old.value.as_ref().is_some_and(|value| value.json == json));
                Some(TraitEntry {
                    name: snapshot.name(one),
                    value: Some(HistoryValue { json, is_text: one.is_text(), is_plain: one.is_plain }),
                    set_by: set_by(one, kept.map(|old| old.set_by)),
                })
            }
        });
    }
}

/// Adds a removal for each trait that an absorbed state has and the snapshot lacks: it was removed by this row or
/// earlier.
fn remove_absorbed<'a>(
    entries: &mut Vec<TraitEntry<'a>>,
    absorbed: &[TraitEntry<'a>],
    place: usize,
    rows: &[TraitsRow],
) {
    for TraitEntry { name, value, set_by } in absorbed {
        let set_by = if value.is_some() { place } else { *set_by };
        match entries.binary_search_by(|entry| entry.name.cmp(name)) {
            Err(at) => entries.insert(at, TraitEntry { name, value: None, set_by }),
            Ok(at) if entries[at].value.is_none() => {
                let newest = [entries[at].set_by, set_by].into_iter();
                entries[at].set_by =
                    newest.max_by_key(|&place| (rows[place].clock.recency(), place)).unwrap_or(set_by);
            }
            Ok(_) => {}
        }
    }
}

/// Returns the row that has the `seq` of a trait. If several do, prefers one that records having set the trait, then
/// one that has its value, then the newest.
fn row_that_set(
    rows: &[TraitsRow],
    snapshots: &[Snapshot],
    snapshot: &Snapshot,
    one: &Trait,
) -> Option<usize> {
    let (name, json, seq) = (snapshot.name(one), snapshot.json(one), one.seq);
    if seq == NO_SEQ {
        return None;
    }
    let sets = |place: usize| {
        let snapshot = &snapshots[place];
        let found = snapshot.find(name).map(|one| &snapshot.traits()[one]);
        found.map_or((false, false), |one| (one.seq == seq, snapshot.json(one) == json))
    };
    // Rows are sorted by `seq` first.
    let first = rows.partition_point(|row| row.clock.seq() < seq);
    let with_seq = (first..rows.len()).take_while(|&place| rows[place].clock.seq() == seq);
    with_seq.max_by_key(|&place| (sets(place), rows[place].clock.recency(), place))
}

/// Returns the newest row that set the same value on a profile that was merged in.
fn brought_in(
    merged: &[&SegmentState<'_>],
    rows: &[TraitsRow],
    snapshot: &Snapshot,
    one: &Trait,
) -> Option<usize> {
    let (name, json) = (snapshot.name(one), snapshot.json(one));
    let same = merged.iter().filter_map(|state| {
        let place = state.entries.binary_search_by(|entry| entry.name.cmp(name)).ok()?;
        let entry = &state.entries[place];
        entry.value.as_ref().is_some_and(|value| value.json == json).then_some(entry.set_by)
    });
    same.max_by_key(|&place| (rows[place].clock.recency(), place))
}
