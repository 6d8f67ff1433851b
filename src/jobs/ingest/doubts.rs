//! What in a config is allowed but looks like a slip: told when the config is new, so that it is seen once and does not nag.

use crate::{
    catalog,
    config::{
        nearest,
        rules::{Rules, Selection},
    },
    event::Call,
    glob::Globs,
    identity::types::KNOWN_TYPES,
    names::snake_case,
    raw::identity_violations,
    view::RAW_TABLES,
};

/// A sentence for each doubt.
#[must_use]
pub(crate) fn doubts(rules: &Rules) -> Vec<String> {
    let mut doubts = Vec::new();
    for name in rules.types.keys().filter(|name| !KNOWN_TYPES.contains(&name.as_str())) {
        if let Some(near) = nearest(name, KNOWN_TYPES.into_iter()) {
            doubts.push(format!("`[identity.types.{name}]` is a type of your own: did you mean `{near}`?"));
        }
    }
    let known = |name: &str| KNOWN_TYPES.contains(&name) || rules.types.contains_key(name);
    for name in rules.order.iter().filter(|name| !known(name)) {
        let all = KNOWN_TYPES.into_iter().chain(rules.types.keys().map(String::as_str));
        let near = nearest(name, all).map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
        doubts.push(format!(
            "`identity.order` ranks `{name}`, a type that comes by `context.externalIds` only{near}"
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
                format!("`[sync]` names the table `{table}`, but a table's name has letters or digits")
            } else {
                format!("`[sync]` names the table `{table}`, and none is called so: did you mean `{named}`?")
            });
            continue;
        }
        doubts.extend(near_table(table).map(|near| {
            format!("`[sync]` names the event table `{table}`: did you mean `{near}`, which is another one?")
        }));
    }
    for table in literals(exclude.as_ref()).filter(|table| RAW_TABLES.contains(table)) {
        doubts.push(format!("`[sync]` excludes `{table}`, which is written all the same: it is the truth"));
    }
    let Selection { include, exclude } = &rules.columns;
    for column in literals(include.as_ref()).chain(literals(exclude.as_ref())) {
        match column.split_once('.') {
            None => doubts.push(format!(
                "`{column}` in `[sync]` matches nothing, for columns are TABLE.COLUMN: did you mean `*.{column}`?"
            )),
            Some((table, name)) => doubts.extend(near_table(table).map(|near| {
                format!("`[sync]` names the column `{column}`: did you mean `{near}.{name}`, which is another one?")
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
            "`[sync]` leaves `id` and `event_id` out of {}, so that nobody can tell the rows apart: columns are TABLE.COLUMN, and `*.id` is one of all tables",
            no_ids.join(", ")
        ));
    }
    doubts
}

/// A warning if identifiers that were not used leave no trace.
#[must_use]
pub(crate) fn no_violations(rules: &Rules) -> Option<String> {
    let table = identity_violations::TABLE;
    (!rules.tables.has(table)).then(|| {
        format!(
            "`[sync]` leaves `{table}` out: why an identifier was not used, and why two profiles are not one, cannot be \
             answered for these events"
        )
    })
}

fn has_ids(table: &str, rules: &Rules) -> bool {
    ["id", "event_id"].into_iter().any(|column| rules.columns.has(&format!("{table}.{column}")))
}

/// Characters that are wildcards elsewhere; no table and no column has them in its name.
const NOT_IN_NAMES: [char; 6] = ['?', '[', ']', '{', '}', '\\'];

/// The patterns that match one name only, and a possible one.
fn literals(globs: Option<&Globs>) -> impl Iterator<Item = &str> {
    globs.into_iter().flat_map(Globs::names).filter(|name| !name.contains(NOT_IN_NAMES))
}

/// The table of ours that a name nearly is.
fn near_table(name: &str) -> Option<&'static str> {
    nearest(name, catalog::TABLES.iter().map(|table| table.name)).filter(|_| !catalog::is_built_in(name))
}
