//! What a config may say, as plain data.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

/// Everything that the tables leave to the config.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Per type: how many values, added within which window.
    pub(crate) limits: BTreeMap<String, (usize, Window)>,
    /// Types of the highest rank, best first.
    pub(crate) order: Vec<String>,
    /// Values that are never promoted.
    pub(crate) blocked: Vec<Blocked>,
    /// Whether the values blocked out of the box are blocked.
    pub(crate) suggested_blocks: bool,
    /// Per type: how its values are changed before anything else looks at them.
    pub(crate) normalize: BTreeMap<String, Normalize>,
    /// Keys of custom identifiers, as the config spells them.
    pub(crate) custom: Vec<String>,
    /// Keys of types that are looked for in `properties` too, as the config spells them; custom ones are anyway.
    pub(crate) in_properties: BTreeSet<String>,
    /// How many profiles may be merged into one.
    pub(crate) merge_cap: usize,
    /// How many identifiers one profile may have.
    pub(crate) mapping_cap: usize,
    /// How many bytes the items of a batch may make, each with what it takes from the envelope.
    pub(crate) max_batch_bytes: usize,
    /// How many tables there may be of event names.
    pub(crate) max_tables: usize,
    /// How many traits a profile may have, removed ones too.
    pub(crate) max_traits: usize,
    /// How far apart, in days, two events of one message id are still duplicates.
    pub(crate) dedupe_days: i128,
    /// Events that never reach resolution.
    pub(crate) drop: Vec<DropRule>,
    /// Source id to its name and slug.
    pub(crate) sources: BTreeMap<String, (String, String)>,
    /// How new profiles are named.
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
    /// All of time.
    Ever,
}

impl Window {
    /// The window in milliseconds; `None` for all of time.
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
    /// The type it holds for; `None` for all.
    pub(crate) identifier_type: Option<String>,
    /// Which values.
    pub(crate) values: BlockedValues,
}

/// The values that a blocking rule names.
#[derive(Clone, Debug)]
pub(crate) enum BlockedValues {
    /// This one, whatever its case.
    Exact(String),
    /// Those in which the pattern is found.
    Pattern(String),
}

/// How values of a type are changed before use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Normalize {
    /// To lower case.
    pub(crate) lowercase: bool,
    /// White space off both ends.
    pub(crate) trim: bool,
}

/// A drop rule: every part that is given must match, by one of its globs.
#[derive(Clone, Debug)]
pub(crate) struct DropRule {
    /// The event's `type`.
    pub(crate) event_type: Option<Vec<String>>,
    /// A track event's name.
    pub(crate) event_name: Option<Vec<String>>,
    /// The source id.
    pub(crate) source: Option<Vec<String>>,
}

/// Whether a text fits a glob, in which `*` stands for any text and everything else for itself.
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

/// How new profiles are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentIds {
    /// From the founding event.
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
    /// The limit of a type.
    pub(crate) fn limit(&self, identifier_type: &str) -> (usize, Window) {
        match self.limits.get(identifier_type) {
            Some(limit) => *limit,
            None if identifier_type == "user_id" => (1, Window::Ever),
            None => (5, Window::Ever),
        }
    }

    /// Sorts types from the highest rank to the lowest.
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

    /// Whether a value is not to be promoted.
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

/// Whether a pattern is found in a value. Compiling is dear, so each thread remembers what it compiled.
fn is_match(pattern: &str, value: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<BTreeMap<String, Regex>> = const { RefCell::new(BTreeMap::new()) };
    }
    COMPILED.with_borrow_mut(|compiled| {
        let compile = || Regex::new(pattern).expect("the test wrote a good pattern");
        compiled.entry(pattern.to_owned()).or_insert_with(compile).is_match(value)
    })
}
