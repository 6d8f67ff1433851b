//! In which order units are read, so that the events in hand fit the memory.
//!
//! Units are read by their earliest event. A unit stays in hand until everything that is still unread is later than its
//! latest event, so what is in hand at the most is known beforehand. Files in order, side by side or one behind the other,
//! need a unit or two of each. Where disorder would need too much, the lines are sorted first: as many at a time as fit,
//! each such run spilled as units of its own, which overlap little. If these still overlap too much, because there are many
//! runs or events without difference, the runs are merged into one.

use std::collections::BTreeMap;

use super::{inputs::Input, sort::Sorter, spill::Spill, unit::Unit};
use crate::{error::Result, event::order::Key, files::Files, progress::Progress, time::timestamp::Millis};

/// Puts units in the order of reading; `budget` bytes of lines may be in hand.
pub fn plan(
    mut units: Vec<Unit>,
    inputs: &[Input],
    budget: u64,
    spill: &Spill,
    files: &Files,
    progress: &dyn Progress,
) -> Result<Vec<Unit>> {
    order(&mut units);
    if peak(&units) <= budget {
        return Ok(units);
    }
    progress.notice("the events are far out of order: their lines are sorted first, a part at a time");
    progress.start("sorting", Some(units.iter().map(|unit| unit.length).sum()));
    let sorter = Sorter { inputs, budget, spill, files, progress };
    // Of lines that are too long only the beginning is there: they are rejected where they stand.
    let (too_long, units): (Vec<Unit>, Vec<Unit>) = units.into_iter().partition(|u| u.too_long.is_some());
    let mut runs = Vec::new();
    let mut rest = units.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let n = rest.iter().position(|unit| {
            bytes += unit.length;
            budget / 2 < bytes
        });
        let (run, behind) = rest.split_at(n.unwrap_or(rest.len()).max(1));
        runs.push(sorter.sort(run)?);
        rest = behind;
    }
    let mut all: Vec<Unit> = runs.iter().flatten().cloned().collect();
    order(&mut all);
    if budget < peak(&all) {
        all = sorter.merge(runs)?;
        for unit in &mut all {
            unit.in_order = true;
        }
    }
    all.extend(too_long);
    Ok(all)
}

fn order(units: &mut [Unit]) {
    units.sort_by_cached_key(|unit| (unit.least_key(), unit.input, unit.offset));
}

/// The most bytes of lines that are in hand at once.
fn peak(units: &[Unit]) -> u64 {
    let mut in_hand: BTreeMap<Key, u64> = BTreeMap::new();
    let (mut now, mut most) = (0, 0);
    for unit in units {
        // What comes before all that is unread has been let go.
        let kept = in_hand.split_off(&unit.least_key());
        now -= in_hand.values().sum::<u64>();
        in_hand = kept;
        *in_hand.entry(greatest_key(unit)).or_default() += unit.length;
        now += unit.length;
        most = now.max(most);
    }
    most
}

/// A key that comes before all that the events of a unit may have to wait for.
fn greatest_key(unit: &Unit) -> Key {
    match &unit.keys {
        Some(keys) => keys.1.clone(),
        None => Key { timestamp: Millis::MAX, ..Key::least(unit.latest) },
    }
}
