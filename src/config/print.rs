//! Prints rules as a config file: every key with its value and an explanation.

use std::collections::BTreeMap;

use regex::Regex;

use super::rules::DAY;
use crate::{
    config::rules::{Compression, KNOWN_TYPES, Normalize, Rules, TypeRules, suggested_blocks},
    event::reject::MaxRejects,
};

/// Returns rules as a config with comments. Parsing it gives the same rules.
#[must_use]
pub fn print(rules: &Rules) -> String {
    let mut out = String::from(HEAD);
    let style = rules.segment_ids.word();
    push(
        &mut out,
        "\"ksuid\" (derived from the founding event) or \"sequential\" (profile_1, profile_2: for examples).",
        &format!("segment_ids = \"{style}\""),
    );
    // Omitted for uncompressed spaces, so that their config keeps the text it had before compression existed.
    if let Some(Compression::Zstd) = rules.compress {
        push(
            &mut out,
            "\"zstd\" (tables are stored as TABLE.ndjson.zst) or \"none\". A space keeps the compression of its first run.",
            "compress = \"zstd\"",
        );
    }
    push(
        &mut out,
        "Events with the same messageId that arrive at most this many days apart are one event.",
        &format!("dedupe_window_days = {}", rules.dedupe_window / DAY),
    );
    push(
        &mut out,
        "manifest.json records the space after each of the last runs, up to this many, and after each earlier month's last run.",
        &format!("keep_runs = {}", rules.keep_runs),
    );
    push(
        &mut out,
        "A batch is rejected if its items, each with what it takes from the envelope, are more bytes than this in total.",
        &format!("max_batch_bytes = {}", rules.max_batch_bytes),
    );
    push(
        &mut out,
        "At most this many event tables in the space. Events beyond the limit have a row in `tracks` only.",
        &format!("max_tables = {}", rules.max_tables),
    );
    push(
        &mut out,
        "At most this many trait names on one profile, including removed traits. New names beyond the limit are dropped.",
        &format!("max_traits = {}", rules.max_traits),
    );
    push(
        &mut out,
        "A run fails if it rejects more than this many lines, or more than this percentage of all events and rejects.\n\
         # If unset: \"5%\", and a run with at most 100 rejects never fails.",
        &match rules.max_rejects {
            Some(MaxRejects::Lines(most)) => format!("max_rejects = {most}"),
            Some(most) => format!("max_rejects = \"{most}\""),
            None => "# max_rejects = \"5%\"".to_owned(),
        },
    );
    push_identity(&mut out, rules);
    push_lists(&mut out, rules);
    out
}

fn push_identity(out: &mut String, rules: &Rules) {
    out.push_str("\n[identity]\n");
    push(
        out,
        "Types by rank, highest first. Then come user_id and email, if not listed, then all other types alphabetically.\n\
         # If an event would break a rule, its lowest-ranked identifier is demoted first.",
        &format!("order = {}", list(&rules.order)),
    );
    let suggested = suggested_blocks();
    let patterns: Vec<&str> = rules.blocked.patterns.iter().map(Regex::as_str).collect();
    let suggested_patterns: Vec<&str> = suggested.patterns.iter().map(Regex::as_str).collect();
    let has_suggested =
        rules.blocked.exact.starts_with(&suggested.exact) && patterns.starts_with(&suggested_patterns);
    push(
        out,
        "Blocks for all types: the values -1, null, anonymous, undefined, NaN and [object Object] in any case, and values that\n\
         # consist of zeros and dashes only or of white space only.",
        &format!("suggested_blocks = {has_suggested}"),
    );
    let (skip_exact, skip_patterns) =
        if has_suggested { (suggested.exact.len(), suggested_patterns.len()) } else { (0, 0) };
    push(
        out,
        "Values blocked for all types, compared case-insensitively.",
        &format!("blocked = {}", list(&rules.blocked.exact[skip_exact..])),
    );
    push(
        out,
        "Regular expressions that block values of all types. They match anywhere in the value unless anchored.",
        &format!("blocked_patterns = {}", list(&patterns[skip_patterns..])),
    );
    push(
        out,
        "At most this many profiles are merged into one.",
        &format!("max_merges = {}", rules.merge_cap),
    );
    push(
        out,
        "At most this many identifiers on one profile.",
        &format!("max_identifiers = {}", rules.mapping_cap),
    );
    out.push_str(
        "\n# For each identifier type: a profile holds at most `limit` values added in the `window` (ever, daily, weekly, monthly,\n\
         # annually) before the event; blocked values; normalize (none, lowercase, trim, both); properties = true searches\n\
         # `properties` too. Types not listed have limit 5 (user_id: 1), ever. Your own types are custom: they are found by name in\n\
         # traits, context.traits and properties, and in context.externalIds. With custom = false, only in context.externalIds.\n",
    );
    let mut types: BTreeMap<String, TypeRules> =
        KNOWN_TYPES.iter().map(|name| ((*name).to_owned(), TypeRules::default_for(name))).collect();
    types.extend(rules.types.clone());
    for (name, of_type) in &types {
        push_type(out, name, of_type);
    }
}

const HEAD: &str =
    "# The rules of a profiles-sync space. Every key is optional; the values below are in force.\n\n";

fn push(out: &mut String, comment: &str, line: &str) {
    out.push_str("# ");
    out.push_str(comment);
    out.push('\n');
    out.push_str(line);
    out.push('\n');
}

fn push_type(out: &mut String, name: &str, of_type: &TypeRules) {
    let key = if of_type.key.is_empty() { name } else { &of_type.key };
    let normalize = match of_type.normalize {
        Normalize { lowercase: false, trim: false } => "none",
        Normalize { lowercase: true, trim: false } => "lowercase",
        Normalize { lowercase: false, trim: true } => "trim",
        Normalize { lowercase: true, trim: true } => "both",
    };
    let patterns: Vec<&str> = of_type.blocked.patterns.iter().map(Regex::as_str).collect();
    put(
        out,
        &format!(
            "\n[identity.types.{}]\nlimit = {}\nwindow = \"{}\"\nblocked = {}\nblocked_patterns = {}\nnormalize = \"{normalize}\"\nproperties = {}\n",
            toml_key(key),
            of_type.limit.values,
            of_type.limit.window.name(),
            list(&of_type.blocked.exact),
            list(&patterns),
            of_type.properties,
        ),
    );
    if !KNOWN_TYPES.contains(&name) {
        put(out, &format!("custom = {}\n", of_type.custom));
    }
}

fn push_lists(out: &mut String, rules: &Rules) {
    out.push_str(
        "\n# Selective sync. Tables are event tables and views by name; columns are TABLE.COLUMN; `*` matches any characters. Whatever\n\
         # is included and not excluded is written. The raw profile tables are always written whole: the views are built from them.\n[sync]\n",
    );
    for (key, globs) in [
        ("tables", &rules.tables.include),
        ("exclude_tables", &rules.tables.exclude),
        ("columns", &rules.columns.include),
        ("exclude_columns", &rules.columns.exclude),
    ] {
        match globs {
            Some(globs) => put(out, &format!("{key} = {}\n", list(&globs.written))),
            None if key.starts_with("exclude") => put(out, &format!("{key} = []\n")),
            None => put(out, &format!("{key} = [\"*\"]\n")),
        }
    }
    out.push_str("\n# Names of sources, for triggering_event_source_name and _slug: [sources.ID] with name and slug.\n");
    for (id, source) in &rules.sources {
        put(out, &format!("[sources.{}]\n", toml_key(id)));
        for (key, value) in [("name", &source.name), ("slug", &source.slug)] {
            if let Some(value) = value {
                put(out, &format!("{key} = {}\n", toml_string(value)));
            }
        }
    }
    out.push_str(
        "\n# Events that are dropped before resolution: [[drop]] with lists for type, event (a track event's name) and source. All\n\
         # lists given must match. `*` matches any characters; nothing else is special.\n",
    );
    for rule in &rules.drop {
        out.push_str("[[drop]]\n");
        for (key, globs) in [("type", &rule.calls), ("event", &rule.events), ("source", &rule.sources)] {
            if let Some(globs) = globs {
                put(out, &format!("{key} = {}\n", list(&globs.written)));
            }
        }
    }
}

fn put(out: &mut String, text: &str) {
    out.push_str(text);
}

fn list<T: AsRef<str>>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(|value| toml_string(value.as_ref())).collect();
    format!("[{}]", values.join(", "))
}

fn toml_key(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { key.to_owned() } else { toml_string(key) }
}

/// Writes a TOML string on one line, as a key requires.
fn toml_string(text: &str) -> String {
    if !text.contains(char::is_control) {
        return toml::Value::from(text).to_string();
    }
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => put(&mut out, &format!("\\u{:04X}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}
