//! Names of tables and columns: the `snake_case` rule, reserved names, and flattening.

use std::collections::BTreeMap;

use super::json::Json;

/// Every table and view that is not named after a track event.
pub(crate) const BUILT_IN_TABLES: [&str; 19] = [
    "id_graph_updates",
    "external_id_mapping_updates",
    "profile_traits_updates",
    "identifies",
    "pages",
    "screens",
    "groups",
    "aliases",
    "tracks",
    "id_graph",
    "external_id_mapping",
    "profile_traits",
    "user_traits",
    "user_identifiers",
    "profile_merges",
    "rejected",
    "identity_violations",
    "identity_links",
    "backfill_conflicts",
];

/// Splits a name into words that match `[A-Z0-9]*[a-z0-9]*`, in lower case; all other characters separate words.
fn words(name: &str) -> Vec<String> {
    let bytes = name.as_bytes();
    let mut words = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        while at < bytes.len() && (bytes[at].is_ascii_uppercase() || bytes[at].is_ascii_digit()) {
            at += 1;
        }
        while at < bytes.len() && (bytes[at].is_ascii_lowercase() || bytes[at].is_ascii_digit()) {
            at += 1;
        }
        if start == at {
            at += 1;
        } else {
            words.push(String::from_utf8_lossy(&bytes[start..at]).to_ascii_lowercase());
        }
    }
    words
}

/// Converts `Order Completed` to `order_completed`; empty if the name has no ASCII letter or digit.
pub(crate) fn snake_case(name: &str) -> String {
    words(name).join("_")
}

/// Converts `loyalty_id` to `loyaltyId`.
pub(crate) fn camel_case(name: &str) -> String {
    let mut out = String::new();
    for word in words(name) {
        if out.is_empty() {
            out.push_str(&word);
        } else {
            out.push_str(&word[..1].to_ascii_uppercase());
            out.push_str(&word[1..]);
        }
    }
    out
}

/// Returns the table for a track event of this name; `None` if it has none.
pub(crate) fn event_table(name: &str) -> Option<String> {
    let table = snake_case(name);
    if table.is_empty() || 200 < table.len() {
        None
    } else if BUILT_IN_TABLES.contains(&table.as_str()) {
        Some(format!("_{table}"))
    } else {
        Some(table)
    }
}

/// Returns the scalars of a payload in order, each with the path of its keys in `snake_case`.
///
/// Arrays become strings with their JSON text. Nulls, empty objects and keys without letters or digits are left out.
pub(crate) fn flatten(parts: &[String], value: &Json) -> Vec<(Vec<String>, Json)> {
    match value {
        Json::Null => Vec::new(),
        Json::Array(_) => vec![(parts.to_vec(), Json::String(value.to_text()))],
        Json::Object(members) => {
            let mut out = Vec::new();
            for (key, member) in members {
                let name = snake_case(key);
                if !name.is_empty() {
                    let mut longer = parts.to_vec();
                    longer.push(name);
                    out.extend(flatten(&longer, member));
                }
            }
            out
        }
        scalar => vec![(parts.to_vec(), scalar.clone())],
    }
}

/// Returns the columns of a payload; if two keys give the same column, the last one wins.
pub(crate) fn columns(parts: &[String], value: &Json) -> BTreeMap<String, Json> {
    flatten(parts, value).into_iter().map(|(path, scalar)| (path.join("_"), scalar)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;

    #[test]
    fn names_follow_the_worked_examples() {
        for (name, expected) in [
            ("Order Completed", "order_completed"),
            ("userIDs", "user_ids"),
            ("HTMLParser", "htmlparser"),
            ("iPhone Model", "i_phone_model"),
            ("2FA Enabled", "2fa_enabled"),
            ("Caf\u{e9} Visited", "caf_visited"),
            ("price (USD)", "price_usd"),
            ("postalCode", "postal_code"),
            ("__weird--name__", "weird_name"),
            ("\u{65e5}\u{672c}", ""),
        ] {
            assert_eq!(snake_case(name), expected);
        }
        assert_eq!(camel_case("loyalty_card_id"), "loyaltyCardId");
        assert_eq!(event_table("Pages").as_deref(), Some("_pages"));
        assert_eq!(event_table("!!!"), None);
        assert_eq!(event_table(&"x".repeat(201)), None);
    }

    #[test]
    fn objects_flatten_and_the_last_value_of_a_column_wins() {
        let payload = "{\"a\":{\"bC\":1.0,\"\":2,\"e\":{}},\"a_b_c\":null,\"l\":[1, {\"x\":null}],\"A\":{\"b_c\":\"s\"}}";
        let columns = columns(&[], &json::parse(payload).expect("the text is JSON"));
        let text: Vec<String> =
            columns.iter().map(|(name, value)| format!("{name}={}", value.to_text())).collect();
        assert_eq!(text, ["a_b_c=\"s\"", "l=\"[1,{\\\"x\\\":null}]\""]);
    }
}
