//! Gates: the pods that are waited for, and what the table says of each, told to whoever waits.
//!
//! A waiter costs nothing while nothing happens: each pod has one channel that holds the latest state, however many
//! wait. It is looked at again when the table was told something, and once a second. Decided here: until when a pod
//! is one that is waited for, and that nothing is said of flows that are being moved to another process. Not decided
//! here: what the state means (`tidegate_core::gate`), and how long anybody waits.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use tidegate_core::{
    GateFacts, ServiceName,
    table::{GateView, Instance},
};
use tokio::{sync::watch, time::Instant};

use crate::{
    ControlError, ControlHandle, Controller, Lifecycle,
    request::{Reply, Request},
};

/// How many pods are waited for at once.
const PODS_LIMIT: usize = 4_096;
/// All endpoints are looked at for new pods this often at most: whoever says uids that no pod has costs no more.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// A pod that is waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateState {
    /// The source has given a complete list, the pod was looked for in it, and no flows are being moved to or from another
    /// process.
    pub synced: bool,
    /// As the table has it.
    pub view: GateView,
}

impl GateState {
    /// What this instance can tell others.
    pub fn facts(&self) -> GateFacts {
        self.view.facts(self.synced)
    }
}

/// What is asked for.
#[derive(Debug)]
pub(crate) enum Ask {
    Wait(Arc<str>, Reply<Result<watch::Receiver<GateState>, ControlError>>),
    PodsAt(IpAddr, Reply<BTreeSet<Arc<str>>>),
    Instances(ServiceName, Reply<Vec<Instance>>),
    AwaitOthers(bool, Reply<()>),
}

/// The pods that are waited for.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    pods: BTreeMap<Arc<str>, watch::Sender<GateState>>,
    /// When pods were looked for last.
    looked: Option<Instant>,
    /// Pods were named since.
    has_new: bool,
    /// Something may be different from what was told.
    pub(crate) is_stale: bool,
    /// Another process accepts, or takes flows over: that none is here says nothing.
    pub(crate) hands_over: bool,
    /// Another process, before or after this one, may have flows left.
    pub(crate) awaits_others: bool,
}

impl Gates {
    /// When pods are to be looked for; now where that is due.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.has_new.then(|| self.looked.map_or(now, |looked| now.max(looked + LOOK_EVERY)))
    }
}

impl ControlHandle {
    /// Waits for a pod, by its uid, until the receiver is dropped: a terminating pod gets no new flows from here on.
    pub async fn gate(&self, uid: Arc<str>) -> Result<watch::Receiver<GateState>, ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Gate(Ask::Wait(uid, reply))).await?
    }

    /// The uids of the pods that have this address.
    pub async fn pods_at(&self, address: IpAddr) -> Result<BTreeSet<Arc<str>>, ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Gate(Ask::PodsAt(address, reply))).await
    }

    /// Where the instances are that a Service's slices list.
    pub async fn instances(&self, service: ServiceName) -> Result<Vec<Instance>, ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Gate(Ask::Instances(service, reply))).await
    }

    /// Says nothing of flows from here on, because another process has some that are not counted here; or says it again.
    pub async fn await_others(&self, awaits: bool) -> Result<(), ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Gate(Ask::AwaitOthers(awaits, reply))).await
    }
}

impl Controller {
    pub(crate) fn take_gate(&mut self, ask: Ask) {
        match ask {
            Ask::Wait(uid, reply) => {
                let _ = reply.send(self.wait_for_pod(uid));
            }
            Ask::PodsAt(address, reply) => {
                let _ = reply.send(self.table.pods_at(address));
            }
            Ask::Instances(service, reply) => {
                let _ = reply.send(self.table.instances_of(&service));
            }
            Ask::AwaitOthers(awaits, reply) => {
                self.gates.awaits_others = awaits;
                self.gates.is_stale = true;
                let _ = reply.send(());
            }
        }
    }

    fn wait_for_pod(&mut self, uid: Arc<str>) -> Result<watch::Receiver<GateState>, ControlError> {
        if let Some(known) = self.gates.pods.get(&uid) {
            return Ok(known.subscribe());
        }
        if self.gates.pods.len() >= PODS_LIMIT {
            self.leave_gates();
        }
        if self.gates.pods.len() >= PODS_LIMIT {
            return Err(ControlError::TooManyGates(PODS_LIMIT));
        }
        self.table.ask_gate(&uid);
        self.gates.has_new = true;
        self.find_gated(Instant::now());
        let (sender, receiver) = watch::channel(self.gate_state(&uid));
        self.gates.pods.insert(uid, sender);
        Ok(receiver)
    }

    /// Looks for the pods that were named since the last time, unless that was a moment ago.
    pub(crate) fn find_gated(&mut self, now: Instant) {
        if self.gates.deadline(now) == Some(now) {
            self.table.find_gated();
            self.carry_out_all();
            (self.gates.has_new, self.gates.looked, self.gates.is_stale) = (false, Some(now), true);
        }
    }

    /// Tells those who wait what is different.
    pub(crate) fn refresh_gates(&mut self) {
        if !std::mem::take(&mut self.gates.is_stale) {
            return;
        }
        for (uid, told) in &self.gates.pods {
            let state = self.gate_state(uid);
            told.send_if_modified(|known| {
                let is_news = *known != state;
                *known = state;
                is_news
            });
        }
    }

    /// Forgets pods that nobody waits for any more, and looks at the others again.
    pub(crate) fn tend_gates(&mut self) {
        self.leave_gates();
        self.gates.is_stale = true;
    }

    /// Forgets pods that nobody waits for any more.
    fn leave_gates(&mut self) {
        let left = self.gates.pods.extract_if(.., |_, told| told.receiver_count() == 0);
        let left: Vec<Arc<str>> = left.map(|(uid, _)| uid).collect();
        if !left.is_empty() {
            self.table.leave_gates(left.iter().map(|uid| &**uid));
        }
    }

    fn gate_state(&self, uid: &str) -> GateState {
        let is_starting = self.course.lifecycle() == Lifecycle::Starting;
        let is_alone = !self.gates.hands_over && !self.gates.awaits_others;
        let view = self.table.gate(uid);
        let synced = view.is_some() && !is_starting && is_alone && !self.awaits_source(&self.services);
        GateState { synced, view: view.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests;
