//! A proxy that runs: started on its core, ended with everything it started.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tempfile::TempDir;

use super::{Peer, Proxy, Setting, configuration};
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
    address: SocketAddr,
    directory: TempDir,
    proxy: Proxy,
}

impl Running {
    /// Starts a proxy in front of `endpoints` and waits until it accepts.
    ///
    /// # Errors
    ///
    /// When it does not: with its own output.
    pub(crate) async fn start(
        peer: &Peer,
        endpoints: &[SocketAddr],
        descriptors: u64,
        cores: &Cores,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a directory for the proxy")?;
        let listener = free_address()?;
        let setting = Setting { listener, endpoints, directory: directory.path(), descriptors };
        let path = directory.path().join("configuration");
        fs::write(&path, configuration(peer.proxy, &setting))?;
        let output = File::create(directory.path().join("output"))?;

        let mut command = Command::new(&peer.binary);
        match peer.proxy {
            Proxy::Tidegate => command.arg("run").arg("--config").arg(&path),
            Proxy::Nginx => {
                command.arg("-e").arg("stderr").arg("-p").arg(directory.path()).arg("-c").arg(&path)
            }
            _ => command.arg("-db").arg("-f").arg(&path),
        };
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);

        // A child inherits the core of the thread that starts it.
        cores::pin(&cores.proxy)?;
        let child = command.spawn();
        cores::pin(&[cores.load])?;
        let child = child.with_context(|| format!("cannot start {}", peer.binary.display()))?;
        let mut running = Self { child, address: listener, directory, proxy: peer.proxy };
        running.accepts().await?;
        Ok(running)
    }

    /// Where it accepts.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
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

    async fn accepts(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + START;
        loop {
            if let Some(status) = self.ended() {
                bail!("{} does not start: {status}; its output:\n{}", self.proxy, self.output());
            }
            if TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            if Instant::now() >= until {
                bail!("{} does not accept after {START:?}; its output:\n{}", self.proxy, self.output());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
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

/// An address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}
