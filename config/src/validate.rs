//! From the file's shape to what it means. Every check is made, whatever was found before it, so that one run tells
//! all that is wrong.

mod audit;
mod listeners;
mod peers;
mod services;
mod settings;
mod source;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    configuration::{
        Admin, AdminAddress, Afterwards, Configuration, FlowLog, Handoff, Node, Shutdown, Workers,
    },
    document::{AdminBlock, Document, FlowLogBlock, HandoffBlock, NodeBlock, ShutdownBlock},
    error::Finding,
    leaf::{Field, Located, Place},
    values::{FilePath, Name},
    words::FlowLogMode,
};

/// The configuration that a document means, with warnings; or all that is wrong with it.
pub(crate) fn validate(
    document: &Document,
    directory: &Path,
) -> Result<(Configuration, Vec<Finding>), Vec<Finding>> {
    let mut check = Check { directory, errors: Vec::new(), warnings: Vec::new(), bound: Vec::new() };
    let top = Place { line: 1, column: 1 };
    check.required(&document.api_version, top, "apiVersion", "`apiVersion: tidegate.io/v1alpha1`");
    check.required(&document.kind, top, "kind", "`kind: ProxyConfiguration`");
    let workers = check.value(&document.workers, "workers").and_then(|count| count.0);
    let admin = document.admin.as_ref().and_then(|block| check.admin(block));
    let metrics = document.metrics.as_ref().and_then(|block| {
        let remedy = "`address: IP:port` under `metrics`";
        let address = check.required(&block.value.address, block.place, "metrics.address", remedy)?;
        check.bind(address, "metrics.address", block.value.address.as_ref());
        Some(address)
    });
    let source = document.source.as_ref().and_then(|block| check.source(block));
    let gate = check.gate(document);
    let peers = check.peers(document, source.as_ref());
    let defaults = check.defaults(document.defaults.as_ref());
    if let Some(block) = &document.defaults {
        let has_kubernetes = document.source.as_ref().is_some_and(|source| source.value.kubernetes.is_some());
        check.warn_of_idle(block.settings(), "defaults", None, &defaults, has_kubernetes);
    }
    let has_source = document.source.is_some();
    let mut services = check.services(document, &defaults);
    let listeners = check.listeners(document, &services, has_source);
    check.taken_twice();

    let entries: BTreeSet<_> = services.iter().map(|service| service.name.clone()).collect();
    let named: BTreeSet<_> = listeners.iter().map(|listener| listener.service.service.clone()).collect();
    services.extend(named.difference(&entries).map(|name| crate::Service {
        name: name.clone(),
        settings: defaults.clone(),
        fixed: None,
        given: BTreeSet::new(),
    }));
    services.sort_by(|a, b| a.name.cmp(&b.name));

    let configuration = Configuration {
        workers: workers.map_or(Workers::Auto, Workers::Count),
        admin,
        metrics,
        gate,
        peers,
        source,
        listeners,
        services,
        defaults,
        shutdown: check.shutdown(document.shutdown.as_ref()),
        node: check.node(document.node.as_ref()),
        state_directory: check
            .value(&document.state_directory, "stateDirectory")
            .map(|path| check.resolve(&path)),
        handoff: document.handoff.as_ref().and_then(|block| check.handoff(block)),
        flow_log: check.flow_log(document.flow_log.as_ref()),
        audit: check.audit(document.audit.as_ref()),
    };
    check.warnings.sort_by_key(|warning| (warning.line, warning.column));
    if check.errors.is_empty() { Ok((configuration, check.warnings)) } else { Err(check.errors) }
}

/// The findings so far.
struct Check<'a> {
    directory: &'a Path,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    /// Addresses that will be bound, by which field.
    bound: Vec<(SocketAddr, String, Place)>,
}

impl Check<'_> {
    /// A value that may be left out.
    fn value<T: Clone>(&mut self, field: &Option<Field<T>>, name: impl Into<String>) -> Option<T> {
        let field = field.as_ref()?;
        match &field.read {
            Ok(value) => Some(value.clone()),
            Err(message) => {
                self.errors.push(Finding::new(field.place, name, message));
                None
            }
        }
    }

    /// A value that must be there; `parent` is the place of the block that lacks it.
    fn required<T: Clone>(
        &mut self,
        field: &Option<Field<T>>,
        parent: Place,
        name: impl Into<String>,
        remedy: &str,
    ) -> Option<T> {
        let name = name.into();
        if field.is_none() {
            self.errors.push(Finding::new(parent, name, format!("missing: add {remedy}")));
            return None;
        }
        self.value(field, name)
    }

    /// Notes that an address will be bound.
    fn bind<T>(&mut self, address: SocketAddr, name: impl Into<String>, field: Option<&Field<T>>) {
        self.bound.push((address, name.into(), field.map(|field| field.place).unwrap_or_default()));
    }

    fn error(&mut self, place: Place, field: impl Into<String>, message: impl Into<String>) {
        self.errors.push(Finding::new(place, field, message));
    }

    fn warn(&mut self, place: Place, field: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(Finding::new(place, field, message));
    }

    /// A path, relative to the file's directory, without the `.` in it.
    fn resolve(&self, path: &FilePath) -> PathBuf {
        let path: PathBuf = self
            .directory
            .join(&path.0)
            .components()
            .filter(|component| !matches!(component, Component::CurDir))
            .collect();
        if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }
    }

    fn admin(&mut self, Located { value: block, place }: &Located<AdminBlock>) -> Option<Admin> {
        let token_file = self.value(&block.token_file, "admin.tokenFile").map(|path| self.resolve(&path));
        let remedy = "`address: IP:port` or `address: unix:/path` under `admin`";
        let address = match self.required(&block.address, *place, "admin.address", remedy)? {
            AdminAddress::Unix(path) => AdminAddress::Unix(self.resolve(&FilePath(path))),
            AdminAddress::Tcp(address) => {
                self.bind(address, "admin.address", block.address.as_ref());
                AdminAddress::Tcp(address)
            }
        };
        if !address.is_local() && block.token_file.is_none() {
            let place = block.address.as_ref().map_or(*place, |field| field.place);
            self.error(
                place,
                "admin.address",
                format!(
                    "{address} can be reached from other machines, and whoever reaches the admin API can drain \
                     endpoints and close flows: use a loopback address such as 127.0.0.1:9901, a Unix socket, or \
                     give `tokenFile` (scrapers that only read metrics have `metrics.address`)"
                ),
            );
        }
        Some(Admin { address, token_file })
    }

    fn handoff(&mut self, Located { value: block, place }: &Located<HandoffBlock>) -> Option<Handoff> {
        let timeout = self.value(&block.timeout, "handoff.timeout").and_then(|timeout| timeout.0);
        let linger = self.value(&block.linger, "handoff.linger").and_then(|linger| linger.0);
        let afterwards = self.value(&block.afterwards, "handoff.afterwards");
        let probe_socket =
            self.value(&block.probe_socket, "handoff.probeSocket").map(|path| self.resolve(&path));
        let remedy = "`socket: /path` under `handoff`";
        let socket = self.required(&block.socket, *place, "handoff.socket", remedy)?;
        let socket = self.resolve(&socket);
        if probe_socket.as_ref() == Some(&socket)
            && let Some(field) = &block.probe_socket
        {
            let message = "is the same as handoff.socket; each needs a path of its own";
            self.errors.push(Finding::new(field.place, "handoff.probeSocket", message));
        }
        Some(Handoff {
            socket,
            afterwards: afterwards.unwrap_or(Afterwards::Exit),
            probe_socket,
            timeout: timeout.unwrap_or(Duration::from_secs(30)),
            linger: linger.unwrap_or(Duration::from_secs(3600)),
        })
    }

    fn shutdown(&mut self, block: Option<&ShutdownBlock>) -> Shutdown {
        let mut shutdown = Shutdown::default();
        let Some(block) = block else { return shutdown };
        if let Some(delay) = self.value(&block.delay, "shutdown.delay").and_then(|delay| delay.0) {
            shutdown.delay = delay;
        }
        if let Some(grace) = self.value(&block.grace, "shutdown.grace") {
            shutdown.grace = grace.0;
        }
        shutdown
    }

    fn node(&mut self, block: Option<&NodeBlock>) -> Node {
        let Some(block) = block else {
            return Node::default();
        };
        let mut text =
            |field: &Option<Field<Name>>, name: &str| self.value(field, name).map(|name| Arc::from(name.0));
        Node { name: text(&block.name, "node.name"), zone: text(&block.zone, "node.zone") }
    }

    fn flow_log(&mut self, block: Option<&FlowLogBlock>) -> FlowLog {
        let Some(block) = block else {
            return FlowLog::default();
        };
        let mode = self.value(&block.mode, "flowLog.mode").unwrap_or(FlowLogMode::Off);
        let every = self.value(&block.sample_every, "flowLog.sampleEvery").map_or(100, |every| every.0);
        if let (Some(field), FlowLogMode::Off | FlowLogMode::All) = (&block.sample_every, mode) {
            self.warn(
                field.place,
                "flowLog.sampleEvery",
                "has no effect without `mode: sampled`: set the mode or remove it",
            );
        }
        match mode {
            FlowLogMode::Off => FlowLog::Off,
            FlowLogMode::Sampled => FlowLog::Sampled { every },
            FlowLogMode::All => FlowLog::All,
        }
    }
}

#[cfg(test)]
mod tests;
