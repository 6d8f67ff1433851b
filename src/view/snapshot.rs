//! The traits of one row of `profile_traits_updates`, by name.

use crate::{
    json::JsonKind,
    table::{clock::NO_SEQ, to_u32},
};

/// The traits of a row. Keeps its buffers from row to row.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub(super) texts: Vec<u8>,
    pub(super) traits: Vec<Trait>,
    /// Whether the texts are `,"name":json` for each trait and nothing else.
    pub(super) is_verbatim: bool,
}

/// A trait in a row.
#[derive(Debug, Clone, Copy)]
pub struct Trait {
    pub(super) name: (u32, u32),
    pub(super) json: (u32, u32),
    pub(super) kind: JsonKind,
    /// Whether its name has no character that JSON escapes.
    pub is_plain: bool,
    /// The `seq` of the row that last set it, according to `__trait_seqs`; [`NO_SEQ`] if it is unknown.
    pub seq: u64,
    /// Whether this `seq` belongs to a path with a dot.
    pub(super) is_nested: bool,
    /// Whether its column has a name like the bookkeeping of an SQL model.
    pub is_bookkeeping: bool,
}

impl Snapshot {
    pub(super) fn put_in_order(&mut self) {
        let Self { texts, traits, .. } = self;
        let name = |one: &Trait| &texts[one.name.0 as usize..one.name.1 as usize];
        if !traits.is_sorted_by(|a, b| name(a) < name(b)) {
            traits.sort_by(|a, b| name(a).cmp(name(b)));
            // If a name is repeated, the last value counts.
            traits.dedup_by(|later, kept| {
                let is_repeated = name(later) == name(kept);
                if is_repeated {
                    *kept = *later;
                }
                is_repeated
            });
        }
        // Nulls are removed only now, because a null overrides an earlier value of the same name.
        traits.retain(|one| one.kind != JsonKind::Null);
    }

    /// Returns the traits, sorted by name.
    #[must_use]
    pub fn traits(&self) -> &[Trait] {
        &self.traits
    }

    /// Returns the traits, so that their `seq` can be set.
    pub(super) fn traits_mut(&mut self) -> &mut [Trait] {
        &mut self.traits
    }

    /// Returns the column of a trait.
    #[must_use]
    pub fn name(&self, one: &Trait) -> &[u8] {
        &self.texts[one.name.0 as usize..one.name.1 as usize]
    }

    /// Returns the value of a trait as compact JSON.
    #[must_use]
    pub fn json(&self, one: &Trait) -> &[u8] {
        &self.texts[one.json.0 as usize..one.json.1 as usize]
    }

    /// Returns `,"name":json` for each trait if the texts are that and nothing else.
    pub(super) fn verbatim(&self) -> Option<&[u8]> {
        self.is_verbatim.then_some(&self.texts)
    }

    /// Returns the ends of a trait's name, including the quote, and of its value in the verbatim text.
    pub(super) fn ends(one: &Trait) -> (u32, u32) {
        (one.name.1 + 1, one.json.1)
    }

    /// Returns the index of the trait with a name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.traits.binary_search_by(|one| self.name(one).cmp(name)).ok()
    }
}

impl Trait {
    /// Returns a trait whose value was just appended to `texts`.
    pub(super) fn new(name: (u32, u32), is_plain: bool, texts: &[u8], kind: JsonKind) -> Self {
        Self {
            name,
            json: (name.1, to_u32(texts.len())),
            kind,
            is_plain,
            seq: NO_SEQ,
            is_nested: false,
            is_bookkeeping: false,
        }
    }

    /// Returns whether the value is a string.
    #[must_use]
    pub fn is_text(&self) -> bool {
        matches!(self.kind, JsonKind::Plain | JsonKind::Escaped)
    }
}
