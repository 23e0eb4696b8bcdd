//! Pipes for splice(2): bytes go from socket to socket as references to pages, without being copied.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};

/// Sizes asked for, the first that the kernel grants is taken. 1 MiB is what an unprivileged user may have at most
/// (`fs.pipe-max-size`); above `fs.pipe-user-pages-soft` the kernel refuses to enlarge (pipe(7)).
const SIZES: [usize; 3] = [1 << 20, 1 << 18, 1 << 16];

/// A pipe counts slots, one page each at most; fewer than 16 (what a user above the soft limit gets) move less per
/// call than the worker's buffer does.
const SMALLEST: usize = 16 * 4096;

/// An empty or filled pipe.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
    length: usize,
}

/// Why there is no pipe.
#[derive(Debug, thiserror::Error)]
pub enum PipeError {
    /// The kernel refused: EMFILE, ENFILE.
    #[error("the kernel refused a pipe: {0}")]
    Refused(#[from] io::Error),
    /// The kernel gave one that is too small to be of use.
    #[error("the kernel gave a pipe of {0} bytes; fs.pipe-user-pages-soft is used up")]
    TooSmall(usize),
}

impl Pipe {
    /// Makes a pipe, as large as allowed.
    ///
    /// # Errors
    /// The kernel refused it, or gave one that is too small.
    pub fn new() -> Result<Self, PipeError> {
        let (reader, writer) =
            pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        let granted = SIZES.iter().find_map(|size| fcntl_setpipe_size(&writer, *size).ok());
        let capacity = match granted {
            Some(capacity) => capacity,
            None => fcntl_getpipe_size(&writer).map_err(io::Error::from)?,
        };
        if capacity < SMALLEST {
            return Err(PipeError::TooSmall(capacity));
        }
        Ok(Self { reader, writer, capacity, length: 0 })
    }

    /// Takes over a pipe that holds `length` bytes.
    ///
    /// # Errors
    /// fcntl(2).
    pub fn from_parts(reader: OwnedFd, writer: OwnedFd, length: usize) -> io::Result<Self> {
        let capacity = fcntl_getpipe_size(&writer)?;
        Ok(Self { reader, writer, capacity, length })
    }

    /// The two ends and how many bytes are inside.
    pub fn into_parts(self) -> (OwnedFd, OwnedFd, usize) {
        (self.reader, self.writer, self.length)
    }

    /// Bytes inside.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Nothing is inside.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Moves bytes from a socket into the pipe. `Ok(0)` is the peer's FIN.
    ///
    /// The pipe must be empty: then "would block" means that the source is empty and nothing else.
    ///
    /// # Errors
    /// splice(2).
    pub fn fill(&mut self, source: BorrowedFd<'_>) -> io::Result<usize> {
        debug_assert!(self.is_empty(), "with bytes in the pipe, would-block is ambiguous");
        let moved = splice(source, None, self.writer.as_fd(), None, self.capacity, SpliceFlags::NONBLOCK)?;
        self.length += moved;
        Ok(moved)
    }

    /// Moves bytes from the pipe to a socket. Fewer than were inside means that the socket is full.
    ///
    /// # Errors
    /// splice(2).
    pub fn drain(&mut self, sink: BorrowedFd<'_>) -> io::Result<usize> {
        let moved = splice(self.reader.as_fd(), None, sink, None, self.length, SpliceFlags::NONBLOCK)?;
        self.length -= moved.min(self.length);
        Ok(moved)
    }
}
