//! The answers of `explain`, as plain data that any format renders.

use serde::Serialize;
use serde_json::value::RawValue;

/// A type and a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Identifier {
    /// The type, such as `email`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The value, normalised.
    pub value: String,
}

/// An event, as far as the tables describe it; members are null for rows that no event triggered.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Event {
    /// The `messageId`.
    pub id: Option<String>,
    /// The call.
    #[serde(rename = "type")]
    pub call: Option<String>,
    /// The name of a track event, page or screen.
    pub name: Option<String>,
    /// When it happened.
    pub timestamp: Option<String>,
    /// The source that it came from.
    pub source_id: Option<String>,
}

/// One thing that happened to a profile: a row of `identity_links`, or what the other tables say if there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What triggered it.
    pub event: Event,
    /// The identifier that was mapped, or through which the profile merged away was found; null if not known.
    pub identifier: Option<Identifier>,
    /// The identifier that it was joined to.
    pub via: Option<Identifier>,
    /// `created`, `mapped` or `merged`.
    pub link: String,
    /// Of a merge the profile merged away, else the profile that the identifier was mapped to.
    #[serde(skip)]
    pub segment_id: String,
    /// The profile after the event.
    #[serde(skip)]
    pub canonical_segment_id: String,
    /// The clock of the space, which orders steps.
    #[serde(skip)]
    pub uuid_ts: i64,
}

/// A step in the history of one profile, which has its profiles too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryStep {
    /// The step.
    #[serde(flatten)]
    pub step: Step,
    /// Of a merge the profile merged away, else the profile that the identifier was mapped to.
    pub segment_id: String,
    /// The profile after the event.
    pub canonical_segment_id: String,
}

impl From<Step> for HistoryStep {
    fn from(step: Step) -> Self {
        let (segment_id, canonical_segment_id) = (step.segment_id.clone(), step.canonical_segment_id.clone());
        Self { step, segment_id, canonical_segment_id }
    }
}

/// An identifier of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mapped {
    /// The identifier.
    #[serde(flatten)]
    pub identifier: Identifier,
    /// The profile that it was first mapped to.
    pub segment_id: String,
    /// When the event that mapped it happened.
    pub timestamp: Option<String>,
}

/// A trait of a profile: its value is JSON as it is in the tables.
#[derive(Debug, Clone, Serialize)]
pub struct Trait {
    /// Its column.
    pub name: String,
    /// Its value.
    pub value: Box<RawValue>,
}

/// An identifier that an event carried and that was not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The event's `messageId`.
    pub message_id: Option<String>,
    /// When the event happened.
    pub timestamp: Option<String>,
    /// The identifier.
    #[serde(flatten)]
    pub identifier: Identifier,
    /// `blocked`, `limit`, `merge_cap`, `mapping_cap`.
    pub rule: String,
    /// The type whose limit it was.
    pub limit_type: Option<String>,
    /// The limit.
    pub limit: Option<u64>,
    /// In which time.
    pub window: Option<String>,
    /// The entry of the config that blocked the value.
    pub blocked_by: Option<String>,
    /// The profile that the identifier belongs to.
    pub segment_id: Option<String>,
    /// The profile that the event came to.
    pub event_segment_id: Option<String>,
    /// The clock of the space.
    #[serde(skip)]
    pub uuid_ts: i64,
}

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Identifiers.
    pub identifiers: u64,
    /// Segment ids, its own among them.
    pub segment_ids: u64,
    /// Traits.
    pub traits: u64,
    /// Events' identifiers that were not used.
    pub violations: u64,
}

/// One profile and how it came to be.
#[derive(Debug, Clone, Serialize)]
pub struct ProfileAnswer {
    /// Its segment id.
    pub segment_id: String,
    /// All segment ids that belong to it, oldest first.
    pub segment_ids: Vec<String>,
    /// How much it has.
    pub counts: Counts,
    /// Its identifiers, in the order in which they came.
    pub identifiers: Vec<Mapped>,
    /// Its traits by name.
    pub traits: Vec<Trait>,
    /// Its history, oldest first.
    pub history: Vec<HistoryStep>,
    /// What was not used on its events, or of its identifiers, oldest first.
    pub violations: Vec<Violation>,
    /// What the tables cannot show.
    pub notices: Vec<String>,
}

/// Why two identifiers belong to one profile, or to two.
#[derive(Debug, Clone, Serialize)]
pub struct PairAnswer {
    /// The first identifier.
    #[serde(skip)]
    pub first: Identifier,
    /// The second one.
    #[serde(skip)]
    pub second: Identifier,
    /// The profiles of both; a blocked value has none.
    #[serde(skip)]
    pub profiles: [Option<ProfileInBrief>; 2],
    /// The identifier on the path that is on most events with others, and how many others there are.
    #[serde(skip)]
    pub hub: Option<(Identifier, u64)>,
    /// If they are one profile: the steps that lead from the first to the second.
    pub path: Option<Vec<Step>>,
    /// If they are two: why, the strongest reason first.
    pub reasons: Option<Vec<Reason>>,
    /// Reasons that hold for other identifiers of the two profiles.
    pub also: Vec<Reason>,
    /// What the tables cannot show.
    pub notices: Vec<String>,
}

/// What the text says of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileInBrief {
    /// Its segment id.
    pub segment_id: String,
    /// How many segment ids belong to it.
    pub n_segment_ids: u64,
    /// Its identifiers, in the order in which they came.
    pub identifiers: Vec<Identifier>,
}

/// Why two identifiers are not one profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// What kind of reason.
    pub reason: ReasonKind,
    /// The rule that kept an identifier off.
    pub rule: Option<String>,
    /// Of a limit: how many values there may be.
    pub limit: Option<u64>,
    /// Of a limit: of which type.
    pub limit_type: Option<String>,
    /// Of a limit: in which time.
    pub window: Option<String>,
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// The values that it is about.
    pub values: Vec<Identifier>,
}

/// The kinds of reasons, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonKind {
    /// An event had both, and one was not used.
    Refused,
    /// They differ only in case or white space.
    Spelling,
    /// What they have in common, or one of them, is blocked.
    Blocked,
    /// One of them was on an event with a third, and one of these was not used there.
    Between,
    /// They never were on one event.
    Never,
}

/// Nobody has what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnknownAnswer {
    /// What was asked for, each with the nearest identifiers that there are.
    pub unknown: Vec<Unknown>,
}

/// An identifier that nobody has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// As it was given.
    pub argument: String,
    /// Identifiers that look like it, the nearest first.
    pub nearest: Vec<Identifier>,
    /// What is known about it all the same: it was never used on these events.
    pub violations: Vec<Violation>,
}
