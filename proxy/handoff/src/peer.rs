//! Who is at the other end of a Unix socket (unix(7), SO_PEERCRED).

use std::{io, os::unix::net::UnixStream};

/// The other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Whose process it is.
    pub(crate) user: u32,
    /// The process; none where it is in another container, whose processes have no number here.
    pub(crate) process: Option<u32>,
}

/// Asks the kernel, and gives the socket back, blocking.
///
/// The runtime's sockets ask for it, because rustix has no value for a process without a number. The runtime itself is
/// there for as long as that takes.
pub(crate) fn of(stream: UnixStream) -> io::Result<(Peer, UnixStream)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let asked = {
        let _guard = runtime.enter();
        stream.set_nonblocking(true)?;
        let stream = tokio::net::UnixStream::from_std(stream)?;
        let found = stream.peer_cred()?;
        let process = found.pid().and_then(|process| u32::try_from(process).ok());
        let peer = Peer { user: found.uid(), process: process.filter(|process| *process > 0) };
        (peer, stream.into_std()?)
    };
    runtime.shutdown_background();
    asked.1.set_nonblocking(false)?;
    Ok(asked)
}
