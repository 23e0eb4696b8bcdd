//! The demo's "Deployment": replaces every endpoint as Kubernetes 1.36 was seen to do it (maxSurge 1,
//! maxUnavailable 0).
//!
//! Per pod: a new endpoint appears not ready; it turns ready; an old one turns {ready: false, serving: true,
//! terminating: true}; it vanishes from the slice when its flows have ended or its grace is over.

use std::{
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tidegate_control::ControlHandle;
use tidegate_core::table::{EndpointView, ServiceView};
use tokio::{task::AbortHandle, time::sleep};

use super::{
    clients::Load,
    endpoints::{Closed, Conditions, Endpoint, serve},
    slices::SliceDirectory,
    view::View,
};

/// How many endpoints the service has.
pub(super) const REPLICAS: u8 = 3;

/// How often the proxy is asked while something is waited for.
const LOOK: Duration = Duration::from_millis(1);

/// How often the view is drawn.
const DRAW: Duration = Duration::from_millis(100);

/// How long a change may take to have its effect.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the rolling update saw.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// From the slice file's rename to the change being in force, for each endpoint that turned terminating.
    pub(super) propagation: Vec<Duration>,
    /// From there to the last flow's end.
    pub(super) drains: Vec<Duration>,
    /// Flows that were pinned to each endpoint when its drain began.
    pub(super) pinned: Vec<u64>,
}

/// A rolling update.
pub(super) struct Rollout {
    handle: ControlHandle,
    slices: SliceDirectory,
    endpoints: Vec<Endpoint>,
    waiting: Vec<(SocketAddr, TcpListener)>,
    running: Vec<(u8, AbortHandle)>,
    closed: Closed,
    /// Time between two steps.
    pace: Duration,
    began: Instant,
}

/// A terminating endpoint, until its flows have ended.
struct Draining {
    number: u8,
    address: SocketAddr,
    since: Instant,
}

/// The endpoints that the service has at first.
pub(super) fn first_endpoints(listeners: &[(SocketAddr, TcpListener)]) -> Vec<Endpoint> {
    let first = listeners.iter().take(REPLICAS.into());
    (0..).zip(first).map(|(number, (address, _))| endpoint(number, *address, Conditions::Ready)).collect()
}

fn endpoint(number: u8, address: SocketAddr, conditions: Conditions) -> Endpoint {
    let (replica_set, letter) =
        if number < REPLICAS { ("6c9f7", number) } else { ("b84d5", number - REPLICAS) };
    let pod = format!("web-{replica_set}-{}", char::from(b'a' + letter));
    Endpoint { number, pod, address, conditions }
}

impl Rollout {
    pub(super) fn new(
        handle: ControlHandle,
        slices: SliceDirectory,
        listeners: Vec<(SocketAddr, TcpListener)>,
        closed: Closed,
        length: Duration,
    ) -> anyhow::Result<Self> {
        let endpoints = first_endpoints(&listeners);
        let mut waiting = listeners;
        let mut running = Vec::new();
        for (endpoint, (_, listener)) in endpoints.iter().zip(waiting.drain(..usize::from(REPLICAS))) {
            running.push((endpoint.number, serve(endpoint.number, listener)?));
        }
        // The flows' lives take up to three tenths at the end, the steady state before and between the rest.
        let pace = length / 10;
        Ok(Self { handle, slices, endpoints, waiting, running, closed, pace, began: Instant::now() })
    }

    /// Waits until the proxy has all of the first endpoints.
    pub(super) async fn wait_until_ready(&self) -> anyhow::Result<()> {
        self.wait_for(|service| service.eligible == usize::from(REPLICAS)).await?;
        let deadline = Instant::now() + PATIENCE;
        while self.handle.ready().await.is_err() {
            if Instant::now() > deadline {
                bail!("the proxy is not ready after {} s", PATIENCE.as_secs());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Replaces every endpoint, and waits until the old ones' flows have ended.
    pub(super) async fn run(mut self, view: &View, load: &Load) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut draining = Vec::new();
        self.began = Instant::now();
        self.linger(self.pace, view, load, &mut draining, &mut outcome).await?;
        for old in 0..REPLICAS {
            let new = old + REPLICAS;
            let (address, listener) = self.waiting.remove(0);
            self.endpoints.push(endpoint(new, address, Conditions::NotReady));
            self.slices.write(&self.endpoints)?;
            view.say(&format!("{} appears, not ready", self.named(new)));
            self.running.push((new, serve(new, listener)?));
            self.linger(self.pace / 4, view, load, &mut draining, &mut outcome).await?;

            self.set(new, Conditions::Ready)?;
            self.wait_for(|service| is_eligible(service, address)).await?;
            view.say(&format!("{} is ready", self.named(new)));
            self.linger(self.pace / 4, view, load, &mut draining, &mut outcome).await?;

            let gone = self.terminate(old, &mut outcome).await?;
            view.say(&format!(
                "{} is terminating; in force after {:.1} ms; {} flows stay pinned to it",
                self.named(old),
                outcome.propagation.last().map_or(0.0, |took| took.as_secs_f64() * 1e3),
                outcome.pinned.last().unwrap_or(&0),
            ));
            draining.push(gone);
            self.linger(self.pace, view, load, &mut draining, &mut outcome).await?;
        }
        while !draining.is_empty() {
            if self.began.elapsed() > self.pace * 10 + PATIENCE {
                bail!("{} endpoints still have flows", draining.len());
            }
            self.linger(DRAW, view, load, &mut draining, &mut outcome).await?;
        }
        self.linger(self.pace / 2, view, load, &mut draining, &mut outcome).await?;
        Ok(outcome)
    }

    /// Turns an endpoint terminating, and waits until the proxy sends it nothing new.
    async fn terminate(&mut self, number: u8, outcome: &mut Outcome) -> anyhow::Result<Draining> {
        let address = self.address(number)?;
        let written = Instant::now();
        self.set(number, Conditions::Terminating)?;
        let service = self.wait_for(|service| !is_eligible(service, address)).await?;
        let since = Instant::now();
        outcome.propagation.push(since.duration_since(written));
        self.closed.set(number, since);
        outcome.pinned.push(find(&service, address).map_or(0, |view| view.endpoint.admission().flows()));
        Ok(Draining { number, address, since })
    }

    /// Lets time pass: draws, and takes away what has drained.
    async fn linger(
        &mut self,
        time: Duration,
        view: &View,
        load: &Load,
        draining: &mut Vec<Draining>,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        loop {
            let service = self.service().await?;
            view.draw(self.began.elapsed(), &service, &self.endpoints, &load.tally);
            for gone in draining.extract_if(.., |drain| is_empty(&service, drain.address)) {
                outcome.drains.push(gone.since.elapsed());
                view.say(&format!(
                    "{} has drained in {:.1} s and is gone",
                    self.named(gone.number),
                    gone.since.elapsed().as_secs_f64()
                ));
                self.running.retain(|(number, task)| {
                    let goes = *number == gone.number;
                    if goes {
                        task.abort();
                    }
                    !goes
                });
                self.endpoints.retain(|endpoint| endpoint.number != gone.number);
                self.slices.write(&self.endpoints)?;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(DRAW)).await;
        }
    }

    fn set(&mut self, number: u8, conditions: Conditions) -> anyhow::Result<()> {
        for endpoint in self.endpoints.iter_mut().filter(|endpoint| endpoint.number == number) {
            endpoint.conditions = conditions;
        }
        self.slices.write(&self.endpoints)
    }

    fn address(&self, number: u8) -> anyhow::Result<SocketAddr> {
        let found = self.endpoints.iter().find(|endpoint| endpoint.number == number);
        Ok(found.context("the endpoint is not in the slice")?.address)
    }

    fn named(&self, number: u8) -> String {
        let found = self.endpoints.iter().find(|endpoint| endpoint.number == number);
        found.map_or_else(|| format!("endpoint {number}"), |endpoint| endpoint.pod.clone())
    }

    async fn service(&self) -> anyhow::Result<ServiceView> {
        let services = self.handle.services().await?.services;
        services.into_iter().next().context("the proxy has no service")
    }

    async fn wait_for(&self, wanted: impl Fn(&ServiceView) -> bool) -> anyhow::Result<ServiceView> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let service = self.service().await?;
            if wanted(&service) {
                return Ok(service);
            }
            if Instant::now() > deadline {
                bail!("a change of the slice file had no effect within {} s", PATIENCE.as_secs());
            }
            sleep(LOOK).await;
        }
    }
}

/// What the proxy knows of an endpoint.
pub(super) fn find(service: &ServiceView, address: SocketAddr) -> Option<&EndpointView> {
    service.endpoints.iter().find(|view| view.endpoint.address() == address)
}

fn is_eligible(service: &ServiceView, address: SocketAddr) -> bool {
    find(service, address).is_some_and(|view| view.eligible)
}

fn is_empty(service: &ServiceView, address: SocketAddr) -> bool {
    find(service, address).is_none_or(|view| view.endpoint.admission().flows() == 0)
}
