//! Counts how many identifiers each old profile shares with each new one.

use rayon::prelude::*;

use super::load::SideProfiles;

/// The number of a profile. Profiles with the same id on both sides have the same number.
pub type ProfileNumber = u32;

/// The overlap of both sides.
#[derive(Debug, Default)]
pub struct Overlaps {
    /// The hash of each profile's id, by its number.
    pub ids: Vec<u128>,
    /// The ids of the profiles in [`Overlaps::possibly_changed`]; empty for all others.
    pub texts: Vec<Box<[u8]>>,
    /// The number of identifiers of each profile, on each side; `None` if the profile is not there.
    pub sizes: [Vec<Option<u32>>; 2],
    /// The overlaps of profiles, sorted by old and new profile.
    pub pairs: Vec<Overlap>,
    /// The number of identifiers on each side.
    pub identifiers: [u64; 2],
    /// The number of identifiers on both sides.
    pub common: u64,
}

impl Overlaps {
    /// Returns the segment id of a profile, which breaks ties and is reported.
    #[must_use]
    pub fn text(&self, number: ProfileNumber) -> &[u8] {
        &self.texts[number as usize]
    }

    /// Returns the number of a profile.
    #[must_use]
    pub fn number(&self, hash: u128) -> ProfileNumber {
        as_number(self.ids.binary_search(&hash).expect("all profiles are among the ids"))
    }

    /// Returns the profiles of each side whose ids are needed, because they may have changed. The overlaps alone show
    /// that most have not.
    #[must_use]
    pub fn possibly_changed(&self) -> [Vec<ProfileNumber>; 2] {
        let n_edges = self.n_edges();
        let mut settled = [vec![false; self.ids.len()], vec![false; self.ids.len()]];
        for Overlap { old, new, n } in &self.pairs {
            let (old, new) = (*old as usize, *new as usize);
            let whole = self.sizes[0][old] == Some(*n) && self.sizes[1][new] == Some(*n);
            if whole && n_edges[0][old] == 1 && n_edges[1][new] == 1 {
                settled[0][old] = true;
                settled[1][new] = true;
            }
        }
        let empty = |number: usize| self.sizes.iter().all(|sizes| sizes[number] == Some(0));
        [0, 1].map(|side: usize| {
            (0..self.ids.len())
                .filter(|number| {
                    self.sizes[side][*number].is_some() && !settled[side][*number] && !empty(*number)
                })
                .map(as_number)
                .collect()
        })
    }

    /// Returns the number of profiles on the other side with which each profile shares identifiers, for each side.
    #[must_use]
    pub fn n_edges(&self) -> [Vec<u32>; 2] {
        let mut n_edges = [vec![0; self.ids.len()], vec![0; self.ids.len()]];
        for edge in &self.pairs {
            n_edges[0][edge.old as usize] += 1;
            n_edges[1][edge.new as usize] += 1;
        }
        n_edges
    }
}

/// The overlap of an old and a new profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// The old profile.
    pub old: ProfileNumber,
    /// The new profile.
    pub new: ProfileNumber,
    /// The number of identifiers that both have.
    pub n: u32,
}

/// The profiles of an identifier, by the hashes of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// On the old side.
    pub old: Option<u128>,
    /// On the new side.
    pub new: Option<u128>,
}

/// The identifiers and profiles of both sides.
#[derive(Debug, Default)]
pub struct JoinedIdentifiers {
    /// The profiles of identifiers whose profile is the same on both sides, one entry per identifier.
    pub same: Vec<u128>,
    /// All other identifiers, sorted, without duplicates.
    pub differing: Vec<(u128, Membership)>,
    /// Profiles that exist on both sides, with or without identifiers.
    pub canonical: Vec<u128>,
    /// Profiles that exist on one side, with or without identifiers.
    pub canonical_on: [Vec<u128>; 2],
}

impl JoinedIdentifiers {
    /// Joins the identifiers of both sides.
    #[must_use]
    pub fn join(old: SideProfiles, new: SideProfiles) -> Self {
        let mut shared = Self { canonical_on: [old.canonical, new.canonical], ..Self::default() };
        let (mut old, mut new) = (old.identifiers.iter().peekable(), new.identifiers.iter().peekable());
        loop {
            let least = match (old.peek(), new.peek()) {
                (None, None) => return shared,
                (Some((a, _)), Some((b, _))) => *a.min(b),
                (Some((a, _)), None) => *a,
                (None, Some((b, _))) => *b,
            };
            let belongs = Membership {
                old: old.next_if(|(identifier, _)| *identifier == least).map(|(_, profile)| *profile),
                new: new.next_if(|(identifier, _)| *identifier == least).map(|(_, profile)| *profile),
            };
            match belongs {
                Membership { old: Some(old), new: Some(new) } if old == new => shared.same.push(old),
                _ => shared.differing.push((least, belongs)),
            }
        }
    }

    /// Returns all profiles, sorted, without duplicates.
    fn ids(&self) -> Vec<u128> {
        let mut ids = self.same.clone();
        ids.dedup();
        ids.extend_from_slice(&self.canonical);
        ids.extend(self.canonical_on.iter().flatten());
        ids.extend(self.differing.iter().flat_map(|(_, belongs)| [belongs.old, belongs.new]).flatten());
        ids.par_sort_unstable();
        ids.dedup();
        ids
    }
}

/// Counts overlaps. Also returns the identifiers whose profiles differ.
#[must_use]
pub fn count_overlaps(mut shared: JoinedIdentifiers) -> (Overlaps, Vec<(u128, Membership)>) {
    shared.same.par_sort_unstable();
    let ids = shared.ids();
    let mut sizes = [vec![None; ids.len()], vec![None; ids.len()]];
    // Profiles of unchanged identifiers are sorted like the ids, so a merge finds them.
    let mut edges: Vec<Overlap> = Vec::new();
    let mut number = 0;
    for run in shared.same.chunk_by(|a, b| a == b) {
        while ids[number] != run[0] {
            number += 1;
        }
        let n = u32::try_from(run.len()).unwrap_or(u32::MAX);
        sizes[0][number] = Some(n);
        sizes[1][number] = Some(n);
        edges.push(Overlap { old: as_number(number), new: as_number(number), n });
    }
    let number_of = |id: u128| ids.binary_search(&id).expect("all profiles are among the ids");
    let mut identifiers = [shared.same.len() as u64; 2];
    let mut pairs = Vec::new();
    for (_, belongs) in &shared.differing {
        let numbers = [belongs.old, belongs.new].map(|id| id.map(number_of));
        for (side, number) in numbers.into_iter().enumerate() {
            if let Some(number) = number {
                *sizes[side][number].get_or_insert(0) += 1;
                identifiers[side] += 1;
            }
        }
        if let [Some(old), Some(new)] = numbers {
            pairs.push((as_number(old), as_number(new)));
        }
    }
    let common = (shared.same.len() + pairs.len()) as u64;
    pairs.par_sort_unstable();
    edges.extend(pairs.chunk_by(|a, b| a == b).map(|equal| {
        let (old, new) = equal[0];
        Overlap { old, new, n: u32::try_from(equal.len()).unwrap_or(u32::MAX) }
    }));
    edges.par_sort_unstable_by_key(|edge| (edge.old, edge.new));
    shared.canonical.par_sort_unstable();
    let mut number = 0;
    for id in &shared.canonical {
        while ids[number] != *id {
            number += 1;
        }
        for sizes in &mut sizes {
            sizes[number].get_or_insert(0);
        }
    }
    for (sizes, canonical) in sizes.iter_mut().zip(&shared.canonical_on) {
        for id in canonical {
            sizes[number_of(*id)].get_or_insert(0);
        }
    }
    let texts = vec![Box::default(); ids.len()];
    (Overlaps { ids, texts, sizes, pairs: edges, identifiers, common }, shared.differing)
}

fn as_number(at: usize) -> ProfileNumber {
    ProfileNumber::try_from(at).expect("there are fewer than 2^32 profiles")
}

/// How well the new side keeps identifiers together that are together on the old side. Counts only identifiers on both
/// sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pairwise {
    /// Pairs of identifiers that share a profile on the old side.
    pub old: u64,
    /// Pairs of identifiers that share a profile on the new side.
    pub new: u64,
    /// Pairs of identifiers that share a profile on both sides.
    pub both: u64,
}

impl Pairwise {
    /// Counts pairs.
    #[must_use]
    pub fn of(shares: &Overlaps) -> Self {
        let pairs = |n: u64| n * n.saturating_sub(1) / 2;
        let mut of_sides: [Vec<u64>; 2] = [vec![0; shares.ids.len()], vec![0; shares.ids.len()]];
        let mut both = 0;
        for edge in &shares.pairs {
            of_sides[0][edge.old as usize] += u64::from(edge.n);
            of_sides[1][edge.new as usize] += u64::from(edge.n);
            both += pairs(u64::from(edge.n));
        }
        let [old, new] = of_sides.map(|sizes| sizes.into_iter().map(pairs).sum());
        Self { old, new, both }
    }

    /// Returns the share of the new side's pairs that are also pairs on the old side.
    #[must_use]
    pub fn precision(&self) -> f64 {
        ratio(self.both, self.new)
    }

    /// Returns the share of the old side's pairs that are also pairs on the new side.
    #[must_use]
    pub fn recall(&self) -> f64 {
        ratio(self.both, self.old)
    }

    /// Returns the harmonic mean of precision and recall.
    #[must_use]
    pub fn f1(&self) -> f64 {
        ratio(2 * self.both, self.old + self.new)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio is shown with six digits")]
fn ratio(part: u64, whole: u64) -> f64 {
    // Without pairs, none is wrong.
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}
