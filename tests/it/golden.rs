//! Golden cases. Each is a folder with the inputs, the steps to run, and every expected output file, byte for byte.
//!
//! `BLESS=1 cargo test golden` rewrites the expected files; review that diff like any other.

use std::{env, fs, path::Path};

use serde::Deserialize;

use crate::{
    invariants::Watch,
    support::{
        Work, names_in, project,
        tree::{self, Tree},
    },
};

macro_rules! cases {
    ($($test:ident $name:literal)*) => {
        const CASES: &[&str] = &[$($name),*];
        $(#[test] fn $test() { run($name); })*
    };
}

cases! {
    as_of "as-of"
    backfill_conflicts "backfill-conflicts"
    backfill_conflicts_in_both_tables "backfill-conflicts-in-both-tables"
    backfill_empty_timestamp "backfill-empty-timestamp"
    backfill_events_then_ingest "backfill-events-then-ingest"
    batch_envelope "batch-envelope"
    blocked_by_config "blocked-by-config"
    blocked_identifier "blocked-identifier"
    bounds_against_floods "bounds-against-floods"
    call_centre_mailbox "call-centre-mailbox"
    caps_on_merges_and_identifiers "caps-on-merges-and-identifiers"
    clocks_only_grow "clocks-only-grow"
    column_belongs_to_one_trait "column-belongs-to-one-trait"
    conflicting_traits_latest_wins "conflicting-traits-latest-wins"
    crlf_and_bom "crlf-and-bom"
    custom_identifier "custom-identifier"
    custom_identifier_spellings "custom-identifier-spellings"
    device_identifiers "device-identifiers"
    dropped_by_a_name_with_brackets "dropped-by-a-name-with-brackets"
    drops_sources_and_sync "drops-sources-and-sync"
    duplicate_across_runs_30_days "duplicate-across-runs-30-days"
    duplicate_message_id "duplicate-message-id"
    email_first_place_only "email-first-place-only"
    equal_rank_greatest_value_first "equal-rank-greatest-value-first"
    explicit_order "explicit-order"
    external_ids "external-ids"
    external_ids_collections "external-ids-collections"
    group_and_alias "group-and-alias"
    gzip_input "gzip-input"
    identifier_over_limit_known_anonymous_id "identifier-over-limit-known-anonymous-id"
    identifier_over_limit_shared_email "identifier-over-limit-shared-email"
    jane_kim "jane-kim"
    kiosk "kiosk"
    ksuid_segment_ids "ksuid-segment-ids"
    last_identifier_breaks_alone "last-identifier-breaks-alone"
    late_identify "late-identify"
    late_merge "late-merge"
    limit_in_a_window "limit-in-a-window"
    limit_tightened_later "limit-tightened-later"
    limit_window_of_a_late_event "limit-window-of-a-late-event"
    limit_windows "limit-windows"
    missing_message_id "missing-message-id"
    name_collisions "name-collisions"
    normalized_identifiers "normalized-identifiers"
    null_trait_removes_it "null-trait-removes-it"
    object_trait_replaces_whole "object-trait-replaces-whole"
    page_named_in_its_properties "page-named-in-its-properties"
    rank_of_new_types "rank-of-new-types"
    recursive_merge "recursive-merge"
    rejects_listed "rejects-listed"
    removal_survives_merge "removal-survives-merge"
    resolution_fails_null_segment "resolution-fails-null-segment"
    same_timestamp_two_events "same-timestamp-two-events"
    second_chance "second-chance"
    segment_id_taken "segment-id-taken"
    shared_device "shared-device"
    skewed_clock_timestamp "skewed-clock-timestamp"
    three_profiles_one_event "three-profiles-one-event"
    time_spellings "time-spellings"
    track_table_per_event_name "track-table-per-event-name"
    two_runs_equal_one_run "two-runs-equal-one-run"
    unix_seconds "unix-seconds"
    user_id_number "user-id-number"
    zstd_input "zstd-input"
}

#[test]
fn every_case_runs_and_has_a_readme() {
    let folder = project("fixtures/cases");
    assert_eq!(names_in(&folder), CASES);
    for name in CASES {
        let readme = fs::read_to_string(folder.join(name).join("README.md")).unwrap_or_default();
        assert!(!readme.is_empty(), "fixtures/cases/{name} has no README.md");
    }
}

/// The content of `case.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    step: Vec<Step>,
}

/// One run of the program, in a work folder that holds a copy of `in/`; the space is its subfolder `space`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    args: Vec<String>,
    #[serde(default)]
    status: i32,
    /// The file to pass as standard input.
    stdin: Option<String>,
}

fn run(name: &str) {
    let folder = project("fixtures/cases").join(name);
    let case = fs::read_to_string(folder.join("case.toml")).unwrap();
    let case: Case = toml::from_str(&case).unwrap();
    let work = Work::new();
    for (path, bytes) in tree::read(&folder.join("in")) {
        work.write(&format!("in/{}", path.display()), bytes);
    }
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut watch = Watch::default();
    for step in &case.step {
        let args: Vec<_> = step.args.iter().map(String::as_str).collect();
        let mut command = work.program(&args);
        if let Some(stdin) = &step.stdin {
            command.write_stdin(fs::read(work.path(stdin)).unwrap());
        }
        let output = command.output().unwrap();
        stdout.extend_from_slice(&output.stdout);
        stderr.extend_from_slice(&output.stderr);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(step.status), "{name}: {args:?}\n{said}");
        watch.after_run(&work.path("space"));
    }
    let mut actual = tree::read(&work.path("space"));
    for (stream, bytes) in [("../stdout", stdout), ("../stderr", stderr)] {
        if !bytes.is_empty() {
            actual.insert(stream.into(), bytes);
        }
    }
    if env::var_os("BLESS").is_some() {
        bless(&folder, &actual);
        return;
    }
    let mut expected = tree::read(&folder.join("out"));
    for stream in ["stdout", "stderr"] {
        if let Ok(bytes) = fs::read(folder.join(stream)) {
            expected.insert(Path::new("..").join(stream), bytes);
        }
    }
    let differences = tree::differences(&expected, &actual);
    assert!(differences.is_empty(), "fixtures/cases/{name}/out/\n{differences}");
}

#[expect(clippy::disallowed_methods, reason = "tests may write files directly")]
fn bless(folder: &Path, actual: &Tree) {
    assert!(env::var_os("CI").is_none(), "BLESS must not be set in CI");
    let out = folder.join("out");
    for stale in [out.clone(), folder.join("stdout"), folder.join("stderr")] {
        let _ = fs::remove_dir_all(&stale);
        let _ = fs::remove_file(&stale);
    }
    for (path, bytes) in actual {
        let path = out.join(path);
        fs::create_dir_all(&out).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}
