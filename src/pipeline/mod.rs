//! The stages from inputs to staged rows, shared by the jobs that read events.

pub mod assemble;
pub mod event_names;
pub mod prepare;
pub mod refusal;
pub mod rejects;
pub mod resolve;
pub mod steps;
