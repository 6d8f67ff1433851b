//! The rules of identity resolution and of what is written, with their documented defaults.

use std::collections::BTreeMap;

use regex::Regex;

use crate::{event::reject::MaxRejects, glob::Globs, time::timestamp::Millis};

/// How far back a limit looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// All values ever added.
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
    /// Its length; `None` for ever.
    #[must_use]
    pub fn millis(self) -> Option<Millis> {
        let days = match self {
            Self::Ever => return None,
            Self::Daily => 1,
            Self::Weekly => 7,
            Self::Monthly => 30,
            Self::Annually => 365,
        };
        Some(days * 86_400_000)
    }

    /// Its name in the config.
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

/// At most so many values of a type, added within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// So many values.
    pub values: u32,
    /// Within this time before the event.
    pub window: Window,
}

/// What is done to a value before anything looks at it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Normalize {
    /// Upper case becomes lower case.
    pub lowercase: bool,
    /// White space at both ends goes.
    pub trim: bool,
}

/// Values that identify nobody.
#[derive(Debug, Clone, Default)]
pub struct Blocked {
    /// As the config writes them; compared without case.
    pub exact: Vec<String>,
    /// Searched anywhere in the value unless anchored.
    pub patterns: Vec<Regex>,
}

/// What the config says of one identifier type.
#[derive(Debug, Clone)]
pub struct TypeRules {
    /// How many values of it a profile may gather.
    pub limit: Limit,
    /// Values of this type that identify nobody, beside those blocked for all types.
    pub blocked: Blocked,
    /// What is done to its values first.
    pub normalize: Normalize,
    /// Whether `properties` is a place of it too.
    pub properties: bool,
    /// Whether it is found by its name in `traits`, `context.traits` and `properties`.
    pub custom: bool,
    /// Its name as the config writes it; the type is that in lower case.
    pub key: String,
}

impl TypeRules {
    /// The rules of a type that the config does not mention.
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

/// Events that match all that is given never reach resolution.
#[derive(Debug, Clone)]
pub struct DropRule {
    /// Globs on the call: `track`.
    pub calls: Option<Globs>,
    /// Globs on the track event's name.
    pub events: Option<Globs>,
    /// Globs on the source id.
    pub sources: Option<Globs>,
}

/// What the config knows of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// `triggering_event_source_name`
    pub name: Option<String>,
    /// `triggering_event_source_slug`
    pub slug: Option<String>,
}

/// Which of the tables, or columns `TABLE.COLUMN`, are written.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only these; all where absent.
    pub include: Option<Globs>,
    /// Of those, not these.
    pub exclude: Option<Globs>,
}

impl Selection {
    /// Whether everything is selected.
    #[must_use]
    pub fn all(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// Whether this name is selected.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|globs| globs.is_match(name))
            && !self.exclude.as_ref().is_some_and(|globs| globs.is_match(name))
    }
}

/// How segment ids are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SegmentIdStyle {
    /// `use_` and a KSUID of the founding event.
    Ksuid,
    /// `profile_1`, `profile_2`: for examples and tests.
    Sequential,
}

impl SegmentIdStyle {
    /// Its name in the config.
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
    /// As they are.
    #[default]
    None,
    /// As zstd frames.
    Zstd,
}

impl Compression {
    /// Whether tables are stored as they are.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zstd => "zstd",
        }
    }
}

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What the config says of types, by name.
    pub types: BTreeMap<String, TypeRules>,
    /// The explicit order of types, highest rank first.
    pub order: Vec<String>,
    /// Blocked for all types, the suggested ones included where they are on.
    pub blocked: Blocked,
    /// At most so many profiles merged into one.
    pub merge_cap: u32,
    /// At most so many identifiers on one profile.
    pub mapping_cap: u32,
    /// An envelope whose items make more bytes, each with what it takes from the envelope, is rejected.
    pub max_batch_bytes: u64,
    /// At most this many tables of event names in the space.
    pub max_tables: u32,
    /// At most this many trait names on one profile, removed ones too.
    pub max_traits: u32,
    /// Two events of one `messageId` this far apart or less are one.
    pub dedupe_window: Millis,
    /// Events that never reach resolution.
    pub drop: Vec<DropRule>,
    /// Names of sources by id.
    pub sources: BTreeMap<String, Source>,
    /// Which tables and views are written.
    pub tables: Selection,
    /// Which of their columns are written, as `TABLE.COLUMN`.
    pub columns: Selection,
    /// How segment ids are made.
    pub segment_ids: SegmentIdStyle,
    /// How many rejects a run may have; by default 5 %, and never too many up to 100.
    pub max_rejects: Option<MaxRejects>,
    /// How a new space stores its tables, and how one that is there is to; where nothing is said, as it does.
    pub compress: Option<Compression>,
    /// The manifest records the space after each of the last runs, up to this many.
    pub keep_runs: u32,
}

/// Blocked for all types unless the config switches them off: exact values.
pub const SUGGESTED_EXACT: [&str; 6] = ["-1", "null", "anonymous", "undefined", "NaN", "[object Object]"];
/// Blocked for all types unless the config switches them off: values of dashes and zeros only.
pub const ZEROS: &str = "^[0-]*$";
/// Blocked for all types unless the config switches them off: values of white space only.
pub const BLANKS: &str = r"^\s+$";

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
    /// The limit of a type, by name.
    #[must_use]
    pub fn limit_of(&self, name: &str) -> Limit {
        self.types.get(name).map_or_else(|| TypeRules::default_for(name).limit, |of_type| of_type.limit)
    }

    /// The rules of a type, by name.
    #[must_use]
    pub fn of_type(&self, name: &str) -> TypeRules {
        self.types.get(name).cloned().unwrap_or_else(|| TypeRules::default_for(name))
    }
}

/// The values that are blocked for all types by default.
#[must_use]
pub fn suggested_blocks() -> Blocked {
    Blocked {
        exact: SUGGESTED_EXACT.map(str::to_owned).into(),
        patterns: [ZEROS, BLANKS].map(|pattern| Regex::new(pattern).expect("a literal pattern")).into(),
    }
}
