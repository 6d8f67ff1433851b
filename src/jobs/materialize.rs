//! The job `materialize`: builds the views from the raw tables.
//!
//! Views that reflect an earlier state of the same raw tables are updated. Otherwise all views are built from scratch:
//! in memory, or in partitions if the raw tables are too large for it.

mod affected;
mod backup;
mod changes;
mod choose;
mod columns;
mod job;
mod merge;
mod options;
mod parts;
mod patch;
mod update;
mod view_registry;

use std::{io::Write, path::Path, time::Instant};

pub use self::options::MaterializeOptions;
use self::{
    changes::ChangeWriter,
    columns::ViewColumns,
    job::ViewsJob,
    view_registry::{BuiltViews, ViewRegistry},
};
use crate::{
    config::rules::Compression,
    error::{Error, Result},
    files::Files,
    memory::default_memory,
    progress::Progress,
    space::{
        cut::report_duplicate_file,
        guard::belongs_to_space,
        layout::{MANIFEST, STATE_FOLDER},
        lock::Lock,
        manifest::Manifest,
        tables::committed_file,
    },
    summary::{Fold, MaterializeSummary},
    table::{
        blocks::SharedProgress,
        find::{RawTable, raw_tables},
        source::TableSource,
        write::{StagedViews, WriteOptions, stage},
    },
    view::{
        RAW_TABLES,
        folds::{FoldedTables, ViewSources},
        render,
    },
};

/// Builds the views from the raw tables. Replaces each view in one step. Runs on the current rayon pool.
pub fn materialize(
    options: &MaterializeOptions,
    files: &Files,
    progress: &dyn Progress,
) -> Result<MaterializeSummary> {
    if let Some(path) = &options.changes {
        check_changes_path(path, options)?;
    }
    match &options.changes {
        None => run(options, files, progress, None),
        Some(path) => {
            ChangeWriter::to_file(path, files, |changes| run(options, files, progress, Some(changes)))
        }
    }
}

/// Like [`materialize`], but also writes the changes in the existing views to `out` before it replaces them.
pub fn materialize_with_changes(
    options: &MaterializeOptions,
    files: &Files,
    progress: &dyn Progress,
    out: &mut dyn Write,
) -> Result<MaterializeSummary> {
    run(options, files, progress, Some(&mut ChangeWriter::to_stream(out, Path::new("-"))))
}

fn run(
    options: &MaterializeOptions,
    files: &Files,
    progress: &dyn Progress,
    changes: Option<&mut ChangeWriter<'_>>,
) -> Result<MaterializeSummary> {
    let start = Instant::now();
    check_out_folder(options, files)?;
    let in_place = options.is_in_place();
    let state = options.raw.join(STATE_FOLDER);
    let _alone = if in_place && Manifest::read(&options.raw, files)?.is_some() {
        files.create_folder(&state)?;
        Some(Lock::take_views(&state, options.wait, progress)?)
    } else {
        None
    };
    backup::restore(options, in_place, files, progress)?;
    let manifest = if options.space { Some(read_manifest(&options.raw, files)?) } else { None };
    let tables = match &manifest {
        Some(manifest) => space_tables(&options.raw, manifest),
        None => raw_tables(&options.raw, &RAW_TABLES)?,
    };
    let rules = choose::rules(options, manifest.as_ref(), files)?;
    let mut summary = MaterializeSummary::default();
    let views = choose::views(options, &tables, &rules, &mut summary)?;
    let columns = &ViewColumns::new(&rules);
    let compress = manifest.as_ref().map_or(Compression::None, |manifest| manifest.compress);
    let job = ViewsJob { options, tables: &tables, views: &views, columns, compress, files, progress };
    let record = manifest.as_ref().filter(|_| in_place).map(|manifest| ViewRegistry::of(manifest, &job));
    if let Some(record) = &record {
        record.report_age(&views, options.as_of, progress);
    }
    let (made, staged) = job.build(record.as_ref(), &mut summary)?;
    if let Some(changes) = changes {
        progress.start("comparing views", None);
        summary.changes = Some(changes.write(&job, staged.as_ref())?);
    }
    if let Some(staged) = staged {
        let told = summary.changes.is_some();
        if told {
            backup::keep(&options.out, staged.paths(), files)?;
        }
        match record {
            Some(record) => summary.run = Some(record.commit(&made, &staged, options, files, progress)?),
            None => staged.put_in_place()?,
        }
        if told {
            backup::remove_backups(&options.out, files);
        }
        if compress == Compression::Zstd {
            made.views
                .iter()
                .for_each(|(view, _)| report_duplicate_file(&options.out, view.name(), progress));
        }
    }
    summary.rows = made.views.iter().map(|(view, written)| (view.name().to_owned(), written.rows)).collect();
    summary.profiles = made.profiles;
    summary.seconds = start.elapsed().as_secs_f64();
    Ok(summary)
}

/// Fails if the changes would go to a file that belongs to a space, or that a space may want to create.
fn check_changes_path(changes: &Path, options: &MaterializeOptions) -> Result<()> {
    if belongs_to_space(changes, &[&options.raw, &options.out]) || changes.ends_with(backup::FOLDER) {
        return Err(Error::file(changes, "changes cannot go where the tables and views of a space are")
            .hint("give `--changes` a file in another folder"));
    }
    Ok(())
}

/// Fails if the views would replace those of a space, but are built from other tables or without its manifest.
fn check_out_folder(options: &MaterializeOptions, files: &Files) -> Result<()> {
    let (raw, out) = (options.raw.canonicalize(), options.out.canonicalize());
    let is_other = out.is_ok_and(|out| raw.is_ok_and(|raw| raw != out));
    if (is_other || !options.space) && Manifest::read(&options.out, files)?.is_some() {
        let hint = if is_other {
            "give another folder with `--out DIR`".to_owned()
        } else {
            format!("build its views with `--space {}`", options.out.display())
        };
        return Err(Error::file(&options.out, "is a space with views of its own").hint(hint));
    }
    Ok(())
}

fn read_manifest(space: &Path, files: &Files) -> Result<Manifest> {
    Manifest::read(space, files)?.ok_or_else(|| {
        Error::file(space, format!("is not a space: it has no `{MANIFEST}`"))
            .hint("ingest into it first, or pass a folder of raw tables with `--raw`")
    })
}

/// Returns the raw tables of a space, as far as they are committed.
fn space_tables(space: &Path, manifest: &Manifest) -> Vec<RawTable> {
    let parts = |name: &str| match manifest.tables.get(name) {
        Some(table) if 0 < table.bytes => {
            vec![committed_file(space, name, table)]
        }
        _ => Vec::new(),
    };
    RAW_TABLES.iter().map(|&name| RawTable { name, files: parts(name) }).collect()
}

impl ViewsJob<'_> {
    /// Builds the views. Stages nothing if the existing views are up to date.
    fn build(
        &self,
        record: Option<&ViewRegistry>,
        summary: &mut MaterializeSummary,
    ) -> Result<(BuiltViews, Option<StagedViews>)> {
        if let Some(base) = record.and_then(|record| record.base(self)) {
            match update::update(self, &base, summary) {
                // A damaged view is rebuilt. A damaged raw table is reported by the full build, which reads all of it.
                Err(error) if error.is_decompression() => {}
                made => {
                    if let Some(made) = made? {
                        return Ok(made);
                    }
                }
            }
        }
        let needed = self.tables.iter().flat_map(|table| {
            let of_part = |part| parts::memory_needed(table.name, part);
            table.files.iter().map(of_part)
        });
        let bytes = needed.sum::<u64>();
        let memory = self.options.memory.unwrap_or_else(default_memory);
        let (made, staged) = if bytes <= memory {
            summary.fold = Fold::Full;
            self.fold(record.is_some(), summary)?
        } else {
            summary.fold = Fold::Partitioned;
            parts::fold(self, memory, record.is_some(), summary)?
        };
        Ok((made, Some(staged)))
    }

    /// Builds all views in memory.
    fn fold(&self, recorded: bool, summary: &mut MaterializeSummary) -> Result<(BuiltViews, StagedViews)> {
        let meter = SharedProgress::new(self.progress);
        let sources = ViewSources::open(self.tables, self.views, |part| TableSource::open(part, self.files))?;
        meter.start("reading raw tables", Some(sources.n_bytes()));
        let folds = FoldedTables::read(sources, self.options.as_of, &meter)?;
        meter.start("writing views", None);
        let polish = self.columns.row_filter();
        let way = WriteOptions {
            files: self.files,
            meter: &meter,
            row_filter: polish.as_deref(),
            digests: recorded,
            compress: self.compress,
        };
        let (views, staged) =
            stage(way, &self.options.out, |staging| render::write(&folds, self.views, staging))?;
        summary.rows_read =
            folds.rows_read().into_iter().map(|(table, n_rows)| (table.to_owned(), n_rows)).collect();
        summary.bytes = folds.n_bytes;
        Ok((
            BuiltViews { views, profiles: folds.n_survivors(), plain: folds.has_one_row_per_identifier() },
            staged,
        ))
    }
}
