//! Giant profiles are not slow: events of one giant profile cost about as much each as events of many profiles.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use profiles_sync::{
    config::{self, rules::Rules},
    event::{
        block::EventBlock,
        duplicates::SeenMessages,
        order::{EventQueue, ReleasedEvents},
    },
    identity::{graph::IdentityGraph, resolver::Resolver, traits::TraitNames, types::IdentifierTypes},
    pipeline::{
        event_names::EventTableLimit,
        prepare::ChunkPreparer,
        resolve::{ResolveStage, ResolvedEvents},
    },
    raw::RowMode,
    read::{
        chunk::{Chunk, ChunkSource},
        inputs::Input,
    },
    space::manifest::Manifest,
    summary::IngestSummary,
};

const IDENTIFIERS: usize = 200_000;
/// Identifiers per profile in a dump with many profiles.
const SPREAD: usize = 4;

/// A config whose limits and caps are never reached.
const NO_LIMITS: &str = "
[identity]
max_merges = 4294967295
max_identifiers = 4294967295
[identity.types.anonymous_id]
limit = 4294967295
window = \"monthly\"
";

/// Returns a dump of events, each with one or two identifiers, given by number.
fn dump(events: impl Iterator<Item = (usize, Option<usize>)>) -> String {
    let mut out = String::new();
    for (number, (one, other)) in events.enumerate() {
        write!(
            out,
            "{{\"type\":\"page\",\"messageId\":\"m{number}\",\"receivedAt\":{},\"anonymousId\":\"a{one}\"",
            1_700_000_000_000 + number
        )
        .unwrap();
        if let Some(other) = other {
            let link = format!("{{\"type\":\"anonymous_id\",\"id\":\"a{other}\"}}");
            write!(out, ",\"context\":{{\"externalIds\":[{link}]}}").unwrap();
        }
        out.push_str("}\n");
    }
    out
}

/// Parses a dump into events ready to be resolved.
fn prepare(dump: &str, rules: &Arc<Rules>, types: &Arc<IdentifierTypes>) -> ReleasedEvents {
    let input = Input { path: PathBuf::new(), source: None };
    let chunk = Chunk {
        input: 0,
        source: ChunkSource::Memory(Arc::default()),
        offset: 0,
        length: dump.len() as u64,
        first_line: 1,
        n_lines: 0,
        earliest: 0,
        latest: 0,
        keys: None,
        in_order: false,
        too_long: None,
    };
    let mut waiting = EventQueue::default();
    let block = EventBlock { lines: dump.as_bytes().to_vec(), ..EventBlock::default() };
    waiting.add(ChunkPreparer::new(rules, types, RowMode::Write).prepare(&chunk, &[], &[input], block).block);
    waiting.release(None)
}

/// Runs the resolve stage, the only sequential one. Returns how long it took and how many profiles are left.
fn resolve(events: &ReleasedEvents, rules: &Arc<Rules>, types: &Arc<IdentifierTypes>) -> (Duration, u64) {
    let resolver = Resolver::new(rules, types, IdentityGraph::default(), TraitNames::default());
    let names = EventTableLimit::of(&Manifest::default(), rules);
    let mut stage =
        ResolveStage::new(resolver, SeenMessages::default(), (0, None), names, rules, types, RowMode::Write);
    let mut events = ReleasedEvents { blocks: events.blocks.clone(), places: events.places.clone() };
    let start = Instant::now();
    let mut rows = ResolvedEvents::default();
    while !events.places.is_empty() {
        (rows, events) = stage.resolve(events, rows).unwrap();
    }
    let took = start.elapsed();
    let mut summary = IngestSummary::default();
    stage.finish(&mut summary);
    (took, summary.profiles_created - summary.profiles_merged)
}

/// Asserts that one profile costs at most twice what many cost. The median of three attempts counts, because other
/// programs use the machine too.
fn check(what: &str, one: &str, many: &str) {
    let rules = Arc::new(config::parse(NO_LIMITS, Path::new("no-limits.toml")).unwrap());
    let types = Arc::new(IdentifierTypes::default());
    let (one, many) = rayon::join(|| prepare(one, &rules, &types), || prepare(many, &rules, &types));
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let (apart, n_many) = resolve(&many, &rules, &types);
        let (together, n_one) = resolve(&one, &rules, &types);
        assert_eq!((n_one, n_many), (1, (IDENTIFIERS / SPREAD) as u64), "{what}");
        ratios.push(together.as_secs_f64() / apart.as_secs_f64());
        let n_fine = ratios.iter().filter(|ratio| **ratio <= 2.0).count();
        if 1 < n_fine {
            return;
        }
    }
    panic!("{what}: one profile costs {ratios:.2?} times what many cost");
}

#[test]
fn a_growing_chain_is_not_slow() {
    let chain = |cut: bool| {
        dump((0..IDENTIFIERS).map(|at| {
            let last = at + 1 == IDENTIFIERS || cut && at % SPREAD == SPREAD - 1;
            (at, (!last).then_some(at + 1))
        }))
    };
    check("a chain", &chain(false), &chain(true));
}

#[test]
fn repeated_merges_into_one_profile_are_not_slow() {
    let links = |cut: bool, links: Vec<usize>| {
        let alone = (0..IDENTIFIERS).map(|at| (at, None));
        let first = move |at| if cut { at - at % SPREAD } else { 0 };
        let linked = links.into_iter().map(move |at| (first(at), (at != first(at)).then_some(at)));
        dump(alone.chain(linked))
    };
    let forwards: Vec<usize> = (1..IDENTIFIERS).collect();
    let backwards: Vec<usize> = (1..IDENTIFIERS).rev().collect();
    check("merges, the oldest first", &links(false, forwards.clone()), &links(true, forwards));
    check("merges, the youngest first", &links(false, backwards.clone()), &links(true, backwards));
}

/// Returns an event with `n` identifiers of `types` identifier types.
fn crowd(n: usize, types: usize) -> String {
    let ids = (0..n).map(|at| format!("{{\"type\":\"t{}\",\"id\":\"d{at}\"}}", at % types));
    let ids = ids.collect::<Vec<_>>().join(",");
    format!(
        "{{\"type\":\"page\",\"messageId\":\"m\",\"userId\":\"u\",\"receivedAt\":1700000000000,\
         \"context\":{{\"externalIds\":[{ids}]}}}}\n"
    )
}

#[test]
fn an_event_with_a_hundred_thousand_identifiers_is_not_slow() {
    for types in [1, 1000] {
        let rules = Arc::new(Rules::default());
        let known = Arc::new(IdentifierTypes::default());
        let events = prepare(&crowd(100_000, types), &rules, &known);
        let (took, n_profiles) = resolve(&events, &rules, &known);
        assert_eq!(n_profiles, 1);
        assert!(took < Duration::from_secs(20), "{types} types: {took:?}");
    }
}
