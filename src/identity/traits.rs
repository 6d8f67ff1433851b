//! What a profile's traits are, and when each was set.
//!
//! A trait is a top-level key of an identify call, known by its name in `snake_case`. Its value is a scalar, or an object
//! whose leaves are cells of their own; or it was removed, which is remembered with its time, so that a late identify
//! brings nothing back.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::{
    collections::Map,
    event::timestamp::{Micros, Millis},
    raw::columns::{Plan, TraitLeaf},
};

/// A path's number: `address.postal_code`, or a trait's bare name.
pub type PathId = u32;

/// When a trait was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetAt {
    /// The `timestamp` of the event: the newest wins.
    pub timestamp: Millis,
    /// The `uuid_ts` of the event: of equal timestamps the later processed wins.
    pub uuid_ts: Micros,
    /// The seq of the row.
    pub seq: u64,
}

/// One leaf of a trait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Its path.
    pub path: PathId,
    /// Its value as JSON.
    pub value: Box<[u8]>,
}

/// One trait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trait {
    /// Its name, a path of one part.
    pub name: PathId,
    /// When it was set or removed.
    pub at: SetAt,
    /// Its leaves; none where it was removed.
    pub cells: Box<[Cell]>,
}

/// The traits of one profile, in no order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileTraits {
    /// Each name once.
    pub traits: Vec<Trait>,
}

/// Columns of `profile_traits_updates` and `profile_traits` that are no traits.
const TAKEN: [&str; 15] = [
    "id",
    "segment_id",
    "seq",
    "timestamp",
    "received_at",
    "uuid_ts",
    "triggering_event_id",
    "triggering_event_name",
    "triggering_event_type",
    "triggering_event_source_id",
    "triggering_event_source_name",
    "triggering_event_source_slug",
    "canonical_segment_id",
    "merged_to",
    "__trait_seqs",
];

/// The column of a trait's path: parts joined by `_`, with a leading `_` where the name is taken.
#[must_use]
pub fn column_of(path: &[u8]) -> Vec<u8> {
    let mut column: Vec<u8> = path.iter().map(|&b| if b == b'.' { b'_' } else { b }).collect();
    if TAKEN.iter().any(|t| t.as_bytes() == column) {
        column.insert(0, b'_');
    }
    column
}

#[derive(Debug)]
struct PathName {
    path: Box<[u8]>,
    column: u32,
}

#[derive(Debug)]
struct ColumnName {
    name: Box<[u8]>,
    /// More than one path leads here, so that two traits may want it.
    contested: bool,
}

/// All paths and columns met, with their alphabetical places.
#[derive(Debug, Default)]
pub struct TraitNames {
    paths: Vec<PathName>,
    columns: Vec<ColumnName>,
    by_path: Map<Box<[u8]>, PathId>,
    by_column: Map<Box<[u8]>, u32>,
    path_places: Vec<u32>,
    column_places: Vec<u32>,
}

impl TraitNames {
    /// The number of a path.
    pub fn id(&mut self, path: &[u8]) -> PathId {
        if let Some(&id) = self.by_path.get(path) {
            return id;
        }
        let name = column_of(path);
        let column = if let Some(&column) = self.by_column.get(&*name) {
            self.columns[column as usize].contested = true;
            column
        } else {
            let column = u32::try_from(self.columns.len()).expect("fewer than 2^32 columns");
            self.by_column.insert(name.clone().into(), column);
            self.columns.push(ColumnName { name: name.into(), contested: false });
            column
        };
        let id = u32::try_from(self.paths.len()).expect("fewer than 2^32 paths");
        self.by_path.insert(path.into(), id);
        self.paths.push(PathName { path: path.into(), column });
        id
    }

    /// All paths, in the order of their numbers.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.paths.iter().map(|path| &*path.path)
    }

    /// A path's text.
    #[must_use]
    pub fn path(&self, path: PathId) -> &[u8] {
        &self.paths[path as usize].path
    }

    /// A path's column.
    #[must_use]
    pub fn column(&self, path: PathId) -> u32 {
        self.paths[path as usize].column
    }

    /// A column's name.
    #[must_use]
    pub fn column_name(&self, column: u32) -> &[u8] {
        &self.columns[column as usize].name
    }

    /// Works out the alphabetical places of paths and columns, where new ones have come.
    pub fn sort(&mut self) {
        if self.path_places.len() != self.paths.len() {
            self.path_places = places(self.paths.iter().map(|p| &*p.path));
        }
        if self.column_places.len() != self.columns.len() {
            self.column_places = places(self.columns.iter().map(|c| &*c.name));
        }
    }

    /// A path's place among all paths, after [`TraitNames::sort`].
    #[must_use]
    pub fn path_place(&self, path: PathId) -> u32 {
        self.path_places[path as usize]
    }

    /// A column's place among all columns, after [`TraitNames::sort`].
    #[must_use]
    pub fn column_place(&self, column: u32) -> u32 {
        self.column_places[column as usize]
    }
}

fn places<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vec<u32> {
    let mut sorted: Vec<(&[u8], u32)> = names.zip(0..).collect();
    sorted.sort_unstable();
    let mut places = vec![0; sorted.len()];
    for (place, (_, id)) in (0..).zip(sorted) {
        places[id as usize] = place;
    }
    places
}

impl ProfileTraits {
    /// Whether a trait has a value.
    #[must_use]
    pub fn has_value(&self) -> bool {
        self.traits.iter().any(|t| !t.cells.is_empty())
    }

    /// The columns of the present snapshot, by their numbers, in no order.
    pub fn columns<'a>(&'a self, names: &'a TraitNames) -> impl Iterator<Item = u32> + 'a {
        self.traits.iter().flat_map(|t| &t.cells).map(|cell| names.column(cell.path))
    }

    /// Sets or removes a trait, unless what is there is newer. A column belongs to one trait: the new one takes it from
    /// any other that is not newer.
    pub fn put(&mut self, new: Trait, names: &TraitNames) {
        let place = self.traits.iter().position(|t| t.name == new.name);
        if let Some(place) = place
            && self.newer(place, &new)
        {
            return;
        }
        let contested = new.cells.iter().any(|c| names.columns[names.column(c.path) as usize].contested);
        let new = if contested { self.take_columns(new, names) } else { new };
        match place {
            Some(place) => self.traits[place] = new,
            None => self.traits.push(new),
        }
    }

    fn newer(&self, place: usize, new: &Trait) -> bool {
        let at = self.traits[place].at;
        (new.at.timestamp, new.at.uuid_ts) < (at.timestamp, at.uuid_ts)
    }

    /// Settles columns that more than one trait wants. A trait that loses all its columns stays as a removed one, with
    /// its time.
    fn take_columns(&mut self, mut new: Trait, names: &TraitNames) -> Trait {
        let mut cells: Vec<Cell> = std::mem::take(&mut new.cells).into_vec();
        let wants =
            |cell: &Cell, list: &[Cell]| list.iter().any(|c| names.column(c.path) == names.column(cell.path));
        for other in self.traits.iter_mut().filter(|t| t.name != new.name) {
            if new.at.timestamp < other.at.timestamp {
                let theirs = &other.cells;
                cells.retain(|cell| !wants(cell, theirs));
            } else if other.cells.iter().any(|cell| wants(cell, &cells)) {
                let mut theirs = std::mem::take(&mut other.cells).into_vec();
                theirs.retain(|cell| !wants(cell, &cells));
                other.cells = theirs.into();
            }
        }
        new.cells = cells.into();
        new
    }

    /// Applies the traits of an identify call. `values` are the leaves' values as JSON, empty where a leaf has none.
    pub fn apply(&mut self, plan: &Plan, values: &[&[u8]], at: SetAt, names: &mut TraitNames) {
        let mut winners: Vec<(Option<u32>, &[u8], &[TraitLeaf])> = Vec::with_capacity(plan.traits.len());
        for group in &plan.traits {
            // Of several keys that are one trait the last with a value wins.
            let with_value =
                |key: &&Vec<TraitLeaf>| key.iter().any(|leaf| !values[leaf.leaf as usize].is_empty());
            let key = group.keys.iter().rev().find(with_value).or(group.keys.last());
            let leaves = key.map_or(&[][..], Vec::as_slice);
            winners.push((leaves.first().map(|leaf| leaf.place), &group.name, leaves));
        }
        if plan.traits.iter().any(|group| 1 < group.keys.len()) {
            winners.sort_by_key(|(place, ..)| *place);
        }
        for (_, name, leaves) in winners {
            let name = names.id(name);
            let mut cells: Vec<Cell> = Vec::with_capacity(leaves.len());
            for leaf in leaves {
                let value = values[leaf.leaf as usize];
                if value.is_empty() {
                    continue;
                }
                let path = names.id(&leaf.path);
                let column = names.column(path);
                cells.retain(|cell| names.column(cell.path) != column);
                cells.push(Cell { path, value: value.into() });
            }
            self.put(Trait { name, at, cells: cells.into() }, names);
        }
    }

    /// Folds the traits of profiles that merge into this one: per trait the newest value, then columns settled in the
    /// order of setting.
    pub fn merge(&mut self, others: Vec<Box<ProfileTraits>>, names: &TraitNames) {
        let mut newest: BTreeMap<PathId, Trait> = BTreeMap::new();
        let all =
            std::mem::take(&mut self.traits).into_iter().chain(others.into_iter().flat_map(|o| o.traits));
        for candidate in all {
            match newest.get(&candidate.name) {
                Some(t)
                    if (candidate.at.timestamp, candidate.at.uuid_ts) <= (t.at.timestamp, t.at.uuid_ts) => {}
                _ => {
                    newest.insert(candidate.name, candidate);
                }
            }
        }
        let mut in_order: Vec<Trait> = newest.into_values().collect();
        in_order.sort_by_key(|t| Reverse((t.at.timestamp, t.at.uuid_ts)));
        while let Some(next) = in_order.pop() {
            self.put(next, names);
        }
    }
}
