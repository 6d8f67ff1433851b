//! Collects identifiers and their profiles while the tables that hold them are joined. Reading the tables again would
//! cost as much as the first time.
//!
//! Of a row that is the same on both sides, only the profile is kept, for counting. Of any other row the identifier and
//! its profiles are kept, and their texts as long as there are few.

use crate::{
    collections::{Map, key_of},
    diff::{
        keys::{KeyFinder, RowKey},
        sides::{NEW, OLD},
    },
};

use super::{
    load::{has_null, key, segment_id_of, split_part},
    overlap::{JoinedIdentifiers, Membership},
};

/// If more rows than this differ, their texts are not kept.
const MAX_TEXTS: usize = 100_000;

/// What to collect from a table.
#[derive(Debug, Clone)]
pub struct CollectorColumns {
    /// The profile alone, for rows that are the same on both sides.
    profile: RowKey,
    /// The profile and what belongs to it.
    whole: RowKey,
    kind: CollectedTable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CollectedTable {
    Mapping,
    Graph,
}

impl CollectorColumns {
    /// Collects from a view that maps identifiers; `columns` are those of profile, type and value.
    #[must_use]
    pub fn mapping(columns: [&str; 3]) -> Self {
        Self { profile: key(&columns[..1]), whole: key(&columns), kind: CollectedTable::Mapping }
    }

    /// Collects from the graph.
    #[must_use]
    pub fn graph() -> Self {
        let whole = key(&["segment_id", "canonical_segment_id"]);
        Self { profile: whole.clone(), whole, kind: CollectedTable::Graph }
    }
}

/// Texts as parts of a key, by their hashes.
pub type Texts = Map<u128, Box<[u8]>>;

/// What was collected from a table or a part of it.
#[derive(Debug, Default)]
pub struct Collected {
    /// The profiles of rows that are the same on both sides.
    pub same: Vec<u128>,
    /// The identifiers, or for the graph the profiles, of other rows.
    pub differing: Vec<(u128, Membership)>,
    /// Their texts; `None` if there are too many.
    pub texts: Option<Texts>,
}

impl Collected {
    /// Adds what was collected from another part.
    pub fn add(&mut self, part: Self) {
        self.same.extend(part.same);
        self.differing.extend(part.differing);
        self.texts = match (self.texts.take(), part.texts) {
            (Some(mut texts), Some(more)) if self.differing.len() <= MAX_TEXTS => {
                texts.extend(more);
                Some(texts)
            }
            _ => None,
        };
    }
}

/// Collects from rows.
pub struct Collector<'a> {
    watch: &'a CollectorColumns,
    of_same: KeyFinder<'a>,
    /// One per side, because the sides may be written differently.
    of_other: [KeyFinder<'a>; 2],
    found: [Vec<u8>; 2],
    /// What was collected so far.
    pub watched: Collected,
}

impl<'a> Collector<'a> {
    /// Creates a collector without rows.
    #[must_use]
    pub fn new(watch: &'a CollectorColumns) -> Self {
        Self {
            watch,
            of_same: KeyFinder::new(&watch.profile),
            of_other: [OLD, NEW].map(|_| KeyFinder::new(&watch.whole)),
            found: Default::default(),
            watched: Collected { texts: Some(Map::default()), ..Collected::default() },
        }
    }

    /// Collects from a row that both sides have.
    pub fn same(&mut self, line: &[u8]) {
        let found = &mut self.found[OLD];
        found.clear();
        if self.of_same.push_quick(found, line).is_err() {
            return;
        }
        let (profile, rest) = split_part(found);
        if (self.watch.kind == CollectedTable::Mapping || profile == rest)
            && let Some(id) = segment_id_of(profile)
        {
            self.watched.same.push(key_of(&id));
        }
    }

    /// Collects from a row of each side with the same key.
    pub fn pair(&mut self, old: &[u8], new: &[u8]) {
        let [old, new] = [self.read(OLD, old), self.read(NEW, new)];
        if let (Some((a, old)), Some((b, new))) = (old, new)
            && a == b
            && old == new
        {
            self.watched.same.push(old);
            return;
        }
        self.differ(OLD, old);
        self.differ(NEW, new);
    }

    /// Collects from a row that only one side has.
    pub fn one(&mut self, side: usize, line: &[u8]) {
        let read = self.read(side, line);
        self.differ(side, read);
    }

    /// Returns the hashes of the identifier and its profile. For the graph, returns the hash of a profile that is its
    /// own canonical one, twice.
    fn read(&mut self, side: usize, line: &[u8]) -> Option<(u128, u128)> {
        let found = &mut self.found[side];
        found.clear();
        self.of_other[side].push_quick(found, line).ok()?;
        let (first, rest) = split_part(found);
        let profile = key_of(&segment_id_of(first)?);
        match self.watch.kind {
            CollectedTable::Graph => (first == rest).then_some((profile, profile)),
            CollectedTable::Mapping if has_null(rest) => None,
            CollectedTable::Mapping => Some((key_of(rest), profile)),
        }
    }

    /// Records a row that is not the same on both sides.
    fn differ(&mut self, side: usize, read: Option<(u128, u128)>) {
        let Some((identifier, profile)) = read else { return };
        let [old, new] = [OLD, NEW].map(|of| (of == side).then_some(profile));
        self.watched.differing.push((identifier, Membership { old, new }));
        if let Some(texts) = &mut self.watched.texts {
            let (first, rest) = split_part(&self.found[side]);
            for (hash, text) in [(profile, first), (identifier, rest)] {
                if !texts.contains_key(&hash) {
                    texts.insert(hash, text.into());
                }
            }
        }
    }
}

/// Combines what was collected from the mapping and the graph. Returns `None` if an identifier has two profiles on one
/// side.
#[must_use]
pub fn combine(mapping: Collected, graph: Option<Collected>) -> Option<(JoinedIdentifiers, Option<Texts>)> {
    let mut differing = mapping.differing;
    // If the profile is part of the key, an identifier that moved was removed and added.
    differing.sort_unstable_by_key(|(identifier, _)| *identifier);
    let mut contested = false;
    differing.dedup_by(|(b, later), (a, first)| {
        let same = a == b;
        if same {
            let both = |a: Option<u128>, b: Option<u128>| a.is_some() && b.is_some() && a != b;
            contested |= both(first.old, later.old) || both(first.new, later.new);
            first.old = first.old.or(later.old);
            first.new = first.new.or(later.new);
        }
        same
    });
    if contested {
        return None;
    }
    let mut same = mapping.same;
    differing.retain(|(_, belongs)| match (belongs.old, belongs.new) {
        (Some(old), Some(new)) if old == new => {
            same.push(old);
            false
        }
        _ => true,
    });
    let (mut canonical, mut canonical_on) = (Vec::new(), [Vec::new(), Vec::new()]);
    let mut texts = mapping.texts;
    if let Some(graph) = graph {
        canonical = graph.same;
        for (id, belongs) in graph.differing {
            for (ids, on) in canonical_on.iter_mut().zip([belongs.old, belongs.new]) {
                if on.is_some() {
                    ids.push(id);
                }
            }
        }
        texts = match (texts, graph.texts) {
            (Some(mut texts), Some(more)) => {
                texts.extend(more);
                Some(texts)
            }
            _ => None,
        };
    }
    Some((JoinedIdentifiers { same, differing, canonical, canonical_on }, texts))
}
