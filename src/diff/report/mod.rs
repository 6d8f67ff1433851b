//! What a comparison found, written down: for people, for machines, for a pull request.

pub mod json;
pub mod markdown;
pub mod ndjson;
pub mod people;
pub mod words;
