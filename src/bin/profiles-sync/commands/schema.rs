//! `schema`: what a warehouse needs to hold the tables.

use std::path::Path;

use anyhow::Result;
use profiles_sync::{
    error::Error,
    files::Files,
    progress::Progress,
    schema::{Schema, SchemaOptions, ScriptOptions, add_since, losses, read, script, to_json},
    space::stale_views::tell_stale_views,
};

use crate::{
    args::{SchemaArgs, SchemaFormat},
    commands::{interruptible, on_threads},
    console::Console,
    exit::Exit,
};

/// Runs the subcommand.
pub(crate) fn run(args: &SchemaArgs, console: &Console) -> Result<Exit> {
    let files = Files::real();
    let options = SchemaOptions {
        space: args.space.clone(),
        dialect: args.dialect(),
        tables: args.tables.clone(),
        columns_as_json: args.columns_as_json,
    };
    let earlier = args.since.as_deref().map(|path| earlier(path, &files)).transpose()?;
    let schema = on_threads(args.threads.given(), || read(&options, &files, console))?;
    let mut schema = interruptible(schema, "interrupted")?;
    console.end_step();
    tell_stale_views(&args.space, &files, console);
    let not_made: Vec<_> = schema.tables.iter().filter(|table| table.file.is_none()).collect();
    if !not_made.is_empty() {
        let names: Vec<_> = not_made.iter().map(|view| format!("`{}`", view.table)).collect();
        console.notice(&format!(
            "not loaded, since they were not made: {}; `profiles-sync materialize` makes them",
            names.join(", ")
        ));
    }
    let changed = earlier.map(|earlier| add_since(&mut schema, &earlier)).transpose()?;
    for loss in losses(&schema) {
        console.warning(&loss);
    }
    let text = match args.format() {
        SchemaFormat::Json => to_json(&schema),
        SchemaFormat::Sql => {
            let options = ScriptOptions {
                space: args.space.clone(),
                files_at: args.files_at.clone(),
                night: args.night,
                upsert: args.upsert.clone(),
            };
            script(&schema, changed.as_ref(), &options)?
        }
    };
    console.data("the statements", text.as_bytes())?;
    Ok(Exit::Done)
}

/// Reads what the warehouse has.
fn earlier(path: &Path, files: &Files) -> Result<Schema, Error> {
    let Some(bytes) = files.read_if_exists(path)? else {
        return Err(Error::file(path, "is not there")
            .hint("write it with `schema --format json` when the tables are loaded for the first time"));
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::file(path, format!("is no schema: {error}"))
            .hint("give a file that `schema --format json` wrote")
    })
}
