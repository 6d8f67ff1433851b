//! JSON as text with a structure: everything that a parsed tree would lose stays as written.

use super::Random;

/// A value.
#[derive(Clone)]
pub(crate) enum Value {
    /// A scalar as it is written, quotes and all.
    Scalar(String),
    Array(Vec<Value>),
    /// Keys as they are written, quotes and all; a key may come twice.
    Object(Vec<(String, Value)>),
}

/// A JSON text that needs no escapes.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// A text value that needs no escapes.
pub(crate) fn text(text: &str) -> Value {
    Value::Scalar(quoted(text))
}

/// An object whose keys need no escapes.
pub(crate) fn object(members: Vec<(&str, Value)>) -> Value {
    Value::Object(members.into_iter().map(|(key, value)| (quoted(key), value)).collect())
}

impl Value {
    /// The text, compact.
    pub(crate) fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, &mut || "");
        out
    }

    /// The text with white space between the tokens here and there.
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

    /// The same value with one member or item less, for each there is, at any depth.
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
