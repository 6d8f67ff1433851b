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
    read::inputs::CompressionFormat,
};

use super::{
    columns::IgnoredColumns,
    identity::{
        collector::CollectorColumns,
        load::{IdentitySource, source},
    },
    keys::{self, Condition, KeyFinder, NOT_JSON, RowKey, read_row},
    merge::{KeyBounds, merge},
    meter::DiffMeter,
    options::{DiffOptions, IdMode, Sizes},
    outcome::{MalformedLine, RowsOutcome},
    pair::TablePair,
    partitions::merge_in_partitions,
    records::ChangesRun,
    renaming::Renaming,
    row_comparer::TableRules,
    rows::{TableLines, line_number},
    schema,
    sides::{DiffSide, NEW, OLD, TableFiles, TableFormat},
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
    pub outcome: RowsOutcome,
    /// All changes as sorted runs, if they are wanted.
    pub runs: Vec<ChangesRun>,
    /// For each side, the columns that are not null there but are on the other.
    pub columns: [Vec<String>; 2],
    /// The malformed lines that only one side has.
    pub malformed_lines: Vec<ReportedLine>,
}

impl TableResult {
    /// Returns whether all rows are the same.
    #[must_use]
    pub fn same(&self) -> bool {
        self.outcome.counts == [0; 3] && self.malformed_lines.is_empty()
    }
}

/// A malformed line in a report.
#[derive(Debug, Clone)]
pub struct ReportedLine {
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
pub fn pair<'a>(sides: &'a [DiffSide; 2], options: &DiffOptions) -> Result<Vec<TablePair<'a>>> {
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
            TablePair { name: name.clone(), alone: !old.folder, sides }
        })
        .collect())
}

/// How to compare a table.
struct ComparePlan<'a> {
    pair: &'a TablePair<'a>,
    rules: TableRules,
    way: CompareMethod,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CompareMethod {
    Partitions,
    Merge,
    Walk,
}

/// Compares all pairs. Returns the results in the order of the pairs.
pub fn compare_all(
    pairs: &[TablePair<'_>],
    sides: &[DiffSide; 2],
    options: &DiffOptions,
    renaming: Option<&Renaming>,
    files: &Files,
    meter: &DiffMeter<'_>,
) -> Result<Vec<TableResult>> {
    let sources = sides.each_ref().map(source);
    let plans: Vec<ComparePlan<'_>> = pairs
        .par_iter()
        .with_max_len(1)
        .map(|pair| plan(pair, options, sources, renaming, files, meter))
        .collect::<Result<_>>()?;
    let memory = options.memory() / rayon::current_num_threads() as u64;
    let run = |plan: &ComparePlan<'_>| compare(plan, renaming, memory, options.sizes, files, meter);
    let mut results: Map<&str, TableResult> = Map::default();
    let (large, small): (Vec<_>, Vec<_>) =
        plans.iter().partition(|plan| plan.way == CompareMethod::Partitions);
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
    pair: &'a TablePair<'a>,
    options: &DiffOptions,
    sources: [Option<IdentitySource<'_>>; 2],
    renaming: Option<&Renaming>,
    files: &Files,
    meter: &DiffMeter<'_>,
) -> Result<ComparePlan<'a>> {
    let formats = || pair.sides.into_iter().flatten().flatten().map(|file| file.format);
    let has = |format| formats().any(|of_file| of_file == format);
    let typing = if has(TableFormat::Csv) && has(TableFormat::Json) { Typing::Csv } else { Typing::Json };
    let samples = pair.sides.map(|table| table.map_or(Ok(Vec::new()), |table| sample(table, files)));
    let [old, new] = samples;
    let samples = [old?, new?];
    // The ids of such rows are derived from segment ids, so they mean nothing if segment ids are renamed.
    let name = pair.name.rsplit('/').next().unwrap_or(&pair.name);
    let derived_ids = renaming.is_some() && matches!(name, "id_graph_updates" | "profile_traits_updates");
    let has_such = derived_ids || renaming.is_some() && name == identity_links::TABLE;
    let always = if has_such { vec!["id".to_owned()] } else { Vec::new() };
    let ignored = IgnoredColumns::new(Globs::new(options.ignore_columns.clone()), always);
    let columns = if derived_ids {
        ["triggering_event_id", "segment_id"].map(str::to_owned).to_vec()
    } else {
        key_columns(pair, &samples, options)?
    };
    if renaming.is_none() || options.ids == IdMode::Renamed {
        warn_missing_key(pair, &columns, &samples, meter);
    }
    let condition = Condition::of(name, &columns);
    let key = RowKey { columns, ignored: ignored.clone(), typing, numbers_are_text: false, condition };
    let rules = TableRules {
        table: pair.name.clone(),
        key,
        typing,
        ignored,
        limit: options.limit,
        collect: if renaming.is_none() { watch(&pair.name, sources) } else { None },
        max_changes: if renaming.is_some() && options.ids == IdMode::Exact { 0 } else { options.every },
    };
    let large = options.sizes.large < pair.n_bytes();
    let plain = pair.sides.iter().all(|table| {
        table.is_some_and(|table| {
            table.len() == 1
                && table[0].packing == CompressionFormat::Plain
                && table[0].format == TableFormat::Json
        })
    });
    let way = if renaming.is_some() || !samples.iter().all(|lines| in_order(lines, &rules.key)) {
        CompareMethod::Walk
    } else if large && plain {
        CompareMethod::Partitions
    } else {
        CompareMethod::Merge
    };
    Ok(ComparePlan { pair, rules, way })
}

/// Returns what to collect from a table: identifiers from the view that both sides have, profiles from the graph.
fn watch(table: &str, sources: [Option<IdentitySource<'_>>; 2]) -> Option<CollectorColumns> {
    let [Some(IdentitySource::View(_, columns)), Some(IdentitySource::View(_, columns_new))] = sources else {
        return None;
    };
    let of_view = if columns[1] == "type" { "user_identifiers" } else { "external_id_mapping" };
    match table {
        "id_graph" => Some(CollectorColumns::graph()),
        _ if table == of_view && columns == columns_new => Some(CollectorColumns::mapping(columns)),
        _ => None,
    }
}

fn compare(
    plan: &ComparePlan<'_>,
    renaming: Option<&Renaming>,
    memory: u64,
    sizes: Sizes,
    files: &Files,
    meter: &DiffMeter<'_>,
) -> Result<TableResult> {
    let ComparePlan { pair, rules, way } = plan;
    let nothing = TableFiles::new();
    let rows = |side: usize| TableLines::of_table(pair.sides[side].unwrap_or(&nothing), files);
    let compared = match (*way, pair.sides) {
        (CompareMethod::Partitions, [Some(old), Some(new)]) => {
            merge_in_partitions(&old[0], &new[0], rules, sizes.piece, files, meter)?
                .map(|(outcome, run)| (outcome, vec![run]))
        }
        (CompareMethod::Partitions | CompareMethod::Merge, _) => {
            let mut run = ChangesRun::default();
            match merge(rows(OLD), rows(NEW), rules, &KeyBounds::default(), Some(&mut run), meter)? {
                None => None,
                Some(mut outcome) => {
                    run.append(&std::mem::take(&mut outcome.records))?;
                    Some((outcome, vec![run]))
                }
            }
        }
        (CompareMethod::Walk, _) => None,
    };
    let (mut outcome, runs) = match compared {
        Some(compared) => compared,
        None => walk(rows(OLD), rows(NEW), rules, renaming, memory, meter)?,
    };
    let odd_lines = locate_malformed_lines(&mut outcome, pair, files, meter)?;
    let columns = schema::one_sided_columns(&outcome, pair, rules.typing, files)?;
    Ok(TableResult {
        name: pair.name.clone(),
        there: pair.sides.map(|table| table.is_some()),
        key: rules.key.columns.clone(),
        outcome,
        runs,
        columns,
        malformed_lines: odd_lines,
    })
}

/// Returns the first lines of a table.
fn sample(table: &TableFiles, files: &Files) -> Result<Vec<Vec<u8>>> {
    let mut rows = TableLines::of_table(table, files);
    let mut lines = Vec::new();
    while lines.len() < SAMPLE && rows.fill()? {
        lines.push(rows.line().to_vec());
        rows.advance();
    }
    Ok(lines)
}

fn in_order(lines: &[Vec<u8>], key: &RowKey) -> bool {
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
fn warn_missing_key(
    pair: &TablePair<'_>,
    columns: &[String],
    samples: &[Vec<Vec<u8>>; 2],
    meter: &DiffMeter<'_>,
) {
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
fn key_columns(
    pair: &TablePair<'_>,
    samples: &[Vec<Vec<u8>>; 2],
    options: &DiffOptions,
) -> Result<Vec<String>> {
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
fn locate_malformed_lines(
    outcome: &mut RowsOutcome,
    pair: &TablePair<'_>,
    files: &Files,
    meter: &DiffMeter<'_>,
) -> Result<Vec<ReportedLine>> {
    let mut by_hash: Map<u128, Vec<MalformedLine>> = Map::default();
    let mut odd_lines = std::mem::take(&mut outcome.malformed_lines);
    odd_lines.sort_by_key(|line| (line.side, line.place));
    let name = |odd: &MalformedLine| -> Result<ReportedLine> {
        let table = pair.sides[odd.side].expect("the line came from this table");
        let (path, line) = line_number(table, odd.place, files)?;
        let message = if odd.unfinished && odd.message == NOT_JSON {
            format!("{} and has no line end: it is incomplete", odd.message)
        } else {
            odd.message.to_owned()
        };
        Ok(ReportedLine { side: odd.side, file: path.display().to_string(), line, message })
    };
    let mut left: Vec<MalformedLine> = Vec::new();
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
                    let ReportedLine { file, line, message, .. } = name(&odd)?;
                    meter.notice(&format!("{file}:{line} {message}, on both sides alike"));
                }
            }
        }
    }
    left.extend(by_hash.into_values().flatten());
    left.sort_by_key(|line| (line.side, line.place));
    left.iter().map(name).collect()
}
