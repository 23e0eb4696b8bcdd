//! The part of Tidegate that moves bytes: workers, accept, connect, relay, live flows.
//!
//! One thread per worker, each with a runtime, listening sockets, flows and a buffer of its own. Between accept and
//! close a worker takes no lock: it reads the published snapshot, and it shares the endpoints' admission counters
//! and nothing else with other workers.
//!
//! The life of a flow is told top to bottom in `flow`. The control plane speaks to a worker through a channel of
//! [`Command`]s and hears [`Report`]s.

mod accept;
mod connect;
pub mod counters;
mod drains;
mod flow;
mod flows;
mod freeze;
mod leg;
mod lifetimes;
mod line;
mod pipes;
mod rebalances;
mod relay;
mod reset;
mod shed;
mod survey;
mod worker;

use std::net::TcpListener;

use tidegate_core::{WorkerCommand, WorkerReport};
use tidegate_sys::FrozenFlow;

pub use counters::{ConnectFailure, Counter, Direction, ServiceCounters, Way, WorkerCounters};
pub use worker::{FlowLogRate, WorkerOptions, spawn_worker};

/// What a worker is told.
pub type Command = WorkerCommand<TcpListener, FrozenFlow>;

/// What a worker says.
pub type Report = WorkerReport<FrozenFlow>;
