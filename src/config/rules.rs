//! The rules of identity resolution and of the output, with their documented defaults.

use std::collections::BTreeMap;

use regex::Regex;

use crate::{event::reject::MaxRejects, glob::Globs, time::timestamp::Millis};

/// The built-in types. Each index is the type's number in every run.
pub const KNOWN_TYPES: [&str; 12] = [
    "user_id",
    "anonymous_id",
    "email",
    "android.id",
    "ios.id",
    "android.idfa",
    "ios.idfa",
    "android.push_token",
    "ios.push_token",
    "ga_client_id",
    "cross_domain_id",
    "braze_id",
];

/// The milliseconds of a day.
pub(super) const DAY: Millis = 86_400_000;

/// The period before an event over which a limit counts values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// No limit in time.
    Ever,
    /// The last day.
    Daily,
    /// The last 7 days.
    Weekly,
    /// The last 30 days.
    Monthly,
    /// The last 365 days.
    Annually,
}

impl Window {
    /// Returns its length in milliseconds; `None` for [`Window::Ever`].
    #[must_use]
    pub fn millis(self) -> Option<Millis> {
        let days = match self {
            Self::Ever => return None,
            Self::Daily => 1,
            Self::Weekly => 7,
            Self::Monthly => 30,
            Self::Annually => 365,
        };
        Some(days * DAY)
    }

    /// Returns its name in the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ever => "ever",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Annually => "annually",
        }
    }
}

/// A limit on the values of one type that a profile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// At most this many values.
    pub values: u32,
    /// Only values added within this time before the event count.
    pub window: Window,
}

/// How a value is changed before anything else looks at it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Normalize {
    /// Converts it to lower case.
    pub lowercase: bool,
    /// Removes white space at both ends.
    pub trim: bool,
}

/// Values that do not identify anybody.
#[derive(Debug, Clone, Default)]
pub struct Blocked {
    /// Exact values as written in the config; compared case-insensitively.
    pub exact: Vec<String>,
    /// Patterns that match anywhere in the value unless anchored.
    pub patterns: Vec<Regex>,
}

/// The rules of one identifier type.
#[derive(Debug, Clone)]
pub struct TypeRules {
    /// How many of its values a profile may hold.
    pub limit: Limit,
    /// Its blocked values, in addition to those blocked for all types.
    pub blocked: Blocked,
    /// How its values are normalized.
    pub normalize: Normalize,
    /// Whether it is also searched for in `properties`.
    pub properties: bool,
    /// Whether it is searched for by name in `traits`, `context.traits` and `properties`.
    pub custom: bool,
    /// Its name as written in the config. The name of the type is this in lower case.
    pub key: String,
}

impl TypeRules {
    /// Returns the rules of a type without an entry in the config.
    #[must_use]
    pub fn default_for(name: &str) -> Self {
        let values = if name == "user_id" { 1 } else { 5 };
        Self {
            limit: Limit { values, window: Window::Ever },
            blocked: Blocked::default(),
            normalize: Normalize::default(),
            properties: false,
            custom: false,
            key: name.to_owned(),
        }
    }
}

/// Drops the events that match all of its conditions before they are resolved.
#[derive(Debug, Clone)]
pub struct DropRule {
    /// Globs on the call, such as `track`.
    pub calls: Option<Globs>,
    /// Globs on a track event's name.
    pub events: Option<Globs>,
    /// Globs on the source id.
    pub sources: Option<Globs>,
}

/// The config's entry for a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceNames {
    /// `triggering_event_source_name`
    pub name: Option<String>,
    /// `triggering_event_source_slug`
    pub slug: Option<String>,
}

/// Selects the tables, or columns as `TABLE.COLUMN`, that are written.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only these are written; `None` selects all.
    pub include: Option<Globs>,
    /// These are not written even if included.
    pub exclude: Option<Globs>,
}

impl Selection {
    /// Returns whether everything is selected.
    #[must_use]
    pub fn all(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// Returns whether the name is selected.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|globs| globs.is_match(name))
            && !self.exclude.as_ref().is_some_and(|globs| globs.is_match(name))
    }
}

/// How segment ids are generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SegmentIdStyle {
    /// `use_` and a KSUID derived from the founding event.
    Ksuid,
    /// `profile_1`, `profile_2` and so on, for examples and tests.
    Sequential,
}

impl SegmentIdStyle {
    /// Returns its name in the config.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ksuid => "ksuid",
            Self::Sequential => "sequential",
        }
    }
}

/// How the tables of a space are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Uncompressed.
    #[default]
    None,
    /// As zstd frames.
    Zstd,
}

impl Compression {
    /// Returns whether tables are uncompressed.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Returns its name in the config.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zstd => "zstd",
        }
    }
}

/// Everything that the config can set.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The types with an entry in the config, by name.
    pub types: BTreeMap<String, TypeRules>,
    /// The explicit order of types, highest rank first.
    pub order: Vec<String>,
    /// Values blocked for all types, including the suggested ones unless they are switched off.
    pub blocked: Blocked,
    /// At most this many profiles are merged into one.
    pub merge_cap: u32,
    /// At most this many identifiers on one profile.
    pub mapping_cap: u32,
    /// A batch is rejected if its items, each with what it takes from the envelope, are more bytes than this in total.
    pub max_batch_bytes: u64,
    /// At most this many event tables in the space.
    pub max_tables: u32,
    /// At most this many trait names on one profile, including removed traits.
    pub max_traits: u32,
    /// Two events with the same `messageId` that arrive at most this far apart are one event.
    pub dedupe_window: Millis,
    /// Rules for dropping events before they are resolved.
    pub drop: Vec<DropRule>,
    /// Names of sources, by id.
    pub sources: BTreeMap<String, SourceNames>,
    /// Which event tables and views are written.
    pub tables: Selection,
    /// Which of their columns are written, as `TABLE.COLUMN`.
    pub columns: Selection,
    /// How segment ids are generated.
    pub segment_ids: SegmentIdStyle,
    /// How many rejects a run may have. `None` allows 5 %, and always up to 100.
    pub max_rejects: Option<MaxRejects>,
    /// How a new space stores its tables, and what an existing space must use. `None` accepts whatever an existing
    /// space uses.
    pub compress: Option<Compression>,
    /// The manifest records the space after each of the last runs, up to this many.
    pub keep_runs: u32,
}

/// Exact values blocked for all types unless the config switches them off.
pub const SUGGESTED_EXACT: [&str; 6] = ["-1", "null", "anonymous", "undefined", "NaN", "[object Object]"];
/// Pattern of values of dashes and zeros only, blocked for all types unless the config switches it off.
pub const ZEROS_PATTERN: &str = "^[0-]*$";
/// Pattern of values of white space only, blocked for all types unless the config switches it off.
pub const BLANKS_PATTERN: &str = r"^\s+$";

impl Default for Rules {
    fn default() -> Self {
        Self {
            types: BTreeMap::new(),
            order: Vec::new(),
            blocked: suggested_blocks(),
            merge_cap: 100,
            mapping_cap: 1000,
            max_batch_bytes: 256 << 20,
            max_tables: 10_000,
            max_traits: 10_000,
            dedupe_window: 30 * 86_400_000,
            drop: Vec::new(),
            sources: BTreeMap::new(),
            tables: Selection::default(),
            columns: Selection::default(),
            segment_ids: SegmentIdStyle::Ksuid,
            max_rejects: None,
            compress: None,
            keep_runs: 30,
        }
    }
}

impl Rules {
    /// Returns the limit of a type.
    #[must_use]
    pub fn limit_of(&self, name: &str) -> Limit {
        self.types.get(name).map_or_else(|| TypeRules::default_for(name).limit, |of_type| of_type.limit)
    }

    /// Returns the rules of a type.
    #[must_use]
    pub fn of_type(&self, name: &str) -> TypeRules {
        self.types.get(name).cloned().unwrap_or_else(|| TypeRules::default_for(name))
    }
}

/// Returns the values blocked for all types by default.
#[must_use]
pub fn suggested_blocks() -> Blocked {
    Blocked {
        exact: SUGGESTED_EXACT.map(str::to_owned).into(),
        patterns: [ZEROS_PATTERN, BLANKS_PATTERN]
            .map(|pattern| Regex::new(pattern).expect("the pattern is valid"))
            .into(),
    }
}
