//! Several runs on one space at the same time.

use std::{fs, path::Path, sync::mpsc, thread};

use profiles_sync::{
    files::Files,
    jobs::materialize::{MaterializeOptions, materialize},
    progress::{Progress, Silent},
    space::lock::Lock,
    summary::Fold,
};

use super::{add, folder, outdated, run, views};

/// Pauses a run before it writes views, until it receives on `go_on`.
struct Held {
    arrived: mpsc::SyncSender<()>,
    go_on: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl Progress for Held {
    fn start(&self, step: &str, _: Option<u64>) {
        if step == "writing views" {
            self.arrived.send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
        }
    }
    fn advance(&self, _: u64) {}
    fn notice(&self, _: &str) {}
}

/// Calls `work` while a run is about to write the views of a space, then lets the run finish.
fn while_it_folds(space: &Path, work: impl FnOnce()) -> profiles_sync::summary::MaterializeSummary {
    let (arrived, has_arrived) = mpsc::sync_channel(1);
    let (go, go_on) = mpsc::channel();
    thread::scope(|scope| {
        let making = scope.spawn(move || {
            let held = Held { arrived, go_on: std::sync::Mutex::new(go_on) };
            let options = MaterializeOptions { full: true, ..MaterializeOptions::of_space(space) };
            materialize(&options, &Files::real(), &held)
        });
        has_arrived.recv().unwrap();
        work();
        go.send(()).unwrap();
        making.join().unwrap().unwrap()
    })
}

fn event(id: &str) -> String {
    format!(
        "{{\"type\":\"identify\",\"messageId\":\"{id}\",\"userId\":\"{id}\",\"traits\":{{\"plan\":\"pro\"}},\
         \"receivedAt\":\"2030-01-01T00:00:00Z\"}}"
    )
}

#[test]
fn an_ingest_can_run_while_views_are_built() {
    let work = folder();
    let space = outdated(work.path());
    let before = work.path().join("before");
    run(&MaterializeOptions { out: before.clone(), ..MaterializeOptions::of_space(&space) });
    while_it_folds(&space, || add(&space, &[event("late")], None));
    // The views reflect the raw tables at the start of the run, and are known to be out of date.
    assert!(views(&space) == views(&before));
    let (stale, last) = profiles_sync::space::stale_views::stale_views(&space, &Files::real()).unwrap();
    assert_eq!((stale.len(), last), (6, 3));
    assert_eq!(run(&MaterializeOptions::of_space(&space)).fold, Fold::Incremental);
    assert!(fs::read_to_string(space.join("user_identifiers.ndjson")).unwrap().contains("\"late\""));
}

#[test]
fn two_runs_cannot_build_the_views_of_a_space_at_once() {
    let work = folder();
    let space = outdated(work.path());
    let out = work.path().join("out");
    while_it_folds(&space, || {
        let options = MaterializeOptions::of_space(&space);
        let error = materialize(&options, &Files::real(), &Silent).unwrap_err();
        assert!(error.to_string().starts_with("the views of the space `"), "{error}");
        assert!(error.hint_text().unwrap().contains("--wait"));
        run(&MaterializeOptions { out: out.clone(), ..options });
    });
    assert!(views(&space) == views(&out));
    thread::scope(|scope| {
        let makes = || {
            scope.spawn(|| {
                let options = MaterializeOptions { wait: 60, ..MaterializeOptions::of_space(&space) };
                materialize(&options, &Files::real(), &Silent).unwrap().fold
            })
        };
        let folds: Vec<Fold> = [makes(), makes()].into_iter().map(|made| made.join().unwrap()).collect();
        assert_eq!(folds, [Fold::Current; 2]);
    });
}

#[test]
fn views_are_not_replaced_while_another_run_writes_to_the_space() {
    let work = folder();
    let space = outdated(work.path());
    let old = views(&space);
    let lock = Lock::take(&space.join(".state"), 0, &Silent).unwrap();
    let options = MaterializeOptions::of_space(&space);
    let error = materialize(&options, &Files::real(), &Silent).unwrap_err();
    assert!(error.to_string().contains("is being written by process"), "{error}");
    assert!(views(&space) == old);
    thread::scope(|scope| {
        let options = MaterializeOptions { wait: 60, ..options };
        let waits = scope.spawn(move || materialize(&options, &Files::real(), &Silent).unwrap());
        drop(lock);
        assert_eq!(waits.join().unwrap().fold, Fold::Incremental);
    });
    assert!(views(&space) != old);
}
