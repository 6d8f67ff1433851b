//! The settings of a config, as plain data.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

/// The settings of a config that affect the tables.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// For each type, the maximum number of values, and the window that counts.
    pub(crate) limits: BTreeMap<String, (usize, Window)>,
    /// The types of the highest ranks, highest first.
    pub(crate) order: Vec<String>,
    /// The values that do not count as identifiers.
    pub(crate) blocked: Vec<Blocked>,
    /// Whether the suggested values are blocked.
    pub(crate) suggested_blocks: bool,
    /// For each type, how its values are normalised before anything else happens to them.
    pub(crate) normalize: BTreeMap<String, Normalize>,
    /// The keys of custom identifiers, as the config spells them.
    pub(crate) custom: Vec<String>,
    /// The keys of types that are also looked for in `properties`, as the config spells them; custom types always are.
    pub(crate) in_properties: BTreeSet<String>,
    /// The maximum number of profiles merged into one.
    pub(crate) merge_cap: usize,
    /// The maximum number of identifiers of a profile.
    pub(crate) mapping_cap: usize,
    /// The maximum size of a batch in bytes: its items, each with the members that it takes from the envelope.
    pub(crate) max_batch_bytes: usize,
    /// The maximum number of tables for event names.
    pub(crate) max_tables: usize,
    /// The maximum number of traits of a profile, including removed ones.
    pub(crate) max_traits: usize,
    /// Events with the same message id are duplicates if they arrive at most this many days apart.
    pub(crate) dedupe_days: i128,
    /// The rules for events to drop.
    pub(crate) drop: Vec<DropRule>,
    /// The name and slug of each source id.
    pub(crate) sources: BTreeMap<String, (String, String)>,
    /// The form of new segment ids.
    pub(crate) segment_ids: SegmentIds,
}

/// The sliding window of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// One day.
    Daily,
    /// Seven days.
    Weekly,
    /// Thirty days.
    Monthly,
    /// 365 days.
    Annually,
    /// No window: all values count.
    Ever,
}

impl Window {
    /// Returns the length of the window in milliseconds; `None` for `Ever`.
    pub(crate) fn millis(self) -> Option<i128> {
        let days = match self {
            Self::Daily => 1,
            Self::Weekly => 7,
            Self::Monthly => 30,
            Self::Annually => 365,
            Self::Ever => return None,
        };
        Some(days * 86_400_000)
    }
}

/// One blocking rule.
#[derive(Clone, Debug)]
pub(crate) struct Blocked {
    /// The type to which the rule applies; `None` for all types.
    pub(crate) identifier_type: Option<String>,
    /// The blocked values.
    pub(crate) values: BlockedValues,
}

/// The values of a blocking rule.
#[derive(Clone, Debug)]
pub(crate) enum BlockedValues {
    /// One value, compared without case.
    Exact(String),
    /// All values that contain a match of the pattern.
    Pattern(String),
}

/// How the values of a type are normalised.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Normalize {
    /// Whether values are converted to lower case.
    pub(crate) lowercase: bool,
    /// Whether white space is removed from both ends.
    pub(crate) trim: bool,
}

/// A drop rule. Every condition given must match, by at least one of its globs.
#[derive(Clone, Debug)]
pub(crate) struct DropRule {
    /// Globs for the `type` of the event.
    pub(crate) event_type: Option<Vec<String>>,
    /// Globs for the name of a track event.
    pub(crate) event_name: Option<Vec<String>>,
    /// Globs for the source id.
    pub(crate) source: Option<Vec<String>>,
}

/// Returns whether a text matches a glob. `*` matches any text; every other character matches itself.
pub(crate) fn glob_fits(glob: &str, text: &str) -> bool {
    match glob.split_once('*') {
        None => glob == text,
        Some((front, rest)) => text.strip_prefix(front).is_some_and(|behind| {
            (0..=behind.len())
                .filter(|at| behind.is_char_boundary(*at))
                .any(|at| glob_fits(rest, &behind[at..]))
        }),
    }
}

/// The form of new segment ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentIds {
    /// A KSUID made from the event that creates the profile.
    Ksuid,
    /// `profile_1`, `profile_2` and so on.
    Sequential,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            limits: BTreeMap::new(),
            order: Vec::new(),
            blocked: Vec::new(),
            suggested_blocks: true,
            normalize: BTreeMap::new(),
            custom: Vec::new(),
            in_properties: BTreeSet::new(),
            merge_cap: 100,
            mapping_cap: 1000,
            max_batch_bytes: 256 * 1024 * 1024,
            max_tables: 10_000,
            max_traits: 10_000,
            dedupe_days: 30,
            drop: Vec::new(),
            sources: BTreeMap::new(),
            segment_ids: SegmentIds::Ksuid,
        }
    }
}

impl Rules {
    /// Returns the limit of a type.
    pub(crate) fn limit(&self, identifier_type: &str) -> (usize, Window) {
        match self.limits.get(identifier_type) {
            Some(limit) => *limit,
            None if identifier_type == "user_id" => (1, Window::Ever),
            None => (5, Window::Ever),
        }
    }

    /// Returns a key that sorts types from the highest rank to the lowest.
    pub(crate) fn rank(&self, identifier_type: &str) -> (usize, String) {
        let mut order = self.order.clone();
        for usual in ["user_id", "email"] {
            if !order.iter().any(|named| named == usual) {
                order.push(usual.to_owned());
            }
        }
        let place = order.iter().position(|named| named == identifier_type).unwrap_or(order.len());
        (place, identifier_type.to_owned())
    }

    /// Returns whether a value is blocked.
    pub(crate) fn blocks(&self, identifier_type: &str, value: &str) -> bool {
        let mut all = self.blocked.clone();
        if self.suggested_blocks {
            let for_all = |values| Blocked { identifier_type: None, values };
            all.push(for_all(BlockedValues::Pattern("^[0-]*$".to_owned())));
            for word in ["-1", "null", "anonymous", "undefined", "nan", "[object object]"] {
                all.push(for_all(BlockedValues::Exact(word.to_owned())));
            }
        }
        if self.suggested_blocks && value.trim().is_empty() {
            return true;
        }
        all.iter()
            .filter(|rule| rule.identifier_type.as_deref().is_none_or(|named| named == identifier_type))
            .any(|rule| match &rule.values {
                BlockedValues::Exact(word) => word.to_lowercase() == value.to_lowercase(),
                BlockedValues::Pattern(pattern) => is_match(pattern, value),
            })
    }
}

/// Returns whether a pattern matches somewhere in a value. Each thread caches compiled patterns: compiling is slow.
fn is_match(pattern: &str, value: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<BTreeMap<String, Regex>> = const { RefCell::new(BTreeMap::new()) };
    }
    COMPILED.with_borrow_mut(|compiled| {
        let compile = || Regex::new(pattern).expect("the tests use valid patterns");
        compiled.entry(pattern.to_owned()).or_insert_with(compile).is_match(value)
    })
}
