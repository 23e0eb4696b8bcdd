//! The proxies: which there are and what their rows are called. `find` says where they are, `configuration` how
//! they are set up, `running` how they are started and ended.

mod configuration;
mod find;
mod running;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub(crate) use find::find;
pub(crate) use running::{Running, Start, free_addresses};

/// A row of the report. Rows are in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Proxy {
    Tidegate,
    /// HAProxy with `option splice-auto`.
    Haproxy,
    /// HAProxy that always splices.
    HaproxySplice,
    /// The same with pipes of 1 MiB.
    #[serde(rename = "haproxy-splice-1m")]
    #[value(name = "haproxy-splice-1m")]
    HaproxySplice1m,
    Nginx,
    /// nginx that closes each direction by itself, as all the others do.
    NginxHalfClose,
    Envoy,
    /// No proxy: clients go straight to the endpoints.
    Direct,
}

impl Proxy {
    /// Whether it is an HAProxy, of which the best row counts.
    pub(crate) fn is_haproxy(self) -> bool {
        matches!(self, Self::Haproxy | Self::HaproxySplice | Self::HaproxySplice1m)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// A proxy that can be started, or the row without one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) proxy: Proxy,
    /// Empty for the row without a proxy.
    pub(crate) binary: PathBuf,
    /// What it says of itself.
    pub(crate) version: String,
}

impl Peer {
    /// A command that starts it, as far as its own arguments. None for the row without a proxy.
    pub(crate) fn command(&self) -> Option<Command> {
        self.is_process().then(|| command(&self.binary))
    }

    /// Whether there is something to start.
    pub(crate) fn is_process(&self) -> bool {
        !self.binary.as_os_str().is_empty()
    }
}

/// A command that starts a proxy's binary. This program is one as well: it holds Tidegate behind a subcommand, so that
/// what was built with the bench is what the bench measures.
pub(crate) fn command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    if std::env::current_exe().is_ok_and(|own| own == binary) {
        command.arg("proxy");
    }
    command
}
