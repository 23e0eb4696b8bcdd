//! A proxy that runs: started on its core, ended with everything it started.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tempfile::TempDir;
use tokio::net::TcpSocket;

use super::configuration::{Setting, configuration};
use super::{Peer, Proxy};
use crate::cores::{self, Cores};

/// How long a proxy may take until it accepts.
const START: Duration = Duration::from_secs(10);

/// Lines of a proxy's output that are shown when something is wrong.
const LINES: usize = 20;

/// How long an end may take that has begun.
const END: Duration = Duration::from_secs(1);

/// A started proxy. Dropping it ends its processes, and only those: they are a process group of their own.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    listeners: Vec<SocketAddr>,
    directory: TempDir,
    proxy: Proxy,
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
        let output = File::create(directory.path().join("output"))?;

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
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);

        // A child inherits the cores of the thread that starts it.
        cores::pin(&cores.proxy)?;
        let child = command.spawn();
        cores::pin(&[cores.load])?;
        let child = child.with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let mut running = Self { child, listeners, directory, proxy: peer.proxy };
        running.accepts().await?;
        Ok(running)
    }

    /// Where it accepts.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.listeners
    }

    /// Its first process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines that it has printed.
    pub(crate) fn output(&self) -> String {
        let bytes = fs::read(self.directory.path().join("output")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// How it ended, after what looks like an end: the last thread may be gone a moment after the first.
    pub(crate) async fn end(&mut self) -> Option<ExitStatus> {
        let until = Instant::now() + END;
        while self.ended().is_none() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.ended()
    }

    /// Waits until every listener accepts.
    async fn accepts(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + START;
        for address in self.listeners.clone() {
            loop {
                if let Some(status) = self.ended() {
                    bail!("{} does not start: {status}; its output:\n{}", self.proxy, self.output());
                }
                if TcpStream::connect(address).is_ok() {
                    break;
                }
                if Instant::now() >= until {
                    bail!(
                        "{} does not accept on {address} after {START:?}; its output:\n{}",
                        self.proxy,
                        self.output()
                    );
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing of how a proxy ends is measured here, so it ends at once. While the first process has not been
        // waited for, its number, which is the group's, cannot belong to anybody else.
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return };
        if let Ok(None) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.wait();
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
