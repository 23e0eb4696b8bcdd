//! HAProxy: its runtime API on the stats socket.
//!
//! A new endpoint is `add server`, which leaves it in maintenance until `enable server`. An endpoint that terminates
//! is `set server state drain`: no new flows, those that exist are left alone. When its pod is gone it is put into
//! maintenance and deleted; `del server` refuses while there is a flow, and is then tried again.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Operator, Setting, Start, ready};
use crate::rollout::endpoint::{Phase, Pod};

/// How long it may take to answer a command.
const ANSWER: Duration = Duration::from_secs(5);

/// Attempts to delete a server at the end, and the time between them.
const ATTEMPTS: usize = 20;
const BETWEEN: Duration = Duration::from_millis(100);

/// Speaks to the stats socket.
#[derive(Debug)]
pub(in crate::rollout) struct Haproxy {
    socket: PathBuf,
    /// Servers in maintenance that still had a flow.
    undeleted: Vec<u32>,
}

impl Start for Haproxy {
    fn prepare(setting: &Setting<'_>, pods: &[Pod], command: &mut Command) -> anyhow::Result<Self> {
        let servers: Vec<String> =
            ready(pods).map(|pod| format!("server e{} {}", pod.number, pod.address)).collect();
        let template = include_str!("../../../peers/rollout-haproxy.cfg");
        let path = setting.write(template, &[("endpoints", &servers.join("\n    "))])?;
        command.arg("-db").arg("-f").arg(path);
        Ok(Self { socket: setting.directory.join("stats.sock"), undeleted: Vec::new() })
    }
}

impl Haproxy {
    /// Sends a command; when it was sent, and the answer.
    async fn say(&self, command: &str) -> anyhow::Result<(Instant, String)> {
        let talk = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_all(format!("{command}\n").as_bytes()).await?;
            let sent = Instant::now();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>((sent, answer.trim().to_owned()))
        };
        let answered = timeout(ANSWER, talk).await;
        answered
            .with_context(|| format!("HAProxy does not answer `{command}`"))?
            .with_context(|| format!("cannot say `{command}` to HAProxy"))
    }

    /// Sends a command that is answered by nothing, or by what is expected.
    async fn tell(&self, command: &str, expected: &str) -> anyhow::Result<Instant> {
        let (sent, answer) = self.say(command).await?;
        if answer != expected {
            bail!("HAProxy answers `{command}` with `{answer}`");
        }
        Ok(sent)
    }

    /// Tries to delete what is left.
    async fn delete(&mut self) -> anyhow::Result<()> {
        for number in std::mem::take(&mut self.undeleted) {
            if self.say(&format!("del server bench/e{number}")).await?.1 != "Server deleted." {
                self.undeleted.push(number);
            }
        }
        Ok(())
    }
}

impl Operator for Haproxy {
    async fn apply(&mut self, _: &[Pod], changed: Pod) -> anyhow::Result<Instant> {
        let Pod { number, address, phase } = changed;
        let name = format!("bench/e{number}");
        match phase {
            Phase::Unborn | Phase::Starting => {
                self.tell(&format!("add server {name} {address}"), "New server registered.").await
            }
            Phase::Ready => self.tell(&format!("enable server {name}"), "").await,
            Phase::Terminating => self.tell(&format!("set server {name} state drain"), "").await,
            Phase::Gone => {
                let sent = self.tell(&format!("set server {name} state maint"), "").await?;
                self.undeleted.push(number);
                self.delete().await?;
                Ok(sent)
            }
        }
    }

    async fn finish(&mut self) -> Vec<String> {
        for _ in 0..ATTEMPTS {
            if let Err(error) = self.delete().await {
                return vec![format!("{error:#}")];
            }
            if self.undeleted.is_empty() {
                return Vec::new();
            }
            tokio::time::sleep(BETWEEN).await;
        }
        vec![format!("HAProxy does not delete servers {:?}", self.undeleted)]
    }
}
