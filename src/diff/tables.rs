//! Pairs the tables of both sides by name, and chooses how to compare each pair.
//!
//! The first rows of a pair determine the key, and whether the table seems to be in its order. Large uncompressed
//! tables in order are joined in partitions, one table after the other. All others are compared in parallel, each on
//! one thread.

use rayon::prelude::*;

use crate::{
    collections::Map,
    error::{Error, Result},
    files::Files,
    glob::Globs,
    json::{Document, Tape, values::Typing},
    raw::identity_links,
    read::inputs::Packing,
};

use super::{
    columns::Ignored,
    identity::{
        load::{Source, source},
        watch::Watch,
    },
    judge::TableRules,
    keys::{self, Condition, Key, KeyFinder, NOT_JSON, read_row},
    merge::{Bounds, merge},
    meter::Meter,
    options::{DiffOptions, IdMode, Sizes},
    outcome::{OddLine, Outcome},
    pair::Pair,
    pieces::merge_in_pieces,
    records::Run,
    renaming::Renaming,
    rows::{Rows, line_number},
    schema,
    sides::{Format, NEW, OLD, Side, Table},
    walk::walk,
};

/// The number of rows to read to find out whether a table is in order.
const SAMPLE: usize = 256;

/// The result of comparing a table.
#[derive(Debug)]
pub struct TableResult {
    /// The name of the table.
    pub name: String,
    /// Whether it exists on each side.
    pub there: [bool; 2],
    /// The key columns; empty if the whole row is the key.
    pub key: Vec<String>,
    /// The result for its rows.
    pub outcome: Outcome,
    /// All changes as sorted runs, if they are wanted.
    pub runs: Vec<Run>,
    /// For each side, the columns that are not null there but are on the other.
    pub columns: [Vec<String>; 2],
    /// The malformed lines that only one side has.
    pub odd_lines: Vec<NamedLine>,
}

impl TableResult {
    /// Returns whether all rows are the same.
    #[must_use]
    pub fn same(&self) -> bool {
        self.outcome.counts == [0; 3] && self.odd_lines.is_empty()
    }
}

/// A malformed line in a report.
#[derive(Debug, Clone)]
pub struct NamedLine {
    /// The side it is on.
    pub side: usize,
    /// The file.
    pub file: String,
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub message: String,
}

/// Pairs the tables of both sides.
pub fn pair<'a>(sides: &'a [Side; 2], options: &DiffOptions) -> Result<Vec<Pair<'a>>> {
    let [old, new] = sides;
    let mut names: Vec<&String> = old.tables.keys().chain(new.tables.keys()).collect();
    names.sort();
    names.dedup();
    if names.is_empty() && !options.tables.is_empty() {
        return Err(Error::Refused(format!("--tables: there is no table `{}`", options.tables.join("`, `")))
            .hint("give the names of the files without extensions, such as pages or order_*"));
    }
    Ok(names
        .into_iter()
        .map(|name| {
            let sides = [old.tables.get(name), new.tables.get(name)];
            Pair { name: name.clone(), alone: !old.folder, sides }
        })
        .collect())
}

/// How to compare a table.
struct Plan<'a> {
    pair: &'a Pair<'a>,
    rules: TableRules,
    way: Way,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Pieces,
    Merge,
    Walk,
}

/// Compares all pairs. Returns the results in the order of the pairs.
pub fn compare_all(
    pairs: &[Pair<'_>],
    sides: &[Side; 2],
    options: &DiffOptions,
    renaming: Option<&Renaming>,
    files: &Files,
    meter: &Meter<'_>,
) -> Result<Vec<TableResult>> {
    let sources = sides.each_ref().map(source);
    let plans: Vec<Plan<'_>> = pairs
        .par_iter()
        .with_max_len(1)
        .map(|pair| plan(pair, options, sources, renaming, files, meter))
        .collect::<Result<_>>()?;
    let memory = options.memory() / rayon::current_num_threads() as u64;
    let run = |plan: &Plan<'_>| compare(plan, renaming, memory, options.sizes, files, meter);
    let mut results: Map<&str, TableResult> = Map::default();
    let (large, small): (Vec<_>, Vec<_>) = plans.iter().partition(|plan| plan.way == Way::Pieces);
    for plan in large {
        results.insert(&plan.pair.name, run(plan)?);
    }
    let small: Vec<(&str, TableResult)> = small
        .into_par_iter()
        .with_max_len(1)
        .map(|plan| Ok((&*plan.pair.name, run(plan)?)))
        .collect::<Result<_>>()?;
    results.extend(small);
    Ok(pairs.iter().filter_map(|pair| results.remove(&*pair.name)).collect())
}

/// Chooses how to compare a pair, from the first rows of both sides.
fn plan<'a>(
    pair: &'a Pair<'a>,
    options: &DiffOptions,
    sources: [Option<Source<'_>>; 2],
    renaming: Option<&Renaming>,
    files: &Files,
    meter: &Meter<'_>,
) -> Result<Plan<'a>> {
    let formats = || pair.sides.into_iter().flatten().flatten().map(|file| file.format);
    let has = |format| formats().any(|of_file| of_file == format);
    let typing = if has(Format::Csv) && has(Format::Json) { Typing::Csv } else { Typing::Json };
    let samples = pair.sides.map(|table| table.map_or(Ok(Vec::new()), |table| sample(table, files)));
    let [old, new] = samples;
    let samples = [old?, new?];
    // The ids of such rows are derived from segment ids, so they mean nothing if segment ids are renamed.
    let name = pair.name.rsplit('/').next().unwrap_or(&pair.name);
    let derived_ids = renaming.is_some() && matches!(name, "id_graph_updates" | "profile_traits_updates");
    let has_such = derived_ids || renaming.is_some() && name == identity_links::TABLE;
    let always = if has_such { vec!["id".to_owned()] } else { Vec::new() };
    let ignored = Ignored::new(Globs::new(options.ignore_columns.clone()), always);
    let columns = if derived_ids {
        ["triggering_event_id", "segment_id"].map(str::to_owned).to_vec()
    } else {
        key_columns(pair, &samples, options)?
    };
    if renaming.is_none() || options.ids == IdMode::Renamed {
        tell_missing_key(pair, &columns, &samples, meter);
    }
    let condition = Condition::of(name, &columns);
    let key = Key { columns, ignored: ignored.clone(), typing, numbers_are_text: false, condition };
    let rules = TableRules {
        table: pair.name.clone(),
        key,
        typing,
        ignored,
        limit: options.limit,
        watch: if renaming.is_none() { watch(&pair.name, sources) } else { None },
        every: if renaming.is_some() && options.ids == IdMode::Exact { 0 } else { options.every },
    };
    let large = options.sizes.large < pair.n_bytes();
    let plain = pair.sides.iter().all(|table| {
        table.is_some_and(|table| {
            table.len() == 1 && table[0].packing == Packing::Plain && table[0].format == Format::Json
        })
    });
    let way = if renaming.is_some() || !samples.iter().all(|lines| in_order(lines, &rules.key)) {
        Way::Walk
    } else if large && plain {
        Way::Pieces
    } else {
        Way::Merge
    };
    Ok(Plan { pair, rules, way })
}

/// Returns what to collect from a table: identifiers from the view that both sides have, profiles from the graph.
fn watch(table: &str, sources: [Option<Source<'_>>; 2]) -> Option<Watch> {
    let [Some(Source::View(_, columns)), Some(Source::View(_, columns_new))] = sources else { return None };
    let of_view = if columns[1] == "type" { "user_identifiers" } else { "external_id_mapping" };
    match table {
        "id_graph" => Some(Watch::graph()),
        _ if table == of_view && columns == columns_new => Some(Watch::mapping(columns)),
        _ => None,
    }
}

fn compare(
    plan: &Plan<'_>,
    renaming: Option<&Renaming>,
    memory: u64,
    sizes: Sizes,
    files: &Files,
    meter: &Meter<'_>,
) -> Result<TableResult> {
    let Plan { pair, rules, way } = plan;
    let nothing = Table::new();
    let rows = |side: usize| Rows::of_table(pair.sides[side].unwrap_or(&nothing), files);
    let compared = match (*way, pair.sides) {
        (Way::Pieces, [Some(old), Some(new)]) => {
            merge_in_pieces(&old[0], &new[0], rules, sizes.piece, files, meter)?
                .map(|(outcome, run)| (outcome, vec![run]))
        }
        (Way::Pieces | Way::Merge, _) => {
            let mut run = Run::default();
            match merge(rows(OLD), rows(NEW), rules, &Bounds::default(), Some(&mut run), meter)? {
                None => None,
                Some(mut outcome) => {
                    run.append(&std::mem::take(&mut outcome.records))?;
                    Some((outcome, vec![run]))
                }
            }
        }
        (Way::Walk, _) => None,
    };
    let (mut outcome, runs) = match compared {
        Some(compared) => compared,
        None => walk(rows(OLD), rows(NEW), rules, renaming, memory, meter)?,
    };
    let odd_lines = name_odd_lines(&mut outcome, pair, files, meter)?;
    let columns = schema::one_sided_columns(&outcome, pair, rules.typing, files)?;
    Ok(TableResult {
        name: pair.name.clone(),
        there: pair.sides.map(|table| table.is_some()),
        key: rules.key.columns.clone(),
        outcome,
        runs,
        columns,
        odd_lines,
    })
}

/// Returns the first lines of a table.
fn sample(table: &Table, files: &Files) -> Result<Vec<Vec<u8>>> {
    let mut rows = Rows::of_table(table, files);
    let mut lines = Vec::new();
    while lines.len() < SAMPLE && rows.fill()? {
        lines.push(rows.line().to_vec());
        rows.advance();
    }
    Ok(lines)
}

fn in_order(lines: &[Vec<u8>], key: &Key) -> bool {
    let mut finder = KeyFinder::new(key);
    let mut last = Vec::new();
    for line in lines {
        let mut found = Vec::new();
        if finder.push_quick(&mut found, line).is_ok() {
            if found < last {
                return false;
            }
            last = found;
        }
    }
    true
}

/// Returns whether one of the first rows has a column.
fn has(lines: &[Vec<u8>], column: &str) -> bool {
    let mut tape = Tape::default();
    lines.iter().take(16).any(|line| {
        read_row(&mut tape, line).is_ok()
            && Document { text: line, tokens: &tape.tokens }.get(0, column.as_bytes()).is_some()
    })
}

/// Warns about a key column that only one side has, because no row can be matched then.
fn tell_missing_key(pair: &Pair<'_>, columns: &[String], samples: &[Vec<Vec<u8>>; 2], meter: &Meter<'_>) {
    for column in columns {
        let missing = match samples.each_ref().map(|lines| lines.is_empty() || has(lines, column)) {
            [false, true] => OLD,
            [true, false] => NEW,
            _ => continue,
        };
        let capitals = column.to_ascii_uppercase();
        let written = if has(&samples[missing], &capitals) {
            format!(" but `{capitals}`, and column names are case-sensitive")
        } else {
            String::new()
        };
        meter.notice(&format!(
            "no row of `{}` can be matched: the {} side has no column `{column}`{written}",
            pair.name,
            ["old", "new"][missing],
        ));
    }
}

/// Returns the key columns: those given, those of a known table, or `id`. They are empty if the whole row is the key.
fn key_columns(pair: &Pair<'_>, samples: &[Vec<Vec<u8>>; 2], options: &DiffOptions) -> Result<Vec<String>> {
    let known = keys::known(&pair.name);
    if !options.key.is_empty() && (known.is_none() || pair.alone) {
        let missing = options
            .key
            .iter()
            .find(|column| samples.iter().any(|lines| !lines.is_empty() && !has(lines, column)));
        match missing {
            None => return Ok(options.key.clone()),
            Some(column) if pair.alone => {
                return Err(Error::Refused(format!("--key: `{}` has no column `{column}`", pair.name))
                    .hint("give columns of the table, separated by commas"));
            }
            Some(_) => {}
        }
    }
    if let Some(known) = known {
        // A warehouse's export may lack the hash; type and value identify the same row.
        let hash = "external_id_hash";
        let lacks_hash = samples.iter().any(|lines| !lines.is_empty() && !has(lines, hash));
        return Ok(known
            .iter()
            .filter(|column| **column != hash || !lacks_hash)
            .map(|column| (*column).to_owned())
            .collect());
    }
    let id = samples.iter().all(|lines| lines.is_empty() || has(lines, "id"));
    Ok(if id { vec!["id".to_owned()] } else { Vec::new() })
}

/// Removes malformed lines that both sides have, and finds the line numbers of the others.
fn name_odd_lines(
    outcome: &mut Outcome,
    pair: &Pair<'_>,
    files: &Files,
    meter: &Meter<'_>,
) -> Result<Vec<NamedLine>> {
    let mut by_hash: Map<u128, Vec<OddLine>> = Map::default();
    let mut odd_lines = std::mem::take(&mut outcome.odd_lines);
    odd_lines.sort_by_key(|line| (line.side, line.place));
    let name = |odd: &OddLine| -> Result<NamedLine> {
        let table = pair.sides[odd.side].expect("the line came from this table");
        let (path, line) = line_number(table, odd.place, files)?;
        let message = if odd.unfinished && odd.message == NOT_JSON {
            format!("{} and has no line end: it is incomplete", odd.message)
        } else {
            odd.message.to_owned()
        };
        Ok(NamedLine { side: odd.side, file: path.display().to_string(), line, message })
    };
    let mut left: Vec<OddLine> = Vec::new();
    for odd in odd_lines {
        if odd.side == OLD {
            by_hash.entry(odd.hash).or_default().push(odd);
            continue;
        }
        match by_hash.get_mut(&odd.hash).and_then(Vec::pop) {
            None => left.push(odd),
            Some(old) => {
                outcome.same += 1;
                if old.unfinished && odd.unfinished {
                    let NamedLine { file, line, message, .. } = name(&odd)?;
                    meter.notice(&format!("{file}:{line} {message}, on both sides alike"));
                }
            }
        }
    }
    left.extend(by_hash.into_values().flatten());
    left.sort_by_key(|line| (line.side, line.place));
    left.iter().map(name).collect()
}
