//! Names of tables and columns in a warehouse: short enough, and distinct where case does not count.

use std::collections::BTreeSet;

/// What a dialect makes of names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NameRules {
    /// Bytes that a name may have.
    pub(crate) max_bytes: usize,
    /// Puts a name into the form in which the dialect has it, before its length counts.
    pub(crate) spell: fn(&str) -> String,
}

/// Hexadecimal digits of the hash in a shortened name.
const HASH_DIGITS: usize = 8;

/// Gives names of a warehouse to names of ours.
#[derive(Debug)]
pub(crate) struct NameGiver {
    rules: NameRules,
    /// Those given, in lower case.
    taken: BTreeSet<String>,
}

impl NameGiver {
    pub(crate) fn new(rules: NameRules) -> Self {
        Self { rules, taken: BTreeSet::new() }
    }

    /// Keeps a name that was given earlier.
    pub(crate) fn keep(&mut self, name: &str) {
        self.taken.insert(name.to_lowercase());
    }

    /// Returns the name in the warehouse: the same whenever the others are the same.
    ///
    /// A name that is too long ends in a hash of the whole, so it does not depend on which others are there.
    pub(crate) fn give(&mut self, name: &str) -> String {
        let spelled = (self.rules.spell)(name);
        let hash = blake3::hash(name.as_bytes()).to_hex();
        let mut given = spelled.clone();
        if self.rules.max_bytes < given.len() {
            given = hashed(&spelled, &hash[..HASH_DIGITS], self.rules.max_bytes);
        }
        // Two names may differ in nothing but their case, or one may look like the shortened form of another.
        let mut n_digits = HASH_DIGITS;
        while !self.taken.insert(given.to_lowercase()) {
            given = hashed(&spelled, &hash[..n_digits], self.rules.max_bytes);
            n_digits += 1;
        }
        given
    }
}

fn hashed(name: &str, hash: &str, max_bytes: usize) -> String {
    let hash =
        (if name.chars().any(char::is_lowercase) { str::to_lowercase } else { str::to_uppercase })(hash);
    let mut end = name.len().min(max_bytes - hash.len() - 1);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{hash}", &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: NameRules = NameRules { max_bytes: 20, spell: str::to_owned };

    #[test]
    fn long_names_stay_distinct_and_do_not_depend_on_each_other() {
        let mut names = NameGiver::new(SHORT);
        let given = ["a_very_long_name_of_a_trait_1", "a_very_long_name_of_a_trait_2", "short"]
            .map(|name| names.give(name));
        assert!(given.iter().all(|name| name.len() <= 20), "{given:?}");
        assert!(given[0].starts_with("a_very_long_") && given[0] != given[1], "{given:?}");
        assert_eq!(given[2], "short");
        let alone = NameGiver::new(SHORT).give("a_very_long_name_of_a_trait_2");
        assert_eq!(alone, given[1]);
    }

    #[test]
    fn names_that_differ_in_case_and_names_that_look_shortened_stay_distinct() {
        let mut names = NameGiver::new(SHORT);
        let shortened = NameGiver::new(SHORT).give("a_very_long_name_of_a_trait");
        let mut given = ["plan", "Plan", "PLAN", "a_very_long_name_of_a_trait", &shortened]
            .map(|name| names.give(name).to_lowercase())
            .to_vec();
        given.sort();
        given.dedup();
        assert_eq!(given.len(), 5, "{given:?}");
    }

    #[test]
    fn a_name_is_cut_between_characters() {
        let name = "\u{e9}".repeat(20);
        assert_eq!(NameGiver::new(SHORT).give(&name).chars().filter(|&c| c == '\u{e9}').count(), 5);
    }
}
