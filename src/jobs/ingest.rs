//! The job `ingest`: appends events to the raw tables.
//!
//! Inputs are scanned, then read chunk by chunk in order of arrival. Three stages run in parallel, one step apart:
//! chunks are parsed and rendered on all cores, events that are next in order are resolved by one thread, and resolved
//! events are written to their tables on all cores.

mod config_lints;
mod taken_name;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use rayon::prelude::*;

use crate::{
    collections::Set,
    config::{in_force, rules::Rules},
    error::{Error, Result},
    event::order::EventKey,
    files::Files,
    identity::{resolver::Resolver, types::IdentifierTypes},
    memory::default_memory,
    pipeline::{
        event_names::EventTableLimit,
        refusal::{self, check_rejects, warn_of_rejects},
        rejects::{self, RejectList, check_list_path},
        resolve,
        steps::{self, PlannedChunks, RunRejects, input_changed},
    },
    progress::Progress,
    raw::{RowMode, id_graph_updates},
    read::{
        chunk::{Chunk, ScannedFile},
        digest::Hashing,
        inputs::{self, Input},
        plan::plan,
        scan::{InputScanner, KEPT, ScanMode, ScannedInput, rescan},
        spill::SpillStore,
    },
    space::{
        commit::Space,
        event_rows::{BackfilledRows, newest_arrival},
        layout::STATE_FOLDER,
        manifest::{ConfigUsed, Manifest, RunInput, RunKind, RunRecord},
        state::{DiskSpillStore, Reading},
    },
    summary::IngestSummary,
    table::blocks::SharedProgress,
    time::timestamp::Millis,
};
pub use crate::{
    config::rules::{Compression, SegmentIdStyle},
    event::reject::MaxRejects,
};

/// Options of [`ingest`]: what to read, and where to write.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// Files and folders; `-` is the standard input.
    pub inputs: Vec<PathBuf>,
    /// The folder that holds the tables; created if missing.
    pub space: PathBuf,
    /// The config file. The default is `profiles-sync.toml` in the space, if it exists.
    pub config: Option<PathBuf>,
    /// How to generate segment ids; overrides the config.
    pub segment_ids: Option<SegmentIdStyle>,
    /// How a new space stores its tables; overrides the config.
    pub compress: Option<Compression>,
    /// If more lines are rejected, the run fails and commits nothing. Overrides the config.
    pub max_rejects: Option<MaxRejects>,
    /// The file for the rejected lines, which is written even if the run fails.
    pub rejects: Option<PathBuf>,
    /// Approximate memory for the run, in bytes. The default is half of the machine's memory, at most 4 GiB.
    pub memory: Option<u64>,
    /// Whether to resolve events and count rows, but write nothing.
    pub dry_run: bool,
    /// Whether to read inputs again whose content was ingested before.
    pub again: bool,
    /// How many seconds to wait for another run to end.
    pub wait: u64,
}

/// Ingests events. Commits nothing if anything fails. Runs on the current rayon pool.
pub fn ingest(options: &IngestOptions, files: &Files, progress: &dyn Progress) -> Result<IngestSummary> {
    let mut summary = IngestSummary::default();
    ingest_into(options, files, progress, &mut summary)?;
    Ok(summary)
}

/// Like [`ingest`], but writes to `summary`, which has the counts so far if the run fails.
pub fn ingest_into(
    options: &IngestOptions,
    files: &Files,
    progress: &dyn Progress,
    summary: &mut IngestSummary,
) -> Result<()> {
    let started = Instant::now();
    let inputs = inputs::list(&options.inputs, &options.space, progress)?;
    if let Some(path) = &options.rejects {
        check_list_path(path, &options.space, &inputs)?;
    }
    let mut rules = load_rules(options, files)?;
    let open = if options.dry_run { Space::open_dry } else { Space::open };
    let mut space = open(&options.space, rules.compress, options.wait, files, progress)?;
    check_segment_id_style(&options.space, &space.manifest, &rules)?;
    taken_name::refuse_taken_name(&space, &rules, files)?;
    space.apply_compression(&mut rules);
    let rules = Arc::new(rules);
    let config = ConfigUsed::of(&rules);
    let last = space.manifest.config.as_ref();
    for change in config.changes_since(last) {
        progress.warning(&change);
    }
    if last.is_none_or(|last| last.digest != config.digest) {
        for doubt in config_lints::config_lints(&rules) {
            progress.notice(&doubt);
        }
        if let Some(warning) = config_lints::no_violations(&rules) {
            progress.warning(&warning);
        }
    }
    let memory = options.memory.unwrap_or_else(default_memory);
    let spill = SpillStore::new(&space.folder().join(STATE_FOLDER));
    let known = if options.again { Set::default() } else { space.manifest.known_inputs() };
    let mut seen = IngestSummary::default();
    let hashing = space.manifest.hashing();
    let mut looked = scan_inputs(&inputs, memory, &hashing, &spill, &known, files, progress, &mut seen)?;
    let (mut look, mut reading) = (ScanMode::Quick, Reading::Lazy);
    loop {
        *summary = seen.clone();
        match run(&mut space, reading, &rules, &looked, options, files, progress, summary) {
            // Try again with a thorough scan, or without the state cache. A pipe cannot be read a second time, so the
            // first scan has kept its input.
            Ok(Attempt::Done) => break,
            Ok(Attempt::OrderEstimateWrong) if look == ScanMode::Quick => {
                look = ScanMode::Thorough;
                looked.rescan(memory, files, progress)?;
            }
            Ok(Attempt::OrderEstimateWrong) => return Err(input_changed()),
            Err(Error::StateDamaged) if reading == Reading::Lazy => reading = Reading::Tables,
            Err(error) => return Err(error),
        }
        space.start_over()?;
    }
    if let Some(warning) = refusal::nothing_ingested(summary, options.dry_run) {
        progress.warning(&warning);
    }
    warn_of_late(summary, progress);
    summary.seconds = started.elapsed().as_secs_f64();
    summary.events_per_second = refusal::to_f64(summary.events) / summary.seconds.max(1e-9);
    Ok(())
}

/// Returns the rules in force, with what the options override.
pub fn load_rules(options: &IngestOptions, files: &Files) -> Result<Rules> {
    let mut rules = in_force::load(&options.space, options.config.as_deref(), files)?;
    if let Some(style) = options.segment_ids {
        rules.segment_ids = style;
    }
    if options.compress.is_some() {
        rules.compress = options.compress;
    }
    Ok(rules)
}

/// Fails if the space has segment ids of another style. With mixed styles the ids would depend on the order of the
/// runs. Adopted profiles may have ids of any form.
fn check_segment_id_style(space: &Path, manifest: &Manifest, rules: &Rules) -> Result<()> {
    let is_empty = manifest.tables.get(id_graph_updates::TABLE).is_none_or(|table| table.rows == 0);
    let used = manifest.config.as_ref().and_then(ConfigUsed::segment_ids).filter(|_| !is_empty);
    let Some(used) = used.filter(|used| *used != rules.segment_ids) else { return Ok(()) };
    let (used, wanted) = (used.word(), rules.segment_ids.word());
    Err(Error::file(space, format!("its segment ids are `{used}`, and new ones cannot be `{wanted}`")).hint(
        format!("give `--segment-ids {used}`, or set `segment_ids = \"{used}\"` in the config, or give a new space with `--space DIR`"),
    ))
}

/// Reports late events. A few of them are only a notice, which `--quiet` hides.
fn warn_of_late(summary: &IngestSummary, progress: &dyn Progress) {
    const MANY: u64 = 1000;
    let message = match summary.late {
        0 => return,
        1 => "1 event is late: it comes before the newest event of an earlier run, and was resolved after it"
            .to_owned(),
        n => format!(
            "{n} events are late: they come before the newest event of an earlier run, and were resolved after it"
        ),
    };
    let message = format!("{message}; a single run over all events may give another graph");
    if summary.late * MANY < summary.events { progress.notice(&message) } else { progress.warning(&message) }
}

/// The inputs to read, and the result of scanning them.
struct IngestScan<'a> {
    /// All inputs, including skipped ones.
    inputs: Vec<Input>,
    /// The inputs that are read.
    read: Vec<RunInput>,
    /// The chunks, in the order of reading.
    chunks: Vec<Chunk>,
    /// The files that are read a second time.
    seen: Vec<Arc<ScannedFile>>,
    spill: &'a SpillStore,
}

impl IngestScan<'_> {
    /// Sorts the chunks into the order of reading. Parsed and rendered, events take two to three times the bytes of
    /// their lines.
    fn plan(&mut self, memory: u64, files: &Files, progress: &dyn Progress) -> Result<()> {
        let chunks = std::mem::take(&mut self.chunks);
        self.chunks = plan(chunks, &self.inputs, memory / 6, self.spill, files, progress)?;
        Ok(())
    }

    /// Scans thoroughly, because the quick scan estimated the order wrong.
    fn rescan(&mut self, memory: u64, files: &Files, progress: &dyn Progress) -> Result<()> {
        progress.start("scanning again", None);
        self.chunks.par_iter_mut().with_max_len(1).try_for_each(|chunk| {
            if progress.interrupted() { Err(Error::Interrupted) } else { rescan(chunk, files) }
        })?;
        self.plan(memory, files, progress)
    }
}

#[expect(clippy::too_many_arguments, reason = "wiring")]
fn scan_inputs<'a>(
    inputs: &[Input],
    memory: u64,
    hashing: &Hashing,
    spill: &'a SpillStore,
    known: &Set<(String, Option<String>)>,
    files: &Files,
    progress: &dyn Progress,
    summary: &mut IngestSummary,
) -> Result<IngestScan<'a>> {
    progress.start("scanning", None);
    let packed = InputScanner::new(ScanMode::Quick, memory / 4, hashing, spill, files, progress);
    let plain = InputScanner::new(ScanMode::Quick, KEPT.min(memory / 8), hashing, spill, files, progress);
    let scan = |(number, input): (u32, &Input)| -> Result<ScannedInput> {
        let known = |digest: &str| known.contains(&(digest.to_owned(), input.source.clone()));
        let scanner = if inputs::is_compressed_or_stream(input, files)? { &packed } else { &plain };
        scanner.scan(number, input, &known)
    };
    let numbered: Vec<(u32, &Input)> = (0..).zip(inputs).collect();
    let scanned: Vec<ScannedInput> =
        numbered.into_par_iter().with_max_len(1).map(scan).collect::<Result<_>>()?;
    let (read, chunks, seen) = (Vec::new(), Vec::new(), Vec::new());
    let mut looked = IngestScan { inputs: inputs.to_vec(), read, chunks, seen, spill };
    let mut met = Set::default();
    let (mut ingested_before, mut twins) = (Vec::new(), Vec::new());
    for (input, ScannedInput { digest, bytes, n_lines, chunks }) in inputs.iter().zip(scanned) {
        let content = (digest.clone(), input.source.clone());
        let skipped = if known.contains(&content) {
            Some(&mut ingested_before)
        } else if met.insert(content) {
            None
        } else {
            Some(&mut twins)
        };
        if let Some(skipped) = skipped {
            skipped.push(input.name());
            summary.files_skipped.push(input.name());
            continue;
        }
        summary.files += 1;
        summary.bytes += bytes;
        looked.seen.extend(chunks.iter().find_map(Chunk::file).cloned());
        looked.chunks.extend(chunks);
        let source = input.source.clone();
        looked.read.push(RunInput { name: input.name(), digest, source, bytes, lines: n_lines });
    }
    let before = ["the same content was ingested before", "were ingested before"];
    report_skipped(&ingested_before, before, progress);
    let same = ["it is the same as another input of this run", "are the same as other inputs of this run"];
    report_skipped(&twins, same, progress);
    looked.plan(memory, files, progress)?;
    Ok(looked)
}

/// Reports the files that are skipped for one reason, with its wording for one file and for many. Many files take one
/// line, too.
fn report_skipped(skipped: &[String], [of_one, of_many]: [&str; 2], progress: &dyn Progress) {
    const NAMED: usize = 3;
    match skipped {
        [] => {}
        [name] => progress.notice(&format!("skipped `{name}`: {of_one}")),
        _ => {
            let (first, more) = skipped.split_at(skipped.len().min(NAMED));
            let first = first.join("`, `");
            let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
            progress.notice(&format!("skipped {} files that {of_many}: `{first}`{more}", skipped.len()));
        }
    }
}

/// How an attempt to ingest the inputs ended.
enum Attempt {
    Done,
    /// The quick scan misjudged the order of the events, and nothing was committed.
    OrderEstimateWrong,
}

#[expect(clippy::too_many_arguments, reason = "wiring")]
fn run(
    space: &mut Space,
    reading: Reading,
    rules: &Arc<Rules>,
    looked: &IngestScan<'_>,
    options: &IngestOptions,
    files: &Files,
    progress: &dyn Progress,
    summary: &mut IngestSummary,
) -> Result<Attempt> {
    // A run without inputs creates the space if it is missing, so that a later command finds one.
    if looked.read.is_empty() && !space.manifest.runs.is_empty() {
        return Ok(Attempt::Done);
    }
    let types = Arc::new(IdentifierTypes::default());
    let n_bytes: u64 = looked.chunks.iter().map(|chunk| chunk.length).sum();
    let mut replayed = space.load_state(space.choose_reading(n_bytes, reading), &types, progress)?;
    let n_lines: u64 = looked.read.iter().map(|input| input.lines).sum();
    let n_lines = usize::try_from(n_lines).unwrap_or_default();
    let shelves = DiskSpillStore::new(&space.folder().join(STATE_FOLDER));
    let memory = options.memory.unwrap_or_else(default_memory);
    replayed.accepted.limit_memory(Box::new(shelves), memory / 32, n_lines);
    let meter = SharedProgress::new(progress);
    let earliest = looked.chunks.iter().map(|chunk| chunk.earliest).min().unwrap_or(Millis::MAX);
    let window = rules.dedupe_window;
    let backfilled = BackfilledRows::read(space.folder(), &space.manifest, window, earliest, files, &meter)?;
    let resolver = Resolver::new(rules, &types, replayed.graph, replayed.trait_names);
    progress.start("ingesting", Some(n_bytes));
    let rows = if options.dry_run { RowMode::Count } else { RowMode::Write };
    let names = EventTableLimit::of(&space.manifest, rules);
    let clocks = (space.manifest.uuid_ts, newest_before(space, files, &meter)?);
    let mut stage =
        resolve::ResolveStage::new(resolver, replayed.accepted, clocks, names, rules, &types, rows);
    let list = options.rejects.as_deref().map(|path| RejectList::new(path, files)).transpose()?;
    let planned = PlannedChunks { inputs: &looked.inputs, chunks: &looked.chunks, spill: looked.spill };
    let rejects = steps::run(
        space,
        &planned,
        &backfilled,
        rules,
        &types,
        &mut stage,
        list.is_some(),
        memory,
        files,
        progress,
        summary,
    )?;
    let Some(RunRejects { first, all }) = rejects else { return Ok(Attempt::OrderEstimateWrong) };
    stage.finish(summary);
    let n_rejected: u64 = summary.rejected.values().sum();
    write_rejects(all, space, looked, rows, list, files)?;
    check_rejects(options.max_rejects.or(rules.max_rejects), summary, &first)?;
    warn_of_rejects(summary, &first, progress);
    looked.seen.par_iter().try_for_each(|seen| seen.check(files))?;
    summary.rows = space.rows_added().into_iter().collect();
    if options.dry_run {
        return Ok(Attempt::Done);
    }
    let mut manifest = space.manifest.clone();
    manifest.uuid_ts = stage.uuid_ts();
    manifest.newest = stage.newest();
    manifest.config = Some(ConfigUsed::of(rules));
    manifest.runs.push(RunRecord {
        inputs: looked.read.clone(),
        config: ConfigUsed::of(rules).digest,
        accepted: summary.accepted,
        duplicates: summary.duplicates,
        filtered: summary.filtered,
        rejected: n_rejected,
        ..RunRecord::default()
    });
    space.commit_run(manifest, stage.state(), &mut summary.run, progress)?;
    // Freeing a million small allocations takes a while, and nothing has to wait for it.
    rayon::spawn(move || drop(stage));
    Ok(Attempt::Done)
}

/// Writes the rejected lines to their table and to the file of `--rejects`.
fn write_rejects(
    all: rejects::RejectStore,
    space: &mut Space,
    looked: &IngestScan<'_>,
    rows: RowMode,
    mut list: Option<RejectList<'_>>,
    files: &Files,
) -> Result<()> {
    let rejected = space.table("rejected");
    all.drain(&looked.inputs, |row| {
        if let Some(list) = &mut list {
            list.push(row)?;
        }
        if rows == RowMode::Count {
            return Ok(());
        }
        let table = &mut space.tables()[rejected];
        table.pending().extend_from_slice(row);
        table.count_appended(1, files)
    })?;
    list.map_or(Ok(()), RejectList::finish)
}

/// Returns the greatest key that earlier runs accepted. Earlier versions of the program did not record it. For their
/// runs only the time counts at which the newest event in the event tables was received.
fn newest_before(space: &Space, files: &Files, meter: &SharedProgress<'_>) -> Result<Option<EventKey>> {
    let manifest = &space.manifest;
    let is_ingested = |run: &RunRecord| run.job == RunKind::Ingest && 0 < run.accepted;
    if manifest.newest.is_some() || !manifest.runs.iter().any(is_ingested) {
        return Ok(manifest.newest.clone());
    }
    Ok(newest_arrival(space.folder(), manifest, files, meter)?.map(EventKey::smallest_at))
}
