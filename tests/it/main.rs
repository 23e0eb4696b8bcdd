//! The real binary over real sockets: every test starts a proxy of its own, and endpoints and clients around it.
//!
//! One file per topic; a test is named for what it shows, with the case's ID in its doc line. The harness is
//! `tidegate_tests::support`; tests/README.md says how to add a case.

mod admin;
mod affinity;
mod audit;
mod bulk;
mod close;
mod cluster;
mod commands;
mod conditions;
mod connect;
mod dashboard;
mod dead_endpoint;
mod demo;
mod deploy;
mod drain;
mod draining;
mod dual_stack;
mod gate;
mod half_close;
mod handoff;
mod idle;
mod kubernetes;
mod lifetime;
mod limits;
mod moves;
mod plan;
mod pods;
mod policies;
mod ports;
mod progress;
mod rebalance;
mod reload;
mod removal;
mod reset;
mod rights;
mod shed;
mod shutdown;
mod slice_files;
mod slices;
mod slow_reader;
mod smoke;
mod soak;
mod start;
mod timeouts;
mod topology;
mod urgent;

use draining::draining;

/// A setup of the binary under test.
fn setup() -> tidegate_tests::support::Setup {
    tidegate_tests::support::Setup::new(env!("CARGO_BIN_EXE_tidegate"))
}
mod watch;
