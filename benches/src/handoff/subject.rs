//! The proxies: how each is started, how each replaces its process, and which processes it has.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tempfile::TempDir;

use crate::cores::{self, Cores};
use crate::peers::{self, Proxy};
use crate::usage;

/// How long a start or a replacement may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked whether something has happened.
const LOOK: Duration = Duration::from_millis(2);
/// From one look at memory to the next.
const INTERVAL: Duration = Duration::from_millis(20);
/// How long the old process may take to end. Whoever keeps flows there keeps it for longer.
pub(super) const OLD: Duration = Duration::from_secs(2);
/// nginx and HAProxy do not say when the new worker accepts.
const SETTLE: Duration = Duration::from_millis(100);
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
/// Envoy drains for the first and ends the old process after the second; the second has to be the longer one.
const ENVOY_DRAINS: [&str; 4] = ["--drain-time-s", "1", "--parent-shutdown-time-s", "2"];

/// A proxy that runs.
#[derive(Debug)]
pub(super) struct Subject {
    proxy: Proxy,
    binary: PathBuf,
    directory: TempDir,
    cores: Cores,
    /// Processes that were started here; those that they have started are found.
    started: Vec<Child>,
    /// The process that is to be replaced: itself, or the master that replaces its worker.
    current: u32,
    /// Every process that was its process at some time.
    all: BTreeSet<u32>,
    epoch: u32,
    base: u32,
    most: Look,
    looked: Instant,
}

/// One replacement.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Replaced {
    /// Until the new process serves; Envoy does not say when that is.
    pub(super) took: Option<Duration>,
    /// Until the old one is gone; none where it stays.
    pub(super) gone: Option<Duration>,
    /// What the proxy says of it.
    pub(super) said: Option<Said>,
}

/// What `tidegate upgrade` says.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Said {
    process: u32,
    pub(super) flows_moved: u64,
    pub(super) flows_left: u64,
    pub(super) pause_p99_us: u64,
    pub(super) took_us: u64,
}

/// One look at the proxy's processes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    pub(super) processes: u64,
    /// Proportional set size, in KiB.
    pub(super) memory: u64,
}

impl Subject {
    pub(super) fn start(
        proxy: Proxy,
        binary: &Path,
        listener: SocketAddr,
        endpoints: &[SocketAddr],
        cores: &Cores,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a directory for the proxy")?;
        let text = configuration(proxy, listener, endpoints, directory.path());
        fs::write(directory.path().join("configuration.yaml"), text)?;
        let mut subject = Self {
            proxy,
            binary: binary.to_owned(),
            directory,
            cores: cores.clone(),
            started: Vec::new(),
            current: 0,
            all: BTreeSet::new(),
            epoch: 0,
            // Envoys of two runs must not meet.
            base: std::process::id() % 30_000,
            most: Look::default(),
            looked: Instant::now(),
        };
        subject.current = subject.spawn()?;
        subject.until(|_| TcpStream::connect(listener).is_ok()).context("it does not accept")?;
        Ok(subject)
    }

    pub(super) fn proxy(&self) -> Proxy {
        self.proxy
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts it, or Envoy's next one.
    fn spawn(&mut self) -> anyhow::Result<u32> {
        let configuration = self.path("configuration.yaml");
        let mut command = peers::command(&self.binary);
        match self.proxy {
            Proxy::Tidegate => command.arg("run").arg("--config").arg(&configuration),
            Proxy::Nginx => {
                command.args(["-e", "stderr", "-p"]).arg(self.directory.path()).arg("-c").arg(&configuration)
            }
            Proxy::Envoy => {
                let (epoch, base) = (self.epoch.to_string(), self.base.to_string());
                command.args(["--concurrency", "1", "--log-level", "error"]);
                command.args(["--restart-epoch", &epoch, "--base-id", &base]).args(ENVOY_DRAINS);
                command.arg("--config-path").arg(&configuration)
            }
            _ => command.arg("-W").arg("-f").arg(&configuration),
        };
        let output = File::options().create(true).append(true).open(self.path("output"))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        // A child inherits the cores of the thread that starts it.
        cores::pin(&self.cores.proxy)?;
        let child = command.spawn();
        cores::pin(&[self.cores.load])?;
        let child = child.with_context(|| format!("cannot start {}", self.binary.display()))?;
        let pid = child.id();
        self.all.insert(pid);
        self.started.push(child);
        Ok(pid)
    }

    /// Replaces its process, as its own manual says.
    pub(super) fn replace(&mut self) -> anyhow::Result<Replaced> {
        let began = Instant::now();
        let (old, said) = match self.proxy {
            Proxy::Tidegate => {
                let mut command = peers::command(&self.binary);
                command.args(["upgrade", "-o", "json", "--socket"]).arg(self.path("handoff.sock"));
                command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
                let mut child = command.spawn().context("cannot run `tidegate upgrade`")?;
                while let Ok(None) = child.try_wait() {
                    self.pause();
                }
                let output = child.wait_with_output()?;
                if !output.status.success() {
                    bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
                }
                let said: Said = serde_json::from_slice(&output.stdout).context("it says something else")?;
                (std::mem::replace(&mut self.current, said.process), Some(said))
            }
            Proxy::Envoy => {
                self.epoch += 1;
                let new = self.spawn()?;
                (std::mem::replace(&mut self.current, new), None)
            }
            _ => {
                let before = self.workers()?;
                let old = *before.last().context("it has no worker")?;
                let signal = if self.proxy == Proxy::Nginx { Signal::HUP } else { Signal::USR2 };
                send(self.current, signal)?;
                self.until(|subject| subject.has_new_worker(&before)).context("there is no new worker")?;
                std::thread::sleep(SETTLE);
                (old, None)
            }
        };
        self.all.insert(self.current);
        let took = (self.proxy != Proxy::Envoy).then(|| began.elapsed());
        // Envoy's new process serves when it says that the old one shall drain, and the old one ends at a set time.
        let limit = if self.proxy == Proxy::Envoy { LIMIT } else { OLD };
        while self.runs(old) && began.elapsed() < limit {
            self.pause();
        }
        let gone = (!self.runs(old)).then(|| began.elapsed());
        Ok(Replaced { took, gone, said })
    }

    /// The workers of a master, the youngest last.
    fn workers(&self) -> anyhow::Result<Vec<u32>> {
        let mut found = usage::processes(self.current)?;
        found.retain(|stat| stat.pid != self.current && stat.runs());
        let mut pids: Vec<u32> = found.iter().map(|stat| stat.pid).collect();
        pids.sort_unstable();
        Ok(pids)
    }

    fn has_new_worker(&self, before: &[u32]) -> bool {
        self.workers().is_ok_and(|workers| workers.iter().any(|it| !before.contains(it)))
    }

    fn until(&mut self, condition: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + LIMIT;
        while !condition(self) {
            if Instant::now() >= until {
                bail!("nothing within {LIMIT:?}; its output:\n{}", self.output());
            }
            self.pause();
        }
        Ok(())
    }

    /// A moment, in which it is looked what there is.
    fn pause(&mut self) {
        if self.looked.elapsed() >= INTERVAL {
            self.look();
        }
        std::thread::sleep(LOOK);
    }

    /// The end of what it has printed.
    pub(super) fn output(&self) -> String {
        let bytes = fs::read(self.path("output")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// A child that has ended and was not waited for runs no more.
    fn runs(&mut self, pid: u32) -> bool {
        if let Some(child) = self.started.iter_mut().find(|child| child.id() == pid) {
            return matches!(child.try_wait(), Ok(None));
        }
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
            let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
            !matches!(state, None | Some('Z' | 'X'))
        })
    }

    /// Its processes now.
    pub(super) fn look(&mut self) -> Look {
        let roots: Vec<u32> = self.all.iter().copied().collect();
        let mut pids = BTreeSet::new();
        for root in roots {
            if self.runs(root) {
                let found = usage::processes(root).unwrap_or_default();
                pids.extend(found.iter().filter(|stat| stat.runs()).map(|stat| stat.pid));
            }
        }
        let memory = pids.iter().filter_map(|pid| usage::proportional_kib(*pid)).sum();
        let look = Look { processes: pids.len() as u64, memory };
        self.most.processes = self.most.processes.max(look.processes);
        self.most.memory = self.most.memory.max(look.memory);
        self.looked = Instant::now();
        look
    }

    /// The most of all looks so far.
    pub(super) fn most(&self) -> Look {
        self.most
    }
}

fn send(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process")?;
    kill_process(pid, signal).context("cannot signal it")
}

impl Drop for Subject {
    fn drop(&mut self) {
        // Nothing of how it ends is measured. What was orphaned is known by its number and by what it runs.
        let directory = self.directory.path().to_owned();
        for pid in usage::processes(self.current).unwrap_or_default().iter().map(|stat| stat.pid) {
            self.all.insert(pid);
        }
        for pid in std::mem::take(&mut self.all) {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let names = line
                .windows(directory.as_os_str().len())
                .any(|it| it == directory.as_os_str().as_encoded_bytes());
            // nginx's workers do not name the configuration; their master, killed first, is their parent no more.
            let is_worker = self.proxy == Proxy::Nginx && line.starts_with(b"nginx: ");
            if names || is_worker {
                let _ = send(pid, Signal::KILL);
            }
        }
        for child in &mut self.started {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn configuration(proxy: Proxy, listener: SocketAddr, endpoints: &[SocketAddr], directory: &Path) -> String {
    let (template, written, between): (_, fn(usize, &SocketAddr) -> String, _) = match proxy {
        Proxy::Tidegate => {
            (include_str!("../../peers/handoff-tidegate.yaml"), |_, it| format!("\"{it}\""), ", ")
        }
        Proxy::Nginx => {
            (include_str!("../../peers/handoff-nginx.conf"), |_, it| format!("server {it};"), "\n")
        }
        Proxy::Envoy => (
            include_str!("../../peers/handoff-envoy.yaml"),
            |_, it| {
                let (ip, port) = (it.ip(), it.port());
                format!(
                    "{{endpoint: {{address: {{socket_address: {{address: {ip}, port_value: {port}}}}}}}}}"
                )
            },
            ", ",
        ),
        _ => (
            include_str!("../../peers/handoff-haproxy.cfg"),
            |number, it| format!("server e{number} {it}"),
            "\n    ",
        ),
    };
    let endpoints: Vec<String> =
        endpoints.iter().enumerate().map(|(number, it)| written(number, it)).collect();
    // A package that has the module built in has no file for it.
    let module =
        if Path::new(NGINX_STREAM).exists() { format!("load_module {NGINX_STREAM};") } else { String::new() };
    template
        .lines()
        .filter(|line| !line.starts_with('#'))
        .fold(String::new(), |text, line| text + line + "\n")
        .replace("{{endpoints}}", &endpoints.join(between))
        .replace("{{listener}}", &listener.to_string())
        .replace("{{ip}}", &listener.ip().to_string())
        .replace("{{port}}", &listener.port().to_string())
        .replace("{{directory}}", &directory.display().to_string())
        .replace("{{module}}", &module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_of_every_template_is_filled() {
        let (listener, endpoints) = ("127.0.0.1:7000".parse().unwrap(), ["127.0.1.1:7001", "127.0.1.2:7002"]);
        let endpoints = endpoints.map(|endpoint| endpoint.parse().unwrap());
        for proxy in [Proxy::Tidegate, Proxy::Haproxy, Proxy::Nginx, Proxy::Envoy] {
            let text = configuration(proxy, listener, &endpoints, Path::new("/tmp/x"));
            assert!(!text.contains("{{e") && !text.contains("{{d") && !text.contains("{{l"), "{text}");
            for word in ["7000", "127.0.1.1", "7001", "127.0.1.2", "7002"] {
                assert!(text.contains(word), "{word}: {text}");
            }
        }
    }
}
