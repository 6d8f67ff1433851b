//! Identifier types: their numbers and their ranks.
//!
//! Types come from the list of known types, from the config, and from `externalIds` as they appear. Numbers are
//! assigned in order of appearance and have no meaning; the rank, which decides, depends only on the names.

use std::{
    cmp::Ordering,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{collections::Map, config::rules::KNOWN_TYPES, event::block::TypeId};

/// `user_id`
pub const USER_ID: TypeId = 0;
/// `anonymous_id`
pub const ANONYMOUS_ID: TypeId = 1;
/// `email`
pub const EMAIL: TypeId = 2;
/// `android.id`; the number of `ios.id` is one more, and likewise for the types below
pub const ANDROID_ID: TypeId = 3;
/// `android.idfa`
pub const ANDROID_IDFA: TypeId = 5;
/// `android.push_token`
pub const ANDROID_PUSH_TOKEN: TypeId = 7;
/// `ga_client_id`
pub const GA_CLIENT_ID: TypeId = 9;
/// `cross_domain_id`
pub const CROSS_DOMAIN_ID: TypeId = 10;
/// `braze_id`
pub const BRAZE_ID: TypeId = 11;

/// All types seen so far. Parsing threads share it, and each caches the numbers it has looked up.
#[derive(Debug)]
pub struct IdentifierTypes {
    names: Mutex<Names>,
}

/// Names by number, and numbers by name.
type Names = (Vec<Arc<str>>, Map<Arc<str>, TypeId>);

impl Default for IdentifierTypes {
    fn default() -> Self {
        let types = Self { names: Mutex::new((Vec::new(), Map::default())) };
        for name in KNOWN_TYPES {
            types.intern(name);
        }
        types
    }
}

impl IdentifierTypes {
    /// Returns the number of a type, assigning one if it is new.
    pub fn intern(&self, name: &str) -> TypeId {
        let (names, ids) = &mut *self.lock();
        if let Some(&id) = ids.get(name) {
            return id;
        }
        let id = TypeId::try_from(names.len()).expect("fewer than 2^32 identifier types");
        let name: Arc<str> = name.into();
        names.push(Arc::clone(&name));
        ids.insert(name, id);
        id
    }

    /// Returns the name of a type.
    #[must_use]
    pub fn name(&self, type_id: TypeId) -> Arc<str> {
        Arc::clone(&self.lock().0[type_id as usize])
    }

    /// Appends the names of types missing from `known`, which is indexed by number.
    pub fn learn(&self, known: &mut Vec<Arc<str>>) {
        let names = self.lock();
        known.extend_from_slice(&names.0[known.len()..]);
    }

    /// Returns the number of types.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().0.len()
    }

    /// Returns all names, indexed by number.
    #[must_use]
    pub fn names(&self) -> Vec<Arc<str>> {
        self.lock().0.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        // A thread that panicked here left at worst a name without a number.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ranks of types: the explicit order first, then `user_id` and `email` unless it lists them, then the rest
/// alphabetically by bytes.
#[derive(Debug, Default)]
pub struct TypeRanks {
    names: Vec<Arc<str>>,
    /// The ranks of the first types. Types seen since the last sort are compared by name: sorting again for each of
    /// them would take quadratic time.
    sorted: Vec<u32>,
    order: Vec<String>,
}

/// Up to this many types are sorted again whenever one is added.
const ALWAYS_SORT_TYPES_UP_TO: usize = 1 << 10;

impl TypeRanks {
    /// Creates ranks without any types.
    #[must_use]
    pub fn new(order: &[String]) -> Self {
        Self { order: order.to_vec(), ..Self::default() }
    }

    /// Adds the types seen since the last call, and returns their names.
    pub fn learn(&mut self, types: &IdentifierTypes) -> &[Arc<str>] {
        let n_known = self.names.len();
        types.learn(&mut self.names);
        let n_new = self.names.len() - self.sorted.len();
        if n_new * 4 > self.sorted.len() || 0 < n_new && self.names.len() <= ALWAYS_SORT_TYPES_UP_TO {
            self.sort();
        }
        &self.names[n_known..]
    }

    fn sort(&mut self) {
        let mut sorted: Vec<usize> = (0..self.names.len()).collect();
        sorted.sort_by_key(|&id| rank_key(&self.names[id], &self.order));
        self.sorted = vec![0; self.names.len()];
        for (rank, id) in (0..).zip(sorted) {
            self.sorted[id] = rank;
        }
    }

    /// Compares two types; the one with the higher rank is less.
    #[must_use]
    pub fn compare(&self, a: TypeId, b: TypeId) -> Ordering {
        let (a, b) = (a as usize, b as usize);
        match (self.sorted.get(a), self.sorted.get(b)) {
            (Some(a), Some(b)) => a.cmp(b),
            _ => rank_key(&self.names[a], &self.order).cmp(&rank_key(&self.names[b], &self.order)),
        }
    }
}

fn rank_key<'a>(name: &'a str, order: &[String]) -> (usize, &'a str) {
    if let Some(place) = order.iter().position(|n| n == name) {
        return (place, "");
    }
    match name {
        "user_id" => (order.len(), ""),
        "email" => (order.len() + 1, ""),
        other => (order.len() + 2, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explicit_order_comes_first_then_user_id_and_email() {
        let types = IdentifierTypes::default();
        let names = ["user_id", "anonymous_id", "email", "crm_id", "b"];
        let sorted = |order: &[&str]| {
            let mut ranks = TypeRanks::new(&order.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
            let mut ids = names.map(|name| types.intern(name));
            ranks.learn(&types);
            ids.sort_by(|a, b| ranks.compare(*a, *b));
            ids.map(|id| types.name(id).to_string())
        };
        assert_eq!(sorted(&[]), ["user_id", "email", "anonymous_id", "b", "crm_id"]);
        assert_eq!(sorted(&["crm_id", "email"]), ["crm_id", "email", "user_id", "anonymous_id", "b"]);
    }

    #[test]
    fn types_that_are_not_sorted_yet_have_their_ranks_too() {
        let types = IdentifierTypes::default();
        let mut ranks = TypeRanks::new(&[]);
        for number in 0..2 * ALWAYS_SORT_TYPES_UP_TO {
            types.intern(&format!("t{}", number % 7 * 10_000 + number));
        }
        ranks.learn(&types);
        let n_sorted = ranks.sorted.len();
        types.intern("aa");
        types.intern("zz");
        types.intern("t55");
        ranks.learn(&types);
        assert_eq!(n_sorted, ranks.sorted.len());
        let mut all: Vec<TypeId> = (0..).take(types.count()).collect();
        all.sort_by(|a, b| ranks.compare(*a, *b));
        let names: Vec<String> = all.iter().map(|&id| types.name(id).to_string()).collect();
        assert_eq!(names[..2], ["user_id", "email"]);
        assert!(names[2..].is_sorted());
    }

    #[test]
    fn known_types_have_their_numbers() {
        let names = IdentifierTypes::default().names();
        assert_eq!(&*names[EMAIL as usize], "email");
        assert_eq!(&*names[ANDROID_IDFA as usize + 1], "ios.idfa");
        assert_eq!(&*names[BRAZE_ID as usize], "braze_id");
    }
}
