//! Inputs crafted to exhaust memory or time: their cost stays in proportion to their size.

use std::{
    fmt::Write,
    fs,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use crate::support::Work;

/// The cost of a run.
#[derive(Debug)]
struct Cost {
    /// The peak resident memory, in MiB.
    peak: u64,
    /// The processor time, in seconds.
    seconds: u64,
    error: String,
}

/// Runs the program, which must succeed, and measures it every few milliseconds.
fn run(work: &Work, args: &[&str]) -> Cost {
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("profiles-sync"))
        .env_clear()
        .current_dir(work.path(""))
        .args(args)
        .args(["--threads", "2", "-q"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut cost = Cost { peak: 0, seconds: 0, error: String::new() };
    while child.try_wait().unwrap().is_none() {
        look(&child, &mut cost);
        thread::sleep(Duration::from_millis(3));
    }
    let output = child.wait_with_output().unwrap();
    cost.error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {cost:?}");
    cost
}

fn look(child: &Child, cost: &mut Cost) {
    const TICKS_A_SECOND: u64 = 100;
    let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", child.id())).unwrap_or_default();
    let status = read("status");
    // Until the program is loaded, the child shows the memory of the process that started it, which is this one.
    if !status.starts_with("Name:\tprofiles-sync\n") {
        return;
    }
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")?.trim().parse().ok());
    cost.peak = cost.peak.max(peak.unwrap_or(0_u64) / 1024);
    let stat = read("stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse().ok()).unwrap_or(0_u64);
    cost.seconds = cost.seconds.max((ticks(11) + ticks(12)) / TICKS_A_SECOND);
}

const TIMES: &str = "\"timestamp\":1704067200000,\"receivedAt\":1704067200000";

fn batch(n_items: usize, context: usize) -> String {
    let items = vec!["{\"type\":\"track\",\"event\":\"E\"}"; n_items].join(",");
    let context = "y".repeat(context);
    format!(
        "{{\"batch\":[{items}],\"sentAt\":\"2024-01-01T00:00:00Z\",\"context\":{{\"x\":\"{context}\"}}}}\n"
    )
}

#[test]
fn batches_share_their_context_and_too_large_ones_are_rejected() {
    let work = Work::new();
    let event = format!("{{\"type\":\"page\",\"userId\":\"u\",{TIMES}}}\n");
    work.write("large.ndjson", batch(10_000, 1_000_000) + &event);
    let cost = run(&work, &["ingest", "large.ndjson", "--space", "large"]);
    assert!(cost.peak < 150 && cost.seconds < 10, "{cost:?}");
    assert_eq!(work.rows("large/rejected.ndjson")[0]["reason"], "batch_too_large");
    assert_eq!(work.rows("large/pages.ndjson").len(), 1);
    // A batch within the limit makes 200 MB of rows, but only its line is in memory.
    work.write("shared.ndjson", batch(200, 1_000_000));
    let cost = run(&work, &["ingest", "shared.ndjson", "--space", "shared"]);
    assert!(cost.peak < 250, "{cost:?}");
    let rows = fs::read_to_string(work.path("shared/tracks.ndjson")).unwrap();
    assert_eq!(rows.lines().count(), 200);
    assert!(rows.lines().all(|row| row.contains("\"context_x\":\"yyyy")
        && row.ends_with("y\",\"event\":\"e\",\"event_text\":\"E\"}")));
}

#[test]
fn a_long_key_around_many_values_is_rejected() {
    let work = Work::new();
    let values: Vec<String> = (0..10_000).map(|at| format!("\"k{at}\":1")).collect();
    let (key, values) = ("k".repeat(1_000_000), values.join(","));
    let event = |payload: &str| {
        format!(
            "{{\"type\":\"identify\",\"userId\":\"u\",{TIMES},\"{payload}\":{{\"{key}\":{{{values}}}}}}}\n"
        )
    };
    let good = format!("{{\"type\":\"page\",\"userId\":\"u\",{TIMES}}}\n");
    work.write("events.ndjson", event("context") + &event("traits") + &event("properties") + &good);
    let cost = run(&work, &["ingest", "events.ndjson", "--space", "space"]);
    assert!(cost.peak < 150, "{cost:?}");
    let rejected = work.rows("space/rejected.ndjson");
    assert!(rejected.len() == 3 && rejected.iter().all(|row| row["reason"] == "columns_too_long"));
}

#[test]
fn bad_items_of_a_batch_share_its_line() {
    let work = Work::new();
    let event = format!("{{\"type\":\"page\",\"userId\":\"u\",{TIMES}}}\n");
    let items = vec!["1"; 500_000].join(",");
    work.write("events.ndjson", format!("{{\"batch\":[{items}]}}\n{event}"));
    let args = ["ingest", "events.ndjson", "--space", "space", "--dry-run", "--max-rejects", "1000000"];
    let cost = run(&work, &args);
    assert!(cost.peak < 200 && cost.seconds < 10, "{cost:?}");
}

/// Returns `n` events that arrived and happened at the same time, not in the order of their ids.
fn ties(n: u64) -> String {
    let mut out = String::new();
    for number in 0..n {
        let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let user = id % 1000;
        writeln!(
            out,
            "{{\"type\":\"page\",\"messageId\":\"{id:016x}\",\"userId\":\"u{user}\",{TIMES},\
             \"properties\":{{\"path\":\"/{}\"}}}}",
            "p".repeat(200)
        )
        .unwrap();
    }
    out
}

#[test]
fn events_that_arrived_at_the_same_time_are_never_all_in_memory() {
    let work = Work::new();
    let events = ties(150_000);
    work.write("events.ndjson", &events);
    let cost = run(&work, &["ingest", "events.ndjson", "--space", "little", "--memory", "8M"]);
    assert!(cost.peak < 8 + 100, "{cost:?}");
    run(&work, &["ingest", "events.ndjson", "--space", "much", "--memory", "4G"]);
    for table in ["pages", "id_graph_updates", "external_id_mapping_updates"] {
        let read = |space: &str| fs::read(work.path(&format!("{space}/{table}.ndjson"))).unwrap();
        assert!(read("little") == read("much"), "{table}");
    }
}

#[test]
fn sorting_keeps_line_numbers_and_the_order_of_ties() {
    let work = Work::new();
    let mut lines: Vec<String> = ties(9_000).lines().map(str::to_owned).collect();
    for at in (0..lines.len()).step_by(7) {
        // Bad lines, different lines with one message id, and batches whose items are far apart in time.
        lines[at] = match at % 5 {
            0 => "{\"type\":\"page\"".to_owned(),
            1 => format!("{{\"type\":\"page\",\"messageId\":\"same\",\"userId\":\"{at}\",{TIMES}}}"),
            2 => {
                let item =
                    |time: usize| format!("{{\"type\":\"page\",\"userId\":\"b{at}\",\"timestamp\":{time}}}");
                format!(
                    "{{\"batch\":[{},{{}},{}]}}",
                    item(1_704_067_200_000 - at),
                    item(1_704_067_200_000 + at)
                )
            }
            3 => String::new(),
            _ => format!("{{\"type\":\"page\",\"userId\":\"{at}\",{TIMES}}}"),
        };
    }
    work.write("in/a.ndjson", lines[..4_000].join("\n"));
    work.write("in/segment-logs/s1/1/b.ndjson", lines[4_000..].join("\r\n"));
    work.write("in/segment-logs/s2/1/c.ndjson", lines[2_000..5_000].join("\n"));
    for (space, memory) in [("little", "1"), ("some", "9M"), ("much", "4G")] {
        run(&work, &["ingest", "in", "--space", space, "--memory", memory, "--max-rejects", "100%"]);
    }
    for table in
        ["pages", "rejected", "id_graph_updates", "external_id_mapping_updates", "identity_violations"]
    {
        let read = |space: &str| {
            fs::read_to_string(work.path(&format!("{space}/{table}.ndjson"))).unwrap_or_default()
        };
        assert!(read("little") == read("much") && read("some") == read("much"), "{table}");
    }
    assert!(!work.rows("much/rejected.ndjson").is_empty());
}

fn page(id: &str, identifiers: impl Iterator<Item = (String, String)>) -> String {
    let ids: Vec<String> =
        identifiers.map(|(name, value)| format!("{{\"type\":\"{name}\",\"id\":\"{value}\"}}")).collect();
    format!(
        "{{\"type\":\"page\",\"messageId\":\"{id}\",{TIMES},\"context\":{{\"externalIds\":[{}]}}}}\n",
        ids.join(",")
    )
}

#[test]
fn events_with_a_hundred_thousand_values_take_seconds() {
    let work = Work::new();
    let types = page("types", (0..100_000).map(|at| (format!("t{at}"), "v".to_owned())));
    work.write("types.ndjson", types);
    let leaves: Vec<String> = (0..200_000).map(|at| format!("\"k{at}\":1")).collect();
    work.write(
        "leaves.ndjson",
        format!(
            "{{\"type\":\"identify\",\"userId\":\"u\",{TIMES},\"traits\":{{\"z\":{{{}}}}}}}\n",
            leaves.join(",")
        ),
    );
    let clashes: Vec<String> = (0..100_000).map(|at| format!("\"k{at}\":1")).collect();
    let clashes = clashes.join(",");
    work.write(
        "clashes.ndjson",
        format!(
            "{{\"type\":\"page\",\"userId\":\"u\",{TIMES},\"context\":{{{clashes}}},\
             \"properties\":{{\"context\":{{{clashes}}}}}}}\n"
        ),
    );
    let apart = |at: usize| page(&format!("m{at}"), std::iter::once(("t".to_owned(), format!("d{at}"))));
    let known: String = (0..60_000).map(apart).collect();
    work.write("known.ndjson", known + &page("n", (0..60_000).map(|at| ("t".to_owned(), format!("d{at}")))));
    for name in ["types", "leaves", "clashes", "known"] {
        let cost = run(&work, &["ingest", &format!("{name}.ndjson"), "--space", name]);
        assert!(cost.seconds < 25, "{name}: {cost:?}");
    }
}

#[test]
fn endlessly_new_trait_names_are_capped() {
    let work = Work::new();
    let mut on_one = String::new();
    let mut on_many = String::new();
    for event in 0..60 {
        let names: Vec<String> = (0..300).map(|at| format!("\"p{}\":1", event * 300 + at)).collect();
        let names = names.join(",");
        writeln!(on_one, "{{\"type\":\"identify\",\"userId\":\"u\",{TIMES},\"messageId\":\"m{event}\",\"traits\":{{{names}}}}}").unwrap();
    }
    for event in 0..400 {
        let names: Vec<String> = (0..300).map(|at| format!("\"p{}\":1", event * 300 + at)).collect();
        let names = names.join(",");
        writeln!(on_many, "{{\"type\":\"identify\",\"userId\":\"u{event}\",{TIMES},\"traits\":{{{names}}}}}")
            .unwrap();
    }
    work.write("one.ndjson", on_one);
    work.write("many.ndjson", on_many);
    let cost = run(&work, &["ingest", "one.ndjson", "--space", "one"]);
    assert!(cost.seconds < 25, "{cost:?}");
    let last = work.rows("one/profile_traits_updates.ndjson").pop().unwrap();
    let seqs: serde_json::Map<_, _> = serde_json::from_str(last["__trait_seqs"].as_str().unwrap()).unwrap();
    assert_eq!(seqs.len(), 10_000);
    let cost = run(&work, &["ingest", "many.ndjson", "--space", "many"]);
    assert!(cost.seconds < 15, "{cost:?}");
}

#[test]
fn profiles_merging_youngest_first_stay_within_memory() {
    const PROFILES: usize = 1_500;
    let work = Work::new();
    work.write(
        "rules.toml",
        "[identity]\nmax_merges = 100000\nmax_identifiers = 100000\n[identity.types.t]\nlimit = 100000\n",
    );
    let identifier = |at: usize| ("t".to_owned(), format!("d{at}"));
    let mut events = String::new();
    for at in 0..PROFILES {
        events += &page(&format!("a{at:05}"), std::iter::once(identifier(at)));
    }
    for at in (1..PROFILES).rev() {
        events += &page(&format!("b{:05}", PROFILES - at), [identifier(at - 1), identifier(at)].into_iter());
    }
    work.write("events.ndjson", events);
    let cost = run(
        &work,
        &["ingest", "events.ndjson", "--space", "space", "--config", "rules.toml", "--memory", "64M"],
    );
    assert!(cost.peak < 64 + 100, "{cost:?}");
}

#[test]
fn event_names_beyond_the_limit_never_get_a_table() {
    let work = Work::new();
    work.write("rules.toml", "max_tables = 2\n[sync]\nexclude_tables = [\"left_out\"]\n");
    let track = |at: usize, name: &str| {
        format!(
            "{{\"type\":\"track\",\"messageId\":\"m{at}\",\"userId\":\"u\",\"timestamp\":{},\"event\":\"{name}\",\"properties\":{{\"n\":{at}}}}}\n",
            1_704_067_200_000 + at
        )
    };
    let first = [(1, "One"), (2, "Left Out"), (3, "Two"), (4, "Three"), (5, "One")];
    work.write("first.ndjson", first.map(|(at, name)| track(at, name)).concat());
    work.write("second.ndjson", [(6, "Four"), (7, "Two")].map(|(at, name)| track(at, name)).concat());
    let ingest = |input: &str| {
        let args = ["ingest", input, "--space", "space", "--config", "rules.toml", "--json"];
        let output = work.program(&args).output().unwrap();
        assert!(output.status.success());
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        summary["notes"]["events_over_max_tables"].as_u64()
    };
    assert_eq!(ingest("first.ndjson"), Some(1));
    fs::remove_dir_all(work.path("space/.state")).unwrap();
    assert_eq!(ingest("second.ndjson"), Some(1));
    let events: Vec<String> =
        work.rows("space/tracks.ndjson").iter().map(|row| row["event"].to_string()).collect();
    assert_eq!(events, ["\"one\"", "\"left_out\"", "\"two\"", "null", "\"one\"", "null", "\"two\""]);
    assert!(work.rows("space/tracks.ndjson").iter().all(|row| row["event_text"].is_string()));
    assert!(!work.path("space/three.ndjson").exists() && !work.path("space/left_out.ndjson").exists());
    assert_eq!(work.rows("space/two.ndjson").len(), 2);
    // A backfill counts them too.
    work.write(
        "third.ndjson",
        [(8, "Five"), (9, "Six"), (10, "Two")].map(|(at, name)| track(at, name)).concat(),
    );
    let args = ["backfill", "events", "third.ndjson", "--space", "space", "--config", "rules.toml", "--json"];
    let output = work.program(&args).output().unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["written"], &summary["notes"]["events_over_max_tables"]), (&3.into(), &2.into()));
}
