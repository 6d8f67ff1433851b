//! In which order units are read, so that the events in hand fit the memory.
//!
//! Units are read by their earliest event. A unit stays in hand until everything that is still unread is later than its
//! latest event, so what is in hand at the most is known beforehand. Files in order, side by side or one behind the other,
//! need a unit or two of each. Where disorder would need too much, the lines are sorted first: as many at a time as fit,
//! each such run spilled as units of its own, which overlap little.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{
    inputs::Input,
    lines::{BOM, MAX_LINE, lines, push_line},
    scan::line_times,
    spill::Spill,
    unit::{Place, UNIT, Unit},
};
use crate::{
    error::{Error, Result},
    event::{json::Tape, timestamp::Millis},
    files::Files,
    progress::Progress,
};

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
    let mut sorted = Vec::new();
    // Lines of one source may stand in one unit, whatever file they are from.
    let mut by_source: BTreeMap<Option<&str>, Vec<Unit>> = BTreeMap::new();
    for unit in units {
        by_source.entry(inputs[unit.input as usize].source.as_deref()).or_default().push(unit);
    }
    for units in by_source.into_values() {
        let mut rest = units.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let n = rest.iter().position(|unit| {
                bytes += unit.length;
                budget / 2 < bytes
            });
            let (run, behind) = rest.split_at(n.unwrap_or(rest.len()).max(1));
            sort_run(run, spill, files, progress, &mut sorted)?;
            rest = behind;
        }
    }
    order(&mut sorted);
    Ok(sorted)
}

fn order(units: &mut [Unit]) {
    units.sort_by_key(|unit| (unit.earliest, unit.input, unit.offset));
}

/// The most bytes of lines that are in hand at once.
fn peak(units: &[Unit]) -> u64 {
    let mut in_hand: BTreeMap<Millis, u64> = BTreeMap::new();
    let (mut now, mut most) = (0, 0);
    for unit in units {
        // What is earlier than all that is unread has been let go.
        let kept = in_hand.split_off(&unit.earliest);
        now -= in_hand.values().sum::<u64>();
        in_hand = kept;
        *in_hand.entry(unit.latest).or_default() += unit.length;
        now += unit.length;
        most = now.max(most);
    }
    most
}

/// A line of a run: when its first event arrived, which unit of the run, and where it stands there.
struct Line {
    earliest: Millis,
    latest: Millis,
    unit: usize,
    start: u32,
    end: u32,
}

/// Sorts the lines of some units and spills them as new units. A line that is rejected stays where it is, so that its
/// place in its file is known; order does not matter to it.
fn sort_run(
    run: &[Unit],
    spill: &Spill,
    files: &Files,
    progress: &dyn Progress,
    sorted: &mut Vec<Unit>,
) -> Result<()> {
    if progress.interrupted() {
        return Err(Error::Interrupted);
    }
    let read: Vec<(Vec<u8>, Vec<Line>, Vec<Unit>)> = run
        .par_iter()
        .with_max_len(1)
        .enumerate()
        .map(|(number, unit)| {
            let mut bytes = Vec::new();
            unit.read(&mut bytes, files)?;
            let (lines, left) = lines_of(number, unit, &bytes);
            Ok((bytes, lines, left))
        })
        .collect::<Result<_>>()?;
    let mut all = Vec::new();
    let mut texts = Vec::with_capacity(read.len());
    for (bytes, lines, left) in read {
        texts.push(bytes);
        all.extend(lines);
        sorted.extend(left);
    }
    all.par_sort_by_key(|line| line.earliest);
    let mut groups: Vec<&[Line]> = Vec::new();
    let mut rest = all.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let n = rest.iter().position(|line| {
            bytes += u64::from(line.end - line.start) + 1;
            UNIT < bytes
        });
        let (group, behind) = rest.split_at(n.unwrap_or(rest.len()).max(1));
        groups.push(group);
        rest = behind;
    }
    let units: Vec<Unit> = groups
        .into_par_iter()
        .with_max_len(1)
        .map(|group| {
            let mut bytes = Vec::new();
            for line in group {
                push_line(&mut bytes, &texts[line.unit][line.start as usize..line.end as usize]);
            }
            Ok(Unit {
                input: run[0].input,
                place: Place::Spilled(spill.put(&bytes)?),
                offset: 1,
                length: bytes.len() as u64,
                first_line: 1,
                n_lines: group.len() as u64,
                earliest: group[0].earliest,
                latest: group.iter().map(|line| line.latest).max().unwrap_or(group[0].latest),
                too_long: None,
            })
        })
        .collect::<Result<_>>()?;
    progress.advance(run.iter().map(|unit| unit.length).sum());
    sorted.extend(units);
    Ok(())
}

/// The lines of a unit that can be sorted, and those that stay: as units of one line each.
fn lines_of(number: usize, unit: &Unit, bytes: &[u8]) -> (Vec<Line>, Vec<Unit>) {
    let (mut sortable, mut left) = (Vec::new(), Vec::new());
    if unit.too_long.is_some() {
        return (sortable, vec![unit.clone()]);
    }
    let mut tape = Tape::default();
    for (line, range) in (unit.first_line..).zip(lines(bytes)) {
        let bom = unit.offset == 0 && range.start == 0 && bytes.starts_with(BOM);
        let start = if bom { BOM.len() } else { range.start };
        let Some(times) = line_times(&bytes[start..range.end], &mut tape) else { continue };
        if times.rejects || MAX_LINE < range.end - start {
            // With its end, so that the line is cut once more in the same place.
            let end = memchr::memchr(b'\n', &bytes[range.end..]).map_or(bytes.len(), |at| range.end + at + 1);
            let place = match &unit.place {
                Place::File(_) => unit.place.clone(),
                _ => Place::Memory(bytes[start..end].to_vec().into()),
            };
            left.push(Unit {
                place,
                offset: unit.offset + start as u64,
                length: (end - start) as u64,
                first_line: line,
                n_lines: 1,
                earliest: times.earliest,
                latest: times.latest,
                ..unit.clone()
            });
            continue;
        }
        let position = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        sortable.push(Line {
            earliest: times.earliest,
            latest: times.latest,
            unit: number,
            start: position(start),
            end: position(range.end),
        });
    }
    (sortable, left)
}
