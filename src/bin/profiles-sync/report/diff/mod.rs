//! Reports of a comparison: for people, for programs, for a pull request.

pub(crate) mod json;
pub(crate) mod markdown;
pub(crate) mod people;
pub(crate) mod words;
