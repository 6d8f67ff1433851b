//! Derives table and column names in `snake_case`, by one rule on bytes.
//!
//! Only `[A-Za-z0-9]` are kept; everything else separates words. A word is `[A-Z0-9]*[a-z0-9]*`. Words are lower-cased
//! and joined with `_`, so `userIDs` becomes `user_ids` and `HTMLParser` becomes `htmlparser`.

use crate::catalog;

/// Appends the `snake_case` form of `name` to `out`. Appends nothing if `name` has no letters or digits.
///
/// ```
/// # use profiles_sync::names::push_snake_case;
/// let mut column = Vec::new();
/// push_snake_case(&mut column, "2FA Enabled".as_bytes());
/// assert_eq!(column, b"2fa_enabled");
/// ```
pub fn push_snake_case(out: &mut Vec<u8>, name: &[u8]) {
    let mut in_word = false;
    let mut after_lower = false;
    let mut first = true;
    for &byte in name {
        match byte {
            b'A'..=b'Z' => {
                if !in_word || after_lower {
                    if !first {
                        out.push(b'_');
                    }
                    after_lower = false;
                }
                in_word = true;
                out.push(byte.to_ascii_lowercase());
            }
            b'a'..=b'z' | b'0'..=b'9' => {
                if !in_word && !first {
                    out.push(b'_');
                }
                if !in_word {
                    after_lower = false;
                }
                // A digit belongs to the half of the word that it is in.
                after_lower |= byte.is_ascii_lowercase();
                in_word = true;
                out.push(byte);
            }
            _ => {
                in_word = false;
                continue;
            }
        }
        first = false;
    }
}

/// Returns the `snake_case` form of `name`, which is empty if `name` has no letters or digits.
#[must_use]
pub fn snake_case(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 4);
    push_snake_case(&mut out, name);
    out
}

/// Returns the camelCase form of `name`: its `snake_case` words joined, all but the first capitalized.
#[must_use]
pub fn camel_case(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut capital = false;
    for byte in snake_case(name) {
        if byte == b'_' {
            capital = true;
        } else {
            out.push(if capital { byte.to_ascii_uppercase() } else { byte });
            capital = false;
        }
    }
    out
}

/// Maximum length of a table name. A track event with a longer one gets no table.
const MAX_TABLE_NAME: usize = 200;

/// Returns the table name for the name of a track event, or an empty name if the event gets no table.
#[must_use]
pub fn event_table(name: &[u8]) -> Vec<u8> {
    let mut table = snake_case(name);
    if MAX_TABLE_NAME < table.len() {
        table.clear();
    } else if std::str::from_utf8(&table).is_ok_and(catalog::is_built_in) {
        table.insert(0, b'_');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: &str) {
        assert_eq!(String::from_utf8(snake_case(name.as_bytes())).unwrap(), expected, "{name}");
    }

    #[test]
    fn names_follow_the_rule() {
        check("Order Completed", "order_completed");
        check("userIDs", "user_ids");
        check("HTMLParser", "htmlparser");
        check("iPhone Model", "i_phone_model");
        check("2FA Enabled", "2fa_enabled");
        check("Caf\u{e9} Visited", "caf_visited");
        check("price (USD)", "price_usd");
        check("price2Go", "price2_go");
        check("A1b2C", "a1b2_c");
        check("9Lives", "9lives");
        check("__x__Y__", "x_y");
        check("\u{4f60}\u{597d}", "");
        check("", "");
    }

    #[test]
    fn camel_case_joins_words() {
        assert_eq!(camel_case(b"crm_id"), b"crmId");
        assert_eq!(camel_case(b"CRM Id"), b"crmId");
    }
}
