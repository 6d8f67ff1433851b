//! The traits of a profile, and when each was set.
//!
//! A trait is a top-level key of an identify call, identified by its name in `snake_case`. Its value is a scalar, or an
//! object whose leaves are stored one by one. A removed trait is kept with the time of its removal, so that a late
//! identify call does not bring it back.

use std::{cmp::Reverse, collections::BTreeMap, ops::Range};

use super::packed_traits::{EncodedTraits, EncodedValue, PathId, SetAt, TraitEncoder};
use crate::{
    collections::{Map, Set},
    event::columns::{ColumnPlan, TraitKey, TraitLeaf},
    time::timestamp::{Micros, Millis},
};

/// One value of a trait, or a removed trait.
#[derive(Debug, Clone, Copy)]
struct Item {
    name: PathId,
    path: PathId,
    at: SetAt,
    /// The value's range in `bytes`, as JSON; empty for a removed trait.
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

/// The decoded traits of one profile, for reading and changing them. [`EncodedTraits`] is the stored form. Reuse it to
/// save allocations.
#[derive(Debug, Clone, Default)]
pub struct ProfileTraits {
    /// The items of a trait are adjacent. During a change, some are [`DELETED`].
    items: Vec<Item>,
    /// The values, including some that are no longer used.
    bytes: Vec<u8>,
    /// A buffer for encoding.
    packed: Vec<u8>,
    /// The index range of each trait's items, during a change.
    places: TraitIndex,
    /// The item that holds each column. Computed when two traits want the same column.
    holders: Vec<Stamped<u32>>,
    holders_stamp: u64,
    has_holders: bool,
    /// A buffer for the items of the current trait.
    new: Vec<Item>,
}

/// Up to this many leaves, two with the same column are found by comparing all pairs.
const COMPARE_PAIRS_UP_TO: usize = 16;

/// The name of a deleted item.
const DELETED: PathId = PathId::MAX;

/// An index that is valid only if its stamp is the current one, so that a table of them need not be cleared.
#[derive(Debug, Clone, Copy, Default)]
struct Stamped<T> {
    stamp: u64,
    at: T,
}

/// The first item of each trait and the number of its items.
#[derive(Debug, Clone, Default)]
struct TraitIndex {
    by_name: Vec<Stamped<(u32, u32)>>,
    stamp: u64,
    n_names: u32,
    /// The number of items that were indexed. If it differs from the actual number, the index is stale.
    n_items: usize,
}

impl TraitIndex {
    fn clear(&mut self) {
        self.stamp += 1;
        self.n_names = 0;
        self.n_items = 0;
    }

    fn get(&self, name: PathId) -> Option<Range<usize>> {
        let place = self.by_name.get(name as usize).filter(|place| place.stamp == self.stamp)?;
        let (start, n) = place.at;
        Some(start as usize..(start + n) as usize)
    }

    fn set(&mut self, name: PathId, range: &Range<usize>) {
        let number = name as usize;
        if self.by_name.len() <= number {
            self.by_name.resize(number + 1, Stamped::default());
        }
        let entry = &mut self.by_name[number];
        self.n_names += u32::from(entry.stamp != self.stamp);
        *entry = Stamped { stamp: self.stamp, at: (place(range.start), place(range.len())) };
    }
}

/// Columns of `profile_traits_updates` and `profile_traits` that are not traits.
const RESERVED_COLUMNS: [&str; 15] = [
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

/// Returns the column of a trait's path: its keys joined by `_`, prefixed with `_` if that is the name of another
/// column.
#[must_use]
pub fn column_of(path: &[u8]) -> Vec<u8> {
    let mut column: Vec<u8> = path.iter().map(|&b| if b == b'.' { b'_' } else { b }).collect();
    if RESERVED_COLUMNS.iter().any(|t| t.as_bytes() == column) {
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
    /// Whether more than one path maps to this column, so that two traits may want it.
    contested: bool,
}

/// All paths and columns seen so far, with their alphabetical ranks.
#[derive(Debug, Default)]
pub struct TraitNames {
    paths: Vec<PathName>,
    columns: Vec<ColumnName>,
    by_path: Map<Box<[u8]>, PathId>,
    by_column: Map<Box<[u8]>, u32>,
    /// The ranks of the first paths and columns. Those seen since the last sort are compared by name: sorting again for
    /// each of them would take quadratic time.
    path_places: Vec<u32>,
    column_places: Vec<u32>,
}

/// Up to this many names are sorted again whenever one is added.
const ALWAYS_SORT_UP_TO: usize = 1 << 10;

impl TraitNames {
    /// Returns the number of a path, assigning one if it is new.
    pub fn intern(&mut self, path: &[u8]) -> PathId {
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

    /// Returns the number of a path, if it has one.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Option<PathId> {
        self.by_path.get(path).copied()
    }

    /// Returns all paths, by number.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.paths.iter().map(|path| &*path.path)
    }

    /// Returns a path's text.
    #[must_use]
    pub fn path(&self, path: PathId) -> &[u8] {
        &self.paths[path as usize].path
    }

    /// Returns the number of a path's column.
    #[must_use]
    pub fn column(&self, path: PathId) -> u32 {
        self.paths[path as usize].column
    }

    /// Returns a column's name.
    #[must_use]
    pub fn column_name(&self, column: u32) -> &[u8] {
        &self.columns[column as usize].name
    }

    /// Computes the alphabetical ranks of paths and columns, if enough new ones have been added.
    pub fn sort(&mut self) {
        if is_due(self.path_places.len(), self.paths.len()) {
            self.path_places = places(self.paths.iter().map(|p| &*p.path));
        }
        if is_due(self.column_places.len(), self.columns.len()) {
            self.column_places = places(self.columns.iter().map(|c| &*c.name));
        }
    }

    /// Sorts entries by path. An entry starts with the path's rank, which this fills in, and its number. Call
    /// [`TraitNames::sort`] first.
    pub fn sort_paths<T: Ord>(&self, entries: &mut [(u32, PathId, T)]) {
        sort_by_names(entries, &self.path_places, |path| self.path(path));
    }

    /// Sorts entries by column. An entry starts with the column's rank, which this fills in, and its number. Call
    /// [`TraitNames::sort`] first.
    pub fn sort_columns<T: Ord>(&self, entries: &mut [(u32, u32, T)]) {
        sort_by_names(entries, &self.column_places, |column| self.column_name(column));
    }
}

/// Returns whether `n` names should be sorted again if `n_sorted` of them are sorted.
fn is_due(n_sorted: usize, n: usize) -> bool {
    n_sorted < n && (n <= ALWAYS_SORT_UP_TO || n_sorted + n_sorted / 4 < n)
}

/// Sorts entries by name. `places` are the ranks of the first names.
fn sort_by_names<'a, T: Ord>(entries: &mut [(u32, u32, T)], places: &[u32], name: impl Fn(u32) -> &'a [u8]) {
    let mut all_known = true;
    for (place, number, _) in &mut *entries {
        match places.get(*number as usize) {
            Some(&known) => *place = known,
            None => all_known = false,
        }
    }
    if all_known {
        entries.sort_unstable();
        return;
    }
    let is_known = |number: u32| (number as usize) < places.len();
    entries.sort_unstable_by(|a, b| match (is_known(a.1), is_known(b.1)) {
        (true, true) => a.cmp(b),
        _ => name(a.1).cmp(name(b.1)).then_with(|| a.2.cmp(&b.2)),
    });
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
    /// Decodes the traits of a profile, replacing the current ones.
    pub fn decode(&mut self, packed: &EncodedTraits) {
        self.items.clear();
        self.bytes.clear();
        self.places.clear();
        self.decode_more(packed);
    }

    fn decode_more(&mut self, packed: &EncodedTraits) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(packed.bytes());
        let mut values = packed.values();
        while let Some(EncodedValue { name, at, path, value }) = values.next() {
            let end = place(base + values.place());
            let start = end - place(value.len());
            self.items.push(Item { name, path, at, start, end });
        }
    }

    /// Encodes the traits.
    pub fn encode(&mut self) -> EncodedTraits {
        self.places.clear();
        self.items.sort_by_key(|item| item.at);
        let mut out = TraitEncoder::new(std::mem::take(&mut self.packed));
        for together in self.items.chunk_by(|a, b| a.at == b.at) {
            out.clock(together[0].at, together.len() as u64);
            for item in together {
                out.value(item.name, item.path, self.value_of(item));
            }
        }
        self.packed = out.into_bytes();
        EncodedTraits::from(&*self.packed)
    }

    fn value_of(&self, item: &Item) -> &[u8] {
        &self.bytes[item.start as usize..item.end as usize]
    }

    /// Returns all values. The values of one trait are adjacent.
    pub fn values(&self) -> impl Iterator<Item = EncodedValue<'_>> {
        self.items.iter().map(|item| EncodedValue {
            name: item.name,
            at: item.at,
            path: item.path,
            value: self.value_of(item),
        })
    }

    /// Returns the value at an index of [`ProfileTraits::values`].
    #[must_use]
    pub fn value(&self, number: usize) -> &[u8] {
        self.value_of(&self.items[number])
    }

    /// Returns the numbers of the columns with a value, in an arbitrary order.
    pub fn columns<'a>(&'a self, names: &'a TraitNames) -> impl Iterator<Item = u32> + 'a {
        self.items.iter().filter(|item| item.has_value()).map(|item| names.column(item.path))
    }

    /// Adds a value of a snapshot; an empty one is a removed trait. In tables of other origin, the values of a trait
    /// may be apart or have different clocks. They are grouped, and the first clock counts for all.
    pub fn push(&mut self, one: EncodedValue<'_>) {
        let EncodedValue { name, path, at, value } = one;
        self.index();
        let Some(held) = self.places.get(name) else {
            let item = self.keep(name, path, at, value);
            return self.append(name, &[item]);
        };
        if value.is_empty() {
            return;
        }
        let before = self.items[held.end - 1];
        let item = self.keep(name, path, before.at, value);
        if !before.has_value() {
            self.items[held.end - 1] = item;
        } else if held.end == self.items.len() {
            self.items.push(item);
            self.places.set(name, &(held.start..self.items.len()));
            self.places.n_items = self.items.len();
        } else {
            self.items.insert(held.end, item);
        }
    }

    fn keep(&mut self, name: PathId, path: PathId, at: SetAt, value: &[u8]) -> Item {
        let start = place(self.bytes.len());
        self.bytes.extend_from_slice(value);
        Item { name, path, at, start, end: place(self.bytes.len()) }
    }

    /// Sets a trait to a scalar, unless the current value is newer.
    pub fn put(&mut self, name: PathId, at: SetAt, value: &[u8], names: &TraitNames) {
        let item = self.keep(name, name, at, value);
        self.begin_change();
        self.settle(name, at, &mut vec![item], names);
        self.finish_change();
    }

    /// Indexes the items by trait, unless the index is up to date.
    fn index(&mut self) {
        if self.places.n_items == self.items.len() && 0 < self.places.n_items {
            return;
        }
        self.places.clear();
        let mut start = 0;
        for of_trait in self.items.chunk_by(|a, b| a.name == b.name) {
            let range = start..start + of_trait.len();
            start = range.end;
            self.places.set(of_trait[0].name, &range);
        }
        self.places.n_items = self.items.len();
    }

    /// Starts a change.
    fn begin_change(&mut self) {
        self.index();
        self.has_holders = false;
    }

    /// Ends a change and removes deleted items.
    fn finish_change(&mut self) {
        let n_items = self.items.len();
        self.items.retain(|item| item.name != DELETED);
        if self.items.len() != n_items {
            self.places.clear();
        }
    }

    fn append(&mut self, name: PathId, values: &[Item]) {
        let start = self.items.len();
        self.items.extend_from_slice(values);
        self.places.set(name, &(start..self.items.len()));
        self.places.n_items = self.items.len();
    }

    /// Sets or removes a trait, unless the current value is newer. Each column belongs to one trait: the trait takes it
    /// from any other trait that is not newer.
    fn settle(&mut self, name: PathId, at: SetAt, values: &mut Vec<Item>, names: &TraitNames) {
        let held = self.places.get(name);
        // A deleted item keeps its clock, so it can still be compared.
        if let Some(held) = &held
            && (at.timestamp, at.uuid_ts) < self.items[held.start].clock()
        {
            return;
        }
        if values.iter().any(|item| names.columns[names.column(item.path) as usize].contested) {
            self.resolve_columns(name, at, values, names);
        }
        if values.is_empty() {
            values.push(Item::removed(name, at));
        }
        match held {
            Some(held) if held.len() == values.len() => self.items[held].copy_from_slice(values),
            held => {
                for item in held.map(|held| &mut self.items[held]).into_iter().flatten() {
                    item.name = DELETED;
                }
                self.append(name, values);
            }
        }
        if self.has_holders
            && let Some(held) = self.places.get(name)
        {
            for number in held {
                let item = self.items[number];
                if item.has_value() {
                    self.hold(names.column(item.path), number);
                }
            }
        }
    }

    /// Resolves columns that more than one trait wants. A trait that loses all its columns becomes a removed trait with
    /// the time at which it was set.
    fn resolve_columns(&mut self, name: PathId, at: SetAt, new: &mut Vec<Item>, names: &TraitNames) {
        self.find_holders(names);
        new.retain(|item| {
            let column = names.column(item.path);
            let Some(number) = self.holder(column, names).filter(|_| item.has_value()) else { return true };
            let other = self.items[number];
            if other.name == name {
                return true;
            }
            if at.timestamp < other.at.timestamp {
                return false;
            }
            let is_last = self.places.get(other.name).is_none_or(|range| {
                let is_live = |item: &&Item| item.name == other.name && item.has_value();
                self.items[range].iter().filter(is_live).count() == 1
            });
            self.items[number] = Item::removed(other.name, other.at);
            if !is_last {
                self.items[number].name = DELETED;
            }
            true
        });
    }

    /// Computes which item holds each column.
    fn find_holders(&mut self, names: &TraitNames) {
        if self.has_holders {
            return;
        }
        self.has_holders = true;
        // A new stamp invalidates the entries of the previous change.
        self.holders_stamp += 1;
        for number in 0..self.items.len() {
            let item = self.items[number];
            if item.name != DELETED && item.has_value() {
                self.hold(names.column(item.path), number);
            }
        }
    }

    fn hold(&mut self, column: u32, number: usize) {
        if self.holders.len() <= column as usize {
            self.holders.resize(column as usize + 1, Stamped::default());
        }
        self.holders[column as usize] = Stamped { stamp: self.holders_stamp, at: place(number) };
    }

    /// Returns the index of the item that holds a column.
    fn holder(&self, column: u32, names: &TraitNames) -> Option<usize> {
        let held = self.holders.get(column as usize).filter(|held| held.stamp == self.holders_stamp)?;
        let number = held.at as usize;
        // The entry may be stale: its trait may have been set to another value since.
        let item = self.items[number];
        (item.name != DELETED && item.has_value() && names.column(item.path) == column).then_some(number)
    }

    /// Applies the traits of an identify call. `values` are the leaves' values as JSON, empty for a leaf without one.
    /// The profile gets at most `most` trait names. Returns how many traits were dropped for that reason.
    pub fn apply(
        &mut self,
        plan: &ColumnPlan,
        values: &[&[u8]],
        at: SetAt,
        names: &mut TraitNames,
        most: u32,
    ) -> u64 {
        let mut winners: Vec<(u32, &[u8], &[TraitLeaf])> = Vec::with_capacity(plan.traits.len());
        for group in &plan.traits {
            // If several keys give the trait, the last one with a value wins.
            let with_value =
                |key: &&TraitKey| key.leaves.iter().any(|leaf| !values[leaf.leaf as usize].is_empty());
            let key = group.keys.iter().rev().find(with_value).or(group.keys.last());
            winners.extend(key.map(|key| (key.place, &*group.name, &*key.leaves)));
        }
        if plan.traits.iter().any(|group| 1 < group.keys.len()) {
            winners.sort_by_key(|(place, ..)| *place);
        }
        let mut n_refused = 0;
        self.begin_change();
        for (_, name, leaves) in winners {
            let known = names.find(name);
            let is_new = known.is_none_or(|name| self.places.get(name).is_none());
            if is_new && most <= self.places.n_names {
                n_refused += 1;
                continue;
            }
            let name = known.unwrap_or_else(|| names.intern(name));
            let mut new = std::mem::take(&mut self.new);
            self.push_items(&mut new, name, leaves, values, at, names);
            self.settle(name, at, &mut new, names);
            self.new = new;
        }
        self.finish_change();
        n_refused
    }

    /// Collects the items of a trait from its leaves, replacing those in `items`. If two leaves have the same column,
    /// the later one wins.
    fn push_items(
        &mut self,
        items: &mut Vec<Item>,
        name: PathId,
        leaves: &[TraitLeaf],
        values: &[&[u8]],
        at: SetAt,
        names: &mut TraitNames,
    ) {
        items.clear();
        for leaf in leaves {
            let value = values[leaf.leaf as usize];
            if !value.is_empty() {
                let path = names.intern(&leaf.path);
                items.push(self.keep(name, path, at, value));
            }
        }
        let column = |item: &Item| names.column(item.path);
        let is_met = |n: usize| items[..n].iter().any(|before| column(before) == column(&items[n]));
        // A set pays off only for many leaves.
        if COMPARE_PAIRS_UP_TO < items.len() || (1..items.len()).any(is_met) {
            let mut met = Set::default();
            let mut is_last: Vec<bool> = items.iter().rev().map(|item| met.insert(column(item))).collect();
            items.retain(|_| is_last.pop().unwrap_or(true));
        }
    }

    /// Merges the traits of other profiles into this one. The newest value of each trait wins; then columns are
    /// assigned in the order in which the traits were set.
    pub fn merge(&mut self, others: &[EncodedTraits], names: &TraitNames) {
        let mut newest: BTreeMap<PathId, Range<usize>> = BTreeMap::new();
        let mut start = 0;
        for other in std::iter::once(None).chain(others.iter().map(Some)) {
            if let Some(packed) = other {
                self.decode_more(packed);
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
        self.begin_change();
        while let Some(next) = in_order.pop() {
            self.settle(next[0].name, next[0].at, &mut next.to_vec(), names);
        }
        self.finish_change();
    }
}

fn place(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("the traits of a profile are shorter than 4 GiB")
}
