//! Extracts the identifiers of an event from every field that the rules name.

use std::{borrow::Cow, sync::Arc};

use regex::Regex;

use super::types::{
    ANDROID_ID, ANDROID_IDFA, ANDROID_PUSH_TOKEN, ANONYMOUS_ID, BRAZE_ID, CROSS_DOMAIN_ID, EMAIL,
    GA_CLIENT_ID, IdentifierTypes, USER_ID,
};
use crate::{
    collections::{KeyCache, Map, key_of},
    config::rules::{BLANKS_PATTERN, Blocked, KNOWN_TYPES, Normalize, Rules, TypeRules, ZEROS_PATTERN},
    event::{
        Call,
        block::{ByteSpan, EventBlock, EventIdentifier, TypeId},
        parse::ParsedEvent,
    },
    json::{Document, JsonKind},
    names::{camel_case, snake_case},
};

/// The compiled rules of one type. All types without an entry in the config share one.
#[derive(Debug, Clone)]
struct CompiledRules {
    blocked: BlockedEntries,
    normalize: Normalize,
}

/// Blocked values, of which there may be thousands.
#[derive(Debug, Clone)]
struct BlockedEntries {
    /// Exact values in lower case, with the index of their entry.
    exact: Map<String, u32>,
    /// A bit mask of their lengths, which rules most values out without a lookup.
    lengths: u64,
    patterns: Vec<BlockPattern>,
    /// The index of the first pattern's entry.
    first_pattern: u32,
}

impl BlockedEntries {
    fn of(blocked: &Blocked, first: u32) -> Self {
        let mut exact = Map::default();
        let mut lengths = 0;
        for (number, value) in (first..).zip(&blocked.exact) {
            let value = value.to_lowercase();
            lengths |= length_bit(&value);
            exact.entry(value).or_insert(number);
        }
        let first_pattern = first + to_u32(blocked.exact.len());
        let patterns = blocked.patterns.iter().map(BlockPattern::of).collect();
        Self { exact, lengths, patterns, first_pattern }
    }

    /// Returns the index of the entry that blocks a value, as in [`block_entries`].
    fn find(&self, value: &str) -> Option<u32> {
        // Non-ASCII letters may change their length in lower case, so the mask does not apply.
        let may_be = self.lengths & length_bit(value) != 0 || !value.is_ascii();
        let exact = may_be.then(|| self.exact.get(&value.to_lowercase())).flatten().copied();
        exact.or_else(|| {
            let place = self.patterns.iter().position(|pattern| pattern.is_match(value))?;
            Some(self.first_pattern + to_u32(place))
        })
    }
}

/// A pattern that blocks values.
#[derive(Debug, Clone)]
struct BlockPattern {
    regex: Regex,
    /// Tests the first character of a value before the regular expression, which is by far the most expensive step
    /// here.
    begins: fn(char) -> bool,
}

impl BlockPattern {
    fn of(regex: &Regex) -> Self {
        let begins: fn(char) -> bool = match regex.as_str() {
            ZEROS_PATTERN => |first| matches!(first, '0' | '-'),
            BLANKS_PATTERN => char::is_whitespace,
            _ => |_| true,
        };
        Self { regex: regex.clone(), begins }
    }

    fn is_match(&self, value: &str) -> bool {
        value.chars().next().is_none_or(self.begins) && self.regex.is_match(value)
    }
}

fn length_bit(value: &str) -> u64 {
    1 << value.len().min(63)
}

/// A type that is searched for by its name.
#[derive(Debug, Clone)]
struct NamedType {
    type_id: TypeId,
    spellings: Vec<Vec<u8>>,
    /// Whether only `properties` is searched: a known type for which the config adds `properties`.
    only_properties: bool,
}

/// Extracts identifiers. Each parsing thread has its own.
#[derive(Debug, Clone)]
pub struct IdentifierExtractor {
    types: Arc<IdentifierTypes>,
    ids: Map<Vec<u8>, TypeId>,
    /// By type: its name and the index of its rules in `compiled`.
    known: Vec<Option<(Arc<str>, u32)>>,
    /// The first entry is for types without an entry in the config.
    compiled: Vec<CompiledRules>,
    named: Vec<NamedType>,
    rules: Arc<Rules>,
    blocked: Arc<BlockedEntries>,
    first_entries: Arc<Map<String, u32>>,
    scratch: Vec<u8>,
    keys: KeyCache,
}

/// The members of a `context` that may hold identifiers. The last of several equal keys counts.
#[derive(Debug, Clone, Copy, Default)]
struct ContextFields {
    traits: Option<u32>,
    device: Option<u32>,
    integrations: Option<u32>,
    braze: Option<u32>,
    external_ids: Option<u32>,
}

impl ContextFields {
    fn read(doc: Document<'_>, context: u32) -> Self {
        let mut places = Self::default();
        for (key, value) in doc.members(context) {
            let key = match doc.kind(key) {
                JsonKind::Plain => Cow::Borrowed(doc.raw(key)),
                _ => doc.string(key).unwrap_or_default(),
            };
            let (place, kind) = match key.as_ref() {
                b"traits" => (&mut places.traits, JsonKind::Object),
                b"device" => (&mut places.device, JsonKind::Object),
                b"integrations" => (&mut places.integrations, JsonKind::Object),
                b"Braze" => (&mut places.braze, JsonKind::Object),
                b"externalIds" => (&mut places.external_ids, JsonKind::Array),
                _ => continue,
            };
            *place = (doc.kind(value) == kind).then_some(value);
        }
        places
    }
}

/// Returns all entries that block values, by index: those for all types, then those of each type.
#[must_use]
pub fn block_entries(rules: &Rules) -> Vec<String> {
    let entries = |blocked: &Blocked| -> Vec<String> {
        blocked.exact.iter().cloned().chain(blocked.patterns.iter().map(|p| p.as_str().to_owned())).collect()
    };
    std::iter::once(&rules.blocked)
        .chain(rules.types.values().map(|t| &t.blocked))
        .flat_map(entries)
        .collect()
}

impl IdentifierExtractor {
    /// Compiles the rules.
    #[must_use]
    pub fn new(rules: &Arc<Rules>, types: &Arc<IdentifierTypes>) -> Self {
        let mut named = Vec::new();
        let mut first_entries = Map::default();
        let mut entry = n_entries(&rules.blocked);
        for (name, of_type) in &rules.types {
            first_entries.insert(name.clone(), entry);
            entry += n_entries(&of_type.blocked);
            let known = KNOWN_TYPES.contains(&name.as_str());
            if of_type.custom && !known || of_type.properties {
                named.push(NamedType {
                    type_id: types.intern(name),
                    spellings: spellings(&of_type.key),
                    only_properties: known || !of_type.custom,
                });
            }
        }
        Self {
            types: Arc::clone(types),
            ids: Map::default(),
            known: Vec::new(),
            compiled: vec![compile(&TypeRules::default_for(""), 0)],
            named,
            rules: Arc::clone(rules),
            blocked: Arc::new(BlockedEntries::of(&rules.blocked, 0)),
            first_entries: Arc::new(first_entries),
            scratch: Vec::new(),
            keys: KeyCache::default(),
        }
    }

    /// Appends the identifiers of an event to its block, and returns their range. Blocked ones are marked.
    pub fn extract(&mut self, parsed: &ParsedEvent<'_>, block: &mut EventBlock) -> (u32, u32) {
        let first = block.identifiers.len();
        let doc = parsed.doc;
        let fields = &parsed.fields;
        self.take(doc, fields.user_id, USER_ID, block);
        self.take(doc, fields.anonymous_id, ANONYMOUS_ID, block);
        let traits = fields.traits.filter(|_| parsed.call != Call::Group);
        let email =
            fields.traits.filter(|_| parsed.call == Call::Identify).and_then(|t| doc.get(t, b"email"));
        let mut has_email = self.take(doc, email, EMAIL, block);
        let places = fields.context.map(|context| ContextFields::read(doc, context)).unwrap_or_default();
        self.take_context(doc, &places, block);
        let context_traits = places.traits;
        if let Some(object) = context_traits {
            if !has_email {
                has_email = self.take(doc, doc.get(object, b"email"), EMAIL, block);
            }
            self.take(doc, doc.get(object, b"crossDomainId"), CROSS_DOMAIN_ID, block);
            self.take(doc, doc.get(object, b"cross_domain_id"), CROSS_DOMAIN_ID, block);
        }
        for at in 0..self.named.len() {
            let type_id = self.named[at].type_id;
            if type_id == EMAIL && has_email {
                continue;
            }
            let places: &[Option<u32>] = if self.named[at].only_properties {
                &[fields.properties]
            } else {
                &[traits, context_traits, fields.properties]
            };
            'places: for place in places.iter().flatten() {
                for spelling in 0..self.named[at].spellings.len() {
                    let value = doc.get(*place, &self.named[at].spellings[spelling]);
                    let taken = self.take(doc, value, type_id, block);
                    if taken && type_id == EMAIL {
                        break 'places;
                    }
                }
            }
        }
        (
            crate::event::block::to_u32_offset(first),
            crate::event::block::to_u32_offset(block.identifiers.len()),
        )
    }

    /// Appends the identifiers in `context`, except those in its traits.
    fn take_context(&mut self, doc: Document<'_>, places: &ContextFields, block: &mut EventBlock) {
        let object = |value: Option<u32>| value.filter(|&v| doc.kind(v) == JsonKind::Object);
        if let Some(device) = places.device
            && let Some(system) = doc.get(device, b"type").and_then(|v| doc.string(v))
        {
            // The id of each iOS type is one more than that of the Android type.
            let offset = match system.to_ascii_lowercase().as_slice() {
                b"android" => Some(0),
                b"ios" => Some(1),
                _ => None,
            };
            if let Some(offset) = offset {
                self.take(doc, doc.get(device, b"id"), ANDROID_ID + offset, block);
                let tracking =
                    doc.get(device, b"adTrackingEnabled").is_some_and(|v| doc.kind(v) == JsonKind::True);
                if tracking {
                    self.take(doc, doc.get(device, b"advertisingId"), ANDROID_IDFA + offset, block);
                }
                self.take(doc, doc.get(device, b"token"), ANDROID_PUSH_TOKEN + offset, block);
            }
        }
        if let Some(integrations) = places.integrations
            && let Some(analytics) = object(doc.get(integrations, b"Google Analytics"))
        {
            self.take(doc, doc.get(analytics, b"clientId"), GA_CLIENT_ID, block);
        }
        if let Some(braze) = places.braze {
            self.take(doc, doc.get(braze, b"braze_id"), BRAZE_ID, block);
        }
        if let Some(list) = places.external_ids {
            for entry in doc.items(list) {
                self.take_external(doc, entry, block);
            }
        }
    }

    fn take_external(&mut self, doc: Document<'_>, entry: u32, block: &mut EventBlock) {
        let of_users = match doc.get(entry, b"collection") {
            None => true,
            Some(value) => {
                doc.kind(value) == JsonKind::Null
                    || doc.string(value).is_some_and(|c| c.is_empty() || *c == *b"users")
            }
        };
        let Some(name) = doc.get(entry, b"type").and_then(|v| doc.scalar_text(v)).filter(|n| !n.is_empty())
        else {
            return;
        };
        // An account's id never identifies a person.
        if of_users && !name.eq_ignore_ascii_case(b"group_id") {
            let type_id = self.type_id(&name);
            self.take(doc, doc.get(entry, b"id"), type_id, block);
        }
    }

    /// Returns the id of a type by its name as sent.
    fn type_id(&mut self, name: &[u8]) -> TypeId {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        let lower = String::from_utf8_lossy(name).to_lowercase();
        let id = self.types.intern(&lower);
        // Type names that never repeat must not fill the memory of each thread.
        if MAX_IDS <= self.ids.len() {
            self.ids.clear();
        }
        self.ids.insert(name.to_owned(), id);
        id
    }

    /// Appends an identifier if the value is usable. Returns whether it was.
    fn take(
        &mut self,
        doc: Document<'_>,
        value: Option<u32>,
        type_id: TypeId,
        block: &mut EventBlock,
    ) -> bool {
        let Some(text) = value.and_then(|value| doc.scalar_text(value)) else { return false };
        if text.is_empty() {
            return false;
        }
        let at = type_id as usize;
        if self.known.get(at).is_none_or(Option::is_none) {
            self.learn(type_id);
        }
        let Some((name, of_type)) = &self.known[at] else { return false };
        let compiled = &self.compiled[*of_type as usize];
        let text = normalize(text, compiled.normalize);
        if text.is_empty() {
            return false;
        }
        let key = self.keys.key_of(identifier_bytes(&mut self.scratch, name, &text));
        let start = block.arena.len();
        block.arena.extend_from_slice(&text);
        let blocked_by = std::str::from_utf8(&text)
            .ok()
            .and_then(|value| self.blocked.find(value).or_else(|| compiled.blocked.find(value)));
        block.identifiers.push(EventIdentifier {
            key,
            type_id,
            blocked_by: blocked_by.map_or(0, |entry| entry + 1),
            value: ByteSpan::since(&block.arena, start),
        });
        true
    }

    fn learn(&mut self, type_id: TypeId) {
        let at = type_id as usize;
        if self.known.len() <= at {
            self.known.resize(at + 1, None);
        }
        let name = self.types.name(type_id);
        let mut own = 0;
        if let Some(of_type) = self.rules.types.get(&*name) {
            let first_entry = self.first_entries.get(&*name).copied().unwrap_or_default();
            own = to_u32(self.compiled.len());
            self.compiled.push(compile(of_type, first_entry));
        }
        self.known[at] = Some((name, own));
    }
}

/// The maximum number of cached type names.
const MAX_IDS: usize = 1 << 14;

fn compile(of_type: &TypeRules, first_entry: u32) -> CompiledRules {
    CompiledRules { blocked: BlockedEntries::of(&of_type.blocked, first_entry), normalize: of_type.normalize }
}

/// Returns the key of an identifier. Each pair of type and value has its own.
pub fn identifier_key(scratch: &mut Vec<u8>, type_name: &str, value: &[u8]) -> u128 {
    key_of(identifier_bytes(scratch, type_name, value))
}

/// Returns the bytes that encode an identifier. Each pair of type and value has its own.
pub fn identifier_bytes<'a>(scratch: &'a mut Vec<u8>, type_name: &str, value: &[u8]) -> &'a [u8] {
    scratch.clear();
    // With this encoding, most identifiers fit into the 64 bytes of one hash block.
    scratch.extend_from_slice(&to_u32(type_name.len()).to_le_bytes());
    scratch.extend_from_slice(type_name.as_bytes());
    scratch.extend_from_slice(value);
    scratch
}

fn n_entries(blocked: &Blocked) -> u32 {
    to_u32(blocked.exact.len() + blocked.patterns.len())
}

fn to_u32(entries: usize) -> u32 {
    u32::try_from(entries).expect("a config or a line has fewer than 2^32 entries")
}

/// Returns a value as normalized by the rules of its type.
#[must_use]
pub fn normalize(text: Cow<'_, [u8]>, normalize: Normalize) -> Cow<'_, [u8]> {
    if !normalize.lowercase && !normalize.trim {
        return text;
    }
    let whole = String::from_utf8_lossy(&text);
    let trimmed = if normalize.trim { whole.trim() } else { &whole };
    let out = if normalize.lowercase { trimmed.to_lowercase() } else { trimmed.to_owned() };
    Cow::Owned(out.into_bytes())
}

/// Returns the keys under which a type is searched for: as written, in `snake_case` and in camelCase.
fn spellings(name: &str) -> Vec<Vec<u8>> {
    let mut spellings = vec![name.as_bytes().to_owned()];
    for spelling in [snake_case(name.as_bytes()), camel_case(name.as_bytes())] {
        if !spelling.is_empty() && !spellings.contains(&spelling) {
            spellings.push(spelling);
        }
    }
    spellings
}
