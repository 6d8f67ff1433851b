//! The answers as text for a terminal of 80 columns, which reads like a story that can be forwarded.

use std::{collections::BTreeMap, fmt::Write};

use profiles_sync::{
    escape::escaped,
    explain::{
        Answer,
        answer::{Identifier, PairAnswer, ProfileAnswer, Reason, UnknownAnswer, Violation},
        health::{Health, Suspicious, block_line},
        path::along,
    },
};

use super::words;

/// Rows of a section. The other formats have all.
const MOST: usize = 40;
/// Events of a reason, and values.
const FEW: usize = 5;
/// Columns of a terminal.
const WIDTH: usize = 80;
/// Columns of a bar.
const BAR: u64 = 40;

/// Writes an answer.
pub(crate) fn text(answer: &Answer) -> String {
    match answer {
        Answer::Profile(profile) => of_profile(profile),
        Answer::Pair(pair) => of_pair(pair),
        Answer::Health(health) => of_health(health),
        Answer::Unknown(unknown) => of_unknown(unknown),
    }
}

/// Appends lines; those of more than 80 columns go on in the next line, indented, as far as they have blanks.
fn line(out: &mut String, text: &str) {
    for text in text.split('\n') {
        let mut rest = text.trim_end();
        let indent = rest.len() - rest.trim_start().len();
        let mut begin = String::new();
        while WIDTH < begin.len() + rest.chars().count() {
            let fits = rest.char_indices().nth(WIDTH - begin.len()).map_or(rest.len(), |(at, _)| at);
            let first = rest.len() - rest.trim_start().len();
            let at = if rest[fits..].starts_with(' ') { Some(fits) } else { rest[..fits].rfind(' ') };
            let Some(at) = at.filter(|at| first < *at) else { break };
            out.push_str(&begin);
            out.push_str(rest[..at].trim_end());
            out.push('\n');
            rest = rest[at..].trim_start();
            begin = " ".repeat(indent + 2);
        }
        out.push_str(&begin);
        out.push_str(rest);
        out.push('\n');
    }
}

fn plural(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// Writes the first rows of a section, and how many more there are.
fn section<T>(out: &mut String, title: &str, rows: &[T], mut write: impl FnMut(&T) -> String) {
    if rows.is_empty() {
        return;
    }
    line(out, &format!("\n{title}"));
    for row in rows.iter().take(MOST) {
        line(out, &format!("  {}", write(row)));
    }
    if MOST < rows.len() {
        line(out, &format!("  and {} more; --format json has all", rows.len() - MOST));
    }
}

fn notices(out: &mut String, notices: &[String]) {
    if !notices.is_empty() {
        out.push('\n');
    }
    for notice in notices {
        line(out, &format!("Note: {}.", escaped(notice)));
    }
}

fn of_profile(profile: &ProfileAnswer) -> String {
    let mut out = String::new();
    let counts = profile.counts;
    line(&mut out, &format!("Profile {}", escaped(&profile.segment_id)));
    line(
        &mut out,
        &format!(
            "{}, {}, {}",
            plural(counts.identifiers, "identifier"),
            plural(counts.segment_ids, "segment id"),
            plural(counts.traits, "trait")
        ),
    );
    let width = width(profile.identifiers.iter().map(|one| one.identifier.type_name.as_str()));
    section(&mut out, "Identifiers, in the order in which they came", &profile.identifiers, |one| {
        let Identifier { type_name, value } = &one.identifier;
        format!(
            "{:width$}  {}  {}",
            escaped(type_name),
            escaped(value),
            words::time(one.timestamp.as_deref())
        )
    });
    if 1 < profile.segment_ids.len() {
        section(&mut out, "Segment ids, oldest first", &profile.segment_ids, |id| escaped(id).into_owned());
    }
    section(&mut out, "Traits", &profile.traits, |one| {
        format!("{}  {}", escaped(&one.name), escaped(one.value.get()))
    });
    let mut last = None;
    section(&mut out, "History", &profile.history, |one| {
        let event = format!("{}\n  ", words::event(&one.step.event));
        let is_same = last.replace(one.step.uuid_ts) == Some(one.step.uuid_ts);
        format!("{}    {}", if is_same { "" } else { &event }, words::history(one))
    });
    violations(&mut out, &profile.violations);
    notices(&mut out, &profile.notices);
    out
}

fn width<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(|name| escaped(name).chars().count()).max().unwrap_or_default()
}

/// Writes violations, those of one identifier and rule together.
fn violations(out: &mut String, violations: &[Violation]) {
    let mut groups: BTreeMap<(&Identifier, &str, Option<&str>), Vec<&Violation>> = BTreeMap::new();
    for one in violations {
        groups.entry((&one.identifier, &one.rule, one.limit_type.as_deref())).or_default().push(one);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, group)| usize::MAX - group.len());
    section(out, "Not used", &groups, |((identifier, rule, limit_type), group)| {
        let why = match (*rule, limit_type) {
            ("limit", Some(limit_type)) => {
                let limit = group[0].limit.map(|limit| limit.to_string()).unwrap_or_default();
                format!("a profile may have {limit} {}", escaped(limit_type))
            }
            ("blocked", _) => "the value is blocked".to_owned(),
            (rule, _) => escaped(rule).into_owned(),
        };
        let last = words::time(group.last().and_then(|one| one.timestamp.as_deref()));
        let times = plural(group.len() as u64, "event");
        format!("{}  on {times}, last {last}\n      {why}", words::identifier(identifier))
    });
}

fn of_pair(pair: &PairAnswer) -> String {
    let mut out = String::new();
    match (&pair.path, &pair.profiles) {
        (Some(path), [Some(profile), _]) => {
            let since = path.iter().max_by_key(|step| step.uuid_ts);
            let since = since.map(|step| format!(" since {}", words::time(step.event.timestamp.as_deref())));
            line(
                &mut out,
                &format!("One profile{}: {}", since.unwrap_or_default(), escaped(&profile.segment_id)),
            );
            line(
                &mut out,
                &format!(
                    "{}, {}\n",
                    plural(profile.n_segment_ids, "segment id"),
                    plural(profile.identifiers.len() as u64, "identifier")
                ),
            );
            of_path(&mut out, pair, path);
        }
        _ => of_two(&mut out, pair),
    }
    notices(&mut out, &pair.notices);
    out
}

fn of_path(out: &mut String, pair: &PairAnswer, path: &[profiles_sync::explain::answer::Step]) {
    if path.iter().any(|step| step.via.is_none()) {
        // Without links nothing leads from one to the other.
        for step in path {
            let identifier = step.identifier.as_ref().map(words::identifier).unwrap_or_default();
            line(out, &format!("  {}", words::event(&step.event)));
            line(out, &format!("      {}", format!("{identifier} {}", words::link(step)).trim_start()));
        }
        return;
    }
    let nodes = along(path, &pair.first);
    let width = width(nodes.iter().map(|node| node.type_name.as_str()));
    let node = |identifier: &Identifier| {
        format!("  {:width$}  {}", escaped(&identifier.type_name), escaped(&identifier.value))
    };
    line(out, &node(nodes[0]));
    for (step, next) in path.iter().zip(&nodes[1..]) {
        line(out, &format!("      | {}", words::event(&step.event)));
        line(out, &format!("      | {}", words::link(step)));
        line(out, &node(next));
    }
    if path.is_empty() {
        line(out, "\nThis is one identifier.");
    }
    if let Some((hub, n_others)) = &pair.hub {
        out.push('\n');
        let others = match n_others {
            0 => String::new(),
            n => format!(", which was also on events with {}", plural(*n, "other identifier")),
        };
        line(out, &format!("They are one through {}{others}.", words::identifier(hub)));
        if hub.type_name != "user_id" {
            line(out, "If several people share it, block it in the config:");
            line(out, &format!("    {}", escaped(&block_line(&hub.type_name, &[&hub.value]))));
        }
    }
}

fn of_two(out: &mut String, pair: &PairAnswer) {
    line(out, "Not one profile:\n");
    let width = width([pair.first.type_name.as_str(), pair.second.type_name.as_str()].into_iter());
    for (identifier, profile) in [&pair.first, &pair.second].into_iter().zip(&pair.profiles) {
        line(out, &format!("  {:width$}  {}", escaped(&identifier.type_name), escaped(&identifier.value)));
        let of = profile.as_ref().map_or_else(
            || "belongs to nobody".to_owned(),
            |profile| {
                let n = plural(profile.identifiers.len() as u64, "identifier");
                format!("{} ({n})", escaped(&profile.segment_id))
            },
        );
        line(out, &format!("      {of}"));
    }
    for (number, reason) in (1..).zip(pair.reasons.iter().flatten()) {
        of_reason(out, &format!("{number}. "), reason);
    }
    if !pair.also.is_empty() {
        line(out, "\nAlso, for other identifiers of the two profiles:");
        for reason in pair.also.iter().take(FEW) {
            of_reason(out, "- ", reason);
        }
        if FEW < pair.also.len() {
            line(out, &format!("\n  and {} more; --format json has all", pair.also.len() - FEW));
        }
    }
}

fn of_reason(out: &mut String, mark: &str, reason: &Reason) {
    line(out, &format!("\n{mark}{}.", words::reason(reason.reason)));
    if let Some(rule) = words::rule(reason) {
        line(out, &format!("   {}:", capital(&rule)));
    }
    for value in reason.values.iter().take(FEW) {
        line(out, &format!("     {}", words::identifier(value)));
    }
    if FEW < reason.values.len() {
        line(out, &format!("     and {} more", reason.values.len() - FEW));
    }
    for event in reason.events.iter().take(FEW) {
        line(out, &format!("   on {}", words::event(event)));
    }
    if FEW < reason.events.len() {
        line(out, &format!("   and {} more events", reason.events.len() - FEW));
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn of_unknown(answer: &UnknownAnswer) -> String {
    let mut out = String::new();
    for unknown in &answer.unknown {
        line(&mut out, &format!("Nobody has `{}`.", escaped(&unknown.argument)));
        violations(&mut out, &unknown.violations);
        section(&mut out, "Nearest", &unknown.nearest, |one| {
            escaped(&format!("{}:{}", one.type_name, one.value)).into_owned()
        });
    }
    out
}

fn of_health(health: &Health) -> String {
    let mut out = String::new();
    line(
        &mut out,
        &format!(
            "{} with {} after run {}",
            plural(health.profiles, "profile"),
            plural(health.identifiers, "identifier"),
            health.run
        ),
    );
    let most = health.sizes.iter().map(|class| class.profiles).max().unwrap_or(1).max(1);
    section(&mut out, "Profiles by number of identifiers", &health.sizes, |class| {
        let range = if class.from == class.to {
            class.from.to_string()
        } else {
            format!("{} to {}", class.from, class.to)
        };
        let bar = "#".repeat(usize::try_from((class.profiles * BAR).div_ceil(most)).unwrap_or_default());
        format!("{range:>14}  {bar} {}", class.profiles)
    });
    section(&mut out, "The largest profiles", &health.largest, |one| {
        let types: Vec<String> = one.types.iter().map(|(name, n)| format!("{n} {}", escaped(name))).collect();
        let mut text =
            format!("{}  {}\n      {}", escaped(&one.segment_id), one.identifiers, types.join(", "));
        for bridge in &one.bridges {
            let _ = write!(
                text,
                "\n      held together by {} ({})",
                words::identifier(&bridge.identifier),
                bridge.joins
            );
        }
        if let Some(config) = &one.config {
            let _ = write!(text, "\n      if it is shared: {}", escaped(config));
        }
        text
    });
    section(&mut out, "Identifiers that were not used", &health.violations, |one| {
        let limit =
            one.limit_type.as_deref().map(|name| format!(" of {}", escaped(name))).unwrap_or_default();
        let rule = format!("{}{limit}", escaped(&one.rule));
        format!(
            "{} {}: {}, {}",
            escaped(&one.type_name),
            rule,
            plural(one.times, "time"),
            plural(one.values, "value")
        )
    });
    suspicious(&mut out, "Values that look like placeholders", &health.placeholders);
    suspicious(&mut out, "Values that differ only in case or white space", &health.spellings);
    section(&mut out, "One user id and many addresses", &health.many_addresses, |one| {
        format!("{}  {} email", escaped(&one.segment_id), one.types.get("email").copied().unwrap_or_default())
    });
    out
}

fn suspicious(out: &mut String, title: &str, all: &[Suspicious]) {
    section(out, title, all, |one| {
        format!("{}\n      {}", words::identifiers(&one.identifiers, FEW), escaped(&one.config))
    });
}
