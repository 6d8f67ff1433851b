//! A trait that a profile has now, as the views of traits render it.

use crate::{json::push_string, table::write::push_plain};

/// A current trait of a profile.
#[derive(Debug, Clone, Copy)]
pub struct CurrentTrait<'a> {
    /// Name of its column.
    pub name: &'a [u8],
    /// Its value as compact JSON.
    pub json: &'a [u8],
    /// Whether the value is a string.
    pub is_text: bool,
    /// Whether the name has no character that JSON escapes.
    pub is_plain: bool,
    /// The row that set it, as an index into the profile's rows.
    pub set_by: usize,
}

impl CurrentTrait<'_> {
    /// Appends the name as JSON.
    pub fn push_name(&self, out: &mut Vec<u8>) {
        if self.is_plain { push_plain(out, self.name) } else { push_string(out, self.name) }
    }
}
