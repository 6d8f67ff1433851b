//! Digests of files: the same whether the bytes came at once or over a hundred runs, and taken up again without reading
//! the file anew.
//!
//! The bytes are cut into pieces of 1 MiB. Each piece is hashed, and the hashes are chained: link = XXH3-128(link before,
//! hash of the piece). The digest is the last link; a file's last piece may be short.

use std::{fs::File, io, os::unix::fs::FileExt};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Bytes of a piece.
pub const PIECE: u64 = 1 << 20;

/// A digest being taken.
#[derive(Clone)]
pub struct Digest {
    link: u128,
    piece: Box<Xxh3>,
    n_in_piece: u64,
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({})", self.hex())
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::resume(0)
    }
}

impl Digest {
    /// Carries on behind whole pieces; the bytes of a short last piece have to be given again.
    #[must_use]
    pub fn resume(link: u128) -> Self {
        Self { link, piece: Box::new(Xxh3::new()), n_in_piece: 0 }
    }

    /// Takes more bytes in.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(PIECE - self.n_in_piece).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.piece.update(now);
            self.n_in_piece += now.len() as u64;
            if self.n_in_piece == PIECE {
                self.link = chain(self.link, self.piece.digest128());
                self.piece.reset();
                self.n_in_piece = 0;
            }
            bytes = later;
        }
    }

    /// The link behind the last whole piece.
    #[must_use]
    pub fn link(&self) -> u128 {
        self.link
    }

    /// The digest of all bytes so far, as 32 hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        let last = if self.n_in_piece == 0 { self.link } else { chain(self.link, self.piece.digest128()) };
        format!("{last:032x}")
    }
}

/// The next link.
#[must_use]
pub fn chain(link: u128, piece: u128) -> u128 {
    let mut both = [0; 32];
    both[..16].copy_from_slice(&link.to_be_bytes());
    both[16..].copy_from_slice(&piece.to_be_bytes());
    xxh3_128(&both)
}

/// The digest of a file from the hashes of its pieces, whole ones and a short last one.
#[must_use]
pub fn hex_of_pieces(pieces: impl IntoIterator<Item = u128>) -> String {
    format!("{:032x}", pieces.into_iter().fold(0, chain))
}

/// The digest of so many of a file's bytes.
pub fn digest_of(file: &File, size: u64) -> io::Result<String> {
    let mut piece = vec![0; usize::try_from(PIECE).unwrap_or(usize::MAX)];
    let mut pieces = Vec::new();
    let mut offset = 0;
    while offset < size {
        let length = usize::try_from((size - offset).min(PIECE)).unwrap_or(usize::MAX);
        file.read_exact_at(&mut piece[..length], offset)?;
        pieces.push(xxh3_128(&piece[..length]));
        offset += length as u64;
    }
    Ok(hex_of_pieces(pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_however_the_bytes_come() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        let mut whole = Digest::default();
        whole.update(&bytes);
        let mut parts = Digest::default();
        for part in bytes.chunks(77_777) {
            parts.update(part);
        }
        assert_eq!(whole.hex(), parts.hex());
        let pieces = bytes.chunks(usize::try_from(PIECE).unwrap()).map(xxh3_128);
        assert_eq!(whole.hex(), hex_of_pieces(pieces));
        let mut resumed = Digest::resume(whole.link());
        resumed.update(&bytes[2 << 20..]);
        assert_eq!(whole.hex(), resumed.hex());
    }
}
