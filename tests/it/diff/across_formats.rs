//! NDJSON is compared with CSV value by value, and random tables of both are checked against a plain implementation of
//! the rules.

use serde_json::{Value, json};

use super::{Random, compare, options};
use crate::support::Work;

/// A cell: a JSON value, or a text in CSV, where an empty text is null.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Json(&'static str),
    Csv(&'static str),
}

/// Returns whether a number is negative, its digits and its power of ten, which are the same for equal numbers. Returns
/// `None` if the text is not a number in JSON.
fn number(text: &str) -> Option<(bool, String, i64)> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let signless = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    let spelled = !whole.is_empty()
        && (whole == "0" || !whole.starts_with('0'))
        && digits(whole)
        && digits(fraction)
        && mantissa.contains('.') != fraction.is_empty()
        && !signless.is_empty()
        && digits(signless);
    if !spelled {
        return None;
    }
    let all = format!("{whole}{fraction}");
    let zeros = all.len() - all.trim_end_matches('0').len();
    let power = exponent.trim_start_matches('+').parse::<i64>().unwrap()
        - i64::try_from(fraction.len()).unwrap()
        + i64::try_from(zeros).unwrap();
    match all.trim_matches('0') {
        "" => Some((false, String::new(), 0)),
        digits => Some((text.starts_with('-'), digits.to_owned(), power)),
    }
}

/// Returns whether two cells are equal, by a plain implementation of the rules.
fn same(a: &Cell, b: &Cell) -> bool {
    match (a, b) {
        (Cell::Csv(a), Cell::Csv(b)) => a == b,
        (Cell::Csv(_), Cell::Json(_)) => same(b, a),
        (Cell::Json(json), Cell::Csv(text)) => {
            let value: Value = serde_json::from_str(json).unwrap();
            match value {
                Value::Null => text.is_empty(),
                Value::String(value) => value == *text,
                Value::Number(_) => number(json) == number(text) && number(text).is_some(),
                Value::Bool(_) => json == text,
                // Arrays and objects in this test differ only by spaces in their spelling.
                value => serde_json::from_str::<Value>(text).is_ok_and(|other| other == value),
            }
        }
        (Cell::Json(a), Cell::Json(b)) => {
            let [value_a, value_b] = [a, b].map(|text| serde_json::from_str::<Value>(text).unwrap());
            match (number(a), number(b)) {
                (None, None) => value_a == value_b,
                (a, b) => a == b,
            }
        }
    }
}

const JSON: &[&str] = &[
    "null",
    "1",
    "1.0",
    "10E-1",
    "-0",
    "0.0",
    "true",
    "1e300",
    "\"1\"",
    "\"1.0\"",
    "\"12e4\"",
    "120000",
    "12e4",
    "\"true\"",
    "\"NaN\"",
    "\"\"",
    "\"null\"",
    "\"a\"",
    "\"\\u00e9\"",
    "[1]",
    "{\"a\":1}",
    "\"[1]\"",
    "12345678901234567890123",
    "\" 1\"",
    "\"01\"",
];

const CSV: &[&str] = &[
    "",
    "1",
    "1.0",
    "10E-1",
    "-0",
    "0",
    "true",
    "TRUE",
    "1e300",
    "10e299",
    "12e4",
    "120000",
    "NaN",
    "null",
    "a",
    "\u{e9}",
    "[1]",
    "[ 1 ]",
    "{\"a\":1}",
    "12345678901234567890123.0",
    "12345678901234567890124",
    " 1",
    "01",
    "+1",
];

fn all_cells() -> Vec<Cell> {
    JSON.iter().map(|text| Cell::Json(text)).chain(CSV.iter().map(|text| Cell::Csv(text))).collect()
}

/// Writes a table with the columns `k` and `v` and returns its path.
fn write(work: &Work, name: &str, rows: &[(Cell, Cell)]) -> std::path::PathBuf {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let is_csv =
        rows.iter().any(|(key, value)| matches!((key, value), (Cell::Csv(_), _) | (_, Cell::Csv(_))));
    let mut text = if is_csv { "k,v\n".to_owned() } else { String::new() };
    for (key, value) in rows {
        let row = match (key, value) {
            (Cell::Csv(key), Cell::Csv(value)) => format!("{},{}\n", quoted(key), quoted(value)),
            (Cell::Json(key), Cell::Json(value)) => format!("{{\"k\":{key},\"v\":{value}}}\n"),
            _ => unreachable!("a file has one format"),
        };
        text.push_str(&row);
    }
    work.write(&format!("{name}.{}", if is_csv { "csv" } else { "ndjson" }), text)
}

#[test]
fn every_pair_of_values_is_compared_by_the_rules() {
    let work = Work::new();
    let mut wrong = Vec::new();
    let cells = all_cells();
    for a in &cells {
        // One table pairs this value with all others, a row each; the key gives the index of the other.
        let partners: Vec<&Cell> = cells.iter().collect();
        for csv in [true, false] {
            let partners: Vec<&Cell> =
                partners.iter().copied().filter(|cell| matches!(cell, Cell::Csv(_)) == csv).collect();
            let key = |n: usize, like: &Cell| match like {
                Cell::Csv(_) => Cell::Csv(Box::leak(format!("k{n}").into_boxed_str())),
                Cell::Json(_) => Cell::Json(Box::leak(format!("\"k{n}\"").into_boxed_str())),
            };
            let old: Vec<_> = (0..partners.len()).map(|n| (key(n, a), a.clone())).collect();
            let new: Vec<_> = partners.iter().enumerate().map(|(n, b)| (key(n, b), (*b).clone())).collect();
            let mut options = options(&write(&work, "old", &old), &write(&work, "new", &new));
            options.key = vec!["k".to_owned()];
            let (_, changes) = compare(&options);
            for (n, b) in partners.iter().enumerate() {
                let differs = changes.iter().any(|change| change["key"]["k"] == json!(format!("k{n}")));
                // Only for the failure message: the rule for empty texts depends on it.
                let mixed = matches!((a, b), (Cell::Csv(_), Cell::Json(_)) | (Cell::Json(_), Cell::Csv(_)));
                if differs == same(a, b) {
                    wrong.push(format!("{a:?} {b:?} differ: {differs} (of two formats: {mixed})"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Returns how many rows can be paired with an equal one at most. Tries all pairings.
fn most_pairs(old: &[&(Cell, Cell)], new: &[&(Cell, Cell)]) -> usize {
    let Some((first, rest)) = old.split_first() else { return 0 };
    let mut most = most_pairs(rest, new);
    for (at, other) in new.iter().enumerate() {
        if same(&first.0, &other.0) && same(&first.1, &other.1) {
            let mut others = new.to_vec();
            others.remove(at);
            most = most.max(1 + most_pairs(rest, &others));
        }
    }
    most
}

#[test]
fn random_tables_of_two_formats_are_compared_by_the_rules() {
    // Values that are easily confused.
    const JSON: &[&str] = &["null", "1", "1.0", "\"1\"", "\"1.0\"", "\"a\"", "2"];
    const CSV: &[&str] = &["", "1", "1.0", "a", "2"];
    for seed in 0..400 {
        let random = &mut Random(seed);
        let pick = |random: &mut Random, csv: bool| {
            if csv {
                Cell::Csv(CSV[random.below(CSV.len())])
            } else {
                Cell::Json(JSON[random.below(JSON.len())])
            }
        };
        let formats = [[true, false], [false, true], [true, true]][random.below(3)];
        let tables = formats.map(|csv| -> Vec<(Cell, Cell)> {
            (0..=random.below(7)).map(|_| (pick(random, csv), pick(random, csv))).collect()
        });
        let work = Work::new();
        let mut options = options(&write(&work, "old", &tables[0]), &write(&work, "new", &tables[1]));
        options.key = if random.one_in(3) { Vec::new() } else { vec!["k".to_owned()] };
        options.memory = random.one_in(2).then_some(1000);
        let (comparison, _) = compare(&options);
        let outcome = &comparison.tables[0].outcome;
        let [removed, added, changed] = outcome.counts;
        let [old, new] = tables.each_ref().map(|rows| rows.iter().collect::<Vec<_>>());
        let told = format!("seed {seed}: {tables:?} by {:?}: {outcome:?}", options.key);
        assert_eq!(outcome.same, most_pairs(&old, &new) as u64, "{told}");
        assert_eq!(outcome.same + removed + changed, old.len() as u64, "{told}");
        assert_eq!(outcome.same + added + changed, new.len() as u64, "{told}");
        if options.key.is_empty() {
            continue;
        }
        // A row can only count as changed if no other row of either side has its key.
        let alone =
            |rows: &[&(Cell, Cell)], key: &Cell| rows.iter().filter(|row| same(&row.0, key)).count() == 1;
        let n_changed = old.iter().filter(|row| {
            let partner = new.iter().find(|other| same(&row.0, &other.0));
            partner.is_some_and(|other| {
                alone(&new, &row.0)
                    && alone(&old, &other.0)
                    && alone(&old, &row.0)
                    && alone(&new, &other.0)
                    && !same(&row.1, &other.1)
            })
        });
        let n_changed = n_changed.count() as u64;
        // A JSON key that is not a text equals several texts in CSV, which this count ignores.
        assert!(changed <= n_changed, "{told}");
        if tables.iter().flatten().all(|(key, _)| !matches!(key, Cell::Json(text) if !text.starts_with('"')))
        {
            assert_eq!(changed, n_changed, "{told}");
            let twice = |rows: &[&(Cell, Cell)]| {
                let keys = rows.iter().filter(|row| 1 < rows.iter().filter(|other| other.0 == row.0).count());
                keys.map(|row| format!("{:?}", row.0)).collect::<std::collections::BTreeSet<_>>().len() as u64
            };
            assert_eq!(outcome.duplicate_keys, [twice(&old), twice(&new)], "{told}");
        }
    }
}
