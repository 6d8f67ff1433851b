//! Finds the ends of zstd frames from the headers of frames and blocks: RFC 8878, section 3.1.1.

use std::{fs::File, io, os::unix::fs::FileExt};

/// Returns whether a sequence of frames that begins at offset `start` ends exactly at `end`.
pub fn ends_at(file: &File, start: u64, end: u64) -> io::Result<bool> {
    let mut at = start;
    while at < end {
        let Some(found) = FrameExtent::read(file, at)? else { return Ok(false) };
        at = found.end;
    }
    Ok(at == end)
}

/// The extent of a frame.
pub(super) struct FrameExtent {
    /// Offset of its end in the file.
    pub(super) end: u64,
    /// Content size in bytes, if the header gives it.
    pub(super) content: Option<u64>,
}

impl FrameExtent {
    /// Reads the headers of a frame and of its blocks. Returns `None` if they are not valid.
    pub(super) fn read(file: &File, start: u64) -> io::Result<Option<Self>> {
        // Room for the longest frame header and the first block header.
        let mut head = [0; 21];
        let n_read = read_some(file, &mut head, start)?;
        let Some((magic, rest)) = head[..n_read].split_first_chunk::<4>() else { return Ok(None) };
        let number = |bytes: &[u8]| {
            let mut all = [0; 8];
            all[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(all)
        };
        if matches!(magic, [0x50..=0x5f, 0x2a, 0x4d, 0x18]) {
            let Some(length) = rest.get(..4) else { return Ok(None) };
            return Ok(Some(Self { end: start + 8 + number(length), content: Some(0) }));
        }
        let Some((&flags, rest)) = rest.split_first() else { return Ok(None) };
        if *magic != [0x28, 0xb5, 0x2f, 0xfd] {
            return Ok(None);
        }
        let alone = flags & 0x20 != 0;
        let n_window = usize::from(!alone);
        let n_dictionary = [0, 1, 2, 4][usize::from(flags & 3)];
        let n_content = [usize::from(alone), 2, 4, 8][usize::from(flags >> 6)];
        let n_before = n_window + n_dictionary;
        let Some(content) = rest.get(n_before..n_before + n_content) else { return Ok(None) };
        let content = match n_content {
            0 => None,
            2 => Some(number(content) + 256),
            _ => Some(number(content)),
        };
        let mut at = start + 5 + (n_before + n_content) as u64;
        loop {
            let mut block = [0; 3];
            if read_some(file, &mut block, at)? < block.len() {
                return Ok(None);
            }
            let block = number(&block);
            let n_bytes = match block >> 1 & 3 {
                0 | 2 => block >> 3,
                // A run-length block stores one byte.
                1 => 1,
                _ => return Ok(None),
            };
            at += 3 + n_bytes;
            if block & 1 != 0 {
                break;
            }
        }
        Ok(Some(Self { end: at + if flags & 4 != 0 { 4 } else { 0 }, content }))
    }
}

/// Fills `out` as far as the file goes, and returns the number of bytes read.
fn read_some(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut n_read = 0;
    while n_read < out.len() {
        match file.read_at(&mut out[n_read..], offset + n_read as u64) {
            Ok(0) => break,
            Ok(n_bytes) => n_read += n_bytes,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(n_read)
}
