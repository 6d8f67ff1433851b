//! A snapshot of current profiles: the identifiers, traits and merges in the views of a space, or in a warehouse's
//! export of such tables. Tables may be missing; the others are combined.
//!
//! Each fact is in two tables, and each of the two has something that the other lacks. `profile_merges` and `id_graph`
//! map segment ids to profiles, `user_identifiers` and `external_id_mapping` map identifiers to profiles, and
//! `user_traits` and `profile_traits` hold traits. The first table of each pair has more clocks; the second fills the
//! gaps. If two rows contradict each other, the newer one counts (`newest.rs`), and the older one is recorded as a
//! conflict.

use std::collections::BTreeMap;

use super::{
    conflicts::Conflict,
    rows_of::{FactRows, RepeatedRows},
};
use crate::{
    collections::Map,
    identity::{packed_traits::PathId, traits::TraitNames},
    json::{
        Document, Tape,
        values::{Typing, same},
    },
    space::manifest::RunInput,
    table::{clock::Clock, source::TableSource},
    time::timestamp::Micros,
    view::segments::{Segment, Segments},
};

/// The tables of a snapshot, in the order in which they are read.
pub const TABLES: [&str; 6] = [
    "profile_merges",
    "id_graph",
    "user_identifiers",
    "external_id_mapping",
    "user_traits",
    "profile_traits",
];

/// The age of a fact, from the clocks in the snapshot: `uuid_ts`, `seq`, `timestamp`, `received_at`. A missing clock
/// counts as older than a present one.
pub type ClockKey = (Option<Micros>, u64, Option<Micros>, Option<Micros>);

/// Returns the age that clocks give.
#[must_use]
pub fn clock_key(clock: &Clock) -> ClockKey {
    (clock.uuid_ts(), clock.seq(), clock.timestamp(), clock.received_at())
}

/// A segment id of the snapshot.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotProfile {
    /// The profile that it belongs to; itself if it is not merged.
    pub canonical: Segment,
    /// The age of the row that states this, or of the first row that refers to the segment id.
    pub age: ClockKey,
    /// When the event that caused this was received.
    pub received_at: Option<Micros>,
    /// The rows that state this; `None` for a segment id that only other tables have.
    pub rows: Option<FactRows>,
    /// Whether a row that was not recorded as a conflict refers to it.
    pub counts: bool,
}

/// An identifier of the snapshot.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotIdentifier {
    /// The key of its type and value.
    pub key: u128,
    /// The profile that it belongs to.
    pub segment: Segment,
    /// Its type, an index in [`ProfileSnapshot::type_names`].
    pub kind: u32,
    /// The clocks of its first row.
    pub clock: Clock,
    /// The rows that state it.
    pub rows: FactRows,
    /// Whether its newest row removes it. No such identifier is left after a snapshot has been read.
    pub(super) is_removed: bool,
    pub(super) value: SnapshotText,
}

/// A trait of the snapshot.
#[derive(Debug, Clone, Copy)]
pub struct TraitValue {
    /// The profile that has it.
    pub segment: Segment,
    /// Its name.
    pub name: PathId,
    /// The clocks of the row that set it, if `user_traits` has it.
    pub clock: Clock,
    /// The clocks of the newest row with this value.
    pub(super) newest: Clock,
    /// The rows that state it.
    pub rows: FactRows,
    /// The value as JSON. If only `user_traits` has it, it is a string.
    pub(super) json: SnapshotText,
    /// Whether the type of the value is known, which only `profile_traits` has.
    pub(super) typing: Typing,
}

/// A range of the snapshot's texts.
#[derive(Debug, Clone, Copy)]
pub(super) struct SnapshotText {
    start: usize,
    length: u32,
}

/// All facts in the tables of a snapshot.
#[derive(Debug, Default)]
pub struct ProfileSnapshot {
    /// All segment ids.
    pub segments: Segments,
    /// The profile of each segment id.
    pub profiles: Vec<SnapshotProfile>,
    /// The identifiers, without duplicates.
    pub identifiers: Vec<SnapshotIdentifier>,
    /// The identifier types.
    pub type_names: Vec<String>,
    /// The traits, without duplicates.
    pub traits: Vec<TraitValue>,
    /// The names of traits.
    pub trait_names: TraitNames,
    /// Rows that repeat a fact.
    pub other_rows: RepeatedRows,
    /// Rows that contradict other rows of the snapshot.
    pub conflicts: Vec<Conflict>,
    /// The newest `uuid_ts` or `received_at`; if there are none, the newest `timestamp`.
    pub newest: Option<Micros>,
    /// The tables that were read, with their digests.
    pub used: Vec<RunInput>,
    /// What is lost with each missing table, by its name.
    pub missing: BTreeMap<String, String>,
    /// All files of all tables.
    pub sources: Vec<TableSource>,
    pub(super) texts: Vec<u8>,
    pub(super) by_key: Map<u128, u32>,
    pub(super) by_trait: Map<(Segment, PathId), u32>,
    pub(super) newest_timestamp: Option<Micros>,
    /// Whether this program wrote the tables. Then every column of `profile_traits` is a trait.
    pub(super) is_ours: bool,
}

impl ProfileSnapshot {
    /// Returns the value of an identifier.
    #[must_use]
    pub fn value(&self, identifier: &SnapshotIdentifier) -> &[u8] {
        self.text(identifier.value)
    }

    /// Returns the value of a trait as JSON.
    #[must_use]
    pub fn json(&self, one: &TraitValue) -> &[u8] {
        self.text(one.json)
    }

    /// Returns whether a JSON value equals that of a trait.
    #[must_use]
    pub fn says(&self, one: &TraitValue, json: &[u8]) -> bool {
        is_same(self.json(one), json, one.typing)
    }

    /// Returns the text of a segment id.
    #[must_use]
    pub fn segment_id(&self, segment: Segment) -> &str {
        std::str::from_utf8(self.segments.text(segment)).unwrap_or_default()
    }

    fn text(&self, text: SnapshotText) -> &[u8] {
        &self.texts[text.start..text.start + text.length as usize]
    }

    pub(super) fn keep(&mut self, text: &[u8]) -> SnapshotText {
        let start = self.texts.len();
        self.texts.extend_from_slice(text);
        SnapshotText { start, length: u32::try_from(text.len()).expect("a value is shorter than a line") }
    }

    pub(super) fn saw(&mut self, clock: &Clock) {
        self.newest = self.newest.max(clock.uuid_ts()).max(clock.received_at());
        self.newest_timestamp = self.newest_timestamp.max(clock.timestamp());
    }
}

/// Returns whether two JSON values are equal.
pub(super) fn is_same(one: &[u8], other: &[u8], typing: Typing) -> bool {
    let mut tapes = [Tape::default(), Tape::default()];
    let are_json = tapes.iter_mut().zip([one, other]).all(|(tape, text)| tape.read(text).is_ok());
    let doc = |side: usize, text| Document { text, tokens: &tapes[side].tokens };
    one == other || are_json && same(doc(0, one), 0, doc(1, other), 0, typing)
}
