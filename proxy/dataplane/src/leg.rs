//! A leg: one of a flow's two connections, with what the runtime knows of its readiness.
//!
//! Readiness is cleared as soon as a call shows that the kernel has no more (a short read, a short write), instead
//! of asking once more for EAGAIN. That is safe because events reach this thread only between two polls: whatever
//! arrives after the call is an event of its own. Two things end a read early although there is more: urgent data,
//! and a splice, whose shortness means nothing.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    task::{Context, Poll, ready},
};

use tidegate_sys::{Pipe, socket};
use tokio::io::{Interest, unix::AsyncFd};

/// Registers a socket with this worker's runtime.
///
/// The runtime's own socket types cannot be asked about urgent data, so this is the general registration. It asks of
/// the value that it names one open descriptor for as long as it lives, which an owned socket does.
#[expect(deprecated, reason = "the replacement is an unsafe function, which the workspace forbids")]
pub(crate) fn watch<T: AsFd + AsRawFd>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, interest)
}

/// One connection of a flow.
#[derive(Debug)]
pub(crate) struct Leg(AsyncFd<OwnedFd>);

/// What came of an attempt to move bytes.
#[derive(Debug)]
pub(crate) enum Moved {
    /// So many bytes.
    Bytes(usize),
    /// None: the other side has to do something first.
    Blocked,
    /// None, and there will never be more: the peer's FIN. Reads only.
    End,
}

impl Leg {
    /// Registers a connected, or connecting, socket with this worker's runtime.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        Ok(Self(watch(socket, interest)?))
    }

    /// Gives the socket back, unregistered.
    pub(crate) fn into_socket(self) -> OwnedFd {
        self.0.into_inner()
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }

    /// Wakes the task when there may be something to read.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_read_ready(cx))?.retain_ready();
        Poll::Ready(Ok(()))
    }

    /// Wakes the task when there may be room to write.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_write_ready(cx))?.retain_ready();
        Poll::Ready(Ok(()))
    }

    /// Waits until an asynchronous connect has ended, and says how.
    pub(crate) fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let failed = ready!(self.0.poll_write_ready(cx))?.ready().is_write_closed();
        // Only a hang-up or an error is worth asking for the cause.
        let error = if failed { socket::take_error(self.socket())? } else { None };
        Poll::Ready(error.map_or(Ok(()), Err))
    }

    /// Reads what is there.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Moved> {
        let (size, urgent) = (buffer.len(), self.is_urgent());
        self.attempt(Interest::READABLE, |socket| {
            let moved = socket::receive(socket, buffer)?;
            Ok((moved, moved < size && !urgent))
        })
    }

    /// Writes what fits.
    pub(crate) fn transmit(&self, bytes: &[u8]) -> io::Result<Moved> {
        self.attempt(Interest::WRITABLE, |socket| {
            let moved = socket::transmit(socket, bytes)?;
            Ok((moved, moved < bytes.len()))
        })
    }

    /// Moves what is there into a pipe, which must be empty. An end may be the urgent mark; a plain read tells.
    pub(crate) fn fill(&self, pipe: &mut Pipe) -> io::Result<Moved> {
        let urgent = self.is_urgent();
        self.attempt(Interest::READABLE, |socket| match pipe.fill(socket) {
            // At the urgent mark a splice would block although there is more behind it, and the kernel says nothing
            // further. Readiness stays, and a plain read finds out.
            Err(error) if urgent && error.kind() == io::ErrorKind::WouldBlock => Ok((0, false)),
            moved => Ok((moved?, false)),
        })
    }

    /// Moves what fits out of a pipe.
    pub(crate) fn drain(&self, pipe: &mut Pipe) -> io::Result<Moved> {
        self.attempt(Interest::WRITABLE, |socket| {
            let moved = pipe.drain(socket)?;
            Ok((moved, !pipe.is_empty()))
        })
    }

    /// Urgent data has been seen on this leg. A read then stops short of the mark while there is more behind it, and
    /// the kernel, edge-triggered, says nothing further; so it has to be read until it would block.
    pub(crate) fn is_urgent(&self) -> bool {
        // The interest also holds once the peer has closed, where reading to the end is right as well.
        self.0.try_io(Interest::PRIORITY, |_| Ok(())).is_ok()
    }

    /// The kernel has reported an error: the peer reset, or was found dead. It does not take the error, so what was
    /// received before can still be read.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.try_io(Interest::ERROR, |_| Ok(())).is_ok()
    }

    /// Asks the kernel, whatever readiness says: nothing waits to be read, not even an end.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(socket::peek(self.socket()), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Asks whether every written byte has left this host, and has [`Leg::poll_writable`] tell when it has.
    pub(crate) fn watch_for_all_sent(&self) -> io::Result<bool> {
        let mut sent = false;
        let outcome = self.0.try_io(Interest::WRITABLE, |fd| {
            sent = socket::watch_for_all_sent(fd.as_fd())?;
            if sent { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(sent),
        }
    }

    /// One call to the kernel, where readiness says that it may succeed. The call also tells whether it has shown
    /// that the next one would block.
    fn attempt(
        &self,
        interest: Interest,
        call: impl FnOnce(BorrowedFd<'_>) -> io::Result<(usize, bool)>,
    ) -> io::Result<Moved> {
        let mut outcome = Moved::Blocked;
        let result = self.0.try_io(interest, |fd| {
            let (moved, exhausted) = call(fd.as_fd())?;
            outcome = if moved == 0 { Moved::End } else { Moved::Bytes(moved) };
            // The runtime clears readiness on this answer and on no other.
            if exhausted && moved > 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match result {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(outcome),
        }
    }
}
