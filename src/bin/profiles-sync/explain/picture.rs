//! What a picture of an answer shows: identifiers, the events that joined them, and what was kept outside.

use std::collections::BTreeMap;

use profiles_sync::explain::{
    Answer,
    answer::{Event, Identifier, PairAnswer, ProfileAnswer, Step},
    path::along,
};

use super::words;

/// Identifiers that a picture has at most.
pub(crate) const MOST: usize = 200;

/// An identifier in a picture.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) identifier: Identifier,
    /// The number of its segment id among the groups.
    pub(crate) group: Option<usize>,
    /// Whether it was not used, and so is outside of the profile.
    pub(crate) is_outside: bool,
    /// The step with which it came.
    pub(crate) step: usize,
}

/// What joined two identifiers, or kept them apart.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    /// The node that was there.
    pub(crate) from: usize,
    /// The node that came.
    pub(crate) to: usize,
    pub(crate) label: String,
    /// Whether it merged two profiles.
    pub(crate) is_merge: bool,
    /// Whether it kept them apart.
    pub(crate) is_refusal: bool,
    pub(crate) step: usize,
}

/// A picture.
#[derive(Debug, Clone, Default)]
pub(crate) struct Picture {
    pub(crate) title: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
    /// The segment ids of the profile, oldest first.
    pub(crate) groups: Vec<String>,
    /// What happened, in order.
    pub(crate) steps: Vec<String>,
    /// How many identifiers were left out.
    pub(crate) n_left_out: usize,
}

/// Returns the picture of an answer; `None` if there is nothing to draw.
pub(crate) fn picture(answer: &Answer) -> Option<Picture> {
    match answer {
        Answer::Profile(profile) => Some(of_profile(profile)),
        Answer::Pair(pair) => Some(of_pair(pair)),
        Answer::Health(_) | Answer::Unknown(_) => None,
    }
}

/// Writes an event in few words.
fn brief(event: &Event) -> String {
    match &event.id {
        Some(_) => {
            let call = event.call.as_deref().unwrap_or("event");
            format!("{call}, {}", words::time(event.timestamp.as_deref()))
        }
        None => "adopted".to_owned(),
    }
}

impl Picture {
    fn node(&mut self, identifier: &Identifier, group: Option<usize>, step: usize) -> Option<usize> {
        if let Some(at) = self.nodes.iter().position(|node| node.identifier == *identifier) {
            return Some(at);
        }
        if MOST <= self.nodes.len() {
            return None;
        }
        self.nodes.push(Node { identifier: identifier.clone(), group, is_outside: false, step });
        Some(self.nodes.len() - 1)
    }

    fn edge(&mut self, step: &Step, group: Option<usize>, number: usize) {
        let Some(new) = &step.identifier else { return };
        let old = step.via.as_ref().and_then(|via| self.node(via, None, number));
        let Some(to) = self.node(new, group, number) else { return };
        if let Some(from) = old {
            let is_merge = step.link == "merged";
            let label = brief(&step.event);
            self.edges.push(Edge { from, to, label, is_merge, is_refusal: false, step: number });
        }
    }

    fn outside(&mut self, identifier: &Identifier, step: usize) -> Option<usize> {
        let n_before = self.nodes.len();
        let at = self.node(identifier, None, step)?;
        if n_before < self.nodes.len() {
            self.nodes[at].is_outside = true;
        }
        Some(at)
    }
}

fn of_profile(profile: &ProfileAnswer) -> Picture {
    let groups = profile.segment_ids.clone();
    let mut picture =
        Picture { title: format!("Profile {}", profile.segment_id), groups, ..Picture::default() };
    let group_of = |segment_id: &str| profile.segment_ids.iter().position(|id| id == segment_id);
    for (number, one) in profile.history.iter().enumerate() {
        picture.edge(&one.step, group_of(&one.segment_id), number);
        picture.steps.push(format!("{}: {}", words::event(&one.step.event), words::history(one)));
    }
    let of_identifier: BTreeMap<&Identifier, &str> =
        profile.identifiers.iter().map(|one| (&one.identifier, one.segment_id.as_str())).collect();
    for node in &mut picture.nodes {
        node.group = of_identifier.get(&node.identifier).and_then(|id| group_of(id));
    }
    let last = profile.history.len().saturating_sub(1);
    let own = |identifier: &Identifier| of_identifier.contains_key(identifier);
    for violation in profile.violations.iter().filter(|violation| !own(&violation.identifier)) {
        picture.outside(&violation.identifier, last);
    }
    let n_shown = picture.nodes.iter().filter(|node| !node.is_outside).count();
    picture.n_left_out = profile.identifiers.len().saturating_sub(n_shown);
    picture
}

fn of_pair(pair: &PairAnswer) -> Picture {
    let mut picture = Picture::default();
    let [first, second] = [&pair.first, &pair.second].map(words::identifier);
    if let Some(path) = &pair.path {
        picture.title = format!("Why {first} and {second} are one profile");
        let nodes = along(path, &pair.first);
        picture.node(&pair.first, None, 0);
        for (number, (step, next)) in path.iter().zip(&nodes[1..]).enumerate() {
            let from = picture.node(nodes[number], None, number);
            let to = picture.node(next, None, number);
            if let Some((from, to)) = from.zip(to) {
                let (label, is_merge) = (brief(&step.event), step.link == "merged");
                picture.edges.push(Edge { from, to, label, is_merge, is_refusal: false, step: number });
            }
            picture.steps.push(format!("{}: {}", words::event(&step.event), words::link(step)));
        }
        return picture;
    }
    picture.title = format!("Why {first} and {second} are not one profile");
    let ends = [&pair.first, &pair.second].map(|identifier| picture.node(identifier, None, 0));
    for (number, reason) in pair.reasons.iter().flatten().enumerate() {
        let label = words::reason(reason.reason).to_owned();
        let story =
            reason.events.first().map(|event| format!(" {}", words::event(event))).unwrap_or_default();
        picture.steps.push(format!("{label}.{story}"));
        let others: Vec<&Identifier> =
            reason.values.iter().filter(|value| **value != pair.first && **value != pair.second).collect();
        for other in &others {
            let at = picture.outside(other, number);
            for from in ends.iter().flatten() {
                if let Some(to) = at {
                    let label = String::new();
                    picture.edges.push(Edge {
                        from: *from,
                        to,
                        label,
                        is_merge: false,
                        is_refusal: true,
                        step: number,
                    });
                }
            }
        }
        if let ([Some(from), Some(to)], true) = (ends, others.is_empty()) {
            picture.edges.push(Edge { from, to, label, is_merge: false, is_refusal: true, step: number });
        }
    }
    picture
}
