//! The job `materialize`: builds the views from the raw tables.
//!
//! Views that reflect an earlier state of the same raw tables are updated. Otherwise all views are built from scratch:
//! in memory, or in partitions if the raw tables are too large for it.

mod before;
mod changes;
mod choose;
mod columns;
mod merge;
mod parts;
mod record;
mod splice;
mod touched;
mod update;

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

pub use self::record::{stale_views, tell_stale_views};
use self::{
    changes::Changes,
    columns::Columns,
    record::{Made, Record},
};
use crate::{
    config::rules::Compression,
    error::{Error, Result},
    files::Files,
    jobs::ingest::default_memory,
    progress::Progress,
    space::{
        commit::STATE,
        cut::tell_twin,
        guard::belongs_to_space,
        lock::Lock,
        manifest::{MANIFEST, Manifest},
        tables::part_of,
    },
    summary::{Fold, MaterializeSummary},
    table::{
        blocks::Meter,
        find::{RawTable, raw_tables},
        source::Source,
        write::{Staged, Way, stage},
    },
    view::{
        RAW_TABLES, View,
        folds::{Folds, Sources},
    },
};

/// Options of [`materialize`]: where the raw tables are, and which views to write where.
#[derive(Debug, Clone)]
pub struct MaterializeOptions {
    /// A space, or a folder of raw tables as a warehouse exports them.
    pub raw: PathBuf,
    /// Whether `raw` is a space. Its manifest then has the number of committed bytes of each table.
    pub space: bool,
    /// The folder to write the views to.
    pub out: PathBuf,
    /// Only these views; empty means all that the config selects.
    pub views: Vec<String>,
    /// Only rows with a `uuid_ts` up to this time, in microseconds.
    pub as_of: Option<i64>,
    /// Whether to write the other views if a raw table is missing.
    pub partial: bool,
    /// The config file, for its selective sync. The default is that in the space, else the rules of the last run.
    pub config: Option<PathBuf>,
    /// Whether to build all views from scratch, even if they could be updated.
    pub full: bool,
    /// Approximate memory for the job, in bytes. The default is half of the machine's memory, at most 4 GiB.
    pub memory: Option<u64>,
    /// The file to write the changes in the existing views to.
    pub changes: Option<PathBuf>,
    /// How many seconds to wait for another run that writes to the same space.
    pub wait: u64,
}

impl MaterializeOptions {
    /// Returns the options for all views of a space, written to the space.
    #[must_use]
    pub fn of_space(space: &Path) -> Self {
        Self { space: true, ..Self::of_export(space, space) }
    }

    /// Returns the options for all views of a folder of raw tables, written to another folder.
    #[must_use]
    pub fn of_export(raw: &Path, out: &Path) -> Self {
        Self {
            raw: raw.to_owned(),
            space: false,
            out: out.to_owned(),
            views: Vec::new(),
            as_of: None,
            partial: false,
            config: None,
            full: false,
            memory: None,
            changes: None,
            wait: 0,
        }
    }

    /// Returns whether the views go to the space that they are built from.
    fn is_in_place(&self) -> bool {
        let same = || Some(self.raw.canonicalize().ok()? == self.out.canonicalize().ok()?);
        self.space && (self.raw == self.out || same().unwrap_or(false))
    }
}

/// Builds the views from the raw tables. Replaces each view in one step. Runs on the current rayon pool.
pub fn materialize(
    options: &MaterializeOptions,
    files: &Files,
    progress: &dyn Progress,
) -> Result<MaterializeSummary> {
    if let Some(path) = &options.changes {
        refuse_table(path, options)?;
    }
    match &options.changes {
        None => run(options, files, progress, None),
        Some(path) => Changes::to_file(path, files, |changes| run(options, files, progress, Some(changes))),
    }
}

/// Like [`materialize`], but also writes the changes in the existing views to `out` before it replaces them.
pub fn materialize_telling(
    options: &MaterializeOptions,
    files: &Files,
    progress: &dyn Progress,
    out: &mut dyn Write,
) -> Result<MaterializeSummary> {
    run(options, files, progress, Some(&mut Changes::to_stream(out, Path::new("-"))))
}

fn run(
    options: &MaterializeOptions,
    files: &Files,
    progress: &dyn Progress,
    changes: Option<&mut Changes<'_>>,
) -> Result<MaterializeSummary> {
    let start = Instant::now();
    refuse_other_space(options, files)?;
    let in_place = options.is_in_place();
    let state = options.raw.join(STATE);
    let _alone = if in_place && Manifest::read(&options.raw, files)?.is_some() {
        files.create_folder(&state)?;
        Some(Lock::take_views(&state, options.wait, progress)?)
    } else {
        None
    };
    before::restore(options, in_place, files, progress)?;
    let manifest = if options.space { Some(read_manifest(&options.raw, files)?) } else { None };
    let tables = match &manifest {
        Some(manifest) => space_tables(&options.raw, manifest),
        None => raw_tables(&options.raw, &RAW_TABLES)?,
    };
    let rules = choose::rules(options, manifest.as_ref(), files)?;
    let mut summary = MaterializeSummary::default();
    let views = choose::views(options, &tables, &rules, &mut summary)?;
    let columns = &Columns::new(&rules);
    let compress = manifest.as_ref().map_or(Compression::None, |manifest| manifest.compress);
    let job = Job { options, tables: &tables, views: &views, columns, compress, files, progress };
    let record = manifest.as_ref().filter(|_| in_place).map(|manifest| Record::of(manifest, &job));
    if let Some(record) = &record {
        record.tell_age(&views, options.as_of, progress);
    }
    let (made, staged) = job.make(record.as_ref(), &mut summary)?;
    if let Some(changes) = changes {
        progress.start("comparing views", None);
        summary.changes = Some(changes.write(&job, staged.as_ref())?);
    }
    if let Some(staged) = staged {
        let told = summary.changes.is_some();
        if told {
            before::keep(&options.out, staged.paths(), files)?;
        }
        match record {
            Some(record) => summary.run = Some(record.commit(&made, &staged, options, files, progress)?),
            None => staged.put_in_place()?,
        }
        if told {
            before::forget(&options.out, files);
        }
        if compress == Compression::Zstd {
            made.views.iter().for_each(|(view, _)| tell_twin(&options.out, view.name(), progress));
        }
    }
    summary.rows = made.views.iter().map(|(view, written)| (view.name().to_owned(), written.rows)).collect();
    summary.profiles = made.profiles;
    summary.seconds = start.elapsed().as_secs_f64();
    Ok(summary)
}

/// Fails if the changes would go to a file that belongs to a space, or that a space may want to create.
fn refuse_table(changes: &Path, options: &MaterializeOptions) -> Result<()> {
    if belongs_to_space(changes, &[&options.raw, &options.out]) || changes.ends_with(before::FOLDER) {
        return Err(Error::file(changes, "changes cannot go where the tables and views of a space are")
            .hint("give `--changes` a file in another folder"));
    }
    Ok(())
}

/// Fails if the views would replace those of a space, but are built from other tables or without its manifest.
fn refuse_other_space(options: &MaterializeOptions, files: &Files) -> Result<()> {
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
            vec![part_of(space, name, table)]
        }
        _ => Vec::new(),
    };
    RAW_TABLES.iter().map(|&name| RawTable { name, parts: parts(name) }).collect()
}

/// What every way of building the views needs.
struct Job<'a> {
    options: &'a MaterializeOptions,
    tables: &'a [RawTable],
    views: &'a [View],
    columns: &'a Columns,
    /// How the views are stored, which is how the tables of the space are stored.
    compress: Compression,
    files: &'a Files,
    progress: &'a dyn Progress,
}

impl Job<'_> {
    /// Builds the views. Stages nothing if the existing views are up to date.
    fn make(
        &self,
        record: Option<&Record>,
        summary: &mut MaterializeSummary,
    ) -> Result<(Made, Option<Staged>)> {
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
            table.parts.iter().map(of_part)
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
    fn fold(&self, recorded: bool, summary: &mut MaterializeSummary) -> Result<(Made, Staged)> {
        let meter = Meter::new(self.progress);
        let sources = Sources::open(self.tables, self.views, |part| Source::open(part, self.files))?;
        meter.start("reading raw tables", Some(sources.n_bytes()));
        let folds = Folds::read(sources, self.options.as_of, &meter)?;
        meter.start("writing views", None);
        let polish = self.columns.polish();
        let way = Way {
            files: self.files,
            meter: &meter,
            polish: polish.as_deref(),
            digests: recorded,
            compress: self.compress,
        };
        let (views, staged) = stage(way, &self.options.out, |staging| folds.write(self.views, staging))?;
        summary.rows_read =
            folds.rows_read().into_iter().map(|(table, n_rows)| (table.to_owned(), n_rows)).collect();
        summary.bytes = folds.n_bytes;
        Ok((Made { views, profiles: folds.n_survivors(), plain: folds.is_plain() }, staged))
    }
}
