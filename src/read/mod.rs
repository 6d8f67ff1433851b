//! Inputs: finds the files, decompresses them, and reads them in chunks of whole lines.

pub mod chunk;
pub mod digest;
pub mod gzip;
pub mod inputs;
mod interruptible_reader;
pub mod line_records;
pub mod lines;
pub mod plan;
pub mod scan;
mod sort;
pub mod spill;
