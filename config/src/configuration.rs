//! The checked configuration, as values of their types.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tidegate_core::{FixedEndpoint, ServiceConfig, ServiceName, ServicePort, ServiceSettings};

use crate::audit::Audit;

/// A checked configuration.
///
/// Paths are resolved against the directory of the file that they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Threads that move bytes.
    pub workers: Workers,
    /// The admin API; `None` for none.
    pub admin: Option<Admin>,
    /// The address for scrapers; `None` for none.
    pub metrics: Option<SocketAddr>,
    /// Where pods wait until no flow is pinned to them; `None` for no gate.
    pub gate: Option<SocketAddr>,
    /// The other instances; `None` where this is the only one.
    pub peers: Option<Peers>,
    /// Where endpoints come from; `None` where every service has a fixed list of endpoints.
    pub source: Option<Source>,
    /// The listeners in the order of the file, at least one unless the source is an API server.
    pub listeners: Vec<Listener>,
    /// Every service that has an entry or that a listener names, by name.
    pub services: Vec<Service>,
    /// The settings of services that do not say otherwise.
    pub defaults: ServiceSettings,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// Where this process runs.
    pub node: Node,
    /// The directory for what survives a restart; `None` to keep nothing.
    pub state_directory: Option<PathBuf>,
    /// How a successor takes over; `None` where none can.
    pub handoff: Option<Handoff>,
    /// Which flows get a log line.
    pub flow_log: FlowLog,
    /// Where the records of drains go.
    pub audit: Audit,
}

/// Where endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory of EndpointSlice files.
    EndpointSliceDirectory(PathBuf),
    /// An API server.
    Kubernetes(Kubernetes),
}

/// An API server as the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// The kubeconfig; `None` for the pod's service account, else what the environment names.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig; `None` for its current one.
    pub context: Option<String>,
    /// The namespaces that are followed, each once, in order; all where it is empty.
    pub namespaces: Vec<String>,
    /// The class of load balancer whose Services get listeners; `None` for no Service.
    pub load_balancer_class: Option<String>,
    /// The addresses on which Services are served; this node's internal ones where it is empty.
    pub addresses: Vec<IpAddr>,
    /// The headless Service of all instances; `None` for `tidegate` in the pod's namespace.
    pub own_service: Option<ServiceName>,
    /// Endpoints of nodes that are going away take no new flows.
    pub early_drain: bool,
    /// Events on pods tell when a drain began and what it came to.
    pub pod_events: bool,
}

/// The class of load balancer where the file names none.
pub(crate) const LOAD_BALANCER_CLASS: &str = "tidegate.io/tidegate";

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            namespaces: Vec::new(),
            load_balancer_class: Some(LOAD_BALANCER_CLASS.to_owned()),
            addresses: Vec::new(),
            own_service: None,
            early_drain: true,
            pod_events: true,
        }
    }
}

/// The other instances, and how they are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    /// Where they are.
    pub members: PeerMembers,
    /// The file with the token that they show each other.
    pub token_file: PathBuf,
    /// How what they say is encrypted; `None` for not at all.
    pub tls: Option<PeerTls>,
}

/// Where the instances are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMembers {
    /// Where the slices of this Service say.
    Service(ServiceName),
    /// Where the slices of `tidegate` in this pod's namespace say.
    Own,
    /// Here.
    Addresses(Vec<SocketAddr>),
}

/// How what instances say to each other is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTls {
    /// This instance's certificate.
    pub certificate_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// The authority of all certificates.
    pub authority_file: PathBuf,
    /// The name that all certificates hold.
    pub server_name: String,
}

/// How many threads move bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One for each processor.
    Auto,
    /// So many, at least 1.
    Count(u16),
}

/// The admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub address: AdminAddress,
    /// The file with the bearer token; always there where the address is not local.
    pub token_file: Option<PathBuf>,
}

/// Where the admin API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// On a TCP port.
    Tcp(SocketAddr),
    /// On a Unix socket.
    Unix(PathBuf),
}

impl AdminAddress {
    /// Only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl std::fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An address that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, unique among the listeners.
    pub name: Arc<str>,
    /// Where it accepts; with port 0 the kernel chooses the port.
    pub address: SocketAddr,
    /// Where its flows go.
    pub service: ServicePort,
}

/// A service with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// How its flows are treated: the defaults with what its entry says.
    pub settings: ServiceSettings,
    /// A fixed list of endpoints; where it is given, slices of this service are ignored.
    pub fixed: Option<Vec<FixedEndpoint>>,
    /// The settings that its entry gives, by their names in the file: they come before what a Service says of itself.
    /// Only where the source is an API server.
    pub given: BTreeSet<&'static str>,
}

/// How the process ends after SIGTERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long it goes on accepting after it said that it is not ready.
    pub delay: Duration,
    /// How long it then waits for flows to end; `None` for ever.
    pub grace: Option<Duration>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { delay: Duration::from_secs(5), grace: None }
    }
}

/// How a successor takes over from this process, and this one from its predecessor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handoff {
    /// The Unix socket on which they meet.
    pub socket: PathBuf,
    /// How long a successor waits until its source is complete.
    pub timeout: Duration,
    /// How long the predecessor waits for flows that did not move.
    pub linger: Duration,
    /// What the predecessor does then.
    pub afterwards: Afterwards,
    /// Where this process answers probes for itself.
    pub probe_socket: Option<PathBuf>,
}

/// What a process does that has handed everything over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// It ends.
    Exit,
    /// It closes everything and waits for SIGTERM.
    Park,
}

/// Where this process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The node's name.
    pub name: Option<Arc<str>>,
    /// The node's zone.
    pub zone: Option<Arc<str>>,
}

/// Which flows get a log line when they end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowLog {
    /// None.
    #[default]
    Off,
    /// One of so many, at least 1.
    Sampled {
        /// Of how many flows one gets a line.
        every: u32,
    },
    /// All.
    All,
}

impl Configuration {
    /// What the table is to know: one entry for each Service's port that a listener names, in order, each once.
    pub fn service_configs(&self) -> Vec<ServiceConfig> {
        let ports: BTreeSet<_> = self.listeners.iter().map(|listener| &listener.service).collect();
        ports
            .into_iter()
            .map(|port| {
                let service = self.service(&port.service);
                ServiceConfig {
                    port: port.clone(),
                    settings: service
                        .map_or_else(|| self.defaults.clone(), |service| service.settings.clone()),
                    fixed: service.and_then(|service| service.fixed.clone()),
                }
            })
            .collect()
    }

    /// A service by its name.
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.iter().find(|service| service.name == *name)
    }
}
