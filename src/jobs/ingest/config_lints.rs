//! Config lints: settings that are valid but look like a mistake. They are reported once, when the config has changed.

use crate::{
    catalog,
    config::{
        nearest,
        rules::{KNOWN_TYPES, Rules, Selection},
    },
    event::Call,
    glob::Globs,
    names::snake_case,
    raw::identity_violations,
    view::RAW_TABLES,
};

/// Returns a sentence for each lint.
#[must_use]
pub(crate) fn config_lints(rules: &Rules) -> Vec<String> {
    let mut doubts = Vec::new();
    for name in rules.types.keys().filter(|name| !KNOWN_TYPES.contains(&name.as_str())) {
        if let Some(near) = nearest(name, KNOWN_TYPES.into_iter()) {
            doubts.push(format!("`[identity.types.{name}]` is a custom type: did you mean `{near}`?"));
        }
    }
    let known = |name: &str| KNOWN_TYPES.contains(&name) || rules.types.contains_key(name);
    for name in rules.order.iter().filter(|name| !known(name)) {
        let all = KNOWN_TYPES.into_iter().chain(rules.types.keys().map(String::as_str));
        let near = nearest(name, all).map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
        doubts.push(format!(
            "`identity.order` ranks `{name}`, a type that only occurs in `context.externalIds`{near}"
        ));
    }
    for selection in [&rules.tables, &rules.columns] {
        let patterns = [&selection.include, &selection.exclude].into_iter().flatten();
        let odd = patterns.flat_map(|globs| &globs.written).filter(|pattern| pattern.contains(NOT_IN_NAMES));
        doubts.extend(odd.map(|pattern| {
            format!("`{pattern}` in `[sync]` matches nothing: only `*` is a wildcard, so list each name")
        }));
    }
    let Selection { include, exclude } = &rules.tables;
    for table in literals(include.as_ref()).chain(literals(exclude.as_ref())) {
        let named = snake_case(table.as_bytes());
        if named != table.as_bytes() && !table.starts_with('_') {
            let named = String::from_utf8_lossy(&named);
            doubts.push(if named.is_empty() {
                format!("`[sync]` lists the table `{table}`, but the name of a table has letters or digits")
            } else {
                format!("`[sync]` lists the table `{table}`, which cannot exist: did you mean `{named}`?")
            });
            continue;
        }
        doubts.extend(near_table(table).map(|near| {
            format!("`[sync]` lists the event table `{table}`: did you mean the built-in table `{near}`?")
        }));
    }
    for table in literals(exclude.as_ref()).filter(|table| RAW_TABLES.contains(table)) {
        doubts.push(format!("`[sync]` excludes `{table}`, but raw tables are always written"));
    }
    let Selection { include, exclude } = &rules.columns;
    for column in literals(include.as_ref()).chain(literals(exclude.as_ref())) {
        match column.split_once('.') {
            None => doubts.push(format!(
                "`{column}` in `[sync]` matches nothing, because columns are TABLE.COLUMN: did you mean `*.{column}`?"
            )),
            Some((table, name)) => doubts.extend(near_table(table).map(|near| {
                format!("`[sync]` lists the column `{column}`: did you mean `{near}.{name}`?")
            })),
        }
    }
    let no_ids: Vec<_> = Call::ALL
        .into_iter()
        .map(Call::table)
        .filter(|table| rules.tables.has(table) && !has_ids(table, rules))
        .map(|table| format!("`{table}`"))
        .collect();
    if !no_ids.is_empty() {
        doubts.push(format!(
            "`[sync]` excludes `id` and `event_id` of {}, so their rows cannot be identified: columns are TABLE.COLUMN, and `*.id` means all tables",
            no_ids.join(", ")
        ));
    }
    doubts
}

/// Returns a warning if the violations table is excluded, so that unused identifiers leave no trace.
#[must_use]
pub(crate) fn no_violations(rules: &Rules) -> Option<String> {
    let table = identity_violations::TABLE;
    (!rules.tables.has(table)).then(|| {
        format!(
            "`[sync]` excludes `{table}`: nothing will record why an identifier was not used or why two profiles were \
             not merged"
        )
    })
}

fn has_ids(table: &str, rules: &Rules) -> bool {
    ["id", "event_id"].into_iter().any(|column| rules.columns.has(&format!("{table}.{column}")))
}

/// Characters that are wildcards elsewhere. No table or column has them in its name.
const NOT_IN_NAMES: [char; 6] = ['?', '[', ']', '{', '}', '\\'];

/// Returns the patterns that can match a single name only.
fn literals(globs: Option<&Globs>) -> impl Iterator<Item = &str> {
    globs.into_iter().flat_map(Globs::names).filter(|name| !name.contains(NOT_IN_NAMES))
}

/// Returns the built-in table with a similar name, if the name is not built in itself.
fn near_table(name: &str) -> Option<&'static str> {
    nearest(name, catalog::TABLES.iter().map(|table| table.name)).filter(|_| !catalog::is_built_in(name))
}
