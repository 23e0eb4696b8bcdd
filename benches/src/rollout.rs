//! Rolling updates: what becomes of flows while every endpoint behind a proxy is replaced.
//!
//! For each proxy: a few endpoints, clients that keep long-lived flows talking and open short connections all the time,
//! and a [`deployment`] that replaces every endpoint several times. The proxy is told of each step by an
//! [`operator`] that does what the proxy's own manual advises. All of it is on loopback.
//!
//! | proxy | how it is told |
//! |---|---|
//! | Tidegate | an EndpointSlice file, written beside and renamed |
//! | HAProxy | runtime API: `add server`, `enable server`; `set server state drain`; `set server state maint` and `del server` once the pod is gone |
//! | nginx | a new configuration with the endpoints that are ready, renamed into place, and SIGHUP |
//! | Envoy | a file of EDS, moved into place; `DRAINING` while an endpoint terminates, then removed |
//!
//! Endpoints are like pods: one that terminates accepts and serves on, for at least `pre_stop`, then until its flows
//! have ended, at most for `grace`. Then its listening socket is closed and what is still open is reset.
//!
//! # Who is to blame
//!
//! Long-lived flows are of two classes. The life of a *fitting* one is at most eight tenths of the grace: whenever its
//! endpoint begins to terminate, there is time for it to end by itself, so it must never break. The life of an
//! *outliving* one is longer than the grace. Where its endpoint's end comes first, the flow ends with it, and no proxy
//! could have helped: that is *cut* and not broken. If it breaks while its endpoint is there, it is broken. So
//!
//! - **broken** counts flows that had an answer, ended otherwise than by their client's own hand, and could have come
//!   to that end;
//! - **refused** counts connections that had no answer at all: refused, reset, closed or silent for five seconds.
//!
//! # Moments
//!
//! A change *is made* when the operator's action is complete: the rename for Tidegate and Envoy, the signal for nginx,
//! the sending of the command for HAProxy. From there on:
//!
//! - **sent to an endpoint that terminates**: connections that the client *began* after the change and that the old
//!   endpoint got. A connection that was on its way when the change was made is not counted. How long after: from the
//!   change to the client's beginning; percentiles over all such connections.
//! - **sent before it was ready**: connections that a new endpoint accepted before its operator began to say that it is
//!   ready.
//! - **old one's last new connection**: from the change to the last connection that the old endpoint accepted, and 0 if
//!   it accepted none after it; percentiles over the endpoints that were replaced. What was on its way is in it.
//! - **new one's first connection**: from the change to the first connection that the new endpoint accepted.
//!
//! Percentiles are by nearest rank, so that the 99th of 15 endpoints is the greatest. A time that is shorter than the
//! pause between two new connections cannot be told from 0: there are about `short_per_second` of them for all
//! endpoints together. A new endpoint gets the very next one where the one with the fewest flows of all is picked
//! (HAProxy), and about one in three where it is the better of two (Tidegate, Envoy).
//!
//! # What it takes
//!
//! Processes and memory (proportional set size) of the proxy with all its children: before the first replacement, the
//! most of five looks a second, and what is left when all flows have ended. Processor time is that of the whole run;
//! the load is the same for all, and bounded, so the rows can be compared.
//!
//! # What it does not show
//!
//! On loopback a pod that is gone refuses at once; in a network its address drops packets silently, and a proxy that is
//! late costs its clients seconds. There are no health checks, because every endpoint is well until its end.

mod client;
mod deployment;
mod endpoint;
mod message;
mod operator;
mod outcome;
mod plan;
mod processes;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::client::Clients;
use self::deployment::Deployment;
use self::endpoint::{Endpoint, Phase, Pod};
use self::operator::{Envoy, Haproxy, Nginx, Operator, Setting, Start, Tidegate};
use self::outcome::Seen;
use self::processes::{Look, Most, look};
use crate::child::Started;
use crate::cores::Cores;
use crate::outcomes::Outcome as _;
use crate::peers::Proxy;

pub(crate) use outcome::Outcome;
#[cfg(test)]
pub(crate) use outcome::{Course, Ends, Misplaced, Spread};
pub(crate) use plan::Plan;

/// How much longer than planned a measurement may take.
const OVERTIME: Duration = Duration::from_secs(20);

/// How long processes may take to end after the last flow.
const SETTLE: Duration = Duration::from_secs(2);

/// Whether there is an operator for a row. How HAProxy splices makes no difference here.
pub(crate) fn takes(proxy: Proxy) -> bool {
    matches!(proxy, Proxy::Tidegate | Proxy::Haproxy | Proxy::Nginx | Proxy::Envoy)
}

/// Measures one proxy, which `command` starts, given its own arguments.
///
/// # Errors
///
/// When the proxy does not start. Whatever it does to flows, or does not hear, is in the outcome.
pub(crate) async fn measure(
    proxy: Proxy,
    command: Command,
    cores: &Cores,
    plan: Plan,
) -> anyhow::Result<Outcome> {
    let measured = match proxy {
        Proxy::Tidegate => through::<Tidegate>(proxy, command, cores, plan).await,
        Proxy::Haproxy => through::<Haproxy>(proxy, command, cores, plan).await,
        Proxy::Nginx => through::<Nginx>(proxy, command, cores, plan).await,
        Proxy::Envoy => through::<Envoy>(proxy, command, cores, plan).await,
        Proxy::HaproxySplice | Proxy::HaproxySplice1m | Proxy::NginxHalfClose | Proxy::Direct => {
            bail!("it has no operator")
        }
    };
    measured.with_context(|| format!("rollout with {proxy}"))
}

async fn through<O: Start>(
    proxy: Proxy,
    mut command: Command,
    cores: &Cores,
    plan: Plan,
) -> anyhow::Result<Outcome> {
    let directory = tempfile::tempdir().context("cannot make a directory for the proxy")?;
    let epoch = Instant::now();
    let mut endpoints = first(plan, epoch)?;
    let listener = free_address()?;
    let setting = Setting { listener, directory: directory.path() };
    let pods: Vec<Pod> = endpoints.iter().map(|endpoint| endpoint.pod).collect();
    let mut operator = O::prepare(&setting, &pods, &mut command)?;
    let child = Started::start(proxy, command, &[listener], directory.path(), cores).await?;
    let run = Run { proxy, plan, epoch, address: listener, pid: child.pid() };
    let mut outcome = run.measure(&mut endpoints, &mut operator).await?;
    if !outcome.is_valid() && !child.output().is_empty() {
        outcome.faults.push(format!("its output: {}", child.output()));
    }
    Ok(outcome)
}

/// The endpoints of a measurement, of which the first ones are ready.
fn first(plan: Plan, epoch: Instant) -> anyhow::Result<Vec<Endpoint>> {
    let mut endpoints = endpoint::reserve(plan.total(), epoch)?;
    for endpoint in &mut endpoints[..plan.endpoints] {
        endpoint.start(Phase::Ready)?;
    }
    Ok(endpoints)
}

/// An address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}

/// One measurement.
#[derive(Debug)]
struct Run {
    proxy: Proxy,
    plan: Plan,
    epoch: Instant,
    address: SocketAddr,
    pid: u32,
}

impl Run {
    async fn measure<O: Operator>(
        &self,
        endpoints: &mut [Endpoint],
        operator: &mut O,
    ) -> anyhow::Result<Outcome> {
        let first = look(self.pid).await?;
        let began = Instant::now();
        let clients = Clients::new(self.address, self.plan, self.epoch);
        let mut open = clients.start();
        let most = Most::default();
        let mut faults = Vec::new();

        let course = async {
            tokio::time::sleep(self.plan.steady()).await;
            let before = look(self.pid).await?;
            Deployment { plan: self.plan, endpoints: &mut *endpoints, operator: &mut *operator }
                .run()
                .await?;
            Ok::<_, anyhow::Error>(before)
        };
        let limit = self.plan.length() + OVERTIME;
        let ran = tokio::select! {
            ran = timeout(limit, course) => ran.unwrap_or_else(|_| bail!("it takes longer than {limit:?}")),
            error = most.clone().watch(self.pid) => Err(error),
        };
        let before = ran.unwrap_or_else(|error| {
            faults.push(format!("{error:#}"));
            first
        });

        clients.finish();
        if timeout(OVERTIME, ended(&mut open)).await.is_err() {
            faults.push(format!("{} clients hang {OVERTIME:?} after the end", open.len()));
        }
        faults.extend(operator.finish().await);
        let left = self.settle(before).await.unwrap_or_else(|error| {
            faults.push(format!("{error:#}"));
            Look::default()
        });

        let flows = clients.flows();
        let records: Vec<_> = endpoints.iter().map(|endpoint| endpoint.record().clone()).collect();
        let seen = Seen {
            flows: &flows,
            records: &records,
            epoch: self.epoch,
            first,
            before,
            most: most.get(),
            left,
            wall: began.elapsed(),
        };
        Ok(outcome::count(self.proxy, self.plan, &seen, faults))
    }

    /// Waits a little for processes that end now that their last flow has.
    async fn settle(&self, before: Look) -> anyhow::Result<Look> {
        let until = Instant::now() + SETTLE;
        loop {
            let look = look(self.pid).await?;
            if look.count <= before.count || Instant::now() >= until {
                return Ok(look);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn ended(clients: &mut JoinSet<()>) {
    while clients.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests;
