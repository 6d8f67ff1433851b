//! Parses, calculates with and formats times.

pub mod clock_text;
pub mod reader;
pub mod seq;
pub mod timestamp;
