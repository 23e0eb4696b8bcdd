//! The controller's part in a handoff: what it gives up as the predecessor, what it takes over as the successor.
//!
//! Each step is asked for by whoever speaks with the other process, and each can be undone until that process has
//! what was given. Decided here: which endpoint and which worker a flow gets, and what happens to flows that a worker
//! hands out after nobody waits for them any more (they go back). Not decided here: the order of the steps.

mod carry;

use std::{collections::BTreeMap, io, mem, net::SocketAddr, net::TcpListener, sync::Arc, time::Duration};

use tidegate_core::{
    EndpointId, EndpointIdentity, ListenerId, ListenerSpec, ServiceId, ServiceName, ServicePort,
};
use tidegate_sys::FrozenFlow;
use tokio::time::Instant;

use crate::{
    AuditRecord, BoundListener, Command, ControlError, ControlHandle, Controller, Desired, DesiredListener,
    Lifecycle,
    listening::Listening,
    request::{Purpose, Reply, Request},
    state,
};

pub use carry::{KnownClient, ServiceClients};

/// How long workers may take for one step.
const STEP_LIMIT: Duration = Duration::from_secs(2);
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Where this process is in a handoff.
#[derive(Debug, Default)]
pub(crate) struct Handoff {
    /// A successor may come: copies of the listeners' sockets are kept.
    pub(crate) is_possible: bool,
    /// It waits for its predecessor's listeners, and is not ready before.
    pub(crate) awaited: bool,
    /// Copies of its listeners are with a successor: which ones there are does not change until the handoff is over.
    pub(crate) lent: bool,
    /// Its listeners are another process's; it may take them back.
    pub(crate) gave_up: bool,
    /// Who waits for the source's first complete list.
    pub(crate) waiting: Vec<Reply<()>>,
    /// The worker that got the last flow.
    pub(crate) turn: usize,
    /// The drains that were on when it gave its listeners up, with the flows of each that had gone on elsewhere.
    pub(crate) drains_on: BTreeMap<EndpointId, u64>,
    /// The number of the first record that the successor was not told.
    pub(crate) told: u64,
    /// Records of a predecessor's, until all is known that drains have come to.
    pub(crate) records: Vec<AuditRecord>,
}

/// A listener with copies of its sockets.
#[derive(Debug)]
pub struct LentListener {
    /// What the configuration says.
    pub desired: DesiredListener,
    /// The address in fact.
    pub address: SocketAddr,
    /// Its sockets.
    pub sockets: Vec<TcpListener>,
}

/// What is asked for.
#[derive(Debug)]
pub(crate) enum Step {
    AwaitSource(Reply<()>),
    Configure(Box<Desired>, Reply<()>),
    Facts(Reply<serde_json::Value>),
    TakeFacts(serde_json::Value, Reply<()>),
    Gated(Reply<Vec<String>>),
    TakeGated(Vec<String>, Reply<()>),
    Clients(Reply<Vec<ServiceClients>>),
    TakeClients(ServiceClients, Reply<()>),
    Records(u64, Reply<Option<(serde_json::Value, u64)>>),
    TakeRecords(serde_json::Value, Reply<()>),
    Drains(Reply<serde_json::Value>),
    TakeDrains(serde_json::Value, bool, Reply<()>),
    Lend(Reply<io::Result<Vec<LentListener>>>),
    Open(Vec<BoundListener>, Reply<()>),
    GiveUpListeners(Vec<SocketAddr>, Reply<Vec<usize>>),
    CloseRest(Reply<Vec<usize>>),
    TakeBackListeners(Reply<()>),
    Freeze(usize, Reply<Vec<FrozenFlow>>),
    Adopt(Vec<FrozenFlow>, Reply<Vec<usize>>),
    Leave(Duration, Reply<()>),
}

impl ControlHandle {
    /// Waits until the source has given a complete list, or `limit` is over.
    pub async fn source_is_complete(&self, limit: Duration) -> Result<(), ControlError> {
        self.ask(limit, |reply| Request::Handoff(Step::AwaitSource(reply))).await
    }

    /// Configures the services that a source asks for beside the configuration, before there are listeners.
    pub async fn configure(&self, desired: Desired) -> Result<(), ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::Configure(Box::new(desired), reply))).await
    }

    /// What operators asked for, for a successor.
    pub async fn facts(&self) -> Result<serde_json::Value, ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::Facts(reply))).await
    }

    /// Takes a predecessor's facts in; what cannot be read is logged and left out.
    pub async fn take_facts(&self, facts: serde_json::Value) -> Result<(), ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::TakeFacts(facts, reply))).await
    }

    /// The uids of the pods that gates keep new flows from, for a successor.
    pub async fn gated(&self) -> Result<Vec<String>, ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::Gated(reply))).await
    }

    /// Keeps new flows from the pods that a predecessor's gates did, for as long as they terminate; what is no uid is left
    /// out.
    pub async fn take_gated(&self, uids: Vec<String>) -> Result<(), ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::TakeGated(uids, reply))).await
    }

    /// Which client went to which endpoint last, of each service that remembers it.
    pub async fn clients(&self) -> Result<Vec<ServiceClients>, ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::Clients(reply))).await
    }

    /// Remembers what a predecessor did.
    pub async fn take_clients(&self, clients: ServiceClients) -> Result<(), ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::TakeClients(clients, reply))).await
    }

    /// Records of drains that are over, from this number on, as many as one message takes, and the number to go on with;
    /// `None` where there are no more.
    pub async fn records(&self, from: u64) -> Result<Option<(serde_json::Value, u64)>, ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::Records(from, reply))).await
    }

    /// Keeps a predecessor's records until it says the rest of what drains have come to; what cannot be read is logged and
    /// left out.
    pub async fn take_records(&self, records: serde_json::Value) -> Result<(), ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::TakeRecords(records, reply))).await
    }

    /// What drains have come to, for a successor that has their flows; records that were told already are left out.
    pub async fn drains_so_far(&self) -> Result<serde_json::Value, ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::Drains(reply))).await
    }

    /// Goes on with a predecessor's drains, whose flows are here; what cannot be read is logged and left out. Where the
    /// predecessor has died, flows that it had and that did not come are broken.
    pub async fn take_drains(&self, drains: serde_json::Value, has_died: bool) -> Result<(), ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::TakeDrains(drains, has_died, reply))).await
    }

    /// Copies of the listeners' sockets.
    pub async fn lend_listeners(&self) -> Result<io::Result<Vec<LentListener>>, ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::Lend(reply))).await
    }

    /// Accepts on listeners that came from a predecessor.
    pub async fn open_listeners(&self, listeners: Vec<BoundListener>) -> Result<(), ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::Open(listeners, reply))).await
    }

    /// Takes what is in the accept queues of the listeners at these addresses and stops accepting there: a successor does.
    /// Says which workers did not in time.
    pub async fn give_up_listeners(&self, taken: Vec<SocketAddr>) -> Result<Vec<usize>, ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::GiveUpListeners(taken, reply))).await
    }

    /// Takes what is in the accept queues of the listeners that were not given up, and closes them; says which workers did
    /// not in time.
    pub async fn close_rest(&self) -> Result<Vec<usize>, ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::CloseRest(reply))).await
    }

    /// Accepts again.
    pub async fn take_back_listeners(&self) -> Result<(), ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::TakeBackListeners(reply))).await
    }

    /// Takes up to `limit` flows out of each worker.
    pub async fn freeze(&self, limit: usize) -> Result<Vec<FrozenFlow>, ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::Freeze(limit, reply))).await
    }

    /// Goes on with frozen flows; answers when workers have them, with those workers that did not say so in time.
    pub async fn adopt(&self, flows: Vec<FrozenFlow>) -> Result<Vec<usize>, ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::Adopt(flows, reply))).await
    }

    /// Ends, when the flows that are left have ended or `linger` is over: another process has taken over.
    pub async fn leave(&self, linger: Duration) -> Result<(), ControlError> {
        self.ask(ANSWER_LIMIT, |reply| Request::Handoff(Step::Leave(linger, reply))).await
    }
}

impl Controller {
    /// Carries a step out. An answer that nobody waits for is no reason not to.
    pub(crate) fn take_step(&mut self, step: Step) {
        match step {
            Step::Facts(reply) => {
                let _ = reply.send(state::to_json(&self.requests_in_force()));
            }
            Step::TakeFacts(facts, reply) => {
                self.take_operators(facts);
                let _ = reply.send(());
            }
            Step::Gated(reply) => {
                let _ = reply.send(self.gated());
            }
            Step::TakeGated(uids, reply) => {
                self.take_gated(uids);
                let _ = reply.send(());
            }
            Step::Clients(reply) => {
                let _ = reply.send(self.clients());
            }
            Step::TakeClients(clients, reply) => {
                self.take_clients(&clients);
                let _ = reply.send(());
            }
            Step::Records(from, reply) => {
                let _ = reply.send(self.records(from));
            }
            Step::TakeRecords(records, reply) => {
                self.take_records(records);
                let _ = reply.send(());
            }
            Step::Drains(reply) => {
                let _ = reply.send(self.drains_so_far());
            }
            Step::TakeDrains(drains, has_died, reply) => {
                self.take_drains(drains, has_died);
                let _ = reply.send(());
            }
            Step::AwaitSource(reply) => self.handoff.waiting.push(reply),
            Step::Configure(desired, reply) => {
                self.configure(*desired);
                let _ = reply.send(());
            }
            Step::Lend(reply) => {
                self.handoff.lent = true;
                self.remember_drains();
                self.gates.hands_over = true;
                self.gates.is_stale = true;
                self.refresh_gates();
                let _ = reply.send(self.lend());
            }
            Step::Open(listeners, reply) => {
                self.handoff.awaited = false;
                for bound in listeners {
                    self.add_listener(bound);
                }
                self.open_listeners();
                let _ = reply.send(());
            }
            Step::GiveUpListeners(taken, reply) => {
                self.handoff.gave_up = true;
                self.remember_drains();
                self.stop_accepting(
                    |listening| taken.contains(&listening.spec.address),
                    Purpose::GiveUp { reply },
                );
            }
            Step::CloseRest(reply) => {
                self.handoff.lent = true;
                for listening in self.listeners.iter_mut().filter(|listening| !listening.gave_up) {
                    tracing::info!(listener = &*listening.spec.name, "closing");
                    // Nobody is to come into a queue that nobody takes from any more.
                    listening.copies.clear();
                }
                self.stop_accepting(|listening| !listening.gave_up, Purpose::GiveUp { reply });
            }
            Step::TakeBackListeners(reply) => {
                self.handoff.lent = false;
                self.gates.hands_over = false;
                self.gates.is_stale = true;
                self.take_back();
                let _ = reply.send(());
            }
            Step::Freeze(limit, reply) => {
                let purpose = Purpose::Freeze { flows: Vec::new(), reply };
                self.step(purpose, |request, _| Command::Freeze { request, limit });
            }
            Step::Adopt(flows, reply) => {
                self.adopt_flows(flows);
                self.step(Purpose::Adopt { reply }, |request, _| Command::Ping { request });
            }
            Step::Leave(linger, reply) => {
                tracing::info!(flows = (self.open_flows)(), ?linger, "another process has taken over");
                self.listeners.clear();
                self.course.leave(linger, Instant::now());
                self.lifecycle.send_replace(self.course.lifecycle());
                let _ = reply.send(());
            }
        }
    }

    /// Tells those who wait for the source, once it is complete.
    pub(crate) fn answer_waiting(&mut self) {
        if !self.handoff.waiting.is_empty() && !self.awaits_source(&self.services) {
            for reply in mem::take(&mut self.handoff.waiting) {
                let _ = reply.send(());
            }
        }
    }

    /// What operators asked of the predecessor holds here too, and nothing else, whatever the state directory had.
    fn take_operators(&mut self, facts: serde_json::Value) {
        if facts.is_null() {
            // It died before it told.
            return;
        }
        match state::from_json(facts) {
            Ok(requests) => {
                for event in self.keeper.replace(requests, self.table.operator_requests()) {
                    self.tell_table(event);
                }
                self.carry_out_all();
            }
            Err(why) => tracing::error!(why, "what operators asked of the predecessor cannot be read"),
        }
    }

    fn lend(&self) -> io::Result<Vec<LentListener>> {
        // A process that is told to end still has all of it until it closes its listeners.
        if !matches!(self.course.lifecycle(), Lifecycle::Ready | Lifecycle::Draining) {
            let word = self.course.lifecycle().word();
            return Err(io::Error::other(format!("the process is {word} and not ready")));
        }
        let lend = |listening: &Listening| {
            let sockets =
                listening.copies.iter().map(|(_, copy)| copy.try_clone()).collect::<io::Result<_>>()?;
            Ok(LentListener { desired: listening.desired.clone(), address: listening.spec.address, sockets })
        };
        self.listeners.iter().map(lend).collect()
    }

    /// Takes what is in the accept queues of some listeners, and has workers close their sockets.
    fn stop_accepting(&mut self, which: impl Fn(&Listening) -> bool, purpose: Purpose) {
        let mut ids = Vec::new();
        for listening in self.listeners.iter_mut().filter(|it| which(it)) {
            listening.gave_up = true;
            ids.push(listening.spec.id);
        }
        let deadline = Instant::now() + STEP_LIMIT;
        let closed = self.questions.ask(&mut self.workers, ids.len(), deadline, purpose, |request, round| {
            Command::StopAccepting { listener: ids[round], request }
        });
        if let Some(closed) = closed {
            self.close_question(closed);
        }
    }

    fn take_back(&mut self) {
        if !mem::take(&mut self.handoff.gave_up) {
            return;
        }
        let workers = self.workers.count();
        self.listeners.retain_mut(|listening| {
            if !mem::take(&mut listening.gave_up) {
                return true;
            }
            let copies = listening.copies.iter().map(|(_, copy)| copy.try_clone());
            let sockets = match listening.copies.is_empty() {
                false => copies.collect(),
                // It was closed already, because the successor does not have it.
                true => (self.bind)(listening.spec.address, workers),
            };
            let ListenerSpec { name, address, .. } = &listening.spec;
            match sockets {
                Ok(sockets) => listening.held = Some(sockets),
                Err(error) => {
                    tracing::error!(listener = &**name, %address, %error, "cannot listen again after a handoff");
                }
            }
            listening.held.is_some()
        });
        self.open_listeners();
    }

    /// Counts flows in at their endpoints and gives them to workers.
    pub(crate) fn adopt_flows(&mut self, flows: Vec<FrozenFlow>) {
        for flow in flows {
            let (namespace, name, port) = &flow.service;
            let port = ServicePort {
                service: ServiceName::new(namespace.as_str(), name.as_str()),
                port: port.as_deref().map(Into::into),
            };
            let pod_uid = flow.pod_uid.as_deref().map(Arc::from);
            let identity = EndpointIdentity { pod_uid, address: flow.endpoint_address };
            let is_connected = flow.endpoint.is_some();
            let permit = is_connected.then(|| self.table.pin(&port, identity, self.clock.now()));
            let own = self.listeners.iter().find(|listening| *listening.spec.name == *flow.listener);
            // A listener that this process does not have: the flow is counted under its name and service all the same.
            let listener = own.map_or_else(
                || ListenerSpec {
                    id: ListenerId(u32::MAX),
                    name: flow.listener.as_str().into(),
                    address: flow.client_address,
                    service: self.table.service_id(&port).unwrap_or(ServiceId(u32::MAX)),
                    port: port.clone(),
                },
                |listening| listening.spec.clone(),
            );
            self.handoff.turn = (self.handoff.turn + 1) % self.workers.count().max(1);
            self.workers.tell(self.handoff.turn, Command::Adopt { flow, permit, listener });
        }
    }

    fn step(&mut self, purpose: Purpose, command: impl FnMut(u64, usize) -> Command) {
        let deadline = Instant::now() + STEP_LIMIT;
        if let Some(closed) = self.questions.ask(&mut self.workers, 1, deadline, purpose, command) {
            self.close_question(closed);
        }
    }

    /// Copies of the sockets of a worker that has ended would collect connections that nobody accepts.
    pub(crate) fn drop_copies_of_the_lost(&mut self) {
        for worker in self.workers.lost() {
            for listening in &mut self.listeners {
                listening.copies.retain(|(of, _)| *of != worker);
            }
        }
    }
}

#[cfg(test)]
mod tests;
