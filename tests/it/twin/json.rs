//! A JSON tree that keeps numbers as written and keys in order, because the tables show both.

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as written.
    Number(String),
    /// A string, decoded.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object. A duplicate key has its last value at the position of the first.
    Object(Vec<(String, Json)>),
}

/// The maximum nesting of objects and arrays.
const DEEPEST: usize = 128;

impl Json {
    /// Returns a string, or null for `None`.
    pub(crate) fn text_or_null(text: Option<&str>) -> Self {
        text.map_or(Self::Null, |text| Self::String(text.to_owned()))
    }

    /// Returns the value under a key; null if there is none or this is not an object.
    pub(crate) fn get(&self, key: &str) -> &Self {
        match self {
            Self::Object(members) => {
                members.iter().find(|(name, _)| name == key).map_or(&Self::Null, |(_, value)| value)
            }
            _ => &Self::Null,
        }
    }

    /// Returns the members of an object; empty for other values.
    pub(crate) fn members(&self) -> &[(String, Self)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    /// Returns the value as a text: a non-empty string, or a number as written; else `None`.
    pub(crate) fn usable_text(&self) -> Option<String> {
        match self {
            Self::String(text) | Self::Number(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        }
    }

    /// Formats the value as compact JSON.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(yes) => yes.to_string(),
            Self::Number(text) => text.clone(),
            Self::String(text) => quoted(text),
            Self::Array(items) => {
                let items: Vec<String> = items.iter().map(Self::to_text).collect();
                format!("[{}]", items.join(","))
            }
            Self::Object(members) => {
                let members: Vec<String> = members
                    .iter()
                    .map(|(key, value)| format!("{}:{}", quoted(key), value.to_text()))
                    .collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }
}

/// Formats a JSON string literal with as few escapes as possible.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                let escape = format!("\\u{:04x}", u32::from(control));
                out.push_str(&escape);
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Parses a JSON text; `None` if it is not JSON.
pub(crate) fn parse(text: &str) -> Option<Json> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    let value = reader.value(0)?;
    reader.space();
    (reader.at == reader.bytes.len()).then_some(value)
}

/// Returns the items of an array as written. The text must be valid JSON.
pub(crate) fn raw_items(text: &str) -> Vec<&str> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    reader.space();
    reader.at += 1;
    let mut items = Vec::new();
    while let Some(item) = reader.raw_value(text) {
        items.push(item);
        reader.space();
        reader.at += 1;
    }
    items
}

/// Returns the last value under a key of an object, as written. The text must be valid JSON.
pub(crate) fn raw_member<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    reader.space();
    reader.at += 1;
    let mut found = None;
    loop {
        reader.space();
        let Some(name) = reader.string() else { return found };
        reader.space();
        reader.at += 1;
        let value = reader.raw_value(text)?;
        if name == key {
            found = Some(value);
        }
        reader.space();
        reader.at += 1;
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// Returns the next value as written; `None` at the end of an array.
    fn raw_value<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        self.space();
        let start = self.at;
        self.value(0)?;
        Some(&text[start..self.at])
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: &str) -> Option<()> {
        let found = self.bytes[self.at..].starts_with(wanted.as_bytes());
        self.at += wanted.len();
        found.then_some(())
    }

    /// Parses a value that is nested in `depth` objects and arrays.
    fn value(&mut self, depth: usize) -> Option<Json> {
        self.space();
        match self.peek()? {
            b'n' => self.take("null").map(|()| Json::Null),
            b't' => self.take("true").map(|()| Json::Bool(true)),
            b'f' => self.take("false").map(|()| Json::Bool(false)),
            b'"' => self.string().map(Json::String),
            b'[' if depth < DEEPEST => self.array(depth + 1),
            b'{' if depth < DEEPEST => self.object(depth + 1),
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    fn array(&mut self, depth: usize) -> Option<Json> {
        self.take("[")?;
        let mut items = Vec::new();
        self.space();
        if self.peek()? == b']' {
            self.at += 1;
            return Some(Json::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Some(Json::Array(items));
                }
                _ => return None,
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        self.take("{")?;
        let mut members: Vec<(String, Json)> = Vec::new();
        self.space();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(Json::Object(members));
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.take(":")?;
            let value = self.value(depth)?;
            match members.iter_mut().find(|(name, _)| *name == key) {
                Some(member) => member.1 = value,
                None => members.push((key, value)),
            }
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Some(Json::Object(members));
                }
                _ => return None,
            }
        }
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (start < self.at).then_some(())
    }

    fn number(&mut self) -> Option<Json> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = std::str::from_utf8(&self.bytes[start..self.at]).ok()?;
        Some(Json::Number(text.to_owned()))
    }

    fn string(&mut self) -> Option<String> {
        self.take("\"")?;
        let mut out: Vec<u8> = Vec::new();
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return String::from_utf8(out).ok(),
                b'\\' => {
                    let character = self.escape()?;
                    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                0..=0x1f => return None,
                other => out.push(other),
            }
        }
    }

    /// Parses the part of an escape after the backslash.
    fn escape(&mut self) -> Option<char> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b'"' => Some('"'),
            b'\\' => Some('\\'),
            b'/' => Some('/'),
            b'b' => Some('\u{8}'),
            b'f' => Some('\u{c}'),
            b'n' => Some('\n'),
            b'r' => Some('\r'),
            b't' => Some('\t'),
            b'u' => {
                let high = self.four_hex()?;
                if !(0xd800..0xdc00).contains(&high) {
                    // A lone low surrogate is an error here.
                    return char::from_u32(high);
                }
                self.take("\\u")?;
                let low = self.four_hex()?;
                if !(0xdc00..0xe000).contains(&low) {
                    return None;
                }
                char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
            }
            _ => None,
        }
    }

    fn four_hex(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        self.at += 4;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_compact_and_keeps_numbers_and_key_order() {
        let json = parse(
            " { \"b\" : [ 1.50 , -0 , 1E5 , null ] , \"a\" : \"\\u00e9\\/\\u001F\\ud83d\\ude00\\n\" } ",
        );
        let expected = "{\"b\":[1.50,-0,1E5,null],\"a\":\"\u{e9}/\\u001f\u{1f600}\\n\"}";
        assert_eq!(json.expect("the text is JSON").to_text(), expected);
    }

    #[test]
    fn a_duplicate_key_keeps_its_position_and_gets_the_last_value() {
        assert_eq!(
            parse("{\"a\":1,\"b\":2,\"a\":3}").expect("the text is JSON").to_text(),
            "{\"a\":3,\"b\":2}"
        );
    }

    #[test]
    fn invalid_json_is_rejected() {
        for text in [
            "",
            "nul",
            "NaN",
            "Infinity",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "\"\\x\"",
            "\"tab\there\"",
            "[1] 2",
            "'a'",
            "[",
            "{\"a\"",
            "\"\\u00",
            "\"\\u+123\"",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn nesting_is_limited_to_128() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(128)).is_some());
        assert!(parse(&nested(129)).is_none());
    }
}
