//! Identity resolution without any index: every lookup scans everything.

use std::collections::{BTreeMap, BTreeSet};

use sha1::{Digest, Sha1};

use super::Violation;
use super::event::Event;
use super::identifiers::{self, Identifier};
use super::rules::{Rules, SegmentIds};

/// All profiles and identifiers of a space.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    /// Every profile ever created, in order of creation.
    pub(crate) profiles: Vec<Profile>,
    /// The profile to which each identifier was mapped, and the time of that event.
    pub(crate) mappings: BTreeMap<Identifier, (usize, i128)>,
}

/// A profile as created.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) segment_id: String,
    /// The index of its canonical profile.
    pub(crate) canonical: usize,
}

/// The name of a broken rule, and for a limit the type with too many values.
type Rule = (&'static str, Option<String>);

/// The changes that an event makes to the graph. Profiles are indices.
#[derive(Clone, Debug)]
pub(crate) struct Resolution {
    /// The profile on the rows of the event: the newest one found, or the one created.
    pub(crate) came_through: usize,
    /// Its canonical profile after the event.
    pub(crate) canonical: usize,
    /// The canonical profiles found by the identifiers of the event.
    pub(crate) found: BTreeSet<usize>,
    /// The new graph rows: a profile and its new canonical profile.
    pub(crate) graph_changes: Vec<(usize, usize)>,
    /// The identifiers that this event maps.
    pub(crate) mapped: Vec<Identifier>,
    /// The links that this event adds.
    pub(crate) links: Vec<Link>,
}

/// The reason why a profile was merged away or why an identifier was mapped to a profile.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// `merged`, `created` or `mapped`.
    pub(crate) word: &'static str,
    /// The profile that was merged away, or to which the identifier was mapped.
    pub(crate) profile: usize,
    pub(crate) identifier: Identifier,
    pub(crate) via: Option<Identifier>,
}

impl Graph {
    /// Resolves an event and updates the graph; `None` if the event matches no profile and creates none.
    pub(crate) fn resolve(
        &mut self,
        event: &Event,
        rules: &Rules,
        violations: &mut Vec<Violation>,
    ) -> Option<Resolution> {
        let mut refused: Vec<(Identifier, Rule, &'static str)> = Vec::new();
        let resolution = self.change(event, rules, &mut refused);
        for (identifier, (rule, limit_type), step) in refused {
            let belongs_to = self.mappings.get(&identifier).map(|(profile, _)| *profile);
            let of_event = resolution.as_ref().map(|resolution| resolution.canonical);
            let reached = belongs_to.or(of_event.filter(|_| rule != "blocked"));
            let canonical = reached.map(|profile| self.profiles[profile].canonical);
            violations.push(Violation {
                message_id: event.message_id.clone(),
                identifier_type: identifier.0,
                value: identifier.1,
                rule,
                limit_type,
                segment_id: canonical.map(|profile| self.profiles[profile].segment_id.clone()),
                step,
            });
        }
        resolution
    }

    fn change(
        &mut self,
        event: &Event,
        rules: &Rules,
        refused: &mut Vec<(Identifier, Rule, &'static str)>,
    ) -> Option<Resolution> {
        let mut report = |identifier: &Identifier, rule: &Rule, step: &'static str| {
            refused.push((identifier.clone(), rule.clone(), step));
        };

        // Sorted from the highest rank to the lowest, then by value.
        let mut on_event: Vec<Identifier> = Vec::new();
        for identifier in identifiers::of(event, rules) {
            if rules.blocks(&identifier.0, &identifier.1) {
                report(&identifier, &("blocked", None), "blocking");
            } else {
                on_event.push(identifier);
            }
        }
        let rank = |identifier: &Identifier| (rules.rank(&identifier.0), identifier.1.clone());
        on_event.sort_by_key(rank);

        let mut taken_off: Vec<(Identifier, Rule)> = Vec::new();
        let mut found = self.find(&on_event);
        while let Some(rule) = self.broken(&found, &on_event, event.timestamp, rules) {
            let lowest = on_event.pop().expect("without identifiers no rule is broken");
            taken_off.push((lowest, rule));
            found = self.find(&on_event);
        }
        if on_event.is_empty() {
            for (identifier, rule) in &taken_off {
                report(identifier, rule, "demoted");
            }
            return None;
        }

        // The identifiers are sorted by rank and value, so this finds the highest-ranked one.
        let first_of = |profile: &usize| {
            let belongs = |identifier: &&Identifier| {
                let mapping = self.mappings.get(*identifier);
                mapping.is_some_and(|(owner, _)| self.profiles[*owner].canonical == *profile)
            };
            on_event.iter().find(belongs).cloned().expect("every profile was found by an identifier")
        };
        let found_by: Vec<(usize, Identifier)> =
            found.iter().map(|profile| (*profile, first_of(profile))).collect();

        let mut graph_changes = Vec::new();
        let youngest = found.last().copied();
        let came_through = youngest.unwrap_or_else(|| {
            let created = self.profiles.len();
            let segment_id = self.new_segment_id(event, rules);
            self.profiles.push(Profile { segment_id, canonical: created });
            graph_changes.push((created, created));
            created
        });
        let canonical = found.first().copied().unwrap_or(came_through);
        for merged_away in found.iter().skip(1) {
            for (index, profile) in self.profiles.iter_mut().enumerate() {
                if profile.canonical == *merged_away {
                    profile.canonical = canonical;
                    graph_changes.push((index, canonical));
                }
            }
        }

        let mut mapped = Vec::new();
        for identifier in on_event {
            if self.mappings.contains_key(&identifier) {
                continue;
            }
            if self.identifiers_of(canonical).len() < rules.mapping_cap {
                self.mappings.insert(identifier.clone(), (came_through, event.timestamp));
                mapped.push(identifier);
            } else {
                report(&identifier, &("mapping_cap", None), "profile full");
            }
        }

        // The second chance, from the highest rank down: the reverse of the order of demotion.
        for (identifier, rule) in taken_off.into_iter().rev() {
            if self.mappings.contains_key(&identifier) {
                report(&identifier, &rule, "demoted");
                continue;
            }
            let alone = std::slice::from_ref(&identifier);
            if let Some(rule) = self.broken(&BTreeSet::from([canonical]), alone, event.timestamp, rules) {
                report(&identifier, &rule, "second chance");
            } else if self.identifiers_of(canonical).len() < rules.mapping_cap {
                report(&identifier, &rule, "mapped by second chance");
                self.mappings.insert(identifier.clone(), (came_through, event.timestamp));
                mapped.push(identifier);
            } else {
                report(&identifier, &("mapping_cap", None), "second chance");
            }
        }
        mapped.sort_by_key(rank);

        let survivor_by = found_by.first().map(|(_, identifier)| identifier.clone());
        let merged = found_by.iter().skip(1).map(|(profile, identifier)| Link {
            word: "merged",
            profile: *profile,
            identifier: identifier.clone(),
            via: survivor_by.clone(),
        });
        let of_mapped = mapped.iter().map(|identifier| {
            let founder = mapped.first().filter(|first| *first != identifier);
            Link {
                word: if found_by.is_empty() { "created" } else { "mapped" },
                profile: came_through,
                identifier: identifier.clone(),
                via: survivor_by.as_ref().or(founder).cloned(),
            }
        });
        let links = merged.chain(of_mapped).collect();
        Some(Resolution { came_through, canonical, found, graph_changes, mapped, links })
    }

    /// Returns the canonical profiles of identifiers, oldest first.
    fn find(&self, identifiers: &[Identifier]) -> BTreeSet<usize> {
        let known = identifiers.iter().filter_map(|identifier| self.mappings.get(identifier));
        known.map(|(profile, _)| self.profiles[*profile].canonical).collect()
    }

    /// Returns the identifiers of a canonical profile.
    fn identifiers_of(&self, canonical: usize) -> BTreeSet<Identifier> {
        let of_it =
            self.mappings.iter().filter(|(_, (profile, _))| self.profiles[*profile].canonical == canonical);
        of_it.map(|(identifier, _)| identifier.clone()).collect()
    }

    /// Returns the rule that merging the profiles found and adding the identifiers of the event would break, if any.
    fn broken(
        &self,
        found: &BTreeSet<usize>,
        on_event: &[Identifier],
        now: i128,
        rules: &Rules,
    ) -> Option<Rule> {
        let held: Vec<(usize, BTreeSet<Identifier>)> =
            found.iter().map(|profile| (*profile, self.identifiers_of(*profile))).collect();
        let mut candidate: BTreeSet<Identifier> = on_event.iter().cloned().collect();
        candidate.extend(held.iter().flat_map(|(_, identifiers)| identifiers.clone()));

        let mut types: Vec<&String> = candidate.iter().map(|(identifier_type, _)| identifier_type).collect();
        types.sort_by_key(|identifier_type| rules.rank(identifier_type));
        types.dedup();
        for identifier_type in types {
            let of_type = || candidate.iter().filter(|identifier| identifier.0 == *identifier_type);
            if held
                .iter()
                .any(|(_, identifiers)| of_type().all(|identifier| identifiers.contains(identifier)))
            {
                continue;
            }
            let (most, window) = rules.limit(identifier_type);
            let in_window = of_type().filter(|identifier| {
                let added = self.mappings.get(*identifier).map_or(now, |(_, timestamp)| *timestamp);
                window.millis().is_none_or(|millis| now - millis < added)
            });
            if most < in_window.count() {
                return Some(("limit", Some(identifier_type.clone())));
            }
        }

        if 1 < found.len() {
            // Counts every segment id except the survivor's own, whether merged by this event or earlier.
            let segment_ids =
                self.profiles.iter().filter(|profile| found.contains(&profile.canonical)).count();
            if rules.merge_cap < segment_ids - 1 {
                return Some(("merge_cap", None));
            }
            if rules.mapping_cap < held.iter().map(|(_, identifiers)| identifiers.len()).sum() {
                return Some(("mapping_cap", None));
            }
        }
        None
    }

    fn new_segment_id(&self, event: &Event, rules: &Rules) -> String {
        let mut attempt = 0;
        loop {
            let segment_id = match rules.segment_ids {
                SegmentIds::Sequential => format!("profile_{}", self.profiles.len() + 1 + attempt),
                SegmentIds::Ksuid => {
                    let mut named_by = event.message_id.clone().into_bytes();
                    if 0 < attempt {
                        named_by.extend_from_slice(format!("\0{attempt}").as_bytes());
                    }
                    format!("use_{}", ksuid(event.timestamp.div_euclid(1000), &named_by))
                }
            };
            if self.profiles.iter().all(|profile| profile.segment_id != segment_id) {
                return segment_id;
            }
            attempt += 1;
        }
    }
}

/// Returns a KSUID: 4 bytes of seconds since 2014-05-13T16:53:20Z and 16 bytes of hash, as text.
fn ksuid(unix_seconds: i128, named_by: &[u8]) -> String {
    let seconds = u32::try_from((unix_seconds - 1_400_000_000).max(0)).unwrap_or(u32::MAX);
    let mut bytes = seconds.to_be_bytes().to_vec();
    bytes.extend_from_slice(&Sha1::digest(named_by)[..16]);
    base_62(bytes)
}

/// Formats a number as 27 base-62 digits. Long division gives the last digit first.
fn base_62(mut bytes: Vec<u8>) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = Vec::new();
    for _ in 0..27 {
        let mut remainder = 0;
        for byte in &mut bytes {
            let value = remainder * 256 + usize::from(*byte);
            *byte = u8::try_from(value / 62).expect("the remainder is below 62");
            remainder = value % 62;
        }
        text.push(DIGITS[remainder]);
    }
    text.reverse();
    String::from_utf8(text).expect("the digits are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_62_matches_the_published_ksuid() {
        let hex = "0669f7efb5a1cd34b5f99d1154fb6853345c9735";
        let bytes = (0..20)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("the text is hex"))
            .collect();
        assert_eq!(base_62(bytes), "0ujtsYcgvSTl8PAuAdqWYSMnLOv");
        assert_eq!(base_62(vec![255; 20]), "aWgEPTl1tmebfsQzFP4bxwgy80V");
    }

    #[test]
    fn times_before_the_ksuid_epoch_count_as_zero() {
        assert_eq!(ksuid(1_399_999_999, b"m"), ksuid(1_400_000_000, b"m"));
        assert_ne!(ksuid(1_400_000_001, b"m"), ksuid(1_400_000_000, b"m"));
    }
}
