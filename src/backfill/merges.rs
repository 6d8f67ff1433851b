//! The merges of a current state: what each segment id is in the end, and which rows say something else.

use super::{
    conflicts::{Conflict, Reason, RowOf},
    rows_of::RowsOf,
    state::{Age, Profile, State, age},
};
use crate::{
    error::{Error, Result},
    table::clock::Clock,
    view::segments::Segment,
};

/// What a row says of a segment id.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// The profile it is part of.
    pub canonical: Segment,
    /// The row's clocks.
    pub clock: Clock,
    /// The row.
    pub row: RowOf,
}

/// Claims while tables are read.
#[derive(Debug, Default)]
pub struct Claims {
    /// The first of each segment id.
    first: Vec<Option<Claim>>,
    /// Those that came too late, to be compared when all is known.
    other: Vec<(Segment, Segment, RowOf)>,
    /// Other rows of an identifier: its number, whose it is by them.
    pub identifiers: Vec<(u32, Segment, RowOf)>,
}

impl Claims {
    /// Takes a claim in.
    pub fn put(&mut self, segment: Segment, claim: Claim) {
        let at = segment as usize;
        if self.first.len() <= at {
            self.first.resize(at + 1, None);
        }
        match &mut self.first[at] {
            Some(_) => self.other.push((segment, claim.canonical, claim.row)),
            none => *none = Some(claim),
        }
    }
}

impl State {
    /// Follows merges to their end, and compares what came twice.
    pub(super) fn resolve(&mut self, mut claims: Claims) -> Result<()> {
        claims.first.resize(self.segments.len() as usize, None);
        let canonicals = self.follow(&claims.first)?;
        let none: Age = (None, 0, None, None);
        for (claim, &canonical) in claims.first.iter().zip(&canonicals) {
            self.profiles.push(Profile {
                canonical,
                age: claim.map_or(none, |claim| age(&claim.clock)),
                received_at: claim.and_then(|claim| claim.clock.received_at()),
                rows: claim.map(|claim| RowsOf::new(claim.row)),
                counts: false,
            });
        }
        for (segment, canonical, row) in claims.other {
            let known = canonicals[segment as usize];
            if canonicals[canonical as usize] != known {
                let what = if known == segment {
                    "a profile of its own".to_owned()
                } else {
                    format!("part of \"{}\"", self.segment_id(known))
                };
                let segment_id = self.segment_id(segment);
                let detail = format!("\"{segment_id}\" is {what} in another row of the state");
                self.conflicts.push(Conflict { row, reason: Reason::StateDisagrees, detail });
            } else if let Some(rows) = &mut self.profiles[segment as usize].rows {
                self.other_rows.add(rows, row);
            }
        }
        for (number, segment, row) in claims.identifiers {
            let identifier = self.identifiers[number as usize];
            let known = canonicals[identifier.segment as usize];
            if canonicals[segment as usize] == known {
                self.other_rows.add(&mut self.identifiers[number as usize].rows, row);
                continue;
            }
            let detail = format!(
                "{} \"{}\" belongs to \"{}\" in another row of the state",
                self.type_names[identifier.kind as usize],
                String::from_utf8_lossy(self.value(&identifier)),
                self.segment_id(known)
            );
            self.conflicts.push(Conflict { row, reason: Reason::StateDisagrees, detail });
        }
        for identifier in &mut self.identifiers {
            identifier.segment = canonicals[identifier.segment as usize];
        }
        for one in &mut self.traits {
            one.segment = canonicals[one.segment as usize];
        }
        self.choose(&claims.first);
        self.date_profiles(none);
        Ok(())
    }

    /// A segment id that is named only where another row says something else is none of the state's.
    fn choose(&mut self, claims: &[Option<Claim>]) {
        let claimed =
            (0..).zip(claims).filter_map(|(segment, claim)| Some([segment, claim.as_ref()?.canonical]));
        let held = self.identifiers.iter().map(|i| i.segment).chain(self.traits.iter().map(|t| t.segment));
        for segment in claimed.flatten().chain(held) {
            self.profiles[segment as usize].counts = true;
        }
    }

    /// A profile whose row has no clocks, or that has no row, is as old as the first thing known of it.
    fn date_profiles(&mut self, none: Age) {
        let mut first: Vec<Option<Age>> = vec![None; self.profiles.len()];
        let identifiers = self.identifiers.iter().map(|i| (i.segment, age(&i.clock)));
        for (segment, age) in identifiers.chain(self.traits.iter().map(|t| (t.segment, age(&t.clock)))) {
            let first = &mut first[segment as usize];
            *first = Some(first.map_or(age, |first| first.min(age)));
        }
        for (profile, first) in self.profiles.iter_mut().zip(first) {
            if profile.age == none {
                profile.age = first.unwrap_or(none);
            }
        }
    }

    /// What each segment id is in the end.
    fn follow(&self, claims: &[Option<Claim>]) -> Result<Vec<Segment>> {
        let next = |at: Segment| claims[at as usize].map_or(at, |claim| claim.canonical);
        let mut canonicals: Vec<Option<Segment>> = vec![None; claims.len()];
        for first in 0..self.segments.len() {
            let mut path = vec![first];
            let mut at = first;
            let end = loop {
                if let Some(known) = canonicals[at as usize] {
                    break known;
                }
                let to = next(at);
                if to == at {
                    break at;
                }
                if path.contains(&to) {
                    path.push(to);
                    let names: Vec<&str> = path.iter().map(|&segment| self.segment_id(segment)).collect();
                    let message = format!("the state merges in a circle: `{}`", names.join("` -> `"));
                    return Err(Error::Refused(message).hint("correct the row of one of these segment ids"));
                }
                path.push(to);
                at = to;
            };
            for segment in path {
                canonicals[segment as usize] = Some(end);
            }
        }
        Ok((0..).zip(canonicals).map(|(segment, end)| end.unwrap_or(segment)).collect())
    }
}
