//! Identifiers that look like one that nobody has: it was mistyped, or is written in another way.

use super::{answer::Identifier, reasons::folded, whole::Tables};
use crate::{
    error::Result,
    raw::external_id_mapping_updates,
    table::{blocks::non_blank_lines, row::RowReader},
};

/// How many are suggested.
const SUGGESTED: usize = 5;

/// Texts that are longer are not compared letter by letter.
const MAX_LENGTH: usize = 256;

/// Finds the identifiers that are nearest to an argument, the nearest first.
pub(super) fn nearest(tables: &Tables<'_>, argument: &str) -> Result<Vec<Identifier>> {
    let value_of_typed = argument.split_once(':').map(|(_, value)| value);
    let wanted: Vec<Vec<char>> = std::iter::once(argument)
        .chain(value_of_typed)
        .filter(|text| !text.is_empty() && text.len() <= MAX_LENGTH)
        .map(|text| folded(text).chars().collect())
        .collect();
    let found = tables.scan(external_id_mapping_updates::TABLE, |block| {
        let mut reader = RowReader::new(["external_id_type", "external_id_value"]);
        let mut best: Vec<(usize, Identifier)> = Vec::new();
        for (at, line) in non_blank_lines(block.text) {
            let bad = |problem| (at, problem);
            let row = reader.read(line, block.clean).map_err(bad)?;
            let value = row.required(1).map_err(bad)?;
            if MAX_LENGTH < value.len() || !row.clock.existed_at(tables.as_of) {
                continue;
            }
            let value = String::from_utf8_lossy(&value).into_owned();
            let letters: Vec<char> = folded(&value).chars().collect();
            let distances =
                wanted.iter().filter_map(|wanted| distance(wanted, &letters, 1 + wanted.len() / 4));
            if let Some(distance) = distances.min() {
                let type_name = String::from_utf8_lossy(&row.required(0).map_err(bad)?).into_owned();
                best.push((distance, Identifier { type_name, value }));
                if 4 * SUGGESTED < best.len() {
                    keep_best(&mut best);
                }
            }
        }
        Ok(best)
    })?;
    let mut best = found;
    keep_best(&mut best);
    Ok(best.into_iter().map(|(_, identifier)| identifier).collect())
}

fn keep_best(best: &mut Vec<(usize, Identifier)>) {
    best.sort();
    best.dedup();
    best.truncate(SUGGESTED);
}

/// Returns how many letters have to be changed to get from one text to the other, if that are at most so many.
fn distance(a: &[char], b: &[char], most: usize) -> Option<usize> {
    if most < a.len().abs_diff(b.len()) {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        let mut least = row[0];
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
            least = least.min(row[j + 1]);
        }
        if most < least {
            return None;
        }
    }
    Some(row[b.len()]).filter(|&distance| distance <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_letters() {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        for (a, b, expected) in [
            ("jane", "jane", Some(0)),
            ("jane", "jnae", Some(2)),
            ("jane", "jan", Some(1)),
            ("caf\u{e9}", "cafe", Some(1)),
            ("jane", "bill", None),
            ("j", "jane", None),
        ] {
            assert_eq!(distance(&letters(a), &letters(b), 2), expected, "{a} {b}");
        }
    }
}
