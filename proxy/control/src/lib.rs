//! The part of Tidegate that keeps the table.
//!
//! One task, the [`Controller`], owns the [`tidegate_core::Table`]. Facts from sources, reports from workers and
//! requests from operators come in through bounded channels; snapshots go out through one cell, commands through one
//! channel per worker. Everybody else talks to it through a [`ControlHandle`].
//!
//! Decided here: when listeners open and close, what a shutdown waits for, what is kept on disk, what is logged.
//! Not decided here: what an endpoint's conditions mean (the core's table does), how bytes move (the workers do).
//!
//! Where to go next: [`controller`] for the loop, [`lifecycle`] for start and shutdown, [`handle`] for what can be
//! asked.

pub mod answer;
pub mod audit;
pub mod clock;
pub mod controller;
pub mod counters;
mod course;
mod drains;
pub mod error;
mod flow_log;
mod flows;
pub mod gate;
pub mod handle;
mod handoff;
pub mod lifecycle;
pub mod listeners;
mod listening;
mod notices;
mod operator;
pub mod plan;
pub mod progress;
mod reload;
mod request;
#[cfg(test)]
mod rig;
pub mod state;
mod workers;

pub use answer::{
    DrainChange, DrainOutcome, FlowFilter, FlowsAnswer, LastReload, ListenerStatus, ServicesAnswer, Status,
    Unsaved, WorkerStatus,
};
pub use audit::{AuditAnswer, AuditRecord, DrainBeginning, DrainNews};
pub use clock::Clock;
pub use controller::{Controller, Ended, Wiring};
pub use counters::{ControlCounters, EventKind, Histogram, NoticeKind};
pub use error::{ControlError, NotReady, ReloadError};
pub use gate::GateState;
pub use handle::ControlHandle;
pub use handoff::{KnownClient, LentListener, ServiceClients};
pub use lifecycle::{Lifecycle, LifecycleSettings};
pub use listeners::{BindFn, BoundListener, DesiredListener, ListenerPlan};
pub use progress::{DrainingFlows, Progress, ProgressAnswer};
pub use reload::{Desired, ReloadOutcome, Unbound};
pub use state::{StateDirectory, StateError};

/// What a worker is told, with the kernel's types filled in.
pub type Command = tidegate_core::WorkerCommand<std::net::TcpListener, tidegate_sys::FrozenFlow>;

/// What a worker says, with the kernel's types filled in.
pub type Report = tidegate_core::WorkerReport<tidegate_sys::FrozenFlow>;
