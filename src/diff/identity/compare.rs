//! The identity section of a report: compares the profiles of both sides and describes what happened to them.

use crate::{
    collections::{Map, Set, key_of},
    error::Result,
    files::Files,
};

use crate::diff::{sides::DiffSide, tables::TableResult};

use super::{
    collector::{self, Collected, Texts},
    events::{CausingEvent, EventSearch, explain},
    load::{IdentitySource, load, segment_id_of, source},
    names::{ReportedIdentifier, identifiers, keep_one_profile, names},
    overlap::{JoinedIdentifiers, Membership, Overlaps, Pairwise, ProfileNumber, count_overlaps},
    profile_changes::{ProfileChange, ProfileChangeKind, ProfileChanges, classify},
};

/// The number of profiles for which events are looked up.
const MOST_CHANGED: usize = 10;

/// The number of identifiers of a profile to look up and report.
const MAX_IDENTIFIERS: usize = 20;

/// What happened to profiles.
#[derive(Debug, Default)]
pub struct IdentityResult {
    /// The number of profiles on each side.
    pub profiles: [u64; 2],
    /// The number of profiles with the same identifiers on both sides.
    pub unchanged: u64,
    /// Of these, the number of profiles with another id.
    pub renamed: u64,
    /// The number of profiles that continued but gained or lost identifiers.
    pub changed: u64,
    /// The number of new profiles without any old identifier.
    pub created: u64,
    /// The number of old profiles of which no identifier is left.
    pub vanished: u64,
    /// The number of new profiles that old ones merged into, and the number of these old ones.
    pub merged: [u64; 2],
    /// The number of old profiles that split, and the number of new ones they became.
    pub split: [u64; 2],
    /// The number of identifiers on each side.
    pub identifiers: [u64; 2],
    /// The number of identifiers on both sides.
    pub common: u64,
    /// The number of identifiers that went from one profile to another while both profiles continued.
    pub moved: u64,
    /// Pairs of identifiers.
    pub pairwise: Pairwise,
    /// Merged, split and changed profiles, up to the limit of each.
    pub stories: Vec<ProfileChangeSummary>,
    /// Ids of created profiles, up to the limit.
    pub created_ids: Vec<String>,
    /// Ids of vanished profiles, up to the limit.
    pub vanished_ids: Vec<String>,
    /// Identifiers that moved, up to the limit.
    pub moves: Vec<MovedIdentifier>,
    /// The profiles that changed most.
    pub most_changed: Vec<MostChanged>,
}

/// A summary of what happened to some profiles, with their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileChangeSummary {
    /// What happened.
    pub kind: ProfileChangeKind,
    /// The old profiles.
    pub old: Vec<String>,
    /// The new profiles.
    pub new: Vec<String>,
    /// The number of identifiers that share a profile with different identifiers than before.
    pub identifiers: u64,
}

/// An identifier that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedIdentifier {
    /// The identifier.
    pub identifier: ReportedIdentifier,
    /// Its old profile.
    pub from: String,
    /// Its new profile.
    pub to: String,
}

/// A profile that changed much, with the likely causes.
#[derive(Debug)]
pub struct MostChanged {
    /// What happened.
    pub told: ProfileChangeSummary,
    /// Some of the identifiers that share a profile with different identifiers than before.
    pub identifiers: Vec<ReportedIdentifier>,
    /// The events that had an effect in the raw tables of one side only, for each side.
    pub events: [Vec<CausingEvent>; 2],
}

/// What was collected while the tables were joined.
#[derive(Debug, Default)]
pub struct CollectedViews {
    /// From the view that maps identifiers.
    pub mapping: Option<Collected>,
    /// From the view `id_graph`.
    pub graph: Option<Collected>,
}

impl CollectedViews {
    /// Takes what was collected from the tables. It is of no use if a key occurs more than once.
    #[must_use]
    pub fn of(tables: &mut [TableResult]) -> Self {
        let mut taken = Self::default();
        for table in tables {
            let watched = table.outcome.collected.take().filter(|_| table.outcome.duplicate_keys == [0; 2]);
            match &*table.name {
                "id_graph" => taken.graph = watched,
                "external_id_mapping" | "user_identifiers" if watched.is_some() => taken.mapping = watched,
                _ => {}
            }
        }
        taken
    }
}

/// Compares the profiles of both sides; `None` if a side has no identity tables. Reports up to `limit` profiles of each
/// kind. Uses what was collected during the join if it is complete; otherwise reads the tables again.
pub fn compare(
    sides: &[DiffSide; 2],
    taken: CollectedViews,
    limit: usize,
    files: &Files,
) -> Result<Option<IdentityResult>> {
    let [Some(old), Some(new)] = [0, 1].map(|side: usize| source(&sides[side])) else { return Ok(None) };
    let sources = [old, new];
    let has_graph = sides.iter().any(|side| side.tables.contains_key("id_graph"));
    let watched = match taken {
        CollectedViews { mapping: Some(mapping), graph } if graph.is_some() || !has_graph => {
            collector::combine(mapping, graph)
        }
        _ => None,
    };
    let (read, texts) = if let Some(watched) = watched {
        watched
    } else {
        let load = |side: usize| {
            let mut profiles = load(&sides[side], sources[side], files)?;
            keep_one_profile(&mut profiles, &sides[side], sources[side], files)?;
            Ok(profiles)
        };
        let (old, new) = rayon::join(|| load(0), || load(1));
        (JoinedIdentifiers::join(old?, new?), None)
    };
    let (mut shares, differing) = count_overlaps(read);
    find_texts(&mut shares, sides, sources, texts.as_ref(), files)?;
    let stories = classify(&shares);
    let mut result = count(&shares, &stories);
    let chosen = choose(&shares, &stories, limit);
    let names = ProfileIds { shares: &shares };
    let told = |story: &ProfileChange| ProfileChangeSummary {
        kind: story.kind,
        old: names.list(&story.old),
        new: names.list(&story.new),
        identifiers: story.weight,
    };
    result.stories = chosen.told.iter().map(|story| told(story)).collect();
    result.created_ids = names.first(&stories.created, limit);
    result.vanished_ids = names.first(&stories.vanished, limit);
    let wanted = wanted_identifiers(&differing, &shares, &stories, &chosen, limit);
    let identifiers = match texts {
        Some(texts) => named_identifiers(&wanted, &texts),
        None if wanted.is_empty() => Vec::new(),
        None => identifiers(sources, &wanted, files)?,
    };
    let mut of_stories: Vec<Vec<ReportedIdentifier>> = vec![Vec::new(); chosen.most.len()];
    for (identifier, tells) in identifiers {
        for at in tells.stories {
            if of_stories[at].len() < MAX_IDENTIFIERS {
                of_stories[at].push(identifier.clone());
            }
        }
        if let Some((from, to)) = tells.moved
            && result.moves.len() < limit
        {
            result.moves.push(MovedIdentifier {
                identifier,
                from: names.of_hash(from),
                to: names.of_hash(to),
            });
        }
    }
    let interest = interest(&chosen, &of_stories, &names);
    let events = explain(sides, chosen.most.len(), &interest, files)?;
    let of_stories = of_stories.into_iter().zip(events);
    let most = chosen.most.iter().zip(of_stories);
    result.most_changed = most
        .map(|(story, (identifiers, events))| MostChanged { told: told(story), identifiers, events })
        .collect();
    Ok(Some(result))
}

fn count(shares: &Overlaps, stories: &ProfileChanges) -> IdentityResult {
    let there = |side: usize| shares.sizes[side].iter().filter(|size| size.is_some()).count() as u64;
    let of = |kind| stories.stories.iter().filter(move |story| story.kind == kind);
    IdentityResult {
        profiles: [there(0), there(1)],
        unchanged: stories.unchanged,
        renamed: stories.renamed,
        changed: of(ProfileChangeKind::Changed).count() as u64,
        created: stories.created.len() as u64,
        vanished: stories.vanished.len() as u64,
        merged: [
            of(ProfileChangeKind::Merged).count() as u64,
            of(ProfileChangeKind::Merged).map(|story| story.old.len() as u64).sum(),
        ],
        split: [
            of(ProfileChangeKind::Split).count() as u64,
            of(ProfileChangeKind::Split).map(|story| story.new.len() as u64).sum(),
        ],
        identifiers: shares.identifiers,
        common: shares.common,
        moved: stories.moves.iter().map(|edge| u64::from(edge.n)).sum(),
        pairwise: Pairwise::of(shares),
        ..IdentityResult::default()
    }
}

/// The profile changes to report.
struct ReportedChanges<'a> {
    /// The heaviest changes of each kind, in the order of segment ids.
    told: Vec<&'a ProfileChange>,
    most: Vec<&'a ProfileChange>,
}

fn choose<'a>(shares: &Overlaps, stories: &'a ProfileChanges, limit: usize) -> ReportedChanges<'a> {
    let mut told: Vec<&ProfileChange> = stories
        .stories
        .chunk_by(|a, b| a.kind == b.kind)
        .flat_map(|of_kind| &of_kind[..limit.min(of_kind.len())])
        .collect();
    told.sort_by_key(|story| (story.kind, shares.text(story.old[0]), shares.text(story.new[0])));
    let mut most: Vec<&ProfileChange> = stories.stories.iter().collect();
    // The sort is stable, so merges come before splits of the same weight.
    most.sort_by_key(|story| std::cmp::Reverse(story.weight));
    most.truncate(MOST_CHANGED);
    ReportedChanges { told, most }
}

/// Looks up the ids of profiles for the report.
struct ProfileIds<'a> {
    shares: &'a Overlaps,
}

impl ProfileIds<'_> {
    fn of(&self, number: ProfileNumber) -> String {
        String::from_utf8_lossy(self.shares.text(number)).into_owned()
    }

    fn of_hash(&self, hash: u128) -> String {
        self.of(self.shares.number(hash))
    }

    fn list(&self, numbers: &[ProfileNumber]) -> Vec<String> {
        numbers.iter().map(|number| self.of(*number)).collect()
    }

    /// Returns the ids of the first profiles of a list, sorted.
    fn first(&self, numbers: &[ProfileNumber], limit: usize) -> Vec<String> {
        let mut names = self.list(&numbers[..limit.min(numbers.len())]);
        names.sort();
        names
    }
}

/// Finds the ids of all profiles whose ids are needed.
fn find_texts(
    shares: &mut Overlaps,
    sides: &[DiffSide; 2],
    sources: [IdentitySource<'_>; 2],
    texts: Option<&Texts>,
    files: &Files,
) -> Result<()> {
    let unsettled = shares.possibly_changed();
    let mut known: Map<u128, Box<[u8]>> = Map::default();
    if texts.is_none() {
        for side in [0, 1] {
            let wanted = unsettled[side].iter().map(|number| shares.ids[*number as usize]).collect();
            names(&sides[side], sources[side], &wanted, &mut known, files)?;
        }
    }
    for number in unsettled.into_iter().flatten() {
        let hash = shares.ids[number as usize];
        let text = match texts {
            Some(texts) => texts.get(&hash).and_then(|part| segment_id_of(part)).map(|id| id.as_ref().into()),
            None => known.get(&hash).cloned(),
        };
        shares.texts[number as usize] = text.unwrap_or_else(|| format!("{hash:032x}").into_bytes().into());
    }
    Ok(())
}

/// Why an identifier is reported.
#[derive(Clone)]
struct IdentifierRelevance {
    moved: Option<(u128, u128)>,
    stories: Vec<usize>,
}

/// Returns the identifiers to report, and why.
fn wanted_identifiers(
    differing: &[(u128, Membership)],
    shares: &Overlaps,
    stories: &ProfileChanges,
    chosen: &ReportedChanges<'_>,
    limit: usize,
) -> Map<u128, IdentifierRelevance> {
    let id = |number: ProfileNumber| shares.ids[number as usize];
    let edges: Set<(u128, u128)> =
        stories.moves.iter().take(limit).map(|edge| (id(edge.old), id(edge.new))).collect();
    let mut about: [Map<u128, Vec<usize>>; 2] = Default::default();
    for (at, story) in chosen.most.iter().enumerate() {
        for (side, numbers) in [&story.old, &story.new].into_iter().enumerate() {
            for number in numbers {
                about[side].entry(id(*number)).or_default().push(at);
            }
        }
    }
    let mut wanted = Map::default();
    for (identifier, belongs) in differing {
        let Membership { old, new } = *belongs;
        let moved = old.zip(new).filter(|edge| edges.contains(edge));
        let of = |side: usize, id: Option<u128>| id.and_then(|id| about[side].get(&id)).into_iter().flatten();
        let mut told: Vec<usize> = of(0, old).chain(of(1, new)).copied().collect();
        told.sort_unstable();
        told.dedup();
        told.retain(|at| {
            let story = chosen.most[*at];
            // Of a merge, report what joined the first profile; of a split, what left it.
            let (first_old, first_new) = (Some(id(story.old[0])), Some(id(story.new[0])));
            match story.kind {
                ProfileChangeKind::Merged => new == first_new && old.is_some() && old != first_old,
                ProfileChangeKind::Split => old == first_old && new.is_some() && new != first_new,
                ProfileChangeKind::Changed => (old == first_old) != (new == first_new),
            }
        });
        if moved.is_some() || !told.is_empty() {
            wanted.insert(*identifier, IdentifierRelevance { moved, stories: told });
        }
    }
    wanted
}

fn named_identifiers(
    wanted: &Map<u128, IdentifierRelevance>,
    texts: &Texts,
) -> Vec<(ReportedIdentifier, IdentifierRelevance)> {
    let mut named: Vec<(ReportedIdentifier, &[u8], &IdentifierRelevance)> = Vec::with_capacity(wanted.len());
    for (hash, tells) in wanted {
        let parts = texts.get(hash).map(|parts| &**parts).unwrap_or_default();
        named.push((ReportedIdentifier::of_parts(parts), parts, tells));
    }
    named.sort_by(|(a, parts_a, _), (b, parts_b, _)| (a, parts_a).cmp(&(b, parts_b)));
    named.into_iter().map(|(identifier, _, tells)| (identifier, tells.clone())).collect()
}

/// Returns what to look for in the raw tables.
fn interest(
    chosen: &ReportedChanges<'_>,
    of_stories: &[Vec<ReportedIdentifier>],
    names: &ProfileIds<'_>,
) -> EventSearch {
    let mut interest = EventSearch::default();
    for (at, (story, identifiers)) in chosen.most.iter().zip(of_stories).enumerate() {
        for number in story.old.iter().chain(&story.new) {
            let stories = interest.segment_ids.entry(key_of(names.of(*number).as_bytes())).or_default();
            if stories.last() != Some(&at) {
                stories.push(at);
            }
        }
        for identifier in identifiers {
            interest.identifiers.entry(identifier.hash()).or_default().push(at);
        }
    }
    interest
}
