//! The sockets that the admin API listens on, and what each kind asks of who connects.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use crate::{
    access::Access,
    token::{TokenError, TokenFile},
};

/// A bound socket with its rules.
#[derive(Debug)]
pub struct AdminListener {
    pub(crate) socket: Socket,
    pub(crate) audience: Audience,
}

#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, Option<SocketFile>),
}

/// Whom a listener is for.
#[derive(Clone, Debug)]
pub(crate) enum Audience {
    /// The whole API.
    Operators(Access),
    /// Metrics and probes.
    Scrapers,
    /// The gate, and what instances ask each other.
    Pods,
}

/// A Unix socket's file; removed with its listener.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

/// Why an admin listener cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {cause}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// An address that others can reach needs a token.
    #[error(
        "{0} can be reached from other machines and there is no token; set admin.tokenFile, or use loopback"
    )]
    TokenMissing(SocketAddr),
    /// The token's file gives none.
    #[error("token file {}: {cause}", path.display())]
    Token {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: TokenError,
    },
    /// The path is that of a socket with a listener.
    #[error("{} is in use by a process that listens on it; stop that one, or use another path", .0.display())]
    PathInUse(PathBuf),
    /// The path is that of something else.
    #[error("{} is there and is no socket; remove it, or use another path", .0.display())]
    PathTaken(PathBuf),
    /// The socket's file cannot be made.
    #[error("cannot listen on {}: {cause}", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

impl AdminListener {
    /// The whole API on a TCP address. Off loopback a token is a must; on loopback it is asked for where it is given.
    pub fn tcp(address: SocketAddr, token_file: Option<&Path>) -> Result<Self, ListenError> {
        if token_file.is_none() && !address.ip().to_canonical().is_loopback() {
            return Err(ListenError::TokenMissing(address));
        }
        let token = token_file.map(token).transpose()?;
        let socket = Socket::Tcp(bind(address)?);
        Ok(Self { socket, audience: Audience::Operators(Access { address: Some(address), token }) })
    }

    /// The whole API on a Unix socket for this user alone. A file that a dead process left is replaced.
    pub fn unix(path: &Path, token_file: Option<&Path>) -> Result<Self, ListenError> {
        let token = token_file.map(token).transpose()?;
        let failed = |cause| ListenError::Path { path: path.to_owned(), cause };
        remove_stale(path)?;
        let socket = UnixListener::bind(path).map_err(failed)?;
        let file = Some(SocketFile(path.to_owned()));
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let audience = Audience::Operators(Access { address: None, token });
        Ok(Self { socket: Socket::Unix(socket, file), audience })
    }

    /// Metrics and probes alone, for scrapers on the network: no token, any Host.
    pub fn metrics(address: SocketAddr) -> Result<Self, ListenError> {
        Ok(Self { socket: Socket::Tcp(bind(address)?), audience: Audience::Scrapers })
    }

    /// The gate for pods, and for other instances where there are any.
    pub fn gate(address: SocketAddr) -> Result<Self, ListenError> {
        Ok(Self { socket: Socket::Tcp(bind(address)?), audience: Audience::Pods })
    }

    /// The gate on a socket that a predecessor passed on.
    pub fn gate_passed_on(socket: OwnedFd) -> Self {
        Self { socket: Socket::Tcp(socket.into()), audience: Audience::Pods }
    }

    /// The whole API on a socket that a predecessor passed on.
    pub fn passed_on(
        socket: OwnedFd,
        address: Option<SocketAddr>,
        token_file: Option<&Path>,
        file: Option<&Path>,
    ) -> Result<Self, ListenError> {
        let token = token_file.map(token).transpose()?;
        let audience = Audience::Operators(Access { address, token });
        let socket = match file {
            Some(file) => Socket::Unix(socket.into(), Some(SocketFile(file.to_owned()))),
            None => Socket::Tcp(socket.into()),
        };
        Ok(Self { socket, audience })
    }

    /// Metrics and probes on a socket that a predecessor passed on.
    pub fn metrics_passed_on(socket: OwnedFd) -> Self {
        Self { socket: Socket::Tcp(socket.into()), audience: Audience::Scrapers }
    }

    /// A second handle of the same socket. The first one keeps the file.
    pub fn share(&self) -> io::Result<Self> {
        let socket = match &self.socket {
            Socket::Tcp(socket) => Socket::Tcp(socket.try_clone()?),
            Socket::Unix(socket, _) => Socket::Unix(socket.try_clone()?, None),
        };
        Ok(Self { socket, audience: self.audience.clone() })
    }

    /// The socket's file is somebody else's from here on.
    pub fn leave_file(&mut self) {
        if let Socket::Unix(_, file) = &mut self.socket
            && let Some(file) = file.take()
        {
            std::mem::forget(file);
        }
    }

    /// The socket.
    pub fn socket(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket, _) => socket.as_fd(),
        }
    }

    /// The address in fact; `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().ok(),
            Socket::Unix(..) => None,
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may have been replaced or removed by hand; then there is nothing to do.
        let _ = fs::remove_file(&self.0);
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let bound = TcpListener::bind(address).and_then(|socket| {
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    bound.map_err(|cause| ListenError::Bind { address, cause })
}

fn token(path: &Path) -> Result<TokenFile, ListenError> {
    let path = path.to_owned();
    TokenFile::open(path.clone()).map_err(|cause| ListenError::Token { path, cause })
}

/// Removes the file of a socket that nobody listens on.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if !found.file_type().is_socket() => Err(ListenError::PathTaken(path.to_owned())),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(|cause| ListenError::Path { path: path.to_owned(), cause })
            }
            Ok(_) | Err(_) => Err(ListenError::PathInUse(path.to_owned())),
        },
    }
}

#[cfg(test)]
mod tests;
