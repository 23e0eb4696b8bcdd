//! What can be asked of the controller, from any task and any runtime.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tidegate_core::{
    AdminState, EndpointId, EndpointSelector, FlowId, FlowRow, ServiceName, ServicePort, Timestamp,
    table::ServiceView,
};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    Clock, ControlCounters, ControlError, Desired, Lifecycle, NotReady, ReloadError, ReloadOutcome,
    request::{Reply, Request},
};

/// How long an answer may take. The workers' share of it is shorter, so that a silent worker is named in an answer
/// instead of turning it into an error.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// How long a reload may take: sockets are bound, and a disk may be slow.
const RELOAD_LIMIT: Duration = Duration::from_secs(30);

/// Asks the controller. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ControlHandle {
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) lifecycle: watch::Receiver<Lifecycle>,
    pub(crate) shutdown: Arc<ShutdownSignal>,
    pub(crate) counters: Arc<ControlCounters>,
    pub(crate) clock: Clock,
}

/// Requests to shut down: a number that only grows, and a bell. It cannot be full, so that a signal always counts.
#[derive(Debug, Default)]
pub(crate) struct ShutdownSignal {
    asked: AtomicU32,
    bell: Notify,
}

impl ShutdownSignal {
    pub(crate) fn ask(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.bell.notify_one();
    }

    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }
}

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
}

impl ControlHandle {
    /// The process as a whole. A worker that does not answer is shown as silent.
    pub async fn status(&self) -> Result<Status, ControlError> {
        self.ask(ANSWER_LIMIT, Request::Status).await
    }

    /// All services with their endpoints.
    pub async fn services(&self) -> Result<ServicesAnswer, ControlError> {
        self.ask(ANSWER_LIMIT, Request::Services).await
    }

    /// Live flows, at most `limit`.
    pub async fn flows(&self, filter: FlowFilter, limit: usize) -> Result<FlowsAnswer, ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Flows { filter, limit, reply }).await?
    }

    /// No new flows for these endpoints, whatever the slices say. `by` and `reason` are shown to other operators.
    pub async fn drain(
        &self,
        selector: EndpointSelector,
        by: String,
        reason: String,
    ) -> Result<DrainOutcome, ControlError> {
        let state = AdminState::Drain;
        self.ask(ANSWER_LIMIT, |reply| Request::SetAdminState { selector, state, by, reason, reply }).await?
    }

    /// Undoes [`ControlHandle::drain`]; what the slices say stays.
    pub async fn undrain(
        &self,
        selector: EndpointSelector,
        by: String,
        reason: String,
    ) -> Result<DrainOutcome, ControlError> {
        let state = AdminState::InService;
        self.ask(ANSWER_LIMIT, |reply| Request::SetAdminState { selector, state, by, reason, reply }).await?
    }

    /// Ends one flow with a reset of both legs.
    pub async fn close_flow(&self, flow: FlowId) -> Result<(), ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::CloseFlow { flow, reply }).await?
    }

    /// Whether new clients may be sent here: answered by the workers.
    pub async fn ready(&self) -> Result<(), NotReady> {
        self.ask(ANSWER_LIMIT, Request::Ready)
            .await
            .unwrap_or_else(|error| Err(NotReady(vec![error.to_string()])))
    }

    /// Whether the process works at all: the controller answers and no worker is lost.
    pub async fn alive(&self) -> Result<(), NotReady> {
        self.ask(ANSWER_LIMIT, Request::Alive)
            .await
            .unwrap_or_else(|error| Err(NotReady(vec![error.to_string()])))
    }

    /// Applies a configuration that was validated. All of it, or nothing.
    pub async fn reload(&self, desired: Desired) -> Result<ReloadOutcome, ReloadError> {
        let desired = Box::new(desired);
        self.ask(RELOAD_LIMIT, |reply| Request::Reload { desired, reply }).await?
    }

    /// Begins the shutdown; the second call ends it at once. Never waits, never fails.
    pub fn shutdown(&self) {
        self.shutdown.ask();
    }

    /// Where the process is between start and end.
    pub fn lifecycle(&self) -> Lifecycle {
        *self.lifecycle.borrow()
    }

    /// Follows [`ControlHandle::lifecycle`].
    pub fn subscribe(&self) -> watch::Receiver<Lifecycle> {
        self.lifecycle.clone()
    }

    /// What the controller counts.
    pub fn counters(&self) -> &Arc<ControlCounters> {
        &self.counters
    }

    /// The process's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Sends a request and waits for the answer, both within `limit`.
    async fn ask<T>(
        &self,
        limit: Duration,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, ControlError> {
        let (reply, answer) = oneshot::channel();
        let request = request(reply);
        timeout(limit, async {
            self.requests.send(request).await.map_err(|_| ControlError::Gone)?;
            answer.await.map_err(|_| ControlError::Gone)
        })
        .await
        .unwrap_or(Err(ControlError::Deadline(limit)))
    }
}
