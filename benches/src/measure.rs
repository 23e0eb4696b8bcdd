//! Around one measurement: what a load finds in front of it, and the meters that run while it does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::endpoints::Endpoints;
use crate::load::Clients;
use crate::report::Reading;
use crate::usage;

/// Load before the one that counts: pages, pools and caches are warm then.
const WARM_UP: Duration = Duration::from_millis(200);

/// How long closes may take to arrive at the endpoints after they are at the clients.
pub(crate) const SETTLE: Duration = Duration::from_secs(5);

/// What a load is put on: a proxy, or the endpoints themselves.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    /// The proxy's first process, unless there is no proxy.
    pub(crate) pid: Option<u32>,
    /// Cores that the proxy may use.
    pub(crate) cores: usize,
    /// Where clients go.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) endpoints: &'a Endpoints,
    pub(crate) options: Options,
}

/// What the command line says about loads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// How long a load lasts.
    pub(crate) run: Duration,
    /// Requests in a second, where the load has a fixed rate.
    pub(crate) rate: u64,
    /// The most flows that limits allow.
    pub(crate) flows: usize,
}

/// What a cost is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Per {
    /// Seconds for 10^9 bytes.
    Gigabyte,
    /// Microseconds for one trip or connection.
    Item,
}

impl Per {
    fn cost(self, time: Duration, done: u64) -> f64 {
        let scale = match self {
            Self::Gigabyte => 1e9,
            Self::Item => 1e6,
        };
        time.as_secs_f64() * scale / done as f64
    }

    fn rate(self, time: Duration, done: u64) -> f64 {
        let scale = match self {
            Self::Gigabyte => 1e9,
            Self::Item => 1.0,
        };
        done as f64 / time.as_secs_f64() / scale
    }
}

impl Subject<'_> {
    /// New clients.
    pub(crate) fn clients(&self) -> Arc<Clients> {
        Clients::of(&self.addresses)
    }

    /// Requests in a second, where the load has a fixed rate.
    pub(crate) fn rate(&self) -> u64 {
        self.options.rate
    }

    /// The most flows that limits allow.
    pub(crate) fn flows(&self) -> usize {
        self.options.flows
    }

    /// The proxy's resident memory in bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<Option<u64>> {
        self.pid.map(usage::resident).transpose()
    }

    /// Runs a load, first to warm up and then under the meters.
    ///
    /// The proxy's time runs until all flows are closed at the endpoints as well, so that its part of the closes
    /// counts; the rate's time until the load is over.
    pub(crate) async fn spent(
        &self,
        per: Per,
        mut load: impl AsyncFnMut(&Arc<Clients>, Duration),
    ) -> anyhow::Result<Reading> {
        let warm = self.clients();
        load(&warm, WARM_UP.min(self.options.run)).await;
        self.all_closed(&warm).await;

        let clients = self.clients();
        let mut reading = self
            .metered(per, &clients, async || {
                load(&clients, self.options.run).await;
                let end = Instant::now();
                self.all_closed(&clients).await;
                end
            })
            .await?;
        reading.faults.extend(warm.faults());
        Ok(reading)
    }

    /// Runs a load of these clients under the meters. The rate's time ends when the load says.
    pub(crate) async fn metered(
        &self,
        per: Per,
        clients: &Clients,
        load: impl AsyncFnOnce() -> Instant,
    ) -> anyhow::Result<Reading> {
        let before = clients.done();
        let (proxy, machine) = self.meters()?;
        let start = Instant::now();
        let wall = load().await - start;
        let whole = start.elapsed();
        let (proxy_then, machine_then) = self.meters()?;

        let done = clients.done() - before;
        let mut faults = clients.faults();
        if done == 0 {
            faults.push("nothing was done".to_owned());
            return Ok(Reading { faults, ..Reading::default() });
        }
        let proxy = proxy.zip(proxy_then).map(|(before, after)| after.saturating_sub(before));
        Ok(Reading {
            cost: proxy.map(|time| per.cost(time, done)),
            machine: Some(per.cost(machine_then.saturating_sub(machine), done)),
            rate: Some(per.rate(wall, done)),
            busy: proxy.map(|time| time.as_secs_f64() / whole.as_secs_f64() / self.cores as f64),
            latency: clients.latency(),
            faults,
        })
    }

    /// How long a load lasts.
    pub(crate) fn run(&self) -> Duration {
        self.options.run
    }

    /// Processor time of the proxy and of the whole machine so far.
    fn meters(&self) -> anyhow::Result<(Option<Duration>, Duration)> {
        Ok((self.pid.map(usage::cpu).transpose()?, usage::machine::cpu()?))
    }

    /// Waits until so many flows are open at the endpoints; tells how many there are.
    pub(crate) async fn settle(&self, count: usize) -> usize {
        self.endpoints.settle(count, SETTLE).await
    }

    /// A flow that stays open at its endpoint after its client closed it is a fault.
    pub(crate) async fn all_closed(&self, clients: &Clients) {
        let open = self.settle(0).await;
        if open > 0 {
            clients.fault(format!(
                "{open} flows are open at the endpoints {SETTLE:?} after their clients closed"
            ));
        }
    }
}
