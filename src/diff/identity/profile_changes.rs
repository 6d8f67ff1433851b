//! Classifies what happened to each profile, from the identifiers that old and new profiles share.
//!
//! An old profile continues in the new one that has most of its identifiers. A new profile comes from the old one that
//! gives it most. If several old profiles continue in a new one, they merged; if several new ones come from an old one,
//! it split. Identifiers moved if they are neither in the profile that their old one continues in, nor from the profile
//! that their new one comes from. Swapping the sides swaps merges and splits, and reverses moves.

use std::cmp::Reverse;

use crate::collections::{Map, Set};

use super::overlap::{Overlap, Overlaps, ProfileNumber};

/// A kind of change to profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProfileChangeKind {
    /// Several became one.
    Merged,
    /// One became several.
    Split,
    /// It continued, but identifiers were added or removed.
    Changed,
}

/// A change to some profiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileChange {
    /// The kind of change.
    pub kind: ProfileChangeKind,
    /// The old profiles: first the one whose id stayed, then those that give most.
    pub old: Vec<ProfileNumber>,
    /// The new profiles: first the one whose id stayed, then those that get most.
    pub new: Vec<ProfileNumber>,
    /// The number of identifiers that share a profile with different identifiers than before.
    pub weight: u64,
}

/// All changes to profiles.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ProfileChanges {
    /// The number of profiles with the same identifiers on both sides.
    pub unchanged: u64,
    /// Of these, the number of profiles with another id.
    pub renamed: u64,
    /// New profiles without any old identifier.
    pub created: Vec<ProfileNumber>,
    /// Old profiles of which no identifier is left.
    pub vanished: Vec<ProfileNumber>,
    /// The other changes: merged, then split, then changed; the heaviest of each kind first.
    pub stories: Vec<ProfileChange>,
    /// Identifiers that went from one profile to another while both profiles continued.
    pub moves: Vec<Overlap>,
}

/// Classifies all changes.
#[must_use]
pub fn classify(shares: &Overlaps) -> ProfileChanges {
    let mut told = ProfileChanges::default();
    let n_edges = shares.n_edges();
    // Nearly all profiles share identifiers with only one profile of the other side, and vice versa.
    let (alone, tangled): (Vec<&Overlap>, Vec<&Overlap>) = shares
        .pairs
        .iter()
        .partition(|edge| n_edges[0][edge.old as usize] == 1 && n_edges[1][edge.new as usize] == 1);
    for edge in alone {
        record_continuation(shares, edge, &mut told);
    }
    untangle(shares, &tangled, &mut told);
    came_and_gone(shares, &n_edges, &mut told);
    let id = |number: ProfileNumber| shares.text(number);
    told.stories.sort_by_key(|story| (story.kind, Reverse(story.weight), id(story.old[0]), id(story.new[0])));
    told.moves.sort_by_key(|edge| (Reverse(edge.n), id(edge.old), id(edge.new)));
    told.created.sort_by_key(|number| (Reverse(shares.sizes[1][*number as usize]), id(*number)));
    told.vanished.sort_by_key(|number| (Reverse(shares.sizes[0][*number as usize]), id(*number)));
    told
}

/// Classifies profiles that share identifiers with several others.
fn untangle(shares: &Overlaps, tangled: &[&Overlap], told: &mut ProfileChanges) {
    let goes_on = chosen(shares, tangled, |edge| [edge.old, edge.new], 1);
    let comes_from = chosen(shares, tangled, |edge| [edge.new, edge.old], 0);
    // The sources of each new profile's identifiers, and the destinations of each old one's.
    let mut into: Vec<(ProfileNumber, Reverse<u32>, ProfileNumber)> = Vec::new();
    let mut out_of: Vec<(ProfileNumber, Reverse<u32>, ProfileNumber)> = Vec::new();
    for edge in tangled {
        let goes = goes_on.get(&edge.old) == Some(&edge.new);
        let comes = comes_from.get(&edge.new) == Some(&edge.old);
        if goes || comes {
            into.push((edge.new, Reverse(edge.n), edge.old));
            out_of.push((edge.old, Reverse(edge.n), edge.new));
        } else {
            told.moves.push(**edge);
        }
    }
    for parts in [&mut into, &mut out_of] {
        parts.sort_unstable_by_key(|(one, n, other)| (*one, *n, shares.text(*other)));
    }
    let mut in_story: [Set<ProfileNumber>; 2] = Default::default();
    for (kind, groups) in [(ProfileChangeKind::Merged, into), (ProfileChangeKind::Split, out_of)] {
        for parts in groups.chunk_by(|a, b| a.0 == b.0).filter(|parts| 1 < parts.len()) {
            let one = parts[0].0;
            let mut many: Vec<ProfileNumber> = parts.iter().map(|part| part.2).collect();
            many.sort_by_key(|part| *part != one);
            let one = vec![one];
            let weight = parts[1..].iter().map(|part| u64::from(part.1.0)).sum();
            let [old, new] = if kind == ProfileChangeKind::Merged { [many, one] } else { [one, many] };
            in_story[0].extend(&old);
            in_story[1].extend(&new);
            told.stories.push(ProfileChange { kind, old, new, weight });
        }
    }
    for edge in tangled {
        let together =
            goes_on.get(&edge.old) == Some(&edge.new) && comes_from.get(&edge.new) == Some(&edge.old);
        if together && !in_story[0].contains(&edge.old) && !in_story[1].contains(&edge.new) {
            record_continuation(shares, edge, told);
        }
    }
}

/// The rank of a partner: shared identifiers, whether the id is the same, how small the profile is, how small its id
/// is; and its number.
type PartnerRank<'a> = (u32, bool, Reverse<u32>, Reverse<&'a [u8]>, ProfileNumber);

/// Returns, for each profile of one side, the one of the other side that shares most identifiers with it. Ties go to
/// the one with the same id, then the smaller one, then the one with the smaller id.
fn chosen(
    shares: &Overlaps,
    tangled: &[&Overlap],
    ends: impl Fn(&Overlap) -> [ProfileNumber; 2],
    other_side: usize,
) -> Map<ProfileNumber, ProfileNumber> {
    let mut best: Map<ProfileNumber, PartnerRank<'_>> = Map::default();
    for edge in tangled {
        let [one, other] = ends(edge);
        let size = shares.sizes[other_side][other as usize].unwrap_or(0);
        let rank = (edge.n, one == other, Reverse(size), Reverse(shares.text(other)), other);
        best.entry(one).and_modify(|best| *best = rank.max(*best)).or_insert(rank);
    }
    best.into_iter().map(|(one, best)| (one, best.4)).collect()
}

/// Records an old profile and the new one that it continues in.
fn record_continuation(shares: &Overlaps, edge: &Overlap, told: &mut ProfileChanges) {
    let size_old = shares.sizes[0][edge.old as usize].unwrap_or(0);
    let size_new = shares.sizes[1][edge.new as usize].unwrap_or(0);
    if size_old == edge.n && size_new == edge.n {
        told.unchanged += 1;
        told.renamed += u64::from(edge.old != edge.new);
    } else {
        let weight = u64::from(size_old - edge.n) + u64::from(size_new - edge.n);
        let kind = ProfileChangeKind::Changed;
        told.stories.push(ProfileChange { kind, old: vec![edge.old], new: vec![edge.new], weight });
    }
}

/// Records profiles that share no identifier with the other side.
fn came_and_gone(shares: &Overlaps, n_edges: &[Vec<u32>; 2], told: &mut ProfileChanges) {
    for (number, (n_old, n_new)) in n_edges[0].iter().zip(&n_edges[1]).enumerate() {
        let [size_old, size_new] = [0, 1].map(|side: usize| shares.sizes[side][number]);
        let profile = ProfileNumber::try_from(number).expect("there are fewer than 2^32 profiles");
        match (size_old.filter(|_| *n_old == 0), size_new.filter(|_| *n_new == 0)) {
            // It has no identifiers on either side, or none in common.
            (Some(0), Some(0)) => told.unchanged += 1,
            (Some(old), Some(new)) => told.stories.push(ProfileChange {
                kind: ProfileChangeKind::Changed,
                old: vec![profile],
                new: vec![profile],
                weight: u64::from(old) + u64::from(new),
            }),
            (Some(_), None) => told.vanished.push(profile),
            (None, Some(_)) => told.created.push(profile),
            (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::{
        collections::key_of,
        diff::identity::{
            load::SideProfiles,
            overlap::{JoinedIdentifiers, count_overlaps},
        },
    };

    /// Builds profiles from `id: identifiers`, one character each.
    fn side(text: &str) -> SideProfiles {
        let mut profiles = SideProfiles::default();
        for part in text.split_whitespace() {
            let (id, identifiers) = part.split_once(':').unwrap();
            profiles.canonical.push(key_of(id.as_bytes()));
            for identifier in identifiers.bytes() {
                profiles.identifiers.push((key_of(&[identifier]), key_of(id.as_bytes())));
            }
        }
        profiles.identifiers.sort_unstable();
        profiles
    }

    fn told(old: &str, new: &str) -> String {
        let (mut shares, _) = count_overlaps(JoinedIdentifiers::join(side(old), side(new)));
        let name = |id: &u128| ('A'..='Z').find(|name| key_of(name.to_string().as_bytes()) == *id).unwrap();
        shares.texts = shares.ids.iter().map(|id| name(id).to_string().into_bytes().into()).collect();
        let names: Vec<char> = shares.ids.iter().map(name).collect();
        let list = |numbers: &[ProfileNumber]| -> String {
            numbers.iter().map(|number| names[*number as usize]).collect()
        };
        let stories = classify(&shares);
        let mut text = format!("={}", stories.unchanged);
        if 0 < stories.renamed {
            let _ = write!(text, " renamed{}", stories.renamed);
        }
        for (sign, numbers) in [('+', &stories.created), ('-', &stories.vanished)] {
            if !numbers.is_empty() {
                let _ = write!(text, " {sign}{}", list(numbers));
            }
        }
        for story in &stories.stories {
            let _ = write!(text, " {:?}({}>{})", story.kind, list(&story.old), list(&story.new));
        }
        for edge in &stories.moves {
            let _ = write!(text, " moved({}{}>{})", edge.n, list(&[edge.old]), list(&[edge.new]));
        }
        text
    }

    #[test]
    fn what_happened_is_told() {
        for (old, new, expected) in [
            ("A:ab B:c", "A:ab B:c", "=2"),
            ("A:ab B:c", "X:ab Y:c", "=2 renamed2"),
            ("A:ab", "A:ab B:cd", "=1 +B"),
            ("A:ab B:cd", "A:ab", "=1 -B"),
            ("A:abc B:de C:f", "A:abcde C:f", "=1 Merged(AB>A)"),
            ("A:abcde C:f", "A:abc B:de C:f", "=1 Split(A>AB)"),
            ("A:abc B:de", "A:ab B:dec", "=0 Changed(A>A) Changed(B>B) moved(1A>B)"),
            ("A:ab", "A:abc", "=0 Changed(A>A)"),
            ("A:abc B:def", "A:abcdef", "=0 Merged(AB>A)"),
            // All of B and a part of A become one.
            ("A:abcdefg B:h", "A:abcd B:efgh", "=0 Split(A>AB) Merged(BA>B)"),
            ("A: B:a", "A: B:a", "=2"),
            ("A: B:a", "B:a", "=1 -A"),
            // Of equal partners, the one with the smaller id is chosen.
            ("A:ab", "X:a Y:b", "=0 Split(A>XY)"),
            ("P:a Q:b", "A:ab", "=0 Merged(PQ>A)"),
            ("A:abcd", "X:ab Y:cd", "=0 Split(A>XY)"),
            ("A:ae B:bf", "X:ab Y:ef", "=0 Merged(AB>X) Split(A>XY) moved(1B>Y)"),
        ] {
            let mut expected: Vec<&str> = expected.split(' ').collect();
            let text = told(old, new);
            let mut text: Vec<&str> = text.split(' ').collect();
            expected.sort_unstable();
            text.sort_unstable();
            assert_eq!(text, expected, "{old} -> {new}");
        }
    }
}
