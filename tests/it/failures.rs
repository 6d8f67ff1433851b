//! Runs that fail: exit code 2, nothing on the standard output, nothing committed, and an error with a path and a hint.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};

use crate::support::{Work, names_in};

const LINE: &str = r#"{"type":"page","messageId":"m1","userId":"u1","timestamp":"2026-01-05T10:00:00Z"}"#;

/// Runs the program, which must fail, checks the form of its error message and returns it.
fn fails(work: &Work, args: &[&str]) -> String {
    let assert = work.program(args).assert().code(2).stdout("");
    let stderr = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(stderr.starts_with("error: "), "{stderr}");
    assert!(stderr.lines().last().unwrap().starts_with("hint: "), "{stderr}");
    assert!(!stderr.contains('\u{1b}'), "{stderr}");
    for line in stderr.lines() {
        let message = line.split_once(": ").unwrap().1;
        assert!(!message.starts_with(|first: char| first.is_uppercase()), "{line}");
        assert!(!line.ends_with('.'), "{line}");
    }
    stderr
}

fn with_events() -> Work {
    let work = Work::new();
    work.write("events.ndjson", format!("{LINE}\n"));
    work
}

#[test]
fn a_missing_file_is_reported() {
    let work = with_events();
    let said = fails(&work, &["ingest", "events.ndjson", "missing.ndjson", "--space", "space"]);
    assert!(said.contains("`missing.ndjson`"), "{said}");
    assert!(!work.path("space/manifest.json").exists());
}

#[test]
fn a_path_below_a_file_is_reported() {
    let work = with_events();
    let said = fails(&work, &["ingest", "events.ndjson/day", "--space", "space"]);
    assert!(said.contains("`events.ndjson/day`"), "{said}");
}

#[test]
fn a_space_that_is_a_file_is_reported() {
    let work = with_events();
    work.write("space", "here first");
    let said = fails(&work, &["ingest", "events.ndjson", "--space", "space"]);
    assert!(said.contains("`space`"), "{said}");
    assert_eq!(work.read("space"), "here first");
    let said = fails(&work, &["ingest", "events.ndjson", "--space", "space/below"]);
    assert!(said.contains("`space/below"), "{said}");
}

#[test]
fn an_unwritable_space_is_reported() {
    let work = with_events();
    let said = fails(&work, &["ingest", "events.ndjson", "--space", "/proc/space"]);
    assert!(said.contains("/proc/space"), "{said}");
}

#[test]
fn a_config_that_is_missing_or_a_folder_is_reported() {
    let work = with_events();
    work.write("folder/x", "");
    for config in ["missing.toml", "folder"] {
        let said = fails(&work, &["ingest", "events.ndjson", "--space", "space", "--config", config]);
        assert!(said.contains(&format!("`{config}`")), "{said}");
    }
}

#[test]
fn a_dump_without_events_is_an_error() {
    let work = Work::new();
    work.write("access.log", "GET /\nGET /plants\n");
    let said = fails(&work, &["ingest", "access.log", "--space", "space"]);
    assert!(said.contains("event"), "{said}");
    assert!(!work.path("space/manifest.json").exists());
}

#[test]
fn a_dump_without_events_gets_a_fitting_hint() {
    let work = Work::new();
    let check = |name: &str, bytes: Vec<u8>, message: &str, hint: &str| {
        work.write(name, bytes);
        let said = fails(&work, &["ingest", name, "--space", "space"]);
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), 2, "{said}");
        assert!(lines[0].contains(message), "{message} in {said}");
        assert!(lines[1].contains(hint), "{hint} in {said}");
    };
    check(
        "access.log",
        b"\nGET /\n1\nGET /plants\n".to_vec(),
        "3 lines, but no events (not_json: 2, not_an_object: 1); access.log:2: not_json (",
        "hint: give a dump of events",
    );
    let without_time = LINE.replace("timestamp", "time");
    let no_time = "2 lines, but no events (no_usable_time: 2); timeless.ndjson:1: no_usable_time (no time in it can be read)";
    let bytes = format!("{without_time}\n{without_time}\n").into_bytes();
    check("timeless.ndjson", bytes, no_time, "`sentAt` or `receivedAt`");
    let array = format!("[{LINE}]\n").into_bytes();
    check(
        "array.json",
        array,
        "array.json:1: not_an_object (expected an event, found an array",
        "jq -c '.[]' FILE",
    );
    let slurped = format!("[\n  {LINE}\n]\n").replace(",\"", ",\n\"").into_bytes();
    check("slurped.json", slurped, "slurped.json:1: not_json (", "jq -c '.[]' FILE");
    let utf16: Vec<u8> = format!("\u{feff}{LINE}\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    check("utf16.ndjson", utf16, "utf16.ndjson:1: invalid_utf8 (", "iconv -f UTF-16 -t UTF-8");
    let xz = b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F".to_vec();
    check("dump.xz", xz, "dump.xz:1: invalid_utf8 (", "xz -d");
    check("twice.gz", gz(&gz(LINE.as_bytes())), "twice.gz:1: ", "gzip -d");
    // Text from a line cannot move the cursor.
    let escape = LINE.replace("\"page\"", "\"\\u001b[2J\\n\"").into_bytes();
    check("escape.ndjson", escape, "escape.ndjson:1: unknown_type (\"type\" is \"", "give a dump of events");
    let empty = b"{\"batch\":[]}\n".to_vec();
    check("empty.ndjson", empty, "1 line, but no events", "give a dump of events");
    assert!(!work.path("space/manifest.json").exists());
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn a_broken_archive_is_reported() {
    let work = Work::new();
    work.write("cut.gz", [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2]);
    let said = fails(&work, &["ingest", "cut.gz", "--space", "space"]);
    assert!(said.contains("cut.gz"), "{said}");
}

#[test]
fn an_empty_file_is_only_a_warning() {
    let work = Work::new();
    work.write("empty.ndjson", "");
    work.write("blank.ndjson", "\n\r\n  \n");
    work.program(&["ingest", "empty.ndjson", "blank.ndjson", "--space", "space", "-q"])
        .assert()
        .success()
        .stderr("warning: nothing was ingested: the inputs have no lines\n");
}

#[test]
fn a_folder_without_events_is_only_a_warning() {
    let work = with_events();
    work.write("folder/notes.txt", "nothing");
    work.write("empty.ndjson", "");
    let run = |input: &str, space: &str, flags: &[&str]| {
        let args = [&["ingest", input, "--space", space], flags].concat();
        let assert = work.program(&args).assert().success().stdout("");
        String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
    };
    let said = run("folder", "space", &["--materialize"]);
    assert!(said.starts_with("warning: no event files in `folder`: "), "{said}");
    assert!(said.contains("note: skipped 1 file that is not an event file: `folder/notes.txt`\n"), "{said}");
    assert!(said.contains("0 events (0 B) from 0 files"), "{said}");
    // An empty file gives the same result.
    run("empty.ndjson", "other", &["--materialize", "-q"]);
    assert_eq!(names_in(&work.path("space")), names_in(&work.path("other")));
    assert_eq!(work.read("space/profile_traits.ndjson"), "");
    work.program(&["ingest", "--verify", "--space", "space", "-q"]).assert().success().stderr("");
    // `--quiet` does not hide the warning.
    let said = run("folder", "space", &["--materialize", "-q"]);
    assert!(said.starts_with("warning: no event files in `folder`: ") && said.lines().count() == 1, "{said}");
    // An existing space does not change.
    run("events.ndjson", "space", &["--materialize", "-q"]);
    let before = work.read("space/manifest.json");
    run("folder", "space", &["--materialize", "-q"]);
    assert_eq!(work.read("space/manifest.json"), before);
    assert_eq!(work.rows("space/pages.ndjson").len(), 1);
    // If another input has events, it is only a note.
    let args = ["ingest", "folder", "events.ndjson", "--space", "third", "-q"];
    work.program(&args).assert().success().stderr("");
    // A dry run creates nothing.
    run("folder", "dry", &["--dry-run", "-q"]);
    assert!(!work.path("dry/manifest.json").exists());
}

#[test]
fn a_missing_space_cannot_be_materialized() {
    let work = Work::new();
    let said = fails(&work, &["materialize", "--space", "missing"]);
    assert!(said.contains("`missing"), "{said}");
    work.write("folder/notes.txt", "nothing");
    let said = fails(&work, &["materialize", "--space", "folder"]);
    assert!(said.contains("`folder"), "{said}");
    let said = fails(&work, &["materialize", "--raw", "missing", "--out", "views"]);
    assert!(said.contains("`missing"), "{said}");
}

#[test]
fn events_stay_committed_if_views_cannot_be_written() {
    let work = with_events();
    work.program(&["ingest", "events.ndjson", "--space", "space", "-q"]).assert().success();
    // A folder occupies the path of a view.
    work.write("space/id_graph.ndjson/in-the-way", "");
    work.write("more.ndjson", LINE.replace("m1", "m2"));
    let said = fails(&work, &["ingest", "more.ndjson", "--space", "space", "--materialize", "-q"]);
    assert!(said.contains("the events are committed"), "{said}");
    assert!(said.contains("id_graph"), "{said}");
    assert_eq!(work.rows("space/pages.ndjson").len(), 2);
}

#[test]
fn a_second_run_on_a_space_fails_at_once_or_waits() {
    let work = with_events();
    let mut first = Command::new(assert_cmd::cargo::cargo_bin!("profiles-sync"))
        .env_clear()
        .current_dir(work.path(""))
        .args(["ingest", "-", "--space", "space", "-q"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    while !work.path("space/.state/lock").exists() {
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_millis(100));
    let said = fails(&work, &["ingest", "events.ndjson", "--space", "space"]);
    assert!(said.contains("`space`") && said.contains(&first.id().to_string()), "{said}");
    assert!(said.contains("--wait"), "{said}");
    let stdin = first.stdin.take();
    let closes = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        drop(stdin);
    });
    work.program(&["ingest", "events.ndjson", "--space", "space", "--wait", "60", "-q"])
        .assert()
        .success()
        .stderr("");
    closes.join().unwrap();
    assert!(first.wait().unwrap().success());
    assert_eq!(work.rows("space/pages.ndjson").len(), 1);
}

#[test]
#[cfg(target_os = "linux")]
fn an_unwritable_stdout_is_reported_after_a_successful_run() {
    let work = with_events();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = |args: &[&str]| {
        let output = Command::new(assert_cmd::cargo::cargo_bin!("profiles-sync"))
            .env_clear()
            .current_dir(work.path(""))
            .args(args)
            .stdout(full.try_clone().unwrap())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = run(&["ingest", "--print-config"]);
    assert!(said.starts_with("error: could not write the rules to the standard output: "), "{said}");
    let said = run(&["ingest", "events.ndjson", "--space", "space", "--json"]);
    assert!(
        said.starts_with("error: the run succeeded: could not write the summary to the standard output: "),
        "{said}"
    );
    assert_eq!(work.rows("space/pages.ndjson").len(), 1);
}

#[test]
fn foreign_files_in_a_space_are_left_alone() {
    for compress in ["none", "zstd"] {
        let work = with_events();
        let ingest = |input: &str| {
            work.program(&["ingest", input, "--space", "space", "--compress", compress, "--quiet"])
        };
        ingest("events.ndjson").assert().success();
        // Notes, a file that looks like a compressed table, and a dump for the next run.
        let dump = LINE.replace("m1", "m2");
        for name in ["notes.ndjson", "notes.ndjson.zst", "night.ndjson"] {
            work.write(&format!("space/{name}"), format!("{dump}\n"));
        }
        ingest("space/night.ndjson").assert().success();
        // A run that fails, a dry run, and a run that creates a table.
        fails(&work, &["ingest", "missing.ndjson", "--space", "space"]);
        let track = LINE.replace("page", "track").replace("m1", "m3");
        work.write("track.ndjson", track.replace("\"userId\"", "\"event\":\"Bought\",\"userId\""));
        work.program(&["ingest", "track.ndjson", "--space", "space", "--dry-run"]).assert().success();
        ingest("track.ndjson").assert().success();
        for name in ["notes.ndjson", "notes.ndjson.zst", "night.ndjson"] {
            assert_eq!(work.read(&format!("space/{name}")), format!("{dump}\n"), "{compress} {name}");
        }
        let made = if compress == "zstd" { "space/bought.ndjson.zst" } else { "space/bought.ndjson" };
        assert!(work.path(made).exists());
        assert!(!work.path("space/.run/staged").exists());
        // A file at the path of a new table is not overwritten.
        let other = LINE.replace("page", "track").replace("m1", "m4");
        work.write("other.ndjson", other.replace("\"userId\"", "\"event\":\"Notes\",\"userId\""));
        let said = fails(&work, &["ingest", "other.ndjson", "--space", "space"]);
        assert!(said.contains("notes.ndjson"), "{said}");
        for name in ["notes.ndjson", "notes.ndjson.zst"] {
            assert_eq!(work.read(&format!("space/{name}")), format!("{dump}\n"), "{compress} {name}");
        }
        work.program(&["ingest", "--verify", "--space", "space", "--quiet"]).assert().success();
    }
}

#[test]
fn links_at_internal_paths_are_not_followed() {
    use std::os::unix::fs::symlink;

    let work = with_events();
    work.write("victim", "precious\n");
    fs::create_dir_all(work.path("elsewhere")).unwrap();
    fs::create_dir_all(work.path("space/.state")).unwrap();
    let link = |name: &str, to: &str| symlink(work.path(to), work.path(name)).unwrap();
    for name in ["space/manifest.json.tmp", "space/user_traits.ndjson.tmp", "space/.state/resolver-1"] {
        link(name, "victim");
    }
    work.program(&["ingest", "events.ndjson", "--space", "space", "--materialize", "-q"]).assert().success();
    for name in ["space/.state/lock", "space/.run", "space/.views-before"] {
        let file = work.path(name);
        let _ = fs::remove_file(&file);
        let _ = fs::remove_dir_all(&file);
        link(name, if name.ends_with("lock") { "victim" } else { "elsewhere" });
        let job: &[&str] = match name {
            "space/.views-before" => &["materialize", "--space", "space", "--full"],
            _ => &["ingest", "events.ndjson", "--space", "space", "--again"],
        };
        let said = fails(&work, job);
        assert!(said.contains(name) && said.contains("hint: "), "{said}");
        fs::remove_file(&file).unwrap();
    }
    // Messages are kept in `.run/messages` if selective sync excludes their tables.
    work.write("few.toml", "[sync]\ntables = [\"identity_violations\"]\n");
    fs::create_dir_all(work.path("few/.run")).unwrap();
    link("few/.run/messages", "victim");
    let said = fails(&work, &["ingest", "events.ndjson", "--space", "few", "--config", "few.toml"]);
    assert!(said.contains("few/.run/messages") && said.contains("hint: remove it: it is a link"), "{said}");
    assert_eq!(work.read("victim"), "precious\n");
    assert_eq!(fs::read_dir(work.path("elsewhere")).unwrap().count(), 0);
    // Only views are restored from the backup.
    let before = work.read("space/pages.ndjson");
    work.write("space/.views-before/pages.ndjson", "{}\n");
    work.write("space/.views-before/rejected.ndjson.absent", "");
    work.write("space/.views-before/profiles-sync.toml", "");
    work.program(&["materialize", "--space", "space", "-q"]).assert().success();
    assert_eq!(work.read("space/pages.ndjson"), before);
    assert!(work.path("space/rejected.ndjson").exists() && !work.path("space/profiles-sync.toml").exists());
    assert!(!work.path("space/.views-before").exists());
}

/// Returns the sorted names of all files in a folder that are not hidden.
fn names(work: &Work, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(work.path(folder)).unwrap().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

#[test]
fn a_space_without_its_manifest_is_left_alone() {
    let work = with_events();
    work.write("state/user_identifiers.ndjson", "");
    work.write("none.ndjson", "");
    work.program(&["ingest", "events.ndjson", "--space", "space", "-q"]).assert().success();
    work.write("space/notes.ndjson", "{}\n");
    fs::remove_file(work.path("space/manifest.json")).unwrap();
    let before = names(&work, "space");
    assert!(before.contains(&"pages.ndjson".to_owned()), "{before:?}");
    for command in [
        &["ingest", "events.ndjson", "--space", "space"][..],
        &["ingest", "events.ndjson", "--space", "space", "--dry-run"],
        &["ingest", "none.ndjson", "--space", "space", "--dry-run"],
        &["ingest", "events.ndjson", "--space", "space", "--compress", "zstd"],
        &["backfill", "profiles", "state", "--space", "space", "--dry-run"],
    ] {
        let said = fails(&work, command);
        assert!(said.contains("no `manifest.json`"), "{command:?}: {said}");
        assert_eq!(names(&work, "space"), before, "{command:?}");
    }
}

#[test]
fn files_added_after_a_failed_first_run_are_left_alone() {
    let work = with_events();
    work.write("bad.ndjson", format!("{LINE}\nno JSON\n"));
    fails(&work, &["ingest", "bad.ndjson", "--space", "space", "--max-rejects", "0"]);
    work.write("space/yesterday.ndjson", LINE);
    let said = fails(&work, &["ingest", "space/yesterday.ndjson", "--space", "space"]);
    assert!(said.contains("`yesterday.ndjson`"), "{said}");
    assert_eq!(work.read("space/yesterday.ndjson"), LINE);
}

#[test]
fn changes_never_overwrite_files_of_a_space() {
    let work = with_events();
    work.program(&["ingest", "events.ndjson", "--space", "space", "--materialize", "-q"]).assert().success();
    work.program(&["ingest", "events.ndjson", "--space", "other", "--materialize", "-q"]).assert().success();
    for changes in ["space/pages.ndjson", "space/manifest.json", "other/.state/lock", "other/changes.ndjson"]
    {
        let before = fs::read(work.path(changes)).ok();
        let said = fails(&work, &["materialize", "--space", "space", "--full", "--changes", changes]);
        assert!(said.contains(&format!("`{changes}`")), "{said}");
        assert_eq!(fs::read(work.path(changes)).ok(), before, "{changes}");
    }
    let said = fails(&work, &["materialize", "--space", "space", "--out", "other"]);
    assert!(said.contains("`other`"), "{said}");
}

#[test]
fn nothing_is_appended_to_a_changed_table() {
    let work = with_events();
    work.write("more.ndjson", LINE.replace("m1", "m2"));
    for compress in ["none", "zstd"] {
        let space = format!("space-{compress}");
        let ingest =
            |input| work.program(&["ingest", input, "--space", &space, "--compress", compress, "-q"]);
        ingest("events.ndjson").assert().success();
        let plain = format!("{space}/pages.ndjson");
        if compress == "zstd" {
            // Somebody decompressed the table and changed it.
            let packed = fs::read(work.path(&format!("{plain}.zst"))).unwrap();
            work.write(&plain, zstd::decode_all(&packed[..]).unwrap());
            fs::remove_file(work.path(&format!("{plain}.zst"))).unwrap();
        }
        work.write(&plain, work.read(&plain).replace("u1", "u2"));
        let before = work.read(&plain);
        let said = fails(&work, &["ingest", "more.ndjson", "--space", &space, "--compress", compress]);
        assert!(said.contains("not those that were committed"), "{said}");
        assert_eq!(work.read(&plain), before);
    }
}

#[test]
fn a_compressed_space_without_its_manifest_is_left_alone() {
    let work = Work::new();
    work.write("one.ndjson", format!("{LINE}\n"));
    work.write("two.ndjson", format!("{}\n", LINE.replace("\"m1\"", "\"m2\"")));
    let ingest = |input: &str, flags: &[&str]| {
        let args = [&["ingest", input, "--space", "space", "-q"], flags].concat();
        work.program(&args).assert()
    };
    ingest("one.ndjson", &["--compress", "zstd"]).success();
    fs::remove_file(work.path("space/manifest.json")).unwrap();
    let before = names_in(&work.path("space"));
    for flags in [&[][..], &["--compress", "none"], &["--compress", "zstd"]] {
        let assert = ingest("two.ndjson", flags).code(2);
        let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(said.contains("but no `manifest.json`, so it is not a space"), "{said}");
        assert_eq!(names_in(&work.path("space")), before);
        assert!(work.path("space/.state/resolver-1").exists());
    }
}

#[test]
fn more_tables_than_the_open_file_limit_are_fine() {
    let work = Work::new();
    let event = |number: u32| {
        format!(
            "{{\"type\":\"track\",\"event\":\"Event {number}\",\"messageId\":\"m{number}\",\"userId\":\"u\",\"timestamp\":\"2026-01-05\"}}\n"
        )
    };
    let events: Vec<String> = (0..300).map(event).collect();
    work.write("events.ndjson", events.concat());
    let program = assert_cmd::cargo::cargo_bin!("profiles-sync").display().to_string();
    for flags in ["", "--compress zstd"] {
        let script =
            format!("ulimit -n 128; {program} ingest events.ndjson --space space{} {flags} -q", flags.len());
        let done =
            std::process::Command::new("sh").arg("-c").arg(script).current_dir(work.path(".")).status();
        assert!(done.unwrap().success(), "{flags}");
        work.program(&["ingest", "--verify", "--space", &format!("space{}", flags.len()), "-q"])
            .assert()
            .success();
    }
}

#[test]
fn a_deleted_table_is_reported_as_missing() {
    let work = Work::new();
    work.write("one.ndjson", format!("{LINE}\n"));
    work.write("two.ndjson", format!("{}\n", LINE.replace("\"m1\"", "\"m2\"")));
    work.program(&["ingest", "one.ndjson", "--space", "space", "-q"]).assert().success();
    fs::remove_file(work.path("space/id_graph_updates.ndjson")).unwrap();
    let assert = work.program(&["ingest", "two.ndjson", "--space", "space", "-q"]).assert().code(2);
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("`space/id_graph_updates.ndjson`: is missing, but "), "{said}");
    fs::create_dir(work.path("space/id_graph_updates.ndjson")).unwrap();
    let assert = work.program(&["ingest", "two.ndjson", "--space", "space", "-q"]).assert().code(2);
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("is a folder, not a file"), "{said}");
}

#[test]
fn the_state_is_not_rebuilt_from_changed_tables() {
    let work = Work::new();
    work.write("one.ndjson", format!("{LINE}\n"));
    work.write("two.ndjson", format!("{}\n", LINE.replace("\"m1\"", "\"m2\"")));
    work.program(&["ingest", "one.ndjson", "--space", "space", "-q"]).assert().success();
    fs::remove_file(work.path("space/.state/resolver-1")).unwrap();
    let table = work.read("space/external_id_mapping_updates.ndjson");
    work.write("space/external_id_mapping_updates.ndjson", table.replace("\"u1\"", "\"u2\""));
    let assert = work.program(&["ingest", "two.ndjson", "--space", "space", "-q"]).assert().code(2);
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(
        said.contains(
            "`space/external_id_mapping_updates.ndjson`: its bytes are not those that were committed"
        ),
        "{said}"
    );
    work.write("space/external_id_mapping_updates.ndjson", table);
    work.program(&["ingest", "two.ndjson", "--space", "space", "-q"]).assert().success();
}
