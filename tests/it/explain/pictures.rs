//! Pictures of explanations: as written down, and drawn by a real browser.

use std::{env, fs, path::Path, process::Command};

use serde_json::json;

use super::{event, space};
use crate::support::{Work, project};

/// The cases of `super::CASES` that are drawn.
const DRAWN: [(&str, &[&str]); 4] = [
    ("one-profile", &["email:first@example.com", "email:second@example.com"]),
    ("refused", &["user_id:u3", "email:shared@example.com"]),
    ("profile", &["profile_1"]),
    ("hostile", &["user_id:<script>alert(1)</script>"]),
];

fn drawn(work: &Work, ids: &[&str], format: &str) -> String {
    let args = [&["explain"], ids, &["--space", "space", "--format", format]].concat();
    let assert = work.program(&args).assert().success().stderr("");
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own files need no wrapper")]
fn pictures_are_as_written_down() {
    let work = space();
    let mut differences = Vec::new();
    for (name, ids) in DRAWN {
        for (format, end) in [("mermaid", "mmd"), ("dot", "dot"), ("svg", "svg"), ("html", "html")] {
            let actual = drawn(&work, ids, format);
            let path = project("fixtures/explain").join(format!("{name}.{end}"));
            if env::var_os("BLESS").is_some() {
                assert!(env::var_os("CI").is_none(), "BLESS is for people: CI compares");
                fs::write(&path, &actual).unwrap();
            }
            if actual != fs::read_to_string(&path).unwrap_or_default() {
                differences.push(format!("{}\n{actual}", path.display()));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn nothing_from_an_event_is_markup() {
    let work = space();
    for ids in [
        &["user_id:<script>alert(1)</script>"][..],
        &["user_id:<script>alert(1)</script>", "anonymous_id:a\u{1b}[2J"],
    ] {
        for format in ["svg", "html", "mermaid", "dot"] {
            let text = drawn(&work, ids, format);
            assert!(!text.contains(['\u{1b}', '\u{202e}']), "{format}");
            if format != "dot" {
                assert!(!text.contains("<script>alert") && !text.contains("<b>"), "{format}: {text}");
                assert!(!text.contains("\"'>"), "{format}: {text}");
            }
            let links = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!links.contains("http://") && !links.contains("https://"), "{format}: needs a network");
        }
    }
}

#[test]
fn a_picture_of_many_identifiers_says_what_it_left_out() {
    let work = Work::new();
    work.write("rules.toml", "[identity.types.anonymous_id]\nlimit = 1000\n");
    let events: String = (0..300)
        .map(|n| {
            let mut one = event(n % 60, "page", &json!({"userId": "u1", "anonymousId": format!("a{n}")}));
            one = one.replace(&format!("\"m{}\"", n % 60), &format!("\"m{n}\""));
            one
        })
        .collect();
    work.write("events.ndjson", events);
    work.program(&["ingest", "events.ndjson", "--space", "space", "--config", "rules.toml", "-q"])
        .assert()
        .success();
    for format in ["svg", "html", "mermaid", "dot"] {
        let text = drawn(&work, &["user_id:u1"], format);
        assert!(text.contains("101 more identifiers"), "{format}");
    }
    assert!(drawn(&work, &["anonymous_id:a1", "anonymous_id:a299"], "text").lines().count() < 20);
}

/// Finds a browser; `None` if there is none here. In CI there is one.
fn browser() -> Option<&'static str> {
    let is_there = |name: &&str| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| is_there(name));
    assert!(found.is_some() || env::var_os("CI").is_none(), "no browser is installed");
    found
}

fn open(browser: &str, flags: &[&str], page: &Path) -> Vec<u8> {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--virtual-time-budget=2000",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(flags)
        .arg(page)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn a_browser_shows_the_page_and_runs_nothing_but_its_own_script() {
    let Some(browser) = browser() else { return };
    let work = space();
    for (name, ids) in DRAWN {
        let page = work.write(&format!("{name}.html"), drawn(&work, ids, "html"));
        let shown = String::from_utf8(open(browser, &["--dump-dom"], &page)).unwrap();
        // The slider's script ran: it says how many steps are shown.
        let (_, output) = shown.split_once("<output id=\"shown\">").unwrap();
        let (output, _) = output.split_once("</output>").unwrap();
        let (shown_steps, all_steps) = output.split_once(" of ").unwrap();
        assert_eq!(shown_steps, all_steps, "{name}");
        assert_eq!(shown.matches("<script").count(), 1, "{name}");
        let picture = work.write(&format!("{name}.svg"), drawn(&work, ids, "svg"));
        let png = work.path(&format!("{name}.png"));
        open(browser, &[&format!("--screenshot={}", png.display()), "--window-size=1200,700"], &picture);
        assert!(2000 < fs::metadata(&png).unwrap().len(), "{name}: nothing is drawn");
    }
}
