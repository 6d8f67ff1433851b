//! Checks the zstd frames of a table file, and locates damaged ones.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::{extent::FrameExtent, frames::unpack, to_usize};

/// The frames in the first bytes of a file.
#[derive(Debug)]
pub struct FrameLayout {
    /// Start of each frame, as offsets in the content and in the file. The last pair is the end of the last frame.
    pub starts: Vec<(u64, u64)>,
    /// Whether the last frame ends exactly at the end of these bytes.
    pub complete: bool,
}

impl FrameLayout {
    /// Reads the frame headers in the first `end` bytes of a file. Stops at the first frame whose header is malformed
    /// or lacks the content size, or that extends beyond `end`.
    pub fn read(file: &File, end: u64) -> io::Result<Self> {
        let mut starts = vec![(0, 0)];
        let (mut content, mut offset) = (0, 0);
        while offset < end {
            let frame = FrameExtent::read(file, offset)?.filter(|frame| frame.end <= end);
            let Some((frame_end, n_content)) = frame.and_then(|frame| Some((frame.end, frame.content?)))
            else {
                break;
            };
            content += n_content;
            offset = frame_end;
            starts.push((content, offset));
        }
        Ok(Self { starts, complete: offset == end })
    }

    /// Returns the content size of all frames in bytes.
    #[must_use]
    pub fn content(&self) -> u64 {
        self.starts.last().map_or(0, |start| start.0)
    }

    /// Decompresses frames and returns the file offset of the first damaged one. Checks all frames or, if `only_empty`
    /// is set, only those without content, which nothing else reads.
    pub fn first_damaged(&self, file: &File, only_empty: bool) -> io::Result<Option<u64>> {
        for pair in self.starts.windows(2) {
            let (content, offset) = pair[0];
            let (content_end, end) = pair[1];
            if only_empty && content < content_end {
                continue;
            }
            let mut frame = vec![0; to_usize(end - offset)];
            file.read_exact_at(&mut frame, offset)?;
            // A damaged header may claim any size, so do not allocate memory for it.
            let n_content = content_end - content;
            if MAX_CONTENT < n_content || unpack(&frame, &mut vec![0; to_usize(n_content)]).is_err() {
                return Ok(Some(offset));
            }
        }
        Ok(None)
    }
}

/// Maximum content size in bytes of a frame that this program writes.
const MAX_CONTENT: u64 = 8 << 20;
