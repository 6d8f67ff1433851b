//! The job `explain`: why identifiers are one profile, or why they are not.
//!
//! Reads tables and changes nothing. One or two identifiers are looked up in the state, and the rows about their profiles by
//! their clocks, so that it takes as long in a large space as in a small one. If the state is missing, or says something
//! else than the tables, the tables about identity are read instead, with the same answer.

pub mod answer;
mod events;
pub mod health;
mod hits;
mod lookup;
mod nearest;
pub mod path;
mod profile;
mod reasons;
mod rows;
mod violations;
mod whole;

use std::path::{Path, PathBuf};

use serde::Serialize;

use self::{
    answer::{Counts, Identifier, PairAnswer, ProfileAnswer, Step, Unknown, UnknownAnswer, Violation},
    events::Events,
    health::Health,
    hits::{Hit, split},
    lookup::Lookup,
    profile::{Profile, ProfileRows, step_of_change},
    reasons::{Side, reasons},
    violations::Wanted,
    whole::{Parents, Tables},
};
use crate::{
    config::{
        self,
        rules::{KNOWN_TYPES, Rules},
    },
    error::{Error, Result},
    files::Files,
    identity::extract::normalize,
    progress::Progress,
    raw::{identity_links, identity_violations},
    space::{
        manifest::{Manifest, RunKind},
        tables::committed_file,
    },
    table::{blocks::SharedProgress, head::holds_events},
    time::timestamp::Micros,
};

/// What to explain.
#[derive(Debug, Clone)]
pub struct ExplainOptions {
    /// The folder of the space.
    pub space: PathBuf,
    /// None, one or two: segment ids, identifiers with their type, or values.
    pub ids: Vec<String>,
    /// Only what was there at this time, in microseconds.
    pub as_of: Option<Micros>,
}

/// What `explain` found.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// About one profile.
    Profile(Box<ProfileAnswer>),
    /// About two identifiers.
    Pair(Box<PairAnswer>),
    /// About all profiles.
    Health(Box<Health>),
    /// Nobody has an identifier.
    Unknown(UnknownAnswer),
}

/// Explains. Runs on the present rayon pool.
pub fn explain(options: &ExplainOptions, files: &Files, progress: &dyn Progress) -> Result<Answer> {
    let space = &options.space;
    let Some(manifest) = Manifest::read(space, files)? else {
        return Err(Error::file(space, "is not a space: it has no manifest")
            .hint("give the folder of a space with `--space DIR`"));
    };
    let rules = match &manifest.config {
        Some(used) => config::parse(&used.text, Path::new("the config in the manifest"))?,
        None => Rules::default(),
    };
    let meter = SharedProgress::new(progress);
    let tables = Tables { space, manifest: &manifest, files, meter: &meter, as_of: options.as_of };
    let has_links = has_links(space, &manifest, files)?;
    let explainer = Explainer { tables: &tables, rules: &rules, has_links };
    let ids = &options.ids;
    if ids.is_empty() {
        return health::health(&tables, has_links).map(|health| Answer::Health(Box::new(health)));
    }
    let why = match Lookup::open(space, &manifest, has_links, files) {
        Ok(Some(lookup)) => match explainer.answer(&mut Finder::State(Box::new(lookup)), ids) {
            Err(error) if is_of_files(&error) => "the state and the tables do not fit together",
            answer => return answer,
        },
        Ok(None) if manifest.runs.iter().any(|run| run.job == RunKind::BackfillRaw) => {
            "raw tables were adopted, whose rows may be in any order"
        }
        Ok(None) => "the state cache is missing or damaged",
        Err(error) if error.is_interrupted() => return Err(error),
        Err(_) => "the state cache cannot be read",
    };
    progress.notice(&format!("{why}: the tables about identity are read as a whole"));
    explainer.answer(&mut Finder::Tables(tables.parents()?), ids)
}

/// Returns whether an error came from what files hold, so that other files may give an answer.
fn is_of_files(error: &Error) -> bool {
    match error {
        Error::Refused(_) | Error::Interrupted => false,
        Error::Hinted { error, .. } => is_of_files(error),
        _ => true,
    }
}

/// Returns whether the space has links: a table of an event may have their name.
fn has_links(space: &Path, manifest: &Manifest, files: &Files) -> Result<bool> {
    let committed = manifest.tables.get(identity_links::TABLE).filter(|committed| 0 < committed.bytes);
    let Some(committed) = committed else { return Ok(false) };
    let part = committed_file(space, identity_links::TABLE, committed);
    Ok(!holds_events(std::slice::from_ref(&part), files)?)
}

/// Where profiles are found.
enum Finder {
    /// In the state.
    State(Box<Lookup>),
    /// In the tables.
    Tables(Parents),
}

/// An identifier and its profile; a blocked value has none.
struct Found {
    identifier: Identifier,
    profile: Option<Profile>,
}

struct Explainer<'a> {
    tables: &'a Tables<'a>,
    rules: &'a Rules,
    has_links: bool,
}

impl Explainer<'_> {
    fn answer(&self, finder: &mut Finder, ids: &[String]) -> Result<Answer> {
        let hits = self.hits(finder, ids)?;
        let mut found = Vec::new();
        let mut unknown = Vec::new();
        for (id, hits) in ids.iter().zip(hits) {
            if let Some(one) = self.found(finder, id, &hits)? {
                found.push(one);
                continue;
            }
            let (identifier, violations) = self.violations_of_nobody(id)?;
            match identifier {
                // Why a blocked value is not one profile with another can be said.
                Some(identifier) if 1 < ids.len() => found.push(Found { identifier, profile: None }),
                _ => {
                    let nearest = nearest::nearest(self.tables, id)?;
                    unknown.push(Unknown { argument: id.clone(), nearest, violations });
                }
            }
        }
        if unknown.is_empty() && found.iter().all(|one| one.profile.is_none()) {
            for id in ids {
                let (_, violations) = self.violations_of_nobody(id)?;
                unknown.push(Unknown { argument: id.clone(), nearest: Vec::new(), violations });
            }
        }
        if !unknown.is_empty() {
            return Ok(Answer::Unknown(UnknownAnswer { unknown }));
        }
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(first), Some(second)) => {
                self.pair(&first, &second).map(|pair| Answer::Pair(Box::new(pair)))
            }
            (Some(Found { profile: Some(profile), .. }), None) => {
                self.profile(&profile).map(|profile| Answer::Profile(Box::new(profile)))
            }
            _ => Ok(Answer::Unknown(UnknownAnswer { unknown: Vec::new() })),
        }
    }

    /// Finds what arguments stand for.
    fn hits(&self, finder: &mut Finder, ids: &[String]) -> Result<Vec<Vec<Hit>>> {
        match finder {
            Finder::State(lookup) => ids.iter().map(|id| self.hits_in_state(lookup, id)).collect(),
            Finder::Tables(parents) => {
                let is_wanted = |type_name: &[u8], value: &[u8]| {
                    let type_name = String::from_utf8_lossy(type_name);
                    ids.iter().any(|id| {
                        let is_value = |text: &str| {
                            self.spellings(&type_name, text).iter().any(|one| one.as_bytes() == value)
                        };
                        is_value(id)
                            || split(id)
                                .is_some_and(|one| one.type_name == *type_name && is_value(&one.value))
                    })
                };
                let all = self.tables.identifiers(is_wanted)?;
                let of = |id: &String| {
                    if parents.has(id) {
                        return vec![Hit::Segment(id.clone())];
                    }
                    let typed = split(id).map(|one| self.typed(&one)).unwrap_or_default();
                    let typed: Vec<&Identifier> =
                        all.iter().filter(|one| typed.contains(one)).take(1).collect();
                    let is_value =
                        |one: &&Identifier| self.spellings(&one.type_name, id).contains(&one.value);
                    let found = if typed.is_empty() { all.iter().filter(is_value).collect() } else { typed };
                    found.into_iter().cloned().map(Hit::Identifier).collect()
                };
                Ok(ids.iter().map(of).collect())
            }
        }
    }

    fn hits_in_state(&self, lookup: &mut Lookup, id: &str) -> Result<Vec<Hit>> {
        if lookup.segment_id(id)? {
            return Ok(vec![Hit::Segment(id.to_owned())]);
        }
        for identifier in split(id).map(|one| self.typed(&one)).unwrap_or_default() {
            if lookup.has(&identifier)? {
                return Ok(vec![Hit::Identifier(identifier)]);
            }
        }
        let mut hits = Vec::new();
        for type_name in lookup.type_names() {
            for value in self.spellings(&type_name, id) {
                let identifier = Identifier { type_name: type_name.clone(), value };
                if lookup.has(&identifier)? {
                    hits.push(Hit::Identifier(identifier));
                    break;
                }
            }
        }
        hits.sort_by_key(Hit::argument);
        Ok(hits)
    }

    /// Returns a value as it was given, and as the rules write it.
    fn spellings(&self, type_name: &str, value: &str) -> Vec<String> {
        let how = self.rules.of_type(type_name).normalize;
        let normal = String::from_utf8_lossy(&normalize(value.as_bytes().into(), how)).into_owned();
        if normal == value { vec![normal] } else { vec![value.to_owned(), normal] }
    }

    fn typed(&self, identifier: &Identifier) -> Vec<Identifier> {
        let spellings = self.spellings(&identifier.type_name, &identifier.value);
        spellings.into_iter().map(|value| Identifier { value, ..identifier.clone() }).collect()
    }

    /// Reads the profile of what was found; `None` if nobody has it.
    fn found(&self, finder: &mut Finder, id: &str, hits: &[Hit]) -> Result<Option<Found>> {
        let hit = match hits {
            [] => return Ok(None),
            [hit] => hit,
            _ => {
                let all: Vec<String> = hits.iter().map(Hit::argument).collect();
                return Err(Error::Refused(format!("`{id}` is a value of several types"))
                    .hint(format!("give one of them: `{}`", all.join("`, `"))));
            }
        };
        let rows = self.rows(finder, hit)?;
        let as_of = self.tables.as_of;
        let segment = match hit {
            Hit::Segment(segment_id) => Some(segment_id.clone()),
            Hit::Identifier(identifier) => {
                let is_it = |mapping: &&rows::Mapping| {
                    mapping.identifier == *identifier && as_of.is_none_or(|as_of| mapping.uuid_ts <= as_of)
                };
                rows.mappings
                    .iter()
                    .filter(is_it)
                    .max_by_key(|mapping| mapping.order)
                    .map(|one| one.segment_id.clone())
            }
        };
        let Some(segment) = segment else { return Ok(None) };
        let profile = rows.profile_of(&segment, as_of);
        let identifier = match hit {
            Hit::Segment(segment_id) => profile.first_of(segment_id).cloned(),
            Hit::Identifier(identifier) => {
                Some(identifier.clone()).filter(|identifier| profile.has(identifier))
            }
        };
        Ok(identifier.map(|identifier| Found { identifier, profile: Some(profile) }))
    }

    fn rows(&self, finder: &mut Finder, hit: &Hit) -> Result<ProfileRows> {
        match finder {
            Finder::State(lookup) => {
                let mut rows = lookup.rows(hit)?;
                if self.tables.as_of.is_some() {
                    // The state has the traits of today.
                    let parents = self.tables.parents()?;
                    let segment =
                        rows.changes.first().map(|change| change.segment_id.clone()).unwrap_or_default();
                    let root = parents.root(crate::collections::key_of(segment.as_bytes()));
                    rows.traits = self.tables.traits(root, &parents)?;
                }
                Ok(rows)
            }
            Finder::Tables(parents) => self.tables.rows(hit, parents, self.has_links),
        }
    }

    /// Returns what is known of an identifier that nobody has: the events that carried it.
    fn violations_of_nobody(&self, id: &str) -> Result<(Option<Identifier>, Vec<Violation>)> {
        let bare = || {
            let names = KNOWN_TYPES.into_iter().chain(self.rules.types.keys().map(String::as_str));
            names
                .flat_map(|name| self.typed(&Identifier { type_name: name.to_owned(), value: id.to_owned() }))
        };
        let candidates: Vec<Identifier> =
            split(id).map(|one| self.typed(&one)).unwrap_or_default().into_iter().chain(bare()).collect();
        let wanted = Wanted { identifiers: candidates.iter().collect(), ..Wanted::default() };
        let violations = violations::read(self.tables, &wanted)?;
        let identifier = violations.first().map(|violation| violation.identifier.clone());
        let of_it = violations
            .into_iter()
            .filter(|violation| Some(&violation.identifier) == identifier.as_ref())
            .collect();
        Ok((identifier, of_it))
    }

    fn profile(&self, profile: &Profile) -> Result<ProfileAnswer> {
        let segment_ids = profile.segment_ids.iter().map(String::as_str).collect();
        let violations = violations::read(self.tables, &Wanted { segment_ids, ..Wanted::default() })?;
        let identifiers = profile.identifiers();
        let mut notices = self.notices_on_links(profile);
        notices.extend(self.notices_on_violations());
        Ok(ProfileAnswer {
            segment_id: profile.segment_id.clone(),
            segment_ids: profile.segment_ids.clone(),
            counts: Counts {
                identifiers: identifiers.len() as u64,
                segment_ids: profile.segment_ids.len() as u64,
                traits: profile.rows.traits.len() as u64,
                violations: violations.len() as u64,
            },
            identifiers,
            traits: profile.rows.traits.clone(),
            history: profile.history(),
            violations,
            notices,
        })
    }

    fn pair(&self, first: &Found, second: &Found) -> Result<PairAnswer> {
        let sides = [first, second];
        let profiles = sides.map(|side| side.profile.as_ref());
        let mut answer = PairAnswer {
            first: first.identifier.clone(),
            second: second.identifier.clone(),
            profiles: profiles.map(|profile| profile.map(Profile::in_brief)),
            hub: None,
            path: None,
            reasons: None,
            also: Vec::new(),
            notices: Vec::new(),
        };
        if let [Some(profile), Some(other)] = profiles
            && profile.segment_id == other.segment_id
        {
            let path = path::path(&profile.rows.links, &first.identifier, &second.identifier);
            answer.hub =
                path.as_deref().and_then(|path| path::hub(path, &profile.rows.links, &first.identifier));
            if path.is_none() {
                answer.notices = self.notices_on_links(profile);
            }
            answer.path =
                Some(path.unwrap_or_else(|| without_links(profile, [&first.identifier, &second.identifier])));
            return Ok(answer);
        }
        let segment_ids =
            profiles.iter().flatten().flat_map(|profile| profile.segment_ids.iter().map(String::as_str));
        let wanted = Wanted {
            segment_ids: segment_ids.collect(),
            identifiers: sides.map(|side| &side.identifier).to_vec(),
        };
        let violations = violations::read(self.tables, &wanted)?;
        let Tables { space, manifest, files, .. } = *self.tables;
        let mut events = Events::new(space, manifest, files, self.rules);
        let [first, second] =
            sides.map(|side| Side { identifier: &side.identifier, profile: side.profile.as_ref() });
        let found = reasons([&first, &second], &violations, &mut events)?;
        answer.notices = self.notices_on_violations();
        if !events.can_be_found() {
            answer.notices.push(
                "event tables were adopted, so what an event carried is known of violations only".to_owned(),
            );
        }
        if 0 < found.n_skipped {
            answer
                .notices
                .push(format!("{} more events with violations were not looked at", found.n_skipped));
        }
        answer.reasons = Some(found.reasons);
        answer.also = found.also;
        Ok(answer)
    }

    /// Says of which identifiers of a profile the links know nothing, and why that may be.
    fn notices_on_links(&self, profile: &Profile) -> Vec<String> {
        let n_unknown = profile.mappings_without_link().count();
        if n_unknown == 0 && profile.changes_without_link().next().is_none() {
            return Vec::new();
        }
        let table = identity_links::TABLE;
        let manifest = self.tables.manifest;
        let begins_with = manifest
            .runs
            .iter()
            .position(|run| run.after.as_ref().is_some_and(|after| after.tables.contains_key(table)));
        let why = match begins_with {
            _ if !self.has_links => format!("the space has no `{table}`"),
            Some(run) if 0 < run => {
                format!("`{table}` begins with run {}, or the profile was adopted", run + 1)
            }
            _ => "they were adopted, or came while the table was left out".to_owned(),
        };
        let n_all = profile.rows.mappings.len();
        vec![format!(
            "what led to {n_unknown} of {n_all} identifiers is not recorded: {why}; the events that mapped and merged them are shown"
        )]
    }

    /// Says what the violations cannot show.
    fn notices_on_violations(&self) -> Vec<String> {
        let manifest = self.tables.manifest;
        let table = identity_violations::TABLE;
        let mut notices = Vec::new();
        let texts = manifest.rules.values().chain(manifest.config.iter().map(|used| &used.text));
        let leaves_out = |text: &String| {
            config::parse(text, Path::new("the config in the manifest"))
                .is_ok_and(|rules| !rules.tables.has(table))
        };
        if texts.into_iter().any(leaves_out) {
            notices.push(format!(
                "some runs left out `{table}`: identifiers that they did not use are not known"
            ));
        }
        let has = |job: RunKind| manifest.runs.iter().any(|run| run.job == job);
        if has(RunKind::BackfillProfiles) {
            notices.push("profiles were adopted: why they are as they were is not known".to_owned());
        }
        if has(RunKind::BackfillRaw) && !manifest.tables.contains_key(table) {
            notices.push(format!(
                "tables were adopted without `{table}`: identifiers that were not used before are not known"
            ));
        }
        if has(RunKind::BackfillEvents) {
            notices.push("rows of events came by `backfill events`: these events changed no profile, and what they carried is not looked at".to_owned());
        }
        notices
    }
}

/// Returns what the raw tables say of two identifiers of one profile: how each was mapped, and the merges of their profiles.
fn without_links(profile: &Profile, identifiers: [&Identifier; 2]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut segments = Vec::new();
    for identifier in identifiers {
        let link = profile
            .rows
            .links
            .iter()
            .find(|link| link.link != "merged" && link.identifier.as_ref() == Some(identifier));
        let mapping = profile.rows.mappings.iter().find(|mapping| mapping.identifier == *identifier);
        segments.extend(mapping.map(|mapping| mapping.segment_id.clone()));
        steps.extend(link.cloned().or_else(|| mapping.map(|mapping| profile.step_of_mapping(mapping))));
    }
    // A profile that is merged away is followed to the one that it became part of.
    let mut at = 0;
    while at < segments.len() {
        let segment = &segments[at];
        let merge = profile
            .rows
            .changes
            .iter()
            .find(|change| change.segment_id == *segment && change.canonical_segment_id != *segment);
        if let Some(merge) = merge {
            let link = profile.rows.links.iter().find(|link| {
                link.link == "merged" && link.segment_id == *segment && link.uuid_ts == merge.uuid_ts
            });
            let step = link.cloned().unwrap_or_else(|| step_of_change(merge));
            if !segments.contains(&merge.canonical_segment_id) {
                segments.push(merge.canonical_segment_id.clone());
            }
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        at += 1;
    }
    steps.sort_by_key(|step| step.uuid_ts);
    steps.dedup();
    steps
}
