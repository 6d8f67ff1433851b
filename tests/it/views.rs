//! All ways of building the views of a space give the same rows: incrementally, in full, partitioned, and from changes.

mod crashes;
mod runs_beside;
mod selection;
mod told;

use std::{collections::BTreeMap, fs, path::Path};

use profiles_sync::{
    files::Files,
    jobs::{
        ingest::{Compression, IngestOptions, ingest},
        materialize::{MaterializeOptions, materialize},
    },
    progress::Silent,
    space::manifest::Manifest,
    summary::{Fold, MaterializeSummary},
    table::find::existing_file,
    view::View,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    dump::{self, Knobs},
    random::{Random, config, events},
};

/// Creates a temporary folder, in memory if possible, because every run syncs its files.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn write(path: &Path, bytes: &[u8]) {
    Files::real().replace(path, bytes).unwrap();
}

fn add(space: &Path, lines: &[String], config: Option<&Path>) {
    add_as(None, space, lines, config);
}

/// Ingests lines into a space. A new space is created with the given compression.
fn add_as(compress: Option<Compression>, space: &Path, lines: &[String], config: Option<&Path>) {
    let input = space.with_extension("ndjson");
    write(&input, (lines.join("\n") + "\n").as_bytes());
    let options = IngestOptions {
        inputs: vec![input],
        space: space.to_owned(),
        config: config.map(Path::to_owned),
        segment_ids: None,
        compress,
        max_rejects: None,
        rejects: None,
        memory: None,
        dry_run: false,
        again: false,
        wait: 0,
    };
    match ingest(&options, &Files::real(), &Silent) {
        Ok(_) => {}
        Err(error) if error.to_string().contains("but no events") => {}
        Err(error) => panic!("{error}"),
    }
}

fn run(options: &MaterializeOptions) -> MaterializeSummary {
    materialize(options, &Files::real(), &Silent).unwrap()
}

/// Reads the views in a folder by name, decompressed.
fn views(folder: &Path) -> BTreeMap<&'static str, String> {
    let read = |view: View| {
        let path = path(folder, view);
        let mut bytes = fs::read(&path).ok()?;
        if path.extension().is_some_and(|extension| extension == "zst") {
            bytes = zstd::decode_all(&bytes[..]).unwrap();
        }
        Some((view.name(), String::from_utf8(bytes).unwrap()))
    };
    View::ALL.into_iter().filter_map(read).collect()
}

fn path(folder: &Path, view: View) -> std::path::PathBuf {
    existing_file(folder, view.name()).unwrap_or_else(|| folder.join(view.name()).with_extension("ndjson"))
}

/// Applies changes to views, as a consumer of the changes would, and returns the new views.
fn applied(old: &BTreeMap<&'static str, String>, changes: &str) -> BTreeMap<&'static str, String> {
    let mut rows: BTreeMap<&str, BTreeMap<Vec<String>, String>> = BTreeMap::new();
    let key = |view: View, columns: &Value| -> Vec<String> {
        view.key().iter().map(|column| columns[column].as_str().unwrap().to_owned()).collect()
    };
    for view in View::ALL {
        let of_view = rows.entry(view.name()).or_default();
        for row in old.get(view.name()).map(String::as_str).unwrap_or_default().lines() {
            of_view.insert(key(view, &serde_json::from_str(row).unwrap()), row.to_owned());
        }
    }
    for line in changes.lines() {
        let change: BTreeMap<String, Value> = serde_json::from_str(line).unwrap();
        let view = View::ALL.into_iter().find(|view| view.name() == change["view"]).unwrap();
        let columns: Vec<_> = change["key"].as_object().unwrap().keys().map(String::as_str).collect();
        assert!(
            view.key().iter().all(|column| columns.contains(column)) && columns.len() == view.key().len()
        );
        let (of_view, key) = (rows.get_mut(view.name()).unwrap(), key(view, &change["key"]));
        match change["change"].as_str().unwrap() {
            "upsert" => {
                // Not parsed, because the test compares the text of the row with that in the view.
                let row = line.split_once(",\"row\":").unwrap().1.strip_suffix('}').unwrap();
                assert_ne!(
                    of_view.insert(key, row.to_owned()).as_deref(),
                    Some(row),
                    "the row has not changed: {line}"
                );
            }
            "delete" => {
                assert!(
                    of_view.remove(&key).is_some() && change["row"].is_null(),
                    "the row does not exist: {line}"
                );
            }
            other => panic!("{other}"),
        }
    }
    let views =
        rows.into_iter().map(|(view, rows)| (view, rows.values().map(|row| row.clone() + "\n").collect()));
    views.collect()
}

fn assert_same(
    expected: &BTreeMap<&'static str, String>,
    actual: &BTreeMap<&'static str, String>,
    what: &str,
) {
    for view in View::ALL {
        let (expected, actual) = (expected.get(view.name()), actual.get(view.name()));
        if expected != actual {
            let lines = |text: Option<&String>| -> Vec<String> {
                text.map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default()
            };
            let (expected, actual) = (lines(expected), lines(actual));
            let missing: Vec<_> = expected.iter().filter(|row| !actual.contains(row)).take(5).collect();
            let extra: Vec<_> = actual.iter().filter(|row| !expected.contains(row)).take(5).collect();
            panic!("{what}: `{}`: missing {missing:#?}, not expected {extra:#?}", view.name());
        }
    }
}

/// Ingests a dump in random slices, and after some of them builds the views in every way and compares them.
///
/// Returns how many updates of existing views were incremental, and how many updates there were.
fn check_splits(random: &mut Random, lines: &[String], config: Option<&Path>, what: &str) -> [usize; 2] {
    let compress = if random.chance(50) { Compression::Zstd } else { Compression::None };
    let work = folder();
    let space = work.path().join("space");
    let [full, parts, changes_file] = ["full", "parts", "changes.ndjson"].map(|name| work.path().join(name));
    let mut rest = lines;
    let [mut n_incremental, mut n_times] = [0; 2];
    let mut is_first = true;
    while !rest.is_empty() {
        let n_lines =
            if random.chance(50) { random.from(1, rest.len().min(4)) } else { random.from(1, rest.len()) };
        let (now, later) = rest.split_at(n_lines);
        rest = later;
        add_as(Some(compress), &space, now, config);
        if !space.join("manifest.json").exists() || random.chance(25) && !rest.is_empty() {
            continue;
        }
        let old = views(&space);
        let in_space = MaterializeOptions::of_space(&space);
        let summary = run(&MaterializeOptions { changes: Some(changes_file.clone()), ..in_space.clone() });
        n_incremental += usize::from(summary.fold == Fold::Incremental);
        n_times += usize::from(!is_first && summary.fold != Fold::Current);
        is_first = false;
        let new = views(&space);
        let anew = run(&MaterializeOptions { full: true, out: full.clone(), ..in_space.clone() });
        assert_same(&views(&full), &new, &format!("{what}: {:?}", summary.fold));
        assert_eq!((summary.rows, summary.profiles), (anew.rows, anew.profiles), "{what}");
        let in_parts = run(&MaterializeOptions { memory: Some(1), out: parts.clone(), ..in_space.clone() });
        assert_same(&views(&full), &views(&parts), &format!("{what}: partitioned"));
        assert_eq!((in_parts.rows_read, in_parts.profiles), (anew.rows_read, anew.profiles), "{what}");
        let changes = fs::read_to_string(&changes_file).unwrap();
        assert_eq!(summary.changes, Some(changes.lines().count() as u64));
        assert_same(&new, &applied(&old, &changes), &format!("{what}: changes applied"));
        assert_eq!(run(&in_space).fold, Fold::Current, "{what}");
    }
    [n_incremental, n_times]
}

#[test]
fn random_splits_of_random_events_give_the_views_of_a_full_fold() {
    let mut counts = [0; 2];
    for seed in 0..150 {
        let mut random = Random(seed);
        let work = folder();
        let config = config::make(&mut random);
        let path = work.path().join("config.toml");
        write(&path, config.text.as_bytes());
        let lines: Vec<_> =
            events::make(&mut random).iter().map(crate::random::value::Value::to_text).collect();
        let with_config = random.chance(60).then_some(&*path);
        let more = check_splits(&mut random, &lines, with_config, &format!("seed {seed}"));
        counts = [counts[0] + more[0], counts[1] + more[1]];
    }
    let [n_incremental, n_times] = counts;
    assert!(200 < n_incremental, "of {n_times} only {n_incremental} were incremental");
    assert!(n_times * 9 < n_incremental * 10, "of {n_times} only {n_incremental} were incremental");
}

#[test]
fn random_splits_of_generated_dumps_give_the_views_of_a_full_fold() {
    for seed in 0..6 {
        let mut bytes = Vec::new();
        dump::write(Knobs { events: 600, seed, days: 30, malformed: 0.0, changes: 0.0 }, &mut bytes).unwrap();
        let lines: Vec<String> = String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
        check_splits(&mut Random(seed), &lines, None, &format!("seed {seed}"));
    }
}

/// Creates a space whose views are older than its raw tables.
fn outdated(work: &Path) -> std::path::PathBuf {
    outdated_as(Compression::None, work)
}

/// Creates a space with the given compression whose views are older than its raw tables.
fn outdated_as(compress: Compression, work: &Path) -> std::path::PathBuf {
    let space = work.join("space");
    let mut bytes = Vec::new();
    dump::write(Knobs { events: 500, seed: 77, days: 10, malformed: 0.0, changes: 0.0 }, &mut bytes).unwrap();
    let lines: Vec<String> = String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
    add_as(Some(compress), &space, &lines[..450], None);
    run(&MaterializeOptions::of_space(&space));
    add(&space, &lines[450..], None);
    space
}

#[test]
fn changed_views_are_rebuilt_in_full() {
    let work = folder();
    let expected = work.path().join("expected");
    let mishaps = [
        "none",
        "missing",
        "longer",
        "other bytes",
        "damaged",
        "as of",
        "other program",
        "grown back",
        "part",
    ];
    let ways = [Compression::None, Compression::Zstd];
    for (mishap, compress) in mishaps.into_iter().flat_map(|mishap| ways.map(|way| (mishap, way))) {
        let space = outdated_as(compress, work.path());
        let in_space = MaterializeOptions::of_space(&space);
        let identifiers = path(&space, View::UserIdentifiers);
        let bytes = fs::read(&identifiers).unwrap();
        let mut manifest = Manifest::read(&space, &Files::real()).unwrap().unwrap();
        match mishap {
            "missing" => Files::real().remove_file(&identifiers).unwrap(),
            "longer" => write(&identifiers, &[&bytes[..], b"{}\n"].concat()),
            "other bytes" => write(&identifiers, &[&b"X"[..], &bytes[1..]].concat()),
            "damaged" => {
                let mut bytes = bytes;
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x20;
                write(&identifiers, &bytes);
            }
            "as of" => {
                drop(run(&MaterializeOptions { as_of: Some(1_800_000_000_000_000), ..in_space.clone() }));
            }
            "other program" => {
                manifest.views.values_mut().for_each(|view| view.made_by = "0.0.1/1".to_owned());
                manifest.write(&space, &Files::real()).unwrap();
            }
            "grown back" => {
                let raw = |view: &mut profiles_sync::space::manifest::CommittedView| {
                    view.raw.values_mut().for_each(|raw| raw.bytes *= 1000);
                };
                manifest.views.values_mut().for_each(raw);
                manifest.write(&space, &Files::real()).unwrap();
            }
            "part" => {
                manifest.views.remove("id_graph");
                manifest.write(&space, &Files::real()).unwrap();
            }
            _ => {}
        }
        let summary = run(&in_space);
        let fold = if mishap == "none" { Fold::Incremental } else { Fold::Full };
        assert_eq!(summary.fold, fold, "{mishap}");
        run(&MaterializeOptions { full: true, out: expected.clone(), ..in_space.clone() });
        assert_same(&views(&expected), &views(&space), mishap);
        // A damaged view is rebuilt although it is up to date.
        write(&identifiers, b"{}\n");
        assert_eq!(run(&in_space).fold, Fold::Full, "{mishap}");
        assert_same(&views(&expected), &views(&space), mishap);
        Files::real().remove_folder(&space).unwrap();
    }
}

#[test]
fn selected_views_are_updated_and_the_others_are_known_to_be_stale() {
    let work = folder();
    let space = outdated(work.path());
    let some = ["profile_traits".to_owned(), "user_traits".to_owned()];
    let options = MaterializeOptions { views: some.to_vec(), ..MaterializeOptions::of_space(&space) };
    assert_eq!(run(&options).fold, Fold::Incremental);
    let expected = work.path().join("expected");
    run(&MaterializeOptions { out: expected.clone(), ..options.clone() });
    let new = views(&space);
    for (view, rows) in views(&expected) {
        assert!(rows == new[view], "{view}");
    }
    let (stale, last) = profiles_sync::space::stale_views::stale_views(&space, &Files::real()).unwrap();
    let names: Vec<_> = stale.iter().map(|(name, run)| (name.as_str(), *run)).collect();
    assert_eq!(
        names,
        [("external_id_mapping", 1), ("id_graph", 1), ("profile_merges", 1), ("user_identifiers", 1)]
    );
    assert_eq!(last, 2);
    // Views of different runs cannot be updated together.
    assert_eq!(run(&MaterializeOptions::of_space(&space)).fold, Fold::Full);
}

#[test]
fn changes_work_for_any_folder_time_and_selection_of_views() {
    let work = folder();
    let space = outdated(work.path());
    let changes_file = work.path().join("changes.ndjson");
    let out = work.path().join("out");
    let into_out = MaterializeOptions {
        out: out.clone(),
        changes: Some(changes_file.clone()),
        ..MaterializeOptions::of_space(&space)
    };
    let middle = Manifest::read(&space, &Files::real()).unwrap().unwrap().uuid_ts - 5 * 86_400_000_000;
    let some = vec!["id_graph".to_owned(), "user_traits".to_owned()];
    for options in [
        MaterializeOptions { as_of: Some(middle), ..into_out.clone() },
        into_out.clone(),
        MaterializeOptions { as_of: Some(middle - 86_400_000_000), views: some, ..into_out.clone() },
        MaterializeOptions { memory: Some(1), ..into_out.clone() },
        into_out,
    ] {
        let old = views(&out);
        let summary = run(&options);
        let changes = fs::read_to_string(&changes_file).unwrap();
        assert_eq!(summary.changes, Some(changes.lines().count() as u64));
        assert_same(&views(&out), &applied(&old, &changes), &format!("{options:?}"));
    }
    let last = fs::read_to_string(&changes_file).unwrap();
    assert_eq!(last, "", "building the same views again must give no changes");
}

#[test]
fn changes_against_a_malformed_view_are_an_error() {
    let work = folder();
    let space = outdated(work.path());
    let out = work.path().join("out");
    let options = MaterializeOptions {
        out: out.clone(),
        changes: Some(work.path().join("changes.ndjson")),
        ..MaterializeOptions::of_space(&space)
    };
    Files::real().create_folder(&out).unwrap();
    let row = |id: &str| format!("{{\"segment_id\":\"{id}\"}}\n");
    for (text, line) in [(row("b") + &row("a"), 2), (row("a") + "[]\n", 2), ("nonsense\n".to_owned(), 1)] {
        write(&path(&out, View::IdGraph), text.as_bytes());
        let error = materialize(&options, &Files::real(), &Silent).unwrap_err();
        let expected =
            format!("id_graph.ndjson:{line}: not a row of `id_graph`, or not in the order of its key");
        assert!(error.to_string().ends_with(&expected), "{error}");
        assert_eq!(fs::read_to_string(path(&out, View::IdGraph)).unwrap(), text);
        assert_eq!(views(&out).len(), 1);
        assert!(!work.path().join("changes.ndjson").exists());
    }
}
