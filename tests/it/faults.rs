//! Whatever fails during a run, the space is as before it or as after it, and a retry gives the same bytes. Until the
//! retry, readers of the table files find only rows that are committed.
//!
//! Faults are injected below the library: the k-th change to the file system fails, alone or with all later ones, as in
//! a power cut. The program is also killed at random moments. `PROFILES_SYNC_FAULTS=N` multiplies the random part.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use profiles_sync::{
    diff::sides::DiffSide,
    error::Error,
    files::{Fault, FileChange, Files},
    jobs::{
        ingest::{Compression, IngestOptions, ingest},
        materialize::{MaterializeOptions, materialize},
        verify::verify,
    },
    progress::Silent,
    space::{manifest::Manifest, tables::committed_file},
};
use tempfile::TempDir;

use crate::dump::{self, Knobs};

/// Creates a temporary folder, in memory if possible, because these tests wait for thousands of syncs.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Returns the factor by which to lengthen the random part.
fn times() -> u64 {
    let asked = std::env::vars().find(|(name, _)| name == "PROFILES_SYNC_FAULTS");
    asked.and_then(|(_, n)| n.parse().ok()).unwrap_or(1)
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// What happens at the k-th change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mishap {
    /// The disk is full, for this change only.
    Full,
    /// The process is gone: this change and all later ones fail.
    Gone,
}

pub(crate) struct Countdown {
    at: u64,
    mishap: Mishap,
    pub(crate) n_changes: AtomicU64,
}

impl Countdown {
    pub(crate) fn new(at: u64, mishap: Mishap) -> Arc<Self> {
        Arc::new(Self { at, mishap, n_changes: AtomicU64::new(0) })
    }
}

impl Fault for Countdown {
    fn before(&self, _change: FileChange, _path: &Path) -> io::Result<()> {
        let n = self.n_changes.fetch_add(1, Ordering::Relaxed);
        if n == self.at || self.at < n && self.mishap == Mishap::Gone {
            return Err(io::Error::from_raw_os_error(28));
        }
        Ok(())
    }
}

fn options(input: &Path, space: &Path, compress: Option<Compression>) -> IngestOptions {
    IngestOptions {
        inputs: vec![input.to_owned()],
        space: space.to_owned(),
        config: None,
        segment_ids: None,
        compress,
        max_rejects: None,
        rejects: None,
        memory: Some(64 << 20),
        dry_run: false,
        again: false,
        wait: 0,
    }
}

pub(crate) fn run(input: &Path, space: &Path, files: &Files) -> Result<(), Error> {
    ingest(&options(input, space, None), files, &Silent).map(drop)
}

/// Like [`run`], but sets the compression of the tables, which only a new space needs.
pub(crate) fn run_as(compress: Compression, input: &Path, space: &Path, files: &Files) -> Result<(), Error> {
    ingest(&options(input, space, Some(compress)), files, &Silent).map(drop)
}

/// Returns the committed content of all tables, decompressed; empty if nothing is committed.
pub(crate) fn committed(space: &Path) -> BTreeMap<String, Vec<u8>> {
    let Some(manifest) = Manifest::read(space, &Files::real()).unwrap() else { return BTreeMap::new() };
    let tables = manifest.tables.into_iter().map(|(name, state)| {
        let part = committed_file(space, &name, &state);
        let mut bytes = fs::read(part.path).unwrap();
        if let Some(stored) = state.stored {
            bytes.truncate(usize::try_from(stored.bytes).unwrap());
            bytes = zstd::decode_all(&bytes[..]).unwrap();
            assert_eq!(bytes.len() as u64, state.bytes, "{name}");
        }
        bytes.truncate(usize::try_from(state.bytes).unwrap());
        (name, bytes)
    });
    tables.collect()
}

/// Returns the table files as a reader finds them, by name.
pub(crate) fn visible(space: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(space).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_name().to_string_lossy().contains(".ndjson"));
    files.map(|e| (e.file_name().to_string_lossy().into_owned(), fs::read(e.path()).unwrap())).collect()
}

/// Returns the number of runs in the manifest, whether or not their rows are in the tables yet.
pub(crate) fn n_runs(space: &Path) -> usize {
    let Ok(bytes) = fs::read(space.join("manifest.json")) else { return 0 };
    serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()["runs"].as_array().unwrap().len()
}

/// Asserts that a reader finds all rows from before a run, and rows of the run only after its commit.
pub(crate) fn assert_only_committed_rows(space: &Path, before: &Path, after: &Path, what: &str) {
    let (old, new, found) = (visible(before), visible(after), visible(space));
    let is_committed = n_runs(space) == n_runs(after);
    assert!(is_committed || found == old, "{what}: files changed before the commit");
    for (name, bytes) in &old {
        assert!(found.get(name).is_some_and(|found| found.starts_with(bytes)), "{what}: `{name}` lost rows");
    }
    for (name, bytes) in &found {
        assert!(new.get(name).is_some_and(|new| new.starts_with(bytes)), "{what}: `{name}` has other rows");
    }
}

pub(crate) fn assert_whole(space: &Path, what: &str) {
    let verified = verify(space, &Files::real(), &Silent).unwrap();
    assert!(verified.differences.is_empty(), "{what}: {:?}", verified.differences);
}

fn write(path: &Path, bytes: &[u8]) {
    Files::real().create(path).unwrap().write_all(bytes).unwrap();
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Writes a dump and `n` slices of it, split by arrival. Returns the path of the dump and those of slices with events.
pub(crate) fn slices(folder: &Path, seed: u64, events: u64, n: usize) -> (PathBuf, Vec<PathBuf>) {
    let mut bytes = Vec::new();
    dump::write(Knobs { events, seed, days: 20, malformed: 0.01, changes: 0.0 }, &mut bytes).unwrap();
    let all = folder.join("all.ndjson");
    write(&all, &bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let received = |line: &str| -> String {
        let at = line.find("\"receivedAt\":\"").map_or(0, |at| at + 14);
        line[at..].chars().take(24).collect()
    };
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_by_key(|line| received(line));
    let mut files = Vec::new();
    let mut rest = lines.as_slice();
    let mut random = Random(seed);
    for part in (1..=n).rev() {
        let mut length = if part == 1 {
            rest.len()
        } else {
            usize::try_from(random.below(rest.len() as u64 + 1)).unwrap()
        };
        // Events that arrived at the same time belong in one slice.
        while 0 < length && length < rest.len() && received(rest[length]) == received(rest[length - 1]) {
            length += 1;
        }
        let (now, later) = rest.split_at(length);
        let file = folder.join(format!("slice{part}.ndjson"));
        write(&file, now.join("\n").as_bytes());
        if now.iter().any(|line| line.contains("\"messageId\"") && line.ends_with('}')) {
            files.push(file);
        }
        rest = later;
    }
    (all, files)
}

/// Adds an event that needs a new table, and one that is too large for the staged file that tables share.
fn add_new_table_and_large_row(dump: &Path) {
    let text = fs::read_to_string(dump).unwrap();
    let shared = "\"userId\":\"u\",\"receivedAt\":\"2030-01-01\"";
    let large = "x".repeat(300_000);
    let text = format!(
        "{text}\n{{\"type\":\"track\",\"event\":\"Only Now\",\"messageId\":\"only-now\",{shared}}}\n\
         {{\"type\":\"page\",\"messageId\":\"large\",{shared},\"properties\":{{\"text\":\"{large}\"}}}}\n"
    );
    write(dump, text.as_bytes());
}

#[test]
fn a_run_survives_the_failure_of_any_change() {
    kth_change_fails(Compression::None);
}

#[test]
fn a_run_into_compressed_tables_survives_the_failure_of_any_change() {
    kth_change_fails(Compression::Zstd);
}

fn kth_change_fails(compress: Compression) {
    let work = folder();
    let (_, files) = slices(work.path(), 13, 600, 2);
    let [first, second] = files.as_slice() else { panic!("expected two slices") };
    add_new_table_and_large_row(second);
    let before = work.path().join("before");
    run_as(compress, first, &before, &Files::real()).unwrap();
    let after = work.path().join("after");
    copy(&before, &after);
    run(second, &after, &Files::real()).unwrap();
    let (old, new) = (committed(&before), committed(&after));
    assert_ne!(old, new);
    let mut n_points = 0;
    for mishap in [Mishap::Full, Mishap::Gone] {
        for k in 0.. {
            let space = work.path().join("space");
            fs::remove_dir_all(&space).ok();
            copy(&before, &space);
            let fault = Countdown::new(k, mishap);
            let result = run(second, &space, &Files::with_fault(fault.clone()));
            if fault.n_changes.load(Ordering::Relaxed) <= k {
                result.unwrap();
                break;
            }
            n_points += 1;
            assert_only_committed_rows(&space, &before, &after, &format!("{mishap:?} at change {k}"));
            let is_without_cache = k % 3 == 0;
            if is_without_cache {
                fs::remove_dir_all(space.join(".state")).ok();
            }
            let found = committed(&space);
            let told = if result.is_ok() { "ok" } else { "an error" };
            assert!(
                found == old || found == new,
                "{mishap:?} at change {k}: neither old nor new, and the run returned {told}"
            );
            assert!(
                result.is_err() || found == new,
                "{mishap:?} at change {k}: the run returned ok, but committed nothing"
            );
            if !is_without_cache {
                assert_whole(&space, &format!("{mishap:?} at change {k}"));
            }
            run(second, &space, &Files::real()).unwrap();
            assert_eq!(committed(&space), new, "{mishap:?} at change {k}: after a retry");
            assert_eq!(visible(&space), visible(&after), "{mishap:?} at change {k}: files after a retry");
            assert!(!space.join(".run/staged").exists());
        }
    }
    assert!(100 < n_points, "only {n_points} points");
}

#[test]
fn a_failed_first_run_leaves_no_tables() {
    let work = folder();
    let (all, _) = slices(work.path(), 8, 40, 1);
    let expected = work.path().join("expected");
    run(&all, &expected, &Files::real()).unwrap();
    let ways = [Compression::None, Compression::Zstd];
    for (mishap, compress) in [Mishap::Full, Mishap::Gone].into_iter().flat_map(|m| ways.map(|way| (m, way)))
    {
        for k in 0.. {
            let space = work.path().join("space");
            fs::remove_dir_all(&space).ok();
            let fault = Countdown::new(k, mishap);
            let result = run_as(compress, &all, &space, &Files::with_fault(fault.clone()));
            if fault.n_changes.load(Ordering::Relaxed) <= k {
                result.unwrap();
                break;
            }
            if n_runs(&space) == 0 {
                let left: Vec<String> = visible(&space).into_keys().collect();
                assert!(left.is_empty(), "{mishap:?} at change {k} left {left:?}");
            }
            // If nothing is committed, the next run may use another compression.
            let other = if committed(&space).is_empty() { ways[usize::from(k % 2 == 0)] } else { compress };
            run_as(other, &all, &space, &Files::real()).unwrap();
            assert_eq!(committed(&space), committed(&expected), "{mishap:?} at change {k}");
            let packed = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().ends_with(".zst");
            let tables = fs::read_dir(&space).unwrap().flatten().filter(packed).count();
            assert_eq!(
                0 < tables,
                other == Compression::Zstd,
                "{mishap:?} at change {k}: tables have the wrong compression"
            );
        }
    }
}

#[test]
fn random_splits_with_crashes_between_give_the_tables_of_one_run() {
    for seed in 0..8 * times() {
        let work = folder();
        let mut random = Random(seed + 100);
        let n = 1 + usize::try_from(random.below(12)).unwrap();
        let (all, files) = slices(work.path(), seed, 400, n);
        let one = work.path().join("one");
        run(&all, &one, &Files::real()).unwrap();
        let many = work.path().join("many");
        let compress = if seed % 2 == 0 { Compression::Zstd } else { Compression::None };
        for file in &files {
            for _ in 0..random.below(3) {
                let mishap = if random.below(2) == 0 { Mishap::Full } else { Mishap::Gone };
                let fault = Countdown::new(random.below(220), mishap);
                let _ = run_as(compress, file, &many, &Files::with_fault(fault));
            }
            if random.below(4) == 0 {
                fs::remove_dir_all(many.join(".state")).ok();
            }
            run_as(compress, file, &many, &Files::real()).unwrap();
        }
        let (mut one, mut many) = (committed(&one), committed(&many));
        // Rows of `rejected` have the paths of the inputs, which differ.
        one.remove("rejected");
        many.remove("rejected");
        assert!(one == many, "seed {seed}: {} runs differ from one", files.len());
    }
}

/// The process is gone right after its commit: every later change fails.
struct GoneAfterCommit {
    is_gone: AtomicBool,
}

impl Fault for GoneAfterCommit {
    fn before(&self, change: FileChange, path: &Path) -> io::Result<()> {
        if self.is_gone.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(5));
        }
        // The next change is the sync of the folder.
        self.is_gone
            .store(change == FileChange::Rename && path.ends_with("manifest.json"), Ordering::Relaxed);
        Ok(())
    }
}

/// Makes three spaces: before a run, after a run that was gone right after its commit, and after a complete run.
fn committed_but_not_in_place(work: &Path, compress: Compression) -> [PathBuf; 3] {
    let (_, files) = slices(work, 17, 600, 2);
    let [first, second] = files.as_slice() else { panic!("expected two slices") };
    add_new_table_and_large_row(second);
    let [before, space, after] = ["before", "half", "after"].map(|name| work.join(name));
    run_as(compress, first, &before, &Files::real()).unwrap();
    copy(&before, &space);
    copy(&before, &after);
    run(second, &after, &Files::real()).unwrap();
    let fault = Arc::new(GoneAfterCommit { is_gone: AtomicBool::new(false) });
    let error = run(second, &space, &Files::with_fault(fault)).unwrap_err();
    assert_eq!(error.to_string(), "committed; not yet in place");
    assert!(error.hint_text().unwrap().contains("run any command again"));
    assert_eq!(visible(&space), visible(&before));
    [before, space, after]
}

/// Returns the rows that the manifest of a space lists under `placing`.
fn placing(space: &Path) -> Vec<Placing> {
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(space.join("manifest.json")).unwrap()).unwrap();
    let number = |value: &serde_json::Value| value.as_u64().map(|number| usize::try_from(number).unwrap());
    let placing = manifest["placing"].as_object().unwrap().iter().map(|(name, value)| {
        let shared_from = number(&value["shared_from"]);
        Placing {
            table: name.clone(),
            from: number(&value["from"]),
            staged: PathBuf::from(".run/staged").join(shared_from.map_or(&**name, |_| "shared")),
            offset: shared_from.unwrap_or_default(),
            n_bytes: number(&value["bytes"]).unwrap(),
        }
    });
    placing.collect()
}

/// Staged rows of a table, which are committed but not in the table yet.
struct Placing {
    table: String,
    /// The length of the table without the rows, in bytes; `None` if the table is new.
    from: Option<usize>,
    /// The staged file.
    staged: PathBuf,
    /// The offset of the rows in the staged file, in bytes.
    offset: usize,
    n_bytes: usize,
}

#[test]
fn the_next_command_completes_half_placed_rows() {
    for compress in [Compression::None, Compression::Zstd] {
        let work = folder();
        let [_, half, after] = committed_but_not_in_place(work.path(), compress);
        let staged = placing(&half);
        assert!(
            staged.iter().any(|one| one.from.is_some())
                && staged.iter().any(|one| one.from.is_none())
                && staged.iter().any(|one| one.from.is_some() && one.staged.ends_with(&one.table))
        );
        for (n, part) in [0, 1, 10, 50, 99, 100].into_iter().enumerate() {
            let space = work.path().join("space");
            fs::remove_dir_all(&space).ok();
            copy(&half, &space);
            for Placing { table: name, from, staged, offset, n_bytes } in &staged {
                let file = space.join(staged);
                let bytes = fs::read(&file).unwrap()[*offset..offset + n_bytes].to_vec();
                match from {
                    // After a power cut the last bytes may be wrong.
                    Some(from) => {
                        let mut table = fs::read(space.join(name)).unwrap();
                        assert_eq!(table.len(), *from);
                        table.extend_from_slice(&bytes[..bytes.len() * part / 100]);
                        let last = table.len() - 1;
                        if part == 50 && *from <= last {
                            table[last] = 0;
                        }
                        write(&space.join(name), &table);
                    }
                    None if part == 99 => Files::real().rename(&file, &space.join(name)).unwrap(),
                    None => {}
                }
            }
            if n % 2 == 0 {
                fs::remove_dir_all(space.join(".state")).unwrap();
            }
            match n % 3 {
                0 => drop(verify(&space, &Files::real(), &Silent).unwrap()),
                1 => drop(DiffSide::open(&space, &Files::real()).unwrap()),
                _ => drop(
                    materialize(
                        &MaterializeOptions {
                            out: work.path().join("views"),
                            ..MaterializeOptions::of_space(&space)
                        },
                        &Files::real(),
                        &Silent,
                    )
                    .unwrap(),
                ),
            }
            assert_eq!(visible(&space), visible(&after), "{part} % of the rows were in place");
            assert!(!space.join(".run/staged").exists());
            assert_eq!(committed(&space), committed(&after));
        }
    }
}

#[test]
fn a_missing_or_damaged_staged_file_is_reported() {
    let work = folder();
    let [before, half, _] = committed_but_not_in_place(work.path(), Compression::None);
    for Placing { table: name, staged, offset, n_bytes, .. } in placing(&half) {
        for is_missing in [true, false] {
            let space = work.path().join("space");
            fs::remove_dir_all(&space).ok();
            copy(&half, &space);
            let file = space.join(&staged);
            let mut bytes = fs::read(&file).unwrap();
            if is_missing {
                fs::remove_file(&file).unwrap();
            } else {
                bytes[offset + n_bytes / 2] ^= 1;
                write(&file, &bytes);
            }
            let error = verify(&space, &Files::real(), &Silent).unwrap_err();
            let told = std::error::Error::source(&error).unwrap().to_string();
            let cause = std::error::Error::source(std::error::Error::source(&error).unwrap());
            let told = cause.map_or(told, ToString::to_string);
            assert!(told.contains(&*file.to_string_lossy()), "{told}");
            let table = fs::read(space.join(&name)).ok();
            assert_eq!(table, fs::read(before.join(&name)).ok(), "{name}");
        }
    }
}

#[test]
fn a_space_of_an_earlier_version_still_works() {
    let work = folder();
    let (_, files) = slices(work.path(), 19, 300, 3);
    let [first, second, third] = files.as_slice() else { panic!("expected three slices") };
    let [space, expected] = ["space", "expected"].map(|name| work.path().join(name));
    for folder in [&space, &expected] {
        run(first, folder, &Files::real()).unwrap();
        run(second, folder, &Files::real()).unwrap();
    }
    let path = space.join("manifest.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest["format"] = 1.into();
    for run in manifest["runs"].as_array_mut().unwrap() {
        run.as_object_mut().unwrap().remove("after");
    }
    write(&path, manifest.to_string().as_bytes());
    // Leftovers of a killed run of that version.
    let tracks = fs::OpenOptions::new().append(true).open(space.join("tracks.ndjson"));
    std::io::Write::write_all(&mut tracks.unwrap(), b"{\"id\":\"not committed").unwrap();
    write(&space.join("bought.ndjson"), b"{}\n");
    write(&space.join(".state/new-tables"), b"bought.ndjson\n");
    assert_whole(&space, "a space of an earlier version");
    for folder in [&space, &expected] {
        run(third, folder, &Files::real()).unwrap();
    }
    assert_eq!(visible(&space), visible(&expected));
    let [found, expected] =
        [&space, &expected].map(|space| Manifest::read(space, &Files::real()).unwrap().unwrap());
    let recorded = (1..=3).map(|run| found.tables_after(run).is_some()).collect::<Vec<_>>();
    assert_eq!(recorded, [false, true, true]);
    assert_eq!(found.tables_after(2), expected.tables_after(2));
    assert_eq!(found.tables_after(3), expected.tables_after(3));
}

#[test]
fn a_failed_manifest_write_after_the_commit_is_no_error() {
    /// Every manifest after the first fails.
    struct OneManifest(AtomicU64);
    impl Fault for OneManifest {
        fn before(&self, change: FileChange, path: &Path) -> io::Result<()> {
            let is_manifest = change == FileChange::Rename && path.ends_with("manifest.json");
            if is_manifest && 0 < self.0.fetch_add(1, Ordering::Relaxed) {
                return Err(io::Error::from_raw_os_error(28));
            }
            Ok(())
        }
    }
    let work = folder();
    let (all, _) = slices(work.path(), 18, 200, 1);
    let [space, expected] = ["space", "expected"].map(|name| work.path().join(name));
    run(&all, &expected, &Files::real()).unwrap();
    run(&all, &space, &Files::with_fault(Arc::new(OneManifest(AtomicU64::new(0))))).unwrap();
    assert_eq!(visible(&space), visible(&expected));
    assert!(!placing(&space).is_empty());
    assert_whole(&space, "after the next command");
    assert_eq!(visible(&space), visible(&expected));
    assert!(!space.join(".run/staged").exists());
}

#[test]
fn random_kills_lose_and_duplicate_nothing() {
    let work = folder();
    let (_, files) = slices(work.path(), 9, 3000, 2);
    let [first, second] = files.as_slice() else { panic!("expected two slices") };
    let ways = [Compression::None, Compression::Zstd].map(|compress| {
        let expected = work.path().join(format!("{compress:?}"));
        run_as(compress, first, &expected, &Files::real()).unwrap();
        run(second, &expected, &Files::real()).unwrap();
        expected
    });
    let expected = committed(&ways[0]);
    let space = work.path().join("space");
    let mut random = Random(11);
    let (mut n_killed, mut n_spaces) = (0, 0);
    let mut most = 80;
    while n_killed < 100 * times() {
        let input = if committed(&space).is_empty() { first } else { second };
        // Every other space is compressed.
        let compress = if n_spaces % 2 == 0 { "none" } else { "zstd" };
        let mut child = Command::new(env!("CARGO_BIN_EXE_profiles-sync"))
            .args(["ingest", "--quiet", "--compress", compress, "--space"])
            .arg(&space)
            .arg(input)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(random.below(most * 1000)));
        let over = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        match over {
            None => n_killed += 1,
            // The run ended before it was killed, so the next one is killed sooner.
            Some(_) => most = (most * 3 / 4).max(4),
        }
        let whole = visible(&ways[n_spaces % 2]);
        for (name, bytes) in visible(&space) {
            assert!(whole[&name].starts_with(&bytes), "after kill {n_killed}: `{name}` has other rows");
        }
        let is_without_cache = n_killed % 5 == 0;
        if is_without_cache {
            fs::remove_dir_all(space.join(".state")).ok();
        }
        if !committed(&space).is_empty() && !is_without_cache {
            assert_whole(&space, &format!("after kill {n_killed}"));
        }
        // The run may be killed before the folder exists.
        if space.exists() && (committed(&space) == expected || n_killed % 10 == 9) {
            fs::remove_dir_all(&space).unwrap();
            n_spaces += 1;
        }
    }
    assert!(1 < n_spaces);
    run(first, &space, &Files::real()).unwrap();
    run(second, &space, &Files::real()).unwrap();
    assert!(committed(&space) == expected);
}

/// A file system of 2 MiB, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&at).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_leaves_the_space_as_it_was() {
    let work = folder();
    let (all, _) = slices(work.path(), 12, 4000, 1);
    // If mounting is not allowed, only the injected faults above cover a full disk.
    let Some(disk) = SmallDisk::mount(work.path().join("disk")) else { return };
    let space = disk.0.join("space");
    let small = work.path().join("small.ndjson");
    let lines = String::from_utf8_lossy(&fs::read(&all).unwrap()).into_owned();
    write(&small, lines.lines().take(40).collect::<Vec<_>>().join("\n").as_bytes());
    run(&small, &space, &Files::real()).unwrap();
    let before = committed(&space);
    let error = run(&all, &space, &Files::real()).unwrap_err();
    assert!(format!("{error}").contains(space.to_str().unwrap()), "{error}");
    assert!(committed(&space) == before);
    assert_whole(&space, "after the disk was full");
}
