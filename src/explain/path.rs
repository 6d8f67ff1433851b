//! The path from one identifier to another over the links of a profile.

use std::collections::{BTreeMap, VecDeque};

use super::answer::{Identifier, Step};

/// Finds the links that lead from one identifier to another, in that order; `None` if links are missing on the way.
///
/// The links of a profile are a tree, so there is at most one way; the search takes the shortest in any case.
pub(super) fn path(links: &[Step], from: &Identifier, to: &Identifier) -> Option<Vec<Step>> {
    let mut neighbours: BTreeMap<&Identifier, Vec<(&Identifier, usize)>> = BTreeMap::new();
    for (number, link) in links.iter().enumerate() {
        if let (Some(identifier), Some(via)) = (&link.identifier, &link.via) {
            neighbours.entry(identifier).or_default().push((via, number));
            neighbours.entry(via).or_default().push((identifier, number));
        }
    }
    let mut came_by: BTreeMap<&Identifier, (&Identifier, usize)> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        if at == to {
            break;
        }
        for &(next, number) in neighbours.get(at).into_iter().flatten() {
            if next != from && !came_by.contains_key(next) {
                came_by.insert(next, (at, number));
                queue.push_back(next);
            }
        }
    }
    let mut steps = Vec::new();
    let mut at = to;
    while at != from {
        let &(before, number) = came_by.get(at)?;
        steps.push(links[number].clone());
        at = before;
    }
    steps.reverse();
    Some(steps)
}

/// Returns the identifier between the ends of a path that has the most links, and to how many identifiers beside the path.
pub(super) fn hub(steps: &[Step], links: &[Step], from: &Identifier) -> Option<(Identifier, u64)> {
    let nodes = along(steps, from);
    let others = |node: &Identifier| {
        let other_end = |link: &&Step| -> Option<bool> {
            let (one, other) = (link.identifier.as_ref()?, link.via.as_ref()?);
            let end = if one == node { Some(other) } else { Some(one).filter(|_| other == node) };
            end.map(|end| !nodes.contains(&end))
        };
        links.iter().filter(|link| other_end(link) == Some(true)).count() as u64
    };
    let inner = nodes.get(1..nodes.len().saturating_sub(1)).unwrap_or_default();
    let counted = inner.iter().map(|node| ((*node).clone(), others(node)));
    counted.rev().max_by_key(|(_, n_others)| *n_others)
}

/// Returns the identifiers along a path, from the first to the last.
#[must_use]
pub fn along<'a>(steps: &'a [Step], from: &'a Identifier) -> Vec<&'a Identifier> {
    let mut identifiers = vec![from];
    for step in steps {
        let at = identifiers[identifiers.len() - 1];
        let ends = [step.identifier.as_ref(), step.via.as_ref()];
        identifiers.extend(ends.into_iter().flatten().find(|end| *end != at));
    }
    identifiers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identifier(value: &str) -> Identifier {
        Identifier { type_name: "t".to_owned(), value: value.to_owned() }
    }

    fn link(value: &str, via: Option<&str>) -> Step {
        Step {
            event: super::super::answer::Event::default(),
            identifier: Some(identifier(value)),
            via: via.map(identifier),
            link: "mapped".to_owned(),
            segment_id: "p".to_owned(),
            canonical_segment_id: "p".to_owned(),
            uuid_ts: 0,
        }
    }

    #[test]
    fn a_path_leads_from_the_first_to_the_second() {
        let links = [
            link("a", None),
            link("b", Some("a")),
            link("c", Some("a")),
            link("d", Some("c")),
            link("x", None),
        ];
        let values = |from: &str, to: &str| {
            let (from, to) = (identifier(from), identifier(to));
            let steps = path(&links, &from, &to)?;
            Some(along(&steps, &from).into_iter().map(|one| one.value.clone()).collect::<Vec<_>>())
        };
        assert_eq!(values("b", "d").unwrap(), ["b", "a", "c", "d"]);
        assert_eq!(values("d", "b").unwrap(), ["d", "c", "a", "b"]);
        assert_eq!(values("a", "a").unwrap(), ["a"]);
        assert_eq!(values("a", "x"), None);
    }
}
