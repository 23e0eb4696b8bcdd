//! What is measured. Each workload is a module below this one: the load, the figures it gives, how they come about.
//!
//! A workload has parts, such as one for each size of a message. A part is measured with a proxy started afresh, and
//! gives one reading for each of its tables. [`rollout`], [`handoff`](crate::handoff) and [`shed`] stand apart: they are measured
//! once for each proxy, in their own way. To add a workload: a module with `parts`, a variant of [`Workload`] and
//! one of [`Load`].

mod bulk;
mod burst;
mod connections;
mod endpoints;
mod idle;
mod listeners;
mod rate;
pub(crate) mod shed;
mod slow;
mod trips;

use std::fmt;

use clap::ValueEnum;

use crate::endpoints::Kind;
use crate::measure::Subject;
use crate::peers::Proxy;
use crate::report::{Reading, Table};
use crate::rollout;

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Bytes in bulk: down, up and both ways, on 1 and on 64 flows
    Bulk,
    /// Round trips of 1 byte to 64 KiB on 64 kept connections, one after the other
    Trips,
    /// Round trips at a fixed rate; latency from when each was due
    Rate,
    /// Connect, request, reply, close; 32 at a time
    Connections,
    /// Memory of flows that carry nothing
    Idle,
    /// 1000 clients that connect at once
    Burst,
    /// Connections to 10, 1000 and 10,000 endpoints
    Endpoints,
    /// Connections through 1000 listeners
    Listeners,
    /// Clients that read slowly what comes fast
    Slow,
    /// 8000 idle flows of one endpoint shed within 30 seconds, beside another service; Tidegate alone
    Shed,
    /// Flows while every endpoint is replaced, as a rolling update does
    Rollout,
    /// Flows while the proxy's own process is replaced, again and again
    Handoff,
}

impl Workload {
    /// What it measures; with `quick` only what says most.
    pub(crate) fn parts(self, quick: bool) -> Vec<Part> {
        match self {
            Self::Bulk => bulk::parts(quick),
            Self::Trips => trips::parts(quick),
            Self::Rate => rate::parts(),
            Self::Connections => connections::parts(),
            Self::Idle => idle::parts(),
            Self::Burst => burst::parts(),
            Self::Endpoints => endpoints::parts(),
            Self::Listeners => listeners::parts(),
            Self::Slow => slow::parts(),
            // They have an order of their own, and figures that no table here can hold.
            Self::Shed | Self::Rollout | Self::Handoff => Vec::new(),
        }
    }

    /// Whether a short look has it.
    pub(crate) fn is_quick(self) -> bool {
        matches!(self, Self::Bulk | Self::Trips | Self::Connections | Self::Idle | Self::Rollout)
    }

    /// Whether a proxy has a row: how HAProxy splices matters in bulk only, and what nginx does about half-closes where
    /// connections are closed.
    pub(crate) fn takes(self, proxy: Proxy) -> bool {
        match self {
            Self::Bulk => proxy != Proxy::NginxHalfClose,
            Self::Rollout | Self::Handoff => rollout::takes(proxy),
            Self::Shed => proxy == Proxy::Tidegate,
            Self::Connections => !matches!(proxy, Proxy::HaproxySplice | Proxy::HaproxySplice1m),
            _ => !matches!(proxy, Proxy::HaproxySplice | Proxy::HaproxySplice1m | Proxy::NginxHalfClose),
        }
    }
}

/// As `--only` takes it.
impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// One measurement.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) layout: Layout,
    /// What its readings are, in their order.
    pub(crate) figures: Vec<Figure>,
    pub(crate) load: Load,
}

/// A table's head.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    pub(crate) rate_unit: Option<&'static str>,
}

impl Figure {
    pub(crate) fn new(title: impl Into<String>, unit: &'static str, rate_unit: Option<&'static str>) -> Self {
        Self { title: title.into(), unit, rate_unit }
    }

    /// A table without rows.
    pub(crate) fn table(&self, workload: Workload) -> Table {
        Table::new(&workload.to_string(), &self.title, self.unit, self.rate_unit)
    }
}

/// What a proxy has before and behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) listeners: usize,
    pub(crate) endpoints: Behind,
}

/// The endpoints of a part.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behind {
    /// A handful, each with its own listening socket.
    Few(Kind),
    /// So many echo endpoints.
    Many(usize),
}

impl Layout {
    /// One listener before a handful of endpoints.
    pub(crate) fn plain(kind: Kind) -> Self {
        Self { listeners: 1, endpoints: Behind::Few(kind) }
    }
}

/// What clients do.
#[derive(Clone, Debug)]
pub(crate) enum Load {
    Bulk(bulk::Bulk),
    Trips(trips::Trips),
    Rate(rate::Rate),
    Connections(connections::Connections),
    Idle(idle::Idle),
    Burst(burst::Burst),
    Slow(slow::Slow),
}

impl Load {
    /// Loads a proxy, and gives a reading for each figure of its part.
    pub(crate) async fn measure(&self, subject: &Subject<'_>) -> anyhow::Result<Vec<Reading>> {
        match self {
            Self::Bulk(load) => load.measure(subject).await,
            Self::Trips(load) => load.measure(subject).await,
            Self::Rate(load) => load.measure(subject).await,
            Self::Connections(load) => load.measure(subject).await,
            Self::Idle(load) => load.measure(subject).await,
            Self::Burst(load) => load.measure(subject).await,
            Self::Slow(load) => load.measure(subject).await,
        }
    }
}

#[cfg(test)]
mod tests;
