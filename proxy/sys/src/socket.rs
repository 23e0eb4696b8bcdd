//! Options and calls on a connected socket.

use std::{io, os::fd::BorrowedFd, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt},
};
use socket2::{SockRef, TcpKeepalive};

/// Reads what is there. `Ok(0)` is the peer's FIN.
///
/// # Errors
/// recv(2).
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(recv(socket, buffer, RecvFlags::DONTWAIT)?.0)
}

/// Looks whether there is something to read, and leaves it there. `Ok(0)` is the peer's FIN.
///
/// # Errors
/// recv(2) with MSG_PEEK; `WouldBlock` where there is nothing.
pub fn peek(socket: BorrowedFd<'_>) -> io::Result<usize> {
    Ok(recv(socket, &mut [0; 1], RecvFlags::DONTWAIT | RecvFlags::PEEK)?.0)
}

/// Writes what fits.
///
/// # Errors
/// send(2); a peer that is gone is an error and never a signal.
pub fn transmit(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// Sends a FIN after what was written.
///
/// # Errors
/// shutdown(2).
pub fn send_fin(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(shutdown(socket, Shutdown::Write)?)
}

/// Makes the next close a reset: what is unsent is thrown away (socket(7), SO_LINGER with zero).
///
/// # Errors
/// setsockopt(2).
pub fn reset_on_close(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(sockopt::set_socket_linger(socket, Some(Duration::ZERO))?)
}

/// Turns Nagle's algorithm off (TCP_NODELAY).
///
/// # Errors
/// setsockopt(2).
pub fn set_nodelay(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(socket, true)?)
}

/// The error that an asynchronous connect, or the peer, left on the socket.
///
/// # Errors
/// getsockopt(2).
pub fn take_error(socket: BorrowedFd<'_>) -> io::Result<Option<io::Error>> {
    Ok(sockopt::socket_error(socket)?.err().map(Into::into))
}

/// Turns keepalive on: first probe after `idle`, then every `interval`, dead after `probes` (tcp(7)).
///
/// # Errors
/// setsockopt(2).
pub fn set_keepalive(
    socket: BorrowedFd<'_>,
    idle: Duration,
    interval: Duration,
    probes: u32,
) -> io::Result<()> {
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(probes);
    SockRef::from(&socket).set_tcp_keepalive(&keepalive)
}

/// How long sent data may stay unacknowledged before the kernel ends the connection (TCP_USER_TIMEOUT, tcp(7));
/// `None` for the kernel's own measure.
///
/// # Errors
/// setsockopt(2).
pub fn set_user_timeout(socket: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<()> {
    SockRef::from(&socket).set_tcp_user_timeout(timeout)
}

/// Asks for "writable" to mean "every byte has left this host at least once" (TCP_NOTSENT_LOWAT), and says whether
/// that is so already. Where it is not, the socket's next writable event says that it has become so.
///
/// # Errors
/// setsockopt(2), poll(2).
pub fn watch_for_all_sent(socket: BorrowedFd<'_>) -> io::Result<bool> {
    SockRef::from(&socket).set_tcp_notsent_lowat(1)?;
    // poll(2) looks at the new mark and, where the socket is above it, asks the kernel to tell when it is not; an
    // edge-triggered waiter that was writable before would never be told otherwise.
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(!fds[0].revents().is_empty())
}
