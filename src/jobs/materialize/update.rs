//! Updates views with the rows that were added to the raw tables.
//!
//! The affected profiles are folded from all their raw rows, old and new, by the same code that folds everything, and
//! the result replaces their rows in the old views. The views are then the same, byte for byte, as if they had been
//! built from scratch. If anything is not as expected, nothing is done here, and all views are rebuilt.

use std::{collections::BTreeMap, path::Path};

use rayon::prelude::*;

use super::{
    affected::{AffectedProfiles, new_rows},
    job::ViewsJob,
    patch::{Patch, PatchResult, patch},
    view_registry::{Baseline, BuiltViews},
};
use crate::{
    error::{Error, Result},
    memory::default_memory,
    raw::{external_id_mapping_updates, id_graph_updates, profile_traits_updates},
    read::{digest::Digest, spill::SpillStore},
    space::{layout::STATE_FOLDER, manifest::CommittedView},
    summary::{Fold, MaterializeSummary},
    table::{
        blocks::SharedProgress,
        find::{RawTableFile, file_of},
        source::TableSource,
        write::{SortedRun, StagedViews, ViewStats, WriteOptions, spill_runs, stage},
    },
    view::{
        View,
        folds::{FoldedTables, ViewSources},
        render,
        row_key::{KeyReader, push_key_text},
    },
};

/// If more bytes are new, and they are a good part of all, an update is not worth it.
const FEW_BYTES: u64 = 4 << 20;

/// Updates views. Returns `None` if the result could not be relied on.
pub(super) fn update(
    job: &ViewsJob<'_>,
    base: &Baseline<'_>,
    summary: &mut MaterializeSummary,
) -> Result<Option<(BuiltViews, Option<StagedViews>)>> {
    let meter = SharedProgress::new(job.progress);
    let Some(old) = OldViews::open(job, base)? else { return Ok(None) };
    let Some(raw) = GrownTables::open(job, base)? else { return Ok(None) };
    if raw.n_new_bytes() == 0 {
        meter.start("checking views", Some(old.views.iter().map(|(_, _, source)| source.length()).sum()));
        let made = old.if_intact(base, &meter)?;
        if made.is_some() {
            summary.fold = Fold::Current;
        }
        return Ok(made.map(|made| (made, None)));
    }
    let memory = job.options.memory.unwrap_or_else(default_memory);
    if FEW_BYTES.max(raw.n_bytes() / 2).min(memory / 3) < raw.n_new_bytes() {
        return Ok(None);
    }
    meter.start("finding affected profiles", Some(old.merges.length() + raw.n_bytes()));
    let behind = raw.new_rows()?;
    let new: Vec<&[TableSource]> = behind.values().map(std::slice::from_ref).collect();
    let Some(touched) = AffectedProfiles::find(&new, &old.merges, base.merges.rows, &meter)? else {
        return Ok(None);
    };
    let share = raw.n_bytes() / (1 + base.merges.rows) * touched.texts().len() as u64;
    if memory / 3 < share {
        return Ok(None);
    }
    let mut n_known = 0;
    // A table without rows is still needed, because views are built from it.
    let mut tables: BTreeMap<&str, Vec<TableSource>> =
        base.raw.keys().map(|&table| (table, Vec::new())).collect();
    for (&table, (source, _)) in &raw.tables {
        let mut rows = Vec::new();
        if let Some(source) = raw.reflected(table)? {
            rows = touched.rows_of(&source, &meter)?;
        }
        if table == external_id_mapping_updates::TABLE {
            n_known = memchr::memchr_iter(b'\n', &rows).count() as u64;
        }
        tables.insert(table, vec![TableSource::from_bytes(source.path(), rows)]);
    }
    for (table, source) in behind {
        tables.entry(table).or_default().push(source);
    }
    let sources = ViewSources {
        graph: tables.remove(id_graph_updates::TABLE).unwrap_or_default(),
        identifiers: tables.remove(external_id_mapping_updates::TABLE),
        traits: tables.remove(profile_traits_updates::TABLE),
    };
    // An error in a row is reported by the full build, which knows its line.
    let folds = match FoldedTables::read(sources, None, &meter) {
        Err(error) if !error.is_interrupted() => return Ok(None),
        folds => folds?,
    };
    let stays_inside = (0..folds.segments.len()).all(|segment| touched.has(folds.segments.text(segment)));
    if !stays_inside || !folds.has_one_row_per_identifier() {
        return Ok(None);
    }
    meter.start("updating views", None);
    let Some((views, staged)) = old.patch(job, &folds, &touched, (n_known, &raw), &meter)? else {
        return Ok(None);
    };
    summary.fold = Fold::Incremental;
    summary.bytes = folds.n_bytes;
    summary.rows_read =
        folds.rows_read().into_iter().map(|(table, n_rows)| (table.to_owned(), n_rows)).collect();
    let profiles = base.merges.profiles + folds.n_survivors() - touched.n_profiles.min(base.merges.profiles);
    Ok(Some((BuiltViews { views, profiles, plain: true }, Some(staged))))
}

/// The current views, and the staged files of those that were written.
type UpdatedViews = (Vec<(View, ViewStats)>, StagedViews);

/// The existing views, opened.
struct OldViews<'b> {
    views: Vec<(View, &'b CommittedView, TableSource)>,
    merges: TableSource,
}

impl<'b> OldViews<'b> {
    /// Returns `None` if a file is missing, or its length is not the recorded one.
    fn open(job: &ViewsJob<'_>, base: &Baseline<'b>) -> Result<Option<Self>> {
        let open = |view: View, state: &CommittedView| -> Result<Option<TableSource>> {
            let path = file_of(&job.options.out, view.name(), job.compress);
            let length = if job.compress.is_none() { Some(state.bytes) } else { state.stored };
            if !path.is_file() || path.metadata().ok().map(|file| file.len()) != length {
                return Ok(None);
            }
            TableSource::open(&RawTableFile { path, committed: None }, job.files).map(Some)
        };
        let Some(merges) = open(View::ProfileMerges, base.merges)? else { return Ok(None) };
        let mut views = Vec::new();
        // The merges are read from a view that may not be built in this run, and then nothing else checks its digest.
        let is_made = base.views.iter().any(|(view, _)| *view == View::ProfileMerges);
        if !is_made && digest_of(&merges, &SharedProgress::new(job.progress))? != base.merges.digest {
            return Ok(None);
        }
        for &(view, state) in &base.views {
            let Some(source) = open(view, state)? else { return Ok(None) };
            views.push((view, state, source));
        }
        Ok(Some(Self { views, merges }))
    }

    /// Returns the recorded views if the digests of all files are the recorded ones.
    fn if_intact(&self, base: &Baseline<'_>, meter: &SharedProgress<'_>) -> Result<Option<BuiltViews>> {
        let digests: Vec<Result<bool>> = self
            .views
            .par_iter()
            .with_max_len(1)
            .map(|(_, state, source)| Ok(digest_of(source, meter)? == state.digest))
            .collect();
        let whole = digests.into_iter().collect::<Result<Vec<bool>>>()?;
        let views = self.views.iter().map(|(view, state, _)| (*view, written(state)));
        let made = BuiltViews { views: views.collect(), profiles: base.merges.profiles, plain: true };
        Ok(whole.into_iter().all(|whole| whole).then_some(made))
    }

    /// Writes the views with the rows of affected profiles replaced. Returns `None` if a file does not match its
    /// record.
    fn patch(
        &self,
        job: &ViewsJob<'_>,
        folds: &FoldedTables,
        touched: &AffectedProfiles,
        (n_known, raw): (u64, &GrownTables),
        meter: &SharedProgress<'_>,
    ) -> Result<Option<UpdatedViews>> {
        let polish = job.columns.row_filter();
        let way = WriteOptions {
            files: job.files,
            meter,
            row_filter: polish.as_deref(),
            digests: true,
            compress: job.compress,
        };
        let spill = SpillStore::new(&job.options.raw.join(STATE_FOLDER));
        let (n_rows, runs) = spill_runs(way, &spill, |staging| render::write(folds, job.views, staging))?;
        let (views, staged) = stage(way, &job.options.out, |staging| {
            let spliced: Vec<Result<Option<(View, ViewStats)>>> = self
                .views
                .par_iter()
                .with_max_len(1)
                .map(|(view, state, source)| {
                    if !raw.has_new_rows_for(*view) {
                        let is_whole = digest_of(source, meter)? == state.digest;
                        return Ok(is_whole.then(|| (*view, written(state))));
                    }
                    let n_new = n_rows.iter().find(|(other, _)| other == view).map_or(0, |(_, new)| new.rows);
                    let run = runs.iter().find(|run| run.view == view.name());
                    let rows = run.map(take).transpose()?.unwrap_or_default();
                    let Some((edits, mut keys)) = edits(*view, &rows, touched) else { return Ok(None) };
                    let mut out = staging.open(view.name())?;
                    let spliced = patch(source, &rows, &edits, &mut keys, &mut out)?;
                    let Some(PatchResult { n_removed, digest }) = spliced else { return Ok(None) };
                    // An identifier that is new to its profile must be new to all profiles.
                    let of_identifiers = matches!(view, View::ExternalIdMapping | View::UserIdentifiers);
                    if digest != state.digest || of_identifiers && n_removed != n_known {
                        return Ok(None);
                    }
                    meter.advance(0)?;
                    Ok(Some((*view, staging.close(out, state.rows + n_new - n_removed)?)))
                })
                .collect();
            let spliced: Vec<Option<(View, ViewStats)>> = spliced.into_iter().collect::<Result<_>>()?;
            Ok(spliced.into_iter().collect::<Option<Vec<_>>>())
        })?;
        Ok(views.map(|views| (views, staged)))
    }
}

/// The raw tables that the views are built from, each with the number of bytes that the old views reflect.
struct GrownTables {
    tables: BTreeMap<&'static str, (TableSource, u64)>,
    parts: BTreeMap<&'static str, RawTableFile>,
    files: crate::files::Files,
}

impl GrownTables {
    fn open(job: &ViewsJob<'_>, base: &Baseline<'_>) -> Result<Option<Self>> {
        let mut raw = Self { tables: BTreeMap::new(), parts: BTreeMap::new(), files: job.files.clone() };
        for table in job.tables.iter().filter(|table| base.raw.contains_key(table.name)) {
            let reflected = base.raw[table.name].bytes;
            match &table.files[..] {
                [] if reflected == 0 => {}
                [part] => {
                    let source = TableSource::open(part, job.files)?;
                    // This program does not compress its tables in this way.
                    if source.in_memory().is_some() || source.length() < reflected {
                        return Ok(None);
                    }
                    raw.parts.insert(table.name, part.clone());
                    raw.tables.insert(table.name, (source, reflected));
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(raw))
    }

    fn n_bytes(&self) -> u64 {
        self.tables.values().map(|(source, _)| source.length()).sum()
    }

    fn n_new_bytes(&self) -> u64 {
        self.tables.values().map(|(source, reflected)| source.length() - reflected).sum()
    }

    /// Returns whether a view has new raw rows to reflect.
    fn has_new_rows_for(&self, view: View) -> bool {
        let tables = view.tables().iter().filter_map(|table| self.tables.get(table));
        tables.into_iter().any(|(source, reflected)| *reflected < source.length())
    }

    /// Returns the new rows, by table.
    fn new_rows(&self) -> Result<BTreeMap<&'static str, TableSource>> {
        let behind = self.tables.iter().map(|(&table, (source, reflected))| {
            Ok((table, TableSource::from_bytes(source.path(), new_rows(source, *reflected)?)))
        });
        behind.collect()
    }

    /// Opens the rows that the old views reflect; `None` if there are none.
    fn reflected(&self, table: &str) -> Result<Option<TableSource>> {
        let (Some(part), Some((_, reflected))) = (self.parts.get(table), self.tables.get(table)) else {
            return Ok(None);
        };
        if *reflected == 0 {
            return Ok(None);
        }
        TableSource::open(&RawTableFile { committed: Some(*reflected), ..part.clone() }, &self.files)
            .map(Some)
    }
}

/// Returns the patches that update a view, and a reader for as much of a row's key as they have.
fn edits(view: View, rows: &[u8], touched: &AffectedProfiles) -> Option<(Vec<Patch>, KeyReader)> {
    let lines = memchr::memchr_iter(b'\n', rows).scan(0, |start, end| {
        let line = *start..end + 1;
        *start = end + 1;
        Some(line)
    });
    let mut edits: Vec<Patch> = Vec::new();
    if view == View::ExternalIdMapping {
        let mut keys = KeyReader::new(view);
        for line in lines {
            let mut key = Vec::new();
            keys.encode(&rows[line.start..line.end - 1], &mut key)?;
            edits.push(Patch { key, rows: line });
        }
        return Some((edits, keys));
    }
    // The key of every other view begins with the profile or the segment id.
    let mut keys = KeyReader::for_first_column(view);
    for text in touched.texts() {
        let mut key = Vec::new();
        push_key_text(&mut key, text);
        edits.push(Patch { key, rows: 0..0 });
    }
    let mut at = 0;
    let mut key = Vec::new();
    for line in lines {
        keys.encode(&rows[line.start..line.end - 1], &mut key)?;
        while edits.get(at)?.key < key {
            at += 1;
        }
        let edit = &mut edits[at];
        if edit.key != key {
            return None;
        }
        edit.rows = if edit.rows.is_empty() { line } else { edit.rows.start..line.end };
    }
    Some((edits, keys))
}

fn take(run: &SortedRun) -> Result<Vec<u8>> {
    let mut rows = Vec::new();
    let mut bytes = Vec::new();
    for piece in &run.blocks {
        piece.read(&mut bytes).map_err(|e| Error::io("read back", Path::new(&run.view), e))?;
        rows.extend_from_slice(&bytes);
    }
    Ok(rows)
}

fn digest_of(source: &TableSource, meter: &SharedProgress<'_>) -> Result<String> {
    let mut digest = Digest::default();
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < source.length() {
        let n_bytes = usize::try_from(source.length() - at).map_or(1 << 20, |rest| rest.min(1 << 20));
        bytes.resize(n_bytes, 0);
        source.read_at(&mut bytes, at)?;
        digest.update(&bytes);
        at += n_bytes as u64;
        meter.advance(n_bytes as u64)?;
    }
    Ok(digest.hex())
}

fn written(state: &CommittedView) -> ViewStats {
    ViewStats { rows: state.rows, bytes: state.bytes, digest: state.digest.clone(), stored: state.stored }
}
