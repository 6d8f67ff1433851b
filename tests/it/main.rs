//! All tests that run the program or the library as a whole, in one binary: a second one would link for a minute more.

mod cli;
mod documents;
mod failures;
mod golden;
mod properties;
mod rejects;
mod sample;
mod support;

#[path = "../generate/dump.rs"]
mod dump;
