//! A connection between the two processes: whole messages, one after the other, each within a time.

use std::{
    io,
    net::Shutdown,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::{Duration, Instant},
};

use tidegate_sys::rights;

use crate::{
    frame::{self, FrameError, HEADER, Header},
    message::Message,
    peer::{self, Peer},
};

/// A connection.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    peer: Peer,
}

/// A message that has come.
#[derive(Debug)]
pub struct Received {
    /// What it says.
    pub message: Message,
    /// The bytes behind it.
    pub bytes: Vec<u8>,
    /// The descriptors with it.
    pub descriptors: Vec<OwnedFd>,
}

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other side is gone.
    #[error("the other process has gone")]
    Ended,
    /// It said nothing in time.
    #[error("the other process said nothing for {0:?}")]
    Silent(Duration),
    /// It said a part of something, and no more in time, or no more at all.
    #[error("the other process stopped in the middle of a word")]
    Torn,
    /// What came is no message.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message came with fewer or more descriptors than it says.
    #[error("a message came with {got} descriptors and says {said}")]
    Descriptors {
        /// How many it says.
        said: usize,
        /// How many came.
        got: usize,
    },
    /// The other side belongs to somebody else.
    #[error("process of user {found} speaks with one of user {own}: run both as the same user")]
    User {
        /// Whose it is.
        found: u32,
        /// Who this is.
        own: u32,
    },
    /// The kernel refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Channel {
    /// Takes a connection over. Both sides must belong to the same user; root may be the other one.
    pub fn new(stream: UnixStream, own: u32) -> Result<Self, ChannelError> {
        let (peer, stream) = peer::of(stream)?;
        if peer.user == own || peer.user == 0 {
            Ok(Self { stream, peer })
        } else {
            Err(ChannelError::User { found: peer.user, own })
        }
    }

    /// Takes a connection over that somebody has made here, and tells a stranger why it is refused.
    pub fn accepted(stream: UnixStream, own: u32) -> Result<Self, ChannelError> {
        let words = stream.try_clone()?;
        Self::new(stream, own).inspect_err(|error| {
            let frame = frame::encode(&Message::Refuse { why: error.to_string() }, &[], 0);
            // Whoever does not listen to that need not know.
            if let Ok(frame) = frame
                && words.set_nonblocking(true).is_ok()
            {
                let _ = rights::send_with(&words, &frame, &[]);
            }
        })
    }

    /// Connects.
    pub fn connect(path: &Path, own: u32) -> Result<Self, ChannelError> {
        Self::new(UnixStream::connect(path)?, own)
    }

    /// Another handle of the same connection.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { stream: self.stream.try_clone()?, peer: self.peer })
    }

    /// The process at the other end; none where it is in another container.
    pub fn process(&self) -> Option<u32> {
        self.peer.process
    }

    /// Says something.
    pub fn say(&self, message: &Message, limit: Duration) -> Result<(), ChannelError> {
        self.say_with(message, &[], &[], limit)
    }

    /// Says something with bytes behind it and descriptors with it, within `limit`. After a part of it nothing else can be
    /// said: the other side hears that it ends in the middle.
    pub fn say_with(
        &self,
        message: &Message,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> Result<(), ChannelError> {
        let until = Instant::now() + limit;
        let frame = frame::encode(message, bytes, descriptors.len())?;
        let (mut sent, mut descriptors) = (0, descriptors);
        while sent < frame.len() {
            match self.send(&frame[sent..], descriptors, until, limit) {
                Ok(length) => {
                    sent += length;
                    if length > 0 {
                        descriptors = &[];
                    }
                }
                Err(error) => {
                    if sent > 0 {
                        let _ = self.stream.shutdown(Shutdown::Write);
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Sends what there is room for; nothing, where the call is to be made again.
    fn send(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
        until: Instant,
        limit: Duration,
    ) -> Result<usize, ChannelError> {
        self.stream.set_write_timeout(Some(left(until, limit)?))?;
        rights::send_with(&self.stream, bytes, descriptors).or_else(|error| failed(error, limit).map(|()| 0))
    }

    /// Says something, and waits for the answer within `limit`. Who has gone may have said why before.
    pub fn ask(&self, message: &Message, limit: Duration) -> Result<Received, ChannelError> {
        match self.say(message, limit) {
            Ok(()) | Err(ChannelError::Ended) => self.hear(limit),
            Err(error) => Err(error),
        }
    }

    /// Waits for a message, within `limit`.
    pub fn hear(&self, limit: Duration) -> Result<Received, ChannelError> {
        let until = Instant::now() + limit;
        let mut descriptors = Vec::new();
        let mut header = [0; HEADER];
        self.fill(&mut header[..1], &mut descriptors, until, limit)?;
        // What follows cannot be waited for again: it would be taken for the beginning of something else.
        let torn = |error| match error {
            ChannelError::Silent(_) | ChannelError::Ended => ChannelError::Torn,
            other => other,
        };
        self.fill(&mut header[1..], &mut descriptors, until, limit).map_err(torn)?;
        let header = Header::decode(&header)?;
        let mut body = vec![0; header.body()];
        self.fill(&mut body, &mut descriptors, until, limit).map_err(torn)?;
        if descriptors.len() != header.descriptors {
            return Err(ChannelError::Descriptors { said: header.descriptors, got: descriptors.len() });
        }
        let (message, bytes) = frame::decode(&header, body)?;
        Ok(Received { message, bytes, descriptors })
    }

    fn fill(
        &self,
        mut buffer: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
        until: Instant,
        limit: Duration,
    ) -> Result<(), ChannelError> {
        while !buffer.is_empty() {
            self.stream.set_read_timeout(Some(left(until, limit)?))?;
            match rights::receive_with(&self.stream, buffer, descriptors) {
                Ok(0) => return Err(ChannelError::Ended),
                Ok(length) => buffer = &mut buffer[length..],
                Err(error) => failed(error, limit)?,
            }
        }
        Ok(())
    }

    /// The socket.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The time that is left; a socket takes no timeout of zero.
fn left(until: Instant, limit: Duration) -> Result<Duration, ChannelError> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ChannelError::Silent(limit)) } else { Ok(left) }
}

/// What an error means; nothing, where the call is to be made again.
fn failed(error: io::Error, limit: Duration) -> Result<(), ChannelError> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Err(ChannelError::Silent(limit)),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Err(ChannelError::Ended),
        _ => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
