//! The part of Tidegate that answers operators: HTTP API, metrics, probes.
//!
//! It runs on a thread and a runtime of its own, so that no scrape and no slow client shows in a flow's latency.
//! What it knows it asks of the controller ([`tidegate_control::ControlHandle`]) or reads from the workers' counters;
//! it decides nothing itself.
//!
//! These kinds of listener ([`AdminListener`]): loopback TCP, a Unix socket or, with a bearer token, any address for
//! operators; one for scrapers that serves metrics and probes alone; and one for pods that wait at a gate and for other
//! instances. [`serve`] serves one of them.
//!
//! Where to go next: [`api`] for what goes over the wire, [`metrics::names`] for every metric, [`access`] for who is
//! let in.

pub mod access;
pub mod api;
mod audit;
mod body;
mod change;
mod dashboard;
mod drains;
pub mod gate;
pub mod listener;
pub mod metrics;
pub mod peers;
mod plan;
mod probe;
mod refusal;
#[cfg(test)]
mod rig;
mod router;
mod serve;
mod state;
mod token;
mod view;

pub use audit::audit_record;
pub use drains::Sampler;
pub use listener::{AdminListener, ListenError};
pub use peers::{All, AllPlans, InstanceAnswer, Members, PeerOptions, Peers, PeersError, TlsFiles};
pub use serve::{serve, serve_until};
pub use state::{
    AdminState, PodEventsReport, ServiceProblem, SourceReport, TriggerDelay, WatchReport, WriterReport,
};
