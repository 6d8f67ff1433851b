//! Plans the order in which chunks are read, so that the events held in memory fit the budget.
//!
//! Chunks are read in order of their earliest event. A chunk is held until everything unread is later than its latest
//! event, so the peak memory is known in advance. Sorted files need a chunk or two of each, whether they follow one
//! another or overlap. If the disorder would need too much memory, the lines are sorted first: as many at a time as
//! fit, each time spilled as a sorted run of new chunks, which overlap little. If these still overlap too much, because
//! there are many runs or many events with equal keys, the runs are merged into one.

use std::collections::BTreeMap;

use super::{chunk::Chunk, inputs::Input, sort::LineSorter, spill::SpillStore};
use crate::{
    error::Result, event::order::ArrivalKey, files::Files, progress::Progress, time::timestamp::Millis,
};

/// Returns the chunks in reading order, sorted by line first if needed. At most `budget` bytes of lines are held at a
/// time.
pub fn plan(
    mut chunks: Vec<Chunk>,
    inputs: &[Input],
    budget: u64,
    spill: &SpillStore,
    files: &Files,
    progress: &dyn Progress,
) -> Result<Vec<Chunk>> {
    sort_by_smallest_key(&mut chunks);
    if peak(&chunks) <= budget {
        return Ok(chunks);
    }
    progress.notice("the events are far out of order: sorting their lines first");
    progress.start("sorting", Some(chunks.iter().map(|chunk| chunk.length).sum()));
    let sorter = LineSorter { inputs, budget, spill, files, progress };
    // Lines that are too long are not sorted: only their beginning is available, and they are rejected anyway.
    let (too_long, chunks): (Vec<Chunk>, Vec<Chunk>) = chunks.into_iter().partition(|u| u.too_long.is_some());
    let mut runs = Vec::new();
    let mut rest = chunks.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let n = rest.iter().position(|chunk| {
            bytes += chunk.length;
            budget / 2 < bytes
        });
        let (run, behind) = rest.split_at(n.unwrap_or(rest.len()).max(1));
        runs.push(sorter.sort(run)?);
        rest = behind;
    }
    let mut all: Vec<Chunk> = runs.iter().flatten().cloned().collect();
    sort_by_smallest_key(&mut all);
    if budget < peak(&all) {
        all = sorter.merge(runs)?;
        for chunk in &mut all {
            chunk.in_order = true;
        }
    }
    all.extend(too_long);
    Ok(all)
}

fn sort_by_smallest_key(chunks: &mut [Chunk]) {
    chunks.sort_by_cached_key(|chunk| (chunk.smallest_key(), chunk.input, chunk.offset));
}

/// Returns the peak number of bytes of lines held at a time.
fn peak(chunks: &[Chunk]) -> u64 {
    let mut in_hand: BTreeMap<ArrivalKey, u64> = BTreeMap::new();
    let (mut now, mut most) = (0, 0);
    for chunk in chunks {
        // Chunks that end before everything unread are released.
        let kept = in_hand.split_off(&chunk.smallest_key());
        now -= in_hand.values().sum::<u64>();
        in_hand = kept;
        *in_hand.entry(greatest_key(chunk)).or_default() += chunk.length;
        now += chunk.length;
        most = now.max(most);
    }
    most
}

/// Returns an upper bound for the keys of a chunk's events.
fn greatest_key(chunk: &Chunk) -> ArrivalKey {
    match &chunk.keys {
        Some(keys) => keys.1.clone(),
        None => ArrivalKey { timestamp: Millis::MAX, ..ArrivalKey::smallest_at(chunk.latest) },
    }
}
