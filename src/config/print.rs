//! Rules as a config file: every key with its value, explained, so that it can be edited and read back.

use std::collections::BTreeMap;

use regex::Regex;

use super::DAY;
use crate::{
    config::rules::{Compression, Normalize, Rules, TypeRules, suggested_blocks},
    event::reject::MaxRejects,
    identity::types::KNOWN_TYPES,
};

/// Writes rules as a config with comments, which reads back as the same rules.
#[must_use]
pub fn print(rules: &Rules) -> String {
    let mut out = String::from(HEAD);
    let style = rules.segment_ids.word();
    push(
        &mut out,
        "\"ksuid\" (derived from the founding event) or \"sequential\" (profile_1, profile_2: for examples).",
        &format!("segment_ids = \"{style}\""),
    );
    // Tables that are not packed are as they always were, and so is their config.
    if let Some(Compression::Zstd) = rules.compress {
        push(
            &mut out,
            "\"zstd\" (tables stand as TABLE.ndjson.zst) or \"none\". A space stays with what its first run was given.",
            "compress = \"zstd\"",
        );
    }
    push(
        &mut out,
        "Events of one messageId that arrive at most so many days apart are one event.",
        &format!("dedupe_window_days = {}", rules.dedupe_window / DAY),
    );
    push(
        &mut out,
        "manifest.json records the space after each of this many runs, and after the last run of each month before them.",
        &format!("keep_runs = {}", rules.keep_runs),
    );
    push(
        &mut out,
        "A batch whose items make more bytes, each with what it takes from the envelope, is rejected.",
        &format!("max_batch_bytes = {}", rules.max_batch_bytes),
    );
    push(
        &mut out,
        "At most this many tables of event names in the space. Beyond it an event has its row in `tracks` only.",
        &format!("max_tables = {}", rules.max_tables),
    );
    push(
        &mut out,
        "At most this many trait names on one profile, removed ones too. Beyond it new names are left out.",
        &format!("max_traits = {}", rules.max_traits),
    );
    push(
        &mut out,
        "A run fails if it rejects more than this many lines, or more than this many per cent of all events and rejects.\n\
         # If it is not set: \"5%\", and never for 100 rejects or fewer.",
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
        "Ranks, highest first. Behind them come user_id and email where they are not named, then the rest by alphabet.\n\
         # When an event would break a rule, its lowest-ranked identifier is taken off first.",
        &format!("order = {}", list(&rules.order)),
    );
    let suggested = suggested_blocks();
    let patterns: Vec<&str> = rules.blocked.patterns.iter().map(Regex::as_str).collect();
    let suggested_patterns: Vec<&str> = suggested.patterns.iter().map(Regex::as_str).collect();
    let has_suggested =
        rules.blocked.exact.starts_with(&suggested.exact) && patterns.starts_with(&suggested_patterns);
    push(
        out,
        "Block, for all types, the values -1, null, anonymous, undefined, NaN and [object Object] in any case, and values of\n\
         # zeros and dashes only, or of white space only.",
        &format!("suggested_blocks = {has_suggested}"),
    );
    let (skip_exact, skip_patterns) =
        if has_suggested { (suggested.exact.len(), suggested_patterns.len()) } else { (0, 0) };
    push(
        out,
        "Values that identify nobody, for all types, compared without case.",
        &format!("blocked = {}", list(&rules.blocked.exact[skip_exact..])),
    );
    push(
        out,
        "The same as regular expressions, searched anywhere in the value unless anchored.",
        &format!("blocked_patterns = {}", list(&patterns[skip_patterns..])),
    );
    push(out, "At most so many profiles are merged into one.", &format!("max_merges = {}", rules.merge_cap));
    push(
        out,
        "At most so many identifiers stand on one profile.",
        &format!("max_identifiers = {}", rules.mapping_cap),
    );
    out.push_str(
        "\n# Per identifier type: at most `limit` values on one profile, added within `window` before the event (ever, daily,\n\
         # weekly, monthly, annually); blocked values; normalize = none, lowercase, trim or both; properties = true looks for it\n\
         # in `properties` too. A type not listed has limit 5, ever. A type of your own is custom: it is found by its name in\n\
         # traits, context.traits and properties, and in context.externalIds; custom = false leaves only the last.\n",
    );
    let mut types: BTreeMap<String, TypeRules> =
        KNOWN_TYPES.iter().map(|name| ((*name).to_owned(), TypeRules::default_for(name))).collect();
    types.extend(rules.types.clone());
    for (name, of_type) in &types {
        push_type(out, name, of_type);
    }
}

const HEAD: &str =
    "# The rules of a profiles-sync space. Every key is optional; what stands here is in force.\n\n";

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
            quoted(key),
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
        "\n# Selective sync. Tables are event tables and views by name, columns are TABLE.COLUMN; `*` matches any characters. What is\n\
         # included and not excluded is written. The three raw profile tables are always written: they are the truth.\n[sync]\n",
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
        put(out, &format!("[sources.{}]\n", quoted(id)));
        for (key, value) in [("name", &source.name), ("slug", &source.slug)] {
            if let Some(value) = value {
                put(out, &format!("{key} = {}\n", written(value)));
            }
        }
    }
    out.push_str(
        "\n# Events that never reach resolution: [[drop]] with lists for type, event (a track event's name) and source; all that are\n\
         # given must match. `*` matches any characters, nothing else is special.\n",
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
    let values: Vec<String> = values.iter().map(|value| written(value.as_ref())).collect();
    format!("[{}]", values.join(", "))
}

fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { key.to_owned() } else { written(key) }
}

/// A text on one line, which a key has to be.
fn written(text: &str) -> String {
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
