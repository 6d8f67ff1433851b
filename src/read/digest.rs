//! Digests of files. A digest does not depend on how the bytes were split between writes or runs, and it can be resumed
//! without rereading the file.
//!
//! The file is divided into 1 MiB pieces; the last one may be shorter. Each piece is hashed, and the hashes are
//! chained: link = hash(previous link, hash of the piece). The digest is the last link.
//!
//! Digests of tables are checksums that guard against damage. Digests of inputs decide whether a file is skipped as
//! already ingested. They depend on a secret of the space, so that nobody else can craft a file with the digest of
//! another one.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use xxhash_rust::xxh3::{Xxh3, xxh3_128, xxh3_128_with_secret};

/// Bytes per piece.
pub const PIECE: u64 = 1 << 20;

/// Size in bytes of an XXH3 secret.
const SECRET: usize = 192;

/// How pieces and links are hashed. The default uses no secret.
#[derive(Clone, Default)]
pub struct Hashing(Option<Arc<DigestKeys>>);

struct DigestKeys {
    /// XXH3 secret for pieces.
    pieces: [u8; SECRET],
    /// BLAKE3 key for links. BLAKE3 ensures that a digest reveals nothing about the secret.
    links: [u8; 32],
}

impl std::fmt::Debug for Hashing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Hashing(keyed)" } else { "Hashing(unkeyed)" })
    }
}

impl Hashing {
    /// Returns keyed hashing with this secret.
    #[must_use]
    pub fn keyed(secret: &[u8; 32]) -> Self {
        let mut keys = DigestKeys { pieces: [0; SECRET], links: [0; 32] };
        let mut expanded = blake3::Hasher::new_keyed(secret).finalize_xof();
        expanded.fill(&mut keys.pieces);
        expanded.fill(&mut keys.links);
        Self(Some(Arc::new(keys)))
    }

    /// Starts a new digest.
    #[must_use]
    pub fn begin(&self) -> Digest {
        Digest { piece: self.hasher(), hashing: self.clone(), link: 0, n_in_piece: 0 }
    }

    /// Returns the hash of a piece.
    #[must_use]
    pub fn piece(&self, bytes: &[u8]) -> u128 {
        match &self.0 {
            Some(keys) => xxh3_128_with_secret(bytes, &keys.pieces),
            None => xxh3_128(bytes),
        }
    }

    fn hasher(&self) -> Box<Xxh3> {
        Box::new(self.0.as_ref().map_or_else(Xxh3::new, |keys| Xxh3::with_secret(keys.pieces)))
    }

    /// Returns the next link.
    fn chain(&self, link: u128, piece: u128) -> u128 {
        let mut both = [0; 32];
        both[..16].copy_from_slice(&link.to_be_bytes());
        both[16..].copy_from_slice(&piece.to_be_bytes());
        match &self.0 {
            Some(keys) => {
                let hash = blake3::keyed_hash(&keys.links, &both);
                u128::from_be_bytes(hash.as_bytes().first_chunk().copied().unwrap_or_default())
            }
            None => xxh3_128(&both),
        }
    }

    /// Returns the digest of a file, given the hashes of its pieces in order, including a short last one.
    #[must_use]
    pub fn hex_of_pieces(&self, pieces: impl IntoIterator<Item = u128>) -> String {
        format!("{:032x}", pieces.into_iter().fold(0, |link, piece| self.chain(link, piece)))
    }

    /// Returns the digest of the first `size` bytes of a file.
    pub fn digest_of(&self, file: &File, size: u64) -> io::Result<String> {
        self.digest_of_range(file, 0, size)
    }

    /// Returns the digest of `size` bytes of a file, starting at byte `start`.
    pub fn digest_of_range(&self, file: &File, start: u64, size: u64) -> io::Result<String> {
        let mut piece = vec![0; usize::try_from(size.min(PIECE)).unwrap_or(usize::MAX)];
        let mut pieces = Vec::new();
        let mut offset = 0;
        while offset < size {
            let length = usize::try_from((size - offset).min(PIECE)).unwrap_or(usize::MAX);
            file.read_exact_at(&mut piece[..length], start + offset)?;
            pieces.push(self.piece(&piece[..length]));
            offset += length as u64;
        }
        Ok(self.hex_of_pieces(pieces))
    }
}

/// A digest that is being computed.
#[derive(Clone)]
pub struct Digest {
    hashing: Hashing,
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
        Hashing::default().begin()
    }
}

impl Digest {
    /// Resumes a table's digest after whole pieces, given the last link. The caller must supply the bytes of a partial
    /// last piece again.
    #[must_use]
    pub fn resume(link: u128) -> Self {
        Self { link, ..Self::default() }
    }

    /// Adds bytes to the digest.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(PIECE - self.n_in_piece).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.piece.update(now);
            self.n_in_piece += now.len() as u64;
            if self.n_in_piece == PIECE {
                self.link = self.hashing.chain(self.link, self.piece.digest128());
                self.piece.reset();
                self.n_in_piece = 0;
            }
            bytes = later;
        }
    }

    /// Returns the link after the last whole piece.
    #[must_use]
    pub fn link(&self) -> u128 {
        self.link
    }

    /// Returns the digest of all bytes so far, as 32 hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        let last = if self.n_in_piece == 0 {
            self.link
        } else {
            self.hashing.chain(self.link, self.piece.digest128())
        };
        format!("{last:032x}")
    }
}

/// Returns the next link of a table's digest.
#[must_use]
pub fn chain(link: u128, piece: u128) -> u128 {
    Hashing::default().chain(link, piece)
}

/// Returns the table digest of `size` bytes of a file, starting at byte `start`.
pub fn digest_of_range(file: &File, start: u64, size: u64) -> io::Result<String> {
    Hashing::default().digest_of_range(file, start, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_however_the_bytes_come() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        for hashing in [Hashing::default(), Hashing::keyed(&[7; 32])] {
            for length in [0, 1, 9, 100, 200, 241, 1 << 20, bytes.len()] {
                let bytes = &bytes[..length];
                let mut whole = hashing.begin();
                whole.update(bytes);
                let mut parts = hashing.begin();
                for part in bytes.chunks(77_777) {
                    parts.update(part);
                }
                assert_eq!(whole.hex(), parts.hex());
                let pieces = bytes.chunks(usize::try_from(PIECE).unwrap()).map(|piece| hashing.piece(piece));
                assert_eq!(whole.hex(), hashing.hex_of_pieces(pieces));
            }
        }
        let mut whole = Digest::default();
        whole.update(&bytes);
        let mut resumed = Digest::resume(whole.link());
        resumed.update(&bytes[2 << 20..]);
        assert_eq!(whole.hex(), resumed.hex());
    }

    #[test]
    fn a_secret_makes_other_digests() {
        let digest = |hashing: &Hashing| {
            let mut digest = hashing.begin();
            digest.update(b"some bytes");
            digest.hex()
        };
        let keyed = digest(&Hashing::keyed(&[1; 32]));
        assert_eq!(keyed, digest(&Hashing::keyed(&[1; 32])));
        assert_ne!(keyed, digest(&Hashing::keyed(&[2; 32])));
        assert_ne!(keyed, digest(&Hashing::default()));
    }
}
