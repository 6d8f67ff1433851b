//! Times: read from JSON and text, calculated with, written.

pub mod clock_text;
pub mod reader;
pub mod timestamp;
