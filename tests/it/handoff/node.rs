//! A node of a cluster, played by processes: what the DaemonSet's controller and the kubelet do with pods of
//! `deploy/kubernetes` while one takes over from the other, and what becomes of flows meanwhile.
//!
//! Paths and the handoff's settings are those of the manifests, with a directory for each volume: one that all pods of
//! the node share, and one for each pod. The probes are the DaemonSet's commands.
//!
//! `succession` is what goes well, also backwards; `trouble` is what does not.

mod succession;
mod trouble;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tidegate_tests::{
    manifests::{at, documents, read},
    support::{Connection, Endpoint, Process, Proxy, eventually, run, until},
};

use super::Successor;

/// Where the manifests mount what is the node's and what is the pod's.
const MOUNTS: &str = "/run/tidegate/";

/// A node. Its first pod has the proxy that tests ask; what answers there is whichever pod has the admin address.
struct Node {
    first: Proxy,
}

/// A further pod, with the container that runs.
struct Pod {
    name: &'static str,
    config: PathBuf,
    container: Successor,
}

/// Text of a manifest with directories of the test in the place of volumes.
fn mounted(text: &str, pod: &str, directory: &str) -> String {
    text.replace(&format!("{MOUNTS}pod"), &format!("{directory}/pod-{pod}"))
        .replace(&format!("{MOUNTS}node"), &format!("{directory}/node"))
}

/// What the manifests say of the handoff, for a pod.
fn handoff(pod: &str) -> Value {
    let configuration = documents(&read("kubernetes/tidegate.yaml")).remove(0);
    serde_json::from_str(&mounted(&at(&configuration, "/handoff").to_string(), pod, "..")).unwrap()
}

/// The probe of the DaemonSet, asked of a pod; what it said, where it says no.
fn probe(directory: &Path, pod: &str, probe: &str) -> Result<(), String> {
    let daemon_set = documents(&read("kubernetes/daemonset.yaml")).remove(0);
    let place = format!("/spec/template/spec/containers/0/{probe}Probe/exec/command");
    let words: Vec<String> = serde_json::from_value(at(&daemon_set, &place).clone()).unwrap();
    assert_eq!(words[0], "/usr/local/bin/tidegate");
    let arguments = words[1..].iter().map(|word| mounted(word, pod, directory.to_str().unwrap()));
    let answer = run(Command::new(env!("CARGO_BIN_EXE_tidegate")).args(arguments).env_clear());
    let said = String::from_utf8_lossy(&answer.stdout) + String::from_utf8_lossy(&answer.stderr);
    if answer.status.success() { Ok(()) } else { Err(said.into_owned()) }
}

impl Node {
    /// A node with one pod, `a`, that serves.
    fn start(endpoint: &Endpoint) -> Self {
        Self::start_as(endpoint, "a", "600s")
    }

    /// The same, with this uid, and so long for flows to end by themselves once the pod is told to end.
    fn start_as(endpoint: &Endpoint, uid: &str, grace: &str) -> Self {
        let setup = crate::setup();
        // As the kubelet makes them: for everybody to read.
        for volume in ["node", "pod-a"] {
            fs::create_dir(setup.directory().join(volume)).unwrap();
        }
        let first = setup
            .config(|config| {
                config.set("handoff", handoff("a"));
                config.set("shutdown", json!({"delay": "15s", "grace": grace}));
            })
            .environment("POD_UID", uid)
            .ready([endpoint])
            .start();
        Self { first }
    }

    /// Another pod, as the controller makes it.
    fn add(&self, name: &'static str) -> Pod {
        self.add_with(name, |text| text)
    }

    /// The same, with another configuration.
    fn add_with(&self, name: &'static str, change: impl FnOnce(String) -> String) -> Pod {
        fs::create_dir(self.first.directory().join(format!("pod-{name}"))).unwrap();
        let text = fs::read_to_string(self.first.config_file()).unwrap();
        let config = self.first.config_file().with_file_name(format!("tidegate-{name}.yaml"));
        fs::write(&config, change(text.replace("pod-a", &format!("pod-{name}")))).unwrap();
        let container = self.container(name, &config);
        Pod { name, config, container }
    }

    /// Starts the container of a pod.
    fn container(&self, name: &str, config: &Path) -> Successor {
        Successor::start_with(config, self.first.directory(), &[("POD_UID", name)])
    }

    /// Starts the container of the first pod again.
    fn restart_first(&self) -> Successor {
        self.container("a", &self.first.config_file())
    }

    fn probe(&self, pod: &str, what: &str) -> Result<(), String> {
        probe(self.first.directory(), pod, what)
    }

    #[track_caller]
    fn wait_until_ready(&self, pod: &str) {
        eventually("the pod is ready", || self.probe(pod, "readiness").ok());
    }

    /// The kubelet would leave them alone.
    #[track_caller]
    fn expect_healthy<'a>(&self, pods: impl IntoIterator<Item = &'a str>) {
        for pod in pods {
            for what in ["startup", "liveness", "readiness"] {
                assert_eq!(self.probe(pod, what), Ok(()), "{what} of {pod}");
            }
        }
    }

    /// Waits until a log says that its process is parked behind a pod.
    #[track_caller]
    fn wait_until_parked(&self, log: impl Fn() -> String, behind: &str) {
        let words = format!("by=\"{behind}\"");
        until("it is parked", || log().lines().any(|line| line.contains("parked") && line.contains(&words)));
    }

    /// A flow that is there all the time.
    fn flow(&self) -> Connection {
        self.first.connect_greeted().0
    }
}

impl Pod {
    fn log(&self) -> String {
        self.container.log()
    }

    fn signal(&self, signal: Signal) {
        Process::new(self.container.child.id()).signal(signal);
    }

    /// The kubelet starts a container whose process has ended again, in the same pod.
    fn restart(&mut self, node: &Node) {
        self.signal(Signal::KILL);
        self.container.wait_for_end();
        self.container = node.container(self.name, &self.config);
    }
}
