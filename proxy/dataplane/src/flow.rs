//! The life of a flow, from accept to close, top to bottom.
//!
//! accept (in `accept`) -> pick an endpoint and enter its admission -> connect (`connect`) -> relay (`relay`) ->
//! termination -> counters, log line, permit released -> was it the last flow of a draining endpoint?

use std::{
    future::poll_fn,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tidegate_core::{FlowState, Party, Permit, Phase, ServiceSettings, Termination};
use tidegate_sys::{FrozenFlow, socket};
use tokio::time::{Instant, Sleep};

use crate::{
    accept::Target,
    connect::{Connected, connect, pick},
    counters::Direction,
    flows::Flow,
    leg::Leg,
    relay::{Ending, Half, Relay},
    reset::{deliver_then_reset, reset},
    worker::Worker,
};

/// Begins the life of an accepted connection. Picks at once, so that a flow without an endpoint is refused before
/// anything is spent on it.
pub(crate) fn begin(worker: &Rc<Worker>, target: &Rc<Target>, client: OwnedFd, address: SocketAddr) {
    let flow = worker.flows.open(target, address, worker.now());
    target.counters.opened.add(1);
    match pick(worker, &flow, &[]) {
        Ok((permit, settings)) => {
            tokio::task::spawn_local(serve(Rc::clone(worker), flow, client, permit, settings));
        }
        Err(termination) => {
            // Where the option is refused the close sends a FIN instead, which is all that is left to do.
            let _ = socket::reset_on_close(client.as_fd());
            drop(client);
            end(worker, &flow, None, termination);
        }
    }
}

/// Goes on with a flow that was frozen elsewhere; it stays pinned to its endpoint, whatever the endpoint's state.
pub(crate) fn resume(
    worker: &Rc<Worker>,
    target: &Rc<Target>,
    frozen: FrozenFlow,
    permit: Permit,
    settings: Arc<ServiceSettings>,
) -> std::io::Result<()> {
    let now = worker.now();
    let ago = |age: Duration| {
        let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        tidegate_core::Timestamp::from_nanos(now.as_nanos().saturating_sub(age))
    };
    let relay = Relay {
        client: Leg::new(frozen.client)?,
        endpoint: Leg::new(frozen.endpoint)?,
        up: Half::adopt(frozen.up, &worker.tools, true)?,
        down: Half::adopt(frozen.down, &worker.tools, false)?,
    };
    let flow = worker.flows.open(target, frozen.client_address, ago(frozen.age));
    flow.active.set(ago(frozen.idle));
    flow.attempts.set(frozen.attempts);
    flow.bytes_up.set(relay.up.bytes);
    flow.bytes_down.set(relay.down.bytes);
    *flow.endpoint.borrow_mut() = Some(Arc::clone(permit.endpoint()));
    target.counters.opened.add(1);
    worker.expect_keepalive(&flow);
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move { converse(&worker, &flow, relay, permit, &settings).await });
    Ok(())
}

/// Connects a flow to its endpoint and relays until the end.
async fn serve(
    worker: Rc<Worker>,
    flow: Rc<Flow>,
    client: OwnedFd,
    permit: Permit,
    settings: Arc<ServiceSettings>,
) {
    let client = match Leg::new(client) {
        Ok(leg) => leg,
        Err(error) => {
            tracing::warn!(%error, "cannot watch a client's socket");
            let termination = Termination { by: Party::Resource, phase: Phase::Connect };
            return end(&worker, &flow, Some(permit), termination);
        }
    };
    let connected = connect(&worker, &flow, permit, settings).await;
    let Connected { permit, leg, settings } = match connected {
        Ok(connected) => connected,
        Err(termination) => {
            reset(client);
            return end(&worker, &flow, None, termination);
        }
    };
    worker.expect_keepalive(&flow);
    converse(&worker, &flow, Relay::new(client, leg), permit, &settings).await;
}

/// The connected part of a flow's life.
async fn converse(
    worker: &Rc<Worker>,
    flow: &Flow,
    mut relay: Relay,
    permit: Permit,
    settings: &ServiceSettings,
) {
    flow.state.set(FlowState::Open);
    let mut idle = settings.idle_timeout.map(|timeout| IdleTimer::new(timeout, worker, flow));
    let outcome = poll_fn(|cx| poll_once(worker, flow, &mut relay, &mut idle, settings, cx)).await;
    let phase = if relay.is_half_closed() { Phase::LastData } else { Phase::Data };
    let termination = match outcome {
        Outcome::Relayed(Ending::Finished) => Termination::NORMAL,
        Outcome::Relayed(Ending::Broken(by)) => {
            pass_reset(worker, flow, relay, by).await;
            return end(worker, flow, Some(permit), Termination { by, phase });
        }
        Outcome::IdleTooLong => Termination { by: Party::Timeout, phase },
        Outcome::Ordered(by) => {
            let _ = socket::reset_on_close(relay.client.socket());
            let _ = socket::reset_on_close(relay.endpoint.socket());
            Termination { by, phase }
        }
        Outcome::Frozen => return worker.hand_out(flow, freeze(worker, flow, relay), permit),
    };
    relay.up.discard(&worker.tools);
    relay.down.discard(&worker.tools);
    drop(relay);
    end(worker, flow, Some(permit), termination);
}

/// Why a flow left its relay.
enum Outcome {
    Relayed(Ending),
    IdleTooLong,
    Ordered(Party),
    Frozen,
}

fn poll_once(
    worker: &Worker,
    flow: &Flow,
    relay: &mut Relay,
    idle: &mut Option<Pin<Box<IdleTimer>>>,
    settings: &ServiceSettings,
    cx: &mut Context<'_>,
) -> Poll<Outcome> {
    if let Some(orders) = flow.take_orders(cx) {
        if let Some(by) = orders.close {
            return Poll::Ready(Outcome::Ordered(by));
        }
        if orders.freeze {
            return Poll::Ready(Outcome::Frozen);
        }
        // A refused option leaves the leg as it was, and the flow goes on.
        if orders.keepalive
            && let Some(keepalive) = settings.keepalive
        {
            let (idle, interval) = (keepalive.idle, keepalive.interval);
            let _ = socket::set_keepalive(relay.endpoint.socket(), idle, interval, keepalive.probes);
        }
        if let Some(timeout) = orders.user_timeout {
            let _ = socket::set_user_timeout(relay.endpoint.socket(), timeout);
        }
    }
    let before = (relay.up.bytes, relay.down.bytes);
    let ending = relay.poll(cx, &worker.tools, &flow.target.counters);
    if before != (relay.up.bytes, relay.down.bytes) {
        flow.bytes_up.set(relay.up.bytes);
        flow.bytes_down.set(relay.down.bytes);
        flow.active.set(worker.now());
    }
    if let Poll::Ready(ending) = ending {
        return Poll::Ready(Outcome::Relayed(ending));
    }
    if relay.is_half_closed() {
        let client_closed = relay.client_closed();
        flow.state.set(if client_closed { FlowState::ClientClosed } else { FlowState::EndpointClosed });
    }
    match idle {
        Some(timer) => timer.as_mut().poll(worker, flow, cx).map(|()| Outcome::IdleTooLong),
        None => Poll::Pending,
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

/// The end of a flow's life: counted, logged, and its permit released.
fn end(worker: &Worker, flow: &Flow, permit: Option<Permit>, termination: Termination) {
    flow.target.counters.terminated(termination).add(1);
    worker.flows.close(flow, termination);
    worker.log(flow);
    if let Some(permit) = permit {
        worker.release(permit);
    }
}

/// Takes a relay apart, between two polls.
fn freeze(worker: &Worker, flow: &Flow, relay: Relay) -> Option<FrozenFlow> {
    let endpoint = flow.endpoint.borrow().clone()?;
    let service = &endpoint.service().service;
    let now = worker.now();
    Some(FrozenFlow {
        listener: flow.target.spec.name.to_string(),
        service: (
            service.namespace().to_owned(),
            service.name().to_owned(),
            endpoint.service().port.as_deref().map(str::to_owned),
        ),
        client_address: flow.client,
        endpoint_address: endpoint.address(),
        pod_uid: endpoint.identity().pod_uid.as_deref().map(str::to_owned),
        client: relay.client.into_socket(),
        endpoint: relay.endpoint.into_socket(),
        up: relay.up.freeze(&worker.tools),
        down: relay.down.freeze(&worker.tools),
        age: now.since(flow.opened),
        idle: now.since(flow.active.get()),
        attempts: flow.attempts.get(),
    })
}

/// Ends a flow that moved no bytes for a time. It is not touched when bytes move: at its end it looks when they last
/// did, and waits for the rest.
struct IdleTimer {
    timeout: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl IdleTimer {
    fn new(timeout: Duration, worker: &Worker, flow: &Flow) -> Pin<Box<Self>> {
        let left = timeout.saturating_sub(worker.now().since(flow.active.get()));
        Box::pin(Self { timeout, sleep: Box::pin(tokio::time::sleep(left)) })
    }

    fn poll(mut self: Pin<&mut Self>, worker: &Worker, flow: &Flow, cx: &mut Context<'_>) -> Poll<()> {
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
