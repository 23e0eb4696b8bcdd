//! The configuration file: its shape, its checks, what it means, and what changing it would do.
//!
//! [`load`] reads a file, [`parse`] a text; both answer with a [`Loaded`]: a checked [`Configuration`] of typed
//! values and the warnings that go with it, or a [`LoadError`] that names every finding by line, column and field.
//! [`Configuration::explain`] prints the effective configuration with every default filled in, [`plan()`] says in words
//! what a reload from one configuration to another would do, and [`schema()`] is the same shape for editors.
//!
//! Not decided here: whether a path exists, an address can be bound or a token is good. That is for those who open
//! them. Where to go next: `document` is the shape as it is written, `validate` turns it into `configuration`.

mod annotation;
pub mod audit;
mod configuration;
mod deadline;
mod document;
mod error;
mod explain;
mod leaf;
mod load;
mod percent;
mod plan;
mod schema;
mod timespan;
mod validate;
mod values;
mod words;

pub use annotation::{ANNOTATIONS, annotate};
pub use configuration::{
    Admin, AdminAddress, Afterwards, Configuration, FlowLog, Handoff, Kubernetes, Listener, Node,
    PeerMembers, PeerTls, Peers, Service, Shutdown, Source, Workers,
};
pub use error::{Finding, LoadError};
pub use load::{Loaded, MAX_FILE_BYTES, fuzz_parse, load, parse};
pub use plan::{Change, NeedsRestart, Plan, plan};
pub use schema::schema;
pub use timespan::parse_duration;
