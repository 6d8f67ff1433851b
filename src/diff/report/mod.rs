//! Reports of a comparison: for people, for programs, for a pull request.

pub mod json;
pub mod markdown;
pub mod ndjson;
pub mod people;
pub mod words;
