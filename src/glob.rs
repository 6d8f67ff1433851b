//! Patterns for names: `*` matches any number of characters, including none; every other character matches itself.
//!
//! Names of events contain brackets, braces and question marks, so none of these is special. `*` cannot be escaped.

use std::collections::BTreeSet;

/// A list of patterns.
#[derive(Debug, Clone, Default)]
pub struct Globs {
    /// The patterns as given.
    pub written: Vec<String>,
    /// Those without `*`, in a set because there may be thousands.
    names: BTreeSet<String>,
}

impl Globs {
    /// Creates a list from patterns.
    #[must_use]
    pub fn new(written: Vec<String>) -> Self {
        let names = written.iter().filter(|pattern| !has_wildcard(pattern)).cloned().collect();
        Self { written, names }
    }

    /// Returns whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// Returns whether a pattern in the list matches the whole name.
    #[must_use]
    pub fn is_match(&self, name: &str) -> bool {
        self.names.contains(name)
            || self.names.len() < self.written.len()
                && self.written.iter().any(|pattern| has_wildcard(pattern) && matches(pattern, name))
    }

    /// Returns the patterns without wildcards, which match one name each.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.written.iter().map(String::as_str).filter(|pattern| !has_wildcard(pattern))
    }
}

fn has_wildcard(pattern: &str) -> bool {
    pattern.contains('*')
}

/// Returns whether a pattern matches the whole name.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((front, rest)) = pattern.split_once('*') else { return pattern == name };
    let (middle, back) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut name) = name.strip_prefix(front).and_then(|name| name.strip_suffix(back)) else {
        return false;
    };
    // Taking the first match of each piece leaves the most text for the pieces after it.
    middle.split('*').all(|piece| match name.find(piece) {
        Some(at) => {
            name = &name[at + piece.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_star_is_special() {
        for (pattern, name, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "a\nb", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "ba", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a b b c", true),
            ("a*b*c", "ac b", false),
            ("*ab*ab*", "ab", false),
            ("*ab*ab*", "xabab", true),
            ("*aab", "aaab", true),
            ("[Amplitude] Page Viewed", "[Amplitude] Page Viewed", true),
            ("[Amplitude]*", "[Amplitude] Session Start", true),
            ("[Amplitude]*", "Add to cart", false),
            ("{a,b}", "{a,b}", true),
            ("{a,b}", "a", false),
            ("pay now?", "pay now?", true),
            ("pay now?", "pay nows", false),
            ("a\\*", "a*", false),
            ("a\\*", "a\\b", true),
            ("a*", "a*", true),
            ("Order*", "order", false),
            ("caf\u{e9}*", "caf\u{e9} au lait", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
            assert_eq!(
                Globs::new(vec!["x".into(), pattern.into()]).is_match(name),
                expected,
                "{pattern} {name}"
            );
        }
        assert!(!Globs::default().is_match(""));
    }
}
