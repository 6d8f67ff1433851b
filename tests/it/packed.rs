//! Spaces with compressed tables: after every command they have the content of plain tables, and any zstd can read them.

use std::{collections::BTreeMap, fs, path::Path};

use profiles_sync::table::frames;
use serde_json::Value;

use crate::{
    dump::{self, Knobs},
    support::{
        Work,
        tree::{self, Tree},
    },
};

/// Writes a generated dump to `all.ndjson`, and the same lines to `0.ndjson` to `2.ndjson`, split by day of arrival.
fn write_dump(work: &Work, events: u64, seed: u64) {
    let mut bytes = Vec::new();
    dump::write(Knobs { events, seed, days: 30, malformed: 1.0, changes: 0.0 }, &mut bytes).unwrap();
    work.write("all.ndjson", &bytes);
    let text = String::from_utf8_lossy(&bytes);
    let day = |line: &&str| -> usize {
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        let received = value["receivedAt"].as_str().unwrap_or_default();
        match received.get(..10).unwrap_or_default() {
            day if day < "2026-03-25" => 0,
            day if day < "2026-03-26" => 1,
            _ => 2,
        }
    };
    for part in 0..3 {
        let lines: Vec<&str> = text.lines().filter(|line| day(line) == part).collect();
        assert!(!lines.is_empty());
        work.write(&format!("{part}.ndjson"), lines.join("\n"));
    }
}

fn ok(work: &Work, args: &[&str]) -> String {
    let output = work.program(args).assert().success();
    String::from_utf8_lossy(&output.get_output().stderr).into_owned()
}

fn fails(work: &Work, args: &[&str], told: &[&str]) {
    let output = work.program(args).assert().code(2).stdout("");
    let said = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(told.iter().all(|told| said.contains(told)), "{args:?}: {said}");
}

/// Reads the tables of a folder, decompressed and under their plain names. Panics if a file is not compressed.
fn unpacked(folder: &Path) -> Tree {
    let tables = tree::read(folder).into_iter().map(|(path, bytes)| {
        assert_eq!(path.extension().unwrap(), "zst", "{}", path.display());
        (path.with_extension(""), zstd::decode_all(&bytes[..]).unwrap())
    });
    tables.collect()
}

fn assert_same(plain: &Path, packed: &Path, what: &str) {
    let mut trees = [tree::read(plain), unpacked(packed)];
    for tree in &mut trees {
        // Rejected rows contain the names of the inputs, which differ.
        tree.remove(Path::new("rejected.ndjson"));
    }
    let differences = tree::differences(&trees[0], &trees[1]);
    assert!(differences.is_empty(), "{what}\n{differences}");
}

/// Returns what the manifest records for each table and view: the length of its content in bytes, and its digest.
fn claimed(space: &Path) -> BTreeMap<String, (u64, String)> {
    let manifest: Value = serde_json::from_slice(&fs::read(space.join("manifest.json")).unwrap()).unwrap();
    let mut all = BTreeMap::new();
    for group in ["tables", "views"] {
        for (name, state) in manifest[group].as_object().into_iter().flatten() {
            let digest = state["digest"].as_str().unwrap().to_owned();
            all.insert(name.clone(), (state["bytes"].as_u64().unwrap(), digest));
        }
    }
    all.remove("rejected");
    all
}

#[test]
fn compressed_tables_have_the_content_of_plain_ones() {
    let work = Work::new();
    write_dump(&work, 6000, 31);
    ok(&work, &["ingest", "all.ndjson", "--space", "plain", "--materialize", "-q"]);
    assert!(1 << 21 < fs::metadata(work.path("plain/tracks.ndjson")).unwrap().len());
    let one = ["--compress", "zstd", "--materialize", "-q"];
    let mut packed = Vec::new();
    for (space, threads, memory) in [("one", "1", "4G"), ("two", "2", "4G"), ("seven", "7", "2M")] {
        let args = ["ingest", "all.ndjson", "--space", space, "--threads", threads, "--memory", memory];
        ok(&work, &[&args[..], &one].concat());
        assert_same(&work.path("plain"), &work.path(space), space);
        assert_eq!(claimed(&work.path("plain")), claimed(&work.path(space)));
        packed.push(tree::read(&work.path(space)));
    }
    assert!(packed.iter().all(|tree| *tree == packed[0]), "the frames must not depend on threads or memory");
    let bytes = |tree: &Tree| tree.values().map(Vec::len).sum::<usize>();
    assert!(5 * bytes(&packed[0]) < bytes(&tree::read(&work.path("plain"))));

    // Later runs keep the compression of the space, with the flag or without, also after the state was lost.
    for (part, flags) in [("0", &["--compress", "zstd"][..]), ("1", &[]), ("2", &["--compress", "zstd"])] {
        let file = format!("{part}.ndjson");
        ok(&work, &[&["ingest", &file, "--space", "many", "--materialize", "-q"], flags].concat());
        ok(&work, &["ingest", "--verify", "--space", "many", "-q"]);
        if part == "1" {
            fs::remove_dir_all(work.path("many/.state")).unwrap();
        }
    }
    assert_same(&work.path("plain"), &work.path("many"), "many");
    assert_eq!(claimed(&work.path("plain")), claimed(&work.path("many")));
    ok(&work, &["diff", "plain", "many", "--tables", "id*,external*,profile*,user*,tracks,pages"]);
    ok(&work, &["diff", "one", "seven"]);
}

#[test]
fn views_are_the_same_with_compressed_tables() {
    let work = Work::new();
    write_dump(&work, 3000, 32);
    for (space, compress) in [("plain", "none"), ("packed", "zstd")] {
        ok(&work, &["ingest", "0.ndjson", "--space", space, "--compress", compress, "--materialize", "-q"]);
        ok(&work, &["ingest", "1.ndjson", "--space", space, "-q"]);
        let changes = format!("{space}.changes");
        let told = work
            .program(&["materialize", "--space", space, "--json", "--changes", &changes])
            .assert()
            .success();
        let told: Value = serde_json::from_slice(&told.get_output().stdout).unwrap();
        assert_eq!(told["fold"], "incremental", "{space}: {told}");
        let told = ok(&work, &["materialize", "--space", space]);
        assert!(told.contains("reflect all raw rows"), "{told}");
    }
    assert_same(&work.path("plain"), &work.path("packed"), "incremental");
    assert_eq!(work.read("plain.changes"), work.read("packed.changes"));
    for (out, flags) in [
        ("full", &["--full"][..]),
        ("parts", &["--full", "--memory", "1M", "--threads", "3"]),
        ("before", &["--as-of", "2026-03-20T12:00:00Z"]),
        ("some", &["--views", "id_graph,user_traits"]),
    ] {
        for space in ["plain", "packed"] {
            let folder = format!("{out}-{space}");
            ok(&work, &[&["materialize", "--space", space, "--out", &folder, "-q"], flags].concat());
        }
        assert_same(&work.path(&format!("{out}-plain")), &work.path(&format!("{out}-packed")), out);
    }
    // Without its manifest, a folder of compressed tables is an ordinary export.
    fs::remove_file(work.path("packed/manifest.json")).unwrap();
    ok(&work, &["materialize", "--raw", "packed", "--out", "export", "-q"]);
    let differences =
        tree::differences(&tree::read(&work.path("full-plain")), &tree::read(&work.path("export")));
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn rows_in_compressed_tables_can_be_read_again() {
    let work = Work::new();
    write_dump(&work, 3000, 38);
    ok(&work, &["ingest", "all.ndjson", "--space", "space", "-q"]);
    // Without `__trait_seqs` the fold has to read earlier rows again.
    let rows: Vec<String> = (work.rows("space/profile_traits_updates.ndjson").into_iter())
        .map(|mut row| {
            row.as_object_mut().unwrap().remove("__trait_seqs");
            format!("{row}\n")
        })
        .collect();
    for n_rows in [40, rows.len()] {
        let traits = rows[..n_rows].concat();
        for table in ["id_graph_updates", "external_id_mapping_updates"] {
            for folder in ["plain", "packed"] {
                let bytes = work.read(&format!("space/{table}.ndjson"));
                work.write(&format!("{folder}/{table}.ndjson"), bytes);
            }
        }
        let (head, rest) = traits.as_bytes().split_at(traits.len() / 3);
        let pack = |bytes, place| frames::compress_frames(bytes, place, true).unwrap().bytes;
        let packed = [pack(head, 0), pack(rest, head.len() as u64)].concat();
        work.write("plain/profile_traits_updates.ndjson", &traits);
        work.write("packed/profile_traits_updates.ndjson.zst", packed);
        for folder in ["plain", "packed"] {
            ok(&work, &["materialize", "--raw", folder, "--out", &format!("views-{folder}"), "-q"]);
        }
        let views = ["views-plain", "views-packed"].map(|folder| tree::read(&work.path(folder)));
        let differences = tree::differences(&views[0], &views[1]);
        assert!(differences.is_empty() && views[0].len() == 6, "{n_rows} rows: {differences}");
    }
}

#[test]
fn backfills_read_and_write_compressed_tables() {
    let work = Work::new();
    write_dump(&work, 1500, 33);
    for (space, compress) in [("plain", "none"), ("packed", "zstd")] {
        ok(&work, &["ingest", "0.ndjson", "--space", space, "--compress", compress, "--materialize", "-q"]);
    }
    for (job, source) in [("profiles", "plain"), ("profiles", "packed"), ("raw", "plain"), ("raw", "packed")]
    {
        for compress in ["none", "zstd"] {
            let space = format!("{job}-{source}-{compress}");
            ok(&work, &["backfill", job, source, "--space", &space, "--compress", compress, "-q"]);
            ok(&work, &["backfill", job, source, "--space", &space, "-q"]);
            ok(&work, &["backfill", "events", "0.ndjson", "--space", &space, "--since", "2020-01-01", "-q"]);
            fs::remove_dir_all(work.path(&format!("{space}/.state"))).unwrap();
            ok(&work, &["ingest", "1.ndjson", "--space", &space, "--materialize", "-q"]);
            ok(&work, &["ingest", "--verify", "--space", &space, "-q"]);
        }
        let space = |source, compress| work.path(&format!("{job}-{source}-{compress}"));
        assert_same(&space(source, "none"), &space(source, "zstd"), &format!("{job} {source}"));
        if source == "packed" {
            assert_same(&space("plain", "none"), &space("packed", "zstd"), job);
        }
    }
}

#[test]
fn the_config_sets_compression_which_a_space_keeps() {
    let work = Work::new();
    write_dump(&work, 300, 34);
    work.write("space/profiles-sync.toml", "compress = \"zstd\"\n");
    let told = work.program(&["ingest", "--print-config", "--config", "space/profiles-sync.toml"]).assert();
    assert!(String::from_utf8_lossy(&told.get_output().stdout).contains("\ncompress = \"zstd\"\n"));
    let told = ok(&work, &["ingest", "0.ndjson", "--space", "space"]);
    assert!(told.contains(" space/rejected.ndjson.zst"), "{told}");
    fs::remove_file(work.path("space/profiles-sync.toml")).unwrap();
    // Without `compress`, the space stays compressed, and this does not count as a change of the config.
    let told = ok(&work, &["ingest", "1.ndjson", "--space", "space"]);
    assert!(!told.contains("config changed"), "{told}");
    unpacked(&work.path("space"));
    let hint = "leave out `--compress none` and `compress = \"none\"` in the config";
    fails(
        &work,
        &["ingest", "2.ndjson", "--space", "space", "--compress", "none"],
        &["its tables are compressed, and cannot become plain", hint],
    );
    ok(&work, &["ingest", "0.ndjson", "--space", "plain", "-q"]);
    work.write("plain/profiles-sync.toml", "compress = \"zstd\"\n");
    fails(
        &work,
        &["ingest", "1.ndjson", "--space", "plain"],
        &["its tables are plain, and cannot become compressed"],
    );
    fails(&work, &["ingest", "0.ndjson", "--space", "new", "--compress", "gzip"], &["none, zstd"]);
    work.write("wrong.toml", "\ncompress = \"gzip\"\n");
    fails(&work, &["ingest", "0.ndjson", "--space", "new", "--config", "wrong.toml"], &["wrong.toml:2"]);
}

#[test]
fn tables_decompressed_or_recompressed_by_hand_are_safe() {
    let work = Work::new();
    write_dump(&work, 600, 35);
    for (space, compress) in [("plain", "none"), ("packed", "zstd")] {
        ok(&work, &["ingest", "0.ndjson", "--space", space, "--compress", compress, "-q"]);
    }
    let content = |table: &str| {
        zstd::decode_all(&fs::read(work.path(&format!("packed/{table}.ndjson.zst"))).unwrap()[..]).unwrap()
    };
    // A plain copy beside the compressed file: the run reports that it ignores the copy, and does not change it.
    work.write("packed/tracks.ndjson", content("tracks"));
    // Decompressed in place: the plain file is the table from now on.
    work.write("packed/pages.ndjson", content("pages"));
    fs::remove_file(work.path("packed/pages.ndjson.zst")).unwrap();
    // A file that is not a table of the space.
    work.write("packed/notes.ndjson", "{}\n");
    let before = work.read("packed/tracks.ndjson");
    let told = ok(&work, &["ingest", "1.ndjson", "--space", "packed"]);
    assert!(told.contains("`packed/tracks.ndjson` is ignored"), "{told}");
    ok(&work, &["ingest", "1.ndjson", "--space", "plain", "-q"]);
    assert_eq!(work.read("packed/tracks.ndjson"), before);
    assert_eq!(work.read("packed/notes.ndjson"), "{}\n");
    assert_eq!(work.read("packed/pages.ndjson"), work.read("plain/pages.ndjson"));
    assert_eq!(claimed(&work.path("packed")), claimed(&work.path("plain")));
    ok(&work, &["ingest", "--verify", "--space", "packed", "-q"]);
    ok(&work, &["diff", "plain", "packed"]);
    ok(&work, &["materialize", "--space", "packed", "-q"]);

    // Compressed again by another program, the file has other frames, and the committed length means nothing.
    let whole = fs::read(work.path("packed/identifies.ndjson.zst")).unwrap();
    let anew = |level| zstd::bulk::compress(&content("identifies"), level).unwrap();
    work.write("packed/identifies.ndjson.zst", anew(19));
    fails(&work, &["ingest", "2.ndjson", "--space", "packed"], &["are committed", "restore"]);
    work.write("packed/identifies.ndjson.zst", anew(-50));
    assert!(whole.len() < anew(-50).len());
    fails(&work, &["ingest", "2.ndjson", "--space", "packed"], &["no frame ends at byte", "zstd -d --rm"]);
    assert_eq!(
        fs::read(work.path("packed/identifies.ndjson.zst")).unwrap(),
        anew(-50),
        "the file must not change"
    );
    work.write("packed/identifies.ndjson", content("identifies"));
    fs::remove_file(work.path("packed/identifies.ndjson.zst")).unwrap();
    ok(&work, &["ingest", "2.ndjson", "--space", "packed", "-q"]);
    ok(&work, &["ingest", "2.ndjson", "--space", "plain", "-q"]);
    assert_eq!(work.read("packed/identifies.ndjson"), work.read("plain/identifies.ndjson"));

    // Without a manifest, two files for one table are an error.
    work.write("export/id_graph_updates.ndjson", "");
    work.write("export/id_graph_updates.ndjson.zst", zstd::encode_all(&b""[..], 1).unwrap());
    fails(
        &work,
        &["materialize", "--raw", "export", "--out", "views"],
        &["holds the table `id_graph_updates`", "leave one of the two"],
    );
    fails(&work, &["diff", "export", "plain"], &["holds the table `id_graph_updates`"]);
}

#[test]
fn leftovers_of_a_killed_run_are_cut_off_and_damage_is_reported() {
    let work = Work::new();
    write_dump(&work, 600, 36);
    for space in ["space", "whole"] {
        ok(&work, &["ingest", "0.ndjson", "--space", space, "--compress", "zstd", "-q"]);
    }
    // Earlier versions wrote to the tables before they committed.
    let manifest = work.read("space/manifest.json");
    work.write("space/manifest.json", manifest.replace("\"format\": 3", "\"format\": 2"));
    let path = work.path("space/tracks.ndjson.zst");
    let committed = fs::read(&path).unwrap();
    let whole = fs::read(work.path("whole/tracks.ndjson.zst")).unwrap();
    assert_eq!(committed, whole);
    // A whole frame, two truncated ones, and zeros as after a power failure.
    for rest in [&whole[..], &whole[..whole.len() / 2], &whole[..3], &[0; 5000]] {
        work.write("space/tracks.ndjson.zst", [&committed, rest].concat());
        work.write("space/new_table.ndjson.zst", rest);
        work.write("space/.state/new-tables", "new_table.ndjson.zst\n");
        ok(&work, &["ingest", "--verify", "--space", "space", "-q"]);
        ok(&work, &["diff", "space", "whole"]);
        ok(&work, &["ingest", "1.ndjson", "--space", "space", "--dry-run", "-q"]);
        assert_eq!(fs::read(&path).unwrap(), committed);
        assert!(!work.path("space/new_table.ndjson.zst").exists());
    }
    let mut damaged = committed.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x40;
    for bytes in [&damaged[..], &committed[..committed.len() - 1], b""] {
        work.write("space/tracks.ndjson.zst", bytes);
        let told = work.program(&["ingest", "--verify", "--space", "space"]).assert().code(1);
        let told = String::from_utf8_lossy(&told.get_output().stderr).into_owned();
        assert!(told.contains("`space/tracks.ndjson.zst`: "), "{told}");
    }
    // A run does not append to a damaged table.
    work.write("space/tracks.ndjson.zst", &damaged);
    fails(
        &work,
        &["ingest", "1.ndjson", "--space", "space"],
        &["could not decompress `space/tracks.ndjson.zst`", "restore the table"],
    );
    assert_eq!(fs::read(&path).unwrap(), damaged);
    fs::remove_file(&path).unwrap();
    fails(&work, &["ingest", "1.ndjson", "--space", "space"], &["tracks.ndjson.zst", "restore the table"]);
    work.write("space/tracks.ndjson.zst", &committed);
    for space in ["space", "whole"] {
        ok(&work, &["ingest", "1.ndjson", "--space", space, "-q"]);
    }
    assert_eq!(tree::read(&work.path("space")), tree::read(&work.path("whole")));
}

#[test]
fn unrelated_compressed_files_are_left_alone() {
    let work = Work::new();
    write_dump(&work, 300, 37);
    let dump = zstd::encode_all(&fs::read(work.path("0.ndjson")).unwrap()[..], 1).unwrap();
    work.write("space/0.ndjson.zst", &dump);
    fails(
        &work,
        &["ingest", "0.ndjson", "--space", "space", "--compress", "zstd"],
        &["contains `0.ndjson.zst` but no `manifest.json`"],
    );
    // With plain tables, neither a failed first run nor a successful one touches the file.
    let rejects = ["--max-rejects", "0"];
    work.write(
        "wrong.ndjson",
        "{\"type\":\"track\",\"event\":\"x\",\"userId\":\"u\",\"timestamp\":\"2030-01-01\"}\n[]\n",
    );
    fails(&work, &[&["ingest", "wrong.ndjson", "--space", "space"][..], &rejects].concat(), &["rejected"]);
    ok(&work, &["ingest", "space/0.ndjson.zst", "--space", "space", "-q"]);
    ok(&work, &["ingest", "1.ndjson", "--space", "space", "-q"]);
    assert_eq!(fs::read(work.path("space/0.ndjson.zst")).unwrap(), dump);
    ok(&work, &["ingest", "--verify", "--space", "space", "-q"]);
}

/// Returns `content` in a zstd frame that needs a window of 256 MiB, as `zstd --ultra --long=31` may write it.
fn with_large_window(content: &[u8]) -> Vec<u8> {
    const LAST_RAW_BLOCK: u32 = 1;
    let window_of_2_to_the_28 = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (28 - 10) << 3];
    let block = LAST_RAW_BLOCK | u32::try_from(content.len()).unwrap() << 3;
    [&window_of_2_to_the_28, &block.to_le_bytes()[..3], content].concat()
}

#[test]
fn a_window_that_is_too_large_gets_a_hint_how_to_decompress() {
    let work = Work::new();
    let row = "{\"segment_id\":\"s\",\"canonical_segment_id\":\"s\",\"uuid_ts\":\"2024-01-01T00:00:00Z\"}\n";
    work.write("raw/id_graph_updates.ndjson.zst", with_large_window(row.as_bytes()));
    for table in ["external_id_mapping_updates", "profile_traits_updates"] {
        work.write(&format!("raw/{table}.ndjson"), "");
    }
    work.write("plain/id_graph_updates.ndjson", row);
    let event = "{\"type\":\"page\",\"userId\":\"u\",\"timestamp\":\"2024-01-01\"}\n";
    work.write("events.ndjson.zst", with_large_window(event.as_bytes()));
    for args in [
        &["ingest", "events.ndjson.zst", "--space", "space"][..],
        &["materialize", "--raw", "raw", "--out", "views"],
        &["diff", "raw", "plain"],
    ] {
        fails(&work, args, &[".ndjson.zst`", "zstd -d --long=31"]);
    }
}
