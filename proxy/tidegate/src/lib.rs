//! The `tidegate` command: wires the parts together and starts them.
//!
//! [`main`] reads the command line and goes to one module per command. `proxy` is where a configuration becomes
//! threads; everything else here is small.

mod admin;
mod audit;
mod audit_file;
mod check;
mod cli;
mod client;
mod commands;
mod demand;
mod demo;
mod gate;
mod handoff;
mod instances;
mod overrides;
mod park;
mod plan;
mod pod_events;
mod probe;
mod proxy;
mod reload;
mod run;
mod signals;
mod sockets;
mod source;
mod tables;
mod telemetry;
mod upgrade;
mod watch;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser as _;

/// The whole program. Errors go to standard error; the exit status is 0 where all went well, 1 where it did not, and
/// 2 for a command line that means nothing.
pub fn main() -> ExitCode {
    execute(&cli::Cli::parse())
}

/// The same with these arguments, for a program that holds this one behind a subcommand of its own.
pub fn main_with(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    execute(&cli::Cli::parse_from(std::iter::once(OsString::from("tidegate")).chain(arguments)))
}

fn execute(cli: &cli::Cli) -> ExitCode {
    let outcome = match &cli.command {
        cli::Command::Run(options) => run::run(options),
        cli::Command::Check(options) => check::check(options),
        cli::Command::Demo(options) => demo::run(options),
        cli::Command::Status(asking) => commands::status(asking),
        cli::Command::Endpoints(options) => commands::endpoints(options),
        cli::Command::Flows(options) => commands::flows(options),
        cli::Command::Drain(options) => commands::drain(options),
        cli::Command::Undrain(options) => commands::undrain(options),
        cli::Command::Audit(options) => audit::run(options),
        cli::Command::Upgrade(options) => upgrade::run(options),
        cli::Command::Probe(options) => probe::run(options),
        cli::Command::Watch(options) => watch::run(options),
        cli::Command::Plan(options) => plan::run(options),
        cli::Command::Close(options) => commands::close(options),
        cli::Command::Gate(options) => gate::run(&options.command),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("tidegate: {error:#}");
        ExitCode::FAILURE
    })
}
