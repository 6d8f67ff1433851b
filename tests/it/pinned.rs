//! Pins the tables of one generated dump: optimisations must not change a byte.

use profiles_sync::files::Files;
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    dump::{self, Knobs},
    faults::{committed, folder, run},
};

#[test]
fn the_tables_of_3000_events_never_change() {
    let work = folder();
    let mut bytes = Vec::new();
    let knobs = Knobs { events: 3000, seed: 2022, days: 60, malformed: 0.01, changes: 10.0 };
    dump::write(knobs, &mut bytes).unwrap();
    let (events, space) = (work.path().join("events.ndjson"), work.path().join("space"));
    Files::real().create(&events).unwrap().write_all(&bytes).unwrap();
    run(&events, &space, &Files::real()).unwrap();
    let mut all = Vec::new();
    // `rejected` contains the path of the input, which is in a temporary folder.
    for (table, rows) in committed(&space).into_iter().filter(|(table, _)| table != "rejected") {
        all.extend_from_slice(table.as_bytes());
        all.extend_from_slice(&rows);
    }
    assert_eq!(
        format!("{:032x}", xxh3_128(&bytes)),
        "81130db1a12254d96e9f7727f587f1fd",
        "the generator has changed"
    );
    assert_eq!(format!("{:032x}", xxh3_128(&all)), "3bcd009a1ccc9b5eb889f895e19d7e9b");
}
