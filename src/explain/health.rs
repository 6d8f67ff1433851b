//! The health of all profiles: how large they are, what holds the largest together, what was refused, and which values look
//! as if they identified nobody.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    answer::{Identifier, Step},
    reasons::folded,
    rows::Row,
    whole::{Parents, Tables},
};
use crate::{
    collections::{Map, Set, key_of, key_of_parts},
    error::Result,
    raw::{external_id_mapping_updates, identity_links, identity_violations},
    table::{blocks::non_blank_lines, row::RowReader},
};

/// How many of the largest profiles are described.
const LARGEST: usize = 20;
/// How many bridges of a profile, and values of a kind, are named.
const NAMED: usize = 5;
/// A profile of fewer identifiers has no bridges worth a look.
const MIN_BRIDGED: u64 = 4;

/// What is known of all profiles.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// The last run of the space.
    pub run: u64,
    /// Profiles that have an identifier.
    pub profiles: u64,
    /// Identifiers.
    pub identifiers: u64,
    /// How many profiles have how many identifiers.
    pub sizes: Vec<SizeClass>,
    /// The largest profiles, the largest first.
    pub largest: Vec<LargeProfile>,
    /// Identifiers that were not used, by rule.
    pub violations: Vec<ViolationCount>,
    /// Values that look like placeholders.
    pub placeholders: Vec<Suspicious>,
    /// Values of different profiles that differ only in case or white space.
    pub spellings: Vec<Suspicious>,
    /// Profiles of one user id and many addresses.
    pub many_addresses: Vec<LargeProfile>,
}

/// Profiles of about a size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SizeClass {
    /// At least so many identifiers.
    pub from: u64,
    /// At most so many.
    pub to: u64,
    /// How many profiles.
    pub profiles: u64,
}

/// A profile that is large.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LargeProfile {
    /// Its segment id.
    pub segment_id: String,
    /// How many identifiers.
    pub identifiers: u64,
    /// How many of each type.
    pub types: BTreeMap<String, u64>,
    /// The identifiers without which it falls apart most, the strongest first.
    pub bridges: Vec<Bridge>,
    /// The line of config that would keep the strongest from joining, if there is one.
    pub config: Option<String>,
}

/// An identifier that holds a profile together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bridge {
    /// The identifier.
    #[serde(flatten)]
    pub identifier: Identifier,
    /// How many identifiers would no longer be part of the largest remaining piece without it.
    pub joins: u64,
}

/// How often a rule kept identifiers off.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ViolationCount {
    /// The rule.
    pub rule: String,
    /// The type of the identifier.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Of a limit: the type that would have had too many values.
    pub limit_type: Option<String>,
    /// How often.
    pub times: u64,
    /// How many different values.
    pub values: u64,
}

/// Values that probably identify nobody, or somebody twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suspicious {
    /// The identifiers.
    pub identifiers: Vec<Identifier>,
    /// The line of config that would mend it.
    pub config: String,
}

/// Values, folded, that software and people put where they know nothing.
const PLACEHOLDERS: [&str; 24] = [
    "undefined",
    "null",
    "nil",
    "none",
    "nan",
    "n/a",
    "na",
    "unknown",
    "anonymous",
    "guest",
    "test",
    "testuser",
    "user",
    "default",
    "0",
    "-1",
    "[objectobject]",
    "example@example.com",
    "test@test.com",
    "test@example.com",
    "no@email.com",
    "noemail@noemail.com",
    "none@none.com",
    "a@a.com",
];

/// What is counted of a profile.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    identifiers: u64,
    user_ids: u32,
    emails: u32,
}

/// Looks at all profiles.
pub(super) fn health(tables: &Tables<'_>, has_links: bool) -> Result<Health> {
    let parents = tables.parents()?;
    let mut sizes: Map<u128, Size> = Map::default();
    // By type and folded value: a profile that has it, and whether another one has it in another spelling.
    let mut spellings: Map<u128, (u128, bool)> = Map::default();
    let mut placeholders = BTreeSet::new();
    let mut n_identifiers = 0;
    for one in read_identifiers(tables, &parents)? {
        n_identifiers += 1;
        let size = sizes.entry(one.root).or_default();
        size.identifiers += 1;
        size.user_ids += u32::from(one.is_user_id);
        size.emails += u32::from(one.is_email);
        let known = spellings.entry(one.folded).or_insert((one.root, false));
        known.1 |= known.0 != one.root;
        placeholders.extend(one.placeholder);
    }
    let mut by_size: Vec<(u128, Size)> = sizes.iter().map(|(root, size)| (*root, *size)).collect();
    by_size.sort_by_key(|(root, size)| (u64::MAX - size.identifiers, *root));
    let largest: Vec<u128> = by_size
        .iter()
        .take(LARGEST)
        .filter(|(_, size)| MIN_BRIDGED <= size.identifiers)
        .map(|(root, _)| *root)
        .collect();
    let has_many = |size: &Size| size.user_ids == 1 && MIN_BRIDGED <= u64::from(size.emails);
    let mut many: Vec<(u128, Size)> = by_size.iter().filter(|(_, size)| has_many(size)).copied().collect();
    many.sort_by_key(|(root, size)| (u32::MAX - size.emails, *root));
    let many: Vec<u128> = many.into_iter().take(NAMED).map(|(root, _)| root).collect();
    let wanted: Set<u128> = largest.iter().chain(&many).copied().collect();
    let described = describe(tables, &parents, &wanted, has_links)?;
    let of = |roots: &[u128]| roots.iter().filter_map(|root| described.get(root).cloned()).collect();
    let twice: Set<u128> =
        spellings.iter().filter(|(_, (_, twice))| *twice).map(|(folded, _)| *folded).collect();
    let placeholders: Vec<Identifier> = placeholders.into_iter().collect();
    Ok(Health {
        run: tables.manifest.runs.len() as u64,
        profiles: sizes.len() as u64,
        identifiers: n_identifiers,
        sizes: classes(sizes.values().map(|size| size.identifiers)),
        largest: of(&largest),
        violations: count_violations(tables)?,
        placeholders: placeholders.chunk_by(|a, b| a.type_name == b.type_name).map(blocks).collect(),
        spellings: spelled_twice(tables, &twice)?,
        many_addresses: of(&many),
    })
}

/// An identifier, as far as all of them are kept.
struct Known {
    root: u128,
    folded: u128,
    is_user_id: bool,
    is_email: bool,
    placeholder: Option<Identifier>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the key that all spellings of a value share.
fn folded_key(type_name: &[u8], folded: &str) -> u128 {
    key_of_parts([type_name, b"\\0", folded.as_bytes()])
}

fn read_identifiers(tables: &Tables<'_>, parents: &Parents) -> Result<Vec<Known>> {
    tables.scan(external_id_mapping_updates::TABLE, |block| {
        let mut reader = RowReader::new(["external_id_type", "external_id_value", "segment_id"]);
        let mut out = Vec::new();
        for (at, line) in non_blank_lines(block.text) {
            let bad = |problem| (at, problem);
            let row = reader.read(line, block.clean).map_err(bad)?;
            if !row.clock.existed_at(tables.as_of) {
                continue;
            }
            let (type_name, value) = (row.required(0).map_err(bad)?, text(&row.required(1).map_err(bad)?));
            let folded = folded(&value);
            let is_placeholder = PLACEHOLDERS.contains(&folded.as_str());
            out.push(Known {
                root: parents.root(key_of(&row.required_name(2).map_err(bad)?)),
                folded: folded_key(&type_name, &folded),
                is_user_id: *type_name == *b"user_id",
                is_email: *type_name == *b"email",
                placeholder: is_placeholder.then(|| Identifier { type_name: text(&type_name), value }),
            });
        }
        Ok(out)
    })
}

/// Returns how many profiles there are of each class of sizes; classes double.
fn classes(sizes: impl Iterator<Item = u64>) -> Vec<SizeClass> {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for size in sizes {
        *counts.entry(size.max(1).ilog2()).or_default() += 1;
    }
    let class =
        |(class, profiles): (u32, u64)| SizeClass { from: 1 << class, to: (2 << class) - 1, profiles };
    counts.into_iter().map(class).collect()
}

/// Describes profiles and what holds them together.
fn describe(
    tables: &Tables<'_>,
    parents: &Parents,
    wanted: &Set<u128>,
    has_links: bool,
) -> Result<BTreeMap<u128, LargeProfile>> {
    let of_wanted = |table: &str| {
        tables.scan(table, |block| {
            let mut reader = RowReader::new(["segment_id"]);
            let mut out = Vec::new();
            for (at, line) in non_blank_lines(block.text) {
                let bad = |problem| (at, problem);
                let row = reader.read(line, block.clean).map_err(bad)?;
                let segment_id = row.text(0).map_err(bad)?;
                let root = segment_id.map(|id| parents.root(key_of(&id)));
                if let Some(root) =
                    root.filter(|root| wanted.contains(root) && row.clock.existed_at(tables.as_of))
                {
                    out.extend(Row::read(line).map(|row| (root, row)));
                }
            }
            Ok(out)
        })
    };
    let mut identifiers: BTreeMap<u128, Vec<(Identifier, String)>> = BTreeMap::new();
    for (root, row) in of_wanted(external_id_mapping_updates::TABLE)? {
        let identifier = row.identifier("external_id_type", "external_id_value");
        let segment_id = row.owned("segment_id").unwrap_or_default();
        identifiers.entry(root).or_default().extend(identifier.map(|identifier| (identifier, segment_id)));
    }
    let mut links: BTreeMap<u128, Vec<Step>> = BTreeMap::new();
    if has_links {
        for (root, row) in of_wanted(identity_links::TABLE)? {
            links.entry(root).or_default().extend(row.link());
        }
    }
    let profile = |(root, identifiers): (u128, Vec<(Identifier, String)>)| {
        let mut types: BTreeMap<String, u64> = BTreeMap::new();
        for (identifier, _) in &identifiers {
            *types.entry(identifier.type_name.clone()).or_default() += 1;
        }
        let bridges = bridges(links.get(&root).map_or(&[][..], Vec::as_slice));
        let is_shared = |bridge: &&Bridge| bridge.identifier.type_name != "user_id";
        let config = bridges
            .iter()
            .find(is_shared)
            .map(|bridge| block_line(&bridge.identifier.type_name, &[&bridge.identifier.value]));
        let is_root = |id: &&String| key_of(id.as_bytes()) == root;
        let segment_id = identifiers.iter().map(|(_, id)| id).find(is_root).cloned();
        let segment_id =
            segment_id.or_else(|| identifiers.first().map(|(_, id)| id.clone())).unwrap_or_default();
        (root, LargeProfile { segment_id, identifiers: identifiers.len() as u64, types, bridges, config })
    };
    Ok(identifiers.into_iter().map(profile).collect())
}

/// Finds the identifiers that hold a profile together.
///
/// Identifiers are let in from the least connected to the most connected, each with its links to those that are in. The ones
/// that join large pieces in the end are the bridges.
fn bridges(links: &[Step]) -> Vec<Bridge> {
    let mut numbers: BTreeMap<&Identifier, usize> = BTreeMap::new();
    let mut edges = Vec::new();
    for link in links {
        let mut number = |identifier| {
            let next = numbers.len();
            *numbers.entry(identifier).or_insert(next)
        };
        let one = link.identifier.as_ref().map(&mut number);
        let other = link.via.as_ref().map(&mut number);
        edges.extend(one.zip(other));
    }
    let mut neighbours = vec![Vec::new(); numbers.len()];
    for &(a, b) in &edges {
        neighbours[a].push(b);
        neighbours[b].push(a);
    }
    let mut order: Vec<(&Identifier, usize)> = numbers.into_iter().collect();
    order.sort_by_key(|&(identifier, number)| (neighbours[number].len(), identifier));
    let mut parents: Vec<usize> = (0..neighbours.len()).collect();
    let mut sizes = vec![1_u64; neighbours.len()];
    let mut is_in = vec![false; neighbours.len()];
    let mut bridges = Vec::new();
    for (identifier, number) in order {
        is_in[number] = true;
        let mut pieces = Vec::new();
        for &neighbour in &neighbours[number] {
            if is_in[neighbour] {
                let (root, own) = (find(&mut parents, neighbour), find(&mut parents, number));
                if root != own {
                    pieces.push(sizes[root]);
                    sizes[own] += sizes[root];
                    parents[root] = own;
                }
            }
        }
        let largest = pieces.iter().max().copied().unwrap_or_default();
        let joins = pieces.iter().sum::<u64>() - largest;
        if 1 < pieces.len() && 1 < joins {
            bridges.push(Bridge { identifier: identifier.clone(), joins });
        }
    }
    bridges.sort_by(|a, b| b.joins.cmp(&a.joins).then_with(|| a.identifier.cmp(&b.identifier)));
    bridges.truncate(NAMED);
    bridges
}

fn find(parents: &mut [usize], number: usize) -> usize {
    let mut at = number;
    while parents[at] != at {
        parents[at] = parents[parents[at]];
        at = parents[at];
    }
    at
}

fn count_violations(tables: &Tables<'_>) -> Result<Vec<ViolationCount>> {
    type Kind = (String, String, Option<String>);
    let all = tables.scan(identity_violations::TABLE, |block| {
        let mut reader = RowReader::new(["rule", "type", "limit_type", "value"]);
        let mut out: BTreeMap<Kind, (u64, BTreeSet<u128>)> = BTreeMap::new();
        for (at, line) in non_blank_lines(block.text) {
            let bad = |problem| (at, problem);
            let row = reader.read(line, block.clean).map_err(bad)?;
            if row.clock.existed_at(tables.as_of) {
                let of = |column| row.text(column).map_err(bad).map(|one| one.map(|one| text(&one)));
                let kind = (of(0)?.unwrap_or_default(), of(1)?.unwrap_or_default(), of(2)?);
                let count = out.entry(kind).or_default();
                count.0 += 1;
                count.1.insert(key_of(of(3)?.unwrap_or_default().as_bytes()));
            }
        }
        Ok(out.into_iter().collect())
    })?;
    let mut counts: BTreeMap<Kind, (u64, BTreeSet<u128>)> = BTreeMap::new();
    for (kind, (times, values)) in all {
        let count = counts.entry(kind).or_default();
        count.0 += times;
        count.1.extend(values);
    }
    let count = |((rule, type_name, limit_type), (times, values)): (Kind, (u64, BTreeSet<u128>))| {
        ViolationCount { rule, type_name, limit_type, times, values: values.len() as u64 }
    };
    let mut counts: Vec<ViolationCount> = counts.into_iter().map(count).collect();
    counts.sort_by(|a, b| b.times.cmp(&a.times).then_with(|| a.cmp(b)));
    Ok(counts)
}

/// Finds the values of several profiles that differ only in spelling, the first ones.
fn spelled_twice(tables: &Tables<'_>, twice: &Set<u128>) -> Result<Vec<Suspicious>> {
    if twice.is_empty() {
        return Ok(Vec::new());
    }
    let is_wanted =
        |type_name: &[u8], value: &[u8]| twice.contains(&folded_key(type_name, &folded(&text(value))));
    let mut groups: BTreeMap<(String, String), Vec<Identifier>> = BTreeMap::new();
    for identifier in tables.identifiers(is_wanted)? {
        let group = (identifier.type_name.clone(), folded(&identifier.value));
        groups.entry(group).or_default().push(identifier);
    }
    let suspicious = |((type_name, _), identifiers): ((String, String), Vec<Identifier>)| {
        let has_blanks = identifiers.iter().any(|one| one.value.trim() != one.value);
        let differs_in_case =
            1 < identifiers.iter().map(|one| one.value.trim()).collect::<BTreeSet<_>>().len();
        let how = match (has_blanks, differs_in_case) {
            (true, true) => "both",
            (true, false) => "trim",
            _ => "lowercase",
        };
        let config = format!("[identity.types.{}] normalize = \"{how}\"", config_name(&type_name));
        Suspicious { identifiers, config }
    };
    Ok(groups.into_iter().take(LARGEST).map(suspicious).collect())
}

fn blocks(identifiers: &[Identifier]) -> Suspicious {
    let values: Vec<&String> = identifiers.iter().map(|identifier| &identifier.value).take(NAMED).collect();
    let config = block_line(&identifiers[0].type_name, &values);
    Suspicious { identifiers: identifiers.to_vec(), config }
}

/// Returns the line of config that blocks values of a type.
#[must_use]
pub fn block_line(type_name: &str, values: &[&String]) -> String {
    let values: Vec<String> =
        values.iter().map(|value| toml::Value::String((*value).clone()).to_string()).collect();
    format!("[identity.types.{}] blocked = [{}]", config_name(type_name), values.join(", "))
}

/// Returns a type as the config names it: names with other characters are quoted.
fn config_name(type_name: &str) -> String {
    let is_bare = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    if type_name.chars().all(is_bare) && !type_name.is_empty() {
        type_name.to_owned()
    } else {
        toml::Value::String(type_name.to_owned()).to_string()
    }
}
