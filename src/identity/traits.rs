//! What a profile's traits are, and when each was set.
//!
//! A trait is a top-level key of an identify call, known by its name in `snake_case`. Its value is a scalar, or an object
//! whose leaves are cells of their own; or it was removed, which is remembered with its time, so that a late identify
//! brings nothing back.

use std::{cmp::Reverse, collections::BTreeMap, ops::Range};

use super::packed_traits::{PackedTraits, PackedValue, Packer};
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

/// One value of a trait, or a trait that was removed.
#[derive(Debug, Clone, Copy)]
struct Item {
    name: PathId,
    path: PathId,
    at: SetAt,
    /// Its value as JSON; empty for a removed trait.
    start: u32,
    end: u32,
}

impl Item {
    fn removed(name: PathId, at: SetAt) -> Self {
        Self { name, path: name, at, start: 0, end: 0 }
    }

    fn has_value(&self) -> bool {
        self.start < self.end
    }

    fn clock(&self) -> (Millis, Micros) {
        (self.at.timestamp, self.at.uuid_ts)
    }
}

/// The traits of one profile while they are worked on; [`PackedTraits`] at rest. To be used again and again.
#[derive(Debug, Clone, Default)]
pub struct ProfileTraits {
    /// Those of a trait stand together.
    items: Vec<Item>,
    /// The values, and some that are none any more.
    bytes: Vec<u8>,
    /// Scratch space.
    packed: Vec<u8>,
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

    /// Returns the number of a path that has one.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Option<PathId> {
        self.by_path.get(path).copied()
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
    /// Takes the traits of a profile in place of those that are here.
    pub fn unpack(&mut self, packed: &PackedTraits) {
        self.items.clear();
        self.bytes.clear();
        self.unpack_more(packed);
    }

    fn unpack_more(&mut self, packed: &PackedTraits) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(packed.bytes());
        let mut values = packed.values();
        while let Some(PackedValue { name, at, path, value }) = values.next() {
            let end = place(base + values.place());
            let start = end - place(value.len());
            self.items.push(Item { name, path, at, start, end });
        }
    }

    /// The same traits at rest.
    pub fn pack(&mut self) -> PackedTraits {
        self.items.sort_by_key(|item| item.at);
        let mut out = Packer::new(std::mem::take(&mut self.packed));
        for together in self.items.chunk_by(|a, b| a.at == b.at) {
            out.clock(together[0].at, together.len() as u64);
            for item in together {
                out.value(item.name, item.path, self.value_of(item));
            }
        }
        self.packed = out.into_bytes();
        PackedTraits::from(&*self.packed)
    }

    fn value_of(&self, item: &Item) -> &[u8] {
        &self.bytes[item.start as usize..item.end as usize]
    }

    /// All values, those of a trait together.
    pub fn values(&self) -> impl Iterator<Item = PackedValue<'_>> {
        self.items.iter().map(|item| PackedValue {
            name: item.name,
            at: item.at,
            path: item.path,
            value: self.value_of(item),
        })
    }

    /// One of the values, as counted by [`ProfileTraits::values`].
    #[must_use]
    pub fn value(&self, number: usize) -> &[u8] {
        self.value_of(&self.items[number])
    }

    /// The columns of the present snapshot, by their numbers, in no order.
    pub fn columns<'a>(&'a self, names: &'a TraitNames) -> impl Iterator<Item = u32> + 'a {
        self.items.iter().filter(|item| item.has_value()).map(|item| names.column(item.path))
    }

    /// Adds what stands in a snapshot; an empty value for a removed trait. Where values of a trait stand apart or have
    /// other clocks, as in tables of somebody else's, they are put together, under the clock of the first.
    pub fn push(&mut self, one: PackedValue<'_>) {
        let PackedValue { name, path, at, value } = one;
        let Some(last) = self.items.iter().rposition(|item| item.name == name) else {
            let item = self.keep(name, path, at, value);
            return self.items.push(item);
        };
        if value.is_empty() {
            return;
        }
        let before = self.items[last];
        let item = self.keep(name, path, before.at, value);
        if before.has_value() { self.items.insert(last + 1, item) } else { self.items[last] = item }
    }

    fn keep(&mut self, name: PathId, path: PathId, at: SetAt, value: &[u8]) -> Item {
        let start = place(self.bytes.len());
        self.bytes.extend_from_slice(value);
        Item { name, path, at, start, end: place(self.bytes.len()) }
    }

    /// Sets a trait to a scalar, unless what is there is newer.
    pub fn put(&mut self, name: PathId, at: SetAt, value: &[u8], names: &TraitNames) {
        let item = self.keep(name, name, at, value);
        self.settle(name, at, &[item], names);
    }

    /// Sets or removes a trait, unless what is there is newer. A column belongs to one trait: the new one takes it from
    /// any other that is not newer.
    fn settle(&mut self, name: PathId, at: SetAt, values: &[Item], names: &TraitNames) {
        if let Some(held) = self.held(name)
            && (at.timestamp, at.uuid_ts) < self.items[held].clock()
        {
            return;
        }
        let contested = values.iter().any(|item| names.columns[names.column(item.path) as usize].contested);
        let won;
        let mut values = values;
        if contested {
            won = self.take_columns(name, at, values.to_vec(), names);
            values = &won;
        }
        let removed = [Item::removed(name, at)];
        if values.is_empty() {
            values = &removed;
        }
        match (self.held(name), values) {
            (Some(held), [value]) if self.items.get(held + 1).is_none_or(|next| next.name != name) => {
                self.items[held] = *value;
            }
            (None, _) => self.items.extend_from_slice(values),
            _ => {
                self.items.retain(|item| item.name != name);
                self.items.extend_from_slice(values);
            }
        }
    }

    /// Where a trait begins.
    fn held(&self, name: PathId) -> Option<usize> {
        self.items.iter().position(|item| item.name == name)
    }

    /// Settles columns that more than one trait wants. A trait that loses all its columns stays as a removed one, with
    /// its time.
    fn take_columns(&mut self, name: PathId, at: SetAt, mut new: Vec<Item>, names: &TraitNames) -> Vec<Item> {
        let wants = |item: &Item, list: &[Item]| {
            let same =
                |other: &Item| other.has_value() && names.column(other.path) == names.column(item.path);
            item.has_value() && list.iter().any(same)
        };
        let mut items = Vec::with_capacity(self.items.len());
        for other in self.items.chunk_by(|a, b| a.name == b.name) {
            let before = items.len();
            if other[0].name == name {
                items.extend_from_slice(other);
            } else if at.timestamp < other[0].at.timestamp {
                new.retain(|item| !wants(item, other));
                items.extend_from_slice(other);
            } else {
                items.extend(other.iter().filter(|item| !wants(item, &new)));
                if items.len() == before {
                    items.push(Item::removed(other[0].name, other[0].at));
                }
            }
        }
        self.items = items;
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
        let mut items: Vec<Item> = Vec::new();
        for (_, name, leaves) in winners {
            let name = names.id(name);
            items.clear();
            for leaf in leaves {
                let value = values[leaf.leaf as usize];
                if value.is_empty() {
                    continue;
                }
                let path = names.id(&leaf.path);
                let column = names.column(path);
                items.retain(|item| names.column(item.path) != column);
                items.push(self.keep(name, path, at, value));
            }
            self.settle(name, at, &items, names);
        }
    }

    /// Folds the traits of profiles that merge into this one: per trait the newest value, then columns settled in the
    /// order of setting.
    pub fn merge(&mut self, others: &[PackedTraits], names: &TraitNames) {
        let mut newest: BTreeMap<PathId, Range<usize>> = BTreeMap::new();
        let mut start = 0;
        for other in std::iter::once(None).chain(others.iter().map(Some)) {
            if let Some(packed) = other {
                self.unpack_more(packed);
            }
            for one in self.items[start..].chunk_by(|a, b| a.name == b.name) {
                let range = start..start + one.len();
                start = range.end;
                match newest.get(&one[0].name) {
                    Some(held) if one[0].clock() <= self.items[held.start].clock() => {}
                    _ => drop(newest.insert(one[0].name, range)),
                }
            }
        }
        let all = std::mem::take(&mut self.items);
        let mut in_order: Vec<&[Item]> = newest.into_values().map(|range| &all[range]).collect();
        in_order.sort_by_key(|one| Reverse(one[0].clock()));
        while let Some(next) = in_order.pop() {
            self.settle(next[0].name, next[0].at, next, names);
        }
    }
}

fn place(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("traits of a profile are shorter than 4 GiB")
}
