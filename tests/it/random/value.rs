//! A JSON tree that keeps what a parser would lose: the spelling of scalars and keys, and duplicate keys.

use super::Random;

/// A JSON value.
#[derive(Clone)]
pub(crate) enum Value {
    /// A scalar as written, with its quotes.
    Scalar(String),
    Array(Vec<Value>),
    /// Members with their keys as written, with their quotes; a key may occur twice.
    Object(Vec<(String, Value)>),
}

/// Puts quotes around a text, which must not need escapes.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// Returns a string value; the text must not need escapes.
pub(crate) fn text(text: &str) -> Value {
    Value::Scalar(quoted(text))
}

/// Returns an object; its keys must not need escapes.
pub(crate) fn object(members: Vec<(&str, Value)>) -> Value {
    Value::Object(members.into_iter().map(|(key, value)| (quoted(key), value)).collect())
}

impl Value {
    /// Returns the value as compact JSON.
    pub(crate) fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, &mut || "");
        out
    }

    /// Returns the value as JSON with random white space between the tokens.
    pub(crate) fn to_spaced_text(&self, random: &mut Random) -> String {
        let mut out = String::new();
        self.write(&mut out, &mut || random.pick(&["", "", "", " ", "\t", "  ", "\r"]));
        out
    }

    fn write(&self, out: &mut String, space: &mut impl FnMut() -> &'static str) {
        match self {
            Self::Scalar(written) => out.push_str(written),
            Self::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    out.push_str(space());
                    item.write(out, space);
                    out.push_str(space());
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    out.push_str(space());
                    out.push_str(key);
                    out.push_str(space());
                    out.push(':');
                    out.push_str(space());
                    value.write(out, space);
                    out.push_str(space());
                }
                out.push('}');
            }
        }
    }

    /// Returns all variants of this value with one member or item less, at any depth.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        match self {
            Self::Scalar(_) => {}
            Self::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    let mut fewer = items.clone();
                    fewer.remove(at);
                    smaller.push(Self::Array(fewer));
                    for inside in item.smaller() {
                        let mut changed = items.clone();
                        changed[at] = inside;
                        smaller.push(Self::Array(changed));
                    }
                }
            }
            Self::Object(members) => {
                for (at, (_, value)) in members.iter().enumerate() {
                    let mut fewer = members.clone();
                    fewer.remove(at);
                    smaller.push(Self::Object(fewer));
                    for inside in value.smaller() {
                        let mut changed = members.clone();
                        changed[at].1 = inside;
                        smaller.push(Self::Object(changed));
                    }
                }
            }
        }
        smaller
    }
}
