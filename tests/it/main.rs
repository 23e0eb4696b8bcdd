//! The real binary over real sockets: every test starts a proxy of its own, and endpoints and clients around it.
//!
//! One file per topic; a test is named for what it shows, with the case's ID in its doc line. The harness is
//! `tidegate_tests::support`; tests/README.md says how to add a case.

mod affinity;
mod conditions;
mod drain;
mod half_close;
mod moves;
mod removal;
mod reset;
mod slice_files;
mod slices;
mod slow_reader;
mod smoke;

/// A setup of the binary under test.
fn setup() -> tidegate_tests::support::Setup {
    tidegate_tests::support::Setup::new(env!("CARGO_BIN_EXE_tidegate"))
}
