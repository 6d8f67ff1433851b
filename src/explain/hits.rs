//! What an argument stands for: a segment id, else an identifier with its type, else a value in any type.

use super::answer::Identifier;

/// Something in the space that an argument stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hit {
    /// A segment id.
    Segment(String),
    /// An identifier.
    Identifier(Identifier),
}

impl Hit {
    /// Writes it as it can be given as an argument.
    pub(super) fn argument(&self) -> String {
        match self {
            Self::Segment(segment_id) => segment_id.clone(),
            Self::Identifier(identifier) => format!("{}:{}", identifier.type_name, identifier.value),
        }
    }
}

/// Splits an argument into type and value.
pub(super) fn split(argument: &str) -> Option<Identifier> {
    let (type_name, value) = argument.split_once(':')?;
    Some(Identifier { type_name: type_name.to_ascii_lowercase(), value: value.to_owned() })
}
