//! Reads the config file: TOML in which every key has a default. Errors report the line and a hint.

pub mod in_force;
mod print;
pub mod rules;
pub mod select;

use std::{collections::BTreeMap, ops::Range, path::Path};

use regex::Regex;
use serde::Deserialize;
use toml::Spanned;

pub use self::print::print;
use crate::{
    config::rules::{
        Blocked, Compression, DAY, DropRule, KNOWN_TYPES, Limit, Normalize, Rules, SegmentIdStyle, Selection,
        SourceNames, TypeRules, Window,
    },
    error::{Error, Result},
    event::{Call, reject::MaxRejects},
    glob::{self, Globs},
};

/// The name of the config file that is read from the space if no other is given.
pub const CONFIG_FILE: &str = "profiles-sync.toml";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConfigFile {
    segment_ids: Option<SegmentIdStyle>,
    compress: Option<Compression>,
    dedupe_window_days: Option<Spanned<i64>>,
    keep_runs: Option<Spanned<i64>>,
    max_batch_bytes: Option<Spanned<i64>>,
    max_tables: Option<Spanned<i64>>,
    max_traits: Option<Spanned<i64>>,
    max_rejects: Option<Spanned<toml::Value>>,
    identity: IdentitySection,
    drop: Vec<Spanned<DropEntry>>,
    sources: BTreeMap<String, SourceEntry>,
    sync: SyncSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct IdentitySection {
    order: Vec<Spanned<String>>,
    suggested_blocks: Option<bool>,
    blocked: Vec<Spanned<String>>,
    blocked_patterns: Vec<Spanned<String>>,
    max_merges: Option<Spanned<i64>>,
    max_identifiers: Option<Spanned<i64>>,
    types: BTreeMap<Spanned<String>, TypeEntry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TypeEntry {
    limit: Option<Spanned<i64>>,
    window: Option<Window>,
    blocked: Vec<Spanned<String>>,
    blocked_patterns: Vec<Spanned<String>>,
    normalize: Option<NormalizeEntry>,
    properties: Option<bool>,
    custom: Option<Spanned<bool>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum NormalizeEntry {
    None,
    Lowercase,
    Trim,
    Both,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DropEntry {
    r#type: Option<Vec<Spanned<String>>>,
    event: Option<Vec<Spanned<String>>>,
    source: Option<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SourceEntry {
    name: Option<String>,
    slug: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SyncSection {
    tables: Option<Vec<Spanned<String>>>,
    exclude_tables: Option<Vec<Spanned<String>>>,
    columns: Option<Vec<Spanned<String>>>,
    exclude_columns: Option<Vec<Spanned<String>>>,
}

/// An error in the config, with its byte range in the file.
struct ConfigError {
    place: Option<Range<usize>>,
    message: String,
    hint: String,
}

fn config_error(place: Range<usize>, message: impl Into<String>, hint: impl Into<String>) -> ConfigError {
    ConfigError { place: Some(place), message: message.into(), hint: hint.into() }
}

/// Parses the bytes of a config file. `path` is used in errors.
pub fn read(bytes: &[u8], path: &Path) -> Result<Rules> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let line = 1 + memchr::memchr_iter(b'\n', &bytes[..e.valid_up_to()]).count();
        Error::line(path, line as u64, "the config is not UTF-8").hint("save it as UTF-8")
    })?;
    parse(text, path)
}

/// Parses a config. `path` is used in errors.
pub fn parse(text: &str, path: &Path) -> Result<Rules> {
    let file: std::result::Result<ConfigFile, ConfigError> = toml::from_str(text).map_err(|e| ConfigError {
        place: e.span(),
        message: e.message().replace('\n', " "),
        hint: hint_for(e.message(), e.span().and_then(|span| text.get(span)).unwrap_or_default()),
    });
    file.and_then(compile).map_err(|wrong| {
        let line =
            wrong.place.map_or(1, |place| 1 + text[..place.start.min(text.len())].matches('\n').count());
        Error::line(path, line as u64, wrong.message).hint(wrong.hint)
    })
}

fn compile(file: ConfigFile) -> std::result::Result<Rules, ConfigError> {
    let mut rules = Rules::default();
    if let Some(style) = file.segment_ids {
        rules.segment_ids = style;
    }
    rules.compress = file.compress;
    if let Some(days) = file.dedupe_window_days {
        rules.dedupe_window = number(&days, 0, 36_500, "days")? * DAY;
    }
    if let Some(runs) = file.keep_runs {
        rules.keep_runs = cap(&runs, 1, "runs")?;
    }
    if let Some(most) = file.max_batch_bytes {
        rules.max_batch_bytes = number(&most, 1, i64::MAX, "bytes per batch")?.cast_unsigned();
    }
    if let Some(most) = file.max_tables {
        rules.max_tables = cap(&most, 1, "event tables")?;
    }
    if let Some(most) = file.max_traits {
        rules.max_traits = cap(&most, 1, "traits")?;
    }
    rules.max_rejects = file.max_rejects.map(|value| max_rejects(&value)).transpose()?;
    let identity = file.identity;
    if identity.suggested_blocks == Some(false) {
        rules.blocked = Blocked::default();
    }
    let own = blocked(&identity.blocked, &identity.blocked_patterns)?;
    rules.blocked.exact.extend(own.exact);
    rules.blocked.patterns.extend(own.patterns);
    if let Some(most) = identity.max_merges {
        rules.merge_cap = cap(&most, 0, "merged profiles")?;
    }
    if let Some(most) = identity.max_identifiers {
        rules.mapping_cap = cap(&most, 1, "identifiers")?;
    }
    for (name, entry) in identity.types {
        let (type_name, of_type) = type_rules(&name, &entry)?;
        if rules.types.insert(type_name.clone(), of_type).is_some() {
            return Err(config_error(
                name.span(),
                format!("identifier type \"{type_name}\" is defined twice, in different case"),
                "keep one of the two; types are compared in lower case",
            ));
        }
    }
    rules.order = order(&identity.order)?;
    for entry in file.drop {
        rules.drop.push(drop_rule(entry)?);
    }
    rules.sources = file
        .sources
        .into_iter()
        .map(|(id, entry)| (id, SourceNames { name: entry.name, slug: entry.slug }))
        .collect();
    let selection = |include, exclude| {
        let (include, exclude) = (globs(include), globs(exclude));
        // A selection of everything is dropped, so that no name has to be matched.
        let everything = |globs: &Globs| globs.written == ["*"];
        Selection {
            include: include.filter(|globs| !everything(globs)),
            exclude: exclude.filter(|globs| !globs.is_empty()),
        }
    };
    rules.tables = selection(file.sync.tables, file.sync.exclude_tables);
    rules.columns = selection(file.sync.columns, file.sync.exclude_columns);
    Ok(rules)
}

fn type_rules(
    name: &Spanned<String>,
    entry: &TypeEntry,
) -> std::result::Result<(String, TypeRules), ConfigError> {
    let key = name.get_ref();
    let type_name = key.to_lowercase();
    if type_name.is_empty() || type_name == "group_id" {
        return Err(config_error(
            name.span(),
            format!("\"{key}\" does not identify a profile"),
            "remove the type; an account's id never identifies a profile",
        ));
    }
    let mut rules = TypeRules::default_for(&type_name);
    let known = KNOWN_TYPES.contains(&type_name.as_str());
    if let Some(values) = &entry.limit {
        rules.limit.values = cap(values, 0, "values")?;
    }
    rules.limit = Limit { window: entry.window.unwrap_or(rules.limit.window), ..rules.limit };
    rules.blocked = blocked(&entry.blocked, &entry.blocked_patterns)?;
    rules.normalize = match entry.normalize.unwrap_or(NormalizeEntry::None) {
        NormalizeEntry::None => Normalize::default(),
        NormalizeEntry::Lowercase => Normalize { lowercase: true, trim: false },
        NormalizeEntry::Trim => Normalize { lowercase: false, trim: true },
        NormalizeEntry::Both => Normalize { lowercase: true, trim: true },
    };
    rules.properties = entry.properties.unwrap_or(false);
    rules.custom = !known;
    rules.key.clone_from(key);
    if let Some(custom) = &entry.custom {
        if known && *custom.get_ref() {
            return Err(config_error(
                custom.span(),
                format!("\"{type_name}\" is a built-in type and cannot be custom"),
                "remove the line; set `properties = true` to search `properties` too",
            ));
        }
        rules.custom = *custom.get_ref();
    }
    Ok((type_name, rules))
}

/// Returns the explicit order of types, in lower case. It may list types without an entry in the config: events can
/// bring any type in `externalIds`.
fn order(entries: &[Spanned<String>]) -> std::result::Result<Vec<String>, ConfigError> {
    let mut order: Vec<String> = Vec::new();
    for entry in entries {
        let written = entry.get_ref();
        let name = written.to_lowercase();
        if order.contains(&name) {
            return Err(config_error(
                entry.span(),
                format!("\"{written}\" is listed twice in `order`"),
                "remove the second one",
            ));
        }
        if name.is_empty() || name == "group_id" {
            return Err(config_error(
                entry.span(),
                format!("\"{written}\" in `order` does not identify a profile"),
                "remove it",
            ));
        }
        order.push(name);
    }
    Ok(order)
}

fn drop_rule(entry: Spanned<DropEntry>) -> std::result::Result<DropRule, ConfigError> {
    let place = entry.span();
    let entry = entry.into_inner();
    for (key, list) in [("type", &entry.r#type), ("event", &entry.event), ("source", &entry.source)] {
        if list.as_ref().is_some_and(Vec::is_empty) {
            return Err(config_error(
                place,
                format!("`{key} = []` in this `[[drop]]` rule matches no event"),
                "list at least one value, or remove the line",
            ));
        }
    }
    for call in entry.r#type.iter().flatten() {
        if !Call::ALL.into_iter().any(|c| glob::matches(call.get_ref(), c.name())) {
            let hint = match nearest(call.get_ref(), Call::ALL.into_iter().map(Call::name)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "the calls are identify, track, page, screen, group and alias".to_owned(),
            };
            return Err(config_error(call.span(), format!("\"{}\" is not a call", call.get_ref()), hint));
        }
    }
    let rule =
        DropRule { calls: globs(entry.r#type), events: globs(entry.event), sources: globs(entry.source) };
    if rule.calls.is_none() && rule.events.is_none() && rule.sources.is_none() {
        return Err(config_error(
            place,
            "a `[[drop]]` rule without conditions would drop every event",
            "add `type`, `event` or `source`, or remove the rule",
        ));
    }
    let all_calls =
        rule.calls.as_ref().is_some_and(|globs| Call::ALL.iter().all(|c| globs.is_match(c.name())));
    if all_calls && rule.events.is_none() && rule.sources.is_none() {
        return Err(config_error(
            place,
            "this `[[drop]]` rule matches every call, so it would drop every event",
            "list fewer calls, or add `event` or `source`",
        ));
    }
    if rule.events.is_some() && rule.calls.as_ref().is_some_and(|globs| !globs.is_match(Call::Track.name())) {
        return Err(config_error(
            place,
            "this `[[drop]]` rule matches no event: only track calls have an `event`",
            "add \"track\" to its `type`, or remove its `event`",
        ));
    }
    Ok(rule)
}

fn blocked(
    exact: &[Spanned<String>],
    patterns: &[Spanned<String>],
) -> std::result::Result<Blocked, ConfigError> {
    let patterns = patterns.iter().map(|pattern| {
        Regex::new(pattern.get_ref()).map_err(|e| {
            let reason = e.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            config_error(
                pattern.span(),
                format!("the pattern `{}` does not compile: {reason}", pattern.get_ref()),
                "write a regular expression, or list a fixed value under `blocked`",
            )
        })
    });
    Ok(Blocked {
        exact: exact.iter().map(|value| value.get_ref().clone()).collect(),
        patterns: patterns.collect::<std::result::Result<_, _>>()?,
    })
}

fn globs(list: Option<Vec<Spanned<String>>>) -> Option<Globs> {
    list.map(|list| Globs::new(list.into_iter().map(Spanned::into_inner).collect()))
}

fn number(value: &Spanned<i64>, least: i64, most: i64, what: &str) -> std::result::Result<i64, ConfigError> {
    let number = *value.get_ref();
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(config_error(
        value.span(),
        format!("{number} {what} are not allowed"),
        format!("give a number from {least} to {most}"),
    ))
}

/// Parses an integer as a number of rejects, or a string as a percentage.
fn max_rejects(value: &Spanned<toml::Value>) -> std::result::Result<MaxRejects, ConfigError> {
    let most = match value.get_ref() {
        toml::Value::Integer(most) => most.to_string().parse(),
        toml::Value::String(most) => most.parse(),
        _ => Err("write 100, or \"1%\" in quotes".to_owned()),
    };
    most.map_err(|hint| {
        config_error(value.span(), "`max_rejects` is neither a number of lines nor a percentage", hint)
    })
}

fn cap(value: &Spanned<i64>, least: i64, what: &str) -> std::result::Result<u32, ConfigError> {
    let number = number(value, least, i64::from(u32::MAX), what)?;
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Returns a hint for an error of the TOML parser.
fn hint_for(message: &str, at: &str) -> String {
    let expected: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    // An unquoted dot in a type's name creates a nested table.
    if let ["id" | "idfa" | "push_token", "limit", ..] = *expected {
        return "quote types with a dot: `[identity.types.\"android.id\"]`".to_owned();
    }
    if message.starts_with("unknown field") || message.starts_with("unknown variant") {
        let given = expected.first().copied().unwrap_or(at);
        if let Some(near) = nearest(given, expected.iter().skip(1).copied()) {
            return format!("did you mean `{near}`?");
        }
    }
    let wrong_type = message.strip_prefix("invalid type: ").and_then(|types| types.split_once(", expected "));
    let hint = match wrong_type {
        Some(("map", "a sequence")) => {
            "write this table in two brackets, since it may be repeated: `[[drop]]`"
        }
        Some((_, "a sequence")) => "write a list, such as `[\"one\", \"other\"]`",
        Some((_, "i64")) => "write a whole number, without quotes",
        Some((_, "a boolean")) => "write `true` or `false`, without quotes",
        _ => "run `profiles-sync ingest --print-config` to see every key and its default",
    };
    hint.to_owned()
}

/// Returns the candidate that `given` may be a misspelling of.
pub(crate) fn nearest<'a>(given: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |candidate: &&str| strsim::levenshtein(&given.to_lowercase(), candidate);
    candidates.min_by_key(distance).filter(|candidate| distance(candidate) <= 1 + given.len() / 4)
}
