//! If building views fails at any point, each view is either old or new, and the manifest agrees with the files.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use profiles_sync::{
    files::{Fault, FileChange, Files},
    jobs::{
        ingest::Compression,
        materialize::{MaterializeOptions, materialize},
    },
    progress::Silent,
    read::digest::Digest,
    space::manifest::Manifest,
    table::find::existing_file,
    view::View,
};

use super::{folder, outdated_as, path, run, views, write};

/// Fails the `at`-th change to the file system, and with `for_good` also all later ones, as after a power failure.
struct FailAt {
    at: usize,
    for_good: bool,
    n_changes: AtomicUsize,
}

impl Fault for FailAt {
    fn before(&self, _: FileChange, _: &Path) -> io::Result<()> {
        let n_changes = self.n_changes.fetch_add(1, Ordering::Relaxed);
        if n_changes == self.at || self.for_good && self.at < n_changes {
            return Err(io::Error::other("the disk is full"));
        }
        Ok(())
    }
}

/// Panics if a view that the manifest lists is missing or differs from what the manifest records.
fn assert_claims_hold(space: &Path, what: &str) {
    let manifest = Manifest::read(space, &Files::real()).unwrap().unwrap();
    let views = views(space);
    for (name, claimed) in &manifest.views {
        let bytes = views.get(name.as_str()).map(String::as_bytes).unwrap_or_default();
        if let Some(stored) = claimed.stored {
            assert_eq!(
                fs::metadata(existing_file(space, name).unwrap()).unwrap().len(),
                stored,
                "{what}: `{name}`"
            );
        }
        let mut digest = Digest::default();
        digest.update(bytes);
        assert_eq!((claimed.bytes, &claimed.digest), (bytes.len() as u64, &digest.hex()), "{what}: `{name}`");
    }
}

#[test]
fn after_any_failure_views_are_old_or_new_and_match_the_manifest() {
    every_change_fails(Compression::None);
}

#[test]
fn after_any_failure_compressed_views_are_old_or_new_and_match() {
    every_change_fails(Compression::Zstd);
}

fn every_change_fails(compress: Compression) {
    let work = folder();
    let space = outdated_as(compress, work.path());
    let old = views(&space);
    let files = View::ALL.map(|view| {
        let path = path(&space, view);
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    });
    let manifest = fs::read(space.join("manifest.json")).unwrap();
    for full in [false, true] {
        let options = MaterializeOptions {
            full,
            changes: Some(work.path().join("changes.ndjson")),
            ..MaterializeOptions::of_space(&space)
        };
        let expected = work.path().join("expected");
        run(&MaterializeOptions { out: expected.clone(), ..options.clone() });
        let new = views(&expected);
        assert_ne!(old, new);
        let told = || fs::read_to_string(options.changes.as_ref().unwrap()).unwrap();
        let mut changes = String::new();
        for for_good in [false, true] {
            let mut at = 0;
            loop {
                for (path, bytes) in &files {
                    write(path, bytes);
                }
                write(&space.join("manifest.json"), &manifest);
                let fault = Arc::new(FailAt { at, for_good, n_changes: AtomicUsize::new(0) });
                let result = materialize(&options, &Files::with_fault(fault.clone()), &Silent);
                let what = format!("change {at}, for good: {for_good}, full: {full}");
                for (view, rows) in views(&space) {
                    assert!(rows == old[view] || rows == new[view], "{what}: {view}");
                }
                assert_claims_hold(&space, &what);
                if fault.n_changes.load(Ordering::Relaxed) <= at {
                    result.unwrap();
                    assert!(told() == changes, "{what}");
                    break;
                }
                run(&options);
                assert!(views(&space) == new, "{what}: the next run");
                if result.is_err() {
                    assert!(
                        !told().is_empty() && (changes.is_empty() || told() == changes),
                        "{what}: changes"
                    );
                    changes = told();
                }
                assert_claims_hold(&space, &what);
                assert!(!space.join(".views-before").exists(), "{what}");
                at += 1;
            }
            assert!(25 < at, "{at}");
        }
    }
}
