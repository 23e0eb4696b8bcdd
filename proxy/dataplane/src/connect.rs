//! Connecting a flow to an endpoint: pick, try, and on failure try another one.
//!
//! Not a byte of the client's has been sent while this goes on, so another endpoint is as good as the first. The same
//! endpoint is never tried twice for one flow.

use std::{
    future::poll_fn,
    io,
    os::fd::AsFd,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use rustix::io::Errno;
use tidegate_core::{Endpoint, FlowKey, Party, Permit, Phase, Refusal, ServiceSettings, Termination};
use tidegate_sys::{is_to_itself, socket, start_connect};

use crate::{counters::ConnectFailure, flows::Flow, leg::Leg, reset::reset, worker::Worker};

/// A flow's endpoint: the right to be counted there, the connection to it, and its service's settings.
pub(crate) struct Connected {
    pub(crate) permit: Permit,
    pub(crate) leg: Leg,
    pub(crate) settings: Arc<ServiceSettings>,
}

/// Why a flow is not connected.
pub(crate) enum NotConnected {
    /// It ends so.
    Over(Termination),
    /// It is to go on elsewhere.
    Frozen,
}

impl From<Termination> for NotConnected {
    fn from(termination: Termination) -> Self {
        Self::Over(termination)
    }
}

/// What a pick gives: the right to be counted at an endpoint, and the settings of its service.
pub(crate) type Picked = (Permit, Arc<ServiceSettings>);

/// Why a pick gives nothing.
pub(crate) enum NoPick {
    /// The flow ends so.
    Refused(Termination),
    /// A new snapshot is about to be published; it is worth waiting for.
    Moving,
}

/// How long a flow waits for the snapshot that is about to be published. The controller needs microseconds for it,
/// and a busy machine some time more.
const MOVING_LIMIT: Duration = Duration::from_millis(200);

/// How often a flow that waits looks.
const MOVING_LOOK: Duration = Duration::from_millis(1);

/// Finds an endpoint for a flow, and counts the flow in there.
pub(crate) fn pick(worker: &Worker, flow: &Flow, tried: &[Arc<Endpoint>]) -> Result<Picked, NoPick> {
    let key = FlowKey { client: flow.client.ip() };
    let mut state = flow.target.pick_state.borrow_mut();
    let mut rng = worker.rng.borrow_mut();
    let snapshot = worker.snapshot.load();
    let refused = Termination { by: Party::NoEndpoint, phase: Phase::Pick };
    let service = snapshot.service(flow.target.spec.service).ok_or(NoPick::Refused(refused))?;
    // Affinity counts in seconds, so the time of the accept does.
    match service.admit(&key, tried, &mut state, &mut rng, flow.opened) {
        Ok(permit) => {
            *flow.endpoint.borrow_mut() = Some(Arc::clone(permit.endpoint()));
            Ok((permit, Arc::clone(service.settings())))
        }
        Err(Refusal::Moving) => Err(NoPick::Moving),
        Err(Refusal::NotSynced | Refusal::NoneReady) => Err(NoPick::Refused(refused)),
        Err(Refusal::NotAllowed) => {
            Err(NoPick::Refused(Termination { by: Party::Denied, phase: Phase::Pick }))
        }
        Err(Refusal::AllTried) => {
            Err(NoPick::Refused(Termination { by: Party::Endpoint, phase: Phase::Connect }))
        }
    }
}

/// Picks, and where endpoints are just being exchanged waits for the new ones. Admissions change a moment before the
/// snapshot that says so is published: what that moment refuses, the next snapshot may have a place for.
pub(crate) async fn pick_settled(
    worker: &Worker,
    flow: &Flow,
    tried: &[Arc<Endpoint>],
) -> Result<Picked, Termination> {
    let deadline = Instant::now() + MOVING_LIMIT;
    loop {
        match pick(worker, flow, tried) {
            Ok(picked) => return Ok(picked),
            Err(NoPick::Refused(termination)) => return Err(termination),
            Err(NoPick::Moving) if Instant::now() < deadline => tokio::time::sleep(MOVING_LOOK).await,
            Err(NoPick::Moving) => {
                return Err(Termination { by: Party::NoEndpoint, phase: Phase::Pick });
            }
        }
    }
}

/// Connects to the endpoint that was picked, or to another one where that fails.
pub(crate) async fn connect(worker: &Worker, flow: &Flow, picked: Picked) -> Result<Connected, NotConnected> {
    let counters = &flow.target.counters;
    let mut tried = Vec::new();
    let (mut permit, mut settings) = picked;
    loop {
        flow.attempts.set(flow.attempts.get() + 1);
        let error = match attempt(worker, flow, &permit, &settings).await {
            Ok(leg) => {
                counters.connected.add(1);
                let took = worker.now().since(flow.opened);
                counters.connect_nanos.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
                return Ok(Connected { permit, leg, settings });
            }
            Err(Failure::Ordered(by)) => {
                worker.release(permit);
                return Err(Termination { by, phase: Phase::Connect }.into());
            }
            Err(Failure::Frozen) => {
                // Nothing was sent, so another connect, perhaps to another endpoint, is as good.
                worker.release(permit);
                return Err(NotConnected::Frozen);
            }
            Err(Failure::Io(error)) => error,
        };
        let cause = classify(&error);
        counters.connect_failures(cause).add(1);
        tracing::debug!(
            flow = %flow.id, endpoint = %permit.endpoint().address(), %error, cause = cause.word(),
            "connect failed"
        );
        let by = if cause == ConnectFailure::Local { Party::Resource } else { Party::Endpoint };
        tried.push(Arc::clone(permit.endpoint()));
        worker.release(permit);
        if tried.len() >= settings.connect_attempts as usize {
            return Err(Termination { by, phase: Phase::Connect }.into());
        }
        (permit, settings) = Box::pin(pick_settled(worker, flow, &tried))
            .await
            .map_err(|_| Termination { by, phase: Phase::Connect })?;
        counters.retries.add(1);
    }
}

enum Failure {
    Io(io::Error),
    Ordered(Party),
    Frozen,
}

async fn attempt(
    worker: &Worker,
    flow: &Flow,
    permit: &Permit,
    settings: &ServiceSettings,
) -> Result<Leg, Failure> {
    let address = permit.endpoint().address();
    let socket = start_connect(address).map_err(Failure::Io)?;
    if let Some(timeout) = settings.user_timeout {
        // A refusal leaves the kernel's own measure, and a good connection.
        let _ = socket::set_user_timeout(socket.as_fd(), Some(timeout));
    }
    let leg = Leg::new(socket).map_err(Failure::Io)?;
    let connected = poll_fn(|cx| poll_connected(flow, &leg, cx));
    match tokio::time::timeout(settings.connect_timeout, connected).await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => return Err(failure),
        Err(_) => return Err(Failure::Io(io::ErrorKind::TimedOut.into())),
    }
    if worker.local_ports.contains(&address.port()) && is_to_itself(leg.socket(), address) {
        // Nobody listens there. Reset, so that the port is free at once for whoever it belongs to.
        reset(leg);
        return Err(Failure::Io(io::ErrorKind::ConnectionRefused.into()));
    }
    Ok(leg)
}

fn poll_connected(flow: &Flow, leg: &Leg, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
    if let Some(orders) = flow.take_orders(cx) {
        if let Some(by) = orders.close {
            return Poll::Ready(Err(Failure::Ordered(by)));
        }
        if orders.freeze {
            return Poll::Ready(Err(Failure::Frozen));
        }
        if let Some(timeout) = orders.user_timeout {
            // A refusal leaves the kernel's own measure.
            let _ = socket::set_user_timeout(leg.socket(), timeout);
        }
    }
    leg.poll_connected(cx).map_err(Failure::Io)
}

/// What a failed connect says, and of whom.
fn classify(error: &io::Error) -> ConnectFailure {
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED | Errno::CONNRESET) => ConnectFailure::Refused,
        Some(Errno::TIMEDOUT) => ConnectFailure::Timeout,
        Some(Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::NETDOWN | Errno::HOSTDOWN) => {
            ConnectFailure::Unreachable
        }
        Some(
            Errno::ADDRNOTAVAIL
            | Errno::AGAIN
            | Errno::MFILE
            | Errno::NFILE
            | Errno::NOBUFS
            | Errno::NOMEM
            | Errno::NOSPC
            | Errno::ACCESS
            | Errno::PERM,
        ) => ConnectFailure::Local,
        None if error.kind() == io::ErrorKind::ConnectionRefused => ConnectFailure::Refused,
        None if error.kind() == io::ErrorKind::TimedOut => ConnectFailure::Timeout,
        _ => ConnectFailure::Other,
    }
}
