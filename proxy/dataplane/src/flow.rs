//! The life of a flow, from accept to close, top to bottom.
//!
//! accept (in `accept`) -> pick an endpoint and enter its admission -> connect (`connect`) -> relay (`relay`) ->
//! termination -> counters, log line, permit released -> was it the last flow of a draining endpoint?
//!
//! A flow's task is its memory for as long as it is idle, so what only some moments need is boxed for that moment:
//! the connect at the beginning, the delivery before a reset at the end.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tidegate_core::{
    FlowEnd, FlowState, Party, Permit, Phase, ServicePort, ServiceSettings, Termination, Timestamp,
};
use tidegate_sys::{FrozenFlow, FrozenHalf, socket};
use tokio::time::{Instant, Sleep};

use crate::{
    accept::Target,
    connect::{Connected, NoPick, NotConnected, Picked, connect, pick, pick_settled},
    counters::Direction,
    flows::Flow,
    leg::Leg,
    relay::{Ending, Half, Relay},
    reset::{deliver_then_reset, reset},
    shed::shed,
    worker::Worker,
};

/// Begins the life of an accepted connection. Picks at once, so that a flow without an endpoint is refused before
/// anything is spent on it.
pub(crate) fn begin(worker: &Rc<Worker>, target: &Rc<Target>, client: OwnedFd, address: SocketAddr) {
    let flow = worker.flows.open(target, address, worker.now());
    target.counters.opened.add(1);
    let picked = match pick(worker, &flow, &[]) {
        Ok(picked) => Some(picked),
        Err(NoPick::Moving) => None,
        Err(NoPick::Refused(termination)) => {
            // Where the option is refused the close sends a FIN instead, which is all that is left to do.
            let _ = socket::reset_on_close(client.as_fd());
            drop(client);
            return end(worker, &flow, termination);
        }
    };
    let opening = open(Rc::clone(worker), Rc::clone(&flow), client, picked);
    tokio::task::spawn_local(live(Rc::clone(worker), flow, Box::pin(opening)));
}

/// Connects a flow to its endpoint. Where that fails, the client is told by a reset.
async fn open(
    worker: Rc<Worker>,
    flow: Rc<Flow>,
    client: OwnedFd,
    picked: Option<Picked>,
) -> Result<Conversation, NotOpened> {
    let client = Leg::new(client).map_err(|error| {
        tracing::warn!(%error, "cannot watch a client's socket");
        NotOpened::Over(Termination { by: Party::Resource, phase: Phase::Connect })
    })?;
    let connected = async {
        let picked = match picked {
            Some(picked) => picked,
            None => Box::pin(pick_settled(&worker, &flow, &[])).await?,
        };
        connect(&worker, &flow, picked).await
    };
    match connected.await {
        Ok(Connected { permit, leg, settings }) => {
            Ok(Conversation { relay: Relay::new(client, leg), permit, settings, idle: None })
        }
        Err(NotConnected::Over(termination)) => {
            reset(client);
            Err(NotOpened::Over(termination))
        }
        Err(NotConnected::Frozen) => Err(NotOpened::Frozen(client.into_socket())),
    }
}

/// Why there is no conversation.
enum NotOpened {
    /// The flow ends so.
    Over(Termination),
    /// The client goes on elsewhere.
    Frozen(OwnedFd),
}

/// A flow's task.
async fn live(
    worker: Rc<Worker>,
    flow: Rc<Flow>,
    opening: Pin<Box<dyn Future<Output = Result<Conversation, NotOpened>>>>,
) {
    let mut conversation = match opening.await {
        Ok(conversation) => conversation,
        Err(NotOpened::Over(termination)) => return end(&worker, &flow, termination),
        Err(NotOpened::Frozen(client)) => {
            let frozen = frozen(&worker, &flow, &flow.target.spec.port, (client, None));
            return worker.hand_out(&flow, Some(frozen));
        }
    };
    conversation.begin(&worker, &flow);
    let outcome = poll_fn(|cx| conversation.poll(&worker, &flow, cx)).await;
    if !matches!(outcome, Outcome::Frozen) {
        worker.note_leaving(&flow);
    }
    let phase = if conversation.relay.is_half_closed() { Phase::LastData } else { Phase::Data };
    let Conversation { relay, permit, .. } = conversation;
    let termination = match outcome {
        Outcome::Relayed(Ending::Finished) => {
            relay.close(&worker.tools);
            Termination::NORMAL
        }
        Outcome::Relayed(Ending::Broken(Party::Resource)) => {
            relay.reset(&worker.tools);
            Termination { by: Party::Resource, phase }
        }
        Outcome::Relayed(Ending::Broken(by)) => {
            Box::pin(pass_reset(&worker, &flow, relay, by)).await;
            Termination { by, phase }
        }
        Outcome::IdleTooLong => {
            relay.close(&worker.tools);
            Termination { by: Party::Timeout, phase }
        }
        Outcome::Quiet(by) => Termination { by: Box::pin(shed(relay, by, &worker.tools)).await, phase },
        Outcome::Ordered(by) => {
            relay.reset(&worker.tools);
            Termination { by, phase }
        }
        Outcome::Frozen => {
            let frozen = freeze(&worker, &flow, relay);
            worker.hand_out(&flow, frozen);
            worker.release(permit);
            return worker.note_left(&flow);
        }
    };
    let how = how_it_ended(&flow, termination);
    end(&worker, &flow, termination);
    worker.count_out(permit, how);
    worker.note_left(&flow);
}

/// How a drain's record counts a connected flow that ended so. Its state says whose FIN came first.
fn how_it_ended(flow: &Flow, termination: Termination) -> FlowEnd {
    match (termination.by, flow.state.get()) {
        (Party::Normal, FlowState::EndpointClosed) => FlowEnd::Endpoint,
        (Party::Normal | Party::Client, _) => FlowEnd::Client,
        (Party::Endpoint | Party::NoEndpoint | Party::Resource, _) => FlowEnd::Broken,
        (Party::Shed, _) => FlowEnd::Shed,
        (Party::Cut, _) => FlowEnd::Cut,
        (
            Party::Denied
            | Party::Timeout
            | Party::Removal
            | Party::Lifetime
            | Party::Rebalance
            | Party::Operator
            | Party::Shutdown,
            _,
        ) => FlowEnd::Ordered,
    }
}

/// The end of a flow's life: counted and logged. The permit, where there is one, is released after that, so that a
/// drained endpoint has no flow that an operator could still see.
fn end(worker: &Worker, flow: &Flow, termination: Termination) {
    flow.target.counters.terminated(termination).add(1);
    worker.flows.close(flow, termination);
    worker.drains.note_ended(flow);
    worker.flow_ended.notify_waiters();
    worker.log(flow);
}

/// Where one end has failed and the other takes nothing of what is left for this long, the flow is given up. Without
/// a limit, a client that fills an endpoint which does not read and then vanishes would cost two sockets for ever.
pub(crate) const STALL: Duration = Duration::from_secs(5);

/// The connected part of a flow's life.
struct Conversation {
    relay: Relay,
    permit: Permit,
    settings: Arc<ServiceSettings>,
    idle: Option<Box<IdleTimer>>,
}

/// Why a conversation ended.
enum Outcome {
    Relayed(Ending),
    IdleTooLong,
    Ordered(Party),
    /// It is to be shed in this party's name, and this is the moment.
    Quiet(Party),
    Frozen,
}

impl Conversation {
    fn begin(&mut self, worker: &Worker, flow: &Flow) {
        flow.state.set(FlowState::Open);
        worker.expect_keepalive(flow);
        self.idle = self.settings.idle_timeout.map(|timeout| Box::new(IdleTimer::new(timeout, worker, flow)));
    }

    fn poll(&mut self, worker: &Worker, flow: &Flow, cx: &mut Context<'_>) -> Poll<Outcome> {
        if let Poll::Ready(outcome) = self.obey(worker, flow, cx) {
            return Poll::Ready(outcome);
        }
        let relay = &mut self.relay;
        let before = (relay.up.bytes, relay.down.bytes);
        let ending = relay.poll(cx, &worker.tools, &flow.target.counters);
        let has_moved = before != (relay.up.bytes, relay.down.bytes);
        if has_moved {
            flow.bytes_up.set(relay.up.bytes);
            flow.bytes_down.set(relay.down.bytes);
            flow.active.set(worker.now());
        }
        if let Poll::Ready(ending) = ending {
            return Poll::Ready(Outcome::Relayed(ending));
        }
        if let Some(by) = flow.shed.get() {
            if !has_moved && relay.is_quiet() {
                return Poll::Ready(Outcome::Quiet(by));
            }
            worker.decline(flow, by);
        }
        if relay.is_deaf() && !flow.is_watched.replace(true) {
            worker.watch(flow);
        }
        if relay.is_half_closed() {
            let client_closed = relay.client_closed();
            flow.state.set(if client_closed { FlowState::ClientClosed } else { FlowState::EndpointClosed });
        }
        match &mut self.idle {
            Some(timer) => timer.poll(worker, flow, cx).map(|()| Outcome::IdleTooLong),
            None => Poll::Pending,
        }
    }

    /// Carries out what the control plane wants of this flow.
    fn obey(&mut self, worker: &Worker, flow: &Flow, cx: &mut Context<'_>) -> Poll<Outcome> {
        let Some(orders) = flow.take_orders(cx) else { return Poll::Pending };
        if let Some(by) = orders.close {
            return Poll::Ready(Outcome::Ordered(by));
        }
        if orders.freeze {
            if self.relay.is_movable() {
                return Poll::Ready(Outcome::Frozen);
            }
            worker.settle_freeze(flow.id, None);
        }
        // A refused option leaves the leg as it was, and the flow goes on.
        if let (true, Some(keepalive)) = (orders.keepalive, self.settings.keepalive) {
            for leg in [&self.relay.client, &self.relay.endpoint] {
                let (idle, interval) = (keepalive.idle, keepalive.interval);
                let _ = socket::set_keepalive(leg.socket(), idle, interval, keepalive.probes);
            }
        }
        if let Some(timeout) = orders.user_timeout {
            let _ = socket::set_user_timeout(self.relay.endpoint.socket(), timeout);
        }
        if orders.look {
            flow.is_watched.set(false);
            let stalled = worker.now().since(flow.active.get()) >= STALL;
            if let Some(by) = self.relay.failed_unheard(stalled) {
                return Poll::Ready(Outcome::Relayed(Ending::Broken(by)));
            }
        }
        Poll::Pending
    }
}

/// One end is broken: the other one is told so, after it has what was received before.
async fn pass_reset(worker: &Worker, flow: &Flow, mut relay: Relay, by: Party) {
    let (tools, counters) = (&worker.tools, &*flow.target.counters);
    match by {
        Party::Endpoint => {
            relay.up.discard(tools);
            drop(relay.endpoint);
            deliver_then_reset(relay.client, relay.down, tools, counters, Direction::Down).await;
        }
        _ => {
            relay.down.discard(tools);
            drop(relay.client);
            deliver_then_reset(relay.endpoint, relay.up, tools, counters, Direction::Up).await;
        }
    }
}

/// Goes on with a flow that was frozen elsewhere before it was connected. Nothing was sent, so it is as a new one.
pub(crate) fn begin_again(worker: &Rc<Worker>, target: &Rc<Target>, frozen: FrozenFlow) {
    let flow = worker.flows.open(target, frozen.client_address, ago(worker, frozen.age));
    flow.attempts.set(frozen.attempts);
    target.counters.moved_in.add(1);
    let opening = open(Rc::clone(worker), Rc::clone(&flow), frozen.client, None);
    tokio::task::spawn_local(live(Rc::clone(worker), flow, Box::pin(opening)));
}

/// So long ago.
fn ago(worker: &Worker, age: Duration) -> Timestamp {
    worker.now().before(age)
}

/// Goes on with a flow that was frozen elsewhere; it stays pinned to its endpoint, whatever the endpoint's state.
pub(crate) fn resume(
    worker: &Rc<Worker>,
    target: &Rc<Target>,
    frozen: FrozenFlow,
    permit: Permit,
    settings: Arc<ServiceSettings>,
) -> io::Result<()> {
    let endpoint = frozen.endpoint.ok_or(io::ErrorKind::NotConnected)?;
    let relay = Relay {
        client: Leg::new(frozen.client)?,
        endpoint: Leg::new(endpoint)?,
        up: Half::adopt(frozen.up, &worker.tools, true)?,
        down: Half::adopt(frozen.down, &worker.tools, false)?,
    };
    let flow = worker.flows.open(target, frozen.client_address, ago(worker, frozen.age));
    // Connected already: it can be frozen again before its task has run.
    flow.state.set(FlowState::Open);
    flow.active.set(ago(worker, frozen.idle));
    flow.attempts.set(frozen.attempts);
    flow.bytes_up.set(relay.up.bytes);
    flow.bytes_down.set(relay.down.bytes);
    *flow.endpoint.borrow_mut() = Some(Arc::clone(permit.endpoint()));
    worker.drains.note_adopted(&flow);
    target.counters.moved_in.add(1);
    let conversation = Conversation { relay, permit, settings, idle: None };
    let opening = Box::pin(std::future::ready(Ok(conversation)));
    tokio::task::spawn_local(live(Rc::clone(worker), flow, opening));
    Ok(())
}

/// Takes a relay apart, between two polls.
fn freeze(worker: &Worker, flow: &Flow, relay: Relay) -> Option<FrozenFlow> {
    let endpoint = flow.endpoint.borrow().clone()?;
    let sockets = (relay.client.into_socket(), Some(relay.endpoint.into_socket()));
    Some(FrozenFlow {
        endpoint_address: endpoint.address(),
        pod_uid: endpoint.identity().pod_uid.as_deref().map(str::to_owned),
        up: relay.up.freeze(&worker.tools),
        down: relay.down.freeze(&worker.tools),
        ..frozen(worker, flow, endpoint.service(), sockets)
    })
}

/// What a flow is besides its relay and its endpoint.
fn frozen(
    worker: &Worker,
    flow: &Flow,
    port: &ServicePort,
    (client, endpoint): (OwnedFd, Option<OwnedFd>),
) -> FrozenFlow {
    let now = worker.now();
    let ServicePort { service, port } = port;
    FrozenFlow {
        listener: flow.target.spec.name.to_string(),
        service: (
            service.namespace().to_owned(),
            service.name().to_owned(),
            port.as_deref().map(str::to_owned),
        ),
        client_address: flow.client,
        endpoint_address: flow.client,
        pod_uid: None,
        client,
        endpoint,
        up: FrozenHalf::default(),
        down: FrozenHalf::default(),
        age: now.since(flow.opened),
        idle: now.since(flow.active.get()),
        attempts: flow.attempts.get(),
    }
}

/// Ends a flow that moved no bytes for a time. It is not touched when bytes move: at its end it looks when they last
/// did, and waits for the rest.
struct IdleTimer {
    timeout: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl IdleTimer {
    fn new(timeout: Duration, worker: &Worker, flow: &Flow) -> Self {
        let left = timeout.saturating_sub(worker.now().since(flow.active.get()));
        Self { timeout, sleep: Box::pin(tokio::time::sleep(left)) }
    }

    fn poll(&mut self, worker: &Worker, flow: &Flow, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let silent = worker.now().since(flow.active.get());
            let Some(left) = self.timeout.checked_sub(silent).filter(|left| !left.is_zero()) else {
                return Poll::Ready(());
            };
            self.sleep.as_mut().reset(Instant::now() + left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what a function returns.
    fn size_of_future<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// P16: an idle flow's task is most of what it costs beside the runtime's own two registrations.
    #[test]
    fn a_flows_task_stays_within_its_budget() {
        let size = size_of_future(live);
        assert!(size <= 272, "{size} bytes");
    }
}
