//! From inputs to staged rows: what the jobs that read events have in common.

pub mod assemble;
pub mod event_names;
pub mod prepare;
pub mod refusal;
pub mod rejects;
pub mod resolve;
pub mod steps;
