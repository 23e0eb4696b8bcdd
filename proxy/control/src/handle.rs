//! What can be asked of the controller, from any task and any runtime.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tidegate_core::{AdminState, EndpointSelector, FlowId, PodRef};
use tokio::{
    sync::{Notify, broadcast, mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    AuditAnswer, Clock, ControlCounters, ControlError, Desired, DrainNews, DrainOutcome, FlowFilter,
    FlowsAnswer, LastReload, Lifecycle, NotReady, ProgressAnswer, ReloadError, ReloadOutcome, ServicesAnswer,
    Status,
    plan::{PlanAnswer, PlanFilter},
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
    pub(crate) wanted_pods: watch::Receiver<Arc<[PodRef]>>,
    pub(crate) counters: Arc<ControlCounters>,
    pub(crate) clock: Clock,
    pub(crate) last_reload: Arc<Mutex<Option<LastReload>>>,
    pub(crate) audit_keep: Arc<AtomicUsize>,
    pub(crate) drain_news: broadcast::WeakSender<DrainNews>,
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

impl ControlHandle {
    /// The process as a whole. A worker that does not answer is shown as silent.
    pub async fn status(&self) -> Result<Status, ControlError> {
        self.ask(ANSWER_LIMIT, Request::Status).await
    }

    /// All services with their endpoints.
    pub async fn services(&self) -> Result<ServicesAnswer, ControlError> {
        self.ask(ANSWER_LIMIT, Request::Services).await
    }

    /// What every drain came to, the last few thousand, and those that are on.
    pub async fn audit(&self) -> Result<AuditAnswer, ControlError> {
        self.ask(ANSWER_LIMIT, Request::Audit).await
    }

    /// How the drains come along that are on. The workers look at their flows for it.
    pub async fn progress(&self) -> Result<ProgressAnswer, ControlError> {
        self.ask(ANSWER_LIMIT, Request::Progress).await
    }

    /// What a drain would do. Nothing is changed for it; the workers look at their flows.
    pub async fn plan(&self, filter: PlanFilter) -> Result<PlanAnswer, ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Plan { filter, reply }).await?
    }

    /// How many audit records of drains that are over are kept.
    pub fn keep_audit_records(&self, count: usize) {
        self.audit_keep.store(count, Ordering::Relaxed);
    }

    /// The pods whose deadlines matter, for a source that knows pods.
    pub fn wanted_pods(&self) -> watch::Receiver<Arc<[PodRef]>> {
        self.wanted_pods.clone()
    }

    /// What becomes of drains from here on, until the controller ends; `None` where it has.
    pub fn drain_news(&self) -> Option<broadcast::Receiver<DrainNews>> {
        self.drain_news.upgrade().map(|sender| sender.subscribe())
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
        deadline: Option<Duration>,
    ) -> Result<DrainOutcome, ControlError> {
        let state = AdminState::Drain;
        self.ask(ANSWER_LIMIT, |reply| Request::SetAdminState {
            selector,
            state,
            by,
            reason,
            deadline,
            reply,
        })
        .await?
    }

    /// Undoes [`ControlHandle::drain`]; what the slices say stays.
    pub async fn undrain(
        &self,
        selector: EndpointSelector,
        by: String,
        reason: String,
    ) -> Result<DrainOutcome, ControlError> {
        let state = AdminState::InService;
        self.ask(ANSWER_LIMIT, |reply| Request::SetAdminState {
            selector,
            state,
            by,
            reason,
            deadline: None,
            reply,
        })
        .await?
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
        let answer = self.ask(RELOAD_LIMIT, |reply| Request::Reload { desired, reply }).await;
        let outcome = answer.map_err(ReloadError::from).flatten();
        match &outcome {
            Ok(_) => self.note_reload(&self.counters.reloads_applied, None),
            Err(error) => self.reload_refused(error.to_string()),
        }
        outcome
    }

    /// Applies what the source asks for beside the configuration in force. It is no reload of anybody's, and is
    /// neither counted nor kept as one.
    pub async fn follow_source(&self, desired: Desired) -> Result<ReloadOutcome, ReloadError> {
        let desired = Box::new(desired);
        let answer = self.ask(RELOAD_LIMIT, |reply| Request::Reload { desired, reply }).await;
        answer.map_err(ReloadError::from).flatten()
    }

    /// Counts and keeps that a configuration was refused before it came to [`ControlHandle::reload`], which keeps its
    /// own refusals itself.
    pub fn reload_refused(&self, why: String) {
        self.note_reload(&self.counters.reloads_refused, Some(why));
    }

    /// How the last reload went; `None` before the first.
    pub fn last_reload(&self) -> Option<LastReload> {
        self.last_reload.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note_reload(&self, counter: &AtomicU64, refused: Option<String>) {
        counter.fetch_add(1, Ordering::Relaxed);
        let last = LastReload { at: self.clock.now(), refused };
        *self.last_reload.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
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
    pub(crate) async fn ask<T>(
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
