//! Tables compressed as zstd frames, read by offset.
//!
//! A compressed table is a sequence of independent frames, so that it can be appended to and any zstd can read it. A
//! frame holds one piece of the content, with the same boundaries as digests use, or the part of a piece that was
//! available when a run ended. Every frame records the size of its content and a checksum. Frames are found by
//! following the headers, so no index is stored: finding the frame of a 1 MiB piece takes nine small reads.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, PoisonError},
};

use rayon::prelude::*;
use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe::CParameter,
};

use super::{extent::FrameExtent, to_usize};
use crate::read::digest::PIECE;

/// On tables of synthetic events in frames of 1 MiB, level 1 is faster than 2 and 3, and neither of them compresses
/// better.
const LEVEL: i32 = 1;

/// Compressed content.
#[derive(Debug, Default)]
pub struct CompressedFrames {
    /// The frames.
    pub bytes: Vec<u8>,
    /// Number of bytes of the content that the frames hold.
    pub n_taken: usize,
    /// Size in bytes of the frames that end at the last piece boundary, if the content reaches one.
    pub n_whole: Option<usize>,
}

/// Compresses content that begins at offset `place` of its table: all complete pieces and, if `all` is set, also the
/// rest.
///
/// Uses all cores. The frames do not depend on the number of cores.
pub fn compress_frames(content: &[u8], place: u64, all: bool) -> io::Result<CompressedFrames> {
    let mut ends = Vec::new();
    let mut end = to_usize(PIECE - place % PIECE);
    while end <= content.len() {
        ends.push(end);
        end += to_usize(PIECE);
    }
    let n_whole = ends.len();
    if all && ends.last().copied().unwrap_or_default() < content.len() {
        ends.push(content.len());
    }
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let pieces: Vec<&[u8]> = starts.zip(&ends).map(|(start, &end)| &content[start..end]).collect();
    let frames: Vec<Vec<u8>> =
        pieces.into_par_iter().with_max_len(1).map(compress_frame).collect::<io::Result<_>>()?;
    Ok(CompressedFrames {
        n_whole: (0 < n_whole).then(|| frames[..n_whole].iter().map(Vec::len).sum()),
        n_taken: ends.last().copied().unwrap_or_default(),
        bytes: frames.concat(),
    })
}

/// Compresses a piece into a frame. A table without rows holds one empty frame, because zstd does not accept an empty
/// file.
pub fn compress_frame(piece: &[u8]) -> io::Result<Vec<u8>> {
    // Created once per thread, because it allocates tables of a megabyte.
    thread_local!(static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) });
    COMPRESSOR.with_borrow_mut(|compressor| {
        if let Some(compressor) = compressor {
            return compressor.compress(piece);
        }
        let mut new = Compressor::new(LEVEL)?;
        new.set_parameter(CParameter::ChecksumFlag(true))?;
        compressor.insert(new).compress(piece)
    })
}

/// Decompresses frames into `out`. Fails if they do not hold exactly `out.len()` bytes of content.
pub fn unpack(frames: &[u8], out: &mut [u8]) -> io::Result<()> {
    let n_bytes = Decompressor::new()?.decompress_to_buffer(frames, out)?;
    if n_bytes == out.len() { Ok(()) } else { Err(damaged()) }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a zstd frame is damaged")
}

/// Maximum content size in bytes of a frame that is read by offset.
const MAX_FRAME_CONTENT: u64 = 8 << 20;

/// A file of frames, read by offset in the content.
#[derive(Debug)]
pub struct Frames {
    file: File,
    /// Start of each frame, as offsets in the content and in the file. The last pair is the end of both.
    starts: Vec<(u64, u64)>,
    /// Frames decompressed recently, newest last.
    recent: Mutex<VecDeque<(usize, FrameSlot)>>,
}

/// The content of a frame, empty until it is first decompressed.
type FrameSlot = Arc<Mutex<Vec<u8>>>;

impl Frames {
    /// Finds the frames of a file: all of them, or as many as hold the first `most` bytes of content.
    ///
    /// Returns `None` if they cannot be read by offset: the content size is missing or too large, or the file is cut
    /// short.
    pub fn find(file: &File, most: Option<u64>) -> io::Result<Option<Self>> {
        let mut starts = Vec::new();
        let (mut content, mut at) = (0, 0);
        let n_bytes = file.metadata()?.len();
        while at < n_bytes && most.is_none_or(|most| content < most) {
            let Some(found) = FrameExtent::read(file, at)?.filter(|found| found.end <= n_bytes) else {
                return Ok(None);
            };
            match found.content {
                Some(0) => {}
                Some(n_content) if n_content <= MAX_FRAME_CONTENT => {
                    starts.push((content, at));
                    content += n_content;
                }
                _ => return Ok(None),
            }
            at = found.end;
        }
        starts.push((content, at));
        Ok(Some(Self { file: file.try_clone()?, starts, recent: Mutex::default() }))
    }

    /// Returns the content size in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.starts.last().map_or(0, |end| end.0)
    }

    /// Fills `out` with the content from `offset` on, which must lie within the content. Decompresses frames on all
    /// cores.
    pub fn read_at(&self, mut out: &mut [u8], offset: u64) -> io::Result<()> {
        let mut place = offset;
        let mut number = self.starts.partition_point(|start| start.0 <= offset).saturating_sub(1);
        let mut pieces = Vec::new();
        while !out.is_empty() {
            let (start, end) = (self.starts[number].0, self.starts[number + 1].0);
            let n_bytes = out.len().min(to_usize(end - place));
            let (now, later) = out.split_at_mut(n_bytes);
            pieces.push((number, to_usize(place - start), now));
            out = later;
            place = end;
            number += 1;
        }
        pieces
            .into_par_iter()
            .with_max_len(1)
            .try_for_each(|(number, from, out)| self.read(number, from, out))
    }

    /// Returns the whole content.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; to_usize(self.length())];
        self.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Fills `out` with the content of frame `number` from byte `from` on.
    fn read(&self, number: usize, from: usize, out: &mut [u8]) -> io::Result<()> {
        let length = to_usize(self.starts[number + 1].0 - self.starts[number].0);
        if out.len() == length { self.unpack(number, out) } else { self.copy(number, from, out) }
    }

    fn unpack(&self, number: usize, out: &mut [u8]) -> io::Result<()> {
        let (start, end) = (self.starts[number].1, self.starts[number + 1].1);
        let mut packed = vec![0; to_usize(end - start)];
        self.file.read_exact_at(&mut packed, start)?;
        unpack(&packed, out)
    }

    /// Copies a part of a frame's content. Readers move forward, so the most recent frames are cached.
    fn copy(&self, number: usize, from: usize, out: &mut [u8]) -> io::Result<()> {
        let slot = self.slot(number);
        let mut content = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if content.is_empty() {
            let mut bytes = vec![0; to_usize(self.starts[number + 1].0 - self.starts[number].0)];
            self.unpack(number, &mut bytes)?;
            *content = bytes;
        }
        out.copy_from_slice(&content[from..from + out.len()]);
        Ok(())
    }

    fn slot(&self, number: usize) -> FrameSlot {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let known = recent.iter().position(|(other, _)| *other == number);
        let found =
            known.and_then(|place| recent.remove(place)).unwrap_or_else(|| (number, FrameSlot::default()));
        // Each thread reads one frame and looks ahead into the next.
        while 2 * rayon::current_num_threads() + 2 <= recent.len() {
            recent.pop_front();
        }
        recent.push_back(found.clone());
        found.1
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{super::extent::ends_at, *};

    fn content(n_bytes: usize, seed: u64) -> Vec<u8> {
        let mut random = seed;
        let mut step = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            random >> 40
        };
        (0..n_bytes).map(|_| b"a row of { : } "[to_usize(step() * step() % 15)]).collect()
    }

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn frames_that_are_appended_hold_what_was_put_in_and_any_zstd_reads_them() {
        let content = content(3_500_000, 1);
        let (mut bytes, mut at) = (compress_frame(b"").unwrap(), 0);
        for end in [10, 10, 400_000, 1 << 20, 2_500_000, 3_500_000] {
            let whole = compress_frames(&content[at..end], at as u64, false).unwrap();
            assert_eq!((at + whole.n_taken) % (1 << 20) * usize::from(0 < whole.n_taken), 0);
            let packed = compress_frames(&content[at..end], at as u64, true).unwrap();
            assert_eq!(packed.n_taken, end - at);
            assert_eq!(packed.bytes[..packed.n_whole.unwrap_or_default()], whole.bytes);
            bytes.extend(packed.bytes);
            at = end;
        }
        assert!(zstd::decode_all(&bytes[..]).unwrap() == content);
        let file = file_of(&bytes);
        assert!(ends_at(&file, 0, bytes.len() as u64).unwrap());
        assert!(!ends_at(&file, 0, bytes.len() as u64 - 1).unwrap());
        let frames = Frames::find(&file, None).unwrap().unwrap();
        assert!(frames.read_all().unwrap() == content);
        for (start, end) in [(0, 3_500_000), (399_990, 400_010), (1 << 20, 2 << 20), (7, 3_499_999), (5, 5)] {
            let mut out = vec![0; end - start];
            frames.read_at(&mut out, start as u64).unwrap();
            assert!(out == content[start..end], "{start}..{end}");
        }
        assert_eq!(Frames::find(&file, Some(10)).unwrap().unwrap().length(), 10);
    }

    #[test]
    fn a_frame_is_the_same_whatever_its_thread_packed_before() {
        let pieces: Vec<Vec<u8>> = (0..20).map(|i| content(1 << (i % 7 + 14), i)).collect();
        let alone =
            |piece: &Vec<u8>| std::thread::scope(|s| s.spawn(|| compress_frame(piece)).join().unwrap());
        for piece in pieces.iter().chain(pieces.iter().rev()) {
            assert!(compress_frame(piece).unwrap() == alone(piece).unwrap());
        }
    }

    #[test]
    fn foreign_frames_are_found_where_they_say_how_large_they_are() {
        let content = content(300_000, 3);
        let streamed = zstd::encode_all(&content[..], 3).unwrap();
        assert!(Frames::find(&file_of(&streamed), None).unwrap().is_none());
        let skipped =
            [&[0x51, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &compress_frame(&content).unwrap()].concat();
        assert!(Frames::find(&file_of(&skipped), None).unwrap().unwrap().read_all().unwrap() == content);
        for small in [0, 1, 200, 255, 256, 300, 70_000] {
            let bytes = zstd::bulk::compress(&content[..small], 9).unwrap();
            let frames = Frames::find(&file_of(&bytes), None).unwrap().unwrap();
            assert!(frames.read_all().unwrap() == content[..small], "{small}");
        }
        let same = zstd::bulk::compress(&vec![7; 100_000], 1).unwrap();
        assert_eq!(Frames::find(&file_of(&same), None).unwrap().unwrap().length(), 100_000);
    }

    #[test]
    fn what_is_cut_short_or_damaged_is_no_row_of_frames() {
        let content = content(300_000, 4);
        let bytes =
            [compress_frame(&content[..100]).unwrap(), compress_frame(&content[100..]).unwrap()].concat();
        for length in [1, 5, 30, bytes.len() - 1] {
            assert!(Frames::find(&file_of(&bytes[..length]), None).unwrap().is_none(), "{length}");
        }
        let mut damaged = bytes;
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        let frames = Frames::find(&file_of(&damaged), None).unwrap().unwrap();
        assert!(frames.read_all().is_err());
        let mut first = [0; 50];
        frames.read_at(&mut first, 10).unwrap();
        assert_eq!(first, content[10..60]);
    }
}
