//! Listening sockets of this process: bound here, or inherited from systemd (socket activation, sd_listen_fds(3)).

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Mutex, PoisonError},
};

use tidegate_sys::listen::{ListenError, listen_group, share_inherited};

/// Sockets that the process was started with, by address. An inherited socket is used instead of binding, and shared
/// by all workers; nothing is bound beside it.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    sockets: Mutex<Vec<(SocketAddr, TcpListener)>>,
}

impl Inherited {
    /// Takes over the sockets that LISTEN_FDS names. Others than TCP listeners are left alone, with a warning.
    pub(crate) fn from_environment() -> Self {
        let mut sockets = Vec::new();
        let mut passed = listenfd::ListenFd::from_env();
        for index in 0..passed.len() {
            match passed.take_tcp_listener(index) {
                Ok(Some(listener)) => match listener.local_addr() {
                    Ok(address) => sockets.push((address, listener)),
                    Err(error) => {
                        tracing::warn!(index, %error, "an inherited socket has no address; ignored");
                    }
                },
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(index, %error, "an inherited descriptor is no TCP listener; ignored");
                }
            }
        }
        Self { sockets: Mutex::new(sockets) }
    }

    /// One listening socket per worker for an address.
    pub(crate) fn listen(&self, address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, listener)) = sockets.iter().find(|(inherited, _)| *inherited == address) {
            tracing::info!(%address, "using the inherited socket");
            return share_inherited(listener, workers);
        }
        drop(sockets);
        listen_group(address, workers)
            .map_err(|error: ListenError| io::Error::new(error.source.kind(), error))
    }

    /// Says which inherited sockets no listener uses: the service manager would queue connections there for ever.
    pub(crate) fn warn_of_unused(&self, used: &[SocketAddr]) {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        for (address, _) in sockets.iter().filter(|(address, _)| !used.contains(address)) {
            tracing::warn!(%address, "an inherited socket matches no listener's address; nobody accepts on it");
        }
    }
}
