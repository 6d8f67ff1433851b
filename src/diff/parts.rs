//! Reads a table on all cores if the order of its rows does not matter: plain files in ranges of whole lines,
//! compressed ones as a whole.

use rayon::prelude::*;

use crate::{error::Result, files::Files, read::inputs::CompressionFormat};

use super::{
    rows::{BLOCK, TableLines},
    sides::{TableFile, TableFiles, TableFormat},
};

/// The approximate size of a range, in bytes.
const RANGE: u64 = 4 << 20;

/// Reads a table in partitions. Returns the results in the order of the partitions.
pub fn read_in_ranges<T: Send>(
    table: &TableFiles,
    files: &Files,
    read: impl Fn(&mut TableLines<'_>) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let of_files: Vec<Vec<T>> =
        table.par_iter().with_max_len(1).map(|file| read_file(file, files, &read)).collect::<Result<_>>()?;
    Ok(of_files.into_iter().flatten().collect())
}

fn read_file<T: Send>(
    file: &TableFile,
    files: &Files,
    read: &(impl Fn(&mut TableLines<'_>) -> Result<T> + Sync),
) -> Result<Vec<T>> {
    if file.packing != CompressionFormat::Plain || file.format != TableFormat::Json || file.bytes <= RANGE {
        return Ok(vec![read(&mut TableLines::of_table(&vec![file.clone()], files))?]);
    }
    let opened = file.open(files)?;
    // A line belongs to the range in which it begins, so a range begins where the line across its start ends.
    let start_of = |n: u64| -> Result<u64> {
        let cut = n * RANGE;
        if cut <= file.start {
            return Ok(file.start);
        }
        if file.bytes <= cut {
            return Ok(file.bytes);
        }
        let mut rows = TableLines::of_range(&file.path, &opened, cut - 1..file.bytes, 4 << 10, files);
        rows.pass_to_line_end()?;
        Ok(rows.place().offset)
    };
    (0..file.bytes.div_ceil(RANGE))
        .collect::<Vec<_>>()
        .into_par_iter()
        .with_max_len(1)
        .map(|n| {
            let range = start_of(n)?..start_of(n + 1)?;
            read(&mut TableLines::of_range(&file.path, &opened, range, BLOCK, files))
        })
        .collect()
}
