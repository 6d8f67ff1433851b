//! Random configs, both as text for the program and as rules for the twin.

use std::fmt::Write;

use super::Random;
use crate::twin::rules::{Blocked, BlockedValues, DropRule, Normalize, Rules, SegmentIds, Window};

/// A config in both forms.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) text: String,
    pub(crate) rules: Rules,
}

/// Identifier types in spellings that a config may use; some never occur on events.
const TYPES: [&str; 16] = [
    "user_id",
    "email",
    "anonymous_id",
    "ios.id",
    "android.id",
    "ios.idfa",
    "ios.push_token",
    "ga_client_id",
    "cross_domain_id",
    "braze_id",
    "loyalty_id",
    "Loyalty ID",
    "crmKey",
    "phone",
    "EMAIL",
    "!!",
];
const KNOWN: [&str; 12] = [
    "user_id",
    "email",
    "anonymous_id",
    "ios.id",
    "android.id",
    "ios.idfa",
    "android.idfa",
    "ios.push_token",
    "android.push_token",
    "ga_client_id",
    "cross_domain_id",
    "braze_id",
];
const VALUES: [&str; 10] = ["x1", "X2", "U3", "u1", "1", "2", "1.0", "-1", "anonymous", "straSSe"];
const PATTERNS: [&str; 6] = ["^x", "3$", "^[0-9]+$", "(?i)U1", "^$", " "];

/// Generates a config.
pub(crate) fn make(random: &mut Random) -> Config {
    let mut text = String::new();
    let mut rules = Rules::default();
    if random.chance(60) {
        let sequential = random.chance(60);
        let (name, style) =
            if sequential { ("sequential", SegmentIds::Sequential) } else { ("ksuid", SegmentIds::Ksuid) };
        writeln!(text, "segment_ids = \"{name}\"").unwrap();
        rules.segment_ids = style;
    }
    if random.chance(40) {
        rules.dedupe_days = i128::try_from(random.below(4) * random.below(15)).unwrap();
        writeln!(text, "dedupe_window_days = {}", rules.dedupe_days).unwrap();
    }
    if random.chance(30) {
        rules.max_batch_bytes = random.from(1, 900);
        writeln!(text, "max_batch_bytes = {}", rules.max_batch_bytes).unwrap();
    }
    if random.chance(30) {
        rules.max_tables = random.from(1, 3);
        writeln!(text, "max_tables = {}", rules.max_tables).unwrap();
    }
    if random.chance(30) {
        rules.max_traits = random.from(1, 6);
        writeln!(text, "max_traits = {}", rules.max_traits).unwrap();
    }
    identity(random, &mut text, &mut rules);
    for _ in 0..random.below(3) * random.below(2) {
        drop_rule(random, &mut text, &mut rules);
    }
    if random.chance(30) {
        writeln!(text, "[sources.s1]\nname = \"Shop\"\nslug = \"shop\"").unwrap();
        rules.sources.insert("s1".to_owned(), ("Shop".to_owned(), "shop".to_owned()));
    }
    Config { text, rules }
}

fn identity(random: &mut Random, text: &mut String, rules: &mut Rules) {
    text.push_str("[identity]\n");
    let mut keys: Vec<&str> = random.some(&TYPES, 40);
    // Two spellings of one type are an error.
    keys.sort_by_key(|key| key.to_lowercase());
    keys.dedup_by_key(|key| key.to_lowercase());
    if random.chance(50) {
        // `zzz` occurs only in `externalIds`.
        let others = KNOWN.iter().chain(&["zzz"]).map(|name| (*name).to_owned());
        let all: Vec<String> = keys.iter().map(|key| key.to_lowercase()).chain(others).collect();
        rules.order = random.some(&all, 30);
        let mut seen = Vec::new();
        rules.order.retain(|name| {
            let first = !seen.contains(name);
            seen.push(name.clone());
            first
        });
        writeln!(text, "order = {}", list(&rules.order)).unwrap();
    }
    if random.chance(30) {
        rules.suggested_blocks = random.chance(50);
        writeln!(text, "suggested_blocks = {}", rules.suggested_blocks).unwrap();
    }
    blocks(random, text, rules, None);
    if random.chance(40) {
        rules.merge_cap = random.below(5);
        writeln!(text, "max_merges = {}", rules.merge_cap).unwrap();
    }
    if random.chance(40) {
        rules.mapping_cap = random.from(1, 6);
        writeln!(text, "max_identifiers = {}", rules.mapping_cap).unwrap();
    }
    for key in keys {
        identifier_type(random, text, rules, key);
    }
}

fn identifier_type(random: &mut Random, text: &mut String, rules: &mut Rules, key: &str) {
    let name = key.to_lowercase();
    let known = KNOWN.contains(&name.as_str());
    writeln!(text, "[identity.types.{}]", toml::Value::from(key)).unwrap();
    let (mut most, mut window) = rules.limit(&name);
    if random.chance(70) {
        most = random.below(7);
        writeln!(text, "limit = {most}").unwrap();
    }
    if random.chance(60) {
        let name;
        (name, window) = [
            ("daily", Window::Daily),
            ("weekly", Window::Weekly),
            ("monthly", Window::Monthly),
            ("annually", Window::Annually),
            ("ever", Window::Ever),
        ][random.below(5)];
        writeln!(text, "window = \"{name}\"").unwrap();
    }
    rules.limits.insert(name.clone(), (most, window));
    blocks(random, text, rules, Some(&name));
    if random.chance(30) {
        let (word, lowercase, trim) =
            [("none", false, false), ("lowercase", true, false), ("trim", false, true), ("both", true, true)]
                [random.below(4)];
        writeln!(text, "normalize = \"{word}\"").unwrap();
        rules.normalize.insert(name.clone(), Normalize { lowercase, trim });
    }
    let properties = random.chance(30);
    if properties || random.chance(30) {
        writeln!(text, "properties = {properties}").unwrap();
    }
    let mut custom = !known;
    if random.chance(20) {
        custom = !known && random.chance(50);
        writeln!(text, "custom = {custom}").unwrap();
    }
    if custom {
        rules.custom.push(key.to_owned());
    }
    if properties {
        rules.in_properties.insert(key.to_owned());
    }
}

fn blocks(random: &mut Random, text: &mut String, rules: &mut Rules, of_type: Option<&str>) {
    if random.chance(80) {
        return;
    }
    let exact = random.some(&VALUES, 20);
    let patterns = random.some(&PATTERNS, 20);
    writeln!(text, "blocked = {}\nblocked_patterns = {}", list(&exact), list(&patterns)).unwrap();
    let exact = exact.iter().map(|value| BlockedValues::Exact((*value).to_owned()));
    let patterns = patterns.iter().map(|pattern| BlockedValues::Pattern((*pattern).to_owned()));
    let identifier_type = of_type.map(str::to_owned);
    rules.blocked.extend(
        exact.chain(patterns).map(|values| Blocked { identifier_type: identifier_type.clone(), values }),
    );
}

fn drop_rule(random: &mut Random, text: &mut String, rules: &mut Rules) {
    let mut globs = |all: &[&'static str]| -> Option<Vec<String>> {
        let globs: Vec<String> = random.some(all, 25).into_iter().map(str::to_owned).collect();
        Some(globs).filter(|globs| !globs.is_empty())
    };
    let mut event_type = globs(&["track", "pa*", "*e*"]);
    let event_name =
        globs(&["Order Completed", "Order*", "*", "* *", "[App] Tap", "[App]*", "*]*p", "{Tap,!}"]);
    // A rule with an event name is an error unless one of its types matches `track`.
    if event_name.is_some()
        && let Some(types) = &mut event_type
        && !types.iter().any(|glob| glob == "track")
    {
        types.push("t*".to_owned());
    }
    let rule = DropRule { event_type, event_name, source: globs(&["s1", "s*"]) };
    let lines: String = [("type", &rule.event_type), ("event", &rule.event_name), ("source", &rule.source)]
        .into_iter()
        .filter_map(|(key, globs)| Some(format!("{key} = {}\n", list(globs.as_ref()?))))
        .collect();
    // A rule without conditions is an error.
    if !lines.is_empty() {
        writeln!(text, "[[drop]]\n{lines}").unwrap();
        rules.drop.push(rule);
    }
}

fn list<T: AsRef<str>>(values: &[T]) -> String {
    toml::Value::from(values.iter().map(AsRef::as_ref).collect::<Vec<&str>>()).to_string()
}
