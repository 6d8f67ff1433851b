//! Warnings and errors about the events of a run, which also appear with `--quiet`.

use crate::support::Work;

fn event(at: usize) -> String {
    format!(
        "{{\"type\":\"page\",\"messageId\":\"m{at}\",\"userId\":\"u1\",\"timestamp\":\"2026-01-05T10:00:00Z\"}}\n"
    )
}

/// Returns a dump of `n_events` events and then `n_rejects` lines that are not events.
fn dump(n_events: usize, n_rejects: usize) -> String {
    (0..n_events).map(event).collect::<String>() + &"oops\n".repeat(n_rejects)
}

/// Runs the program and returns its standard error and exit code.
fn run(work: &Work, args: &[&str]) -> (String, Option<i32>) {
    let output = work.program(args).output().unwrap();
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}

#[test]
fn a_run_fails_above_five_percent_and_a_hundred_rejects() {
    let work = Work::new();
    // The limit is 5 % of all, but at least 100. These are counts just within it and just over it.
    for (n_events, n_rejects, code) in [
        (10, 100, 0),
        (10, 101, 2),
        (1900, 100, 0),
        (1919, 101, 0),
        (1918, 101, 2),
        (3800, 200, 0),
        (3799, 200, 2),
    ] {
        work.write("events.ndjson", dump(n_events, n_rejects));
        for args in [
            &["ingest", "events.ndjson", "--space", "dry", "--dry-run", "-q"][..],
            &["ingest", "events.ndjson", "--space", &format!("i{n_events}-{n_rejects}"), "-q"],
            &["backfill", "events", "events.ndjson", "--space", &format!("b{n_events}-{n_rejects}"), "-q"],
        ] {
            let (said, ended) = run(&work, args);
            assert_eq!(ended, Some(code), "{args:?}, {n_events} and {n_rejects}: {said}");
            let n_all = n_events + n_rejects;
            assert!(said.contains(&format!("{n_rejects} of {n_all} events and lines rejected")), "{said}");
        }
    }
}

#[test]
fn an_explicit_reject_limit_has_no_minimum() {
    let work = Work::new();
    work.write("events.ndjson", dump(98, 2));
    for (bound, code) in [("2%", 0), ("1.9%", 2), ("2", 0), ("1", 2), ("0", 2), ("100%", 0)] {
        let args =
            ["ingest", "events.ndjson", "--space", &format!("flag-{bound}"), "-q", "--max-rejects", bound];
        assert_eq!(run(&work, &args).1, Some(code), "{bound}");
        let value = if bound.ends_with('%') { format!("\"{bound}\"") } else { bound.to_owned() };
        work.write("rules.toml", format!("max_rejects = {value}\n"));
        let args = [
            "ingest",
            "events.ndjson",
            "--space",
            &format!("config-{bound}"),
            "-q",
            "--config",
            "rules.toml",
        ];
        assert_eq!(run(&work, &args).1, Some(code), "{bound} in the config");
        let args = [&args[..], &["--dry-run", "--max-rejects", "50%"]].concat();
        assert_eq!(run(&work, &args).1, Some(0), "the flag overrides {bound}");
        // The printed config has the limit.
        let printed =
            work.program(&["ingest", "--print-config", "--config", "rules.toml"]).output().unwrap().stdout;
        assert!(
            String::from_utf8(printed).unwrap().contains(&format!("\nmax_rejects = {value}\n")),
            "{bound}"
        );
    }
    for wrong in ["\"5\\u0020percent\"", "-1", "1.5", "\"101%\"", "true"] {
        work.write("rules.toml", format!("\nmax_rejects = {wrong}\n"));
        let (said, code) = run(&work, &["ingest", "events.ndjson", "--space", "w", "--config", "rules.toml"]);
        assert_eq!(code, Some(2), "{wrong}");
        assert!(said.starts_with("error: rules.toml:2: `max_rejects` is neither"), "{said}");
    }
}

#[test]
fn items_of_batches_count_like_lines() {
    let work = Work::new();
    let items: Vec<String> = (0..50).map(|at| event(at).trim().to_owned()).collect();
    work.write("events.ndjson", format!("{{\"batch\":[{},{{\"type\":\"x\"}}]}}\n", items.join(",")));
    let args = ["ingest", "events.ndjson", "--space", "space", "--dry-run", "--max-rejects"];
    assert_eq!(run(&work, &[&args[..], &["1.9%"]].concat()).1, Some(2), "1 of 51 is over 1.9 %");
    assert_eq!(run(&work, &[&args[..], &["2%"]].concat()).1, Some(0));
}

#[test]
fn quiet_runs_warn_about_rejects_from_one_in_a_thousand() {
    let work = Work::new();
    for (n_events, heard) in [(1000, true), (1001, false)] {
        work.write("events.ndjson", dump(n_events, 1));
        let args = ["ingest", "events.ndjson", "--space", &format!("s{n_events}")];
        let (loud, _) = run(&work, &[&args[..], &["--dry-run"]].concat());
        let warning = format!("warning: 1 of {} events and lines rejected: events.ndjson:", n_events + 1);
        assert!(loud.contains(&warning), "{loud}");
        let (quiet, code) = run(&work, &[&args[..], &["-q"]].concat());
        assert_eq!(code, Some(0));
        assert_eq!(quiet.contains(&warning), heard, "{quiet}");
        assert_eq!(quiet.is_empty(), !heard, "{quiet}");
    }
}

#[test]
fn a_cut_off_dump_is_a_warning_whatever_its_size() {
    let work = Work::new();
    let lines = dump(3000, 0);
    work.write("events.ndjson", &lines[..lines.len() - 20]);
    work.write("whole.ndjson", dump(3000, 0).trim_end());
    let warning = "warning: events.ndjson:3000: the last line is cut off, so the file may be incomplete\n";
    assert_eq!(run(&work, &["ingest", "events.ndjson", "--space", "a", "-q"]), (warning.to_owned(), Some(0)));
    let args = ["backfill", "events", "events.ndjson", "--space", "b", "-q"];
    assert_eq!(run(&work, &args), (warning.to_owned(), Some(0)));
    // A bad first line is not reported as cut off, even if lines are sorted first.
    let backwards: String = (0..3000)
        .map(|at| event(at).replace("10:00:00", &format!("10:{:02}:{:02}", 59 - at / 60, 59 - at % 60)))
        .collect();
    work.write("events.ndjson", format!("{{\n{backwards}"));
    let (said, code) = run(&work, &["ingest", "events.ndjson", "--space", "d", "--memory", "1K"]);
    assert_eq!((said.contains("cut off"), code), (false, Some(0)), "{said}");
    assert_eq!(run(&work, &["ingest", "whole.ndjson", "--space", "c", "-q"]), (String::new(), Some(0)));
}

#[test]
fn a_run_that_ingests_nothing_warns() {
    let work = Work::new();
    work.write("empty.ndjson", "");
    work.write("blank.ndjson", "\n \n");
    work.write("events.ndjson", dump(2, 0));
    work.write("again.ndjson", dump(1, 0) + "\n");
    work.write("drop.toml", "[[drop]]\ntype = [\"page\"]\n");
    work.write("other.ndjson", event(9));
    std::fs::create_dir(work.path("nothing")).unwrap();
    assert_eq!(run(&work, &["ingest", "events.ndjson", "--space", "space", "-q"]), (String::new(), Some(0)));
    for (args, why) in [
        (&["empty.ndjson"][..], "nothing was ingested: the inputs have no lines"),
        (&["blank.ndjson"], "nothing was ingested: the inputs have no lines"),
        (&["events.ndjson"], "nothing was ingested: every input was ingested before"),
        (&["again.ndjson"], "nothing was ingested: the only event was ingested before"),
        (&["again.ndjson", "--dry-run"], "nothing would be ingested: "),
        (
            &["other.ndjson", "--config", "drop.toml"],
            "nothing was ingested: a drop rule dropped the only event",
        ),
        (&["nothing"], "no event files"),
    ] {
        let args = [&["ingest", "--space", "space", "-q"], args].concat();
        let (said, code) = run(&work, &args);
        assert_eq!(code, Some(0), "{args:?}: {said}");
        assert!(said.contains(why), "{args:?}: {said}");
    }
    let (said, code) = run(&work, &["backfill", "events", "empty.ndjson", "--space", "space", "-q"]);
    assert_eq!((said.contains("nothing was backfilled"), code), (true, Some(0)), "{said}");
}

#[test]
fn a_changed_config_warns_once_and_a_normal_run_is_silent() {
    let work = Work::new();
    let night = |at: usize, rules: &str| {
        work.write("tonight.ndjson", event(at));
        work.write("rules.toml", rules);
        let args =
            ["ingest", "tonight.ndjson", "--space", "space", "--materialize", "--config", "rules.toml"];
        (run(&work, &[&args[..], &["-q"]].concat()), work.read("rules.toml"))
    };
    assert_eq!(night(1, "").0, (String::new(), Some(0)));
    assert_eq!(night(2, "").0, (String::new(), Some(0)));
    let ((said, _), _) = night(3, "[identity]\nmax_merges = 7\n");
    assert_eq!(said.matches("warning: ").count(), 1, "{said}");
    assert!(said.contains("`identity.max_merges` was `100`, is `7`"), "{said}");
    assert_eq!(night(4, "[identity]\nmax_merges = 7\n").0, (String::new(), Some(0)));
    // Without `--quiet`, a normal run prints its summary but no notes or warnings.
    work.write("tonight.ndjson", event(5));
    let args = ["ingest", "tonight.ndjson", "--space", "space", "--materialize"];
    let (said, _) = run(&work, &[&args[..], &["--config", "rules.toml"]].concat());
    assert!(!said.contains("note: ") && !said.contains("warning: "), "{said}");
}

#[test]
fn rejects_are_listed_in_the_given_file() {
    let work = Work::new();
    work.write("events.ndjson", dump(2, 3));
    for (args, code) in [
        (&["ingest", "events.ndjson", "--space", "a"][..], 0),
        (&["ingest", "events.ndjson", "--space", "b", "--dry-run"], 0),
        (&["ingest", "events.ndjson", "--space", "c", "--max-rejects", "2"], 2),
        (&["ingest", "events.ndjson", "--space", "d", "--max-rejects", "2", "--dry-run"], 2),
        (&["backfill", "events", "events.ndjson", "--space", "e", "--max-rejects", "2"], 2),
        (&["backfill", "events", "events.ndjson", "--space", "f"], 0),
    ] {
        work.write("list", "the list of yesterday\n");
        let (said, ended) = run(&work, &[args, &["--rejects", "list", "-q"]].concat());
        assert_eq!(ended, Some(code), "{args:?}: {said}");
        let rows = work.rows("list");
        assert_eq!(rows.len(), 3, "{args:?}");
        assert_eq!((&rows[0]["line"], &rows[0]["text"]), (&3.into(), &"oops".into()));
    }
    assert_eq!(work.read("list"), work.read("a/rejected.ndjson"));
    assert!(!work.path("b").exists() && !work.path("d").exists());
    // An input without any event also writes the list.
    work.write("none.ndjson", dump(0, 2));
    assert_eq!(run(&work, &["ingest", "none.ndjson", "--space", "a", "--rejects", "list"]).1, Some(2));
    assert_eq!(work.rows("list").len(), 2);
    // A clean run empties the list.
    work.write("clean.ndjson", event(7));
    assert_eq!(run(&work, &["ingest", "clean.ndjson", "--space", "a", "--rejects", "list", "-q"]).1, Some(0));
    assert_eq!(work.read("list"), "");
}

#[test]
fn the_list_of_rejects_overwrites_no_input_or_space() {
    let work = Work::new();
    work.write("events.ndjson", dump(2, 1));
    assert_eq!(run(&work, &["ingest", "events.ndjson", "--space", "space", "-q"]).1, Some(0));
    let committed = work.read("space/pages.ndjson");
    work.write("more.ndjson", event(5));
    for place in ["space/pages.ndjson", "space/manifest.json", "space/.state/lock", "more.ndjson", "space"] {
        let (said, code) = run(&work, &["ingest", "more.ndjson", "--space", "space", "--rejects", place]);
        assert_eq!(code, Some(2), "{place}");
        assert!(said.contains("hint: choose another file for `--rejects`"), "{place}: {said}");
    }
    assert_eq!((work.read("space/pages.ndjson"), work.read("more.ndjson")), (committed, event(5)));
}

#[test]
fn excluding_identity_violations_warns_once() {
    let work = Work::new();
    work.write("rules.toml", "[sync]\nexclude_tables = [\"identity_violations\"]\n");
    for (at, heard) in [(1, true), (2, false)] {
        work.write("tonight.ndjson", event(at));
        let args = ["ingest", "tonight.ndjson", "--space", "space", "--config", "rules.toml", "-q"];
        let (said, code) = run(&work, &args);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(said.contains("nothing will record why an identifier was not used"), heard, "{said}");
    }
}

#[test]
fn a_table_name_without_letters_gets_no_empty_suggestion() {
    let work = Work::new();
    work.write("events.ndjson", event(1));
    work.write("rules.toml", "[sync]\nexclude_tables = [\"---\"]\n");
    let (said, _) = run(&work, &["ingest", "events.ndjson", "--space", "space", "--config", "rules.toml"]);
    assert!(
        said.contains("`[sync]` lists the table `---`, but the name of a table has letters or digits"),
        "{said}"
    );
    assert!(!said.contains("``"), "{said}");
}

#[test]
fn segment_ids_of_two_styles_do_not_mix() {
    for (first, second) in [("ksuid", "sequential"), ("sequential", "ksuid")] {
        let work = Work::new();
        work.write("a.ndjson", event(1));
        work.write("b.ndjson", event(2));
        let ingest = |input: &str, style: &str| {
            run(&work, &["ingest", input, "--space", "space", "-q", "--segment-ids", style])
        };
        assert_eq!(ingest("a.ndjson", first).1, Some(0));
        let (said, code) = ingest("b.ndjson", second);
        assert_eq!(code, Some(2));
        let expected =
            format!("error: `space`: its segment ids are `{first}`, and new ones cannot be `{second}`\n");
        assert!(said.starts_with(&expected), "{said}");
        assert_eq!(ingest("b.ndjson", first).1, Some(0));
    }
}
