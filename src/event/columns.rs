//! Maps the keys of a payload to the columns of a table.
//!
//! Nested objects are flattened and their keys joined by `_`; arrays and scalars are leaves. Payloads come in few
//! shapes, so column names are computed once per shape: the keys of an object, in order, are a path through a tree, and
//! the node at its end holds the [`ColumnPlan`] that assigns leaves to columns.

use std::{hash::BuildHasher, sync::Arc};

use hashbrown::HashTable;

use crate::{
    bytes::{PaddedText, equal},
    collections::{Hasher, Map},
    json::{Document, JsonKind, unescape},
    names::push_snake_case,
};

/// The origin of a payload, which decides which column names are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// `context` of any call; its columns are prefixed with `context_`.
    Context,
    /// `traits` of an identify call.
    Traits,
    /// `properties` of a page or screen call.
    PageProperties,
    /// `traits` of a group call.
    GroupTraits,
    /// `properties` of a track call.
    TrackProperties,
}

/// All payloads, in the order of their root nodes.
const PAYLOADS: [Payload; 5] = [
    Payload::Context,
    Payload::Traits,
    Payload::PageProperties,
    Payload::GroupTraits,
    Payload::TrackProperties,
];

/// The first columns of every event table, in order.
pub const FIXED_COLUMNS: [&str; 11] = [
    "segment_id",
    "id",
    "event_id",
    "anonymous_id",
    "user_id",
    "event_source_id",
    "original_timestamp",
    "sent_at",
    "received_at",
    "timestamp",
    "uuid_ts",
];

impl Payload {
    /// Returns the call's own columns, which come between `context_*` and the payload.
    #[must_use]
    pub fn own_columns(self) -> &'static [&'static str] {
        match self {
            Self::Context | Self::Traits => &[],
            Self::PageProperties => &["name", "category"],
            Self::GroupTraits => &["group_id"],
            Self::TrackProperties => &["event", "event_text"],
        }
    }
}

/// Another column of the row that has the same name, before renaming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameClash {
    /// No other column.
    None,
    /// The fixed or own column at this index. The payload's column is prefixed with `_`, and is omitted if its value
    /// equals the other's.
    Fixed(u8),
    /// Possibly a `context_*` column, which depends on the row's context.
    Context,
}

/// Assigns a leaf to a column.
#[derive(Debug, Clone)]
pub struct PlannedColumn {
    /// The column's name as it is written, with punctuation: `,"name":`.
    pub label: PaddedText,
    /// Index of the leaf in the order of the payload.
    pub leaf: u32,
    /// Whether the next entry is the same column, given by a later leaf.
    pub shared_with_next: bool,
    /// The column it may clash with.
    pub clash: NameClash,
}

impl PlannedColumn {
    /// Returns the column's name without punctuation.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        let text = self.label.text();
        &text[2..text.len() - 2]
    }
}

/// How the leaves of one shape become columns.
#[derive(Debug, Default)]
pub struct ColumnPlan {
    /// Sorted by name. Equal names are in the order of the payload, a repeated key counting where it came first.
    pub columns: Vec<PlannedColumn>,
    /// Leaves without a column, because a key on their path has no letters or digits.
    pub nameless: Vec<u32>,
    /// Whether a column may clash with a `context_*` column.
    pub clashes_with_context: bool,
    /// The same leaves as traits; empty unless the payload is [`Payload::Traits`].
    pub traits: Vec<TraitGroup>,
    /// Top-level keys that give no trait, because they have no letters or digits.
    pub n_nameless_traits: u32,
}

impl ColumnPlan {
    /// Estimates the memory the plan takes, in bytes.
    fn n_bytes(&self) -> usize {
        let columns =
            self.columns.iter().map(|column| size_of::<PlannedColumn>() + column.label.text().len());
        let keys = self.traits.iter().flat_map(|group| &group.keys);
        let leaves = keys.flat_map(|key| &key.leaves);
        columns.sum::<usize>() + leaves.map(|leaf| size_of::<TraitLeaf>() + leaf.path.len()).sum::<usize>()
    }
}

/// The top-level keys of a payload that give the same trait.
#[derive(Debug)]
pub struct TraitGroup {
    /// The trait's name: the key in `snake_case`.
    pub name: Box<[u8]>,
    /// The keys that give it, in the order of the payload; usually one.
    pub keys: Vec<TraitKey>,
}

/// A key that gives a trait.
#[derive(Debug)]
pub struct TraitKey {
    /// Position of its first leaf after repeated keys are folded, which puts the last value where the key came first.
    pub place: u32,
    /// Its leaves; empty if no path in it has a name.
    pub leaves: Vec<TraitLeaf>,
}

/// A leaf of a trait.
#[derive(Debug)]
pub struct TraitLeaf {
    /// Index of the leaf in the order of the payload.
    pub leaf: u32,
    /// Its keys in `snake_case`, joined by dots; for a scalar, the trait's name.
    pub path: Box<[u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShapeStep {
    Leaf,
    Enter,
    Exit,
}

/// A key as written in the line.
#[derive(Clone, Copy)]
struct ShapeKey<'a> {
    text: &'a [u8],
    front: KeyPrefix,
}

impl<'a> ShapeKey<'a> {
    fn of(doc: Document<'a>, key: u32) -> Self {
        let token = doc.tokens[key as usize];
        let (start, end) = (token.start as usize, token.end as usize);
        Self { text: &doc.text[start..end], front: prefix_of(doc.text, start, end) }
    }
}

#[derive(Debug)]
struct ShapeNode {
    parent: u32,
    step: ShapeStep,
    key: Box<[u8]>,
    /// The first bytes of the key. Comparing them settles most lookups.
    front: KeyPrefix,
    /// The child taken last, which is usually the next one too.
    last_child: u32,
    plan: Option<Arc<ColumnPlan>>,
}

const NONE: u32 = u32::MAX;

/// The first 16 bytes of a key as a little-endian number, padded with zeros.
type KeyPrefix = u128;
const PREFIX_BYTES: usize = 16;

/// Reads 16 bytes from the start of the key `text[start..end]` and masks those after its end.
fn prefix_of(text: &[u8], start: usize, end: usize) -> KeyPrefix {
    let Some(chunk) = text.get(start..).and_then(|behind| behind.first_chunk::<PREFIX_BYTES>()) else {
        let key = &text[start..end];
        return (0..).zip(key).fold(0, |front, (place, &byte)| front | KeyPrefix::from(byte) << (8 * place));
    };
    let front = KeyPrefix::from_le_bytes(*chunk);
    if end - start < PREFIX_BYTES { front & !(KeyPrefix::MAX << (8 * (end - start))) } else { front }
}

/// Above this many nodes, the tree is rebuilt from scratch: keys that never repeat, such as ids, must not fill the
/// memory.
const MAX_NODES: usize = 1 << 17;
/// The same limit for the bytes of keys and of column names in plans.
const MAX_BYTES: usize = 16 << 20;

/// The tree of shapes. Each parsing thread has its own.
#[derive(Debug, Default)]
pub struct ShapeTree {
    nodes: Vec<ShapeNode>,
    children: HashTable<u32>,
    hasher: Hasher,
    /// Estimated bytes of keys and plans.
    n_bytes: usize,
}

impl ShapeTree {
    /// Collects the leaves of an object as token indices in payload order, and returns the plan of its shape.
    ///
    /// `null` and empty objects count as leaves without a value.
    pub fn plan(
        &mut self,
        doc: Document<'_>,
        object: u32,
        payload: Payload,
        leaves: &mut Vec<u32>,
    ) -> Arc<ColumnPlan> {
        if self.nodes.is_empty() || MAX_NODES < self.nodes.len() || MAX_BYTES < self.n_bytes {
            self.n_bytes = 0;
            self.nodes.clear();
            self.children.clear();
            for _ in PAYLOADS {
                let root = ShapeNode {
                    parent: NONE,
                    step: ShapeStep::Enter,
                    key: Box::default(),
                    front: 0,
                    last_child: NONE,
                    plan: None,
                };
                self.nodes.push(root);
            }
        }
        leaves.clear();
        let node = self.walk(doc, object, payload as u32, leaves);
        if let Some(plan) = &self.nodes[node as usize].plan {
            return Arc::clone(plan);
        }
        let plan = Arc::new(self.make_plan(node, payload));
        self.n_bytes += plan.n_bytes();
        self.nodes[node as usize].plan = Some(Arc::clone(&plan));
        plan
    }

    fn walk(&mut self, doc: Document<'_>, object: u32, from: u32, leaves: &mut Vec<u32>) -> u32 {
        let mut node = from;
        let end = doc.tokens[object as usize].next;
        let mut at = object + 1;
        while at < end {
            let value = at + 1;
            let token = doc.tokens[value as usize];
            let key = ShapeKey::of(doc, at);
            if token.kind == JsonKind::Object && value + 1 < token.next {
                node = self.step(node, ShapeStep::Enter, key);
                node = self.walk(doc, value, node, leaves);
                node = self.step(node, ShapeStep::Exit, ShapeKey { text: b"", front: 0 });
            } else {
                leaves.push(value);
                node = self.step(node, ShapeStep::Leaf, key);
            }
            at = token.next;
        }
        node
    }

    fn step(&mut self, node: u32, step: ShapeStep, key: ShapeKey<'_>) -> u32 {
        let last = self.nodes[node as usize].last_child;
        if let Some(child) = self.nodes.get(last as usize)
            && child.step == step
            && child.front == key.front
            && child.key.len() == key.text.len()
            && (key.text.len() <= PREFIX_BYTES || equal(&child.key, key.text))
        {
            return last;
        }
        self.other_step(node, step, key)
    }

    /// Moves to a child other than the last one taken, adding it if it is new.
    #[inline(never)]
    fn other_step(&mut self, node: u32, step: ShapeStep, ShapeKey { text: key, front }: ShapeKey<'_>) -> u32 {
        let hash = self.hasher.hash_one((node, step as u8, key));
        let nodes = &self.nodes;
        let same = |&child: &u32| {
            let child = &nodes[child as usize];
            child.parent == node && child.step == step && *child.key == *key
        };
        let found = self.children.find(hash, same).copied();
        let child = found.unwrap_or_else(|| {
            let child = u32::try_from(self.nodes.len()).expect("the tree of shapes is bounded");
            self.n_bytes += key.len();
            self.nodes.push(ShapeNode {
                parent: node,
                step,
                key: key.into(),
                front,
                last_child: NONE,
                plan: None,
            });
            let (nodes, hasher) = (&self.nodes, &self.hasher);
            self.children.insert_unique(hash, child, |&child| {
                let child = &nodes[child as usize];
                hasher.hash_one((child.parent, child.step as u8, &*child.key))
            });
            child
        });
        self.nodes[node as usize].last_child = child;
        child
    }

    fn make_plan(&self, node: u32, payload: Payload) -> ColumnPlan {
        let mut steps = Vec::new();
        let mut at = node;
        while self.nodes[at as usize].parent != NONE {
            steps.push(at);
            at = self.nodes[at as usize].parent;
        }
        let mut leaves = Vec::new();
        let mut reader = StepReader { nodes: &self.nodes, to_come: steps, n_leaves: 0 };
        reader.object(&mut Vec::new(), &mut leaves);
        plan_of(&leaves, payload)
    }
}

/// A leaf with the decoded keys on its path.
struct PayloadLeaf {
    leaf: u32,
    keys: Vec<Vec<u8>>,
}

/// Replays the steps that lead to a node. They are collected from the end, so `to_come` pops them in payload order.
struct StepReader<'a> {
    nodes: &'a [ShapeNode],
    to_come: Vec<u32>,
    n_leaves: u32,
}

impl StepReader<'_> {
    /// Reads one object. The last value of a repeated key counts, at the position of the first.
    fn object(&mut self, path: &mut Vec<Vec<u8>>, leaves: &mut Vec<PayloadLeaf>) {
        let mut members: Vec<Vec<PayloadLeaf>> = Vec::new();
        let mut places: Map<Vec<u8>, usize> = Map::default();
        while let Some(at) = self.to_come.pop() {
            let node = &self.nodes[at as usize];
            if node.step == ShapeStep::Exit {
                break;
            }
            let key = unescape(&node.key).into_owned();
            path.push(key.clone());
            let mut inside = Vec::new();
            if node.step == ShapeStep::Enter {
                self.object(path, &mut inside);
            } else {
                inside.push(PayloadLeaf { leaf: self.n_leaves, keys: path.clone() });
                self.n_leaves += 1;
            }
            path.pop();
            if let Some(&place) = places.get(&key) {
                members[place] = inside;
            } else {
                places.insert(key, members.len());
                members.push(inside);
            }
        }
        leaves.extend(members.into_iter().flatten());
    }
}

fn plan_of(leaves: &[PayloadLeaf], payload: Payload) -> ColumnPlan {
    let mut plan = ColumnPlan::default();
    for leaf in leaves {
        let Some(name) = joined(&leaf.keys, b'_') else {
            plan.nameless.push(leaf.leaf);
            continue;
        };
        let taken = FIXED_COLUMNS.iter().chain(payload.own_columns()).position(|c| c.as_bytes() == name);
        let clash = match taken {
            _ if payload == Payload::Context => NameClash::None,
            Some(place) => NameClash::Fixed(u8::try_from(place).expect("a dozen fixed columns")),
            None if name.starts_with(b"context_") => NameClash::Context,
            None => NameClash::None,
        };
        let front: &[u8] = match clash {
            _ if payload == Payload::Context => b",\"context_",
            NameClash::Fixed(_) => b",\"_",
            _ => b",\"",
        };
        plan.clashes_with_context |= clash == NameClash::Context;
        let label = PaddedText::new(&[front, &name, b"\":"].concat());
        plan.columns.push(PlannedColumn { label, leaf: leaf.leaf, shared_with_next: false, clash });
    }
    plan.columns.sort_by(|a, b| a.name().cmp(b.name()));
    for at in 1..plan.columns.len() {
        let shared = plan.columns[at - 1].label == plan.columns[at].label;
        plan.columns[at - 1].shared_with_next = shared;
    }
    if payload == Payload::Traits {
        plan.traits = trait_groups(leaves);
        let nameless = |leaf: &&PayloadLeaf| joined(&leaf.keys[..1], b'.').is_none();
        let keys: crate::collections::Set<&[u8]> =
            leaves.iter().filter(nameless).map(|leaf| leaf.keys[0].as_slice()).collect();
        plan.n_nameless_traits = u32::try_from(keys.len()).unwrap_or(u32::MAX);
    }
    plan
}

/// Groups the leaves by trait, in the order of each trait's first key.
fn trait_groups(leaves: &[PayloadLeaf]) -> Vec<TraitGroup> {
    let mut groups: Vec<TraitGroup> = Vec::new();
    let mut last_key: Option<&[u8]> = None;
    for (place, leaf) in (0..).zip(leaves) {
        let key = leaf.keys[0].as_slice();
        let Some(name) = joined(&leaf.keys[..1], b'.') else { continue };
        let group = groups.iter().position(|g| *g.name == *name).unwrap_or_else(|| {
            groups.push(TraitGroup { name: name.into(), keys: Vec::new() });
            groups.len() - 1
        });
        let keys = &mut groups[group].keys;
        if last_key != Some(key) || keys.is_empty() {
            keys.push(TraitKey { place, leaves: Vec::new() });
        }
        last_key = Some(key);
        if let (Some(path), Some(inside)) = (joined(&leaf.keys, b'.'), keys.last_mut()) {
            inside.leaves.push(TraitLeaf { leaf: leaf.leaf, path: path.into() });
        }
    }
    groups
}

/// Joins the keys in `snake_case`; `None` if one of them has no letters or digits.
fn joined(keys: &[Vec<u8>], by: u8) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    for (place, key) in keys.iter().enumerate() {
        if 0 < place {
            name.push(by);
        }
        let before = name.len();
        push_snake_case(&mut name, key);
        if name.len() == before {
            return None;
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Tape;

    fn check(text: &str, payload: Payload, expected: &[(&str, u32)]) {
        let mut tape = Tape::default();
        tape.read(text.as_bytes()).unwrap();
        let doc = Document { text: text.as_bytes(), tokens: &tape.tokens };
        let mut shapes = ShapeTree::default();
        let mut leaves = Vec::new();
        let first = shapes.plan(doc, 0, payload, &mut leaves);
        let again = shapes.plan(doc, 0, payload, &mut leaves);
        assert!(Arc::ptr_eq(&first, &again), "the plan is cached");
        let columns: Vec<(&str, u32)> =
            first.columns.iter().map(|c| (std::str::from_utf8(c.name()).unwrap(), c.leaf)).collect();
        assert_eq!(columns, expected, "{text}");
    }

    #[test]
    fn objects_flatten_and_names_are_sorted() {
        check(
            r#"{"page":{"url":"u","path":"p"},"ip":"i","none":{}}"#,
            Payload::Context,
            &[("context_ip", 2), ("context_none", 3), ("context_page_path", 1), ("context_page_url", 0)],
        );
    }

    #[test]
    fn taken_names_get_an_underscore() {
        check(
            r#"{"name":1,"id":2,"event":3}"#,
            Payload::PageProperties,
            &[("_id", 1), ("_name", 0), ("event", 2)],
        );
        check(r#"{"name":1,"event":3}"#, Payload::TrackProperties, &[("_event", 1), ("name", 0)]);
    }

    #[test]
    fn of_a_repeated_key_the_last_counts() {
        check(r#"{"a":{"x":1},"b":2,"a":3}"#, Payload::Traits, &[("a", 2), ("b", 1)]);
        check(r#"{"a":{"x":1,"x":2},"\u0061":{"y":3}}"#, Payload::Traits, &[("a_y", 2)]);
    }

    #[test]
    fn two_keys_of_one_column_stand_together() {
        check(
            r#"{"first_name":1,"z":2,"firstName":3}"#,
            Payload::Traits,
            &[("first_name", 0), ("first_name", 2), ("z", 1)],
        );
        // The repeated key counts where it came first, so the other key is last.
        check(r#"{"aB":1,"a_b":2,"aB":3}"#, Payload::Traits, &[("a_b", 2), ("a_b", 1)]);
    }
}
