//! Parses a line of JSON into a flat list of tokens that point into the line.
//!
//! Reading the dump is a quarter of all work, and later steps need the bytes of every value. This parser walks a line
//! once and checks it as strictly as `serde_json`; tests compare the two. Fields are found and columns rendered from
//! the tokens, without a second walk and without building a tree.

pub mod marks;
pub mod values;

use std::borrow::Cow;

use crate::{
    bytes::{equal, push_short},
    json::marks::{Marks, plain_run},
};

/// Message for a line that holds more than one value.
pub const TRAILING_TEXT: &str = "unexpected text after the value";

/// The type of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonKind {
    /// `null`
    Null,
    /// `true`
    True,
    /// `false`
    False,
    /// A number without fraction and exponent.
    Integer,
    /// Any other number.
    Number,
    /// A string without backslashes. The span excludes the quotes.
    Plain,
    /// A string with backslashes. The span excludes the quotes.
    Escaped,
    /// An object, followed by its members as key, value, key, value.
    Object,
    /// An array, followed by its items.
    Array,
}

/// A value or a key: its span in the text, and the index of the next token outside it.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
    /// Index of the first token after this value.
    pub next: u32,
    /// The type.
    pub kind: JsonKind,
}

/// Why a line is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonError {
    /// Offset in the line, counted from 0.
    pub at: usize,
    /// What is wrong, in lower case.
    pub message: &'static str,
}

/// Maximum nesting depth of arrays and objects.
pub const MAX_DEPTH: usize = 128;

/// The tokens of one text. Reuse it for all lines.
#[derive(Debug, Default)]
pub struct Tape {
    /// The tokens, starting with the outermost value.
    pub tokens: Vec<Token>,
    open: Vec<u32>,
    marks: Marks,
}

impl Tape {
    /// Parses a text that consists of one JSON value and optional white space. The text must be UTF-8.
    pub fn read(&mut self, text: &[u8]) -> Result<(), JsonError> {
        self.tokens.clear();
        self.open.clear();
        if u32::try_from(text.len()).is_err() {
            return Err(JsonError { at: 0, message: "the text is 4 GiB or longer" });
        }
        self.marks.read(text);
        let mut at = skip_space(text, 0);
        'value: loop {
            // A value begins at `at`.
            let index = self.tokens.len();
            match text.get(at) {
                Some(b'"') => at = self.string(text, at)?,
                Some(b'{') => {
                    self.enter(JsonKind::Object, at)?;
                    at = skip_space(text, at + 1);
                    if text.get(at) != Some(&b'}') {
                        at = self.key(text, at)?;
                        continue 'value;
                    }
                    at += 1;
                    self.leave(at);
                }
                Some(b'[') => {
                    self.enter(JsonKind::Array, at)?;
                    at = skip_space(text, at + 1);
                    if text.get(at) != Some(&b']') {
                        continue 'value;
                    }
                    at += 1;
                    self.leave(at);
                }
                Some(b'-' | b'0'..=b'9') => at = self.number(text, at)?,
                Some(b't') => at = self.word(text, at, b"true", JsonKind::True)?,
                Some(b'f') => at = self.word(text, at, b"false", JsonKind::False)?,
                Some(b'n') => at = self.word(text, at, b"null", JsonKind::Null)?,
                Some(_) => return Err(JsonError { at, message: "expected a value" }),
                None => return Err(JsonError { at, message: "expected a value, but the text ends" }),
            }
            debug_assert!(index < self.tokens.len());
            // After a value: a comma, a closing bracket, or the end.
            loop {
                at = skip_space(text, at);
                let Some(&open) = self.open.last() else {
                    return if at == text.len() {
                        Ok(())
                    } else {
                        Err(JsonError { at, message: TRAILING_TEXT })
                    };
                };
                let in_object = self.tokens[open as usize].kind == JsonKind::Object;
                match text.get(at) {
                    Some(b',') => {
                        at = skip_space(text, at + 1);
                        if in_object {
                            at = self.key(text, at)?;
                        }
                        continue 'value;
                    }
                    Some(b'}') if in_object => at += 1,
                    Some(b']') if !in_object => at += 1,
                    Some(_) => {
                        return Err(JsonError { at, message: "expected a comma or a closing bracket" });
                    }
                    None => return Err(JsonError { at, message: "the text ends inside an object or array" }),
                }
                self.leave(at);
            }
        }
    }

    #[inline]
    fn push(&mut self, kind: JsonKind, start: usize, end: usize) {
        let next = position(self.tokens.len() + 1);
        self.tokens.push(Token { start: position(start), end: position(end), next, kind });
    }

    fn enter(&mut self, kind: JsonKind, at: usize) -> Result<(), JsonError> {
        if self.open.len() == MAX_DEPTH {
            return Err(JsonError { at, message: "nested more than 128 levels deep" });
        }
        self.open.push(position(self.tokens.len()));
        self.push(kind, at, at);
        Ok(())
    }

    fn leave(&mut self, end: usize) {
        if let Some(open) = self.open.pop() {
            let next = position(self.tokens.len());
            let token = &mut self.tokens[open as usize];
            token.end = position(end);
            token.next = next;
        }
    }

    /// Reads a key, its colon and the white space after it. Returns the offset of the value.
    #[inline]
    fn key(&mut self, text: &[u8], at: usize) -> Result<usize, JsonError> {
        if text.get(at) != Some(&b'"') {
            return Err(JsonError { at, message: "expected a key in quotes" });
        }
        let at = skip_space(text, self.string(text, at)?);
        if text.get(at) != Some(&b':') {
            return Err(JsonError { at, message: "expected a colon after the key" });
        }
        Ok(skip_space(text, at + 1))
    }

    /// Reads a string. Optimized for strings without escapes, which most are.
    #[inline]
    fn string(&mut self, text: &[u8], quote: usize) -> Result<usize, JsonError> {
        let start = quote + 1;
        let at = self.marks.next(start);
        if text.get(at) == Some(&b'"') {
            self.push(JsonKind::Plain, start, at);
            return Ok(at + 1);
        }
        self.escaped_string(text, start, at)
    }

    #[inline(never)]
    fn escaped_string(&mut self, text: &[u8], start: usize, mut at: usize) -> Result<usize, JsonError> {
        loop {
            match text.get(at) {
                Some(b'"') => {
                    self.push(JsonKind::Escaped, start, at);
                    return Ok(at + 1);
                }
                Some(b'\\') => at = self.marks.next(escape(text, at)?),
                Some(_) => return Err(JsonError { at, message: "unescaped control character in a string" }),
                None => return Err(JsonError { at, message: "the text ends inside a string" }),
            }
        }
    }

    fn number(&mut self, text: &[u8], start: usize) -> Result<usize, JsonError> {
        let mut at = start + usize::from(text[start] == b'-');
        let mut kind = JsonKind::Integer;
        match text.get(at) {
            Some(b'0') => at += 1,
            Some(b'1'..=b'9') => at = skip_digits(text, at),
            _ => return Err(JsonError { at, message: "expected a digit" }),
        }
        if text.get(at) == Some(&b'.') {
            kind = JsonKind::Number;
            at = some_digits(text, at + 1)?;
        }
        if matches!(text.get(at), Some(b'e' | b'E')) {
            kind = JsonKind::Number;
            at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
            at = some_digits(text, at)?;
        }
        self.push(kind, start, at);
        Ok(at)
    }

    fn word(&mut self, text: &[u8], at: usize, word: &[u8], kind: JsonKind) -> Result<usize, JsonError> {
        if !text[at..].starts_with(word) {
            return Err(JsonError { at, message: "expected a value" });
        }
        self.push(kind, at, at + word.len());
        Ok(at + word.len())
    }
}

/// Converts an offset or index. [`Tape::read`] has checked that the text is short enough.
#[expect(clippy::cast_possible_truncation, reason = "the length of the text is checked first")]
fn position(at: usize) -> u32 {
    at as u32
}

#[inline]
fn skip_space(text: &[u8], mut at: usize) -> usize {
    // Usually there is none.
    if text.get(at).is_some_and(|&byte| b' ' < byte) {
        return at;
    }
    while let Some(b' ' | b'\t' | b'\r' | b'\n') = text.get(at) {
        at += 1;
    }
    at
}

fn skip_digits(text: &[u8], mut at: usize) -> usize {
    while let Some(b'0'..=b'9') = text.get(at) {
        at += 1;
    }
    at
}

fn some_digits(text: &[u8], at: usize) -> Result<usize, JsonError> {
    let end = skip_digits(text, at);
    if at < end { Ok(end) } else { Err(JsonError { at, message: "expected a digit" }) }
}

/// Returns whether a text needs no escapes in a JSON string.
#[must_use]
pub fn is_plain(text: &[u8]) -> bool {
    plain_run(text, 0) == text.len()
}

/// Checks the escape at offset `at`, including the second half of a surrogate pair. Returns the offset after it.
fn escape(text: &[u8], at: usize) -> Result<usize, JsonError> {
    match text.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => {
            let lone = JsonError { at, message: "unpaired surrogate" };
            match hex4(text, at + 2)? {
                0xdc00..=0xdfff => Err(lone),
                0xd800..=0xdbff => {
                    if text.get(at + 6) == Some(&b'\\')
                        && text.get(at + 7) == Some(&b'u')
                        && matches!(hex4(text, at + 8)?, 0xdc00..=0xdfff)
                    {
                        Ok(at + 12)
                    } else {
                        Err(lone)
                    }
                }
                _ => Ok(at + 6),
            }
        }
        _ => Err(JsonError { at, message: "invalid escape" }),
    }
}

fn hex4(text: &[u8], at: usize) -> Result<u32, JsonError> {
    let mut value = 0;
    for place in at..at + 4 {
        let digit = text.get(place).and_then(|&byte| char::from(byte).to_digit(16));
        value =
            value * 16 + digit.ok_or(JsonError { at: place, message: "expected four hexadecimal digits" })?;
    }
    Ok(value)
}

/// Decodes the escapes of a valid JSON string, given without its quotes.
#[must_use]
pub fn unescape(inside: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(b'\\', inside) else { return Cow::Borrowed(inside) };
    let mut out = Vec::with_capacity(inside.len());
    out.extend_from_slice(&inside[..first]);
    let mut at = first;
    while let Some(&byte) = inside.get(at) {
        if byte != b'\\' {
            out.push(byte);
            at += 1;
            continue;
        }
        let plain = match inside.get(at + 1) {
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let mut code = hex4(inside, at + 2).unwrap_or(0xfffd);
                at += 6;
                if (0xd800..0xdc00).contains(&code) {
                    let low = hex4(inside, at + 2).unwrap_or(0xdc00);
                    code = 0x1_0000 + ((code - 0xd800) << 10) + (low.saturating_sub(0xdc00));
                    at += 6;
                }
                let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            Some(&other) => other,
            None => break,
        };
        out.push(plain);
        at += 2;
    }
    Cow::Owned(out)
}

/// Appends a text as a JSON string in canonical form: only quotes, backslashes and control characters are escaped.
pub fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// Appends a text like [`push_string`], but without the quotes.
pub fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut from = 0;
    loop {
        let at = plain_run(text, from);
        out.extend_from_slice(&text[from..at]);
        let Some(&byte) = text.get(at) else { return };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
        from = at + 1;
    }
}

/// A text and its tokens. Finds and renders values.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    /// The text.
    pub text: &'a [u8],
    /// Its tokens.
    pub tokens: &'a [Token],
}

impl<'a> Document<'a> {
    /// Returns the bytes of a value as written, without the quotes of a string.
    #[must_use]
    pub fn raw(&self, index: u32) -> &'a [u8] {
        let token = self.tokens[index as usize];
        &self.text[token.start as usize..token.end as usize]
    }

    /// Returns the length in bytes of a value in the text, including quotes.
    #[must_use]
    pub fn n_bytes(&self, index: u32) -> u64 {
        let token = self.tokens[index as usize];
        let quotes = if matches!(token.kind, JsonKind::Plain | JsonKind::Escaped) { 2 } else { 0 };
        u64::from(token.end - token.start) + quotes
    }

    /// Appends the bytes of a value as written, without the quotes of a string.
    #[inline]
    pub fn push_raw(&self, out: &mut Vec<u8>, index: u32) {
        let token = self.tokens[index as usize];
        push_short(out, self.text, token.start as usize, token.end as usize);
    }

    /// Appends a string as written, including the quotes.
    #[inline]
    pub fn push_quoted(&self, out: &mut Vec<u8>, index: u32) {
        let token = self.tokens[index as usize];
        push_short(out, self.text, token.start as usize - 1, token.end as usize + 1);
    }

    /// Returns the type of a token.
    #[must_use]
    pub fn kind(&self, index: u32) -> JsonKind {
        self.tokens[index as usize].kind
    }

    /// Returns the decoded text of a string or key, or `None` for other types.
    #[must_use]
    pub fn string(&self, index: u32) -> Option<Cow<'a, [u8]>> {
        match self.kind(index) {
            JsonKind::Plain => Some(Cow::Borrowed(self.raw(index))),
            JsonKind::Escaped => Some(unescape(self.raw(index))),
            _ => None,
        }
    }

    /// Returns the decoded text of a string, or a number as written. Returns `None` for other types.
    #[must_use]
    pub fn scalar_text(&self, index: u32) -> Option<Cow<'a, [u8]>> {
        match self.kind(index) {
            JsonKind::Integer | JsonKind::Number => Some(Cow::Borrowed(self.raw(index))),
            _ => self.string(index),
        }
    }

    /// Returns the members of an object as (key, value) token indices, in text order and including repeated keys. Empty
    /// for other types.
    pub fn members(&self, index: u32) -> impl Iterator<Item = (u32, u32)> + use<'a> {
        let tokens = self.tokens;
        let object = tokens[index as usize];
        let end = if object.kind == JsonKind::Object { object.next } else { index };
        let mut at = index + 1;
        std::iter::from_fn(move || {
            if end <= at {
                return None;
            }
            let member = (at, at + 1);
            at = tokens[at as usize + 1].next;
            Some(member)
        })
    }

    /// Returns the token indices of an array's items. Empty for other types.
    pub fn items(&self, index: u32) -> impl Iterator<Item = u32> + use<'a> {
        let tokens = self.tokens;
        let array = tokens[index as usize];
        let end = if array.kind == JsonKind::Array { array.next } else { index };
        let mut at = index + 1;
        std::iter::from_fn(move || {
            if end <= at {
                return None;
            }
            let item = at;
            at = tokens[at as usize].next;
            Some(item)
        })
    }

    /// Returns the value of a member by its key. If the key is repeated, the last one counts.
    #[must_use]
    pub fn get(&self, object: u32, key: &[u8]) -> Option<u32> {
        let mut found = None;
        for (name, value) in self.members(object) {
            if self.key_is(name, key) {
                found = Some(value);
            }
        }
        found
    }

    /// Returns whether the decoded key token `name` equals `key`.
    #[must_use]
    pub fn key_is(&self, name: u32, key: &[u8]) -> bool {
        match self.kind(name) {
            JsonKind::Plain => equal(self.raw(name), key),
            _ => self.string(name).is_some_and(|text| *text == *key),
        }
    }

    /// Appends a value as compact JSON: no white space, strings in canonical form, numbers as written, and members in
    /// text order. A repeated key appears once, at its first position and with its last value.
    pub fn push_compact(&self, out: &mut Vec<u8>, index: u32) {
        match self.kind(index) {
            JsonKind::Null | JsonKind::True | JsonKind::False | JsonKind::Integer | JsonKind::Number => {
                self.push_raw(out, index);
            }
            JsonKind::Plain => self.push_quoted(out, index),
            JsonKind::Escaped => push_string(out, &unescape(self.raw(index))),
            JsonKind::Array => {
                out.push(b'[');
                for (place, item) in self.items(index).enumerate() {
                    if 0 < place {
                        out.push(b',');
                    }
                    self.push_compact(out, item);
                }
                out.push(b']');
            }
            JsonKind::Object => {
                out.push(b'{');
                for (place, (key, value)) in self.distinct_members(index).into_iter().enumerate() {
                    if 0 < place {
                        out.push(b',');
                    }
                    self.push_compact(out, key);
                    out.push(b':');
                    self.push_compact(out, value);
                }
                out.push(b'}');
            }
        }
    }

    /// Returns the members of an object without repeated keys: each key at its first position, with its last value.
    #[must_use]
    pub fn distinct_members(&self, index: u32) -> Vec<(u32, u32)> {
        const FEW: usize = 16;
        let mut distinct: Vec<(u32, u32)> = self.members(index).collect();
        // If there are few, compare all pairs: usually no two are equal.
        if distinct.len() <= FEW {
            let differ = |a: u32, b: u32| {
                self.kind(a) == JsonKind::Plain
                    && self.kind(b) == JsonKind::Plain
                    && !equal(self.raw(a), self.raw(b))
            };
            let all_differ =
                (1..distinct.len()).all(|n| distinct[..n].iter().all(|&(a, _)| differ(a, distinct[n].0)));
            if all_differ {
                return distinct;
            }
        }
        distinct.clear();
        let mut places: crate::collections::Map<Cow<'a, [u8]>, usize> = crate::collections::Map::default();
        for (key, value) in self.members(index) {
            let name = self.string(key).unwrap_or_default();
            if let Some(&place) = places.get(&name) {
                distinct[place].1 = value;
            } else {
                places.insert(name, distinct.len());
                distinct.push((key, value));
            }
        }
        distinct
    }
}

#[cfg(test)]
mod tests;
