//! What the integration tests stand on: the real binary in a directory of its own, endpoints and clients with scripted
//! behaviour, slice files, and the admin API's answers as typed values.
//!
//! Everything is blocking: a test reads like the story it tells, and every call that could wait has a deadline. Waiting
//! is always for something that can be seen ([`eventually`], [`until`]), never for time to pass.

mod admin;
mod browser;
mod certificate;
mod command;
mod config;
mod connection;
mod endpoint;
mod gate;
mod metrics;
mod namespace;
mod pattern;
mod process;
mod proxy;
mod setup;
mod slices;
mod terminal;
mod wait;

pub use admin::{Admin, Answer};
pub use browser::Browser;
pub use certificate::write_certificate;
pub use command::run;
pub use config::Config;
pub use connection::Connection;
pub(crate) use endpoint::free_address;
pub use endpoint::{Behaviour, Endpoint, echo, greet_and_echo, unused_address};
pub use gate::{Gate, Gated};
pub use metrics::Metrics;
pub use namespace::{Namespace, Wire};
pub use pattern::Pattern;
pub use process::Process;
pub use proxy::{Ended, Proxy};
pub use setup::Setup;
pub use slices::{Slice, SliceDirectory, SliceEndpoint, replace_file};
pub use terminal::Terminal;
pub use tidegate_admin::api;
pub use wait::{DEADLINE, eventually, skipped, until};
