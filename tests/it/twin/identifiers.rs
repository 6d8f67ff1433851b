//! The identifiers of an event.

use std::collections::BTreeSet;

use super::event::Event;
use super::json::Json;
use super::names;
use super::rules::Rules;

/// Type and value. Two identifiers are the same if both are equal.
pub(crate) type Identifier = (String, String);

/// Returns the identifiers of an event, normalised, including those that are blocked.
pub(crate) fn of(event: &Event, rules: &Rules) -> BTreeSet<Identifier> {
    let mut found: Vec<(String, Option<String>)> = Vec::new();
    let mut add =
        |identifier_type: &str, value: Option<String>| found.push((identifier_type.to_owned(), value));
    let context = &event.context;
    let context_traits = context.get("traits");

    add("user_id", event.user_id.clone());
    add("anonymous_id", event.anonymous_id.clone());

    // The e-mail address comes from the first place with a text that is not empty after normalisation.
    let mut email = None;
    if event.call == "identify" {
        email = usable(event.traits.get("email"), "email", rules);
    }
    email = email.or_else(|| usable(context_traits.get("email"), "email", rules));
    for spelling in
        rules.in_properties.iter().filter(|key| key.to_lowercase() == "email").flat_map(|key| spellings(key))
    {
        email = email.or_else(|| usable(event.properties.get(&spelling), "email", rules));
    }
    add("email", email);

    let device = context.get("device");
    let device_type = device.get("type").usable_text().unwrap_or_default().to_ascii_lowercase();
    if device_type == "android" || device_type == "ios" {
        add(&format!("{device_type}.id"), device.get("id").usable_text());
        if *device.get("adTrackingEnabled") == Json::Bool(true) {
            add(&format!("{device_type}.idfa"), device.get("advertisingId").usable_text());
        }
        add(&format!("{device_type}.push_token"), device.get("token").usable_text());
    }

    add("ga_client_id", context.get("integrations").get("Google Analytics").get("clientId").usable_text());
    add("cross_domain_id", context_traits.get("crossDomainId").usable_text());
    add("cross_domain_id", context_traits.get("cross_domain_id").usable_text());
    add("braze_id", context.get("Braze").get("braze_id").usable_text());

    for key in &rules.custom {
        for spelling in spellings(key) {
            if event.call != "group" {
                add(&key.to_lowercase(), event.traits.get(&spelling).usable_text());
            }
            add(&key.to_lowercase(), context_traits.get(&spelling).usable_text());
            add(&key.to_lowercase(), event.properties.get(&spelling).usable_text());
        }
    }

    for key in rules.in_properties.iter().filter(|key| key.to_lowercase() != "email") {
        for spelling in spellings(key) {
            add(&key.to_lowercase(), event.properties.get(&spelling).usable_text());
        }
    }

    if let Json::Array(entries) = context.get("externalIds") {
        for entry in entries {
            let of_users = match entry.get("collection") {
                Json::Null => true,
                Json::String(collection) => collection == "users" || collection.is_empty(),
                _ => false,
            };
            if of_users && let Some(identifier_type) = entry.get("type").usable_text() {
                add(&identifier_type.to_lowercase(), entry.get("id").usable_text());
            }
        }
    }

    let mut identifiers = BTreeSet::new();
    for (identifier_type, value) in found {
        let Some(value) = value.map(|value| normalised(value, &identifier_type, rules)) else { continue };
        // A group id identifies an account, not a person, wherever it occurs.
        if !value.is_empty() && identifier_type != "group_id" {
            identifiers.insert((identifier_type, value));
        }
    }
    identifiers
}

fn usable(value: &Json, identifier_type: &str, rules: &Rules) -> Option<String> {
    let value = normalised(value.usable_text()?, identifier_type, rules);
    (!value.is_empty()).then_some(value)
}

fn normalised(mut value: String, identifier_type: &str, rules: &Rules) -> String {
    if let Some(normalize) = rules.normalize.get(identifier_type) {
        if normalize.trim {
            value = String::from(value.trim());
        }
        if normalize.lowercase {
            value = value.to_lowercase();
        }
    }
    value
}

/// Returns the keys under which a type is looked for.
fn spellings(key: &str) -> Vec<String> {
    let spellings = [key.to_owned(), names::snake_case(key), names::camel_case(key)];
    spellings.into_iter().filter(|spelling| !spelling.is_empty()).collect()
}
