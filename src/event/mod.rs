//! One line becomes an event, or a reject.

pub mod json;
pub mod timestamp;
