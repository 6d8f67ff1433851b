//! Inputs: finds the files, decompresses them, and reads them in chunks of whole lines.

pub mod digest;
pub mod gzip;
pub mod inputs;
pub mod line_records;
pub mod lines;
mod patient;
pub mod plan;
pub mod scan;
mod sort;
pub mod spill;
pub mod unit;
