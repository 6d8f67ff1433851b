//! A run with almost no memory writes the same tables and the same state.

use std::{fs, path::Path};

use profiles_sync::{
    files::Files,
    jobs::ingest::{IngestOptions, ingest},
    progress::Silent,
    summary::IngestSummary,
};

use crate::{
    dump::{self, Knobs},
    faults::{assert_whole, committed, folder},
};

fn run(input: &Path, space: &Path, memory: u64) -> IngestSummary {
    let options = IngestOptions {
        inputs: vec![input.to_owned()],
        space: space.to_owned(),
        config: None,
        segment_ids: None,
        max_rejects: None,
        rejects: None,
        compress: None,
        memory: Some(memory),
        dry_run: false,
        again: false,
        wait: 0,
    };
    ingest(&options, &Files::real(), &Silent).unwrap()
}

#[test]
fn duplicates_among_5000_events_are_found_with_almost_no_memory() {
    let work = folder();
    let mut bytes = Vec::new();
    let knobs = Knobs { events: 5000, seed: 7, days: 60, malformed: 0.0, changes: 10.0 };
    dump::write(knobs, &mut bytes).unwrap();
    let path = |name: &str| work.path().join(name);
    let (events, again) = (path("events.ndjson"), path("again.ndjson"));
    Files::real().create(&events).unwrap().write_all(&bytes).unwrap();
    // Add a blank line: a file with the same content would be skipped.
    Files::real().create(&again).unwrap().write_all(&[b"\n", &bytes[..]].concat()).unwrap();
    let (much, little) = (path("much"), path("little"));
    let summaries = [run(&events, &much, 64 << 20), run(&events, &little, 1)];
    assert!(4000 < summaries[0].accepted, "{:?}", summaries[0]);
    assert!(committed(&much) == committed(&little));
    let state = |space: &Path| fs::read(space.join(".state/resolver-1")).unwrap();
    assert!(state(&much) == state(&little));
    for space in [&much, &little] {
        let summary = run(&again, space, 1);
        assert_eq!((summary.accepted, summary.duplicates), (0, summary.events), "{}", space.display());
        assert_whole(space, "after a run that added nothing");
    }
}
