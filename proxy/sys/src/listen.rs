//! Listening sockets: one per worker and address, as one SO_REUSEPORT group.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait between handshake and accept; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", explain(.source))]
pub struct ListenError {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// Says what to do about the errors that operators meet.
fn explain(error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the address is in use; another process listens there (ss -ltnp shows which), or another listener"
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied; ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this host has the address",
        _ => return error.to_string(),
    };
    format!("{remedy} ({error})")
}

/// Binds `count` sockets to one address, so that the kernel spreads connections over them.
///
/// A group is joined silently by anybody of the same user, so the address is bound once without SO_REUSEPORT first:
/// an address in use is an error here and not a share of somebody else's connections. With port 0 the kernel chooses
/// one port for the whole group.
///
/// Accepted sockets inherit TCP_NODELAY and SO_OOBINLINE from here, which saves two calls for each.
///
/// # Errors
/// The address is in use, not this host's, or needs a privilege.
pub fn listen_group(address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, ListenError> {
    let fail = |source| ListenError { address, source };
    let probe = bind(address, false).map_err(fail)?;
    let bound = probe.local_addr().map_err(fail)?.as_socket().unwrap_or(address);
    // The probe holds the port until the group has it: it does not listen, so both may be bound at once.
    let group = (0..count.max(1)).map(|_| listen_shared(bound)).collect::<io::Result<_>>().map_err(fail);
    drop(probe);
    group
}

fn listen_shared(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bind(address, true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_out_of_band_inline(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]` serves IPv4 too, whatever net.ipv6.bindv6only says; a specific address is not affected.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Makes `count` sockets of one that was inherited (systemd socket activation): all share its accept queue.
///
/// # Errors
/// fcntl(2), setsockopt(2).
pub fn share_inherited(listener: &TcpListener, count: usize) -> io::Result<Vec<TcpListener>> {
    listener.set_nonblocking(true)?;
    let socket = socket2::SockRef::from(listener);
    socket.set_tcp_nodelay(true)?;
    socket.set_out_of_band_inline(true)?;
    (0..count.max(1)).map(|_| listener.try_clone()).collect()
}

#[cfg(test)]
mod tests;
