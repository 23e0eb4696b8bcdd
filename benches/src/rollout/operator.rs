//! Who tells a proxy that its endpoints change, each in the way its own manual advises.
//!
//! An operator hears of every step in an endpoint's life and tells its proxy of those that matter there. It says when
//! the action was complete: from then on the change is the proxy's business.

mod envoy;
mod haproxy;
mod nginx;
mod tidegate;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::Context;

pub(super) use envoy::Envoy;
pub(super) use haproxy::Haproxy;
pub(super) use nginx::Nginx;
pub(super) use tidegate::Tidegate;

use super::endpoint::{Phase, Pod};

/// One proxy's operator.
pub(super) trait Operator {
    /// Tells the proxy that `changed` is in its phase now, one of all `pods`; when the action was complete.
    async fn apply(&mut self, pods: &[Pod], changed: Pod) -> anyhow::Result<Instant>;

    /// Does what is still to do after the last change; what could not be done, in words.
    async fn finish(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// An operator of a proxy that is a program.
pub(super) trait Start: Operator + Sized {
    /// Writes what the proxy starts from, and adds the arguments to the command.
    fn prepare(setting: &Setting<'_>, pods: &[Pod], command: &mut Command) -> anyhow::Result<Self>;
}

/// What a proxy is started with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    pub(super) listener: SocketAddr,
    /// A directory of its own.
    pub(super) directory: &'a Path,
}

impl Setting<'_> {
    /// Fills the marks of a template and writes the configuration.
    fn write(&self, template: &str, marks: &[(&str, &str)]) -> anyhow::Result<PathBuf> {
        let path = self.directory.join("configuration.yaml");
        fs::write(&path, self.fill(template, marks)).context("cannot write the proxy's configuration")?;
        Ok(path)
    }

    /// A template with its marks filled, and without its comments, which speak of them.
    fn fill(&self, template: &str, marks: &[(&str, &str)]) -> String {
        let lines = template.lines().filter(|line| !line.starts_with('#'));
        let text = lines.fold(String::new(), |text, line| text + line + "\n");
        let (listener, directory) = (self.listener.to_string(), self.directory.display().to_string());
        let (ip, port) = (self.listener.ip().to_string(), self.listener.port().to_string());
        let own = [("listener", listener), ("directory", directory), ("ip", ip), ("port", port)]
            .map(|(name, value)| (name.to_owned(), value));
        let given = marks.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        own.into_iter()
            .chain(given)
            .fold(text, |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), &value))
    }
}

/// Writes a file beside and renames it into place; when the rename was done.
fn replace(path: &Path, text: &str) -> anyhow::Result<Instant> {
    // Beside the directory and not in it: somebody watches that.
    let beside = path.with_extension("new");
    let beside = match path.parent().and_then(Path::parent) {
        Some(above) => above.join(beside.file_name().unwrap_or_default()),
        None => beside,
    };
    fs::write(&beside, text).with_context(|| format!("cannot write {}", beside.display()))?;
    fs::rename(&beside, path).with_context(|| format!("cannot rename to {}", path.display()))?;
    Ok(Instant::now())
}

/// The addresses of the endpoints that are ready.
fn ready(pods: &[Pod]) -> impl Iterator<Item = &Pod> {
    pods.iter().filter(|pod| pod.phase == Phase::Ready)
}

#[cfg(test)]
mod tests;
