//! Messages as bytes: pure functions with limits.
//!
//! A frame is a header of 16 bytes (`TGHO`, then three numbers of four bytes each, the most significant first: the
//! length of the JSON, the length of the bytes behind it, the number of descriptors), then the JSON, then the bytes.

use crate::message::Message;

/// What every frame begins with.
pub const MAGIC: [u8; 4] = *b"TGHO";
/// The length of a header.
pub const HEADER: usize = 16;
/// No message's JSON is longer.
pub const JSON_LIMIT: usize = 16 << 20;
/// No message has more bytes behind it.
pub const BYTES_LIMIT: usize = 32 << 20;

/// Why bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The first bytes are others.
    #[error("the other side does not speak the handoff's protocol")]
    Magic,
    /// A length is over its limit.
    #[error("a message is too long: {what} is {length}, the limit is {limit}")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// How long it says it is.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// The JSON says nothing that this build knows.
    #[error("a message cannot be read: {0}")]
    Json(#[from] serde_json::Error),
}

/// What a frame's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The JSON's length.
    pub json: usize,
    /// The length of the bytes behind it.
    pub bytes: usize,
    /// How many descriptors come with it.
    pub descriptors: usize,
}

impl Header {
    /// The length of what follows the header.
    pub const fn body(&self) -> usize {
        self.json + self.bytes
    }

    /// Reads a header.
    pub fn decode(header: &[u8; HEADER]) -> Result<Self, FrameError> {
        if header[..4] != MAGIC {
            return Err(FrameError::Magic);
        }
        let number = |at: usize, what, limit| {
            let length = header[at..at + 4].iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
            if length > limit { Err(FrameError::TooLong { what, length, limit }) } else { Ok(length) }
        };
        Ok(Self {
            json: number(4, "the JSON", JSON_LIMIT)?,
            bytes: number(8, "what flows hold", BYTES_LIMIT)?,
            descriptors: number(12, "the number of descriptors", tidegate_sys::rights::MOST_DESCRIPTORS)?,
        })
    }

    /// Writes a header.
    pub fn encode(&self) -> Result<[u8; HEADER], FrameError> {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&MAGIC);
        for (at, number) in [(4, self.json), (8, self.bytes), (12, self.descriptors)] {
            // Whatever does not fit is over its limit, which the reading finds.
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            header[at..at + 4].copy_from_slice(&number.to_be_bytes());
        }
        Self::decode(&header)?;
        Ok(header)
    }
}

/// A message as a whole frame.
pub fn encode(message: &Message, bytes: &[u8], descriptors: usize) -> Result<Vec<u8>, FrameError> {
    let json = serde_json::to_vec(message)?;
    let header = Header { json: json.len(), bytes: bytes.len(), descriptors }.encode()?;
    Ok([&header[..], &json, bytes].concat())
}

/// The message and the bytes behind it, from a frame's body.
pub fn decode(header: &Header, mut body: Vec<u8>) -> Result<(Message, Vec<u8>), FrameError> {
    let bytes = body.split_off(header.json.min(body.len()));
    Ok((serde_json::from_slice(&body)?, bytes))
}

#[cfg(test)]
mod tests;
