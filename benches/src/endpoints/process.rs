//! Echo endpoints in a process of their own, with descriptors of its own.
//!
//! The program starts itself with a hidden subcommand, reads where the endpoints are, and holds the process's standard
//! input: when that ends, by whatever end of its parent, the process ends.

use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use tokio::sync::oneshot;

use super::{Seen, listen_all};
use crate::cores;

/// The hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "endpoints";

/// Endpoints that run elsewhere. Dropping this ends them.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    addresses: Vec<SocketAddr>,
}

impl Process {
    /// Starts them on a core.
    pub(crate) fn start(core: usize) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(own);
        command.arg(SUBCOMMAND).arg("--core").arg(core.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut started =
            Self { child: command.spawn().context("cannot start endpoints")?, addresses: Vec::new() };
        let mut line = String::new();
        if let Some(output) = started.child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        started.addresses = serde_json::from_str(&line).context("the endpoints do not say where they are")?;
        Ok(started)
    }

    /// Where they are; each has a listening socket of its own.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Is that process: says where the endpoints are and serves until its standard input ends.
pub(crate) fn serve(core: usize) -> anyhow::Result<()> {
    cores::pin(&[core])?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(async {
        let seen = std::sync::Arc::<Seen>::default();
        println!("{}", serde_json::to_string(&listen_all(&seen)?.echo)?);
        let (ends, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let _ = io::stdin().read_to_end(&mut Vec::new());
            let _ = ends.send(());
        });
        let _ = ended.await;
        Ok(())
    })
}
