//! Chooses the views to build: those asked for, or those that the config selects. Views without their raw table are
//! left out.

use std::path::Path;

use super::options::MaterializeOptions;
use crate::{
    config::{self, CONFIG_FILE, rules::Rules},
    error::{Error, Result},
    files::Files,
    space::{layout::MANIFEST, manifest::Manifest},
    summary::MaterializeSummary,
    table::find::RawTable,
    view::View,
};

/// Returns the rules: from the given config, else from the config in the space, else from the last run.
pub(super) fn rules(
    options: &MaterializeOptions,
    manifest: Option<&Manifest>,
    files: &Files,
) -> Result<Rules> {
    let read = |path: &Path, bytes: Vec<u8>| -> Result<Rules> {
        let text = String::from_utf8(bytes).map_err(|_| Error::file(path, "the config is not UTF-8"))?;
        config::parse(&text, path)
    };
    if let Some(path) = &options.config {
        let missing = || Error::file(path, "no such config file").hint("give one with `--config FILE`");
        return read(path, files.read_if_exists(path)?.ok_or_else(missing)?);
    }
    let Some(manifest) = manifest else { return Ok(Rules::default()) };
    let in_space = options.raw.join(CONFIG_FILE);
    if let Some(bytes) = files.read_if_exists(&in_space)? {
        return read(&in_space, bytes);
    }
    match &manifest.config {
        Some(config) => config::parse(&config.text, &options.raw.join(MANIFEST)),
        None => Ok(Rules::default()),
    }
}

/// Returns the views to write. Fails if a raw table is missing, unless `--partial` is given.
pub(super) fn views(
    options: &MaterializeOptions,
    tables: &[RawTable],
    rules: &Rules,
    summary: &mut MaterializeSummary,
) -> Result<Vec<View>> {
    let names = View::ALL.map(View::name).join("`, `");
    for name in &options.views {
        if !View::ALL.iter().any(|view| view.name() == name) {
            return Err(
                Error::Refused(format!("there is no view `{name}`")).hint(format!("choose from `{names}`"))
            );
        }
    }
    let mut views = Vec::new();
    let mut missing = Vec::new();
    for view in View::ALL {
        let is_asked = options.views.iter().any(|name| name == view.name());
        let selected = rules.tables.has(view.name());
        // A view that is asked for is written, whatever the config selects.
        if !is_asked && (!selected || !options.views.is_empty()) {
            if !selected && options.views.is_empty() {
                summary.views_not_selected.push(view.name().to_owned());
            }
            continue;
        }
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
    if missing.is_empty() && views.is_empty() {
        return Err(Error::Refused("the config selects none of the views".into())
            .hint("select views with `--views`, or change `tables` and `exclude_tables` under `[sync]`"));
    }
    if missing.is_empty() || options.partial && !views.is_empty() {
        return Ok(views);
    }
    let costs = missing.iter().map(|&table| {
        let views = summary.views_left_out.iter().filter(|(_, needed)| *needed == table);
        let views: Vec<_> = views.map(|(view, _)| view.as_str()).collect();
        format!("`{table}` is missing, which these views need: `{}`", views.join("`, `"))
    });
    let error = Error::file(&options.raw, costs.collect::<Vec<_>>().join("; "));
    Err(if views.is_empty() {
        error.hint("a raw table is `TABLE.ndjson`, `.json` or `.jsonl`, also with `.gz` or `.zst`, or a folder `TABLE`")
    } else {
        error.hint("pass `--partial` to write the other views")
    })
}
