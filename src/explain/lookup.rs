//! Profiles found in the state of a space, and their rows by their clocks: as fast in a large space as in a small one.

use std::{collections::BTreeSet, path::Path};

use serde_json::value::RawValue;

use super::{
    answer::{Identifier, Trait},
    hits::Hit,
    profile::ProfileRows,
    rows::{Change, Mapping, Row},
};
use crate::{
    error::{Error, Result},
    files::Files,
    identity::{
        extract::identifier_key,
        graph::{IdentityGraph, ProfileId, UNKNOWN_CLOCK},
        traits::TraitNames,
        types::IdentifierTypes,
    },
    raw::{external_id_mapping_updates, id_graph_updates, identity_links},
    space::{
        layout::STATE_FOLDER,
        manifest::{Manifest, RunKind},
        state::{self, Reading},
        tables::committed_file,
    },
    table::{by_clock::ByClock, source::TableSource},
    time::timestamp::Micros,
};

/// A state that is open for looking things up.
pub(super) struct Lookup {
    graph: IdentityGraph,
    trait_names: TraitNames,
    types: IdentifierTypes,
    changes: ByClock,
    mappings: ByClock,
    links: Option<ByClock>,
}

/// Opens a table of a space by its clocks; `None` if it has no row.
pub(super) fn by_clock(
    space: &Path,
    manifest: &Manifest,
    table: &str,
    files: &Files,
) -> Result<Option<ByClock>> {
    let Some(committed) = manifest.tables.get(table).filter(|committed| 0 < committed.bytes) else {
        return Ok(None);
    };
    Ok(Some(ByClock::new(TableSource::open(&committed_file(space, table, committed), files)?)))
}

impl Lookup {
    /// Opens the state; `None` if there is none that can be used, or if tables are not in the order of their clocks, as
    /// adopted ones may be.
    pub(super) fn open(
        space: &Path,
        manifest: &Manifest,
        has_links: bool,
        files: &Files,
    ) -> Result<Option<Self>> {
        if manifest.state.is_empty() || manifest.runs.iter().any(|run| run.job == RunKind::BackfillRaw) {
            return Ok(None);
        }
        let types = IdentifierTypes::default();
        let read = state::read(&space.join(STATE_FOLDER), &manifest.state, Reading::Lazy, &types, files)?;
        let Some(state) = read else { return Ok(None) };
        let open = |table| by_clock(space, manifest, table, files);
        let (Some(changes), Some(mappings)) =
            (open(id_graph_updates::TABLE)?, open(external_id_mapping_updates::TABLE)?)
        else {
            return Ok(None);
        };
        let links = if has_links { open(identity_links::TABLE)? } else { None };
        Ok(Some(Self { graph: state.graph, trait_names: state.trait_names, types, changes, mappings, links }))
    }

    /// Finds a segment id.
    pub(super) fn segment_id(&mut self, segment_id: &str) -> Result<bool> {
        let found = self.graph.find_segment_id(segment_id).is_some();
        self.graph.deferred_error()?;
        Ok(found)
    }

    /// Finds an identifier.
    pub(super) fn has(&mut self, identifier: &Identifier) -> Result<bool> {
        Ok(self.profile_of(identifier)?.is_some())
    }

    /// Returns the names of all types.
    pub(super) fn type_names(&self) -> Vec<String> {
        self.types.names().iter().map(ToString::to_string).collect()
    }

    fn profile_of(&mut self, identifier: &Identifier) -> Result<Option<ProfileId>> {
        let key = identifier_key(&mut Vec::new(), &identifier.type_name, identifier.value.as_bytes());
        let found = self.graph.find(key).map(|number| self.graph.profile_of(number));
        self.graph.deferred_error()?;
        Ok(found)
    }

    /// Reads the rows of the profile of a hit. [`Error::StateDamaged`] if the tables say something else than the state.
    pub(super) fn rows(&mut self, hit: &Hit) -> Result<ProfileRows> {
        let profile = match hit {
            Hit::Segment(segment_id) => self.graph.find_segment_id(segment_id),
            Hit::Identifier(identifier) => self.profile_of(identifier)?,
        };
        let profile = profile.map(|profile| self.graph.canonical(profile));
        self.graph.deferred_error()?;
        let profile = profile.ok_or(Error::StateDamaged)?;
        let merged = self.graph.merged(profile).to_vec();
        let segments: Vec<ProfileId> =
            std::iter::once(profile).chain(merged.iter().map(|&(id, _)| id)).collect();
        let segment_ids: BTreeSet<String> =
            segments.iter().map(|&segment| self.graph.segment_id(segment).to_owned()).collect();
        let of_graph: BTreeSet<Micros> = (segments.iter().map(|&segment| self.graph.created(segment)))
            .chain(merged.iter().map(|&(_, clock)| clock))
            .filter(|&clock| clock != UNKNOWN_CLOCK)
            .collect();
        let mapped: Vec<_> = self.graph.identifiers_of(profile).collect();
        let of_mappings: BTreeSet<Micros> = mapped.iter().map(|identifier| identifier.uuid_ts).collect();
        let belongs = |row: &Row| row.text("segment_id").is_some_and(|id| segment_ids.contains(id));
        let mut rows = ProfileRows { traits: self.traits(profile), ..ProfileRows::default() };
        for &clock in &of_graph {
            rows.changes.extend(read(&mut self.changes, clock, belongs)?.iter().filter_map(Change::of));
        }
        for &clock in &of_mappings {
            rows.mappings.extend(read(&mut self.mappings, clock, belongs)?.iter().filter_map(Mapping::of));
        }
        if let Some(links) = &mut self.links {
            for &clock in of_graph.union(&of_mappings) {
                rows.links.extend(read(links, clock, belongs)?.iter().filter_map(Row::link));
            }
        }
        let key = |identifier: &Identifier| {
            identifier_key(&mut Vec::new(), &identifier.type_name, identifier.value.as_bytes())
        };
        let keys_of_rows: BTreeSet<u128> =
            rows.mappings.iter().map(|mapping| key(&mapping.identifier)).collect();
        let keys: BTreeSet<u128> = mapped.iter().map(|identifier| identifier.key).collect();
        if keys != keys_of_rows
            || segment_ids.iter().any(|id| !rows.changes.iter().any(|change| change.segment_id == *id))
        {
            return Err(Error::StateDamaged);
        }
        Ok(rows)
    }

    fn traits(&self, profile: ProfileId) -> Vec<Trait> {
        let names = &self.trait_names;
        let values = self.graph.traits(profile).values().filter(|one| !one.value.is_empty());
        let mut traits: Vec<Trait> = values
            .filter_map(|one| {
                let name = String::from_utf8_lossy(names.column_name(names.column(one.path))).into_owned();
                let value = String::from_utf8_lossy(one.value).into_owned();
                Some(Trait { name, value: RawValue::from_string(value).ok()? })
            })
            .collect();
        traits.sort_by(|a, b| a.name.cmp(&b.name));
        traits
    }
}

/// Reads the rows of a clock that belong to a profile.
fn read(table: &mut ByClock, clock: Micros, belongs: impl Fn(&Row) -> bool) -> Result<Vec<Row>> {
    let lines = table.rows_at(clock)?;
    Ok(lines.iter().filter_map(|line| Row::read(line)).filter(belongs).collect())
}
