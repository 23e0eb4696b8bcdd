//! A proxy that runs, in front of the endpoints it was given.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitStatus;

use anyhow::Context;
use tempfile::TempDir;
use tokio::net::TcpSocket;

use super::configuration::{Setting, configuration};
use super::{Peer, Proxy};
use crate::child::Started;
use crate::cores::Cores;

/// A started proxy.
#[derive(Debug)]
pub(crate) struct Running {
    started: Started,
    listeners: Vec<SocketAddr>,
    /// What it was started from; gone when it has ended.
    _directory: TempDir,
}

/// What a proxy is started with, besides what is before and behind it.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) workers: usize,
    /// Open files a process may have.
    pub(crate) descriptors: u64,
    /// Flows that it has to be ready for.
    pub(crate) flows: usize,
    pub(crate) cores: Cores,
}

impl Running {
    /// Starts a proxy on `listeners` in front of `endpoints` and waits until it accepts.
    ///
    /// # Errors
    ///
    /// When it does not: with its own output.
    pub(crate) async fn start(
        peer: &Peer,
        listeners: Vec<SocketAddr>,
        endpoints: &[SocketAddr],
        start: &Start,
    ) -> anyhow::Result<Self> {
        let Start { workers, descriptors, flows, ref cores } = *start;
        let directory = tempfile::tempdir().context("cannot make a directory for the proxy")?;
        let setting = Setting {
            listeners: &listeners,
            endpoints,
            directory: directory.path(),
            workers,
            descriptors,
            flows,
        };
        let path = directory.path().join("configuration.yaml");
        fs::write(&path, configuration(peer.proxy, &setting))?;

        let mut command = peer.command().context("there is no proxy to start")?;
        match peer.proxy {
            Proxy::Tidegate => command.arg("run").arg("--config").arg(&path),
            Proxy::Nginx | Proxy::NginxHalfClose => {
                command.arg("-e").arg("stderr").arg("-p").arg(directory.path()).arg("-c").arg(&path)
            }
            Proxy::Envoy => {
                let concurrency = workers.to_string();
                command.args([
                    "--concurrency",
                    &concurrency,
                    "--log-level",
                    "error",
                    "--disable-hot-restart",
                ]);
                command.arg("--config-path").arg(&path)
            }
            _ => command.arg("-db").arg("-f").arg(&path),
        };
        let started = Started::start(peer.proxy, command, &listeners, directory.path(), cores).await?;
        Ok(Self { started, listeners, _directory: directory })
    }

    /// Where it accepts.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.listeners
    }

    /// Its first process.
    pub(crate) fn pid(&self) -> u32 {
        self.started.pid()
    }

    /// The last lines that it has printed.
    pub(crate) fn output(&self) -> String {
        self.started.output()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.started.ended()
    }

    /// How it ended, after what looks like an end.
    pub(crate) async fn end(&mut self) -> Option<ExitStatus> {
        self.started.end().await
    }
}

/// Addresses that are free: the one that was given, if any, and as many more of its port as are needed.
///
/// # Errors
///
/// When the given one is in use.
pub(crate) fn free_addresses(given: Option<SocketAddr>, count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let first = given.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    // Other addresses of the same port are taken by nobody but those who listen on all addresses.
    let probe = if given.is_none() && count > 1 { (Ipv4Addr::UNSPECIFIED, 0).into() } else { first };
    let bound = || {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(probe)?;
        socket.local_addr()
    };
    let port = bound()
        .with_context(|| format!("cannot listen on {first}: choose another address with --listen"))?
        .port();
    let more = u32::from(Ipv4Addr::new(127, 8, 0, 1));
    let others = (0..).map(|number| SocketAddr::from((Ipv4Addr::from(more + number), port)));
    let first = SocketAddr::new(first.ip(), port);
    Ok(std::iter::once(first).chain(others).take(count).collect())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_are_free_and_differ() {
        let addresses = free_addresses(None, 300).unwrap();
        assert_eq!(addresses.len(), 300);
        let sockets: Vec<_> = addresses.iter().map(|address| TcpListener::bind(address).unwrap()).collect();
        assert_eq!(sockets.len(), 300);
    }

    #[test]
    fn an_address_in_use_is_an_error_with_a_remedy() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let error = free_addresses(Some(taken.local_addr().unwrap()), 1).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("--listen") && text.contains("in use"), "{text}");
    }
}
