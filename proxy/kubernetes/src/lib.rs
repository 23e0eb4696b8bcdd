//! Kubernetes as a source: EndpointSlices, Services and Nodes, followed from an API server.
//!
//! [`follow`] lists and watches, and goes on to tell what changes as [`tidegate_core::Event`]s. What the API server
//! says is trimmed to what the table needs as it arrives; Kubernetes' own types end in this crate.
//!
//! Decided here: how a watch is begun, resumed and begun anew, and what of it is believed (`watch`, `versions`). Not
//! decided here: what a slice means for flows; that is the table's business. Where to go next: [`access`] finds the API
//! server, `watch` is the engine, `slice` translates, `pods` reads what draining pods are killed at, [`source`] holds them together.

pub mod access;
mod announce;
mod api;
mod backoff;
mod event;
mod follow;
mod ingress;
mod intern;
mod leader;
mod lines;
mod meta;
mod node;
pub mod plan;
mod pods;
#[cfg(test)]
mod rig;
mod service;
mod slice;
pub mod source;
pub mod status;
mod versions;
pub mod view;
mod watch;
mod writer;

pub use access::{Access, AccessError};
pub use announce::Announcement;
pub use plan::{Plan, Problem, Rules, Treatment, WantedListener, plan, treatment};
pub use pods::Interest;
pub use source::{Follower, Options, StartError, follow};
pub use status::{
    AnnouncerReport, ErrorCause, SourceReport, SourceStatus, WatchReport, WatchState, WriterReport,
};
pub use view::{SharedView, View};
pub use writer::Writing;
