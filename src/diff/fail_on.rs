//! Decides whether a comparison fails: which kinds of differences count for the exit code.

use super::{Comparison, Sameness, outcome::RowKind};

/// A kind of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DifferenceKind {
    /// A row that only the new side has.
    Added,
    /// A row that only the old side has.
    Removed,
    /// A row with other values.
    Changed,
    /// A profile that only the new side has.
    Created,
    /// A profile that only the old side has.
    Vanished,
    /// Profiles that became one.
    Merged,
    /// A profile that became several.
    Split,
    /// An identifier that went from one profile to another.
    Moved,
}

impl DifferenceKind {
    /// All kinds, with the words for them.
    pub const ALL: [(&'static str, Self); 8] = [
        ("added", Self::Added),
        ("removed", Self::Removed),
        ("changed", Self::Changed),
        ("created", Self::Created),
        ("vanished", Self::Vanished),
        ("merged", Self::Merged),
        ("split", Self::Split),
        ("moved", Self::Moved),
    ];

    fn count(self, comparison: &Comparison) -> u64 {
        let rows = |kind| comparison.tables.iter().map(|table| table.outcome.count(kind)).sum();
        let identity = comparison.identity.as_ref();
        let profiles = |count: fn(&super::IdentityResult) -> u64| identity.map_or(0, count);
        match self {
            Self::Added => rows(RowKind::Added),
            Self::Removed => rows(RowKind::Removed),
            Self::Changed => rows(RowKind::Changed),
            Self::Created => profiles(|identity| identity.created),
            Self::Vanished => profiles(|identity| identity.vanished),
            Self::Merged => profiles(|identity| identity.merged[0]),
            Self::Split => profiles(|identity| identity.split[0]),
            Self::Moved => profiles(|identity| identity.moved),
        }
    }
}

/// Returns whether a comparison found a difference of one of these kinds, or any difference if `kinds` is empty.
#[must_use]
pub fn fails(comparison: &Comparison, kinds: &[DifferenceKind]) -> bool {
    if kinds.is_empty() {
        return !comparison.tables.iter().all(super::TableResult::same);
    }
    comparison.sameness != Sameness::Same && kinds.iter().any(|kind| 0 < kind.count(comparison))
}
