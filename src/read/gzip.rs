//! gzip with one or more members. Zero bytes after the last member are padding, as tapes and block devices add it.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Decompresses all members in sequence.
#[derive(Debug)]
pub struct GzipMembers<R> {
    /// `None` after the last member.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> GzipMembers<R> {
    /// Creates a reader for a stream that begins with a gzip member.
    pub fn new(compressed: R) -> Self {
        Self { member: Some(GzDecoder::new(compressed)) }
    }
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let n_read = member.read(out)?;
            if 0 < n_read || out.is_empty() {
                return Ok(n_read);
            }
            self.member = match self.member.take() {
                Some(ended) => next(ended.into_inner())?,
                None => None,
            };
        }
        Ok(0)
    }
}

/// Returns the next member, or `None` at the end of the stream. Skips padding.
fn next<R: BufRead>(mut rest: R) -> io::Result<Option<GzDecoder<R>>> {
    let mut padded = false;
    loop {
        let bytes = rest.fill_buf()?;
        let n_zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let (ended, only_zeros) = (bytes.is_empty(), n_zeros == bytes.len());
        padded |= 0 < n_zeros;
        rest.consume(n_zeros);
        if ended {
            return Ok(None);
        }
        if !only_zeros {
            break;
        }
    }
    if padded {
        let message = "data follows the zero padding after the last gzip member";
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(Some(GzDecoder::new(rest)))
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn member(text: &str) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn zero_bytes_are_padding_after_the_last_member_only() {
        let (one, two) = (member("one"), member("two"));
        for capacity in [1, 7, 4096] {
            let read = |parts: &[&[u8]]| {
                let mut text = String::new();
                GzipMembers::new(BufReader::with_capacity(capacity, parts.concat().as_slice()))
                    .read_to_string(&mut text)
                    .map(|_| text)
                    .map_err(|e| e.kind())
            };
            let zeros = [0; 1000];
            assert_eq!(read(&[&one]).unwrap(), "one");
            assert_eq!(read(&[&one, &member(""), &two]).unwrap(), "onetwo");
            assert_eq!(read(&[&one, &two, &zeros[..1]]).unwrap(), "onetwo");
            assert_eq!(read(&[&one, &zeros]).unwrap(), "one");
            assert_eq!(read(&[&one, &zeros, &two]), Err(io::ErrorKind::InvalidData));
            assert_eq!(read(&[&one, b"x"]), Err(io::ErrorKind::UnexpectedEof));
            assert!(read(&[&one, b"trailing garbage"]).is_err());
            assert_eq!(read(&[&one, &two[..10]]), Err(io::ErrorKind::UnexpectedEof));
        }
    }
}
