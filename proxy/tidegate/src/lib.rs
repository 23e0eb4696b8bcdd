//! The `tidegate` command: wires the parts together and starts them.
//!
//! [`main`] reads the command line and goes to one module per command. `proxy` is where a configuration becomes
//! threads; everything else here is small.

mod admin;
mod check;
mod cli;
mod client;
mod commands;
mod demo;
mod proxy;
mod reload;
mod run;
mod signals;
mod sockets;
mod tables;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;

/// The whole program. Errors go to standard error; the exit status is 0 where all went well, 1 where it did not, and
/// 2 for a command line that means nothing.
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let outcome = match &cli.command {
        cli::Command::Run(options) => run::run(options),
        cli::Command::Check(options) => check::check(options),
        cli::Command::Demo(options) => demo::run(options),
        cli::Command::Status(asking) => commands::status(asking),
        cli::Command::Endpoints(options) => commands::endpoints(options),
        cli::Command::Flows(options) => commands::flows(options),
        cli::Command::Drain(options) => commands::drain(options),
        cli::Command::Undrain(options) => commands::undrain(options),
        cli::Command::Close(options) => commands::close(options),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("tidegate: {error:#}");
        ExitCode::FAILURE
    })
}
