//! What the control plane says to a worker, and what a worker answers.
//!
//! The types are generic over what a socket and a frozen flow are, because those are the kernel's business and this
//! crate has no kernel.

use alloc::{sync::Arc, vec::Vec};
use core::{fmt, net::SocketAddr, time::Duration};

use crate::{
    admission::Permit,
    endpoint::{Endpoint, EndpointId},
    name::ServicePort,
    rebalance::Rebalance,
    shed::DrainPlan,
    snapshot::ServiceId,
    survey::{Survey, SurveyOf},
    termination::{Party, Termination},
    time::Timestamp,
};

/// A listener's number, unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u32);

/// A listener as a worker needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSpec {
    /// Its number.
    pub id: ListenerId,
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The address it accepts on.
    pub address: SocketAddr,
    /// The slot of its service in every snapshot.
    pub service: ServiceId,
    /// Its service, for counters and logs.
    pub port: ServicePort,
}

/// A flow's number: worker, slot and serial in one, so that a stale number never hits another flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u64);

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// What a worker is told. Every command that is answered carries a number that the answer repeats.
#[derive(Debug)]
pub enum WorkerCommand<Socket, Frozen> {
    /// Accept on this socket too.
    Listen {
        /// The listener.
        listener: ListenerSpec,
        /// The worker's own socket of it.
        socket: Socket,
    },
    /// New flows of this listener go to another service from now on.
    Retarget(ListenerSpec),
    /// Take what is in the accept queue, then close the listener's socket. Answered with `Closed`.
    StopAccepting {
        /// Which.
        listener: ListenerId,
        /// The number of the answer.
        request: u64,
    },
    /// Say that you are alive. Answered with `Alive`.
    Ping {
        /// The number of the answer.
        request: u64,
    },
    /// List live flows. Answered with `Flows`.
    ListFlows {
        /// The number of the answer.
        request: u64,
        /// At most so many.
        limit: usize,
        /// Only those of this endpoint.
        endpoint: Option<EndpointId>,
    },
    /// Look how the flows of these endpoints are doing, for so long. Answered with `Surveyed`.
    Survey {
        /// The number of the answer.
        request: u64,
        /// Which.
        of: Arc<[SurveyOf]>,
        /// From the first look to the second: the time over which bytes are counted.
        over: Duration,
    },
    /// End one flow with a reset of both legs. Answered with `Ended`.
    CloseFlow {
        /// The number of the answer.
        request: u64,
        /// Which.
        flow: FlowId,
        /// In whose name.
        by: Party,
    },
    /// End all flows of an endpoint with a reset of both legs.
    CloseEndpoint {
        /// Which.
        endpoint: EndpointId,
        /// In whose name.
        by: Party,
    },
    /// Set TCP_USER_TIMEOUT on the endpoint legs of an endpoint's flows; `None` for the kernel's own.
    SetUserTimeout {
        /// Which.
        endpoint: EndpointId,
        /// How long sent data may stay unacknowledged.
        timeout: Option<Duration>,
    },
    /// Bring the flows of an endpoint to their end by this plan. Not answered.
    PlanDrain {
        /// The endpoint.
        endpoint: Arc<Endpoint>,
        /// The slot of its service in every snapshot.
        service: ServiceId,
        /// The plan; `None` to let the flows be.
        plan: Option<DrainPlan>,
    },
    /// Move flows away from endpoints that have more than their fair share, in place of what was said before; `None` to
    /// let them be. Not answered.
    Rebalance(Option<Arc<Rebalance>>),
    /// Freeze up to `limit` flows and hand them over. Answered with `Frozen`.
    Freeze {
        /// The number of the answer.
        request: u64,
        /// At most so many.
        limit: usize,
    },
    /// Take over a frozen flow and go on with it, pinned to its endpoint. One that was not connected yet gets one.
    Adopt {
        /// The flow.
        flow: Frozen,
        /// It is counted at the endpoint that it stays pinned to; none for a flow that has none yet.
        permit: Option<Permit>,
        /// The listener that it counts for.
        listener: ListenerSpec,
    },
    /// End every flow with a reset and stop. Answered with `Stopped`.
    Stop,
}

/// What a worker says.
#[derive(Debug)]
pub enum WorkerReport<Frozen> {
    /// The last flow of an endpoint that takes no new flows has ended.
    EndpointEmptied(EndpointId),
    /// The listener's queue was taken and its socket is closed.
    Closed {
        /// The command's number.
        request: u64,
    },
    /// Alive.
    Alive {
        /// The command's number.
        request: u64,
        /// The generation of the snapshot that this worker picks from.
        generation: u64,
    },
    /// Live flows.
    Flows {
        /// The command's number.
        request: u64,
        /// At most as many as asked for.
        flows: Vec<FlowRow>,
        /// How many there were.
        total: usize,
    },
    /// How flows are doing.
    Surveyed {
        /// The command's number.
        request: u64,
        /// For each endpoint of the command that has flows here.
        surveys: Vec<(EndpointId, Survey)>,
    },
    /// Whether the flow was there to be ended.
    Ended {
        /// The command's number.
        request: u64,
        /// It was there.
        found: bool,
    },
    /// Flows that were taken out.
    Frozen {
        /// The command's number.
        request: u64,
        /// The flows.
        flows: Vec<Frozen>,
    },
    /// The worker has ended all its flows.
    Stopped {
        /// Its number.
        worker: usize,
    },
    /// A flow has ended: its line for the flow log.
    FlowEnded(FlowRow),
}

/// What a flow is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowState {
    /// An endpoint was picked and the connect is under way.
    Connecting,
    /// Both directions are open.
    Open,
    /// The client has sent its last byte.
    ClientClosed,
    /// The endpoint has sent its last byte.
    EndpointClosed,
    /// It has ended.
    Ended(Termination),
}

/// A flow as an operator sees it.
#[derive(Clone, Debug)]
pub struct FlowRow {
    /// Its number.
    pub id: FlowId,
    /// Its listener's name.
    pub listener: Arc<str>,
    /// Its service.
    pub service: ServicePort,
    /// The client's address, canonical (an IPv4-mapped address as IPv4).
    pub client: SocketAddr,
    /// Its endpoint; `None` while, or because, none was picked.
    pub endpoint: Option<(EndpointId, SocketAddr)>,
    /// What it is doing.
    pub state: FlowState,
    /// When it was accepted.
    pub opened: Timestamp,
    /// When bytes last moved, or when it was accepted.
    pub active: Timestamp,
    /// Bytes from the client to the endpoint.
    pub bytes_up: u64,
    /// Bytes from the endpoint to the client.
    pub bytes_down: u64,
    /// Connects that were tried.
    pub attempts: u32,
}
