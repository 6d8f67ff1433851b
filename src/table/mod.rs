//! Tables as files of lines: raw tables are read, ours and a warehouse's export; views are written.
//!
//! A raw table is a list of [`find::Part`]s, opened as [`source::Source`]s, cut into blocks of whole lines that are
//! parsed on all cores ([`blocks`]), each line a [`row::Row`] of the columns asked for. Rows too large to keep are found
//! again by their place ([`reread`]). [`mod@write`] is the way out.

pub mod blocks;
pub mod clock;
pub mod extent;
pub mod find;
pub mod frame_check;
pub mod frames;
pub mod reread;
pub mod row;
pub mod scan;
pub mod source;
pub mod write;

/// A number of rows, files or bytes that is kept in 32 bits: blocks of lines, and what is counted in a table, are below
/// 2^32.
pub(crate) fn small(number: usize) -> u32 {
    u32::try_from(number).expect("blocks, rows and files are counted in 32 bits")
}
