//! The models of `docs/dbt` are built by dbt over loaded tables, and all of its tests pass.

use std::process::Command;

use crate::{
    duckdb::python_with,
    support::{Work, project},
};

/// DuckDB in a version that this dbt knows. The statements are the same.
const PACKAGES: [(&str, &str); 3] = [("dbt-core", "1.10.23"), ("dbt-duckdb", "1.10.1"), ("duckdb", "1.4.5")];

#[test]
#[ignore = "dbt takes a minute to install; `.ci/run --all` runs it"]
fn the_models_for_dbt_are_built_and_their_tests_pass() {
    let python = python_with(&PACKAGES).unwrap();
    let work = Work::new();
    let input = project("fixtures/sample/events.ndjson");
    let ingest = ["ingest", input.to_str().unwrap(), "--space", "space", "--materialize", "-q"];
    work.program(&ingest).assert().success();
    let load = work.program(&["schema", "--space", "space", "--dialect", "duckdb", "-q"]).assert().success();
    work.write("script.sql", &load.get_output().stdout);
    let run = |command: &mut Command| {
        let output = command.current_dir(work.path("")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    let script = project("tests/it/schema/run_script.py");
    run(Command::new(&python).arg(&script).args(["warehouse.duckdb", "run", "script.sql"]));
    // dbt writes into the folder of its profile.
    run(Command::new("cp").arg("-r").arg(project("docs/dbt")).arg("dbt"));
    for what in ["parse", "build"] {
        let folder = work.path("dbt");
        let said = run(Command::new(&python)
            .args(["-m", "dbt.cli.main", "--no-use-colors", what, "--target-path"])
            .arg(work.path("target"))
            .arg("--log-path")
            .arg(work.path("logs"))
            .arg("--project-dir")
            .arg(&folder)
            .arg("--profiles-dir")
            .arg(&folder)
            .env("DO_NOT_TRACK", "1")
            .env("PROFILES_SYNC_DUCKDB", work.path("warehouse.duckdb")));
        if what == "build" {
            assert!(
                said.contains("ERROR=0") && said.contains("WARN=0") && !said.contains("PASS=0"),
                "{said}"
            );
        }
    }
    let models = "SELECT count(*) AS n FROM dbt_profiles.stg_tracks WHERE canonical_segment_id IS NOT NULL";
    let rows = run(Command::new(&python).arg(&script).args(["warehouse.duckdb", "rows", models]));
    assert!(!rows.contains("\"n\": 0"), "{rows}");
}
