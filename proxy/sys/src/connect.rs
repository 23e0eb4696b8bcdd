//! Starting a connect without waiting for it.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, connect, getsockname, ipproto, socket_with, sockopt},
};

/// Starts a TCP connect and returns its socket at once; the socket turns writable when the connect has ended.
///
/// Urgent data will be read in line (SO_OOBINLINE): without it the kernel would take the urgent byte out of the
/// stream. It has to be set before the first byte can arrive.
///
/// # Errors
/// What socket(2) and connect(2) say at once: EMFILE, ENFILE and EADDRNOTAVAIL are local causes, ENETUNREACH and the
/// like speak of the endpoint.
pub fn start_connect(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_oobinline(&socket, true)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Whether a connected socket is connected to itself. A connect to a port of this host's own range where nobody listens
/// may be given that very port, and TCP then opens it from both ends at once (RFC 9293, 3.5).
pub fn is_to_itself(socket: impl AsFd, peer: SocketAddr) -> bool {
    getsockname(socket).ok().and_then(|own| SocketAddr::try_from(own).ok()) == Some(peer)
}
