//! The steps of `docs/backfill.md` run as written.

use std::{path::Path, process::Command};

use super::{RAW, VIEWS, export, run, slices};
use crate::support::{Work, project_text};

/// Returns the shell commands of a page by section.
fn sections(page: &str) -> Vec<(String, String)> {
    let mut sections: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push((title.to_owned(), String::new()));
        } else if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside {
            let script = &mut sections.last_mut().unwrap().1;
            script.push_str(line);
            script.push('\n');
        }
    }
    sections
}

/// Returns rows with column names in capitals, as some warehouses export them.
fn in_capitals(text: &str) -> String {
    let rows = text.lines().map(|line| {
        let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        let row: serde_json::Map<_, _> =
            row.into_iter().map(|(name, value)| (name.to_uppercase(), value)).collect();
        serde_json::Value::from(row).to_string() + "\n"
    });
    rows.collect()
}

#[test]
fn every_step_of_the_guide_runs() {
    let page = project_text("docs/backfill.md");
    let mut n_commands = 0;
    for (title, script) in sections(&page) {
        let work = Work::new();
        slices(&work, 600);
        work.write("dumps/old.ndjson", work.read("first.ndjson"));
        work.write("dumps/today.ndjson", work.read("second.ndjson"));
        run(&work, &["ingest", "first.ndjson", "--space", "warehouse", "--materialize"]);
        export(&work, "warehouse", &VIEWS, "views");
        for view in VIEWS {
            work.write(
                &format!("export/{}.json", view.to_uppercase()),
                in_capitals(&work.read(&format!("views/{view}.ndjson"))),
            );
        }
        for table in RAW.into_iter().chain(["pages"]) {
            let text = work.read(&format!("warehouse/{table}.ndjson"));
            work.write(&format!("raw-export/{table}/part-1.json"), in_capitals(&text));
        }
        work.write("without-pages.toml", "[sync]\nexclude_tables = [\"pages\"]\n");
        let program = assert_cmd::cargo::cargo_bin!("profiles-sync").parent().map(Path::to_owned).unwrap();
        for command in script.lines() {
            n_commands += 1;
            let output = Command::new("sh")
                .args(["-c", command])
                .env_clear()
                .env("PATH", format!("{}:/usr/bin:/bin", program.display()))
                .current_dir(work.path(""))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{title}: {command}\n{said}");
            let adds = command.contains(" ingest dumps") || command.contains("--tables pages");
            assert!(
                !adds || !said.contains("rows added                                        0"),
                "{command}\n{said}"
            );
        }
    }
    assert!(15 <= n_commands, "{n_commands} commands");
}
