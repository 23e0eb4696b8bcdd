//! What is measured: the workloads, and the figures each of them gives.

use clap::ValueEnum;
use serde::Serialize;

use crate::endpoints::Kind;

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Workload {
    /// Bulk down on one flow, then on eight.
    Bulk,
    /// 64-byte round trips on 64 kept connections.
    Trips,
    /// Connect, request, reply, close; 32 at a time.
    Connections,
    /// Flows that carry nothing.
    Idle,
}

impl Workload {
    /// As `--only` takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Trips => "trips",
            Self::Connections => "connections",
            Self::Idle => "idle",
        }
    }

    /// The endpoints it needs.
    pub(crate) fn endpoints(self) -> Kind {
        match self {
            Self::Bulk => Kind::Supply,
            Self::Trips | Self::Connections | Self::Idle => Kind::Echo,
        }
    }

    /// What it measures, each with a proxy started afresh.
    pub(crate) fn parts(self) -> &'static [Part] {
        match self {
            Self::Bulk => &[Part::Bulk { flows: 1 }, Part::Bulk { flows: 8 }],
            Self::Trips => &[Part::Trips],
            Self::Connections => &[Part::Connections],
            Self::Idle => &[Part::Idle],
        }
    }
}

/// One measurement's load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    Bulk { flows: usize },
    Trips,
    Connections,
    Idle,
}

impl Part {
    /// The figures it gives, in the order of its readings.
    pub(crate) fn figures(self) -> &'static [Figure] {
        match self {
            Self::Bulk { flows: 1 } => &[Figure::BulkOneFlow],
            Self::Bulk { .. } => &[Figure::BulkEightFlows],
            Self::Trips => &[Figure::Trips],
            Self::Connections => &[Figure::Connections],
            Self::Idle => &[Figure::IdleSilent, Figure::IdleSpoken],
        }
    }
}

/// A figure of the report; less is better in all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Figure {
    BulkOneFlow,
    BulkEightFlows,
    Trips,
    Connections,
    IdleSilent,
    IdleSpoken,
}

impl Figure {
    /// Its heading.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::BulkOneFlow => "bulk down, 1 flow",
            Self::BulkEightFlows => "bulk down, 8 flows",
            Self::Trips => "64-byte round trips, 64 kept connections",
            Self::Connections => "connect, 64-byte request and reply, close; 32 at a time",
            Self::IdleSilent => "idle flows that never carried a byte",
            Self::IdleSpoken => "idle flows after one 64-byte round trip each",
        }
    }

    /// The unit of its cost.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::BulkOneFlow | Self::BulkEightFlows => "CPU-s/GB",
            Self::Trips => "CPU-us/trip",
            Self::Connections => "CPU-us/conn",
            Self::IdleSilent | Self::IdleSpoken => "KiB/flow",
        }
    }

    /// The unit of its rate, where it has one.
    pub(crate) fn rate_unit(self) -> Option<&'static str> {
        match self {
            Self::BulkOneFlow | Self::BulkEightFlows => Some("GB/s"),
            Self::Trips => Some("trips/s"),
            Self::Connections => Some("conn/s"),
            Self::IdleSilent | Self::IdleSpoken => None,
        }
    }

    /// The cost of `done` (bytes in bulk, trips or connections otherwise) that took `seconds` of processor time.
    pub(crate) fn cost(self, seconds: f64, done: u64) -> f64 {
        match self {
            Self::BulkOneFlow | Self::BulkEightFlows => seconds * 1e9 / done as f64,
            _ => seconds * 1e6 / done as f64,
        }
    }

    /// The rate of `done` in `seconds` of wall clock.
    pub(crate) fn rate(self, seconds: f64, done: u64) -> f64 {
        match self {
            Self::BulkOneFlow | Self::BulkEightFlows => done as f64 / seconds / 1e9,
            _ => done as f64 / seconds,
        }
    }
}
