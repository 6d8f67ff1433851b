//! Every change to the files of a space is reported with its position; harmless differences are not.

use std::fs;

use super::verify;
use crate::support::{Work, names_in};

const EVENTS: &str = r#"
{"type":"page","messageId":"m1","userId":"u1","anonymousId":"null","name":"Home","timestamp":"2026-01-05T10:01:00Z"}
{"type":"track","messageId":"m2","event":"Sale","userId":"u2","properties":{"sum":1},"timestamp":"2026-01-05T10:02:00Z"}
{"type":"identify","messageId":"m3","userId":"u1","traits":{"plan":"a"},"timestamp":"2026-01-05T10:03:00Z"}
no event
"#;

fn space(flags: &[&str]) -> Work {
    let work = Work::new();
    work.write("one.ndjson", EVENTS);
    work.write("two.ndjson", EVENTS.replace(":\"m", ":\"n").replace("10:0", "11:0"));
    for input in ["one.ndjson", "two.ndjson"] {
        let args = ["ingest", input, "--space", "space", "--materialize", "-q"];
        work.program(&[&args, flags].concat()).assert().success();
    }
    work
}

#[test]
fn a_changed_byte_in_any_table_is_reported() {
    for flags in [&[][..], &["--compress", "zstd"]] {
        let work = space(flags);
        assert_eq!(verify(&work), (0, vec![]));
        let tables = names_in(&work.path("space"));
        let tables: Vec<_> = tables.iter().filter(|name| name.contains(".ndjson")).collect();
        assert!(15 <= tables.len(), "{tables:?}");
        for name in tables {
            let path = format!("space/{name}");
            let whole = fs::read(work.path(&path)).unwrap();
            for at in (0..whole.len()).step_by((whole.len() / 4).max(1)) {
                let mut changed = whole.clone();
                changed[at] ^= 1;
                work.write(&path, &changed);
                let (code, said) = verify(&work);
                assert_eq!((code, said.len()), (1, 1), "{name} {at}: {said:?}");
                assert!(said[0].contains(&format!("`{path}`")), "{name} {at}: {said:?}");
            }
            work.write(&path, &whole);
        }
        assert_eq!(verify(&work), (0, vec![]));
    }
}

#[test]
fn a_changed_line_is_reported_by_its_position() {
    let work = space(&[]);
    let pages = work.read("space/pages.ndjson");
    work.write("space/pages.ndjson", pages.replace("\"n1\",\"event", "\"n1\":\"event"));
    let expected = "`space/pages.ndjson`: its bytes are not those that were committed; line 2 is not a row; restore it from a backup";
    assert_eq!(verify(&work), (1, vec![expected.to_owned()]));
    // The recorded lengths after each run narrow down where the change is.
    let first = pages.find('\n').unwrap() + 1;
    for (start, end) in [(0, first), (first, pages.len())] {
        let (before, row, after) = (&pages[..start], &pages[start..end], &pages[end..]);
        work.write("space/pages.ndjson", [before, &row.replace("Home", "home"), after].concat());
        let expected = format!(
            "`space/pages.ndjson`: its bytes are not those that were committed; they differ between byte {start} and \
             byte {end}; restore it from a backup"
        );
        assert_eq!(verify(&work), (1, vec![expected]));
    }
}

#[test]
fn the_changed_part_of_a_large_table_is_reported() {
    let work = Work::new();
    let event = |n: u32| {
        let name = "x".repeat(300);
        format!(
            "{{\"type\":\"page\",\"messageId\":\"{n}\",\"userId\":\"u\",\"name\":\"{name}\",\"timestamp\":\"2026-01-05\"}}\n"
        )
    };
    work.write("events.ndjson", (0..4000).map(event).collect::<String>());
    for (compress, last) in [("none", ""), ("zstd", ".zst")] {
        let args = ["ingest", "events.ndjson", "--space", "space", "--compress", compress, "-q"];
        work.program(&args).assert().success();
        assert_eq!(verify(&work), (0, vec![]));
        let path = format!("space/pages.ndjson{last}");
        let whole = fs::read(work.path(&path)).unwrap();
        let mut places = Vec::new();
        for at in [whole.len() / 2, whole.len() - 20] {
            let mut changed = whole.clone();
            changed[at] = if changed[at] == b'x' { b'y' } else { changed[at] ^ 1 };
            work.write(&path, changed);
            let (code, said) = verify(&work);
            assert_eq!((code, said.len()), (1, 1), "{said:?}");
            places.push(said[0].clone());
        }
        assert_ne!(places[0], places[1], "{places:?}");
        if compress == "zstd" {
            assert!(places.iter().all(|place| place.contains("the zstd frame at byte ")), "{places:?}");
        }
        fs::remove_dir_all(work.path("space")).unwrap();
    }
}

/// Edits the manifest on disk.
fn change_manifest(work: &Work, change: impl Fn(&mut serde_json::Value)) {
    let mut manifest = serde_json::from_str(&work.read("space/manifest.json")).unwrap();
    change(&mut manifest);
    work.write("space/manifest.json", manifest.to_string());
}

#[test]
fn tables_are_compared_with_the_manifest() {
    for (flags, field, number) in [
        (&[][..], "rows", 1),
        (&[], "link", 1),
        (&["--compress", "zstd"], "rows", 1),
        (&["--compress", "zstd"], "link", 1),
    ] {
        let work = space(flags);
        change_manifest(&work, |manifest| {
            let value = &mut manifest["tables"]["pages"][field];
            *value = match value.as_u64() {
                Some(old) => (old + number).into(),
                None => format!("{number:032x}").into(),
            };
        });
        let (code, said) = verify(&work);
        assert_eq!((code, said.len()), (1, 1), "{field}: {said:?}");
        assert!(said[0].starts_with("`space/pages.ndjson"), "{said:?}");
    }
    for (table, field) in [("pages", "bytes"), ("pages", "tail"), ("profile_traits_updates", "bytes")] {
        let work = space(&["--compress", "zstd"]);
        change_manifest(&work, |manifest| {
            let value = &mut manifest["tables"][table]["stored"][field];
            *value = value.as_u64().unwrap().checked_sub(1).unwrap_or(1).into();
        });
        let (code, said) = verify(&work);
        assert_eq!((code, said.len()), (1, 1), "{table} {field}: {said:?}");
        assert!(said[0].starts_with(&format!("`space/{table}.ndjson.zst`: ")), "{said:?}");
    }
}

#[test]
fn tables_are_compared_with_the_record_of_each_run() {
    let work = space(&[]);
    change_manifest(&work, |manifest| {
        let table = &mut manifest["runs"][0]["after"]["tables"]["pages"];
        *table = table.as_str().unwrap().replacen("1 ", "2 ", 1).into();
    });
    let expected =
        "`space/pages.ndjson`: differs from what the manifest records after run 1; restore it from a backup";
    assert_eq!(verify(&work), (1, vec![expected.to_owned()]));
}

#[test]
fn a_manifest_clock_behind_the_tables_is_reported() {
    let work = space(&[]);
    change_manifest(&work, |manifest| {
        manifest["uuid_ts"] = (manifest["uuid_ts"].as_u64().unwrap() - 1).into();
    });
    let (code, said) = verify(&work);
    assert_eq!((code, said.len()), (1, 1), "{said:?}");
    assert!(
        said[0].starts_with("`space/manifest.json`: its `uuid_ts` is before that of the last row of `"),
        "{said:?}"
    );
}

#[test]
fn a_missing_state_cache_is_not_damage() {
    let work = space(&[]);
    fs::remove_dir_all(work.path("space/.state")).unwrap();
    let told = work.program(&["ingest", "--verify", "--space", "space"]).assert().success();
    let told = String::from_utf8_lossy(&told.get_output().stderr).into_owned();
    assert!(told.contains("the state cache is missing: the next run rebuilds it"), "{told}");
}

#[test]
fn a_compressed_table_without_rows_is_checked() {
    let work = Work::new();
    work.write("events.ndjson", EVENTS.lines().nth(1).unwrap());
    let args = ["ingest", "events.ndjson", "--space", "space", "--compress", "zstd", "-q"];
    work.program(&args).assert().success();
    assert_eq!(verify(&work), (0, vec![]));
    let path = "space/profile_traits_updates.ndjson.zst";
    let whole = fs::read(work.path(path)).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        work.write(path, changed);
        let (code, said) = verify(&work);
        assert_eq!((code, said.len()), (1, 1), "{at}: {said:?}");
        assert!(said[0].starts_with(&format!("`{path}`: ")), "{said:?}");
    }
    work.write(path, "");
    let (code, said) = verify(&work);
    assert_eq!((code, said.len()), (1, 1), "{said:?}");
    work.write(path, whole);
    assert_eq!(verify(&work), (0, vec![]));
}

#[test]
fn a_decompressed_table_is_not_damage() {
    let work = space(&["--compress", "zstd"]);
    let packed = fs::read(work.path("space/pages.ndjson.zst")).unwrap();
    work.write("space/pages.ndjson", zstd::decode_all(&packed[..]).unwrap());
    fs::remove_file(work.path("space/pages.ndjson.zst")).unwrap();
    assert_eq!(verify(&work), (0, vec![]));
}

#[test]
fn times_before_1970_in_an_export_are_not_damage() {
    let work = Work::new();
    for table in ["id_graph_updates", "external_id_mapping_updates", "profile_traits_updates"] {
        work.write(&format!("export/{table}.ndjson"), "");
    }
    let row = |id: &str, received_at: &str| {
        format!(
            "{{\"segment_id\":\"use_x\",\"id\":\"{id}\",\"received_at\":\"{received_at}\",\"uuid_ts\":\"2024-01-01\"}}\n"
        )
    };
    let rows = [
        row("m1", "1969-12-31T23:59:59.000Z"),
        row("m2", "2024-01-01T00:00:00.000Z"),
        row("m3", "0001-01-01"),
    ];
    work.write("export/pages.ndjson", rows.concat());
    work.program(&["backfill", "raw", "export", "--space", "space", "-q"]).assert().success();
    assert_eq!(verify(&work), (0, vec![]));
    // With the state cache or without it, the same messages are duplicates.
    let event = |id: &str, received_at: &str| {
        format!(
            "{{\"type\":\"page\",\"messageId\":\"{id}\",\"userId\":\"u\",\"receivedAt\":\"{received_at}\"}}\n"
        )
    };
    work.write(
        "more.ndjson",
        [event("m1", "1970-01-30T12:00:00Z"), event("m1", "1970-01-31T12:00:00Z")].concat(),
    );
    let ingest = || {
        let told =
            work.program(&["ingest", "more.ndjson", "--space", "space", "--dry-run", "--json"]).assert();
        let told: serde_json::Value = serde_json::from_slice(&told.get_output().stdout).unwrap();
        (told["accepted"].clone(), told["duplicates"].clone())
    };
    let with_cache = ingest();
    fs::remove_dir_all(work.path("space/.state")).unwrap();
    assert_eq!(ingest(), with_cache);
    assert_eq!(with_cache, (1.into(), 1.into()));
}
