//! Tables as files of lines. Raw tables are read, both this program's and exports from a warehouse; views are written.
//!
//! A raw table is a list of [`find::RawTableFile`]s, each opened as a [`source::TableSource`]. Sources are divided into
//! blocks of whole lines, which all cores parse ([`blocks`]). Each line is a [`row::TableRow`] with the requested
//! columns. Rows that are too large to keep in memory are read again by offset ([`reread`]). Views are written by
//! [`mod@write`].

pub mod blocks;
pub mod by_clock;
pub mod clock;
pub mod extent;
pub mod find;
pub mod frame_check;
pub mod frames;
pub mod head;
pub mod reread;
pub mod row;
pub mod scan;
pub mod source;
pub mod write;

/// Converts a count of rows, files or bytes to 32 bits. Blocks of lines, and what is counted in a table, are below
/// 2^32.
pub(crate) fn to_u32(number: usize) -> u32 {
    u32::try_from(number).expect("counts of blocks, rows and files fit in 32 bits")
}

/// Converts a length or offset in a file whose content is in memory.
pub(crate) fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).expect("content in memory has a length that fits in `usize`")
}
