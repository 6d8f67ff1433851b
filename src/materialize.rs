//! The job `materialize`: raw tables in, views out.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use crate::{
    error::{Error, Result},
    files::Files,
    progress::Progress,
    space::{
        manifest::{MANIFEST, Manifest},
        tables::path_of,
    },
    summary::MaterializeSummary,
    table::{
        blocks::Meter,
        find::{Part, RawTable, raw_tables},
        write::stage,
    },
    view::{
        RAW_TABLES, View, external_id_mapping, folds::Folds, id_graph, profile_merges, trait_views,
        user_identifiers,
    },
};

/// Where the raw tables are, and which views to write where.
#[derive(Debug, Clone)]
pub struct MaterializeOptions {
    /// A space, or with `raw` a folder of raw tables as a warehouse exports them.
    pub raw: PathBuf,
    /// Whether `raw` is a space of ours, whose manifest says how much of each table is committed.
    pub space: bool,
    /// Where the views go.
    pub out: PathBuf,
    /// Only these views; all six where empty.
    pub views: Vec<String>,
    /// Only rows with a `uuid_ts` up to this time, in microseconds.
    pub as_of: Option<i64>,
    /// Write the views that can be written when a raw table is missing.
    pub partial: bool,
}

/// Folds the raw tables into views. Each view is replaced in one step. Runs on the present rayon pool.
pub fn materialize(
    options: &MaterializeOptions,
    files: &Files,
    progress: &dyn Progress,
) -> Result<MaterializeSummary> {
    let start = Instant::now();
    let tables = if options.space {
        space_tables(&options.raw, files)?
    } else {
        raw_tables(&options.raw, &RAW_TABLES)?
    };
    let mut summary = MaterializeSummary::default();
    let views = choose(options, &tables, &mut summary)?;
    write_views(&tables, &views, options, files, progress, &mut summary)?;
    summary.seconds = start.elapsed().as_secs_f64();
    Ok(summary)
}

/// The raw tables of a space: of each as much as is committed.
fn space_tables(space: &Path, files: &Files) -> Result<Vec<RawTable>> {
    let Some(manifest) = Manifest::read(space, files)? else {
        return Err(Error::file(space, format!("there is no `{MANIFEST}`, so this is no space"))
            .hint("ingest into it first, or pass a folder of raw tables with `--raw`"));
    };
    let parts = |name: &str| match manifest.tables.get(name) {
        Some(table) if 0 < table.bytes => {
            vec![Part { path: path_of(space, name), committed: Some(table.bytes) }]
        }
        _ => Vec::new(),
    };
    Ok(RAW_TABLES.iter().map(|&name| RawTable { name, parts: parts(name) }).collect())
}

/// The views to write: those asked for, without those that lack a raw table.
fn choose(
    options: &MaterializeOptions,
    tables: &[RawTable],
    summary: &mut MaterializeSummary,
) -> Result<Vec<View>> {
    let names = View::ALL.map(View::name).join("`, `");
    for name in &options.views {
        if !View::ALL.iter().any(|view| view.name() == name) {
            return Err(
                Error::Refused(format!("there is no view `{name}`")).hint(format!("views are `{names}`"))
            );
        }
    }
    let asked =
        |view: &View| options.views.is_empty() || options.views.iter().any(|name| name == view.name());
    let mut views = Vec::new();
    let mut missing = Vec::new();
    for view in View::ALL.into_iter().filter(asked) {
        let needs = |&&needed: &&&str| !tables.iter().any(|table| table.name == needed);
        match view.tables().iter().find(needs) {
            Some(&table) => {
                summary.views_left_out.insert(view.name().to_owned(), table.to_owned());
                missing.push(table);
            }
            None => views.push(view),
        }
    }
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() || options.partial && !views.is_empty() {
        return Ok(views);
    }
    let costs = missing.iter().map(|&table| {
        let views = summary.views_left_out.iter().filter(|(_, needed)| *needed == table);
        let views: Vec<_> = views.map(|(view, _)| view.as_str()).collect();
        format!("`{table}` is missing, without which there is no `{}`", views.join("`, `"))
    });
    let error = Error::file(&options.raw, costs.collect::<Vec<_>>().join("; "));
    Err(if views.is_empty() {
        error.hint("a raw table is `TABLE.ndjson`, `.json` or `.jsonl`, also with `.gz` or `.zst`, or a folder `TABLE`")
    } else {
        error.hint("pass `--partial` to write the other views")
    })
}

/// Folds, then writes every view.
fn write_views(
    tables: &[RawTable],
    views: &[View],
    options: &MaterializeOptions,
    files: &Files,
    progress: &dyn Progress,
    summary: &mut MaterializeSummary,
) -> Result<()> {
    let meter = Meter::new(progress);
    let folds = Folds::read(tables, views, options.as_of, files, &meter)?;
    meter.start("writing views", None);
    let rows = stage(files, &options.out, &meter, |staging| {
        let (of_traits, others) = rayon::join(
            || trait_views::write(views, &folds, staging),
            || -> Result<Vec<(View, u64)>> {
                let mut rows = Vec::new();
                for &view in views {
                    rows.extend(match view {
                        View::ProfileTraits | View::UserTraits => None,
                        View::IdGraph => Some((view, id_graph::write(&folds, staging)?)),
                        View::ProfileMerges => Some((view, profile_merges::write(&folds, staging)?)),
                        View::ExternalIdMapping => Some((view, external_id_mapping::write(&folds, staging)?)),
                        View::UserIdentifiers => Some((view, user_identifiers::write(&folds, staging)?)),
                    });
                }
                Ok(rows)
            },
        );
        Ok([of_traits?, others?].concat())
    })?;
    summary.rows = rows.into_iter().map(|(view, n_rows)| (view.name().to_owned(), n_rows)).collect();
    summary.rows_read =
        folds.rows_read().into_iter().map(|(table, n_rows)| (table.to_owned(), n_rows)).collect();
    summary.bytes = folds.n_bytes;
    summary.profiles = folds.n_survivors();
    Ok(())
}
