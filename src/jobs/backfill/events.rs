//! `backfill events`: adds rows from dumps to event tables. The events are resolved against the existing graph, which
//! does not change.
//!
//! As in `ingest`, events are read chunk by chunk in order of arrival. While chunks are parsed and rendered on all
//! cores, the events before them are written to their tables. An event gets the segment id that its highest-ranked
//! known identifier was first mapped to. A row that already exists, wherever it came from, is not written again.

use std::{path::PathBuf, sync::Arc, time::Instant};

use chrono::{DateTime, Months};
use rayon::prelude::*;

use super::event_tables::EventTables;
use crate::{
    config::{
        in_force,
        rules::{Compression, Rules},
    },
    error::{Error, Result},
    event::{
        block::{Event, EventBlock},
        duplicates::SeenMessages,
        order::{EventQueue, ReleasedEvents},
        reject::MaxRejects,
    },
    files::Files,
    identity::{
        graph::IdentityGraph,
        types::{IdentifierTypes, TypeRanks},
    },
    memory::default_memory,
    pipeline::{
        prepare::{ChunkPreparer, PreparedChunk},
        refusal::{FirstRejects, check_rejects, warn_of_rejects},
        rejects::{RejectList, RejectStore, check_list_path},
        steps::{Pool, add_counts, add_notices, input_changed, step_length},
    },
    progress::Progress,
    raw::{RowMode, event_row::RowNotices},
    read::{
        chunk::{Chunk, ScannedFile},
        digest::Hashing,
        inputs::{self, Input},
        plan::plan,
        scan::{InputScanner, KEPT, ScanMode, ScannedInput},
        spill::SpillStore,
    },
    space::{
        commit::Space,
        layout::STATE_FOLDER,
        manifest::{ConfigUsed, RunInput, RunKind, RunRecord},
        replayed::ResolverState,
        state::{DiskSpillStore, Reading, StateContents},
    },
    summary::{EventsSummary, IngestSummary, OVER_MAX_TABLES, TIMES_IN_SECONDS},
    time::timestamp::{Micros, Millis, push_micros},
};

/// Options of [`events`]: which events to add, and where to.
#[derive(Debug, Clone)]
pub struct EventsOptions {
    /// Files and folders; `-` is the standard input.
    pub inputs: Vec<PathBuf>,
    /// The space; created if missing.
    pub space: PathBuf,
    /// The config file. The default is `profiles-sync.toml` in the space, if it exists.
    pub config: Option<PathBuf>,
    /// How a new space stores its tables; overrides the config.
    pub compress: Option<Compression>,
    /// Only events received at this time or later. The default is two months before the newest event.
    pub since: Option<Micros>,
    /// Only events received at this time or earlier.
    pub until: Option<Micros>,
    /// Only these tables; empty means all.
    pub tables: Vec<String>,
    /// If more lines are rejected, the run fails and commits nothing. Overrides the config.
    pub max_rejects: Option<MaxRejects>,
    /// The file for the rejected lines, which is written even if the run fails.
    pub rejects: Option<PathBuf>,
    /// Approximate memory for the events of the run, in bytes.
    pub memory: Option<u64>,
    /// Whether to do everything except the commit.
    pub dry_run: bool,
    /// How many seconds to wait for another run to end.
    pub wait: u64,
}

/// The length of the default window, in months.
const DEFAULT_WINDOW_MONTHS: u32 = 2;

/// The time range in which an event must be received, both ends included.
#[derive(Debug, Clone, Copy)]
struct BackfillWindow {
    since: Micros,
    until: Micros,
}

impl BackfillWindow {
    fn of(options: &EventsOptions, newest: Option<Millis>) -> Self {
        let newest = newest.map(|newest| newest * 1000);
        let until = options.until.or(newest).unwrap_or(Micros::MAX);
        let end = newest.map_or(until, |newest| newest.min(until));
        let since = options.since.unwrap_or_else(|| months_before(end));
        Self { since, until }
    }

    fn has(self, received_at: Millis) -> bool {
        (self.since..=self.until).contains(&(received_at * 1000))
    }
}

/// Widens a time range by the deduplication window on both sides.
fn widened((from, to): (Micros, Micros), window: Millis) -> (Micros, Micros) {
    (from.saturating_sub(window * 1000), to.saturating_add(window * 1000))
}

/// Returns the time [`DEFAULT_WINDOW_MONTHS`] months earlier; if that month is too short, its last day.
fn months_before(time: Micros) -> Micros {
    let before = DateTime::from_timestamp_micros(time)
        .and_then(|time| time.checked_sub_months(Months::new(DEFAULT_WINDOW_MONTHS)));
    before.map_or(Micros::MIN, |before| before.timestamp_micros())
}

/// Adds rows of events. Commits nothing if anything fails. Runs on the current rayon pool.
pub fn events(options: &EventsOptions, files: &Files, progress: &dyn Progress) -> Result<EventsSummary> {
    let mut summary = EventsSummary::default();
    events_into(options, files, progress, &mut summary)?;
    Ok(summary)
}

/// Like [`events`], but writes to `summary`, which has the counts so far if the run fails.
pub fn events_into(
    options: &EventsOptions,
    files: &Files,
    progress: &dyn Progress,
    summary: &mut EventsSummary,
) -> Result<()> {
    let started = Instant::now();
    if options.since.zip(options.until).is_some_and(|(since, until)| until < since) {
        return Err(Error::Refused("the window ends before it begins".into())
            .hint("give `--since` the earlier time and `--until` the later one"));
    }
    let inputs = inputs::list(&options.inputs, &options.space, progress)?;
    if let Some(path) = &options.rejects {
        check_list_path(path, &options.space, &inputs)?;
    }
    let mut rules = in_force::load(&options.space, options.config.as_deref(), files)?;
    if options.compress.is_some() {
        rules.compress = options.compress;
    }
    let open = if options.dry_run { Space::open_dry } else { Space::open };
    let mut space = open(&options.space, rules.compress, options.wait, files, progress)?;
    space.apply_compression(&mut rules);
    // This job creates no profiles, so the space keeps its style of segment ids.
    if let Some(style) = space.manifest.config.as_ref().and_then(ConfigUsed::segment_ids) {
        rules.segment_ids = style;
    }
    let rules = Arc::new(rules);
    for change in ConfigUsed::of(&rules).changes_since(space.manifest.config.as_ref()) {
        progress.notice(&change);
    }
    let memory = options.memory.unwrap_or_else(default_memory);
    let spill = SpillStore::new(&space.folder().join(STATE_FOLDER));
    let mut counted = IngestSummary::default();
    let hashing = space.manifest.hashing();
    let mut looked = scan_inputs(&inputs, memory, &hashing, &spill, files, progress, &mut counted)?;
    let window = BackfillWindow::of(options, looked.newest);
    let of_dumps = (looked.earliest.saturating_mul(1000), looked.newest.unwrap_or_default() * 1000);
    looked.chunks = plan(looked.chunks, &inputs, memory / 6, &spill, files, progress)?;
    let types = Arc::new(IdentifierTypes::default());
    let replayed = space.load_state(Reading::Whole, &types, progress)?;
    if replayed.graph.n_profiles() == 0 {
        progress.notice("the space has no profiles, so no event can be resolved");
    }
    let within = widened((window.since, window.until), rules.dedupe_window);
    let times = (within, widened(of_dumps, rules.dedupe_window));
    let tables = EventTables::read(&mut space, &options.tables, &rules, times, files, progress)?;
    let mut met = SeenMessages::default();
    let n_lines = looked.read.iter().map(|input| input.lines).sum::<u64>();
    let shelves = DiskSpillStore::new(&space.folder().join(STATE_FOLDER));
    met.limit_memory(Box::new(shelves), memory / 32, usize::try_from(n_lines).unwrap_or_default());
    progress.start("backfilling", Some(looked.chunks.iter().map(|chunk| chunk.length).sum()));
    let mut job = Backfill {
        graph: &replayed.graph,
        rules: &rules,
        types: &types,
        ranks: TypeRanks::new(&rules.order),
        window,
        memory,
        uuid_ts: space.manifest.uuid_ts,
        newest: None,
        seen: met,
        tables,
        summary: EventsSummary::default(),
        n_times_in_seconds: 0,
        n_over_max_tables: 0,
    };
    let mut rejects = options.rejects.is_some().then(|| RejectStore::new(memory));
    let list = options.rejects.as_deref().map(|path| RejectList::new(path, files)).transpose()?;
    let into = rejects.as_mut().map(|rejects| (rejects, &spill));
    let first_rejects = job.run(&mut space, &inputs, &looked.chunks, into, files, progress, &mut counted)?;
    if let Some((rejects, mut list)) = rejects.zip(list) {
        rejects.drain(&inputs, |row| list.push(row))?;
        list.finish()?;
    }
    job.finish(&mut counted, &looked);
    *summary = job.summary.clone();
    for name in job.tables.without_events() {
        progress.notice(&format!("no event in the window belongs to `{name}`"));
    }
    check_rejects(options.max_rejects.or(rules.max_rejects), &counted, &first_rejects)?;
    warn_of_rejects(&counted, &first_rejects, progress);
    if counted.events == 0 && 0 < counted.files {
        progress.warning("nothing was backfilled: the inputs have no lines");
    }
    looked.seen.par_iter().try_for_each(|seen| seen.check(files))?;
    job.summary.rows = space.rows_added().into_iter().collect();
    summary.rows.clone_from(&job.summary.rows);
    if !options.dry_run && !job.summary.rows.is_empty() {
        commit(&mut space, &job, looked.read, &counted, &replayed, &mut summary.run, progress)?;
    }
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(())
}

fn commit(
    space: &mut Space,
    job: &Backfill<'_>,
    inputs: Vec<RunInput>,
    counted: &IngestSummary,
    replayed: &ResolverState,
    run: &mut Option<u64>,
    progress: &dyn Progress,
) -> Result<()> {
    let mut manifest = space.manifest.clone();
    manifest.uuid_ts = job.uuid_ts;
    let config = ConfigUsed::of(job.rules);
    manifest.rules.insert(config.digest.clone(), config.text);
    manifest.runs.push(RunRecord {
        job: RunKind::BackfillEvents,
        inputs,
        config: config.digest,
        accepted: job.summary.written,
        duplicates: job.summary.duplicates,
        filtered: counted.filtered,
        rejected: counted.rejected.values().sum(),
        newest: job.newest,
        written: space.bytes_added(),
        ..RunRecord::default()
    });
    space.commit_run(manifest, StateContents::of(replayed, job.types), run, progress)
}

/// The result of scanning the inputs.
struct BackfillScan {
    read: Vec<RunInput>,
    chunks: Vec<Chunk>,
    /// The files that will be read a second time.
    seen: Vec<Arc<ScannedFile>>,
    /// A lower bound for when the first event was received.
    earliest: Millis,
    newest: Option<Millis>,
}

/// Scans all inputs thoroughly, because the window depends on the newest event.
fn scan_inputs(
    inputs: &[Input],
    memory: u64,
    hashing: &Hashing,
    spill: &SpillStore,
    files: &Files,
    progress: &dyn Progress,
    counted: &mut IngestSummary,
) -> Result<BackfillScan> {
    progress.start("scanning", None);
    let packed = InputScanner::new(ScanMode::Thorough, memory / 4, hashing, spill, files, progress);
    let plain = InputScanner::new(ScanMode::Thorough, KEPT.min(memory / 8), hashing, spill, files, progress);
    let numbered: Vec<(u32, &Input)> = (0..).zip(inputs).collect();
    let scan = |(number, input): (u32, &Input)| -> Result<ScannedInput> {
        let scanner = if inputs::is_compressed_or_stream(input, files)? { &packed } else { &plain };
        scanner.scan(number, input, &|_| false)
    };
    let seen: Vec<ScannedInput> =
        numbered.into_par_iter().with_max_len(1).map(scan).collect::<Result<_>>()?;
    let (read, chunks, seen_files) = (Vec::new(), Vec::new(), Vec::new());
    let mut looked = BackfillScan { read, chunks, seen: seen_files, earliest: Millis::MAX, newest: None };
    for (input, ScannedInput { digest, bytes, n_lines, chunks }) in inputs.iter().zip(seen) {
        counted.files += 1;
        counted.bytes += bytes;
        let source = input.source.clone();
        looked.read.push(RunInput { name: input.name(), digest, source, bytes, lines: n_lines });
        let latest = chunks.iter().map(|chunk| chunk.latest).filter(|&latest| latest != Millis::MIN).max();
        looked.newest = looked.newest.max(latest);
        let earliest = chunks.iter().map(|chunk| chunk.earliest).min();
        looked.earliest = looked.earliest.min(earliest.unwrap_or(Millis::MAX));
        looked.seen.extend(chunks.iter().find_map(Chunk::file).cloned());
        looked.chunks.extend(chunks);
    }
    Ok(looked)
}

/// A backfill in progress, with what it keeps from event to event.
struct Backfill<'a> {
    graph: &'a IdentityGraph,
    rules: &'a Arc<Rules>,
    types: &'a Arc<IdentifierTypes>,
    ranks: TypeRanks,
    window: BackfillWindow,
    /// The memory budget, in bytes.
    memory: u64,
    uuid_ts: Micros,
    /// When the newest written event was received.
    newest: Option<Millis>,
    /// The events of this run; of several duplicates the first one counts.
    seen: SeenMessages,
    tables: EventTables,
    summary: EventsSummary,
    /// The number of times in written events that were given in seconds.
    n_times_in_seconds: u64,
    /// The number of written events that got no table of their own, because the space has `max_tables` of them.
    n_over_max_tables: u64,
}

impl<'a> Backfill<'a> {
    #[expect(clippy::too_many_arguments, reason = "wiring")]
    fn run(
        &mut self,
        space: &mut Space,
        inputs: &[Input],
        chunks: &[Chunk],
        mut rejects: Option<(&mut RejectStore, &SpillStore)>,
        files: &Files,
        progress: &dyn Progress,
        counted: &mut IngestSummary,
    ) -> Result<FirstRejects> {
        let (rules, types) = (self.rules, self.types);
        let workers = Pool::default();
        let prepare = |chunk: &Chunk| -> Result<PreparedChunk> {
            let mut block = EventBlock::default();
            let at = chunk.read(&mut block.lines, files)?;
            let mut worker: ChunkPreparer =
                workers.take().unwrap_or_else(|| ChunkPreparer::new(rules, types, RowMode::Write));
            let prepared = worker.prepare(chunk, &at, inputs, block);
            workers.give(worker);
            Ok(prepared)
        };
        let mut waiting = EventQueue::default();
        let mut released = ReleasedEvents::default();
        let mut notes = RowNotices::default();
        let mut first_rejects = FirstRejects::default();
        let mut rest = chunks;
        loop {
            let (now, behind) = rest.split_at(step_length(rest, self.memory));
            let done = now.is_empty() && released.places.is_empty();
            let before = std::mem::take(&mut released);
            let (prepared, taken) = rayon::join(
                || now.par_iter().with_max_len(1).map(prepare).collect::<Result<Vec<PreparedChunk>>>(),
                || self.take(space, &before, files),
            );
            taken?;
            for (chunk, prepared) in now.iter().zip(prepared?) {
                if prepared.earliest.is_some_and(|earliest| earliest < chunk.earliest) {
                    return Err(input_changed());
                }
                add_counts(&prepared, counted);
                notes.add(prepared.notes);
                first_rejects.add(&prepared.rejects, prepared.is_cut_off, inputs);
                if let Some((rejects, spill)) = &mut rejects {
                    rejects.add(prepared.rejects, spill)?;
                }
                waiting.add(prepared.block);
                progress.advance(chunk.length);
            }
            rest = behind;
            released = waiting.release(rest.first().map(Chunk::smallest_key).as_ref());
            if progress.interrupted() {
                return Err(Error::Interrupted);
            }
            if done {
                break;
            }
        }
        add_notices(notes, counted);
        Ok(first_rejects)
    }

    /// Writes the missing rows of events, in order, to the selected tables.
    fn take(&mut self, space: &mut Space, released: &ReleasedEvents, files: &Files) -> Result<()> {
        self.ranks.learn(self.types);
        let dedupe = self.rules.dedupe_window;
        let mut rows = self.tables.rows();
        for &place in &released.places {
            let (block, event) = released.event(place);
            // As in `ingest`, a duplicate of a known message is not remembered. Of duplicates in the dumps the first
            // one counts, even if it is outside the window.
            if self.tables.knows_as_other_call(block, event, dedupe)
                || !self.seen.accept(event.message_key, event.received_at, dedupe)?
            {
                self.summary.duplicates += 1;
                continue;
            }
            if !self.window.has(event.received_at) {
                self.summary.outside_window += 1;
                continue;
            }
            let missing = self.tables.missing(block, event, dedupe, space)?;
            if missing.is_empty() {
                self.summary.not_wanted += u64::from(missing.not_selected);
                self.summary.known += u64::from(!missing.not_selected);
                continue;
            }
            self.uuid_ts = (event.received_at * 1000).max(self.uuid_ts + 1);
            self.newest = self.newest.max(Some(event.received_at));
            let segment_id = self.segment_id(block, event);
            self.summary.written += 1;
            self.n_times_in_seconds += u64::from(event.n_times_in_seconds);
            self.n_over_max_tables += u64::from(!missing.has_table);
            self.summary.unresolved += u64::from(segment_id.is_empty());
            rows.push(missing, place, segment_id, self.uuid_ts);
        }
        self.tables.write(&rows, released, space, files)
    }

    /// Returns the segment id that the highest-ranked known identifier of an event was first mapped to; empty if none
    /// is known.
    fn segment_id(&self, block: &EventBlock, event: &Event) -> &'a str {
        let graph = self.graph;
        let (start, end) = event.identifiers;
        let identifiers = &block.identifiers[start as usize..end as usize];
        let known =
            identifiers.iter().filter(|identifier| identifier.blocked_by == 0).filter_map(|identifier| {
                let number = graph.find_in_memory(identifier.key)?;
                Some((identifier.type_id, identifier.value.of(&block.arena), number))
            });
        let first = known.min_by(|a, b| self.ranks.compare(a.0, b.0).then_with(|| a.1.cmp(b.1)));
        first.map_or("", |(_, _, number)| graph.segment_id(graph.mapped_profile_of(number)))
    }

    fn finish(&mut self, counted: &mut IngestSummary, looked: &BackfillScan) {
        let summary = &mut self.summary;
        summary.files = counted.files;
        summary.bytes = counted.bytes;
        summary.lines = counted.lines;
        summary.events = counted.events;
        summary.filtered = counted.filtered;
        summary.rejected = counted.rejected.clone();
        summary.notes = std::mem::take(&mut counted.notes);
        for (name, n) in
            [(TIMES_IN_SECONDS, self.n_times_in_seconds), (OVER_MAX_TABLES, self.n_over_max_tables)]
        {
            if 0 < n {
                summary.notes.insert(name.to_owned(), n);
            }
        }
        if looked.newest.is_some() {
            summary.since = shown_time(self.window.since);
            summary.until = shown_time(self.window.until);
        }
    }
}

/// Formats a time as in tables; `None` for the minimum and maximum.
fn shown_time(time: Micros) -> Option<String> {
    (time != Micros::MIN && time != Micros::MAX).then(|| {
        let mut text = Vec::new();
        push_micros(&mut text, time);
        String::from_utf8_lossy(&text).into_owned()
    })
}
