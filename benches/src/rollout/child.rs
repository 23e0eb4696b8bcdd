//! A proxy that runs: started on its cores, ended with everything it started.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::cores::{self, Cores};

/// How long a proxy may take until it accepts.
const START: Duration = Duration::from_secs(10);

/// Lines of a proxy's output that are shown when something is wrong.
const LINES: usize = 20;

/// A started proxy. Dropping it ends its processes, and only those: they are a process group of their own.
#[derive(Debug)]
pub(super) struct Started {
    child: Child,
    output: PathBuf,
}

impl Started {
    /// Starts a proxy and waits until it accepts.
    ///
    /// # Errors
    ///
    /// When it does not: with its own output.
    pub(super) async fn start(
        mut command: Command,
        address: SocketAddr,
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
        started.accepts(address).await?;
        Ok(started)
    }

    /// Its first process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines that it has printed.
    pub(super) fn output(&self) -> String {
        let text = String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    async fn accepts(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let until = Instant::now() + START;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("it does not start: {status}; its output:\n{}", self.output());
            }
            if TcpStream::connect(address).is_ok() {
                return Ok(());
            }
            if Instant::now() >= until {
                bail!("it does not accept after {START:?}; its output:\n{}", self.output());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // While the first process has not been waited for, its number, which is the group's, is nobody else's.
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return };
        if let Ok(None) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
