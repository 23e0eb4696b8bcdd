//! From Services to listeners: who is served where, and who has to be told that it is not.
//!
//! Pure: what is known goes in, what is wanted comes out. Not decided here: whether an address can be bound; that is
//! found out by binding it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tidegate_core::{ServiceName, ServicePort, SourceRanges};

use crate::{service::Service, view::View};

/// What decides who is served where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The class of load balancer that this is; `None` to serve no Service of its own accord.
    pub class: Option<Arc<str>>,
    /// The addresses to accept on; this node's internal ones where it is empty.
    pub addresses: Vec<IpAddr>,
    /// This node.
    pub node: Option<Arc<str>>,
}

/// A listener that a Service asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedListener {
    /// Its name: the Service with the port's number, and the address where there are several.
    pub name: Arc<str>,
    /// Where it accepts.
    pub address: SocketAddr,
    /// Where its flows go.
    pub port: ServicePort,
}

/// Something about a Service that cannot be as it asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Which Service.
    pub service: ServiceName,
    /// Which of its ports; `None` for the Service as a whole.
    pub port: Option<u16>,
    /// In one word, as conditions and Events have it.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

/// The reasons that are found on one node and not on all.
const OF_ONE_NODE: [&str; 2] = ["CannotListen", "PortInUse"];

impl Problem {
    /// Other instances may well do what this one cannot.
    pub(crate) fn is_of_one_node(&self) -> bool {
        OF_ONE_NODE.contains(&self.reason)
    }
}

/// What Services ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The listeners, by Service.
    pub listeners: Vec<WantedListener>,
    /// What cannot be.
    pub problems: Vec<Problem>,
}

/// How a Service wants its flows treated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Treatment {
    /// ClientIP affinity and its timeout.
    pub affinity: Option<Duration>,
    /// Only endpoints on this node.
    pub local_only: bool,
    /// The clients that are taken; `None` for everybody.
    pub source_ranges: Option<SourceRanges>,
    /// Settings from annotations, each a field and its value, not checked.
    pub overrides: Vec<(String, String)>,
}

/// The listeners that Services of the class ask for. `taken` are the addresses that are in use by configuration.
pub fn plan(view: &View, rules: &Rules, taken: &[SocketAddr]) -> Plan {
    let mut plan = Plan::default();
    let Some(class) = rules.class.as_deref() else { return plan };
    let mut ours: Vec<(&ServiceName, &Service)> =
        view.services.iter().filter(|(_, service)| service.is_of(class)).collect();
    // The older keeps its port; of two of one age the name decides, so that every node decides alike.
    ours.sort_by(|(a_name, a), (b_name, b)| (&a.created, *a_name).cmp(&(&b.created, *b_name)));
    let addresses = addresses(view, rules);
    let mut used: BTreeMap<SocketAddr, ServiceName> = BTreeMap::new();
    for (name, service) in ours {
        let mut problem = |port, reason, message| {
            plan.problems.push(Problem { service: name.clone(), port, reason, message });
        };
        for invalid in service.source_ranges().1 {
            problem(None, "InvalidSourceRange", invalid);
        }
        let own: Vec<IpAddr> =
            addresses.iter().copied().filter(|address| service.has_family_of(*address)).collect();
        if own.is_empty() {
            let message = "this node has no address of the Service's families: set NODE_NAME or \
                           `source.kubernetes.addresses`";
            problem(None, "NoAddress", message.to_owned());
        }
        for port in &service.ports {
            if !port.is_tcp {
                let message = format!("port {} is {}: only TCP is served", port.number, port.protocol);
                problem(Some(port.number), "ProtocolNotSupported", message);
                continue;
            }
            for ip in &own {
                let address = SocketAddr::new(*ip, port.number);
                if let Some(other) = taken.iter().find(|other| overlap(**other, address)) {
                    let message = format!("{address} is taken by a listener of the configuration on {other}");
                    problem(Some(port.number), "PortInUse", message);
                    continue;
                }
                if let Some((_, other)) = used.iter().find(|(other, _)| overlap(**other, address)) {
                    let message = format!("{address} is taken by the older Service {other}");
                    problem(Some(port.number), "PortConflict", message);
                    continue;
                }
                used.insert(address, name.clone());
                let mut listener = format!("{name}:{}", port.number);
                if own.len() > 1 {
                    // Writing to a String does not fail.
                    let _ = write!(listener, "@{ip}");
                }
                plan.listeners.push(WantedListener {
                    name: listener.into(),
                    address,
                    port: ServicePort { service: name.clone(), port: Some(Arc::clone(&port.name)) },
                });
            }
        }
    }
    plan
}

/// How a Service wants its flows treated; `None` where it is not known. `external` is traffic that comes in by the
/// Service's own load balancer; other traffic follows the policy for traffic within.
pub fn treatment(view: &View, service: &ServiceName, external: bool) -> Option<Treatment> {
    let service = view.services.get(service)?;
    Some(Treatment {
        affinity: service.affinity,
        local_only: if external { service.external_local } else { service.internal_local },
        source_ranges: external.then(|| service.source_ranges().0).flatten(),
        overrides: service.overrides.clone(),
    })
}

/// Where this node accepts: as configured, else its first internal address of each family.
fn addresses(view: &View, rules: &Rules) -> Vec<IpAddr> {
    if !rules.addresses.is_empty() {
        return rules.addresses.clone();
    }
    let node = rules.node.as_ref().and_then(|name| view.nodes.get(name));
    let internal = node.map_or(&[][..], |node| &node.internal);
    let first = |is_v4: bool| internal.iter().copied().find(|address| address.is_ipv4() == is_v4);
    first(true).into_iter().chain(first(false)).collect()
}

/// The kernel would not let both be bound.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |wide: SocketAddr, other: SocketAddr| {
        wide.ip().is_unspecified() && (wide.is_ipv6() || other.is_ipv4())
    };
    a.port() == b.port() && (a == b || covers(a, b) || covers(b, a))
}

#[cfg(test)]
mod tests;
