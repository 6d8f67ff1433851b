//! Turns a line into events, or into a reject.

pub mod block;
mod bloom_filter;
pub mod columns;
pub mod duplicates;
pub mod fields;
pub mod order;
pub mod parse;
pub mod reject;

/// The type of an event: one of six API calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Records who a user is. The only call that changes traits.
    Identify,
    /// Records what a user did.
    Track,
    /// Records a view of a web page.
    Page,
    /// Records a view of an app screen.
    Screen,
    /// Associates a user with an account.
    Group,
    /// Records a new id of a user. Does not merge profiles.
    Alias,
}

impl Call {
    /// All calls, in the order of [`Call::index`].
    pub const ALL: [Self; 6] =
        [Self::Identify, Self::Track, Self::Page, Self::Screen, Self::Group, Self::Alias];

    /// Returns the call of an event's `type`, which is case-sensitive.
    #[must_use]
    pub fn of_type(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|call| call.name().as_bytes() == name)
    }

    /// Returns the event's `type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Track => "track",
            Self::Page => "page",
            Self::Screen => "screen",
            Self::Group => "group",
            Self::Alias => "alias",
        }
    }

    /// Returns the table that all calls of this type share.
    #[must_use]
    pub fn table(self) -> &'static str {
        match self {
            Self::Identify => "identifies",
            Self::Track => "tracks",
            Self::Page => "pages",
            Self::Screen => "screens",
            Self::Group => "groups",
            Self::Alias => "aliases",
        }
    }

    /// Returns the call's index in [`Call::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}
