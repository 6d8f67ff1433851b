//! Whatever happens to a run, the space is as before it or as after it, and running again gives the same bytes.
//!
//! Faults are injected below the library: the k-th change to the file system fails, or it and all that come after it, which
//! is what a power cut is. The real program is killed at random moments. `PROFILES_SYNC_FAULTS=N` multiplies the random
//! part.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use profiles_sync::{
    error::Error,
    files::{Change, Fault, Files},
    ingest::{Compression, IngestOptions, ingest},
    progress::Silent,
    space::{manifest::Manifest, tables::part_of},
    verify::verify,
};
use tempfile::TempDir;

use crate::dump::{self, Knobs};

/// A folder in memory where there is one: thousands of syncs are to be waited for.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// How much longer the random part is to be.
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
    /// The disk is full just then.
    Full,
    /// The process is gone: nothing it would still do happens.
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
    fn before(&self, _change: Change, _path: &Path) -> io::Result<()> {
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
        memory: Some(64 << 20),
        dry_run: false,
        again: false,
        wait: 0,
    }
}

pub(crate) fn run(input: &Path, space: &Path, files: &Files) -> Result<(), Error> {
    ingest(&options(input, space, None), files, &Silent).map(drop)
}

/// The same into a space whose tables are stored in a way; such that are there already need not be told.
pub(crate) fn run_as(compress: Compression, input: &Path, space: &Path, files: &Files) -> Result<(), Error> {
    ingest(&options(input, space, Some(compress)), files, &Silent).map(drop)
}

/// The committed content of all tables; none where nothing is committed.
pub(crate) fn committed(space: &Path) -> BTreeMap<String, Vec<u8>> {
    let Some(manifest) = Manifest::read(space, &Files::real()).unwrap() else { return BTreeMap::new() };
    let tables = manifest.tables.into_iter().map(|(name, state)| {
        let part = part_of(space, &name, &state);
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

/// Consecutive slices of a dump, cut by the time of arrival.
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
        // Equal times belong into one slice.
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

#[test]
fn the_kth_change_fails_for_every_k_of_a_small_run() {
    kth_change_fails(Compression::None);
}

#[test]
fn the_kth_change_fails_for_every_k_of_a_small_run_into_packed_tables() {
    kth_change_fails(Compression::Zstd);
}

fn kth_change_fails(compress: Compression) {
    let work = folder();
    let (_, files) = slices(work.path(), 13, 600, 2);
    let [first, second] = files.as_slice() else { panic!("two slices") };
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
            let found = committed(&space);
            let told = if result.is_ok() { "ok" } else { "an error" };
            assert!(
                found == old || found == new,
                "{mishap:?} at change {k}: neither old nor new, told {told}"
            );
            assert!(
                result.is_err() || found == new,
                "{mishap:?} at change {k}: told ok, but nothing is committed"
            );
            assert_whole(&space, &format!("{mishap:?} at change {k}"));
            run(second, &space, &Files::real()).unwrap();
            assert_eq!(committed(&space), new, "{mishap:?} at change {k}: the run after it");
        }
    }
    assert!(100 < n_points, "only {n_points} points");
}

#[test]
fn a_first_run_that_fails_leaves_nothing_that_looks_whole() {
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
            if result.is_err() && mishap == Mishap::Full && committed(&space).is_empty() {
                let left: Vec<_> =
                    fs::read_dir(&space).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
                let tables = left.iter().filter(|name| name.to_string_lossy().contains(".ndjson")).count();
                assert_eq!(tables, 0, "change {k} failed and left {left:?}");
            }
            // Where nothing is committed, the way of storing is still open.
            let other = if committed(&space).is_empty() { ways[usize::from(k % 2 == 0)] } else { compress };
            run_as(other, &all, &space, &Files::real()).unwrap();
            assert_eq!(committed(&space), committed(&expected), "{mishap:?} at change {k}");
            let packed = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().ends_with(".zst");
            let tables = fs::read_dir(&space).unwrap().flatten().filter(packed).count();
            assert_eq!(0 < tables, other == Compression::Zstd, "{mishap:?} at change {k} left tables behind");
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
        // Rejected lines name their files.
        one.remove("rejected");
        many.remove("rejected");
        assert!(one == many, "seed {seed}: {} runs differ from one", files.len());
    }
}

#[test]
fn the_program_killed_at_random_moments_loses_and_doubles_nothing() {
    let work = folder();
    let (_, files) = slices(work.path(), 9, 3000, 2);
    let [first, second] = files.as_slice() else { panic!("two slices") };
    let expected = work.path().join("expected");
    run(first, &expected, &Files::real()).unwrap();
    run(second, &expected, &Files::real()).unwrap();
    let expected = committed(&expected);
    let space = work.path().join("space");
    let mut random = Random(11);
    let (mut n_killed, mut n_spaces) = (0, 0);
    let mut most = 80;
    while n_killed < 100 * times() {
        let input = if committed(&space).is_empty() { first } else { second };
        // Every other space is a packed one.
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
            // On a fast machine the moments have to come sooner.
            Some(_) => most = (most * 3 / 4).max(4),
        }
        if !committed(&space).is_empty() {
            assert_whole(&space, &format!("after kill {n_killed}"));
        }
        // A kill may come before there is a folder.
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

/// A file system of two megabytes, gone with the value.
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
    // Where mounting is not allowed, the injected faults above stand for the full disk.
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
