//! Whatever fails during a backfill, the space is as before it or as after it, and a retry gives the same bytes.

use std::{fs, path::Path, sync::atomic::Ordering};

use profiles_sync::{
    error::Error,
    files::Files,
    jobs::{
        backfill::{
            ProfilesOptions,
            events::{EventsOptions, events},
            profiles,
            raw::{RawOptions, raw},
        },
        ingest::Compression,
        materialize::{MaterializeOptions, materialize},
    },
    progress::Silent,
};

use crate::faults::{
    Countdown, Mishap, assert_only_committed_rows, assert_whole, committed, copy, folder, run_as, slices,
};

/// Runs a job on copies of the space `before`, which may be missing. In each run another change to the file system
/// fails.
fn every_change_fails(work: &Path, before: &Path, job: impl Fn(&Path, &Files) -> Result<(), Error>) {
    let start = |space: &Path| {
        fs::remove_dir_all(space).ok();
        if before.exists() {
            copy(before, space);
        }
    };
    let after = work.join("after");
    start(&after);
    job(&after, &Files::real()).unwrap();
    let (old, new) = (committed(before), committed(&after));
    assert_ne!(old, new);
    let mut n_points = 0;
    for mishap in [Mishap::Full, Mishap::Gone] {
        for k in 0.. {
            let space = work.join("space");
            start(&space);
            let fault = Countdown::new(k, mishap);
            let result = job(&space, &Files::with_fault(fault.clone()));
            if fault.n_changes.load(Ordering::Relaxed) <= k {
                result.unwrap();
                break;
            }
            n_points += 1;
            if before.exists() {
                assert_only_committed_rows(&space, before, &after, &format!("{mishap:?} at change {k}"));
            }
            let found = committed(&space);
            assert!(found == old || found == new, "{mishap:?} at change {k}: neither old nor new");
            assert!(
                result.is_err() || found == new,
                "{mishap:?} at change {k}: reported success, but nothing is committed"
            );
            if !found.is_empty() {
                assert_whole(&space, &format!("{mishap:?} at change {k}"));
            }
            job(&space, &Files::real()).unwrap();
            assert_eq!(committed(&space), new, "{mishap:?} at change {k}: after a retry");
            assert_whole(&space, &format!("after {mishap:?} at change {k}"));
        }
    }
    assert!(30 < n_points, "only {n_points} points");
}

#[test]
fn backfills_survive_the_failure_of_any_change() {
    kth_change_fails(Compression::None);
}

#[test]
fn backfills_into_compressed_tables_survive_the_failure_of_any_change() {
    kth_change_fails(Compression::Zstd);
}

fn kth_change_fails(compress: Compression) {
    let work = folder();
    let (all, files) = slices(work.path(), 21, 300, 2);
    let [first, second] = files.as_slice() else { panic!("expected two slices") };
    let old = work.path().join("old");
    run_as(compress, first, &old, &Files::real()).unwrap();
    let live = work.path().join("live");
    run_as(compress, second, &live, &Files::real()).unwrap();
    let state = work.path().join("state");
    let views = MaterializeOptions { out: state.clone(), ..MaterializeOptions::of_space(&old) };
    materialize(&views, &Files::real(), &Silent).unwrap();

    // Identifiers known in both spaces belong to different profiles there, so this also records conflicts.
    every_change_fails(work.path(), &live, |space, files| {
        let options = ProfilesOptions {
            state: state.clone(),
            space: space.to_owned(),
            compress: None,
            strict: false,
            dry_run: false,
            wait: 0,
        };
        profiles(&options, files, &Silent).map(drop)
    });
    every_change_fails(work.path(), &live, |space, files| {
        let options = EventsOptions {
            inputs: vec![all.clone()],
            space: space.to_owned(),
            config: None,
            compress: None,
            since: Some(0),
            until: None,
            tables: Vec::new(),
            max_rejects: None,
            rejects: None,
            memory: Some(1 << 20),
            dry_run: false,
            wait: 0,
        };
        events(&options, files, &Silent).map(drop)
    });
    every_change_fails(work.path(), &work.path().join("nothing"), |space, files| {
        let options = RawOptions {
            raw: old.clone(),
            space: space.to_owned(),
            compress: Some(compress),
            strict: true,
            dry_run: false,
            wait: 0,
        };
        raw(&options, files, &Silent).map(drop)
    });
}
