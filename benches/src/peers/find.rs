//! Which proxies are here, and what they say of themselves.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::{Peer, Proxy, command};
use crate::cli::Compare;

/// Finds what was asked for, and a line for each that is not there.
///
/// # Errors
///
/// When a path was given and nothing that runs is there, or when there is nothing to measure.
pub(crate) fn find(args: &Compare) -> anyhow::Result<(Vec<Peer>, Vec<String>)> {
    let (mut peers, mut skipped) = (Vec::new(), Vec::new());
    for proxy in Proxy::value_variants() {
        if !args.proxies.is_empty() && !args.proxies.contains(proxy) {
            continue;
        }
        match place(*proxy, args)? {
            Place::Nowhere(where_not, flag) => skipped.push(format!(
                "{proxy}: skipped, there is no {where_not} ({flag} PATH names another; benches/README.md says how to \
                 install it)"
            )),
            Place::NoProxy => peers.push(Peer {
                proxy: *proxy,
                binary: PathBuf::new(),
                version: "clients go straight to the endpoints".to_owned(),
            }),
            Place::Here(binary) => {
                let version = version(*proxy, &binary)?;
                peers.push(Peer { proxy: *proxy, binary, version });
            }
        }
    }
    if peers.is_empty() {
        bail!("there is nothing to measure:\n{}", skipped.join("\n"));
    }
    Ok((peers, skipped))
}

/// Where a proxy is.
enum Place {
    Here(PathBuf),
    /// Where it is not, and the flag that names another place.
    Nowhere(String, &'static str),
    NoProxy,
}

fn place(proxy: Proxy, args: &Compare) -> anyhow::Result<Place> {
    let (given, name, flag) = match proxy {
        Proxy::Direct => return Ok(Place::NoProxy),
        Proxy::Tidegate => (&args.tidegate, "", "--tidegate"),
        Proxy::Nginx | Proxy::NginxHalfClose => (&args.nginx, "nginx", "--nginx"),
        Proxy::Envoy => (&args.envoy, "envoy", "--envoy"),
        Proxy::Haproxy | Proxy::HaproxySplice | Proxy::HaproxySplice1m => {
            (&args.haproxy, "haproxy", "--haproxy")
        }
    };
    if let Some(binary) = given {
        return Ok(Place::Here(binary.clone()));
    }
    if proxy == Proxy::Tidegate {
        return Ok(Place::Here(std::env::current_exe().context("cannot find this program's own file")?));
    }
    Ok(in_path(name).map_or(Place::Nowhere(name.to_owned(), flag), Place::Here))
}

/// The binary of this name.
fn in_path(name: &str) -> Option<PathBuf> {
    // Debian keeps proxies where a user's PATH may not lead.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    folders.map(|folder| folder.join(name)).find(|binary| binary.is_file())
}

/// The first line that a binary prints about itself.
fn version(proxy: Proxy, binary: &Path) -> anyhow::Result<String> {
    let flag = if matches!(proxy, Proxy::Tidegate | Proxy::Envoy) { "--version" } else { "-v" };
    let output = command(binary)
        .arg(flag)
        .output()
        .with_context(|| format!("{proxy}: cannot run {}", binary.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    // Some say which file they are.
    let first = first.strip_prefix(&*binary.to_string_lossy()).unwrap_or(first).trim().to_owned();
    if !output.status.success() {
        bail!("{proxy}: `{} {flag}` ends with {}: {first}", binary.display(), output.status);
    }
    Ok(first)
}
