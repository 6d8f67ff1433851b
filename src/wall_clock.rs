//! The current time, for messages, `--json` and the run log, never for a table or a view.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::timestamp::push_millis;

/// Returns the current time as RFC 3339 in UTC, with milliseconds.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "for people and logs; tables and views use only event clocks")]
pub fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut text = Vec::new();
    push_millis(&mut text, i64::try_from(now.as_millis()).unwrap_or(0));
    String::from_utf8_lossy(&text).into_owned()
}
