//! One line becomes events, or a reject.

pub mod block;
pub mod duplicates;
pub mod fields;
mod filter;
pub mod order;
pub mod parse;
pub mod reject;

/// The six calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Who somebody is: the only call that changes traits.
    Identify,
    /// What somebody did.
    Track,
    /// A page of a web site was seen.
    Page,
    /// A screen of an app was seen.
    Screen,
    /// Somebody belongs to an account.
    Group,
    /// Somebody got a new id. Merges nothing.
    Alias,
}

impl Call {
    /// All of them, in the order of [`Call::index`].
    pub const ALL: [Self; 6] =
        [Self::Identify, Self::Track, Self::Page, Self::Screen, Self::Group, Self::Alias];

    /// The call of an event's `type`, which is compared with case.
    #[must_use]
    pub fn of_type(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|call| call.name().as_bytes() == name)
    }

    /// The event's `type`.
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

    /// The table that all calls of this kind stand in.
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

    /// Its place in [`Call::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}
