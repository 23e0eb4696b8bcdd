//! Bytes for bulk transfers: cheap to make, and any byte lost, doubled or moved is seen at its place.

use std::{
    io::{Read, Write},
    sync::LazyLock,
};

/// The pattern's period: a prime, so that no buffer's size divides it.
const PERIOD: usize = 1_048_573;
/// How many bytes are written or compared at once.
const CHUNK: usize = 256 * 1024;

static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let period = (0..PERIOD).map(|_| {
        // Xorshift, Marsaglia 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    });
    let mut bytes: Vec<u8> = period.collect();
    // A chunk that begins near the end of the period goes on with its beginning.
    bytes.extend_from_within(..CHUNK);
    bytes
});

/// A stream of pseudo-random bytes; streams with different beginnings differ.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pattern {
    offset: u64,
}

impl Pattern {
    /// The stream that begins here.
    pub fn from(offset: u64) -> Self {
        Self { offset }
    }

    /// Some of the bytes from `position` on.
    pub fn at(self, position: u64) -> &'static [u8] {
        let start = ((self.offset + position) % PERIOD as u64) as usize;
        &BYTES[start..start + CHUNK]
    }

    /// The first `count` bytes.
    pub fn bytes(self, count: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes, count);
        bytes
    }

    /// Writes the first `count` bytes.
    #[track_caller]
    pub fn write(self, to: &mut impl Write, count: u64) {
        let mut written = 0;
        while written < count {
            let bytes = self.at(written);
            let length = bytes.len().min((count - written) as usize);
            if let Err(error) = to.write_all(&bytes[..length]) {
                panic!("cannot write after {written} of {count} bytes: {error}");
            }
            written += length as u64;
        }
    }

    /// Reads `count` bytes and compares them with the first ones of this stream.
    #[track_caller]
    pub fn read(self, from: &mut impl Read, count: u64) {
        self.read_from(from, 0, count);
    }

    /// Reads `count` bytes and compares them with those from `position` on.
    #[track_caller]
    pub fn read_from(self, from: &mut impl Read, position: u64, count: u64) {
        let mut buffer = vec![0; CHUNK];
        let mut read = 0;
        while read < count {
            let wanted = CHUNK.min((count - read) as usize);
            let received = match from.read(&mut buffer[..wanted]) {
                Ok(0) => panic!("the stream ended after {read} of {count} bytes"),
                Ok(received) => received,
                Err(error) => panic!("cannot read after {read} of {count} bytes: {error}"),
            };
            let expected = &self.at(position + read)[..received];
            if buffer[..received] != *expected {
                let wrong = buffer.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(0) as u64;
                panic!("byte {} of the stream is not what was sent", position + read + wrong);
            }
            read += received as u64;
        }
    }

    /// Compares bytes with those from `position` on.
    #[track_caller]
    pub fn check(self, mut bytes: &[u8], position: u64) {
        let count = bytes.len() as u64;
        self.read_from(&mut bytes, position, count);
    }
}
