//! What can go wrong when somebody asks the controller for something.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use tidegate_core::{FlowId, ServiceName, ServicePort};

/// Why a request to the controller was not answered as hoped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The controller has ended.
    #[error("the controller has ended; the process is about to exit")]
    Gone,
    /// The controller did not answer in time.
    #[error("the controller did not answer within {0:?}; ask again, and look at its log if that persists")]
    Deadline(Duration),
    /// No such service.
    #[error("there is no service `{service}`; there are: {known}", known = List(.known))]
    UnknownService {
        /// What was asked for.
        service: ServiceName,
        /// What there is.
        known: Vec<String>,
    },
    /// No such endpoint.
    #[error("service `{service}` has no endpoint `{endpoint}`; it has: {known}", known = List(.known))]
    UnknownEndpoint {
        /// Whose.
        service: ServiceName,
        /// What was asked for.
        endpoint: String,
        /// What there is: addresses, with the pod where there is one.
        known: Vec<String>,
    },
    /// No service has such an endpoint.
    #[error("no service has an endpoint `{0}`; name it as address:port, as its pod's name or by its number")]
    NoSuchEndpoint(String),
    /// No endpoint is on such a node.
    #[error("no endpoint is on node `{node}`; there are: {known}", known = List(.known))]
    UnknownNode {
        /// What was asked for.
        node: String,
        /// What there is.
        known: Vec<String>,
    },
    /// No such flow.
    #[error("there is no flow `{0}`; it may have ended by itself")]
    UnknownFlow(FlowId),
    /// Workers that hold the answer did not give it.
    #[error("workers {0:?} did not answer in time, so it is not known whether they hold the flow; ask again")]
    WorkersSilent(Vec<usize>),
    /// So many operator requests are in force that no more are remembered.
    #[error("{0} operator drains are in force, which is the limit; undrain endpoints that are gone")]
    TooManyDrains(usize),
    /// So many pods wait at gates that no more can.
    #[error("gates wait for {0} pods, which is the limit; ask again when some of them are gone")]
    TooManyGates(usize),
}

/// Why the process does not take new clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not ready: {}", .0.join("; "))]
pub struct NotReady(
    /// The reasons, at least one.
    pub Vec<String>,
);

/// Why a new configuration was not applied. The one in force stays, whole.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReloadError {
    /// A listener's address could not be bound; the cause names the address.
    #[error("listener `{listener}`: {cause}; nothing was changed")]
    Bind {
        /// Which.
        listener: Arc<str>,
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        cause: Arc<io::Error>,
    },
    /// A listener's service is not among the services.
    #[error("listener `{listener}`: its service `{service}` is not configured; nothing was changed")]
    ServiceMissing {
        /// Which.
        listener: Arc<str>,
        /// What it names.
        service: ServicePort,
    },
    /// A handoff is on.
    #[error("another process is taking over, or this one from another; nothing was changed")]
    HandingOver,
    /// The process is shutting down.
    #[error("the process is shutting down; nothing was changed")]
    ShuttingDown,
    /// The controller could not be asked.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// How many names an error spells out.
const NAMES_SHOWN: usize = 20;

/// Names with commas between, cut where there are many.
struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let shown = &self.0[..self.0.len().min(NAMES_SHOWN)];
        f.write_str(&shown.join(", "))?;
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests;
