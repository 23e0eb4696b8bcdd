//! What the controller answers.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use tidegate_core::{
    AdminState, EndpointId, FlowRow, ServiceName, ServicePort, Timestamp, table::ServiceView,
};

use crate::{DrainingFlows, Lifecycle};

/// The process as a whole.
#[derive(Clone, Debug)]
pub struct Status {
    /// Where it is between start and end.
    pub lifecycle: Lifecycle,
    /// The generation published last.
    pub generation: u64,
    /// The source has given a complete list, or no service needs one.
    pub synced: bool,
    /// Each worker.
    pub workers: Vec<WorkerStatus>,
    /// Each listener.
    pub listeners: Vec<ListenerStatus>,
    /// Where operator drains are kept; `None` where they are not.
    pub state_directory: Option<PathBuf>,
    /// The controller's time of this answer.
    pub now: Timestamp,
}

/// How a reload went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastReload {
    /// When.
    pub at: Timestamp,
    /// Why it was refused; `None` where it was applied.
    pub refused: Option<String>,
}

/// A worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Its number.
    pub worker: usize,
    /// The generation it picks from; `None` where it did not answer in time.
    pub generation: Option<u64>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Its name.
    pub name: Arc<str>,
    /// The address it accepts on.
    pub address: SocketAddr,
    /// Where its flows go.
    pub port: ServicePort,
    /// Workers accept on it; false while it waits for its source's first complete list.
    pub accepting: bool,
}

/// All services.
#[derive(Clone, Debug)]
pub struct ServicesAnswer {
    /// The generation published last.
    pub generation: u64,
    /// The services with their endpoints.
    pub services: Vec<ServiceView>,
    /// How flows of draining endpoints were doing when workers looked last, by service; at most ten seconds ago, and a moment.
    pub draining: Arc<[DrainingFlows]>,
    /// The controller's time of this answer.
    pub now: Timestamp,
}

/// Which flows are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowFilter {
    /// Only those of this Service.
    pub service: Option<ServiceName>,
    /// Only those of this endpoint: an address with port, a pod's name, or an endpoint's number.
    pub endpoint: Option<String>,
}

/// Live flows.
#[derive(Clone, Debug, Default)]
pub struct FlowsAnswer {
    /// At most as many as asked for, the oldest first.
    pub flows: Vec<FlowRow>,
    /// How many the workers hold that fit the filter; a lower bound where `truncated`.
    pub total: usize,
    /// A worker has more flows than it looked through for this filter.
    pub truncated: bool,
    /// Workers that did not answer in time.
    pub silent: Vec<usize>,
    /// The controller's time of this answer.
    pub now: Timestamp,
}

/// What a drain or an undrain changed.
#[derive(Clone, Debug)]
pub struct DrainOutcome {
    /// The endpoints that were meant.
    pub endpoints: Vec<DrainChange>,
    /// Whether it will survive a restart; an error where it was to and could not be written.
    pub kept: Result<bool, Unsaved>,
}

/// Why a change will not survive a restart, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsaved(pub String);

/// An endpoint that a drain or an undrain meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainChange {
    /// Its number.
    pub id: EndpointId,
    /// Its service.
    pub service: ServicePort,
    /// Its address.
    pub address: SocketAddr,
    /// Its pod, as namespace/name.
    pub pod: Option<Arc<str>>,
    /// The state it has.
    pub state: AdminState,
    /// It had that state before.
    pub unchanged: bool,
    /// New flows may go to it.
    pub eligible: bool,
    /// Its flows.
    pub flows: u64,
    /// When what is left of them is cut; `None` where nothing is.
    pub deadline: Option<Timestamp>,
    /// That was earlier than what was asked for, and stays.
    pub earlier_deadline: bool,
}
