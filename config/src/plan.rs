//! What a reload from one configuration to another would do, in words, and what it cannot do.
//!
//! A plan is made from two checked configurations and changes nothing. Whoever applies it does so only where
//! nothing needs a restart: a reload is done whole or not at all. How two configurations are compared is `compare`'s
//! business.

mod compare;

use std::{fmt, net::SocketAddr, sync::Arc};

use tidegate_core::{FixedEndpoint, ServiceName, ServicePort};

pub use self::compare::plan;
use crate::configuration::Listener;

/// What a reload would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What changes, in the order of the new configuration; what is removed comes last.
    pub changes: Vec<Change>,
    /// What cannot be changed while the process runs. Where there is any, nothing is to be applied.
    pub needs_restart: Vec<NeedsRestart>,
}

impl Plan {
    /// The two configurations mean the same.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.needs_restart.is_empty()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changes");
        }
        let refusals = self.needs_restart.iter().map(ToString::to_string);
        let changes = self.changes.iter().map(ToString::to_string);
        f.write_str(&refusals.chain(changes).collect::<Vec<_>>().join("\n"))
    }
}

/// One thing that a reload would do. No live flow is touched by any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new listener.
    ListenerAdded(Listener),
    /// A listener goes; the flows it accepted stay.
    ListenerRemoved(Listener),
    /// A listener gets another address; the flows it accepted stay.
    ListenerMoved {
        /// Its name.
        name: Arc<str>,
        /// Where it accepts.
        from: SocketAddr,
        /// Where it is to accept.
        to: SocketAddr,
    },
    /// A listener gets another name and keeps its address.
    ListenerRenamed {
        /// Its name.
        from: Arc<str>,
        /// Its new name.
        to: Arc<str>,
        /// Where it accepts.
        address: SocketAddr,
    },
    /// A listener's new flows go to another service.
    ListenerRetargeted {
        /// Its name.
        name: Arc<str>,
        /// Where its flows go.
        from: ServicePort,
        /// Where they are to go.
        to: ServicePort,
    },
    /// A new service.
    ServiceAdded(ServiceName),
    /// A service goes; its flows stay.
    ServiceRemoved(ServiceName),
    /// A setting of a service changes for new flows.
    ServiceSettingChanged {
        /// The service.
        service: ServiceName,
        /// The setting's name in the file.
        setting: &'static str,
        /// Its value, as in the file.
        from: String,
        /// Its new value, as in the file.
        to: String,
    },
    /// A service's fixed list of endpoints changes; flows to endpoints that leave it stay.
    EndpointsChanged {
        /// The service.
        service: ServiceName,
        /// Endpoints that are new.
        added: Vec<FixedEndpoint>,
        /// Endpoints that leave.
        removed: Vec<FixedEndpoint>,
        /// Endpoints with another weight: the old weight and the endpoint with its new one.
        reweighted: Vec<(u16, FixedEndpoint)>,
    },
    /// A service that followed slices gets a fixed list of so many endpoints.
    EndpointsFixed {
        /// The service.
        service: ServiceName,
        /// How many endpoints are listed.
        count: usize,
    },
    /// A service that had a fixed list follows slices.
    EndpointsFollowed(ServiceName),
    /// Another setting changes.
    SettingChanged {
        /// Its name in the file.
        setting: &'static str,
        /// Its value, as in the file.
        from: String,
        /// Its new value, as in the file.
        to: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ListenerAdded(Listener { name, address, service }) => {
                write!(f, "listener {name}: added on {address}, its flows go to {service}")
            }
            Self::ListenerRemoved(Listener { name, address, .. }) => {
                write!(f, "listener {name}: removed from {address}, its flows stay")
            }
            Self::ListenerMoved { name, from, to } => {
                write!(f, "listener {name}: moved from {from} to {to}, its flows stay")
            }
            Self::ListenerRenamed { from, to, address } => {
                write!(f, "listener {from}: renamed to {to}, it stays on {address}")
            }
            Self::ListenerRetargeted { name, from, to } => {
                write!(f, "listener {name}: new flows go to {to} instead of {from}")
            }
            Self::ServiceAdded(service) => write!(f, "service {service}: added"),
            Self::ServiceRemoved(service) => write!(f, "service {service}: removed, its flows stay"),
            Self::ServiceSettingChanged { service, setting, from, to } => {
                write!(f, "service {service}: {setting} {from} -> {to}")
            }
            Self::EndpointsChanged { service, added, removed, reweighted } => {
                let mut words: Vec<_> = added.iter().map(|it| format!("+{}", it.address)).collect();
                words.extend(removed.iter().map(|it| format!("-{}", it.address)));
                words.extend(
                    reweighted
                        .iter()
                        .map(|(from, it)| format!("{} weight {from} -> {}", it.address, it.weight)),
                );
                write!(f, "service {service}: endpoints {}", words.join(", "))
            }
            Self::EndpointsFixed { service, count } => {
                write!(f, "service {service}: a fixed list of {count} endpoints instead of slices")
            }
            Self::EndpointsFollowed(service) => {
                write!(f, "service {service}: endpoints from slices instead of a fixed list")
            }
            Self::SettingChanged { setting, from, to } => write!(f, "{setting} {from} -> {to}"),
        }
    }
}

/// What cannot be changed while the process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeedsRestart {
    /// The field's name.
    pub field: &'static str,
    /// Its value, as in the file.
    pub from: String,
    /// Its new value, as in the file.
    pub to: String,
    /// Why.
    pub reason: &'static str,
}

impl fmt::Display for NeedsRestart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, from, to, reason } = self;
        write!(f, "{field} {from} -> {to} needs a restart: {reason}")
    }
}

#[cfg(test)]
mod tests;
