//! The proxies: which there are, where they are, how they are configured.

mod running;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

pub(crate) use running::Running;

use crate::cli::Compare;
use crate::workload::Workload;

const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// A row of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Proxy {
    Tidegate,
    /// HAProxy with `option splice-auto`.
    Haproxy,
    /// HAProxy that always splices.
    HaproxySplice,
    /// The same with pipes of 1 MiB.
    #[serde(rename = "haproxy-splice-1m")]
    HaproxySplice1m,
    Nginx,
    Envoy,
    /// No proxy: clients go straight to the endpoints.
    Direct,
}

impl Proxy {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 5] =
        [Self::Tidegate, Self::Haproxy, Self::HaproxySplice, Self::HaproxySplice1m, Self::Nginx];

    /// Whether it is an HAProxy, of which the best row counts.
    pub(crate) fn is_haproxy(self) -> bool {
        matches!(self, Self::Haproxy | Self::HaproxySplice | Self::HaproxySplice1m)
    }

    /// Whether it is measured under a workload: how HAProxy splices matters in bulk only.
    pub(crate) fn takes(self, workload: Workload) -> bool {
        workload == Workload::Bulk || !matches!(self, Self::HaproxySplice | Self::HaproxySplice1m)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tidegate => "tidegate",
            Self::Haproxy => "haproxy",
            Self::HaproxySplice => "haproxy-splice",
            Self::HaproxySplice1m => "haproxy-splice-1m",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Direct => "direct",
        })
    }
}

/// A proxy that can be started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) proxy: Proxy,
    pub(crate) binary: PathBuf,
    pub(crate) version: String,
}

/// Finds what there is; a line on stderr for each that is not.
///
/// # Errors
///
/// When a path was given and nothing that runs is there.
pub(crate) fn find(args: &Compare) -> anyhow::Result<Vec<Peer>> {
    let mut peers = Vec::new();
    for proxy in Proxy::ALL {
        let (given, default, flag) = match proxy {
            Proxy::Tidegate => (&args.tidegate, None, "--version"),
            Proxy::Nginx => (&args.nginx, Some("/usr/sbin/nginx"), "-v"),
            _ => (&args.haproxy, Some("/usr/sbin/haproxy"), "-v"),
        };
        let Some(binary) = given.clone().or(default.map(PathBuf::from)) else {
            eprintln!("{proxy}: skipped, no path was given (--{proxy} PATH)");
            continue;
        };
        if given.is_none() && !binary.exists() {
            eprintln!("{proxy}: skipped, there is no {}", binary.display());
            continue;
        }
        let version = version(&binary, flag)?;
        eprintln!("{proxy}: {version}");
        peers.push(Peer { proxy, binary, version });
    }
    if peers.is_empty() {
        bail!("no proxy was found: see benches/README.md for how to install them");
    }
    Ok(peers)
}

/// The first line that a binary prints about itself.
fn version(binary: &Path, flag: &str) -> anyhow::Result<String> {
    let output = Command::new(binary)
        .arg(flag)
        .output()
        .with_context(|| format!("cannot run {}", binary.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let first = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned();
    if !output.status.success() {
        bail!("{} {flag}: {}: {first}", binary.display(), output.status);
    }
    Ok(first)
}

/// What a configuration is made from.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) listener: SocketAddr,
    pub(crate) endpoints: &'a [SocketAddr],
    pub(crate) directory: &'a Path,
    /// Open files a process may have.
    pub(crate) descriptors: u64,
}

impl Setting<'_> {
    /// The most flows a proxy has to be ready for: HAProxy counts two sockets and half a pipe for each.
    pub(crate) fn flows(&self) -> u64 {
        flows_within(self.descriptors)
    }
}

/// The most flows that a limit on open files allows every proxy.
pub(crate) fn flows_within(descriptors: u64) -> u64 {
    (descriptors * 3 / 8).min(100_000)
}

/// The text of a proxy's configuration.
fn configuration(proxy: Proxy, setting: &Setting<'_>) -> String {
    let endpoints = |indent: &str, line: fn(usize, &SocketAddr) -> String| {
        let lines: Vec<String> =
            setting.endpoints.iter().enumerate().map(|(at, address)| line(at, address)).collect();
        lines.join(&format!("\n{indent}"))
    };
    let (template, endpoints) = match proxy {
        Proxy::Tidegate => {
            (include_str!("../peers/tidegate.yaml"), endpoints("  ", |_, address| format!("- \"{address}\"")))
        }
        Proxy::Nginx => (
            include_str!("../peers/nginx.conf"),
            endpoints("        ", |_, address| format!("server {address};")),
        ),
        _ => (
            include_str!("../peers/haproxy.cfg"),
            endpoints("    ", |at, address| format!("server e{at} {address}")),
        ),
    };
    let splice = match proxy {
        Proxy::Haproxy => "option splice-auto",
        _ => "no option splice-auto\n    option splice-request\n    option splice-response",
    };
    let pipes = if proxy == Proxy::HaproxySplice1m { "tune.pipesize 1048576" } else { "" };
    // A package that has the module built in has no file for it.
    let module =
        if Path::new(NGINX_STREAM).exists() { format!("load_module {NGINX_STREAM};") } else { String::new() };
    [
        ("splice", splice.to_owned()),
        ("pipes", pipes.to_owned()),
        ("module", module),
        ("listener", setting.listener.to_string()),
        ("endpoints", endpoints),
        ("directory", setting.directory.display().to_string()),
        ("flows", setting.flows().to_string()),
        ("connections", (2 * setting.flows() + 64).to_string()),
        ("descriptors", setting.descriptors.to_string()),
    ]
    .into_iter()
    .fold(without_comments(template), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), &value))
}

/// A template without its comment lines, which speak of the marks.
fn without_comments(template: &str) -> String {
    template
        .lines()
        .filter(|line| !line.starts_with('#'))
        .fold(String::new(), |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_of_every_template_is_filled() {
        let endpoints = ["127.0.1.1:7001".parse().unwrap(), "127.0.1.2:7002".parse().unwrap()];
        let setting = Setting {
            listener: "127.0.0.1:7000".parse().unwrap(),
            endpoints: &endpoints,
            directory: Path::new("/tmp/x"),
            descriptors: 20_000,
        };
        for proxy in Proxy::ALL {
            let text = configuration(proxy, &setting);
            assert!(!text.contains("{{"), "{text}");
            assert!(text.contains("127.0.0.1:7000") && text.contains("127.0.1.2:7002"), "{text}");
            assert_eq!(text.contains("tune.pipesize"), proxy == Proxy::HaproxySplice1m);
        }
    }
}
