//! A proxy's process: started on its cores, ended with everything it started.
//!
//! Not decided here: what is started, and with which configuration.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::cores::{self, Cores};
use crate::peers::Proxy;

/// How long a proxy may take until it accepts.
const START: Duration = Duration::from_secs(10);

/// How long an end may take that has begun.
const END: Duration = Duration::from_secs(1);

/// How often it is looked whether something has happened.
const LOOK: Duration = Duration::from_millis(10);

/// Lines of a proxy's output that are shown when something is wrong.
const LINES: usize = 20;

/// A started proxy. Dropping it ends its processes, and only those: they are a process group of their own.
#[derive(Debug)]
pub(crate) struct Started {
    child: Child,
    output: PathBuf,
}

impl Started {
    /// Starts a proxy, whose output goes to a file in `directory`, and waits until it accepts on all `listeners`.
    ///
    /// # Errors
    ///
    /// When it does not: with its own output.
    pub(crate) async fn start(
        proxy: Proxy,
        mut command: Command,
        listeners: &[SocketAddr],
        directory: &Path,
        cores: &Cores,
    ) -> anyhow::Result<Self> {
        let output = directory.join("output");
        let file = File::create(&output)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        // A child inherits the cores of the thread that starts it.
        cores::pin(&cores.proxy)?;
        let child = command.spawn();
        cores::pin(&[cores.load])?;
        let child = child.with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let mut started = Self { child, output };
        started.accepts(proxy, listeners).await?;
        Ok(started)
    }

    /// Its first process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines that it has printed.
    pub(crate) fn output(&self) -> String {
        let bytes = fs::read(&self.output).unwrap_or_default();
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
            tokio::time::sleep(LOOK).await;
        }
        self.ended()
    }

    async fn accepts(&mut self, proxy: Proxy, listeners: &[SocketAddr]) -> anyhow::Result<()> {
        let until = Instant::now() + START;
        for address in listeners {
            while TcpStream::connect(address).is_err() {
                if let Some(status) = self.ended() {
                    bail!("{proxy} does not start: {status}; its output:\n{}", self.output());
                }
                if Instant::now() >= until {
                    bail!(
                        "{proxy} does not accept on {address} after {START:?}; its output:\n{}",
                        self.output()
                    );
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }
}

impl Drop for Started {
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
