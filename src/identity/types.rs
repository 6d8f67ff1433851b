//! Identifier types: names to small numbers, and their rank.
//!
//! Types come from the list of known places, from the config, and from `externalIds` as they turn up. Numbers are given
//! in the order of arrival and mean nothing; what decides is the rank, and that depends on names alone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::collections::Map;

/// A type's number in this run.
pub type TypeId = u32;

/// The types with places of their own, with their numbers in every run.
pub const KNOWN_TYPES: [&str; 12] = [
    "user_id",
    "anonymous_id",
    "email",
    "android.id",
    "ios.id",
    "android.idfa",
    "ios.idfa",
    "android.push_token",
    "ios.push_token",
    "ga_client_id",
    "cross_domain_id",
    "braze_id",
];

/// `user_id`
pub const USER_ID: TypeId = 0;
/// `anonymous_id`
pub const ANONYMOUS_ID: TypeId = 1;
/// `email`
pub const EMAIL: TypeId = 2;
/// `android.id`; the same place of iOS is one further, here and below.
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

/// All types met so far. Shared by the threads that parse; each keeps its own copy of what it has asked.
#[derive(Debug)]
pub struct Types {
    names: Mutex<(Vec<String>, Map<String, TypeId>)>,
}

impl Default for Types {
    fn default() -> Self {
        let types = Self { names: Mutex::new((Vec::new(), Map::default())) };
        for name in KNOWN_TYPES {
            types.id(name);
        }
        types
    }
}

impl Types {
    /// The number of a type, given now where it has none.
    pub fn id(&self, name: &str) -> TypeId {
        let (names, ids) = &mut *self.lock();
        if let Some(&id) = ids.get(name) {
            return id;
        }
        let id = TypeId::try_from(names.len()).expect("fewer than 2^32 identifier types");
        names.push(name.to_owned());
        ids.insert(name.to_owned(), id);
        id
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().0.len()
    }

    /// All names, by number.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.lock().0.clone()
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<String>, Map<String, TypeId>)> {
        // A thread that panicked here left at worst a name without a use.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rank of each type, 0 the highest: the explicit order first, then `user_id` and `email` where it does not name
/// them, then the rest alphabetically by bytes.
#[must_use]
pub fn ranks(names: &[String], order: &[String]) -> Vec<u32> {
    let mut sorted: Vec<usize> = (0..names.len()).collect();
    sorted.sort_by_key(|&id| rank_key(&names[id], order));
    let mut ranks = vec![0; names.len()];
    for (rank, id) in sorted.into_iter().enumerate() {
        ranks[id] = u32::try_from(rank).expect("fewer than 2^32 identifier types");
    }
    ranks
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
        let names: Vec<String> = ["user_id", "anonymous_id", "email", "crm_id", "b"].map(String::from).into();
        assert_eq!(ranks(&names, &[]), [0, 2, 1, 4, 3]);
        assert_eq!(ranks(&names, &["crm_id".into(), "email".into()]), [2, 3, 1, 0, 4]);
    }

    #[test]
    fn known_types_have_their_numbers() {
        let names = Types::default().names();
        assert_eq!(names[EMAIL as usize], "email");
        assert_eq!(names[ANDROID_IDFA as usize + 1], "ios.idfa");
        assert_eq!(names[BRAZE_ID as usize], "braze_id");
    }
}
