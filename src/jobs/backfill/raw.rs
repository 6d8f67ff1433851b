//! `backfill raw`: makes a space from exported raw tables, with their history.
//!
//! Rows are copied in the notation of this program. If a replay of them gives what the views of the export show, as for
//! tables that this program wrote, the resolver starts from the replay. Otherwise it starts from these views
//! (`space/adopted.rs`), and the manifest records that, so that every later replay does the same.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use rayon::prelude::*;

use super::{
    adopted_before,
    raw_rows::Rewriter,
    tables_of::{Export, digest_file, input},
};
use crate::{
    catalog,
    config::{in_force::compression_of, rules::Compression},
    error::{Error, Result},
    files::Files,
    identity::{graph::IdentityGraph, packed_traits::EncodedTraits, types::IdentifierTypes},
    progress::Progress,
    read::lines::{BOM, MAX_LINE, is_blank, lines},
    space::{
        adopted,
        commit::Space,
        kept,
        layout::staged_folder,
        manifest::{Manifest, RunKind, RunRecord},
        replay::{create_adopted, replay},
        replayed::ResolverState,
        state::StateContents,
    },
    summary::RawSummary,
    table::{
        blocks::{SharedProgress, line_error},
        source::TableSource,
        to_usize,
    },
    time::timestamp::{Micros, Millis},
    view::{
        RAW_TABLES, View,
        folds::{FoldedTables, ViewSources},
    },
};

/// Options of [`raw`]: which raw tables to adopt, and where to.
#[derive(Debug, Clone)]
pub struct RawOptions {
    /// The folder of the raw tables.
    pub raw: PathBuf,
    /// The space; created if missing. It must not have a run yet.
    pub space: PathBuf,
    /// How the space stores its tables; overrides its config.
    pub compress: Option<Compression>,
    /// Whether a missing table is an error, so that nothing is committed.
    pub strict: bool,
    /// Whether to do everything except the commit.
    pub dry_run: bool,
    /// How many seconds to wait for another run to end.
    pub wait: u64,
}

/// Adopts raw tables. Commits nothing if anything fails. Runs on the current rayon pool.
pub fn raw(options: &RawOptions, files: &Files, progress: &dyn Progress) -> Result<RawSummary> {
    let started = Instant::now();
    let meter = SharedProgress::new(progress);
    let export = Export::find(&options.raw, files)?;
    if options.strict
        && let Some((table, cost)) = export.missing.iter().next()
    {
        return Err(Error::file(&options.raw, format!("`{table}` is missing: {cost}"))
            .hint("add the table, or run without --strict"));
    }
    let mut summary = RawSummary {
        tables_missing: export.missing.clone(),
        tables_passed_over: export.not_adopted.clone(),
        ..RawSummary::default()
    };
    let compress = compression_of(&options.space, options.compress, files)?;
    let open = if options.dry_run { Space::open_dry } else { Space::open };
    let mut space = open(&options.space, compress, options.wait, files, progress)?;
    meter.start("reading raw tables", None);
    let mut inputs = Vec::new();
    for (name, parts) in &export.tables {
        let (mut digest, mut bytes) = (blake3::Hasher::new(), 0);
        for part in parts {
            bytes += digest_file(&mut digest, &TableSource::open(part, files)?, &meter)?;
        }
        inputs.push(input(name, &digest, bytes));
    }
    if adopted_before(&space.manifest, RunKind::BackfillRaw, &inputs).is_some() {
        progress.notice(&format!("`{}` was adopted before: nothing to do", options.raw.display()));
        summary.adopted_before = true;
        summary.seconds = started.elapsed().as_secs_f64();
        return Ok(summary);
    }
    if !space.manifest.runs.is_empty() {
        return Err(Error::file(&options.space, "has tables already, and a second history cannot be added")
            .hint("give a new folder with `--space DIR`, or adopt the views of the export with `profiles-sync backfill profiles`"));
    }
    // Rows that no view can be built from are found here, so that the error refers to the user's own files.
    let sources = ViewSources::open(&export.raw, &View::ALL, |part| TableSource::open(part, files))?;
    FoldedTables::read(sources, None, &meter)?;
    progress.start("adopting", Some(inputs.iter().map(|input| input.bytes).sum()));
    let mut newest = None;
    for (name, parts) in &export.tables {
        let of_events = !RAW_TABLES.contains(&name.as_str()) && !catalog::is_report(name);
        let table = space.table(name);
        for part in parts {
            let source = TableSource::open(part, files)?;
            newest = newest.max(copy(&source, &mut space, table, of_events, files, &meter)?);
        }
        space.enforce_limits()?;
    }
    let rows = space.rows_added();
    let mut run = RunRecord { job: RunKind::BackfillRaw, inputs, ..RunRecord::default() };
    let (mut replayed, types) = resolver_state(&mut space, &mut run, files, progress)?;
    // Messages that no table refers to are stored next to the tables.
    if let Some(manifest) = Manifest::read(&options.raw, files)? {
        kept::read(&options.raw, manifest.kept_messages.as_ref(), files, |message_key, received_at| {
            replayed.accepted.insert(message_key, received_at)?;
            space.keep(message_key, received_at)
        })?;
    }
    summary.as_views = !run.written.is_empty();
    summary.profiles = replayed.graph.n_canonical() as u64;
    summary.identifiers = replayed.graph.n_identifiers() as u64;
    summary.messages = replayed.accepted.count() as u64;
    summary.rows = rows.into_iter().collect();
    if !options.dry_run {
        let mut manifest = space.manifest.clone();
        manifest.uuid_ts = newest.unwrap_or(-1).max(manifest.uuid_ts);
        manifest.runs.push(run);
        space.commit_run(manifest, StateContents::of(&replayed, &types), &mut summary.run, progress)?;
    }
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(summary)
}

/// Bytes copied at a time.
const COPY_BYTES: u64 = 16 << 20;
/// Bytes that one thread rewrites at a time.
const REWRITE_BYTES: usize = 1 << 18;

/// Copies the rows of a file and returns their newest `uuid_ts` or `received_at`.
fn copy(
    source: &TableSource,
    space: &mut Space,
    table: usize,
    of_events: bool,
    files: &Files,
    meter: &SharedProgress<'_>,
) -> Result<Option<Micros>> {
    let mut newest = None;
    let mut offset = 0;
    let mut length = COPY_BYTES;
    while offset < source.length() {
        let end = (offset + length).min(source.length());
        let mut text = vec![0; to_usize(end - offset)];
        source.read_at(&mut text, offset)?;
        if end < source.length() {
            match memchr::memrchr(b'\n', &text) {
                Some(last) => text.truncate(last + 1),
                None if length < COPY_BYTES + MAX_LINE as u64 => {
                    length += MAX_LINE as u64;
                    continue;
                }
                None => {
                    let line = source.line_number(offset)?;
                    return Err(Error::line(source.path(), line, "the line is longer than 16 MiB"));
                }
            }
        }
        length = COPY_BYTES;
        let pieces = split_at_lines(&text);
        let rewritten: Vec<Result<Rewritten>> = pieces
            .into_par_iter()
            .with_max_len(1)
            .map(|piece| rewrite(&text, piece, source, offset, of_events))
            .collect();
        for piece in rewritten {
            let piece = piece?;
            newest = newest.max(piece.newest);
            let out = &mut space.tables()[table];
            out.pending().extend_from_slice(&piece.bytes);
            out.count_appended(piece.rows, files)?;
        }
        offset += text.len() as u64;
        meter.advance(text.len() as u64)?;
    }
    Ok(newest)
}

/// Splits text into ranges of whole lines.
fn split_at_lines(text: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let from = (start + REWRITE_BYTES).min(text.len());
        let end = memchr::memchr(b'\n', &text[from..]).map_or(text.len(), |line_end| from + line_end + 1);
        pieces.push(start..end);
        start = end;
    }
    pieces
}

#[derive(Default)]
struct Rewritten {
    bytes: Vec<u8>,
    rows: u64,
    newest: Option<Micros>,
}

fn rewrite(
    text: &[u8],
    piece: std::ops::Range<usize>,
    source: &TableSource,
    offset: u64,
    of_events: bool,
) -> Result<Rewritten> {
    let mut rewriter = Rewriter::new(of_events);
    let mut out = Rewritten::default();
    let start = piece.start;
    for line in lines(&text[piece.clone()]) {
        let at = offset + (start + line.start) as u64;
        let mut row = &text[start + line.start..start + line.end];
        if at == 0 {
            row = row.strip_prefix(BOM).unwrap_or(row);
        }
        if is_blank(row) {
            continue;
        }
        if std::str::from_utf8(row).is_err() {
            return Err(Error::line(source.path(), source.line_number(at)?, "the line is not UTF-8"));
        }
        let clock = rewriter.push(&mut out.bytes, row).map_err(|problem| line_error(source, at, &problem))?;
        out.rows += 1;
        out.newest = out.newest.max(clock.uuid_ts()).max(clock.received_at());
    }
    Ok(out)
}

/// Returns the state that the resolver starts from, and records in `run` how it was made.
fn resolver_state(
    space: &mut Space,
    run: &mut RunRecord,
    files: &Files,
    progress: &dyn Progress,
) -> Result<(ResolverState, IdentifierTypes)> {
    for table in space.tables() {
        table.flush(files)?;
    }
    let added = space.bytes_added();
    let mut manifest = Manifest { tables: space.flushed(), ..Manifest::of(space.manifest.compress) };
    // The only rows of the space are those that are staged for the commit.
    let folder = staged_folder(space.folder());
    manifest.runs.push(run.clone());
    let types = IdentifierTypes::default();
    let plain = replay(&folder, &manifest, &types, files, progress);
    if plain.as_ref().is_err_and(Error::is_interrupted) {
        return plain.map(|replayed| (replayed, types));
    }
    run.written = added.into_iter().filter(|(name, _)| RAW_TABLES.contains(&name.as_str())).collect();
    let tables = adopted::tables(&folder, &manifest, &run.written);
    let as_views = adopted::fold(&tables, &types, files, &SharedProgress::new(progress))?;
    if let Ok(plain) = plain
        && same(&plain, &as_views)
    {
        run.written.clear();
        let mut inferred = IdentityGraph::default();
        create_adopted(&folder, &manifest, files, &mut inferred)?;
        run.adopted = inferred.n_profiles() as u64;
        return Ok((plain, types));
    }
    run.adopted = as_views.graph.n_profiles() as u64;
    manifest.runs = vec![run.clone()];
    // Replays once more, to read the messages too.
    let replayed = replay(&folder, &manifest, &types, files, progress)?;
    Ok((replayed, types))
}

/// Returns whether two states have the same views.
fn same(a: &ResolverState, b: &ResolverState) -> bool {
    profiles(a) == profiles(b) && identifiers(&a.graph) == identifiers(&b.graph)
}

/// The canonical segment id and the traits of each segment id. A trait has its value and its `timestamp`, by column.
type ProfileViews<'a> = BTreeMap<&'a str, (&'a str, BTreeMap<&'a [u8], (&'a [u8], Millis)>)>;

fn profiles(state: &ResolverState) -> ProfileViews<'_> {
    let names = &state.trait_names;
    let all: Vec<_> = state.graph.profile_states().collect();
    let shown = all.iter().enumerate().map(|(number, profile)| {
        let mut traits = BTreeMap::new();
        let own = (profile.canonical as usize == number).then_some(profile.traits);
        let values = own.into_iter().flat_map(EncodedTraits::values);
        for one in values.filter(|one| !one.value.is_empty()) {
            let column = names.column_name(names.column(one.path));
            traits.insert(column, (one.value, one.at.timestamp));
        }
        (profile.segment_id, (all[profile.canonical as usize].segment_id, traits))
    });
    shown.collect()
}

fn identifiers(graph: &IdentityGraph) -> Vec<(u128, Millis, &str)> {
    let profiles: Vec<_> = graph.profile_states().collect();
    let canonical = |profile: u32| profiles[profiles[profile as usize].canonical as usize].segment_id;
    let mut all: Vec<_> =
        graph.mapped_identifiers().map(|i| (i.key, i.timestamp, canonical(i.profile))).collect();
    all.par_sort_unstable();
    all
}
