//! Measures Tidegate beside the proxies people use today.
//!
//! `compare` starts each proxy it finds, one after another, on cores of its own, sends the same load through each to
//! the same endpoints, and reports what the proxy itself spent: processor time from `/proc`, resident memory. Rounds
//! are interleaved, so that a machine which drifts drifts for all.
//!
//! Nothing here knows how a proxy works: [`peers`] starts and stops them, [`workload`] is what is measured, [`load`]
//! the client side, [`endpoints`] the other side, [`compare::run`] the order of things, [`report`] the result.

mod child;
mod cli;
mod compare;
mod cores;
mod endpoints;
mod handoff;
mod html;
mod load;
mod measure;
mod milliseconds;
mod outcomes;
mod pattern;
mod peers;
mod progress;
mod report;
mod rollout;
mod usage;
mod wire;
mod workload;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::runtime::LocalOptions;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Cli, Command, Format};
use crate::report::Report;

/// The same as in the `tidegate` command, which is measured out of this program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Anything that kept a figure from being taken, including a peer that does not start.
const NOT_MEASURED: u8 = 2;

/// A row was taken and is invalid.
const INVALID_ROW: u8 = 1;

fn main() -> ExitCode {
    let args = match Cli::parse().command {
        Command::Compare(args) => args,
        Command::Endpoints { core } => {
            return match endpoints::be_endpoints(core) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => not_measured(&error),
            };
        }
        Command::Proxy { arguments } => return tidegate::main_with(arguments),
    };
    match compare(&args) {
        Ok(report) if report.is_valid() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(INVALID_ROW),
        Err(error) => not_measured(&error),
    }
}

fn not_measured(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(NOT_MEASURED)
}

/// Runs the comparison until it is done or a signal ends it; in both cases no child is left when this returns.
fn compare(args: &cli::Compare) -> anyhow::Result<Report> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let report = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::select! {
            report = compare::run(args) => report,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
            _ = terminate.recv() => anyhow::bail!("terminated"),
            _ = hangup.recv() => anyhow::bail!("the terminal is gone"),
        }
    })?;
    match args.format {
        Format::Table => print!("{report}"),
        Format::Json => {
            println!("{}", serde_json::to_string_pretty(&report).context("cannot write JSON")?);
        }
    }
    if let Some(directory) = &args.output {
        report.write(directory)?;
    }
    Ok(report)
}
