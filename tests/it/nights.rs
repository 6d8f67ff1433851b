//! A long history followed by many small runs. The state is read on demand, written to segment files and compacted, and
//! the tables are those of a single run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use profiles_sync::{
    files::Files,
    jobs::{
        ingest::{IngestOptions, ingest},
        verify::verify,
    },
    progress::{Progress, Silent},
    space::manifest::Manifest,
};
use serde_json::Value;

use crate::{
    dump::{self, Knobs},
    faults::{committed, folder},
};

/// Returns the lines of a dump in order of arrival: a long history, then slices of a few events each.
fn slices(seed: u64) -> (Vec<String>, Vec<Vec<String>>) {
    let mut bytes = Vec::new();
    let knobs = Knobs { events: 600, seed, days: 40, malformed: 0.0, changes: 20.0 };
    dump::write(knobs, &mut bytes).unwrap();
    let mut lines: Vec<String> = String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
    let received = |line: &String| -> String {
        let value: Value = serde_json::from_str(line).unwrap();
        value["receivedAt"].as_str().unwrap().to_owned()
    };
    lines.sort_by_cached_key(received);
    let mut nights: Vec<Vec<String>> = vec![Vec::new()];
    for line in lines.split_off(480) {
        let last = nights.len() - 1;
        // Events with the same time of arrival stay in one slice: two runs could resolve them in another order.
        let full = 4 <= nights[last].len()
            && nights[last].last().is_some_and(|before| received(before) < received(&line));
        if full {
            nights.push(Vec::new());
        }
        let last = nights.len() - 1;
        nights[last].push(line);
    }
    (lines, nights)
}

fn run(folder: &Path, name: &str, lines: &[String], space: &Path, progress: &dyn Progress) {
    let input = folder.join(name);
    let mut out = Files::real().create(&input).unwrap();
    out.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    let options = IngestOptions {
        inputs: vec![input],
        space: space.to_owned(),
        config: None,
        segment_ids: None,
        compress: None,
        max_rejects: None,
        rejects: None,
        memory: None,
        dry_run: false,
        again: false,
        wait: 0,
    };
    ingest(&options, &Files::real(), progress).unwrap();
}

fn parts(space: &Path) -> Vec<PathBuf> {
    let manifest = Manifest::read(space, &Files::real()).unwrap().unwrap();
    manifest.state.iter().map(|part| space.join(".state").join(&part.name)).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "tests may write files directly")]
fn many_small_runs_give_the_tables_of_one_run() {
    for seed in 400..404 {
        let work = folder();
        let (history, nights) = slices(seed);
        let (one, many) = (work.path().join("one"), work.path().join("many"));
        if seed % 2 == 0 {
            // Each night appends a frame to every table.
            fs::create_dir(&many).unwrap();
            fs::write(many.join("profiles-sync.toml"), "compress = \"zstd\"\n").unwrap();
        }
        run(work.path(), "all", &[history.clone(), nights.concat()].concat(), &one, &Silent);
        run(work.path(), "history", &history, &many, &Silent);
        let mut most = 0;
        for (number, night) in nights.iter().enumerate() {
            run(work.path(), &format!("night-{number}"), night, &many, &Silent);
            most = most.max(parts(&many).len());
        }
        assert!(20 < nights.len() && 1 < most && most < 8, "{} nights, {most} segment files", nights.len());
        assert_eq!(committed(&one), committed(&many), "seed {seed}");
        assert_eq!(verify(&many, &Files::real(), &Silent).unwrap().differences, Vec::<String>::new());
        let files = fs::read_dir(many.join(".state")).unwrap().count();
        assert!(files <= parts(&many).len() + 2, "unused files must be deleted: {files} files");
    }
}

/// Collects the notices.
#[derive(Default)]
struct Listener(std::sync::Mutex<Vec<String>>);

impl Progress for Listener {
    fn start(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn notice(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
    fn interrupted(&self) -> bool {
        false
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "tests may write files directly")]
fn damage_anywhere_in_the_state_is_repaired_from_the_raw_tables() {
    let work = folder();
    let (history, nights) = slices(410);
    let (whole, space) = (work.path().join("whole"), work.path().join("space"));
    run(work.path(), "history", &history, &whole, &Silent);
    let night = nights[..3].concat();
    let before = parts(&whole);
    let bytes = fs::read(&before[0]).unwrap();
    run(work.path(), "history", &history, &space, &Silent);
    let clean = Manifest::read(&space, &Files::real()).unwrap().unwrap();
    run(work.path(), "night", &night, &whole, &Silent);
    let mut n_rebuilt = 0;
    for at in (0..bytes.len()).step_by(bytes.len() / 60) {
        let copy = work.path().join(format!("copy-{at}"));
        fs::create_dir_all(copy.join(".state")).unwrap();
        for name in
            clean.tables.keys().map(|table| format!("{table}.ndjson")).chain(["manifest.json".to_owned()])
        {
            fs::copy(space.join(&name), copy.join(&name)).unwrap();
        }
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x20;
        fs::write(&parts(&copy)[0], damaged).unwrap();
        let listener = Listener::default();
        run(work.path(), "night", &night, &copy, &listener);
        let told = listener.0.into_inner().unwrap();
        n_rebuilt += usize::from(told.iter().any(|text| text.contains("rebuilt from the raw tables")));
        assert_eq!(committed(&whole), committed(&copy), "byte {at}: {told:?}");
    }
    // Damage outside the blocks that the run reads goes unnoticed and does no harm.
    assert!(10 < n_rebuilt && n_rebuilt < 61, "{n_rebuilt}");
}
